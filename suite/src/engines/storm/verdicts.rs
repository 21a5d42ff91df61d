//! What a task that called unshare must look like: as the model says, with its own traces on what
//! it has to itself and nobody else's.

use std::sync::atomic::Ordering;

use crate::feature;
use harness::prelude::*;

use super::segment::{Slot, Stage, View, Which};
use crate::call::check::check_changes;
use crate::observe::{Shared, sharing};
use crate::sharing::probe::Trace;
use crate::spec::flags::Flags;
use crate::spec::model::{Kernel, Start, predict, with_implied};

/// Compares by kcmp(2), where the kernel has it, what a task still shares with `starter` with what
/// the model says that it left. Before, the two shared everything: clone(2) gives both an undo list
/// when it shares one.
pub(super) fn judge_sharing(t: &Test, flags: Flags, start: &Start, starter: i32, (task, number): (i32, usize)) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let separated = predict(start, flags, &Kernel::of(t.facts())).separated;
    for what in Shared::ALL {
        t.check(
            sharing(what, starter, task)
                .called(format!("whether task {number} shares {} after unshare({flags})", what.clone_flag())),
        )
        .proves("RACE-01")
        .is(!separated.contains(what.clone_flag()))?;
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
    let leaving = slot.leaving.load(Ordering::Acquire);
    t.check(Call::zero_on_success(format!("traces of task {number} after unshare({flags})"), leaving))
        .proves("RACE-01")
        .succeeds()?;
    if slot.stage() < Stage::Settled {
        return Ok(());
    }
    let settled = slot.view(Which::Settled);
    let mine = |flag: Flags| prediction.result.is_ok() && with_implied(flags).contains(flag);
    let seen = |what: &str| format!("{what} of task {number} after unshare({flags}), when all had left their traces");
    let expected = |own: bool, trace: u32, other: u32| if own { trace } else { other };
    t.check(Call::seen(seen("umask"), settled.state.umask)).proves("RACE-01").is(expected(
        mine(Flags::FS),
        Trace::of_task(number).umask,
        before.state.umask,
    ))?;
    t.check(Call::seen(seen("trace descriptors"), settled.traces)).proves("RACE-01").is(if mine(Flags::FILES) {
        1 << number
    } else {
        0
    })?;
    let name = String::from_utf8_lossy(&settled.state.host_name).trim_end_matches('\0').to_owned();
    let other = String::from_utf8_lossy(&before.state.host_name).trim_end_matches('\0').to_owned();
    t.check(Call::seen(seen("host name"), name)).proves("RACE-01").is(if mine(Flags::NEWUTS) {
        format!("s-{}", (b'0' + number as u8) as char)
    } else {
        other
    })?;
    judge_mount(t, flags, &before, &after, &settled, number, mine(Flags::NEWNS))
}

/// A task with a mount namespace of its own sees its own mount and nobody else's.
fn judge_mount(
    t: &Test,
    flags: Flags,
    before: &View,
    after: &View,
    settled: &View,
    number: usize,
    separated: bool,
) -> Done {
    let text =
        format!("mount on the directory of task {number} after unshare({flags}), when all had left their traces");
    if separated && flags.contains(Flags::EMPTY) {
        return t.check(Call::seen(text, settled.directory.inode)).proves("RACE-01").is(0);
    }
    if separated {
        return t
            .check(Call::seen(text, settled.directory))
            .proves("RACE-01")
            .holds("a mount of its own", |place| place.inode != 0 && place.device != after.directory.device)
            .map(drop);
    }
    t.check(Call::seen(text, settled.directory)).proves("RACE-01").is(before.directory)
}
