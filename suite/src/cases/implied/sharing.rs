//! What a flag separates beyond its name, seen through a sibling that shares root, cwd, umask, descriptors and undo
//! list with the caller (section 4 of the behaviour catalogue).
//!
//! Of the 2006 document's implications one is left as it was: CLONE_NEWNS forces CLONE_FS. Since then CLONE_NEWUSER
//! forces CLONE_FS and CLONE_THREAD (3.9 and 3.8), UNSHARE_EMPTY_MNTNS forces CLONE_NEWNS (7.1), and CLONE_NEWIPC
//! leaves the undo list (2.6.26 and later); CLONE_THREAD no longer forces CLONE_VM (about 4.3; DIFF-06, DIFF-07).
//! What CLONE_VM, CLONE_SIGHAND, CLONE_THREAD and CLONE_NEWUSER force on threads is checked by `flags.second_thread`
//! and `flags.sighand_process`.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 and 7.2 (flags that force others) and 8 (2); unshare(2), CLONE_NEWNS \
                      and CLONE_NEWUSER";
const NEEDS: Needs = Needs::ROOT;

/// Calls unshare(2) beside a sibling that shares everything, and finds out by experiment and by kcmp(2) what it still
/// shares.
fn call_in_company(t: &Test, flags: Flags, requirement: &'static str) -> Done {
    let sibling = Sibling::start(t, SHARED)?;
    sibling.check(t, Flags::NONE, requirement)?;
    let prediction = t.unshare(flags).proving(requirement).prediction()?;
    sibling.check(t, prediction.separated, requirement)
}

/// The requirement that speaks of what a flag implies.
fn requirement(flags: Flags) -> &'static str {
    match flags {
        Flags::NEWNS => "IMP-01",
        Flags::EMPTY => "IMP-02",
        Flags::NEWUSER => "IMP-03",
        Flags::NEWIPC => "IMP-07",
        Flags::THREAD => "IMP-08",
        Flags::NEWPID => "IMP-09",
        _ => "IMP-10",
    }
}

case!(Case {
    name: "implied.fs",
    about: "A new mount namespace, full or empty, and a new user namespace give the caller its own cwd, umask and \
            root: its sibling sees no change of them any more, nor the caller the sibling's. The table of \
            descriptors stays shared.",
    proves: &["IMP-01"],
    variants: || [
        for_flags(Flags::NEWNS).proving(["IMP-01", "IMP-10", "DIFF-07"]),
        for_flags(Flags::EMPTY)
            .proving(["IMP-02", "EFF-EMPTY-11", "DIFF-07"])
            .needing(Needs::NONE.with(feature::EMPTY_MNT_NS)),
        for_flags(Flags::NEWUSER).proving(["IMP-03", "EFF-USER-16", "DIFF-07"]),
    ]
    .into(),
    run: |t| {
        let flags = t.param::<Flags>();
        call_in_company(t, flags, requirement(flags))
    }
});

case!(Case {
    name: "implied.nothing",
    about: "A UTS, IPC, network, PID, cgroup or time namespace, CLONE_VM, CLONE_SIGHAND and CLONE_THREAD leave cwd, \
            umask, root and descriptors shared, and CLONE_FS, CLONE_FILES and CLONE_SYSVSEM separate only what they \
            name.",
    proves: &["IMP-10"],
    quick: one_in(3, 0),
    variants: || [
        (Flags::NEWUTS, &["IMP-10", "EFF-FS-11"][..]),
        (Flags::NEWIPC, &["IMP-07", "EFF-FS-11"]),
        (Flags::NEWNET, &["IMP-10", "EFF-FS-11"]),
        (Flags::NEWPID, &["IMP-09", "EFF-FS-11"]),
        (Flags::NEWCGROUP, &["IMP-10", "EFF-FS-11"]),
        (Flags::NEWTIME, &["IMP-10", "EFF-FS-11"]),
        (Flags::THREAD, &["IMP-08", "IMP-12"]),
        (Flags::SIGHAND, &["IMP-06"]),
        (Flags::VM, &["IMP-05"]),
        (Flags::FS, &["EFF-FS-12"]),
        (Flags::FILES, &["EFF-FS-12", "EFF-FILES-13"]),
        (Flags::SYSVSEM, &["EFF-SEM-05"]),
    ]
    .into_iter()
    .map(|(flags, ids)| for_flags(flags).proving(ids))
    .collect(),
    run: |t| {
        let flags = t.param::<Flags>();
        call_in_company(t, flags, requirement(flags))
    }
});

/// Flags and what is redundant beside them.
const REDUNDANT: [(Flags, Flags); 9] = [
    (Flags::NEWNS, Flags::FS),
    (Flags::EMPTY, Flags::NEWNS),
    (Flags::EMPTY, Flags(Flags::NEWNS.0 | Flags::FS.0)),
    (Flags::NEWUSER, Flags::FS),
    (Flags::NEWUSER, Flags(Flags::FS.0 | Flags::THREAD.0)),
    (Flags::NEWIPC, Flags::SYSVSEM),
    (Flags::VM, Flags::SIGHAND),
    (Flags::VM, Flags(Flags::SIGHAND.0 | Flags::THREAD.0)),
    (Flags::SIGHAND, Flags::THREAD),
];

case!(Case {
    name: "implied.redundant",
    about: "Naming a flag that is implied anyway changes nothing: CLONE_NEWNS|CLONE_FS does what CLONE_NEWNS does, \
            in result, in what changes and in what stays shared.",
    proves: &["IMP-11"],
    quick: one_in(2, 0),
    variants: || REDUNDANT
        .into_iter()
        .map(|(flags, implied)| {
            let variant = for_flags(flags | implied);
            if flags == Flags::EMPTY { variant.needing(Needs::NONE.with(feature::EMPTY_MNT_NS)) } else { variant }
        })
        .collect(),
    run: |t| {
        let both = t.param::<Flags>();
        expect_claimed(t, both)?;
        let (plain, _) =
            REDUNDANT.into_iter().find(|(flags, implied)| *flags | *implied == both).expect("a variant of this table");
        let alone = outcome(t, plain)?;
        let together = outcome(t, both)?;
        all([
            t.check(Call::seen(format!("outcome of unshare({both})"), together)).is(alone),
            call_in_company(t, both, "IMP-11"),
        ])
    }
});

/// All that can be seen of a call in sibling.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    register: i64,
    changed: String,
    still_seen: Vec<&'static str>,
    still_shared: Option<Flags>,
}

/// Has a sharer of the case's own task make the call.
fn outcome(t: &Test, flags: Flags) -> Done<Outcome> {
    let sibling = Sibling::start(t, SHARED)?;
    let observer = Observer::open(t)?;
    let question = (observer, flags.0);
    let (before, register, after) =
        sibling.peer().setup(t, "unshare()", question, |(observer, flags): (Observer, u64)| {
            let before = observer.state();
            let register = unshare_raw(Flags(flags));
            Ok((before, register, observer.state()))
        })?;
    let still_seen = sibling.seen(t)?;
    let still_shared = if t.facts().has(feature::KCMP) {
        let (own, other) = (std::process::id() as i32, sibling.peer().pid().as_raw());
        let shared = shared_flags(own, other, askable(t, SHARED));
        Some(t.setup(Call::new("kcmp()", shared))?)
    } else {
        None
    };
    Ok(Outcome { register, changed: before.changed_parts(&after).to_string(), still_seen, still_shared })
}
