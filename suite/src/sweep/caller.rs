//! The process that makes one call: made by a bare clone(2) from the prepared one, it calls, looks
//! at itself, writes down what it saw, and exits.
//!
//! It runs on the caller's memory or a copy of it, perhaps beside other tasks in it: between its
//! first step and its end there are raw system calls and plain memory only.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futex::{Futex, Shared};
use harness::prelude::*;
use harness::task::fork_sharing;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use syscalls::{Sysno, syscall};

use super::ground::{Ground, Making};
use super::judge::{End, SEMAPHORE, Seen, Undo};
use crate::flags::Flags;
use crate::observe::{Observer, State};
use crate::row::THREADS_SHARE;
use crate::semaphores;
use crate::shared_memory::map_zeroed;
use crate::sharing::{find_marks, leave_marks, shared_flags};
use crate::sys::unshare_raw;
use crate::vm_task::{Stack, start_on};

/// How long a call may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a waiting process looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// What a calling process writes down. Lives in memory that stays shared whatever it calls.
#[repr(C)]
struct Slot {
    /// [`NOTHING`], [`LOOK`], [`LOOKED`] or [`DONE`].
    turn: Futex<Shared>,
    written: UnsafeCell<Written>,
}

/// The process has not come so far.
const NOTHING: u32 = 0;
/// It cannot look at everything itself, and waits for who made it to look.
const LOOK: u32 = 1;
/// That was done.
const LOOKED: u32 = 2;
/// It has written down all, and ends.
const DONE: u32 = 3;

/// Plain data; zeroes are valid.
#[derive(Clone, Copy)]
#[repr(C)]
struct Written {
    /// The errno of a step before the call that did not work.
    failed: i32,
    register: i64,
    ids: [i32; 3],
    /// Who was asked about with kcmp(2).
    sharer: i32,
    after: State,
    shared: u64,
    /// kcmp(2)'s errno.
    refused: i32,
    /// The semaphore's value, or −1.
    semaphore: i32,
}

// SAFETY: one side at a time touches what was written; `turn` orders them.
unsafe impl Sync for Slot {}

/// Who calls. Lives in the memory of the process that makes the callers.
struct Errand {
    observer: Observer,
    /// The call; none to see what a caller looks like before it.
    call: Option<Flags>,
    ground: Plain,
    slot: &'static Slot,
    /// Set by a caller at its end: seen by who made it if they share their memory.
    touched: AtomicU32,
    stack: *const Stack,
}

/// What a caller has to know of its state, as plain data.
#[derive(Clone, Copy)]
struct Plain {
    /// A PID namespace to make the one of its children, or −1.
    children_ns: i32,
    semaphore: i32,
    undo: Undo,
    asked: Flags,
    marked: Flags,
    /// Who made the caller: the sharer, unless that is a thread.
    maker: i32,
    may_wait: bool,
}

/// Makes callers in a state.
pub struct Caller<'a> {
    ground: &'a Ground,
    observer: Observer,
    plain: Plain,
    slot: &'static Slot,
    stack: Stack,
    second_stack: Stack,
    sharer_before: Option<State>,
    umask: u32,
    patience: Duration,
}

impl std::fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

extern "C" fn on_tick(_: c_int) {}

/// Has a timer interrupt the waits of the process at hand, so that none lasts for ever.
fn tick() -> Result<(), Errno> {
    let action = SigAction::new(
        SigHandler::Handler(on_tick),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGALRM, &action)? };
    let every = libc::timeval {
        tv_sec: TICK.as_secs() as i64,
        tv_usec: 0,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: reads a live structure.
    Errno::result(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) })
        .map(drop)
}

impl<'a> Caller<'a> {
    /// Prepares what all callers need.
    ///
    /// # Errors
    /// A step did not work: the case is broken.
    pub fn prepare(t: &Test, ground: &'a Ground) -> Done<Self> {
        let observer = match ground.observer {
            Some(observer) => observer,
            None => Observer::open(t)?,
        };
        t.setup(Call::new("setitimer()", tick()))?;
        // SAFETY: zeroes are a valid slot.
        let mapped = unsafe { map_zeroed::<Slot>() };
        let company = &ground.company;
        let before = observer.state();
        let shares_with_maker = !matches!(ground.making, Making::SecondThread | Making::LeaderGone)
            && company.made_with != Flags::NONE;
        Ok(Self {
            plain: Plain {
                children_ns: ground.children_ns(),
                semaphore: ground
                    .semaphore
                    .as_ref()
                    .map_or(-1, |semaphore| semaphore.id()),
                undo: company.undo,
                asked: company.asked,
                marked: company.marked,
                maker: std::process::id() as i32,
                may_wait: !matches!(ground.making, Making::Vfork),
            },
            ground,
            observer,
            slot: t.setup(Call::io("mmap(MAP_SHARED)", mapped))?,
            stack: Stack::new(),
            second_stack: Stack::new(),
            sharer_before: shares_with_maker.then_some(before),
            umask: before.umask,
            patience: t.patience(PATIENCE),
        })
    }

