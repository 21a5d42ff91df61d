//! Which requirement an expectation of the model follows from: what a kernel that does something
//! else contradicts.

use super::{Part, Prediction, Start, Threads};
use crate::spec::flags::Flags;

/// Why `refused` (of THREAD, SIGHAND and VM, given or implied by `flags`) must not succeed in the
/// company that `start` describes.
pub fn of_company(start: &Start, refused: Flags, flags: Flags) -> &'static str {
    match refused {
        Flags::THREAD => match start.threads {
            Threads::LeaderGone => "ERR-04",
            _ if flags.intersects(Flags::THREAD | Flags::SIGHAND | Flags::VM) => "ERR-02",
            _ => "ERR-03",
        },
        Flags::SIGHAND if start.memory_shared => "ERR-05",
        Flags::SIGHAND => "ERR-12",
        _ => "ERR-06",
    }
}

/// Why a call must succeed.
pub(super) fn of_success(start: &Start, flags: Flags) -> &'static str {
    if flags == Flags::NONE {
        return "FLAG-40";
    }
    match (start.threads, start.memory_shared, start.handlers_shared) {
        (Threads::Others, ..) => return "MT-02",
        (Threads::LeaderGone, ..) => return "MT-04",
        (Threads::Alone, true, false) => return "MT-06",
        (Threads::Alone, true, true) => return "MT-08",
        (Threads::Alone, false, true) => return "MT-09",
        (Threads::Alone, false, false) => {}
    }
    if flags.contains(Flags::NEWUSER) && flags.intersects(Flags::PRIVILEGED) {
        return "PRIV-04";
    }
    match flags {
        Flags::NEWTIME => "FLAG-07",
        Flags::VM => "FLAG-08",
        Flags::FS => "FLAG-09",
        Flags::FILES => "FLAG-10",
        Flags::SIGHAND => "FLAG-11",
        Flags::THREAD => "FLAG-16",
        Flags::NEWNS => "FLAG-17",
        Flags::SYSVSEM => "FLAG-18",
        Flags::EMPTY => "FLAG-20",
        Flags::NEWCGROUP => "FLAG-25",
        Flags::NEWUTS => "FLAG-26",
        Flags::NEWIPC => "FLAG-27",
        Flags::NEWUSER => "FLAG-28",
        Flags::NEWPID => "FLAG-29",
        Flags::NEWNET => "FLAG-30",
        _ => "FLAG-48",
    }
}

/// Why a part of the caller's state must be as before, or must not be, after a call.
pub fn of_part(part: Part, prediction: &Prediction, flags: Flags) -> &'static str {
    let place = matches!(part, Part::Cwd | Part::Root | Part::CwdMount | Part::RootMount);
    let link = part.is_link();
    if prediction.result.is_ok() {
        let moves = super::with_implied(flags).contains(Flags::NEWNS);
        return match part {
            _ if link => "EFF-GEN-01",
            _ if place && flags.contains(Flags::EMPTY) => "EFF-EMPTY-02",
            _ if place && moves => "EFF-MNT-08",
            _ if place => "EFF-FS-05",
            Part::Umask => "EFF-FS-05",
            Part::Descriptors => "EFF-FILES-04",
            Part::Uids | Part::Gids | Part::Groups => "EFF-USER-02",
            Part::Capabilities => "EFF-USER-03",
            Part::HostName | Part::DomainName => "EFF-UTS-01",
            Part::Securebits => "EFF-USER-04",
            _ => "DIFF-16",
        };
    }
    match (part, prediction.because) {
        // The mount namespace has rows of its own for what makes a call fail late.
        _ if place && flags.contains(Flags::EMPTY) && prediction.because == "ERR-08" => "ATOM-04",
        _ if place && flags.contains(Flags::NEWNS) && prediction.because == "ERR-08" => "ATOM-01",
        _ if place && flags.contains(Flags::NEWNS) && prediction.because == "ERR-30" => "ATOM-03",
        _ if place => "ATOM-S3",
        _ if link => "ATOM-S1",
        (Part::Descriptors, _) => "ATOM-S7",
        _ => "ATOM-S4",
    }
}

/// Why the caller must still share this with its sharer, or must have left it.
pub fn of_sharing(shared: Flags, prediction: &Prediction, flags: Flags) -> &'static str {
    if prediction.result.is_err() {
        return "ATOM-S2";
    }
    let left = prediction.separated.contains(shared);
    match (shared, left) {
        (Flags::FS, true) if flags.contains(Flags::FS) => "EFF-FS-06",
        (Flags::FS, true) if flags.contains(Flags::EMPTY) => "IMP-02",
        (Flags::FS, true) if flags.contains(Flags::NEWNS) => "IMP-01",
        (Flags::FS, true) => "IMP-03",
        (Flags::FS, false) => "EFF-FS-11",
        (Flags::FILES, true) => "EFF-FILES-06",
        (Flags::FILES, false) => "EFF-FILES-13",
        (Flags::SYSVSEM, true) if flags.contains(Flags::SYSVSEM) => "EFF-SEM-05",
        (Flags::SYSVSEM, true) => "IMP-07",
        (Flags::SYSVSEM, false) => "EFF-SEM-05",
        _ => "EFF-VM-02",
    }
}

/// Why a semaphore with pending adjustments must have the value that it must have.
pub fn of_semaphore(prediction: &Prediction, flags: Flags) -> &'static str {
    match prediction.result {
        Err(_) => "ATOM-S5",
        Ok(()) if flags.contains(Flags::SYSVSEM) => "EFF-SEM-01",
        Ok(()) if flags.contains(Flags::NEWIPC) => "EFF-SEM-09",
        Ok(()) => "EFF-SEM-03",
    }
}

/// Why a call must leave other tasks alone.
pub const OF_OTHERS: &str = "DIFF-16";
