//! What a task that called unshare must look like: as the model says, with its own traces on what
//! it has to itself and nobody else's.

use std::fmt::Debug;

use super::*;
use crate::observe::sharing;

/// Checks that what was seen is what it must be.
#[track_caller]
pub(super) fn check_is<V: Debug + PartialEq>(t: &Test, what: impl Into<String>, seen: V, expected: V) -> Done {
    t.check(Call::seen(what.into(), seen)).proves("RACE-01").is(expected)
}

/// Checks that a call by a task succeeded, by what it left in the register.
#[track_caller]
pub(super) fn check_success(t: &Test, what: String, register: &AtomicI64) -> Done {
    t.check(Call::zero_on_success(what, register.load(Ordering::Acquire))).proves("RACE-01").succeeds()
}

/// Compares by kcmp(2), where the kernel has it, what a task still shares with `starter` with what
/// the model says that it left. Before, the two shared everything: clone(2) gives both an undo list
/// when it shares one.
pub(super) fn judge_sharing(t: &Test, flags: Flags, start: &Start, starter: i32, (task, number): (i32, usize)) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let separated = predict(start, flags, &Kernel::of(t.facts())).separated;
    for what in Shared::ALL {
        let flag = what.clone_flag();
        let call = sharing(what, starter, task);
        t.check(call.called(format!("whether task {number} shares {flag} after unshare({flags})")))
            .proves("RACE-01")
            .is(!separated.contains(flag))?;
    }
    Ok(())
}

/// Compares one task that unshared with the model.
pub(super) fn judge_one(t: &Test, flags: Flags, start: &Start, slot: &Slot, number: usize) -> Done {
    let prediction = predict(start, flags, &Kernel::of(t.facts()));
    let result = slot.result.load(Ordering::Acquire);
    t.check(Call::zero_on_success(format!("unshare({flags}) by task {number}"), result))
        .proves("RACE-01")
        .gives(prediction.result)?;
    let (before, after) = (slot.view(Which::Before), slot.view(Which::After));
    check_changes(t, flags, "RACE-01", &prediction, &before.state, &after.state)?;
    check_success(t, format!("traces of task {number} after unshare({flags})"), &slot.leaving)?;
    if slot.stage() < Stage::Settled {
        return Ok(());
    }
    let settled = slot.view(Which::Settled);
    let mine = |flag: Flags| prediction.result.is_ok() && with_implied(flags).contains(flag);
    let seen = |what: &str| format!("{what} of task {number} after unshare({flags}), when all had left their traces");
    let umask = if mine(Flags::FS) { Trace::of_task(number).umask } else { before.state.umask };
    check_is(t, seen("umask"), settled.state.umask, umask)?;
    let traces = if mine(Flags::FILES) { 1 << number } else { 0 };
    check_is(t, seen("trace descriptors"), settled.traces, traces)?;
    let name = |view: &View| String::from_utf8_lossy(&view.state.host_name).trim_end_matches('\0').to_owned();
    let own = format!("s-{}", (b'0' + number as u8) as char);
    check_is(t, seen("host name"), name(&settled), if mine(Flags::NEWUTS) { own } else { name(&before) })?;
    // A task with a mount namespace of its own sees its own mount and nobody else's.
    let (text, place) = (seen("mount on the directory"), settled.directory);
    if !mine(Flags::NEWNS) {
        check_is(t, text, place, before.directory)
    } else if flags.contains(Flags::EMPTY) {
        check_is(t, text, place.inode, 0)
    } else {
        let own = |place: &Place| place.inode != 0 && place.device != after.directory.device;
        t.check(Call::seen(text, place)).proves("RACE-01").holds("a mount of its own", own).map(drop)
    }
}