    /// What a caller looks like before its call, but for its IDs.
    ///
    /// # Errors
    /// Two of them do not look the same, or cannot be made: the case is broken.
    pub fn before(&self, t: &Test) -> Done<State> {
        let one = self.run(t, None)?;
        let two = self.run(t, None)?;
        let (a, b) = (
            State {
                ids: [0; 3],
                ..one.after
            },
            State {
                ids: [0; 3],
                ..two.after
            },
        );
        for seen in [&one, &two] {
            if seen.end != End::Exited || seen.after.ids != seen.ids {
                return Err(t.broken("a process that does not call", format!("{:?}", seen.end)));
            }
        }
        if a != b {
            return Err(t.broken("two looks at processes that do not call", "they differ"));
        }
        Ok(a)
    }

    /// Has a fresh process make the call.
    ///
    /// # Errors
    /// It cannot be made, or not be brought into the state: the case is broken.
    pub fn call(&self, t: &Test, flags: Flags) -> Done<Seen> {
        self.run(t, Some(flags))
    }

    fn run(&self, t: &Test, call: Option<Flags>) -> Done<Seen> {
        let slot = self.slot;
        slot.turn.value.store(NOTHING, Ordering::Release);
        let errand = Errand {
            observer: self.observer,
            call,
            ground: self.plain,
            slot,
            touched: 0.into(),
            stack: &raw const self.second_stack,
        };
        let pid = self.start(t, &errand)?;
        let mut looks = None;
        if call.is_some() && self.plain.may_wait && self.may_have_to_look(call) {
            looks = self.look(pid);
        }
        let end = self.wait(pid);
        if end == End::Died("SIGKILL".to_owned()) {
            return Err(t.broken(
                "the calling process",
                "it was killed, perhaps for want of memory",
            ));
        }
        if slot.turn.value.load(Ordering::Acquire) != DONE && end == End::Exited {
            return Err(t.broken("the calling process", "it exited before its end"));
        }
        // SAFETY: the process that writes is gone.
        let written = unsafe { *slot.written.get() };
        if written.failed != 0 && end == End::Exited {
            let errno = Errno::from_raw(written.failed);
            return Err(t.broken("preparing the calling process", format!("{errno:?}")));
        }
        let Looks { shared, semaphore } = looks.unwrap_or_else(|| written.looks(&self.plain));
        let marks = if self.plain.marked == Flags::NONE {
            Flags::NONE
        } else {
            find_marks(self.umask)
        };
        let memory =
            self.ground.company.made_with.contains(Flags::VM) && self.sharer_before.is_some();
        let seen = Seen {
            end,
            register: written.register,
            ids: written.ids,
            after: written.after,
            shared,
            marks,
            semaphore,
            semaphore_at_end: self.semaphore_at_end(),
            memory: memory.then(|| errand.touched.load(Ordering::Acquire) == 1),
            sharer: self
                .sharer_before
                .map(|before| (before, self.observer.state())),
        };
        Ok(seen)
    }

    /// Only a caller in a new user or IPC namespace cannot look at all by itself.
    fn may_have_to_look(&self, call: Option<Flags>) -> bool {
        let flags = call.unwrap_or(Flags::NONE);
        let kcmp = self.plain.asked != Flags::NONE && flags.contains(Flags::NEWUSER);
        let semaphore = self.plain.undo == Undo::Own && flags.contains(Flags::NEWIPC);
        kcmp || semaphore
    }

