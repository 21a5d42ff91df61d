//! The sweep: the whole space of flags in one start state, each call compared with the model in its
//! result and in all its effects.
//!
//! A comparison costs little more than the call itself: the state is prepared once, each set of
//! flags is tried in a process made by one bare clone(2), what it looks like before is known, and
//! what it writes down goes through shared memory. Calls that change nothing leave the state as it
//! is for the next one: one process makes many, and looks at all of its state after each. Only a
//! difference costs more: it is shrunk to the fewest flags that still show it, and reported with the
//! requirement that it contradicts.
//!
//! | module | answers |
//! |---|---|
//! | [`sets`] | which sets of flags a tier tries |
//! | [`states`] | how each start state is prepared |
//! | [`caller`] | the processes that make the calls, one each |
//! | `child` | what such a process does |
//! | [`compare`] | what differs from the model |
//! | [`shrink`] | from many differences to few causes |

pub mod caller;
mod child;
pub mod compare;
pub mod sets;
pub mod shrink;
pub mod states;

use crate::prelude::*;
use caller::Caller;
use compare::{End, Judge, Kind, Mismatch, SEMAPHORE, Seen, Sharing, Undo, register_of};
use shrink::{Finding, Findings, find};
use states::{Fixture, Making};

/// How many causes are reported one by one.
const REPORTED: usize = 4;

/// Sweeps the calls of this run's tier in the state that the process at hand is in.
///
/// # Errors
/// Something differs from the model: failed checks are on record.
pub fn sweep(t: &Test, fixture: &Fixture) -> Done {
    let kernel = Kernel::of(t.facts());
    let caller = Caller::prepare(t, fixture)?;
    let before = caller.before(t)?;
    let judge = Judge { start: &fixture.start, kernel: &kernel, sharing: &fixture.sharing, before: &before };
    let start = &fixture.start;
    let mut sets = sets::sets(t.tier(), t.seed(), start, &kernel, fixture.needs_each_alone());
    leave_out_user_namespaces(t, &mut sets);
    let mut piled_up = PiledUp::default();
    let (total, mut calls) = (sets.len(), 0);
    let (still, mut alone): (Vec<Flags>, Vec<Flags>) =
        sets.into_iter().partition(|&flags| judge.prediction(flags).changes_nothing());
    let mut surprises = Vec::new();
    for sets in still.chunks(TOGETHER) {
        let (last, seen) = caller.calls_that_change_nothing(t, &judge, sets)?;
        let mismatches = judge.mismatches(last, &seen);
        if mismatches.is_empty() {
            calls += sets.len();
            t.progress(calls, total);
        } else {
            surprises.push(Finding::after_others(&judge, last, mismatches));
            alone.extend(sets);
        }
        // Each call that hangs takes its whole patience.
        if seen.end == End::Hung {
            break;
        }
    }
    let together = calls;
    let mut found = find(&judge, &alone, &mut |flags| {
        // Those that shrink a difference count too, but are few.
        calls += 1;
        t.progress(calls, total);
        piled_up.call(t, &judge, &caller, flags)
    })?;
    found.compared += together;
    found.add_what_none_explains(surprises);
    report(t, fixture, &found)
}

/// How many calls that change nothing one process makes at most.
const TOGETHER: usize = 32;

/// A machine that forbids user namespaces by a limit or a security module, of which the model knows
/// nothing, says nothing of CLONE_NEWUSER.
fn leave_out_user_namespaces(t: &Test, sets: &mut Vec<Flags>) {
    let facts = t.facts();
    if !facts.has(feature::USER_NS) || feature::user_namespace_takes_root(facts) {
        return;
    }
    if let Some(reason) = facts.reason_without(feature::CREATE_USER_NS) {
        t.note(format!("sets with CLONE_NEWUSER were left out: {reason}"));
        sets.retain(|flags| !flags.contains(Flags::NEWUSER));
    }
}

/// Namespaces of tasks that are gone are counted for a while yet (RULE-05): a sweep makes them faster
/// than the kernel clears away, and a small machine's limit is near.
#[derive(Default)]
struct PiledUp {
    made: u32,
    /// Waiting has not helped once: the count is wrong, or the kernel refuses for no reason.
    in_vain: bool,
}

/// How many namespaces a sweep has to have made before a limit can be due to them. Half of a
/// machine's greatest number of threads is the smallest limit there is by itself.
const MAY_PILE_UP: u32 = 200;
const CLEARED_AWAY: Duration = Duration::from_secs(10);

impl PiledUp {
    fn call(&mut self, t: &Test, judge: &Judge, caller: &Caller, flags: Flags) -> Done<Seen> {
        let mut limit = t.time_limit(CLEARED_AWAY);
        loop {
            let seen = caller.call(t, flags)?;
            let expected = judge.prediction(flags).result;
            let full = -i64::from(Errno::ENOSPC as i32);
            let surprise = seen.register == full && expected != Err(Errno::ENOSPC);
            if !surprise || self.made < MAY_PILE_UP || self.in_vain {
                if seen.register == 0 && flags.intersects(Flags::PRIVILEGED | Flags::NEWUSER) {
                    self.made += 1;
                }
                return Ok(seen);
            }
            self.in_vain = !limit.pause(Duration::from_millis(20));
        }
    }
}

/// Turns what was found into checks: one that all calls are as the model says, or one for each of
/// the first few causes.
fn report(t: &Test, fixture: &Fixture, found: &Findings) -> Done {
    let Findings { compared, differing, .. } = *found;
    if found.list.is_empty() {
        let all = Call::seen("calls that the model predicts", compared);
        t.note(format!("{compared} calls compared with the model"));
        return t.check(all).is(compared);
    }
    let checks = found.list.iter().take(REPORTED).flat_map(|finding| {
        let calls = match finding.calls {
            1 => String::new(),
            2 => " (and in one larger set of flags)".to_owned(),
            more => format!(" (and in {} larger sets of flags)", more - 1),
        };
        finding.mismatches.iter().map(move |mismatch| {
            let after = if finding.after_others { " after others that change nothing" } else { "" };
            let text = format!("unshare({}) by {}{after}", finding.flags, fixture.by);
            let actual = format!("{}{calls}", mismatch.actual);
            t.check(Call::seen(text, Said(actual)))
                .proves(mismatch.requirement)
                .holds(&mismatch.expected, |_| false)
                .map(drop)
        })
    });
    let checked = all(checks.collect::<Vec<_>>());
    t.note(format!(
        "{differing} of {compared} calls differ from the model; the flags shown are the minimal \
         reproducer"
    ));
    let more = found.list.len().saturating_sub(REPORTED);
    if more > 0 || found.unexplained > 0 {
        t.note(format!("{more} causes more, and {} calls that were not looked into", found.unexplained));
    }
    checked
}
