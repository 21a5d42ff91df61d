//! Random histories of several tasks, compared step by step with the [model of a world](crate::spec::world).
//!
//! A walk is many histories. Each begins with one task, and every step is drawn from those that some task can take,
//! towards what the model has been through least. After each step result, errno and the whole state of all tasks are
//! compared. Now and then two tasks take their steps at the same time, and one of both orders must explain what comes of
//! it. A mismatch ends its history, and the first of each requirement is shrunk to the fewest steps and flags that
//! still differ.

mod actor;
mod compare;
mod leaks;
mod shrink;
mod stage;

use crate::observe::{self, Observer, Place, State, place_of};
use crate::sharing::undo::{self, Semaphore, take_with_undo};
use crate::spec::prelude::{all as all_of, *};
use crate::spec::world::{Draw, Mix, Op, Visited, World};
use crate::tasks::shm::{Word, map_file};
use crate::tasks::vm::Stack;

use crate::call::raw::unshare_raw;
use crate::observe::fds::dup_to;
pub use actor::run_if_executed;
use compare::{Comparer, Mismatch, Taken};
pub use leaks::leaks;
#[cfg(test)]
pub(crate) use stage::takes_pidfds;
use stage::{Stage, Theatre};

/// A step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The place of the task that takes it.
    pub at: usize,
    /// What it does.
    pub op: Op,
    /// It is taken at the same time as the next one.
    pub with_next: bool,
}

/// How many steps a history has.
const STEPS: usize = 40;

/// How many steps a walk has in a tier.
fn steps(tier: Tier) -> usize {
    match tier {
        Tier::Quick => 120,
        Tier::Full => 12_000,
        Tier::Exhaustive => 1_000_000,
    }
}

/// A live history, and the world it is compared with.
struct Walker<'t> {
    stage: Stage<'t>,
    world: World,
    comparer: Comparer,
    /// How many steps failed for want of memory.
    starved: usize,
}

impl<'t> Walker<'t> {
    /// Begins a history.
    #[track_caller]
    fn new(t: &'t Test, theatre: &'t Theatre) -> Done<Self> {
        let stage = Stage::new(t, theatre)?;
        let world = theatre.start.clone();
        let states = stage
            .look(&world, false)
            .map_err(|(at, lost)| t.broken(format!("look of task {at}"), format!("{lost:?}")))?;
        let initial = states[0].map_or(State::default(), |seen| seen.state);
        let mut comparer = Comparer::new(initial, theatre.places, theatre.every);
        match comparer.compare(&stage, &world, &[]) {
            Ok(()) => Ok(Self { stage, world, comparer, starved: 0 }),
            // Nothing was called yet.
            Err(mismatch) => {
                Err(t
                    .broken(mismatch.what.to_string(), format!("{} instead of {}", mismatch.actual, mismatch.expected)))
            }
        }
    }

    /// Takes a step, and compares.
    #[track_caller]
    fn step(&mut self, at: usize, op: &Op) -> Done<Result<(), Mismatch>> {
        let result = self.stage.take(&self.world, at, op)?;
        let starved = self.stage.starved(at, op, result);
        self.starved += usize::from(starved.is_some());
        let taken = Taken::new(&mut self.world, at, *op, starved);
        if let Some(mismatch) = taken.differs(result) {
            return Ok(Err(mismatch));
        }
        let refused = matches!(op, Op::Unshare(_) | Op::Starved(..)) && taken.outcome.result.is_err();
        let compared = self.comparer.compare(&self.stage, &self.world, &[taken]);
        Ok(compared.map_err(|mismatch| Mismatch {
            requirement: if refused { of_refusal(mismatch.requirement) } else { mismatch.requirement },
            ..mismatch
        }))
    }

    /// Takes two steps at the same time, and compares: one of both orders must explain everything. The mismatch is that
    /// of the order which explains the results, or else of the first.
    #[track_caller]
    fn steps_together(&mut self, both: [(usize, Op); 2]) -> Done<Result<(), Mismatch>> {
        let [a, b] = both;
        let results = self.stage.take_both(&self.world, [(a.0, &a.1), (b.0, &b.1)])?;
        let mut told: Option<Mismatch> = None;
        for (order, results) in [([a, b], results), ([b, a], [results[1], results[0]])] {
            let mut world = self.world.clone();
            let taken = order.map(|(at, op)| Taken::new(&mut world, at, op, None));
            if let Some(mismatch) = taken.iter().zip(results).find_map(|(taken, result)| taken.differs(result)) {
                told.get_or_insert(mismatch);
                continue;
            }
            let mut comparer = self.comparer.clone();
            match comparer.compare(&self.stage, &world, &taken) {
                Ok(()) => {
                    (self.world, self.comparer) = (world, comparer);
                    return Ok(Ok(()));
                }
                Err(mismatch) => told = Some(mismatch),
            }
        }
        Ok(told.map_or(Ok(()), Err))
    }