    /// Makes a calling process.
    fn start(&self, t: &Test, errand: &Errand) -> Done<Pid> {
        let argument = std::ptr::from_ref(errand).cast_mut().cast();
        let sharing = match self.ground.making {
            // SAFETY: the errand outlives the process, which is waited for; `serve` keeps to the
            // rules of such tasks.
            Making::Memory { with } => unsafe {
                return start_on(t, with | Flags::VM, &self.stack, serve, argument);
            },
            Making::Vfork => unsafe {
                // SAFETY: as above.
                let flags = Flags::VM | Flags(libc::CLONE_VFORK as u64);
                return start_on(t, flags, &self.stack, serve, argument);
            },
            Making::Fork => self.ground.company.made_with,
            Making::SecondThread | Making::LeaderGone | Making::Zombie { .. } => Flags::NONE,
        };
        // SAFETY: no CLONE_VM; the process is single-threaded.
        let pid = t.setup(Call::new(format!("clone({sharing}|SIGCHLD)"), unsafe {
            fork_sharing(sharing.0)
        }))?;
        if pid.as_raw() == 0 {
            let failed = match self.ground.making {
                Making::SecondThread => beside_a_thread(t, errand),
                Making::LeaderGone => without_leader(t, errand),
                Making::Zombie { with } => beside_a_zombie(t, errand, with),
                _ => {
                    perform(errand, errand.ground.maker);
                    Ok(())
                }
            };
            // SAFETY: ends the process and nothing else.
            unsafe { libc::_exit(i32::from(failed.is_err())) }
        }
        Ok(pid)
    }

    /// Looks at what the caller cannot look at itself, if it says so.
    fn look(&self, pid: Pid) -> Option<Looks> {
        let turn = &self.slot.turn;
        let start = Instant::now();
        loop {
            match turn.value.load(Ordering::Acquire) {
                LOOK => break,
                DONE => return None,
                other => {
                    let _ = turn.wait_for(other, TICK);
                }
            }
            if is_dead(pid) || start.elapsed() > self.patience {
                return None;
            }
        }
        // SAFETY: the caller waits for its turn.
        let written = unsafe { *self.slot.written.get() };
        let asked = self.plain.asked;
        let shared =
            (asked != Flags::NONE).then(|| shared_flags(pid.as_raw(), written.sharer, asked));
        let semaphore = self.ground.semaphore.as_ref();
        let value = semaphore.and_then(|semaphore| semaphores::value(semaphore.id()).ok());
        turn.value.store(LOOKED, Ordering::Release);
        turn.wake(1);
        Some(Looks {
            shared,
            semaphore: value,
        })
    }

    /// Waits for the caller's end.
    fn wait(&self, pid: Pid) -> End {
        let start = Instant::now();
        loop {
            match waitpid(pid, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) if start.elapsed() > self.patience => {
                    let _ = kill(pid, Signal::SIGKILL);
                    let _ = waitpid(pid, Some(WaitPidFlag::__WALL));
                    return End::Hung;
                }
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::Exited(_, 0)) => return End::Exited,
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return End::Died(signal.as_str().to_owned());
                }
                other => return End::Died(format!("{other:?}")),
            }
        }
    }

    /// The semaphore's value after the caller's end; sets it back.
    fn semaphore_at_end(&self) -> Option<i32> {
        let semaphore = self.ground.semaphore.as_ref()?;
        let value = semaphores::value(semaphore.id()).ok();
        // This also clears what the undo lists of all tasks remember.
        let _ = semaphores::set(semaphore.id(), SEMAPHORE);
        value
    }
}

/// What a caller cannot look at itself in namespaces of its own.
struct Looks {
    shared: Option<Result<Flags, Errno>>,
    semaphore: Option<i32>,
}

impl Written {
    fn looks(&self, plain: &Plain) -> Looks {
        let shared = (plain.asked != Flags::NONE).then_some(match self.refused {
            0 => Ok(Flags(self.shared)),
            errno => Err(Errno::from_raw(errno)),
        });
        Looks {
            shared,
            semaphore: (self.semaphore >= 0).then_some(self.semaphore),
        }
    }
}

