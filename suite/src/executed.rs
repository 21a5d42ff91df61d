//! A task that has just executed a program and stands before the program's first instruction.
//!
//! It is traced, so that it stops where execve(2) ends; what execve changed is then read from
//! outside. The program is the suite's own, of which nothing runs.

use std::ffi::CString;

use harness::prelude::*;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::flags::Flags;

/// Such a task. Killed when dropped.
#[derive(Debug)]
pub struct Executed {
    task: Task,
}

impl Executed {
    /// Forks a task that runs `before` and then executes a program.
    ///
    /// # Errors
    /// `before` was stopped, or a step did not work: the case is broken.
    #[track_caller]
    pub fn after(t: &Test, name: &str, before: impl FnOnce(&Test) -> Done) -> Done<Self> {
        Self::sharing(t, name, Flags::NONE, before)
    }

    /// The same for a task that first shares with the caller what `sharing` names.
    ///
    /// # Errors
    /// As [`after`](Self::after).
    #[track_caller]
    pub fn sharing(
        t: &Test,
        name: &str,
        sharing: Flags,
        before: impl FnOnce(&Test) -> Done,
    ) -> Done<Self> {
        let task = t.spawn_sharing(name, sharing.0, |t| {
            before(t)?;
            // SAFETY: PTRACE_TRACEME takes no pointers.
            let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            if let Err(errno) = Errno::result(traced) {
                return Err(t.skip(format!(
                    "ptrace(2) is refused here ({errno:?}): allow it in the container's seccomp \
                     profile, or set kernel.yama.ptrace_scope to 1"
                )));
            }
            let arguments = [CString::from(c"unshare-conformance")];
            let environment: [CString; 0] = [];
            let refused = nix::unistd::execve(c"/proc/self/exe", &arguments, &environment);
            t.setup(Call::new("execve(/proc/self/exe)", refused))
                .map(drop)
        })?;
        let flags = WaitPidFlag::WSTOPPED
            | WaitPidFlag::WEXITED
            | WaitPidFlag::WNOWAIT
            | WaitPidFlag::__WALL;
        match waitid(Id::Pid(task.pid()), flags) {
            Ok(WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..)) => Ok(Self { task }),
            _ => Err(match task.join(t) {
                Err(stop) => stop,
                Ok(()) => t.broken("execve(/proc/self/exe)", "the task came to its end"),
            }),
        }
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.task.pid()
    }
}
