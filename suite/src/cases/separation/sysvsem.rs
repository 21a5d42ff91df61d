//! The list of semaphore adjustments (section 3.4 of the behaviour catalogue).
//!
//! The 2006 document had this flag refused as not implemented; it has been implemented since Linux 2.6.26 (DIFF-04).
//! A task that leaves its list behind has it applied, as at exit, unless others still use it.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_SYSVSEM; semop(2), SEM_UNDO";
const NEEDS: Needs = Needs::NONE.with(feature::SYSV_IPC).with(feature::SANDBOX);

case!(Case {
    name: "separation.sysvsem.applies",
    about: "unshare(CLONE_SYSVSEM) applies the caller's own adjustments at once, and once; later ones are applied by \
            the next call or at exit.",
    proves: &["EFF-SEM-01", "EFF-SEM-02", "DIFF-04"],
    run: |t| {
        let semaphore = Semaphore::new(t, 5)?;
        t.spawn("caller", |t| {
            let unshare = |id| t.unshare(Flags::SYSVSEM).proving(id).as_predicted();
            semaphore.add_with_undo(t, Side::Caller, -2)?;
            semaphore.check_value(t, "before the call", 3, "EFF-SEM-01")?;
            unshare("EFF-SEM-01")?;
            semaphore.check_value(t, "right after the call", 5, "EFF-SEM-01")?;
            unshare("EFF-SEM-02")?;
            semaphore.check_value(t, "after a second call", 5, "EFF-SEM-02")?;
            semaphore.add_with_undo(t, Side::Caller, -1)?;
            semaphore.check_value(t, "after another operation", 4, "EFF-SEM-02")?;
            unshare("EFF-SEM-02")?;
            semaphore.check_value(t, "after a third call", 5, "EFF-SEM-02")?;
            semaphore.add_with_undo(t, Side::Caller, -4)
        })?
        .join(t)?;
        semaphore.check_value(t, "after the caller's exit", 5, "EFF-SEM-02")
    }
});

/// How a sharer leaves the list.
#[derive(Clone, Copy)]
enum Leave {
    Exit,
    Unshare,
}

const WAYS_TO_LEAVE: [(&str, Leave); 2] = [("by_exit", Leave::Exit), ("by_unshare", Leave::Unshare)];

/// Has a peer leave its list in the variant's way.
#[track_caller]
fn leave_list(t: &Test, peer: Peer, requirement: &'static str) -> Done<Option<Peer>> {
    match t.param() {
        Leave::Exit => {
            peer.end();
            Ok(None)
        }
        Leave::Unshare => {
            t.check(unshare_by(t, &peer, Flags::SYSVSEM)?).proves(requirement).succeeds()?;
            Ok(Some(peer))
        }
    }
}

case!(Case {
    name: "separation.sysvsem.shared_list",
    about: "While another task uses the list, unshare(CLONE_SYSVSEM) applies nothing. The list's last user applies the \
            sum of all adjustments when it leaves, by exit or unshare; the caller's later ones are not in it.",
    proves: &["EFF-SEM-03", "EFF-SEM-04"],
    variants: || variants::named(&WAYS_TO_LEAVE),
    run: |t| {
        let semaphore = Semaphore::new(t, 10)?;
        let peer = Peer::start(t, "peer", Flags::SYSVSEM)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        semaphore.add_with_undo(t, caller, -2)?;
        semaphore.add_with_undo(t, other, -3)?;
        semaphore.check_value(t, "before the call", 5, "EFF-SEM-03")?;
        t.unshare(Flags::SYSVSEM).beside(&[&peer]).proving("EFF-SEM-03").as_predicted()?;
        semaphore.check_value(t, "after the caller left the list", 5, "EFF-SEM-03")?;
        // From here on each has a list of its own.
        semaphore.add_with_undo(t, caller, -1)?;
        semaphore.add_with_undo(t, other, -1)?;
        semaphore.check_value(t, "after one more operation of each", 3, "EFF-SEM-03")?;
        let _peer = leave_list(t, peer, "EFF-SEM-04")?;
        semaphore.check_value(t, "after the last user of the shared list left", 9, "EFF-SEM-04")?;
        t.unshare(Flags::SYSVSEM).proving("EFF-SEM-04").as_predicted()?;
        semaphore.check_value(t, "after the caller left its own list", 10, "EFF-SEM-04")
    }
});

