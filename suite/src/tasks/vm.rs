//! Tasks that share the caller's memory: processes made by clone(CLONE_VM).
//!
//! Such a task runs on a stack of its own but with the caller's thread-local storage. Its body must
//! not allocate, panic, or use libc calls that write errno: raw system calls and atomics only.

use std::mem::MaybeUninit;

use crate::spec::prelude::*;
use crate::tasks::end::{has_ended, wait_unreaped};
use crate::tasks::shm::{Word, map_zeroed};

const STACK_SIZE: usize = 64 * 1024;

/// How long to wait for a task before looking whether it is still alive.
const PATIENCE: Duration = Duration::from_millis(200);

/// A process that shares the caller's memory and what else its flags say. Killed and reaped when
/// dropped; its stack stays mapped, since nothing else may be known of a task that was killed.
pub struct VmTask {
    pid: Pid,
    reaped: bool,
    memory: &'static Memory,
}

/// The body of such a task; gives its exit status.
pub type VmBody = extern "C" fn(*mut c_void) -> c_int;

/// Orders and reports. Lives in memory that stays shared even if a kernel separated the rest: such a kernel
/// is noticed by what is read, not by a hang.
#[repr(C)]
struct Control {
    /// Number of the last order, or [`EXIT`].
    order: Word,
    /// Number of the last order carried out.
    report: Word,
    /// What the task read in ordinary memory.
    read: AtomicU32,
}

/// In the caller's ordinary memory.
struct Memory {
    control: &'static Control,
    /// Written by the caller, then by the task.
    word: AtomicU32,
}

/// The order to exit.
const EXIT: u32 = u32::MAX;

extern "C" fn obey(memory: *mut c_void) -> c_int {
    // SAFETY: the argument is leaked by the VmTask that runs this.
    let Memory { control, word } = unsafe { &*memory.cast::<Memory>() };
    let mut done = 0;
    loop {
        done = control.order.wait_while(done);
        if done == EXIT {
            return 0;
        }
        let read = word.load(Ordering::Acquire);
        control.read.store(read, Ordering::Release);
        word.store(!read, Ordering::Release);
        control.report.set(done);
    }
}

impl VmTask {
    /// Starts a task that shares the caller's memory and what else `flags` (of clone(2)) name, and
    /// does nothing until it is asked.
    #[track_caller]
    pub fn start(t: &Test, flags: Flags) -> Done<Self> {
        // SAFETY: zeroes are a valid control block.
        let control = t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed() }))?;
        let memory: &Memory = Box::leak(Box::new(Memory { control, word: 0.into() }));
        let argument = std::ptr::from_ref(memory).cast_mut().cast();
        // SAFETY: the argument is leaked; the body waits and wakes without errno.
        let pid = unsafe { start(t, flags | Flags::VM, obey, argument)? };
        Ok(Self { pid, reaped: false, memory })
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Checks that what the caller writes to ordinary memory the task reads, and the other way round.
    #[track_caller]
    pub fn check_shared(&self, t: &Test, when: &str, requirement: &'static str) -> Done {
        let Memory { control, word } = self.memory;
        let order = control.order.get() + 1;
        let question = 0x5eed_0000 + order;
        word.store(question, Ordering::Release);
        control.order.set(order);
        while control.report.wait_for(order - 1, PATIENCE) != order {
            if has_ended(self.pid) {
                return Err(t.broken("write to memory shared with a CLONE_VM process", "the process is gone"));
            }
        }
        let seen_by_task = control.read.load(Ordering::Acquire) == question;
        let seen_by_caller = word.load(Ordering::Acquire) == !question;
        let text = format!("writes to memory shared with a CLONE_VM process {when}: (seen by it, seen by the caller)");
        t.check(Call::seen(text, (seen_by_task, seen_by_caller))).proves(requirement).is((true, true))
    }

    /// Lets it exit and waits until it is a zombie, not yet reaped.
    #[track_caller]
    pub fn become_zombie(&mut self, t: &Test) -> Done {
        self.memory.control.order.set(EXIT);
        self.expect_end(t, WaitStatus::Exited(self.pid, 0))
    }

    /// Kills it and waits until it is a zombie, not yet reaped.
    #[track_caller]
    pub fn be_killed(&mut self, t: &Test) -> Done {
        t.setup(Call::new("kill(SIGKILL)", kill(self.pid, Signal::SIGKILL)))?;
        self.expect_end(t, WaitStatus::Signaled(self.pid, Signal::SIGKILL, false))
    }

    #[track_caller]
    fn expect_end(&self, t: &Test, expected: WaitStatus) -> Done {
        match wait_unreaped(self.pid) {
            Ok(end) if end == expected => Ok(()),
            other => Err(t.broken("waitid(CLONE_VM task)", format!("{other:?}"))),
        }
    }

    /// Reaps it after [`become_zombie`](Self::become_zombie) or [`be_killed`](Self::be_killed).
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
    memory: UnsafeCell<Vec<u8>>,
}

