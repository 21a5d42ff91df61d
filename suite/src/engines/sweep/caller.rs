//! Makes the processes that call, each by one bare clone(2) from the prepared one, and gathers what
//! they saw.

use nix::sys::signal::signal;

use super::child::{
    DONE, Expected, LOOK, LOOKED, Looks, NOTHING, Orders, Plain, Slot, beside_a_thread, beside_a_zombie, perform,
    serve, without_leader,
};
use super::*;

/// How long a call may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a waiting process looks whether the other is alive.
const TICK: Duration = Duration::from_secs(1);

/// Makes callers in a state.
pub struct Caller<'a> {
    fixture: &'a Fixture,
    observer: Observer,
    plain: Plain,
    slot: &'static Slot,
    stack: Stack,
    second_stack: Stack,
    sharer_before: Option<State>,
    umask: u32,
}

impl<'a> Caller<'a> {
    /// Prepares what all callers need.
    pub fn prepare(t: &Test, fixture: &'a Fixture) -> Done<Self> {
        let observer = fixture.observer.map_or_else(|| Observer::open(t), Ok)?;
        // The signal that ends a caller that hangs.
        // SAFETY: installs the default action.
        t.setup(Call::new("sigaction(SIGALRM)", unsafe { signal(Signal::SIGALRM, SigHandler::SigDfl) }))?;
        // SAFETY: zeroes are a valid slot.
        let mapped = unsafe { map_zeroed::<Slot>() };
        let sharing = &fixture.sharing;
        let before = observer.state();
        let shares_with_maker =
            !matches!(fixture.making, Making::SecondThread | Making::LeaderGone) && sharing.made_with != Flags::NONE;
        Ok(Self {
            plain: Plain {
                children_ns: fixture.children_ns(),
                semaphore: fixture.semaphore.as_ref().map_or(-1, |semaphore| semaphore.id()),
                undo: sharing.undo,
                asked: sharing.asked,
                traceable: sharing.traceable,
                maker: std::process::id() as i32,
                patience: t.patience(PATIENCE).as_secs() as i64,
            },
            fixture,
            observer,
            slot: t.setup(Call::io("mmap(MAP_SHARED)", mapped))?,
            stack: Stack::default(),
            second_stack: Stack::default(),
            sharer_before: shares_with_maker.then_some(before),
            umask: before.umask,
        })
    }

