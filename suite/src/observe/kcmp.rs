//! What two tasks share, by kcmp(2).

use super::fds;
use crate::spec::prelude::*;

/// What two tasks can share, by its number for kcmp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Shared {
    /// The address space.
    Vm = 1,
    /// The table of file descriptors.
    Files = 2,
    /// Root, current directory and umask.
    Fs = 3,
    /// Signal handlers.
    Sighand = 4,
    /// The System V semaphore undo list.
    Sysvsem = 6,
}

impl Shared {
    /// All of them, in the order of their flags.
    pub const ALL: [Shared; 5] = [Shared::Vm, Shared::Fs, Shared::Files, Shared::Sighand, Shared::Sysvsem];

    /// The flag of clone(2) that shares it.
    pub fn clone_flag(self) -> Flags {
        match self {
            Shared::Vm => Flags::VM,
            Shared::Files => Flags::FILES,
            Shared::Fs => Flags::FS,
            Shared::Sighand => Flags::SIGHAND,
            Shared::Sysvsem => Flags::SYSVSEM,
        }
    }
}

/// Whether two tasks share this resource, by kcmp(2). Both must be alive, and the caller must be
/// allowed to trace both. Writes no errno.
///
/// # Errors
/// As kcmp(2).
pub fn shares(what: Shared, a: i32, b: i32) -> Result<bool, Errno> {
    call!(kcmp, a, b, what as u8, 0, 0).map(|order| order == 0).map_err(fds::errno)
}

/// Whether two tasks share this resource, as a call that can be judged.
pub fn sharing(what: Shared, a: i32, b: i32) -> Call<bool> {
    Call::new(format!("shared({}, {a}, {b}) by kcmp", what.clone_flag()), shares(what, a, b))
}

/// Which of `asked` (flags of clone(2)) two tasks share. Allocates nothing and writes no errno.
///
/// # Errors
/// As kcmp(2).
pub fn shared_flags(a: i32, b: i32, asked: Flags) -> Result<Flags, Errno> {
    let mut shared = Flags::NONE;
    for what in Shared::ALL {
        if asked.contains(what.clone_flag()) && shares(what, a, b)? {
            shared |= what.clone_flag();
        }
    }
    Ok(shared)
}

/// What can be asked about a task that was made to share `made_with`: nothing without kcmp(2). The undo list is left
/// out unless it was shared: two tasks that have none would look as if they shared one.
pub fn askable(t: &Test, made_with: Flags) -> Flags {
    if !t.facts().has(feature::KCMP) {
        return Flags::NONE;
    }
    let undo = if t.facts().has(feature::SYSV_IPC) { made_with & Flags::SYSVSEM } else { Flags::NONE };
    Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | undo
}
