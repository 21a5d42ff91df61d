//! A task that has just executed a program and stands before the program's first instruction.
//!
//! It is traced, so that it stops where execve(2) ends; what execve changed is then read from
//! outside. The program is the suite's own unless said otherwise; nothing of it runs.

use crate::place::seccomp::wait_for_stop;
use crate::spec::prelude::*;

/// Has the calling task stop where execve(2) ends.
#[track_caller]
fn be_traced(t: &Test) -> Done {
    nix::sys::ptrace::traceme().map_err(|errno| {
        t.skip(format!(
            "ptrace(2) is refused here ({errno:?}): allow it in the container's seccomp \
             profile, or set kernel.yama.ptrace_scope to 1"
        ))
    })
}

/// Such a task. Killed when dropped.
#[derive(Debug)]
pub struct Executed {
    task: Task,
}

impl Executed {
    /// Forks a task that runs `before` and then executes a program.
    #[track_caller]
    pub fn after(t: &Test, name: &str, before: impl FnOnce(&Test) -> Done) -> Done<Self> {
        Self::sharing(t, name, Flags::NONE, before)
    }

    /// The same for a task that first shares with the caller what `sharing` names.
    #[track_caller]
    pub fn sharing(t: &Test, name: &str, sharing: Flags, before: impl FnOnce(&Test) -> Done) -> Done<Self> {
        Self::start(t, name, sharing, c"/proc/self/exe", |t| {
            before(t)?;
            be_traced(t)
        })
    }

    /// The same of another program, by a task that shares with the caller what `sharing` names. It
    /// is traced with the privilege that it has before `before`, in which no signal may reach it.
    #[track_caller]
    pub fn of(t: &Test, name: &str, sharing: Flags, program: &CStr, before: impl FnOnce(&Test) -> Done) -> Done<Self> {
        Self::start(t, name, sharing, program, |t| {
            be_traced(t)?;
            before(t)
        })
    }

    #[track_caller]
    fn start(t: &Test, name: &str, sharing: Flags, program: &CStr, before: impl FnOnce(&Test) -> Done) -> Done<Self> {
        let task = t.spawn_sharing(name, sharing.0, |t| {
            before(t)?;
            let arguments = [CString::from(c"unshare-conformance")];
            let environment: [CString; 0] = [];
            let refused = nix::unistd::execve(program, &arguments, &environment);
            let text = format!("execve({})", program.to_string_lossy());
            t.setup(Call::new(text, refused)).map(drop)
        })?;
        match wait_for_stop(task.pid()) {
            Ok(WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..)) => Ok(Self { task }),
            // What the kernel told is no state of a task.
            Err(errno @ Errno::EINVAL) => Err(t.broken("waitid()", format!("{errno:?}"))),
            _ => Err(match task.join(t) {
                Err(stop) => stop,
                Ok(()) => t.broken("execve()", "the task came to its end"),
            }),
        }
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.task.pid()
    }
}
