//! The fewest steps and flags of a history that still differ from the model.

use super::*;
use crate::spec::world::{Reproducer, TASKS};

/// How many times a history is played to shrink it.
const PLAYS: usize = 400;
/// How many times a history is played whose steps may depend on time.
const TRIES: usize = 20;
/// How long that may take on real hardware.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shrinks histories. Its player gives the steps that were taken and how they differ in the end, if they do.
pub(super) struct Shrink<'t, P> {
    t: &'t Test,
    player: P,
    plays: usize,
    until: Duration,
}

impl<'t, M, P: FnMut(&[Step]) -> Done<Option<(Vec<Step>, M)>>> Shrink<'t, P> {
    /// One that has so much time on real hardware.
    pub(super) fn new(t: &'t Test, patience: Duration, player: P) -> Self {
        Self { t, player, plays: 0, until: t.passed() + t.patience(patience) }
    }

    fn goes_on(&self) -> bool {
        self.plays < PLAYS && self.t.passed() < self.until
    }

    /// Plays a history; several times if steps are taken at the same time.
    #[track_caller]
    pub(super) fn play(&mut self, steps: &[Step]) -> Done<Option<(Vec<Step>, M)>> {
        let tries = if steps.iter().any(|step| step.with_next) { TRIES } else { 1 };
        for _ in 0..tries {
            self.plays += 1;
            if let Some(found) = (self.player)(steps)? {
                return Ok(Some(found));
            }
            if !self.goes_on() {
                break;
            }
        }
        Ok(None)
    }

    /// Takes away what is not needed: that steps are taken at the same time, runs of steps, long ones first, then tasks,
    /// then single flags.
    #[track_caller]
    pub(super) fn shrink(&mut self, mut best: (Vec<Step>, M)) -> Done<(Vec<Step>, M)> {
        let in_turn: Vec<Step> = best.0.iter().map(|step| Step { with_next: false, ..*step }).collect();
        if in_turn != best.0
            && let Some(found) = self.play(&in_turn)?
        {
            best = found;
        }
        let mut length = best.0.len() / 2;
        while length > 0 {
            let mut from = 0;
            let mut smaller = false;
            while from + length <= best.0.len() && self.goes_on() {
                let mut fewer = best.0.clone();
                fewer.drain(from..from + length);
                match self.play(&fewer)? {
                    Some(found) if found.0.len() < best.0.len() => (best, smaller) = (found, true),
                    _ => from += length,
                }
            }
            if !smaller || length > 1 {
                length /= 2;
            }
        }
        // Whoever made a task may be able to do what it did.
        for task in 1..TASKS {
            let makes_it = |step: &Step| matches!(step.op, Op::Clone(_, to) if to == task);
            let maker = best.0.iter().find(|step| makes_it(step)).map(|step| step.at);
            let Some(maker) = maker.filter(|_| self.goes_on()) else { continue };
            let others = best.0.iter().filter(|step| !makes_it(step));
            let fewer: Vec<Step> =
                others.map(|step| Step { at: if step.at == task { maker } else { step.at }, ..*step }).collect();
            if let Some(found) = self.play(&fewer)?.filter(|found| found.0.len() < best.0.len()) {
                best = found;
            }
        }
        for at in 0..best.0.len() {
            for bit in (0..64).map(|bit| Flags(1 << bit)) {
                let Some(step) = best.0.get(at).copied() else { break };
                let simpler = match step.op {
                    Op::Unshare(flags) if flags.contains(bit) => Op::Unshare(flags & !bit),
                    Op::Starved(flags, nth) if flags.contains(bit) => Op::Starved(flags & !bit, nth),
                    Op::Clone(flags, to) if flags.contains(bit) => Op::Clone(flags & !bit, to),
                    Op::Enter(flags, of) if flags.contains(bit) => Op::Enter(flags & !bit, of),
                    _ => continue,
                };
                if !self.goes_on() {
                    break;
                }
                let mut fewer = best.0.clone();
                fewer[at] = Step { op: simpler, ..step };
                if let Some(found) = self.play(&fewer)?.filter(|found| found.0.len() <= best.0.len()) {
                    best = found;
                }
            }
        }
        Ok(best)
    }
}

/// What is left of a history that differs.
pub(super) struct Shrunk {
    pub(super) steps: Vec<Step>,
    mismatch: Mismatch,
    /// It differed when it was played again.
    again: bool,
}

/// Shrinks a history that ended with a mismatch.
#[track_caller]
pub(super) fn shrink(t: &Test, theatre: &Theatre, history: Vec<Step>, mismatch: Mismatch) -> Done<Shrunk> {
    let mut shrink = Shrink::new(t, PATIENCE, |steps: &[Step]| {
        let (taken, mismatch) = Walker::new(t, theatre)?.play(steps)?;
        Ok(mismatch.map(|mismatch| (taken, mismatch)))
    });
    Ok(match shrink.play(&history)? {
        Some(found) => {
            let (steps, mismatch) = shrink.shrink(found)?;
            Shrunk { steps, mismatch, again: true }
        }
        None => Shrunk { steps: history, mismatch, again: false },
    })
}

/// Notes the steps of a history.
pub(super) fn tell(t: &Test, steps: &[Step]) {
    for (number, Step { at, op, with_next }) in steps.iter().enumerate() {
        let beside = if *with_next { ", at the same time as the next" } else { "" };
        t.note(format!("step {}{beside}: task {at}: {op}", number + 1));
    }
}

/// Fails the case with what is left of a history.
#[track_caller]
pub(super) fn report(t: &Test, theatre: &Theatre, shrunk: Shrunk) -> Done {
    let Shrunk { steps, mismatch, again } = shrunk;
    if !again {
        t.note("the history does not differ when it is played again: it depends on time, or on what went before");
    }
    tell(t, &steps);
    let Mismatch { what, expected, actual, requirement } = mismatch;
    let release = &t.facts().release;
    let about = format!("{requirement}: {what}: expected {expected}, got {actual} on Linux {release}.");
    let in_turn: Vec<(usize, Op)> = steps.iter().map(|step| (step.at, step.op)).collect();
    if steps.iter().any(|step| step.with_next) {
        t.note("there is no C program of it, since tasks take steps at the same time");
    } else {
        match Reproducer::new(&theatre.start, &in_turn, what).program(&about) {
            Some(program) => t.note(format!("C reproducer:\n{program}")),
            None => t.note(
                "there is no C program of it, since it executes programs, has a task wait for its child, or has an \
                 allocation fail",
            ),
        }
    }
    // It is a mismatch whatever the texts are.
    let call = Call::seen(format!("{what} after these steps"), actual);
    t.check(call).proves(requirement).holds(&expected, |_| false).map(drop)
}
