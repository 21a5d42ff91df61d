//! Random histories of several tasks, compared step by step with the [model of a world](crate::spec::world).
//!
//! A walk is many histories. Each begins with one task, and every step is drawn from those that some task can take,
//! towards what the model has been through least. After each step result, errno and the whole state of all tasks are
//! compared. A mismatch ends its history, and the first of each requirement is shrunk to the fewest steps and flags that
//! still differ.

mod actor;
mod compare;
mod shrink;
mod stage;

use crate::observe::{self, Observer, Place, State, place_of};
use crate::sharing::undo::{self, Semaphore, take_with_undo};
use crate::spec::prelude::{all as all_of, *};
use crate::spec::world::{Draw, Mix, Op, Visited, What, World};
use crate::tasks::shm::{Word, map_file};
use crate::tasks::vm::Stack;

use crate::call::raw::unshare_raw;
use crate::observe::fds::dup_to;
pub use actor::run_if_executed;
use compare::{Comparer, Mismatch};
use stage::{Lost, Stage, Theatre};

/// A step, and who takes it.
pub type Step = (usize, Op);

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
}

impl<'t> Walker<'t> {
    /// Begins a history.
    #[track_caller]
    fn new(t: &'t Test, theatre: &'t Theatre) -> Done<Self> {
        let stage = Stage::new(t, theatre)?;
        let world = theatre.start.clone();
        let states =
            stage.look(&world).map_err(|(at, lost)| t.broken(format!("look of task {at}"), format!("{lost:?}")))?;
        let mut comparer = Comparer::new(states[0].unwrap_or_default(), theatre.places, theatre.every);
        match comparer.compare(&stage, &world, &world, None) {
            Ok(()) => Ok(Self { stage, world, comparer }),
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
        let before = self.world.clone();
        let outcome = self.world.step(at, op);
        let result = match self.stage.take(&before, at, op)? {
            Ok(result) => result,
            Err(lost) => {
                let actual = match lost {
                    Lost::Hangs => "it does not return",
                    Lost::Ended => "its task has ended",
                };
                return Ok(Err(Mismatch::new(What::Result(at, *op), told(outcome.result), actual, outcome.because)));
            }
        };
        let expected = outcome.result.map_or_else(|errno| -(errno as i64), |()| 0);
        if result != expected {
            let actual = match Call::zero_on_success("", result).result() {
                Ok(()) => "0".to_owned(),
                Err(failure) => format!("{failure:?}"),
            };
            return Ok(Err(Mismatch::new(What::Result(at, *op), told(outcome.result), actual, outcome.because)));
        }
        let compared = self.comparer.compare(&self.stage, &before, &self.world, Some((at, op, &outcome)));
        let refused = matches!(op, Op::Unshare(_)) && outcome.result.is_err();
        Ok(compared.map_err(|mismatch| Mismatch {
            requirement: if refused { of_refusal(mismatch.requirement) } else { mismatch.requirement },
            ..mismatch
        }))
    }

    /// Plays steps, leaving out those that cannot be taken. Gives those that were, and the mismatch of the last one.
    #[track_caller]
    fn play(&mut self, steps: &[Step]) -> Done<(Vec<Step>, Option<Mismatch>)> {
        let mut taken = Vec::new();
        for (at, op) in steps {
            if !self.world.enabled(*at, op) {
                continue;
            }
            taken.push((*at, *op));
            if let Err(mismatch) = self.step(*at, op)? {
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

/// A result in words.
fn told(result: Result<(), Errno>) -> String {
    result.map_or_else(|errno| format!("{errno:?}"), |()| "0".to_owned())
}

/// How many kinds of mismatch a walk reports. What it finds of one kind once, it finds again and again.
const MOST_KINDS: usize = 5;

/// Walks, with histories of this mix.
pub fn walk(t: &Test, mix: Mix) -> Done {
    let theatre = Theatre::new(t)?;
    let mut visited = Visited::default();
    let all = t.steps().unwrap_or_else(|| steps(t.tier()));
    let (mut done, mut histories) = (0, 0);
    let mut found: BTreeMap<&'static str, (Vec<Step>, Mismatch)> = BTreeMap::new();
    while done < all && found.len() < MOST_KINDS {
        let mut draw = Draw::new(mix, t.seed().wrapping_add(histories), t.facts()).with_programs(theatre.has_programs);
        let mut walker = Walker::new(t, &theatre)?;
        let mut history: Vec<Step> = Vec::new();
        for _ in 0..STEPS.min(all - done) {
            let (at, op) = draw.next(&walker.world, &visited);
            if let Some(task) = walker.world.task(at) {
                visited.note(&walker.world, task, &op);
            }
            history.push((at, op));
            if let Err(mismatch) = walker.step(at, &op)? {
                // The rest of this history cannot be compared; other histories can.
                found.entry(mismatch.requirement).or_insert_with(|| (history.clone(), mismatch));
                break;
            }
        }
        done += history.len();
        histories += 1;
        t.progress(done.min(all), all);
    }
    t.note(format!(
        "{done} steps in {histories} histories; of the model: {} states, {} transitions",
        visited.states(),
        visited.transitions()
    ));
    t.check(Call::seen("some steps were compared", done > 0)).is(true)?;
    all_of(found.into_values().map(|(history, mismatch)| shrink::report(t, &theatre, history, mismatch)))
}
