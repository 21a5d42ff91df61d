//! What of one call differs from the model.

use crate::prelude::*;
use crate::spec::model::rows;

/// What the caller shares with whom, and what is looked at to tell whether it still does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// What it was made to share (flags of clone(2)).
    pub made_with: Flags,
    /// What kcmp(2) is asked about; nothing without kcmp(2).
    pub asked: Flags,
    /// What traces in the umask and in the table of descriptors can show.
    pub traceable: Flags,
    /// What an undo list remembers.
    pub undo: Undo,
}

/// Whether there are pending adjustments of a semaphore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undo {
    /// None.
    #[default]
    None,
    /// In a list of the caller's own. It took one from [`SEMAPHORE`] before the call.
    Own,
    /// In a list that it shares with another task. It took one before the call and one after it.
    Shared,
}

/// What the semaphore begins with.
pub const SEMAPHORE: i32 = 10;

/// How the caller's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited,
    /// Otherwise.
    Died(String),
    /// Not at all, within its patience. It was killed.
    Hung,
}

/// All that was seen of one call.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How the caller's process ended. Unless it did by itself, nothing else was seen.
    pub end: End,
    /// What the kernel left in the register.
    pub register: i64,
    /// How many calls the caller made; the last may not have returned.
    pub made: usize,
    /// The caller's IDs before the call: the one thing that differs from caller to caller.
    pub ids: [i32; 3],
    /// Its state after the call.
    pub after: State,
    /// What it shared after the call, by kcmp(2), of what was asked.
    pub shared: Option<Result<Flags, Errno>>,
    /// What traces show to be shared, after the call.
    pub traces: Flags,
    /// The value of the semaphore after the call, while the caller lived.
    pub semaphore: Option<i32>,
    /// … and after its end.
    pub semaphore_at_end: Option<i32>,
    /// Whether a write to shared memory was seen, where memory is shared.
    pub memory: Option<bool>,
    /// The sharer's state before all calls, and after this one.
    pub sharer: Option<(State, State)>,
}

/// What differs, as far as it is needed to tell whether two calls differ in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The call ended the caller.
    Death,
    /// It did not return.
    Hang,
    /// It returned something else: this.
    Result(i64),
    /// Something that must change did not.
    Unchanged,
    /// Something else changed.
    Changed,
    /// More or less is shared.
    Sharing,
    /// Adjustments of the semaphore were applied or not.
    Semaphore,
    /// The sharer was changed.
    Sharer,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which kind.
    pub kind: Kind,
    /// What the model says.
    pub expected: String,
    /// What came.
    pub actual: String,
    /// The requirement that is contradicted.
    pub requirement: &'static str,
}

/// Judges the calls made in one state.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The state, as the model has it.
    pub start: &'a Start,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Whom the caller shares with.
    pub sharing: &'a Sharing,
    /// What a caller looks like before the call, but for its IDs.
    pub before: &'a State,
}

impl Judge<'_> {
    /// What the model says of a call.
    pub fn prediction(&self, flags: Flags) -> Prediction {
        predict(self.start, flags, self.kernel)
    }

    /// What of a call differs from the model; the result first.
    pub fn mismatches(&self, flags: Flags, seen: &Seen) -> Vec<Mismatch> {
        let prediction = self.prediction(flags);
        let call = Compared { sharing: self.sharing, flags, prediction: &prediction, seen, unseen: self.kernel.unseen };
        let instead = |kind, actual: &str| {
            let (expected, actual) = (result_text(prediction.result), actual.to_owned());
            vec![Mismatch { kind, expected, actual, requirement: prediction.because }]
        };
        match &seen.end {
            End::Exited => {}
            End::Died(how) => return instead(Kind::Death, how),
            End::Hung => return instead(Kind::Hang, "no return, until the caller was killed"),
        }
        let before = State { ids: seen.ids, ..*self.before };
        if let Some(wrong) = call.result() {
            // What must come of another result says nothing; what must not come of any does.
            let changed = call.changes(&before);
            let changed = changed.filter(|mismatch| mismatch.kind == Kind::Changed);
            return [Some(wrong), changed].into_iter().flatten().collect();
        }
        [call.changes(&before), call.sharing(), call.semaphore(), call.sharer()].into_iter().flatten().collect()
    }
}

/// What a result leaves in the register.
pub fn register_of(result: Result<(), Errno>) -> i64 {
    result.map_or_else(|errno| -i64::from(errno as i32), |()| 0)
}

/// A result as one writes it.
fn result_text(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "0".to_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}

fn register_text(register: i64) -> String {
    match register {
        -4095..0 => match Errno::from_raw(-register as i32) {
            Errno::UnknownErrno => format!("errno {}", -register),
            errno => format!("{errno:?}"),
        },
        other => other.to_string(),
    }
}

struct Compared<'a> {
    sharing: &'a Sharing,
    flags: Flags,
    prediction: &'a Prediction,
    seen: &'a Seen,
    /// What the kernel does not show.
    unseen: Parts,
}

