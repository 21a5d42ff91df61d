//! What of one call differs from the model.

use crate::observe::differences;
use crate::prelude::*;
use crate::spec::model::rows;
use crate::spec::prelude::*;

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
        let call = Compared { sharing: self.sharing, flags, prediction: &prediction, seen };
        let unexpected = match &seen.end {
            End::Exited => None,
            End::Died(how) => Some((Kind::Death, how.clone())),
            End::Hung => Some((Kind::Hang, "no return, until the caller was killed".to_owned())),
        };
        if let Some((kind, actual)) = unexpected {
            let expected = result_text(prediction.result);
            return vec![call.mismatch(kind, expected, actual, prediction.because)];
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
}

impl Compared<'_> {
    fn mismatch(&self, kind: Kind, expected: String, actual: String, requirement: &'static str) -> Mismatch {
        Mismatch { kind, expected, actual, requirement }
    }

    fn result(&self) -> Option<Mismatch> {
        let register = self.seen.register;
        let expected = match self.prediction.result {
            Ok(()) => 0,
            Err(errno) => -i64::from(errno as i32),
        };
        (register != expected).then(|| {
            self.mismatch(
                Kind::Result(register),
                result_text(self.prediction.result),
                register_text(register),
                self.prediction.because,
            )
        })
    }

    fn changes(&self, before: &State) -> Option<Mismatch> {
        let prediction = self.prediction;
        let changed = before.changed_parts(&self.seen.after);
        let missing = prediction.must_change - changed;
        let uncalled = changed - (prediction.must_change | prediction.may_change);
        let first = |parts: Parts| parts.iter().next().unwrap_or(Part::MntNs);
        let row = |parts| rows::of_part(first(parts), prediction, self.flags);
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
            let expected = format!("{}, {named}", result_text(prediction.result));
            let actual = format!("{}, and {}", register_text(self.seen.register), changes.join("; "));
            return Some(self.mismatch(Kind::Changed, expected, actual, row(uncalled)));
        }
        (missing != Parts::NONE).then(|| {
            let expected = format!("{}, and a change of {missing}", result_text(prediction.result));
            let actual = format!("{}, and no such change", register_text(self.seen.register));
            self.mismatch(Kind::Unchanged, expected, actual, row(missing))
        })
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
            Some(self.mismatch(Kind::Sharing, expected, actual, requirement))
        };
        if let Some(shared) = self.seen.shared {
            let expected = made_with & asked & !left;
            match shared {
                Ok(shared) => {
                    if let Some(mismatch) = wrong(expected, shared, "by kcmp") {
                        return Some(mismatch);
                    }
                }
                Err(errno) => {
                    let text = format!("kcmp(2) on the caller gives {errno:?}");
                    let expected = format!("still shared afterwards: {}", named(expected));
                    let row = rows::of_sharing(Flags::NONE, self.prediction, self.flags);
                    return Some(self.mismatch(Kind::Sharing, expected, text, row));
                }
            }
        }
        let how = "by umask and descriptors";
        if let Some(mismatch) = wrong(traceable & made_with & !left, self.seen.traces, how) {
            return Some(mismatch);
        }
        if self.seen.memory == Some(false) {
            return wrong(Flags::VM, Flags::NONE, "by a write to memory");
        }
        None
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
        let row = rows::of_semaphore(self.prediction, self.flags);
        let value = |when: &str, value: Option<i32>| match value {
            Some(value) => format!("semaphore {when}: {value}"),
            None => format!("semaphore {when}: unreadable"),
        };
        for (when, expected, seen) in [
            ("after the call", after, self.seen.semaphore),
            ("after the caller's end", Some(at_end), self.seen.semaphore_at_end),
        ] {
            if expected.is_some() && expected != seen {
                let result = result_text(self.prediction.result);
                let expected = format!("{result}, {}", value(when, expected));
                return Some(self.mismatch(Kind::Semaphore, expected, value(when, seen), row));
            }
        }
        None
    }

    fn sharer(&self) -> Option<Mismatch> {
        let (before, after) = self.seen.sharer.as_ref()?;
        let changed = differences(before, after);
        (!changed.is_empty()).then(|| {
            let changes: Vec<_> = changed.iter().map(|difference| difference.to_string()).collect();
            let expected = "no change of the task that the caller shares with".to_owned();
            self.mismatch(Kind::Sharer, expected, format!("its {}", changes.join("; ")), rows::OF_OTHERS)
        })
    }
}

/// What flags of clone(2) share, by its usual names.
fn named(flags: Flags) -> String {
    if flags == Flags::NONE { "nothing".to_owned() } else { flags.to_string() }
}
