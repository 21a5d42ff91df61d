//! Tasks that share the caller's memory: processes made by clone(CLONE_VM).
//!
//! Such a task runs on a stack of its own but with the caller's thread-local storage. Its body must
//! not allocate, panic, or use libc calls that write errno: raw system calls and atomics only.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use futex::{Futex, Shared};
use harness::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::flags::Flags;

const STACK_SIZE: usize = 64 * 1024;

/// A process that shares the caller's memory and what else its flags say. Killed and reaped when
/// dropped; its stack stays mapped, since nothing else may be known of a task that was killed.
#[derive(Debug)]
pub struct VmTask {
    pid: Pid,
    reaped: bool,
    release: &'static Futex<Shared>,
}

/// The body of such a task; gives its exit status.
pub type VmBody = extern "C" fn(*mut c_void) -> c_int;

extern "C" fn wait_for_release(release: *mut c_void) -> c_int {
    // SAFETY: the argument is the leaked futex of the VmTask that runs this.
    let release = unsafe { &*release.cast::<Futex<Shared>>() };
    while release.value.load(Ordering::Acquire) == 0 {
        let _ = release.wait(0);
    }
    0
}

impl VmTask {
    /// Starts a task that shares the caller's memory and what else `flags` (of clone(2)) name, and
    /// does nothing until it is released.
    ///
    /// # Errors
    /// clone(2) refused: the case is broken.
    #[track_caller]
    pub fn idle(t: &Test, flags: Flags) -> Done<Self> {
        let release: &'static Futex<Shared> = Box::leak(Box::new(Futex::new(0)));
        let argument = std::ptr::from_ref(release).cast_mut().cast();
        // SAFETY: the argument is leaked; the body uses raw futex calls only.
        let pid = unsafe { start(t, flags | Flags::VM, wait_for_release, argument)? };
        Ok(Self {
            pid,
            reaped: false,
            release,
        })
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it exit and waits until it is a zombie, not yet reaped.
    ///
    /// # Errors
    /// It ended otherwise: the case is broken.
    #[track_caller]
    pub fn become_zombie(&mut self, t: &Test) -> Done {
        self.release.value.store(1, Ordering::Release);
        self.release.wake(i32::MAX);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            other => Err(t.broken("waitid(CLONE_VM task)", format!("{other:?}"))),
        }
    }

    /// Reaps it after [`become_zombie`](Self::become_zombie).
    pub fn reap(&mut self) {
        if !self.reaped {
            let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
            self.reaped = true;
        }
    }
}

impl Drop for VmTask {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.reap();
        }
    }
}

/// Memory for one task at a time to run on.
#[derive(Debug)]
pub struct Stack {
    memory: std::cell::UnsafeCell<Vec<u8>>,
}

impl Stack {
    /// A stack of the usual size.
    pub fn new() -> Self {
        Self {
            memory: vec![0; STACK_SIZE].into(),
        }
    }

    /// The address it grows down from, aligned to 16 bytes.
    fn top(&self) -> *mut c_void {
        let start = self.memory.get();
        // SAFETY: nobody holds a reference to the vector, whose buffer never moves.
        let start = unsafe { (*start).as_mut_ptr() };
        ((start as usize + STACK_SIZE) & !15) as *mut c_void
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// clone(2) with CLONE_VM and a fresh stack, which is leaked.
///
/// # Errors
/// clone(2) refused: the case is broken.
///
/// # Safety
/// `body` must keep to the rules of this module, and `argument` must be valid as long as the task
/// runs.
#[track_caller]
pub unsafe fn start(t: &Test, flags: Flags, body: VmBody, argument: *mut c_void) -> Done<Pid> {
    let stack: &'static Stack = Box::leak(Box::new(Stack::new()));
    // SAFETY: by this function's own conditions; the stack is fresh and leaked.
    unsafe { start_on(t, flags, stack, body, argument) }
}

/// clone(2) with CLONE_VM on a stack of the caller's.
///
/// # Errors
/// clone(2) refused: the case is broken.
///
/// # Safety
/// As [`start`]; and the stack must be used by no other task, and stay, until this one is gone.
#[track_caller]
pub unsafe fn start_on(
    t: &Test,
    flags: Flags,
    stack: &Stack,
    body: VmBody,
    argument: *mut c_void,
) -> Done<Pid> {
    // SAFETY: by this function's own conditions.
    let pid = unsafe {
        libc::clone(
            body,
            stack.top(),
            flags.0 as c_int | libc::SIGCHLD,
            argument,
        )
    };
    let pid = t.setup(Call::new(
        format!("clone({flags}|SIGCHLD)"),
        Errno::result(pid),
    ))?;
    Ok(Pid::from_raw(pid))
}

/// Runs `body` in a vfork child: it shares the caller's memory, and the caller sleeps until the
/// child exits. Gives what the body returned.
///
/// # Errors
/// The child cannot be made or did not exit by itself: the case is broken.
#[track_caller]
pub fn in_vfork_child(t: &Test, body: fn() -> i64) -> Done<i64> {
    struct Errand {
        body: fn() -> i64,
        result: std::sync::atomic::AtomicI64,
        done: AtomicU32,
    }
    extern "C" fn run(errand: *mut c_void) -> c_int {
        // SAFETY: the caller sleeps in clone(2) until this task is gone; the errand outlives it.
        let errand = unsafe { &*errand.cast::<Errand>() };
        errand.result.store((errand.body)(), Ordering::Release);
        errand.done.store(1, Ordering::Release);
        0
    }
    let errand = Errand {
        body,
        result: 0.into(),
        done: 0.into(),
    };
    let flags = Flags(Flags::VM.0 | libc::CLONE_VFORK as u64);
    let argument = std::ptr::from_ref(&errand).cast_mut().cast();
    // SAFETY: the caller waits for the task below, so the errand outlives it.
    let pid = unsafe { start(t, flags, run, argument)? };
    let status = t.setup(Call::new("waitpid(vfork child)", waitpid(pid, None)))?;
    if errand.done.load(Ordering::Acquire) == 0 {
        return Err(t.broken("vfork child", format!("{status:?} instead of its end")));
    }
    Ok(errand.result.load(Ordering::Acquire))
}