impl Compared<'_> {
    fn result(&self) -> Option<Mismatch> {
        let register = self.seen.register;
        let expected = register_of(self.prediction.result);
        (register != expected).then(|| Mismatch {
            kind: Kind::Result(register),
            expected: result_text(self.prediction.result),
            actual: register_text(register),
            requirement: self.prediction.because,
        })
    }

    fn changes(&self, before: &State) -> Option<Mismatch> {
        let prediction = self.prediction;
        let changed = before.changed_parts(&self.seen.after);
        let missing = prediction.must_change - self.unseen - changed;
        let uncalled = changed - (prediction.must_change | prediction.may_change);
        let first = |parts: Parts| parts.iter().next().unwrap_or(Part::MntNs);
        let differs = |kind, parts, expected: String, actual: String| Mismatch {
            kind,
            expected: format!("{}, {expected}", result_text(prediction.result)),
            actual: format!("{}, and {actual}", register_text(self.seen.register)),
            requirement: rows::of_part(first(parts), prediction, self.flags),
        };
        if uncalled != Parts::NONE {
            let changes: Vec<_> = differences(before, &self.seen.after)
                .into_iter()
                .filter(|difference| uncalled.contains(difference.part))
                .map(|difference| difference.to_string())
                .collect();
            let named = match prediction.must_change | prediction.may_change {
                Parts::NONE => "no change".to_owned(),
                parts => format!("no change but of {parts}"),
            };
            return Some(differs(Kind::Changed, uncalled, named, changes.join("; ")));
        }
        let expected = || format!("and a change of {missing}");
        (missing != Parts::NONE).then(|| differs(Kind::Unchanged, missing, expected(), "no such change".to_owned()))
    }

    fn sharing(&self) -> Option<Mismatch> {
        let Sharing { made_with, asked, traceable, .. } = *self.sharing;
        let left = self.prediction.separated;
        let wrong = |expected: Flags, seen: Flags, how: &str| {
            let differs = Flags(expected.0 ^ seen.0);
            let first = differs.iter().next()?;
            let requirement = rows::of_sharing(first, self.prediction, self.flags);
            let shown = |flags| format!("still shared afterwards: {}", named(flags));
            let expected = format!("{}, {}", result_text(self.prediction.result), shown(expected));
            let actual = format!("{}, {} ({how})", register_text(self.seen.register), shown(seen));
            Some(Mismatch { kind: Kind::Sharing, expected, actual, requirement })
        };
        let expected = made_with & asked & !left;
        let by_kcmp = self.seen.shared.and_then(|shared| match shared {
            Ok(shared) => wrong(expected, shared, "by kcmp"),
            Err(errno) => Some(Mismatch {
                kind: Kind::Sharing,
                expected: format!("still shared afterwards: {}", named(expected)),
                actual: format!("kcmp(2) on the caller gives {errno:?}"),
                requirement: rows::of_sharing(Flags::NONE, self.prediction, self.flags),
            }),
        });
        let by_traces = || wrong(traceable & made_with & !left, self.seen.traces, "by umask and descriptors");
        let by_memory = || {
            self.seen.memory.filter(|seen| !seen).and_then(|_| wrong(Flags::VM, Flags::NONE, "by a write to memory"))
        };
        by_kcmp.or_else(by_traces).or_else(by_memory)
    }

    fn semaphore(&self) -> Option<Mismatch> {
        let left = self.prediction.separated.contains(Flags::SYSVSEM);
        let (after, at_end) = match self.sharing.undo {
            Undo::None => return None,
            Undo::Own if left => (Some(SEMAPHORE), SEMAPHORE),
            Undo::Own => (Some(SEMAPHORE - 1), SEMAPHORE),
            // What was taken before the call is in the list that its sharer keeps; what was taken
            // after it is in that list, too, or else given back at the caller's end.
            Undo::Shared if left => (None, SEMAPHORE - 1),
            Undo::Shared => (None, SEMAPHORE - 2),
        };
        let looks = [
            ("after the call", after, self.seen.semaphore),
            ("after the caller's end", Some(at_end), self.seen.semaphore_at_end),
        ];
        looks.into_iter().find(|(_, expected, seen)| expected.is_some() && expected != seen).map(
            |(when, expected, seen)| {
                let shown = |value: Option<i32>| {
                    format!("semaphore {when}: {}", value.map_or("unreadable".to_owned(), |value| value.to_string()))
                };
                Mismatch {
                    kind: Kind::Semaphore,
                    expected: format!("{}, {}", result_text(self.prediction.result), shown(expected)),
                    actual: shown(seen),
                    requirement: rows::of_semaphore(self.prediction, self.flags),
                }
            },
        )
    }

    fn sharer(&self) -> Option<Mismatch> {
        let (before, after) = self.seen.sharer.as_ref()?;
        let changed = differences(before, after);
        (!changed.is_empty()).then(|| {
            let changes: Vec<_> = changed.iter().map(|difference| difference.to_string()).collect();
            let expected = "no change of the task that the caller shares with".to_owned();
            let actual = format!("its {}", changes.join("; "));
            Mismatch { kind: Kind::Sharer, expected, actual, requirement: rows::OF_OTHERS }
        })
    }
}

/// What flags of clone(2) share, by its usual names.
fn named(flags: Flags) -> String {
    if flags == Flags::NONE { "nothing".to_owned() } else { flags.to_string() }
}