case!(Case {
    name: "separation.sysvsem.apart",
    about: "A shared list is applied when its last user leaves; after unshare(CLONE_SYSVSEM) the caller's later \
            operations are undone when the caller leaves, though the former sharer stays.",
    proves: &["EFF-SEM-03", "EFF-SEM-04"],
    run: |t| {
        let semaphore = Semaphore::new(t, 10)?;
        let stays = Peer::start(t, "peer", Flags::SYSVSEM)?;
        let leaves = Peer::start(t, "leaving peer", Flags::SYSVSEM)?;
        let (caller, other) = (Side::Caller, Side::Peer(&leaves));
        semaphore.add_with_undo(t, other, -4)?;
        leaves.end();
        semaphore.check_value(t, "after one sharer of three exited", 6, "EFF-SEM-04")?;
        t.check(unshare(Flags::SYSVSEM)).proves("EFF-SEM-03").succeeds()?;
        semaphore.check_value(t, "after another left", 6, "EFF-SEM-03")?;
        semaphore.add_with_undo(t, caller, -5)?;
        semaphore.add_with_undo(t, Side::Peer(&stays), 2)?;
        semaphore.check_value(t, "after operations on both sides", 3, "EFF-SEM-03")?;
        t.check(unshare(Flags::SYSVSEM)).proves("EFF-SEM-04").succeeds()?;
        semaphore.check_value(t, "after the caller left its own list", 8, "EFF-SEM-04")?;
        stays.end();
        semaphore.check_value(t, "after the last of the shared list exited", 10, "EFF-SEM-04")
    }
});

case!(Case {
    name: "separation.sysvsem.kcmp",
    about: "kcmp(2) reports the list as shared before unshare(CLONE_SYSVSEM), and as not shared after it.",
    proves: &["EFF-SEM-05"],
    needs: NEEDS.with(feature::KCMP),
    run: |t| {
        const ID: &str = "EFF-SEM-05";
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        check_kcmp(t, &peer, Shared::Sysvsem, true, ID)?;
        t.unshare(Flags::SYSVSEM).beside(&[&peer]).as_predicted()?;
        check_kcmp(t, &peer, Shared::Sysvsem, false, ID)?;
        check_kcmp(t, &peer, Shared::Fs, true, ID)?;
        check_kcmp(t, &peer, Shared::Files, true, ID)
    }
});

case!(Case {
    name: "separation.sysvsem.no_list",
    about: "A task without any adjustments may name CLONE_SYSVSEM; no semaphore changes.",
    proves: &["EFF-SEM-12"],
    run: |t| {
        const ID: &str = "EFF-SEM-12";
        let semaphore = Semaphore::new(t, 5)?;
        let other = Peer::start(t, "peer", Flags::NONE)?;
        semaphore.add_with_undo(t, Side::Peer(&other), -2)?;
        t.unshare(Flags::SYSVSEM).as_predicted()?;
        semaphore.check_value(t, "after the call", 3, ID)?;
        other.end();
        semaphore.check_value(t, "after the only user of a list exited", 5, ID)
    }
});

case!(Case {
    name: "separation.sysvsem.ipc_namespace",
    about: "unshare(CLONE_NEWIPC) leaves the list, too: its last user applies the sum in the old namespace.",
    proves: &["EFF-SEM-10"],
    needs: Needs::ROOT.with(feature::SYSV_IPC).with(feature::IPC_NS),
    variants: || variants::named(&WAYS_TO_LEAVE),
    run: |t| {
        const ID: &str = "EFF-SEM-10";
        let semaphore = Semaphore::new(t, 5)?;
        t.spawn("caller", |t| {
            let peer = Peer::start(t, "peer", Flags::SYSVSEM)?;
            let watcher = Peer::start(t, "watcher in the old namespace", Flags::NONE)?;
            let other = Side::Peer(&peer);
            semaphore.add_with_undo(t, Side::Caller, -2)?;
            semaphore.add_with_undo(t, other, -2)?;
            t.unshare(Flags::NEWIPC).beside(&[&peer, &watcher]).as_predicted()?;
            check_kcmp(t, &peer, Shared::Sysvsem, false, ID)?;
            let value = || semaphore.value(t, Side::Peer(&watcher));
            t.check(value()?).is(1)?;
            let _peer = leave_list(t, peer, ID)?;
            t.check(value()?).is(5)
        })?
        .join(t)
    }
});

fn unrelated_flags() -> Vec<Variant> {
    variants::succeeding(Flags::KNOWN.into_iter().filter(|flag| !flag.intersects(Flags::SYSVSEM | Flags::NEWIPC)))
}

case!(Case {
    name: "separation.sysvsem.kept_by",
    about: "A flag other than CLONE_SYSVSEM and CLONE_NEWIPC applies nothing, and leaves the list shared.",
    proves: &["EFF-GEN-01"],
    quick: one_in(4, 2),
    variants: unrelated_flags,
    run: |t| {
        const ID: &str = "EFF-GEN-01";
        let semaphore = Semaphore::new(t, 10)?;
        t.spawn("caller", |t| {
            let peer = Peer::start(t, "peer", Flags::SYSVSEM)?;
            semaphore.add_with_undo(t, Side::Caller, -2)?;
            t.unshare(t.param::<Flags>()).beside(&[&peer]).as_predicted()?;
            semaphore.check_value(t, "after the call", 8, ID)?;
            check_kcmp(t, &peer, Shared::Sysvsem, true, ID)?;
            semaphore.add_with_undo(t, Side::Peer(&peer), -3)?;
            peer.end();
            semaphore.check_value(t, "after the peer exited", 5, ID)
        })?
        .join(t)?;
        semaphore.check_value(t, "after the last sharer exited", 10, ID)
    }
});