    /// Takes a step and, if it is there, one beside it.
    #[track_caller]
    fn turn(&mut self, step: (usize, Op), beside: Option<(usize, Op)>) -> Done<Result<(), Mismatch>> {
        match beside {
            Some(beside) => self.steps_together([step, beside]),
            None => self.step(step.0, &step.1),
        }
    }

    /// Plays steps, leaving out those that cannot be taken. Gives those that were, and the mismatch of the last one.
    #[track_caller]
    fn play(&mut self, steps: &[Step]) -> Done<(Vec<Step>, Option<Mismatch>)> {
        let mut taken = Vec::new();
        let mut left = steps.iter().copied();
        while let Some(step) = left.next() {
            if !self.world.enabled(step.at, &step.op) {
                continue;
            }
            let beside = left
                .clone()
                .next()
                .filter(|next| step.with_next && self.world.may_race((step.at, &step.op), (next.at, &next.op)));
            if beside.is_some() {
                left.next();
            }
            taken.push(Step { with_next: beside.is_some(), ..step });
            taken.extend(beside.map(|beside| Step { with_next: false, ..beside }));
            if let Err(mismatch) = self.turn((step.at, step.op), beside.map(|beside| (beside.at, beside.op)))? {
                return Ok((taken, Some(mismatch)));
            }
        }
        Ok((taken, None))
    }
}

/// Of a call that is refused, the requirement for what it changed all the same, where a call that is not would have
/// violated this one.
fn of_refusal(requirement: &'static str) -> &'static str {
    match requirement {
        "EFF-GEN-01" => "ATOM-S1",
        "EFF-VM-02" | "EFF-FS-06" | "EFF-FILES-06" | "EFF-SEM-05" => "ATOM-S2",
        "EFF-MNT-08" => "ATOM-S3",
        "EFF-SEM-01" => "ATOM-S5",
        "EFF-FILES-01" => "ATOM-S7",
        "EFF-MNT-02" | "EFF-MNT-04" | "EFF-MNT-05" | "EFF-MNT-07" => "ATOM-S9",
        _ => "ATOM-S4",
    }
}

/// How many kinds of mismatch a walk reports. What it finds of one kind once, it finds again and again.
const MOST_KINDS: usize = 5;

/// Walks, with histories of this mix.
pub fn walk(t: &Test, mix: Mix) -> Done {
    walk_in(t, mix, &Theatre::new(t, false)?)
}

/// Walks with calls whose allocations fail.
pub fn walk_starving(t: &Test) -> Done {
    walk_in(t, Mix::Everything, &Theatre::new(t, true)?)
}

fn walk_in(t: &Test, mix: Mix, theatre: &Theatre) -> Done {
    let mut visited = Visited::default();
    let all = t.steps().unwrap_or_else(|| steps(t.tier()));
    let (mut done, mut histories, mut together, mut starved) = (0, 0, 0, 0);
    let mut found: BTreeMap<&'static str, (Vec<Step>, Mismatch)> = BTreeMap::new();
    while done < all && found.len() < MOST_KINDS {
        let mut draw = Draw::new(mix, t.seed().wrapping_add(histories), t.facts(), theatre.offers);
        let mut walker = Walker::new(t, theatre)?;
        let mut history: Vec<Step> = Vec::new();
        let length = STEPS.min(all - done);
        while history.len() < length {
            let (at, op) = draw.next(&walker.world, &visited);
            let beside = draw.beside(&walker.world, (at, &op)).filter(|_| history.len() + 1 < length);
            history.push(Step { at, op, with_next: beside.is_some() });
            history.extend(beside.map(|(at, op)| Step { at, op, with_next: false }));
            for (at, op) in std::iter::once((at, op)).chain(beside) {
                if let Some(task) = walker.world.task(at) {
                    visited.note(&walker.world, task, &op);
                }
            }
            if let Err(mismatch) = walker.turn((at, op), beside)? {
                // The rest of this history cannot be compared; other histories can.
                found.entry(mismatch.requirement).or_insert_with(|| (history.clone(), mismatch));
                break;
            }
        }
        done += history.len();
        starved += walker.starved;
        together += history.iter().filter(|step| step.with_next).count();
        histories += 1;
        t.progress(done.min(all), all);
    }
    t.note(format!(
        "{done} steps in {histories} histories, {together} of them beside another; of the model: {} states, {} \
         transitions",
        visited.states(),
        visited.transitions()
    ));
    t.check(Call::seen("some steps were compared", done > 0)).is(true)?;
    if theatre.offers.starving {
        t.note(format!("{starved} calls failed for want of memory"));
        if starved == 0 && found.is_empty() {
            return Err(t.skip("no call of so few steps failed for want of memory: give it more (--steps)"));
        }
    }
    // Histories that began differently may have the same fault at their ends.
    let mut reported = Vec::new();
    all_of(found.into_values().map(|(history, mismatch)| {
        let shrunk = shrink::shrink(t, theatre, history, mismatch)?;
        if reported.contains(&shrunk.steps) {
            return Ok(());
        }
        reported.push(shrunk.steps.clone());
        shrink::report(t, theatre, shrunk)
    }))
}
