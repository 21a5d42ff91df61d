//! CLONE_NEWIPC leaves the semaphore undo list behind, as CLONE_SYSVSEM does by name: the pending adjustments are
//! applied at the call, in the old IPC namespace (IMP-07, EFF-SEM-09 and EFF-SEM-10 of the behaviour catalogue). No
//! other flag touches them.
//!
//! The 2006 document had CLONE_SYSVSEM refused as not implemented; it has worked since 2.6.26 (DIFF-04).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (CLONE_SYSVSEM, superseded) and 8 (2); unshare(2), CLONE_NEWIPC and \
                      CLONE_SYSVSEM";

const NEEDS: Needs = Needs::ROOT.with(feature::SYSV_IPC);

/// What the semaphore starts from, and what each operation takes off until it is undone.
const FULL: i32 = 5;
const TAKEN: i32 = 2;

/// Has the peer call unshare(2).
#[track_caller]
fn unshare_in(t: &Test, caller: &Peer, flags: Flags) -> Done<Call<()>> {
    let text = format!("unshare({flags})");
    let register = caller.setup(t, &text, flags.0, |flags| Ok(unshare_raw(Flags(flags))))?;
    Ok(Call::zero_on_success(text, register))
}

fn requirement(flags: Flags) -> &'static str {
    if flags == (Flags::NEWIPC | Flags::SYSVSEM) {
        "IMP-11"
    } else if flags.contains(Flags::NEWIPC) {
        "IMP-07"
    } else if flags == Flags::SYSVSEM {
        "EFF-SEM-01"
    } else {
        "IMP-10"
    }
}

case!(Case {
    name: "implied.undo",
    about: "A task that took from a semaphore with SEM_UNDO gives it back when it calls CLONE_NEWIPC or \
            CLONE_SYSVSEM, at once and while it lives, as an observer in the old IPC namespace sees. Any other flag \
            leaves the adjustment pending until exit.",
    proves: &["IMP-07"],
    quick: one_in(4, 3),
    variants: || Flags::KNOWN
        .into_iter()
        .chain([Flags::NEWIPC | Flags::SYSVSEM])
        .map(|flags| {
            let ids = match requirement(flags) {
                "IMP-07" => vec!["IMP-07", "EFF-SEM-09", "EFF-IPC-10", "DIFF-07"],
                id => vec![id],
            };
            for_flags(flags).proving(ids)
        })
        .collect(),
    run: |t| {
        let flags = t.param::<Flags>();
        let prediction = predict(&Start::of(t.facts()), flags, &Kernel::of(t.facts()));
        let semaphore = Semaphore::new(t, FULL)?;
        let caller = Peer::start(t, "caller", Flags::NONE)?;
        semaphore.add_with_undo(t, Side::Peer(&caller), -TAKEN as i16)?;
        semaphore.check_value(t, "before", FULL - TAKEN, "EFF-SEM-01")?;
        let call = unshare_in(t, &caller, flags)?;
        let given_back = prediction.separated.contains(Flags::SYSVSEM);
        let proved = requirement(flags);
        all([
            t.check(call).proves(proved).gives(prediction.result),
            semaphore.check_value(t, "in the old IPC namespace", if given_back { FULL } else { FULL - TAKEN }, proved),
        ])?;
        caller.end();
        semaphore.check_value(t, "after the caller's end", FULL, proved)
    }
});

case!(Case {
    name: "implied.undo_shared",
    about: "Where the undo list is shared, CLONE_NEWIPC and CLONE_SYSVSEM by one sharer apply nothing: the list \
            stays with the other, and what both took is given back when that one leaves it, in the old IPC \
            namespace.",
    proves: &["IMP-07", "EFF-SEM-03", "EFF-SEM-04", "EFF-SEM-10"],
    variants: || [
        for_flags(Flags::NEWIPC).proving(["IMP-07", "EFF-SEM-10"]),
        for_flags(Flags::SYSVSEM).proving(["EFF-SEM-03", "EFF-SEM-04"]),
        for_flags(Flags::NEWIPC | Flags::SYSVSEM).proving(["IMP-11", "EFF-SEM-10"]),
    ]
    .into(),
    run: |t| {
        let flags = t.param::<Flags>();
        expect_claimed(t, flags | Flags::SYSVSEM)?;
        let prediction = predict(&Start::of(t.facts()), flags, &Kernel::of(t.facts()));
        let semaphore = Semaphore::new(t, FULL)?;
        let caller = Peer::start(t, "caller", Flags::SYSVSEM)?;
        semaphore.add_with_undo(t, Side::Peer(&caller), -TAKEN as i16)?;
        semaphore.add_with_undo(t, Side::Caller, -TAKEN as i16)?;
        let both_taken = FULL - 2 * TAKEN;
        t.check(semaphore.value(t, Side::Caller)?).is(both_taken)?;
        t.check(unshare_in(t, &caller, flags)?).gives(prediction.result)?;
        t.check(semaphore.value(t, Side::Caller)?).is(both_taken)?;
        if t.facts().has(feature::KCMP) {
            let (own, other) = (std::process::id() as i32, caller.pid().as_raw());
            t.check(observe::sharing(Shared::Sysvsem, own, other)).is(false)?;
        }
        // This task was the last to hold the list.
        t.check(unshare(Flags::SYSVSEM)).succeeds()?;
        t.check(semaphore.value(t, Side::Caller)?).is(FULL)
    }
});
