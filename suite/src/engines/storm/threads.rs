//! The storm of threads: one process, whose threads run unshare while some of them run execve or
//! _exit, which end all the others.

use super::*;

/// The slot of the process's first thread, which starts the others and waits.
const LEADER: usize = MOST_TASKS - 1;

/// Runs the storm's rounds.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub fn thread_storm(t: &Test) -> Done {
    let draw = |random: &mut fastrand::Rng, pool: &[Flags]| Plan::of_threads(random, TASKS, pool);
    play_rounds(t, draw, play)
}

fn play(fixture: &Fixture, plan: &Plan, figures: &mut Figures) -> Done {
    let t = fixture.t;
    let mut group = t.spawn("thread group", |t| lead(t, fixture, plan))?;
    let mut round = Round { t, fixture, plan, patience: Patience::new(t.patience(PATIENCE), Tasks::Descendants) };
    round.run(&mut group)?;
    figures.add(plan.actions.iter().copied().zip(&fixture.segment.slots));
    Ok(())
}

/// The life of the process's first thread.
fn lead(t: &Test, fixture: &Fixture, plan: &Plan) -> Done {
    let segment = fixture.segment;
    let actions: &'static [Action] = Box::leak(plan.actions.clone().into_boxed_slice());
    let leader = fixture.orders(0, actions, plan.spread, -1);
    let slot = &segment.slots[LEADER];
    for number in 0..plan.actions.len() {
        let orders = fixture.orders(number, actions, plan.spread, -1);
        let spawned = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || run(orders));
        t.setup(Call::io("pthread_create()", spawned))?;
    }
    // Only now: the C library catches a signal of its own from the first thread on.
    slot.leave(Which::Before, leader.view());
    segment.reach(slot, Stage::Ready);
    segment.settle.wait_while(0);
    slot.leave(Which::Settled, leader.view());
    segment.reach(slot, Stage::Settled);
    segment.end.wait_while(0);
    // SAFETY: ends the whole thread group, as it is.
    unsafe { libc::_exit(UNSHARED) }
}

fn run(orders: Orders) {
    let status = orders.carry_out();
    // A thread that unshared waits until the process ends, and so ends with it. Only a failed
    // execve comes back before: nothing else would end the process then.
    if matches!(orders.action, Action::Exec) {
        // SAFETY: ends the whole thread group, as it is.
        unsafe { libc::_exit(status) }
    }
}

struct Round<'a> {
    t: &'a Test,
    fixture: &'a Fixture<'a>,
    plan: &'a Plan,
    patience: Patience,
}

