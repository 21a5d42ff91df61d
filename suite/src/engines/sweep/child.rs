//! What a calling process does: it is brought into its state, calls, looks at itself, writes down
//! what it saw, and exits.
//!
//! It runs on its maker's memory or a copy of it, perhaps beside other tasks in it: from its call to
//! its end there are raw system calls and plain memory only.

use super::*;

/// What a calling process writes down. Lives in memory that stays shared whatever it calls.
#[repr(C)]
pub(super) struct Slot {
    /// [`NOTHING`], [`LOOK`], [`LOOKED`] or [`DONE`].
    pub(super) turn: Word,
    pub(super) written: UnsafeCell<Written>,
}

/// The process has not come so far.
pub(super) const NOTHING: u32 = 0;
/// It cannot look at everything itself, and waits for who made it to look.
pub(super) const LOOK: u32 = 1;
/// That was done.
pub(super) const LOOKED: u32 = 2;
/// It has written down all, and ends.
pub(super) const DONE: u32 = 3;

/// Plain data; zeroes are valid.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Written {
    /// The errno of a step before the call that did not work.
    pub(super) failed: i32,
    pub(super) register: i64,
    /// How many calls it made; one may not have returned.
    pub(super) made: usize,
    pub(super) ids: [i32; 3],
    /// Who was asked about with kcmp(2).
    pub(super) sharer: i32,
    pub(super) after: State,
    pub(super) shared: u64,
    /// kcmp(2)'s errno.
    pub(super) refused: i32,
    /// The semaphore's value, or −1.
    pub(super) semaphore: i32,
}

// SAFETY: one side at a time touches what was written; `turn` orders them.
unsafe impl Sync for Slot {}

/// Who calls. Lives in the memory of the process that makes the callers.
pub(super) struct Orders<'a> {
    pub(super) observer: Observer,
    /// The calls; none to see what a caller looks like before them.
    pub(super) calls: &'a [Expected],
    /// The state before them, but for the IDs, which none of them is to change where there are several.
    pub(super) before: State,
    pub(super) fixture: Plain,
    pub(super) slot: &'static Slot,
    /// Set by a caller at its end: seen by who made it if they share their memory.
    pub(super) touched: AtomicU32,
    /// 1 until the leader of a calling thread's process has all but ended.
    pub(super) leader: Word,
    /// Who made the caller looks at what that cannot look at itself.
    pub(super) watched: bool,
    /// For a second task of the caller's.
    pub(super) stack: *const Stack,
}

/// A call, and what it is to leave in the register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) flags: Flags,
    pub(super) register: i64,
}

/// What a caller has to know of its state, as plain data.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// A PID namespace to make the one of its children, or −1.
    pub(super) children_ns: i32,
    pub(super) semaphore: i32,
    pub(super) undo: Undo,
    pub(super) asked: Flags,
    pub(super) traceable: Flags,
    /// Who made the caller: the sharer, unless that is a thread.
    pub(super) maker: i32,
    /// How many seconds it has, before it counts as hanging.
    pub(super) patience: i64,
}

/// What a caller cannot look at itself in namespaces of its own.
pub(super) struct Looks {
    pub(super) shared: Option<Result<Flags, Errno>>,
    pub(super) semaphore: Option<i32>,
}

impl Written {
    pub(super) fn looks(&self, plain: &Plain) -> Looks {
        let shared = (plain.asked != Flags::NONE).then_some(match self.refused {
            0 => Ok(Flags(self.shared)),
            errno => Err(Errno::from_raw(errno)),
        });
        Looks { shared, semaphore: (self.semaphore >= 0).then_some(self.semaphore) }
    }
}

/// A caller that shares its maker's memory.
pub(super) extern "C" fn serve(orders: *mut c_void) -> c_int {
    // SAFETY: the maker keeps the orders until this process is gone.
    let orders = unsafe { &*orders.cast::<Orders>() };
    perform(orders, orders.fixture.maker);
    0
}

/// Calls while a second thread of the process does nothing.
pub(super) fn beside_a_thread(t: &Test, orders: &Orders) -> Done {
    extern "C" fn idle(_: *mut c_void) -> c_int {
        loop {
            let _ = call!(ppoll, 0, 0, 0, 0);
        }
    }
    let thread = THREADS_SHARE | Flags::THREAD;
    // SAFETY: the stack is used by nobody else in this process; the thread makes one system call.
    let second = unsafe { start_on(t, thread, &*orders.stack, idle, std::ptr::null_mut())? };
    perform(orders, second.as_raw());
    Ok(())
}

