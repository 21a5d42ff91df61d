//! Faults that change something besides where one flag is named, or the call is refused.

use super::always;
use crate::fault::Fault;
use crate::fault::act::Act;
use crate::fault::lie::{What, When};
use crate::spec::flags::Flags;

const NAMESPACES: Flags = Flags(Flags::PRIVILEGED.0 | Flags::NEWUSER.0);

/// What tasks share and a call separates.
const SHARED: Flags = Flags(Flags::FS.0 | Flags::FILES.0 | Flags::SYSVSEM.0);

/// Changed by calls that name one flag: name, flag, act, what is seen, requirements.
const AFTER_FLAG: [(&str, Flags, Act, &str, &[&str]); 14] = [
    ("umask-of-new-fs", Flags::FS, Act::Umask, "the umask is not copied", &["EFF-FS-01"]),
    ("cwd-of-new-fs", Flags::FS, Act::Cwd, "the cwd is not copied", &["EFF-FS-01"]),
    ("root-of-new-fs", Flags::FS, Act::Root, "the root directory is not copied", &["EFF-FS-01"]),
    (
        "descriptor-of-new-files",
        Flags::FILES,
        Act::DescriptorLost,
        "the last descriptor is not copied",
        &["EFF-FILES-01"],
    ),
    ("host-name-of-new-uts", Flags::NEWUTS, Act::HostName, "the host name is not copied", &["EFF-UTS-01"]),
    ("domain-name-of-new-uts", Flags::NEWUTS, Act::DomainName, "the domain name is not copied", &["EFF-UTS-01"]),
    ("undo-applied-twice", Flags::SYSVSEM, Act::Semaphores, "the undo is applied once too often", &["EFF-SEM-01"]),
    ("mounts-of-new-ns-private", Flags::NEWNS, Act::MountsPrivate, "all copied mounts are private", &["EFF-MNT-01"]),
    ("mounts-of-new-ns-shared", Flags::NEWNS, Act::MountsShared, "all copied mounts are shared", &["EFF-MNT-01"]),
    ("mount-more-in-new-ns", Flags::NEWNS, Act::MountMore, "there is a mount more than was copied", &["EFF-MNT-01"]),
    ("map-of-new-user-ns", Flags::NEWUSER, Act::UserMap, "the map of user IDs is written", &["EFF-USER-01"]),
    (
        "limits-of-new-user-ns",
        Flags::NEWUSER,
        Act::UserLimits,
        "a limit of the new user namespace is not the highest there is",
        &["INT-21"],
    ),
    ("loopback-of-new-net-up", Flags::NEWNET, Act::Loopback, "the loopback device is up", &["EFF-NET-01"]),
    ("offset-of-new-time", Flags::NEWTIME, Act::TimeOffset, "the clock has an offset", &["EFF-TIME-01"]),
];

/// Changed by every call that is refused.
const AFTER_REFUSAL: [(&str, Act, &str, &[&str]); 10] = [
    ("umask", Act::Umask, "the umask is another", &["ATOM-01"]),
    ("cwd", Act::Cwd, "the cwd is the root directory", &["ATOM-01"]),
    ("host-name", Act::HostName, "the host name is another", &["ATOM-01"]),
    ("user", Act::User, "the effective user is another", &["ATOM-01"]),
    ("capabilities", Act::Capabilities, "an effective capability is gone", &["ATOM-01"]),
    ("securebits", Act::Securebits, "a securebit is set", &["ATOM-01"]),
    ("descriptor-lost", Act::DescriptorLost, "the last descriptor is closed", &["ATOM-01"]),
    ("close-on-exec-lost", Act::CloseOnExecLost, "no descriptor closes on exec", &["ATOM-01"]),
    ("signal-mask", Act::SignalMask, "a further signal is blocked", &["ATOM-01"]),
    ("semaphores", Act::Semaphores, "the undo list is applied", &["ATOM-01"]),
];

/// What outlives its tasks: namespaces, told by the limits on how many there may be, and what tasks share,
/// told by an undo list that is not applied.
fn kept() -> [Fault; 2] {
    [
        always(
            "namespaces-are-kept",
            "A namespace stays for a while when its last task has ended.",
            "A reference that nobody gives back.",
            &["INT-06", "INT-26"],
            What::AndThen(Act::Keeper(Flags::NONE)),
        )
        .when(When::Any(NAMESPACES))
        // They wait before they give up.
        .tried_on(&["limits.returned.success", "limits.processes"]),
        always(
            "shared-is-kept",
            "Root, descriptors and undo list of a call's own stay for a while when its last task has ended.",
            "A count of sharers that is one too high.",
            &["EFF-SEM-04"],
            What::AndThen(Act::Keeper(SHARED)),
        )
        .when(When::Any(SHARED))
        .tried_on(&["separation.sysvsem.", "races.sysvsem."]),
    ]
}

pub(super) fn faults() -> Vec<Fault> {
    let flag = AFTER_FLAG.into_iter().map(|(name, flag, act, seen, breaks)| {
        let about = format!("After a successful call with {flag} {seen}.");
        always(name, about, "A copy that is incomplete, or set anew.", breaks, What::AndThen(act)).when(When::Any(flag))
    });
    let refusal = AFTER_REFUSAL.into_iter().map(|(name, act, seen, breaks)| {
        always(
            format!("refusal-changes-{name}"),
            format!("After every call that is refused {seen}."),
            "Cleaning up that touches what was not made by the call.",
            breaks,
            What::OrElse(act),
        )
    });
    flag.chain(refusal).chain(kept()).collect()
}