fn is_dead(pid: Pid) -> bool {
    let flags =
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

/// A caller that shares its maker's memory.
extern "C" fn serve(errand: *mut c_void) -> c_int {
    // SAFETY: the maker keeps the errand until this process is gone.
    let errand = unsafe { &*errand.cast::<Errand>() };
    perform(errand, errand.ground.maker);
    0
}

/// Calls while a second thread of the process does nothing.
fn beside_a_thread(t: &Test, errand: &Errand) -> Done {
    extern "C" fn idle(_: *mut c_void) -> c_int {
        loop {
            // SAFETY: waits for nothing, without end.
            let _ = unsafe { syscall!(Sysno::ppoll, 0, 0, 0, 0) };
        }
    }
    let thread = THREADS_SHARE | Flags::THREAD;
    // SAFETY: the stack is used by nobody else in this process; the thread makes one system call.
    let second = unsafe { start_on(t, thread, &*errand.stack, idle, std::ptr::null_mut())? };
    perform(errand, second.as_raw());
    Ok(())
}

/// Ends the process's first thread and calls in a second one.
fn without_leader(t: &Test, errand: &Errand) -> Done {
    extern "C" fn carry_on(errand: *mut c_void) -> c_int {
        // SAFETY: lies on the stack of a thread that ended, which stays mapped.
        let errand = unsafe { &*errand.cast::<Errand>() };
        while !errand.observer.leader_has_ended() {
            // SAFETY: no arguments.
            let _ = unsafe { syscall!(Sysno::sched_yield) };
        }
        perform(errand, 0);
        // SAFETY: ends the process and nothing else.
        unsafe { libc::_exit(0) }
    }
    let argument = std::ptr::from_ref(errand).cast_mut().cast();
    // SAFETY: as above; the new thread keeps to the rules.
    unsafe {
        start_on(
            t,
            THREADS_SHARE | Flags::THREAD,
            &*errand.stack,
            carry_on,
            argument,
        )?
    };
    // SAFETY: ends this thread alone.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread that has ended")
}

/// Calls while a process that shared the memory, and more, has ended and is not reaped.
fn beside_a_zombie(t: &Test, errand: &Errand, with: Flags) -> Done {
    extern "C" fn end(_: *mut c_void) -> c_int {
        0
    }
    // SAFETY: the stack is used by nobody else in this process; the body does nothing.
    let pid = unsafe {
        start_on(
            t,
            with | Flags::VM,
            &*errand.stack,
            end,
            std::ptr::null_mut(),
        )?
    };
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    t.setup(Call::new("waitid(WNOWAIT)", waitid(Id::Pid(pid), flags)))?;
    perform(errand, 0);
    let _ = waitpid(pid, Some(WaitPidFlag::__WALL));
    Ok(())
}

/// What every caller does. Raw system calls and plain memory only.
fn perform(errand: &Errand, sharer: i32) {
    let Errand {
        observer,
        ground,
        slot,
        ..
    } = errand;
    // SAFETY: it is the caller's turn.
    let written = unsafe { &mut *slot.written.get() };
    written.failed = 0;
    if ground.children_ns >= 0 {
        // SAFETY: setns(2) takes numbers.
        let moved = unsafe { syscall!(Sysno::setns, ground.children_ns, libc::CLONE_NEWPID) };
        written.failed |= moved.err().map_or(0, |errno| errno.into_raw());
    }
    if ground.undo != Undo::None {
        let taken = semaphores::take_with_undo(ground.semaphore);
        written.failed |= taken.err().map_or(0, |errno| errno as i32);
    }
    written.sharer = sharer;
    written.ids = Observer::ids();
    let [_, caller, _] = written.ids;
    written.register = errand.call.map_or(0, unshare_raw);
    written.after = observer.state();
    if ground.undo == Undo::Shared {
        // Fails in an IPC namespace of its own.
        let _ = semaphores::take_with_undo(ground.semaphore);
    }
    if ground.marked != Flags::NONE {
        leave_marks();
    }
    let shared = match ground.asked {
        Flags::NONE => Ok(Flags::NONE),
        asked => shared_flags(caller, sharer, asked),
    };
    (written.shared, written.refused) = match shared {
        Ok(shared) => (shared.0, 0),
        Err(errno) => (0, errno as i32),
    };
    let readable = ground.undo != Undo::Own || {
        written.semaphore = semaphores::value_raw(ground.semaphore);
        written.semaphore >= 0
    };
    errand.touched.store(1, Ordering::Release);
    if (written.refused != 0 || !readable) && ground.may_wait && errand.call.is_some() {
        slot.turn.value.store(LOOK, Ordering::Release);
        slot.turn.wake(1);
        while slot.turn.value.load(Ordering::Acquire) == LOOK {
            let _ = slot.turn.wait(LOOK);
        }
    }
    slot.turn.value.store(DONE, Ordering::Release);
    slot.turn.wake(1);
}
