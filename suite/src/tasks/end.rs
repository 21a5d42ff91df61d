//! The end of a task, seen before it is reaped.

use crate::spec::prelude::*;

/// Whether a task has ended: a zombie, or gone.
pub fn has_ended(pid: Pid) -> bool {
    match look(pid, WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::StillAlive) => false,
        // It is not the caller's child.
        Err(Errno::ECHILD) => kill(pid, None) == Err(Errno::ESRCH),
        _ => true,
    }
}

/// Waits until a child of the caller has ended, and gives how. It is left to be reaped.
///
/// # Errors
/// As waitid(2).
pub fn wait_unreaped(pid: Pid) -> Result<WaitStatus, Errno> {
    look(pid, WaitPidFlag::empty())
}

fn look(pid: Pid, how: WaitPidFlag) -> Result<WaitStatus, Errno> {
    waitid(Id::Pid(pid), how | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL)
}

/// Forks a child that ends at once. For a process with one thread.
pub fn try_fork() -> Call<()> {
    Call::new("fork()", feature::in_child(0, || 0).map(drop))
}