    /// What a caller looks like before its call, but for its IDs.
    pub fn before(&self, t: &Test) -> Done<State> {
        let one = self.run(t, &[], &State::default())?;
        let two = self.run(t, &[], &State::default())?;
        let (a, b) = (State { ids: [0; 3], ..one.after }, State { ids: [0; 3], ..two.after });
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
    pub fn call(&self, t: &Test, flags: Flags) -> Done<Seen> {
        self.run(t, &[Expected { flags, register: 0 }], &State::default())
    }

    /// Has a fresh process make calls that are to change nothing and look at its state after each, up to the first that
    /// is not as predicted. Gives the flags of the last one it made, and all that was seen then.
    pub fn calls_that_change_nothing(&self, t: &Test, judge: &Judge, sets: &[Flags]) -> Done<(Flags, Seen)> {
        let expected = |&flags: &Flags| Expected { flags, register: register_of(judge.prediction(flags).result) };
        let calls: Vec<Expected> = sets.iter().map(expected).collect();
        let seen = self.run(t, &calls, judge.before)?;
        let last = sets.get(seen.made.saturating_sub(1)).copied();
        Ok((last.unwrap_or(Flags::NONE), seen))
    }

    /// The alarm of a process goes by the clock: where that jumped, or the process had to wait for a CPU, nothing was
    /// seen of the call, and another process makes it.
    fn run(&self, t: &Test, calls: &[Expected], before: &State) -> Done<Seen> {
        loop {
            let start = t.passed();
            let seen = self.run_once(t, calls, before)?;
            if seen.end != End::Hung || t.passed().saturating_sub(start) >= t.patience(PATIENCE) / 2 {
                return Ok(seen);
            }
        }
    }

    fn run_once(&self, t: &Test, calls: &[Expected], before: &State) -> Done<Seen> {
        let slot = self.slot;
        slot.turn.reset(NOTHING);
        let orders = Orders {
            observer: self.observer,
            calls,
            before: *before,
            fixture: self.plain,
            slot,
            touched: 0.into(),
            leader: Word::new(1),
            watched: self.may_have_to_look(calls),
            stack: &raw const self.second_stack,
        };
        let pid = self.start(t, &orders)?;
        let looks = orders.watched.then(|| self.look(pid)).flatten();
        let end = self.wait(pid);
        if end == End::Died("SIGKILL".to_owned()) {
            return Err(t.broken("the calling process", "it was killed, perhaps for want of memory"));
        }
        if slot.turn.get() != DONE && end == End::Exited {
            return Err(t.broken("the calling process", "it exited before its end"));
        }
        // SAFETY: the process that writes is gone.
        let written = unsafe { *slot.written.get() };
        if written.failed != 0 && end == End::Exited {
            let errno = Errno::from_raw(written.failed);
            return Err(t.broken("preparing the calling process", format!("{errno:?}")));
        }
        let Looks { shared, semaphore } = looks.unwrap_or_else(|| written.looks(&self.plain));
        let traces = if self.plain.traceable == Flags::NONE { Flags::NONE } else { Trace::CALLER.find(self.umask) };
        let memory = self.fixture.sharing.made_with.contains(Flags::VM) && self.sharer_before.is_some();
        let seen = Seen {
            end,
            register: written.register,
            made: written.made,
            ids: written.ids,
            after: written.after,
            shared,
            traces,
            semaphore,
            semaphore_at_end: self.semaphore_at_end(),
            memory: memory.then(|| orders.touched.load(Ordering::Acquire) == 1),
            sharer: self.sharer_before.map(|before| (before, self.observer.state())),
        };
        Ok(seen)
    }

    /// Only a caller in a new user or IPC namespace cannot look at all by itself.
    fn may_have_to_look(&self, calls: &[Expected]) -> bool {
        let flags = if let [only] = calls { only.flags } else { Flags::NONE };
        // Who made a vfork child sleeps until its end.
        if self.fixture.making == Making::Vfork {
            return false;
        }
        let kcmp = self.plain.asked != Flags::NONE && flags.contains(Flags::NEWUSER);
        let semaphore = self.plain.undo == Undo::Own && flags.contains(Flags::NEWIPC);
        kcmp || semaphore
    }

    /// Makes a calling process.
    fn start(&self, t: &Test, orders: &Orders) -> Done<Pid> {
        let argument = std::ptr::from_ref(orders).cast_mut().cast();
        let sharing = match self.fixture.making {
            // SAFETY: the orders outlives the process, which is waited for; `serve` keeps to the
            // rules of such tasks.
            Making::Memory { with } => unsafe {
                return start_on(t, with | Flags::VM, &self.stack, serve, argument);
            },
            Making::Vfork => unsafe {
                // SAFETY: as above.
                let flags = Flags::VM | Flags(libc::CLONE_VFORK as u64);
                return start_on(t, flags, &self.stack, serve, argument);
            },
            Making::Fork => self.fixture.sharing.made_with,
            Making::SecondThread | Making::LeaderGone | Making::Zombie { .. } => Flags::NONE,
        };
        // SAFETY: no CLONE_VM; the process is single-threaded.
        let pid = t.setup(Call::new(format!("clone({sharing}|SIGCHLD)"), unsafe { fork_sharing(sharing.0) }))?;
        if pid.as_raw() == 0 {
            let failed = match self.fixture.making {
                Making::SecondThread => beside_a_thread(t, orders),
                Making::LeaderGone => without_leader(t, orders),
                Making::Zombie { with } => beside_a_zombie(t, orders, with),
                _ => {
                    perform(orders, orders.fixture.maker);
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
        loop {
            match turn.wait_for(NOTHING, TICK) {
                LOOK => break,
                DONE => return None,
                _ if has_ended(pid) => return None,
                _ => {}
            }
        }
        // SAFETY: the caller waits for its turn.
        let written = unsafe { *self.slot.written.get() };
        let asked = self.plain.asked;
        let shared = (asked != Flags::NONE).then(|| shared_flags(pid.as_raw(), written.sharer, asked));
        let semaphore = self.fixture.semaphore.as_ref();
        let value = semaphore.and_then(|semaphore| undo::value(semaphore.id()).ok());
        turn.set(LOOKED);
        Some(Looks { shared, semaphore: value })
    }

    /// Waits for the caller's end. It has set itself an alarm.
    fn wait(&self, pid: Pid) -> End {
        loop {
            match waitpid(pid, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::Exited(_, 0)) => return End::Exited,
                Ok(WaitStatus::Signaled(_, Signal::SIGALRM, _)) => return End::Hung,
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return End::Died(signal.as_str().to_owned());
                }
                other => return End::Died(format!("{other:?}")),
            }
        }
    }

    /// The semaphore's value after the caller's end; sets it back.
    fn semaphore_at_end(&self) -> Option<i32> {
        let semaphore = self.fixture.semaphore.as_ref()?;
        let value = undo::value(semaphore.id()).ok();
        // This also clears what the undo lists of all tasks remember.
        let _ = undo::set(semaphore.id(), SEMAPHORE);
        value
    }
}