/// Ends the process's first thread and calls in a second one.
pub(super) fn without_leader(t: &Test, orders: &Orders) -> Done {
    extern "C" fn carry_on(orders: *mut c_void) -> c_int {
        // SAFETY: lies on the stack of a thread that ended, which stays mapped.
        let orders = unsafe { &*orders.cast::<Orders>() };
        // The kernel clears this late in the leader's exit; it may need this very processor for it.
        orders.leader.wait_while(1);
        while !orders.observer.leader_has_ended() {
            let _ = call!(sched_yield);
        }
        perform(orders, 0);
        // SAFETY: ends the process and nothing else.
        unsafe { libc::_exit(0) }
    }
    let argument = std::ptr::from_ref(orders).cast_mut().cast();
    // SAFETY: as above; the new thread keeps to the rules.
    unsafe { start_on(t, THREADS_SHARE | Flags::THREAD, &*orders.stack, carry_on, argument)? };
    // SAFETY: the kernel writes to the word when this thread ends, while the other one runs.
    unsafe { libc::syscall(libc::SYS_set_tid_address, orders.leader.as_ptr()) };
    // SAFETY: ends this thread alone.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread that has ended")
}

/// Calls while a process that shared the memory, and more, has ended and is not reaped.
pub(super) fn beside_a_zombie(t: &Test, orders: &Orders, with: Flags) -> Done {
    extern "C" fn end(_: *mut c_void) -> c_int {
        0
    }
    // SAFETY: the stack is used by nobody else in this process; the body does nothing.
    let pid = unsafe { start_on(t, with | Flags::VM, &*orders.stack, end, std::ptr::null_mut())? };
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    t.setup(Call::new("waitid(WNOWAIT)", waitid(Id::Pid(pid), flags)))?;
    perform(orders, 0);
    let _ = waitpid(pid, Some(WaitPidFlag::__WALL));
    Ok(())
}

/// Has the kernel end this process when it takes too long.
fn set_alarm(seconds: i64) {
    const ONCE: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer =
        libc::itimerval { it_interval: ONCE, it_value: libc::timeval { tv_sec: seconds as libc::time_t, tv_usec: 0 } };
    let _ = call!(setitimer, libc::ITIMER_REAL, &raw const timer, 0);
}

/// What every caller does. Raw system calls and plain memory only.
pub(super) fn perform(orders: &Orders, sharer: i32) {
    let Orders { observer, fixture, slot, .. } = orders;
    // SAFETY: it is the caller's turn.
    let written = unsafe { &mut *slot.written.get() };
    written.failed = 0;
    set_alarm(fixture.patience);
    if fixture.children_ns >= 0 {
        let moved = call!(setns, fixture.children_ns, libc::CLONE_NEWPID);
        written.failed |= moved.err().map_or(0, |errno| errno.into_raw());
    }
    if fixture.undo != Undo::None {
        let taken = take_with_undo(fixture.semaphore);
        written.failed |= taken.err().map_or(0, |errno| errno as i32);
    }
    written.sharer = sharer;
    written.ids = observe::ids();
    let [_, caller, _] = written.ids;
    let before = State { ids: written.ids, ..orders.before };
    (written.register, written.made) = (0, 0);
    for expected in orders.calls {
        // Counted first: it may not return.
        written.made += 1;
        written.register = unshare_raw(expected.flags);
        written.after = observer.state();
        // The first surprise is the last call: what follows it says nothing.
        if written.register != expected.register || written.after != before {
            break;
        }
    }
    if orders.calls.is_empty() {
        written.after = observer.state();
    }
    if fixture.undo == Undo::Shared {
        // Fails in an IPC namespace of its own.
        let _ = take_with_undo(fixture.semaphore);
    }
    // Not everywhere there is a descriptor to leave: its table is full, or beyond its limit.
    let _ = Trace::CALLER.leave(fixture.traceable);
    let shared = match fixture.asked {
        Flags::NONE => Ok(Flags::NONE),
        asked => shared_flags(caller, sharer, asked),
    };
    (written.shared, written.refused) = match shared {
        Ok(shared) => (shared.0, 0),
        Err(errno) => (0, errno as i32),
    };
    let readable = fixture.undo != Undo::Own || {
        written.semaphore = undo::value(fixture.semaphore).unwrap_or(-1);
        written.semaphore >= 0
    };
    orders.touched.store(1, Ordering::Release);
    if orders.watched && (written.refused != 0 || !readable) {
        slot.turn.set(LOOK);
        slot.turn.wait_while(LOOK);
    }
    slot.turn.set(DONE);
}
