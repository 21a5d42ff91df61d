//! The storm of processes: tasks made by clone(2) that share memory, root and cwd, descriptors,
//! signal handlers and semaphore undo list with their starter and with each other.

use super::*;

/// The value the semaphore starts from; each task takes one from it, to be undone.
const SEMAPHORE: i32 = 100;

/// Runs the storm's rounds.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub fn process_storm(t: &Test) -> Done {
    let stacks: Vec<Stack> = (0..TASKS).map(|_| Stack::default()).collect();
    let draw = |random: &mut fastrand::Rng, pool: &[Flags]| Plan::of_processes(random, TASKS, pool);
    play_rounds(t, draw, |fixture, plan, figures| play(fixture, &stacks, plan, figures))
}

/// Runs rounds of 2 to 64 tasks about one theme.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub fn deep_storm(t: &Test, theme: Theme) -> Done {
    extern "C" fn nothing(_: c_int) {}
    // Without SA_RESTART, so that it would show if a call gave up for it (RACE-20).
    let noticed = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    let signal = t.setup(Call::new("signal", Signal::try_from(SIGNAL)))?;
    // SAFETY: the handler does nothing.
    t.setup(Call::new("sigaction(SIGURG)", unsafe { sigaction(signal, &noticed) }))?;
    let stacks: Vec<Stack> = (0..MOST_TASKS).map(|_| Stack::default()).collect();
    let draw = |random: &mut fastrand::Rng, pool: &[Flags]| Plan::of_theme(theme, random, pool);
    play_rounds(t, draw, |fixture, plan, figures| play(fixture, &stacks, plan, figures))
}

fn play(fixture: &Fixture, stacks: &[Stack], plan: &Plan, figures: &mut Figures) -> Done {
    let t = fixture.t;
    let semaphore = Semaphore::where_there(t, SEMAPHORE)?;
    let semaphore_id = semaphore.as_ref().map_or(-1, Semaphore::id);
    // Kept: nothing may be known of a task that was not seen to end.
    let actions: &'static [Action] = Box::leak(plan.actions.clone().into_boxed_slice());
    let orders: Vec<Orders> =
        (0..actions.len()).map(|number| fixture.orders(number, actions, plan.spread, semaphore_id)).collect();
    let mut tasks = Group::start(t, fixture.segment, &orders, stacks)?;
    tasks.run_round(t)?;
    judge_unsharers(t, &tasks, &orders)?;
    tasks.end_round(t)?;
    judge_endings(t, &tasks, &orders)?;
    figures.add(actions.iter().copied().zip(tasks.slots()));
    semaphore.map_or(Ok(()), |semaphore| judge_semaphore(t, &semaphore, actions.len()))
}

/// All tasks are gone but the starter, which shares their undo list: nothing may have been undone
/// yet, and all of it must be when the last sharer leaves (EFF-SEM-03, EFF-SEM-04, RACE-08).
fn judge_semaphore(t: &Test, semaphore: &Semaphore, tasks: usize) -> Done {
    let taken = SEMAPHORE - tasks as i32;
    semaphore.check_value(t, "with the last sharer alive", taken, "EFF-SEM-03")?;
    t.check(unshare(Flags::SYSVSEM)).proves("RACE-01").succeeds()?;
    semaphore.check_value(t, "when the last sharer has left", SEMAPHORE, "EFF-SEM-04")
}

/// The tasks of a round, seen from their starter. Those that have not ended are killed when it is dropped.
struct Group<'o> {
    segment: &'static Segment,
    orders: &'o [Orders],
    pids: Vec<Pid>,
    endings: Vec<Option<WaitStatus>>,
    patience: Patience,
}

