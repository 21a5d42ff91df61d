//! The fewest steps and flags of a history that still differ from the model.

use super::*;
use crate::spec::world::Reproducer;

/// How many times a history is played to shrink it.
const PLAYS: usize = 400;
/// How long that may take on real hardware.
const PATIENCE: Duration = Duration::from_secs(2);

struct Shrink<'t> {
    t: &'t Test,
    theatre: &'t Theatre,
    plays: usize,
    until: Duration,
}

impl Shrink<'_> {
    fn goes_on(&self) -> bool {
        self.plays < PLAYS && self.t.passed() < self.until
    }

    /// Plays a history. Gives the steps that were taken and how they differ in the end, if they do.
    #[track_caller]
    fn play(&mut self, steps: &[Step]) -> Done<Option<(Vec<Step>, Mismatch)>> {
        self.plays += 1;
        let mut walker = Walker::new(self.t, self.theatre)?;
        let (taken, mismatch) = walker.play(steps)?;
        Ok(mismatch.map(|mismatch| (taken, mismatch)))
    }

    /// Takes away what is not needed: runs of steps, long ones first, then single flags.
    #[track_caller]
    fn shrink(&mut self, mut best: (Vec<Step>, Mismatch)) -> Done<(Vec<Step>, Mismatch)> {
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
        for at in 0..best.0.len() {
            for bit in (0..64).map(|bit| Flags(1 << bit)) {
                let Some((task, op)) = best.0.get(at).copied() else { break };
                let simpler = match op {
                    Op::Unshare(flags) if flags.contains(bit) => Op::Unshare(flags & !bit),
                    Op::Clone(flags, to) if flags.contains(bit) => Op::Clone(flags & !bit, to),
                    _ => continue,
                };
                if !self.goes_on() {
                    break;
                }
                let mut fewer = best.0.clone();
                fewer[at] = (task, simpler);
                if let Some(found) = self.play(&fewer)?.filter(|found| found.0.len() <= best.0.len()) {
                    best = found;
                }
            }
        }
        Ok(best)
    }
}

/// Shrinks a history that ended with a mismatch, and fails the case with what is left.
#[track_caller]
pub(super) fn report(t: &Test, theatre: &Theatre, history: Vec<Step>, mismatch: Mismatch) -> Done {
    let mut shrink = Shrink { t, theatre, plays: 0, until: t.passed() + t.patience(PATIENCE) };
    let (steps, mismatch, again) = match shrink.play(&history)? {
        Some(found) => {
            let (steps, mismatch) = shrink.shrink(found)?;
            (steps, mismatch, true)
        }
        None => (history, mismatch, false),
    };
    if !again {
        t.note("the history does not differ when it is played again: it depends on time, or on what went before");
    }
    for (number, (at, op)) in steps.iter().enumerate() {
        t.note(format!("step {}: task {at}: {op}", number + 1));
    }
    let Mismatch { what, expected, actual, requirement } = mismatch;
    let release = &t.facts().release;
    let about = format!("{requirement}: {what}: expected {expected}, got {actual} on Linux {release}.");
    match Reproducer::new(&theatre.start, &steps, what).program(&about) {
        Some(program) => t.note(format!("C reproducer:\n{program}")),
        None => t.note("there is no C program of it, since it executes programs"),
    }
    // It is a mismatch whatever the texts are.
    let call = Call::seen(format!("{what} after these steps"), actual);
    t.check(call).proves(requirement).holds(&expected, |_| false).map(drop)
}