impl Round<'_> {
    fn run(&mut self, group: &mut Task) -> Done {
        let segment = self.fixture.segment;
        let ended = || has_ended(group.pid());
        self.wait_until("all threads are ready", ended, |_, slot| slot.stage() >= Stage::Ready)?;
        self.wait_for_leader(Stage::Ready)?;
        segment.go.set(1);
        let fatal = self.plan.ends_the_process();
        if !fatal {
            let done = |action: Action, slot: &Slot| {
                matches!(action, Action::Exec | Action::Exit) || slot.stage() >= Stage::Done
            };
            self.wait_until("all calls have returned", ended, done)?;
        }
        segment.settle.set(1);
        if !fatal {
            let settled =
                |action: Action, slot: &Slot| !matches!(action, Action::Unshare(_)) || slot.stage() >= Stage::Settled;
            self.wait_until("all threads have looked again", ended, settled)?;
            self.wait_for_leader(Stage::Settled)?;
            self.judge_sharing(group)?;
            segment.end.set(1);
        }
        self.judge_ending(group)?;
        self.judge_unsharers()?;
        if !fatal {
            self.judge_leader()?;
        }
        Ok(())
    }

    fn wait_until(&mut self, what: &str, ended: impl Fn() -> bool, reached: impl Fn(Action, &Slot) -> bool) -> Done {
        let (segment, actions) = (self.fixture.segment, &self.plan.actions);
        let threads = || actions.iter().copied().zip(&segment.slots);
        wait_until(self.t, segment, &mut self.patience, what, ended, || missing("thread", threads(), &reached))
    }

    fn wait_for_leader(&mut self, stage: Stage) -> Done {
        let segment = self.fixture.segment;
        let what = format!("the thread group's leader is {stage:?}");
        let missing = || {
            let now = segment.slots[LEADER].stage();
            if now < stage { vec![format!("it is {now:?}")] } else { Vec::new() }
        };
        wait_until(self.t, segment, &mut self.patience, &what, || false, missing)
    }

    fn start_state(&self) -> Start {
        Start { threads: Threads::Others, ..Start::of(self.t.facts()) }
    }

    fn unsharers(&self) -> impl Iterator<Item = (usize, Flags, &'static Slot)> {
        let slots = &self.fixture.segment.slots;
        self.plan.actions.iter().zip(slots).enumerate().filter_map(|(number, (action, slot))| match action {
            Action::Unshare(flags) => Some((number, *flags, slot)),
            _ => None,
        })
    }

    /// While the threads wait: what each shares with the first thread.
    fn judge_sharing(&self, group: &Task) -> Done {
        let (start, leader) = (self.start_state(), group.pid().as_raw());
        for (number, flags, slot) in self.unsharers() {
            let tid = slot.tid.load(Ordering::Acquire) as i32;
            judge_sharing(self.t, flags, &start, leader, (tid, number))?;
        }
        Ok(())
    }

    /// The process must end as one of its threads says, or as the first thread does.
    fn judge_ending(&mut self, group: &mut Task) -> Done {
        let t = self.t;
        while !has_ended(group.pid()) {
            if self.patience.is_over() {
                return check_is(t, "whether the thread group has ended", false, true);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let status = match group.wait() {
            Ok(WaitStatus::Exited(_, status)) => status,
            other => return check_is(t, "end of the thread group", format!("{other:?}"), "an exit".to_owned()),
        };
        let slots = &self.fixture.segment.slots;
        let mut legal = Vec::new();
        for (number, (action, slot)) in self.plan.actions.iter().zip(slots).enumerate() {
            match action {
                Action::Exec => {
                    check_success(t, format!("execve by thread {number}"), &slot.result)?;
                    legal.push(EXECUTED);
                }
                Action::Exit => legal.push(exit_status(number)),
                _ => {}
            }
        }
        if legal.is_empty() {
            legal.push(UNSHARED);
        }
        t.check(Call::seen("exit status of the thread group", status))
            .proves("RACE-01")
            .holds(&format!("one of {legal:?}"), |status| legal.contains(status))?;
        let executed: Vec<_> = slots.iter().filter(|slot| slot.stage() == Stage::Executed).collect();
        check_is(t, "programs that ran by execve", executed.len(), usize::from(status == EXECUTED))?;
        for slot in executed {
            t.check(Call::seen("threads of the executed program", slot.threads.load(Ordering::Acquire)))
                .proves("RACE-02")
                .is(1)?;
        }
        Ok(())
    }

    fn judge_unsharers(&self) -> Done {
        let start = self.start_state();
        for (number, flags, slot) in self.unsharers() {
            // One that execve or _exit overtook has nothing to show.
            if slot.stage() >= Stage::Done {
                judge_one(self.t, flags, &start, slot, number)?;
            }
        }
        Ok(())
    }

    /// The first thread unshared nothing: it looks as before.
    fn judge_leader(&self) -> Done {
        let slot = &self.fixture.segment.slots[LEADER];
        let (before, now): (View, View) = (slot.view(Which::Before), slot.view(Which::Settled));
        let nothing = Prediction::nothing();
        check_changes(self.t, Flags::NONE, "RACE-01", &nothing, &before.state, &now.state)?;
        check_is(self.t, "mount that the first thread sees", now.directory, before.directory)?;
        check_is(self.t, "trace descriptors of the first thread", now.traces, 0)
    }
}
