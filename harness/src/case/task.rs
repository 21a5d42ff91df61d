//! Further tasks of a case: children that share what their flags name.

use crate::case::test::catch;
use crate::common::*;

/// Exit status of a task whose body completed. Not 0, so that an early `exit(0)` is not mistaken for it.
const COMPLETE: i32 = 90;
/// Exit status of a task whose body stopped; the reason is recorded.
const STOPPED: i32 = 91;

/// A child process of a case. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Task {
    pid: Pid,
    name: String,
    reaped: bool,
}

impl Task {
    /// The process ID, in the PID namespace of the task that made it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the task to end.
    ///
    /// # Errors
    /// It stopped (the reason is recorded), or it exited early or was killed: then the case is broken.
    #[track_caller]
    pub fn join(mut self, test: &Test) -> Done {
        match self.wait() {
            Ok(WaitStatus::Exited(_, COMPLETE)) => Ok(()),
            Ok(WaitStatus::Exited(_, STOPPED)) => Err(Stop(())),
            Ok(WaitStatus::Exited(_, status)) => Err(self.ended(test, format!("exited early with status {status}"))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Err(self.ended(test, format!("killed by {signal}"))),
            other => Err(self.ended(test, format!("{other:?}"))),
        }
    }

    #[track_caller]
    fn ended(&self, test: &Test, how: String) -> Stop {
        test.broken(format!("wait for {}", self.name), how)
    }

    /// Waits for the task to end and returns how it did.
    ///
    /// # Errors
    /// As waitpid(2).
    pub fn wait(&mut self) -> Result<WaitStatus, Errno> {
        let status = wait_for(self.pid);
        self.reaped = true;
        status
    }

    /// Kills the task and reaps it.
    pub fn kill(&mut self) {
        if !self.reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.wait();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.kill();
    }
}

/// waitpid(2) without EINTR, also for children that end without a signal (`__WALL`).
pub(crate) fn wait_for(pid: Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Ends this process without the destructors and exit handlers of its parent's.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: no memory is touched.
    unsafe { libc::_exit(status) }
}

/// clone(2) used like fork(2): the child continues with a copy of the caller's memory and shares what `flags` name.
/// Returns 0 in the child.
///
/// # Errors
/// As clone(2).
///
/// # Safety
/// `flags` must not hold CLONE_VM (the child would run on the caller's stack), CLONE_SETTLS or a flag that takes a
/// pointer. The caller must be the only thread of its process.
pub unsafe fn fork_sharing(flags: u64) -> Result<Pid, Errno> {
    debug_assert_eq!(flags & libc::CLONE_VM as u64, 0);
    const SIGNAL: u64 = 0xff;
    let ending = libc::SIGCHLD as u64;
    if flags & SIGNAL == 0 {
        // SAFETY: the caller's.
        let pid = unsafe { crate::abi::fork(flags | ending) };
        pid.map(|pid| Pid::from_raw(pid as i32)).map_err(|errno| Errno::from_raw(errno.into_raw()))
    } else {
        // CLONE_NEWTIME (0x80) lies within CSIGNAL: only clone3(2) takes it.
        let arguments = [flags, 0, 0, 0, ending, 0, 0, 0];
        // SAFETY: as above; the arguments live through the call.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
        Errno::result(pid).map(|pid| Pid::from_raw(pid as i32))
    }
}

impl Test {
    /// Runs `body` as the rest of the current task and exits with a status that [`Task::join`] understands. For a task
    /// that continues in another thread than it began in.
    pub fn end_task(&self, body: impl FnOnce() -> Done) -> ! {
        let status = match catch(body) {
            Ok(Ok(())) => COMPLETE,
            Ok(Err(Stop(()))) => STOPPED,
            Err(message) => {
                self.log().write(&Record::Panicked(message));
                STOPPED
            }
        };
        exit_now(status)
    }

    /// Starts a task that shares what `flags` (of clone(2), without CLONE_VM) name, and runs `body` in it. Diagnostics
    /// call it `name`.
    ///
    /// # Errors
    /// clone(2) failed: the case is broken.
    #[track_caller]
    pub fn spawn_sharing(&self, name: &str, flags: u64, body: impl FnOnce(&Test) -> Done) -> Done<Task> {
        let parent = nix::unistd::getpid();
        // SAFETY: callers pass sharing flags only; bodies of cases run single-threaded.
        let result = unsafe { fork_sharing(flags) };
        match self.setup(Call::new(format!("clone({flags:#x}|SIGCHLD)"), result))? {
            pid if pid.as_raw() == 0 => {
                die_with_parent(parent);
                self.name_task(name);
                self.end_task(|| body(self))
            }
            pid => Ok(Task { pid, name: name.to_owned(), reaped: false }),
        }
    }

    /// Forks a task that shares nothing and runs `body` in it.
    ///
    /// # Errors
    /// fork failed: the case is broken.
    #[track_caller]
    pub fn spawn(&self, name: &str, body: impl FnOnce(&Test) -> Done) -> Done<Task> {
        self.spawn_sharing(name, 0, body)
    }

    /// Runs `body` in a child and waits for it.
    ///
    /// # Errors
    /// As [`Task::join`].
    #[track_caller]
    pub fn in_child(&self, body: impl FnOnce(&Test) -> Done) -> Done {
        self.spawn("child", body)?.join(self)
    }
}
