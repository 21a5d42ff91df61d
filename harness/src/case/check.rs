//! The verbs of a case: `check` judges the kernel, `setup` must succeed.

use std::fmt::Debug;

use crate::case::call::Failure;
use crate::common::*;

/// The case must stop; the reason is already recorded.
///
/// Only the verbs of this crate make one, so that an `Err(Stop)` always has its record.
#[derive(Debug)]
pub struct Stop(pub(crate) ());

/// Result of a step of a case: its value, or that the case must stop.
pub type Done<V = ()> = Result<V, Stop>;

/// A call about to be judged. Each verdict returns an error if the call did not do what was expected; a failed check is
/// then recorded.
#[must_use = "say what is expected: `.succeeds()`, `.fails_with(…)`, `.is(…)`"]
pub struct Check<'t, V> {
    test: &'t Test,
    call: Call<V>,
    requirement: Option<&'static str>,
    at: &'static Location<'static>,
}

impl<'t, V: Debug> Check<'t, V> {
    pub(crate) fn new(test: &'t Test, call: Call<V>, at: &'static Location<'static>) -> Self {
        Self { test, call, requirement: None, at }
    }

    /// Names the requirement that this check is about, if the case proves several.
    pub fn proves(mut self, requirement: &'static str) -> Self {
        self.requirement = Some(requirement);
        self
    }

    fn judge(
        self,
        expected: impl FnOnce() -> String,
        holds: impl FnOnce(Result<&V, Failure>) -> bool,
    ) -> Done<Option<V>> {
        self.test.log().count_check();
        if holds(self.call.result()) {
            return Ok(self.call.into_parts().1.ok());
        }
        let (call, result) = self.call.into_parts();
        let actual = result.map_or_else(|failure| format!("{failure:?}"), |value| shown(&value));
        self.test.log().write(&Record::Failed(FailedCheck {
            call: call.into_owned(),
            expected: expected(),
            actual,
            requirement: self.requirement.map_or_else(|| self.test.proves().join(", "), str::to_owned),
            task: self.test.task_name(),
            at: self.at.into(),
        }));
        Err(Stop(()))
    }

    fn value(self, expected: impl FnOnce() -> String, condition: impl FnOnce(&V) -> bool) -> Done<V> {
        let value = self.judge(expected, |result| result.ok().is_some_and(condition))?;
        Ok(value.expect("a condition that holds has a value"))
    }

    /// The call must succeed; returns its value.
    pub fn succeeds(self) -> Done<V> {
        self.value(|| "success".to_owned(), |_| true)
    }

    /// The call must fail with exactly this errno.
    pub fn fails_with(self, errno: Errno) -> Done {
        self.judge(|| format!("{errno:?}"), |result| result.err() == Some(Failure::Errno(errno))).map(drop)
    }

    /// The call must have this result: `Ok` with any value, or this errno.
    pub fn gives(self, expected: Result<(), Errno>) -> Done {
        match expected {
            Ok(()) => self.succeeds().map(drop),
            Err(errno) => self.fails_with(errno),
        }
    }

    /// The value must be this one.
    pub fn is(self, expected: V) -> Done
    where
        V: PartialEq,
    {
        self.value(|| shown(&expected), |value| *value == expected).map(drop)
    }

    /// The value must differ from this one.
    pub fn is_not(self, other: V) -> Done
    where
        V: PartialEq,
    {
        self.value(|| format!("anything but {}", shown(&other)), |value| *value != other).map(drop)
    }

    /// The value must satisfy the condition, which `expected` describes.
    pub fn holds(self, expected: &str, condition: impl FnOnce(&V) -> bool) -> Done<V> {
        self.value(|| expected.to_owned(), condition)
    }
}

/// A value as a diagnostic shows it: `()` as 0, plain text as it is, everything else in its debug form.
fn shown<V: Debug>(value: &V) -> String {
    let text = format!("{value:?}");
    let plain = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|inner| !inner.is_empty() && !inner.contains(['"', '\\']));
    match plain {
        _ if text == "()" => "0".to_owned(),
        Some(inner) => inner.to_owned(),
        None => text,
    }
}

impl Test {
    /// Judges the kernel: what follows says what a conforming kernel does.
    #[track_caller]
    pub fn check<V: Debug>(&self, call: Call<V>) -> Check<'_, V> {
        Check::new(self, call, Location::caller())
    }

    /// Takes a step that must succeed before anything can be judged.
    ///
    /// # Errors
    /// It failed: the case is broken, which is recorded.
    #[track_caller]
    pub fn setup<V>(&self, call: Call<V>) -> Done<V> {
        match call.into_parts() {
            (_, Ok(value)) => Ok(value),
            (call, Err(failure)) => Err(self.broken(call, format!("{failure:?}"))),
        }
    }

    /// Skips the case for a reason its needs could not express.
    pub fn skip(&self, reason: impl Into<String>) -> Stop {
        self.log().write(&Record::Skip(reason.into()));
        Stop(())
    }

    /// Ends the case early with what its checks so far say, and tells the reader why.
    pub fn enough(&self, why: impl Into<String>) -> Stop {
        self.note(why);
        Stop(())
    }

    /// Ends the case as broken: its environment allows no verdict.
    #[track_caller]
    pub fn broken(&self, what: impl Into<String>, actual: impl Into<String>) -> Stop {
        self.log().write(&Record::SetupFailed {
            call: what.into(),
            actual: actual.into(),
            task: self.task_name(),
            at: Location::caller().into(),
        });
        Stop(())
    }

    /// Records information for the reader of the verdict.
    pub fn note(&self, text: impl Into<String>) {
        self.log().write(&Record::Note(text.into()));
    }
}

/// Combines several judged steps, so that the first failure does not hide the others.
///
/// # Errors
/// At least one of them stopped.
pub fn all(steps: impl IntoIterator<Item = Done>) -> Done {
    steps.into_iter().fold(Ok(()), Result::and)
}
