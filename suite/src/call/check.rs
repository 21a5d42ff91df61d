//! One call to unshare(2), compared with the model in its result and in all its effects.

use std::fmt;

use harness::prelude::*;

use crate::call::raw::unshare;
use crate::observe::{Observer, State, differences};
use crate::spec::flags::Flags;
use crate::spec::model::{Kernel, Parts, Prediction, Start, predict};

/// Text that diagnostics show as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(pub String);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Calls unshare(2) in the task at hand, which is in the state that `start` describes, and compares
/// the result and the whole observed state with the model. Gives what the model predicted.
///
/// # Errors
/// Something differs: a failed check is on record.
#[track_caller]
pub fn check_call(
    t: &Test,
    observer: &Observer,
    start: &Start,
    flags: Flags,
    requirement: &'static str,
) -> Done<Prediction> {
    check_call_by(t, observer, start, flags, requirement, unshare)
}

/// The same, for a call that enters the kernel by another way.
///
/// # Errors
/// Something differs: a failed check is on record.
#[track_caller]
pub fn check_call_by(
    t: &Test,
    observer: &Observer,
    start: &Start,
    flags: Flags,
    requirement: &'static str,
    enter: impl FnOnce(Flags) -> Call<()>,
) -> Done<Prediction> {
    let kernel = Kernel::of(t.facts());
    check_call_on(t, observer, start, &kernel, flags, requirement, enter)
}

/// The same, where the case has set what the facts said of the kernel otherwise.
///
/// # Errors
/// Something differs: a failed check is on record.
#[track_caller]
pub fn check_call_on(
    t: &Test,
    observer: &Observer,
    start: &Start,
    kernel: &Kernel,
    flags: Flags,
    requirement: &'static str,
    enter: impl FnOnce(Flags) -> Call<()>,
) -> Done<Prediction> {
    let prediction = predict(start, flags, kernel);
    let before = observer.state();
    let call = enter(flags);
    let after = observer.state();
    // A call that fails changes nothing, also one that should not have failed.
    let changes = match call.result() {
        Err(Failure::Errno(_)) => Prediction::nothing(),
        _ => prediction,
    };
    all([
        t.check(call).proves(requirement).gives(prediction.result),
        check_changes(t, flags, requirement, &changes, &before, &after),
    ])?;
    Ok(prediction)
}

/// Compares what a call changed with what it must, may and must not change.
///
/// # Errors
/// Something differs: a failed check is on record.
#[track_caller]
pub fn check_changes(
    t: &Test,
    flags: Flags,
    requirement: &'static str,
    prediction: &Prediction,
    before: &State,
    after: &State,
) -> Done {
    let changed = before.changed_parts(after);
    let missing = prediction.must_change - changed;
    let uncalled = changed - (prediction.must_change | prediction.may_change);
    let mut actual: Vec<String> = differences(before, after).iter().map(|difference| difference.to_string()).collect();
    if missing != Parts::NONE {
        actual.push(format!("no change of {missing}"));
    }
    if actual.is_empty() {
        actual.push("nothing".to_owned());
    }
    let expected = match (prediction.must_change, prediction.may_change) {
        (Parts::NONE, Parts::NONE) => "nothing".to_owned(),
        (must, Parts::NONE) => format!("{must}, and nothing else"),
        (must, may) => format!("{must}, perhaps {may}, and nothing else"),
    };
    let what = format!("what unshare({flags}) changed");
    t.check(Call::seen(what, Said(actual.join("; "))))
        .proves(requirement)
        .holds(&expected, |_| missing == Parts::NONE && uncalled == Parts::NONE)
        .map(drop)
}
