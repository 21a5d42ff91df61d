//! From many differing calls to the few causes behind them, each with the fewest flags that show it.

use super::*;

/// One cause.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The fewest flags that show it.
    pub flags: Flags,
    /// What differs with these flags.
    pub mismatches: Vec<Mismatch>,
    /// How many of the calls that were made it explains.
    pub calls: usize,
    /// It was seen in a task that had made other calls, and may need them.
    pub after_others: bool,
    cause: Cause,
}

/// What has to stay the same while flags are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cause {
    kind: Kind,
    expected: Result<(), Errno>,
}

/// What came of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How many calls were compared with the model.
    pub compared: usize,
    /// How many of them differed.
    pub differing: usize,
    /// The causes, in the order they were found.
    pub list: Vec<Finding>,
    /// How many differing calls were left unexplained, once there were enough causes.
    pub unexplained: usize,
}

/// How many causes are looked for. A kernel that goes this wrong needs no more of them.
const ENOUGH: usize = 8;

/// Makes the call with each set of flags and compares it with the model. What differs is shrunk,
/// unless a cause already found explains it.
pub fn find(judge: &Judge, sets: &[Flags], call: &mut dyn FnMut(Flags) -> Done<Seen>) -> Done<Findings> {
    let mut found = Findings::default();
    for &flags in sets {
        let seen = call(flags)?;
        let mismatches = judge.mismatches(flags, &seen);
        found.compared += 1;
        let Some(first) = mismatches.first() else {
            continue;
        };
        found.differing += 1;
        let cause = Cause::of(judge, flags, first);
        let known = |finding: &&mut Finding| finding.cause == cause && flags.contains(finding.flags);
        if let Some(finding) = found.list.iter_mut().find(known) {
            finding.calls += 1;
        } else if found.list.len() == ENOUGH {
            found.unexplained += 1;
        } else {
            let finding = shrink(judge, flags, mismatches, cause, call)?;
            match found.list.iter_mut().find(|other| other.is_same(&finding)) {
                Some(other) => other.calls += 1,
                None => found.list.push(finding),
            }
        }
        // Each call that hangs takes its whole patience: one cause of that is enough.
        if seen.end == End::Hung {
            break;
        }
    }
    Ok(found)
}

impl Cause {
    fn of(judge: &Judge, flags: Flags, first: &Mismatch) -> Self {
        Self { kind: first.kind, expected: judge.prediction(flags).result }
    }
}

impl Findings {
    /// Adds what was seen in tasks that made several calls, unless the same calls, each by a task of its own, differ,
    /// too.
    pub fn add_what_none_explains(&mut self, surprises: Vec<Finding>) {
        for surprise in surprises {
            if !self.list.iter().any(|finding| finding.cause.kind == surprise.cause.kind) {
                self.differing += 1;
                self.list.push(surprise);
            }
        }
    }
}

impl Finding {
    /// What a task saw of its last call of several.
    pub fn after_others(judge: &Judge, flags: Flags, mismatches: Vec<Mismatch>) -> Self {
        let cause = Cause::of(judge, flags, &mismatches[0]);
        Self { flags, mismatches, calls: 1, after_others: true, cause }
    }

    fn is_same(&self, other: &Finding) -> bool {
        self.flags == other.flags && self.cause == other.cause
    }
}

/// Takes flags away, one at a time, as long as the call goes on differing for the same cause.
fn shrink(
    judge: &Judge,
    flags: Flags,
    mismatches: Vec<Mismatch>,
    cause: Cause,
    call: &mut dyn FnMut(Flags) -> Done<Seen>,
) -> Done<Finding> {
    let mut smallest = Finding { flags, mismatches, calls: 1, after_others: false, cause };
    // Each try that hangs would take its whole patience.
    if cause.kind == Kind::Hang {
        return Ok(smallest);
    }
    loop {
        let before = smallest.flags;
        for bit in Flags::each_bit() {
            if !smallest.flags.contains(bit) {
                continue;
            }
            let fewer = smallest.flags & !bit;
            if judge.prediction(fewer).result != cause.expected {
                continue;
            }
            let mismatches = judge.mismatches(fewer, &call(fewer)?);
            if mismatches.first().is_some_and(|first| first.kind == cause.kind) {
                smallest.flags = fewer;
                smallest.mismatches = mismatches;
            }
        }
        if smallest.flags == before {
            return Ok(smallest);
        }
    }
}

#[cfg(test)]
mod tests;
