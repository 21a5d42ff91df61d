//! The end of a task, seen before it is reaped.

use nix::sys::signal::kill;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

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
    use nix::unistd::{ForkResult, fork};
    // SAFETY: the case is single-threaded, and the child ends at once.
    let result = unsafe { fork() }.map(|fork| match fork {
        // SAFETY: ends the child without destructors.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => {
            let _ = nix::sys::wait::waitpid(child, None);
        }
    });
    Call::new("fork()", result)
}