impl Stack {
    /// The address it grows down from, aligned to 16 bytes.
    pub(crate) fn top(&self) -> *mut c_void {
        let start = self.memory.get();
        // SAFETY: nobody holds a reference to the vector, whose buffer never moves.
        let start = unsafe { (*start).as_mut_ptr() };
        ((start as usize + STACK_SIZE) & !15) as *mut c_void
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self { memory: vec![0; STACK_SIZE].into() }
    }
}

/// clone(2) with CLONE_VM and a fresh stack, which is leaked.
///
/// # Safety
/// `body` must keep to the rules of this module, and `argument` must be valid as long as the task
/// runs.
#[track_caller]
pub unsafe fn start(t: &Test, flags: Flags, body: VmBody, argument: *mut c_void) -> Done<Pid> {
    let stack: &'static Stack = Box::leak(Box::new(Stack::default()));
    // SAFETY: by this function's own conditions; the stack is fresh and leaked.
    unsafe { start_on(t, flags, stack, body, argument) }
}

/// clone(2) with CLONE_VM on a stack of the caller's.
///
/// # Safety
/// As [`start`]; and the stack must be used by no other task, and stay, until this one is gone.
#[track_caller]
pub unsafe fn start_on(t: &Test, flags: Flags, stack: &Stack, body: VmBody, argument: *mut c_void) -> Done<Pid> {
    // SAFETY: by this function's own conditions.
    let pid = unsafe { libc::clone(body, stack.top(), flags.0 as c_int | libc::SIGCHLD, argument) };
    let pid = t.setup(Call::new(format!("clone({flags}|SIGCHLD)"), Errno::result(pid)))?;
    Ok(Pid::from_raw(pid))
}

/// What came of a vfork child.
#[derive(Clone, Copy, Debug)]
pub struct VforkEnd<R> {
    /// What its body gave.
    pub result: R,
    /// Whether the caller sees what the child wrote to ordinary memory at its end.
    pub memory_shared: bool,
}

/// Runs `body` in a vfork child: it shares the caller's memory and what else `sharing` names, and
/// the caller sleeps until the child exits.
#[track_caller]
pub fn in_vfork_child_sharing<A: Sync, R: Copy + Send + 'static>(
    t: &Test,
    sharing: Flags,
    argument: &A,
    body: fn(&A) -> R,
) -> Done<VforkEnd<R>> {
    /// Lives in the caller's memory.
    struct Errand<'a, A, R: 'static> {
        argument: &'a A,
        body: fn(&A) -> R,
        written: AtomicU32,
        answer: &'static Answer<R>,
    }
    /// Lives in memory that stays shared.
    struct Answer<R> {
        done: AtomicU32,
        result: UnsafeCell<MaybeUninit<R>>,
    }
    // SAFETY: the child writes before it sets `done`, the caller reads after it saw that.
    unsafe impl<R: Send> Sync for Answer<R> {}
    extern "C" fn run<A, R: 'static>(errand: *mut c_void) -> c_int {
        // SAFETY: the caller sleeps in clone(2) until this task is gone; the errand outlives it.
        let errand = unsafe { &*errand.cast::<Errand<'_, A, R>>() };
        let result = (errand.body)(errand.argument);
        // SAFETY: nobody else touches the result before `done` is set.
        unsafe { (*errand.answer.result.get()).write(result) };
        errand.written.store(1, Ordering::Release);
        errand.answer.done.store(1, Ordering::Release);
        0
    }
    // SAFETY: zeroes are a valid answer: the result is uninitialised.
    let mapped = unsafe { map_zeroed::<Answer<R>>() };
    let errand = Errand { argument, body, written: 0.into(), answer: t.setup(Call::io("mmap(MAP_SHARED)", mapped))? };
    let flags = sharing | Flags::VM | Flags(libc::CLONE_VFORK as u64);
    let argument = std::ptr::from_ref(&errand).cast_mut().cast();
    // SAFETY: the caller waits for the task below, so the errand outlives it.
    let pid = unsafe { start(t, flags, run::<A, R>, argument)? };
    let status = t.setup(Call::new("waitpid(vfork child)", waitpid(pid, None)))?;
    if errand.answer.done.load(Ordering::Acquire) == 0 {
        return Err(t.broken("vfork child", format!("{status:?} instead of its end")));
    }
    Ok(VforkEnd {
        // SAFETY: written before `done` was set.
        result: unsafe { (*errand.answer.result.get()).assume_init() },
        memory_shared: errand.written.load(Ordering::Acquire) == 1,
    })
}

/// Runs `body` in a vfork child that shares nothing but the memory, and gives what it returned.
#[track_caller]
pub fn in_vfork_child(t: &Test, body: fn() -> i64) -> Done<i64> {
    in_vfork_child_sharing(t, Flags::NONE, &body, |body| body()).map(|end| end.result)
}