extern "C" fn carry_out(orders: *mut c_void) -> c_int {
    // SAFETY: the orders outlive every task of the round.
    let orders = unsafe { &*orders.cast::<Orders>() };
    let _ = call!(prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
    orders.carry_out()
}

impl<'o> Group<'o> {
    fn start(t: &Test, segment: &'static Segment, orders: &'o [Orders], stacks: &[Stack]) -> Done<Self> {
        let mut tasks = Group {
            segment,
            orders,
            pids: Vec::new(),
            endings: vec![None; orders.len()],
            patience: Patience::new(t.patience(PATIENCE), Tasks::Descendants),
        };
        for (order, stack) in orders.iter().zip(stacks) {
            let argument = std::ptr::from_ref(order).cast_mut().cast();
            // SAFETY: the stack is used by this task alone until it is reaped; the orders and the
            // segment outlive it; its body allocates nothing and writes no errno.
            tasks.pids.push(unsafe { start_on(t, THREADS_SHARE, stack, carry_out, argument)? });
        }
        Ok(tasks)
    }

    fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        self.segment.slots[..self.orders.len()].iter()
    }

    /// Begins the round and waits until every task that unshares has looked twice.
    fn run_round(&mut self, t: &Test) -> Done {
        self.wait_until(t, "all tasks are ready", |_, slot| slot.stage() >= Stage::Ready)?;
        self.segment.go.set(1);
        self.wait_until(t, "all unshare calls have returned", |action, slot| {
            !matches!(action, Action::Unshare(_)) || slot.stage() >= Stage::Done
        })?;
        self.segment.settle.set(1);
        self.wait_until(t, "all tasks that unshared have looked again", |action, slot| {
            !matches!(action, Action::Unshare(_)) || slot.stage() >= Stage::Settled
        })
    }

    /// Lets the tasks end and waits for every one.
    fn end_round(&mut self, t: &Test) -> Done {
        self.segment.end.set(1);
        loop {
            self.reap();
            if self.endings.iter().all(Option::is_some) {
                return Ok(());
            }
            if self.patience.is_over() {
                let missing = self.pids.iter().zip(&self.endings).filter(|(_, e)| e.is_none());
                let missing: Vec<_> = missing.map(|(pid, _)| pid.to_string()).collect();
                return check_is(t, "tasks that have not ended", missing.join(", "), String::new());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn reap(&mut self) {
        for (pid, ending) in self.pids.iter().zip(&mut self.endings).filter(|(_, ending)| ending.is_none()) {
            *ending = match waitpid(*pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) => None,
                other => Some(other.unwrap_or(WaitStatus::StillAlive)),
            };
        }
    }

    fn wait_until(&mut self, t: &Test, what: &str, reached: impl Fn(Action, &Slot) -> bool) -> Done {
        let (segment, orders) = (self.segment, self.orders);
        let tasks = || orders.iter().map(|order| order.action).zip(&segment.slots);
        wait_until(t, segment, &mut self.patience, what, || false, || missing("task", tasks(), &reached))
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        for (pid, _) in self.pids.iter().zip(&self.endings).filter(|(_, ending)| ending.is_none()) {
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, Some(WaitPidFlag::__WALL));
        }
    }
}

/// Compares every task that unshared with the model.
fn judge_unsharers(t: &Test, tasks: &Group, orders: &[Orders]) -> Done {
    let start = Start { handlers_shared: true, memory_shared: true, ..Start::of(t.facts()) };
    let own = getpid().as_raw();
    for ((order, slot), pid) in orders.iter().zip(tasks.slots()).zip(&tasks.pids) {
        let (Action::Unshare(flags), number) = (order.action, order.number) else {
            continue;
        };
        judge_one(t, flags, &start, slot, number)?;
        judge_sharing(t, flags, &start, own, (pid.as_raw(), number))?;
    }
    Ok(())
}

/// Every task must have ended as its action says.
fn judge_endings(t: &Test, tasks: &Group, orders: &[Orders]) -> Done {
    for ((order, slot), ending) in orders.iter().zip(tasks.slots()).zip(&tasks.endings) {
        let number = order.number;
        let expected = match order.action {
            Action::Exec => {
                check_success(t, format!("execve by task {number}"), &slot.result)?;
                EXECUTED
            }
            Action::Exit | Action::ExitThread => exit_status(number),
            Action::Unshare(_) => UNSHARED,
            Action::Disturb(role) => {
                check_success(t, format!("what task {number} did beside, {role:?}"), &slot.result)?;
                DISTURBED
            }
        };
        let status = match ending {
            Some(WaitStatus::Exited(_, status)) => format!("status {status}"),
            other => format!("{other:?}"),
        };
        check_is(t, format!("end of task {number}, {:?}", order.action), status, format!("status {expected}"))?;
        if order.action == Action::Exec {
            let threads = slot.threads.load(Ordering::Acquire);
            check_is(t, format!("threads of the program that task {number} executed"), threads, 1)?;
        }
    }
    Ok(())
}
