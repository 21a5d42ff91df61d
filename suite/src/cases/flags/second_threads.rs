//! Threads: every flag in a process that has, or had, more than one (rows MT-02 to MT-05 of the behaviour catalogue,
//! section 6).
//!
//! The 2006 document had CLONE_THREAD and CLONE_SIGHAND refused with EINVAL always, as not implemented, and its first
//! test group checked that. Since about Linux 4.3 they succeed, as does CLONE_VM, when there is nothing to separate,
//! and EINVAL is left for a caller that really shares (DIFF-05). CLONE_NEWUSER (3.8) checks the same; CLONE_NEWPID
//! did from 3.8 to about 3.11, and no longer does, whatever unshare(2) says (DOC-01).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (EINVAL) and 8 (1); unshare(2), CLONE_THREAD";

/// What flags prove of a caller that is not alone in its thread group.
const NOT_ALONE: &[(Flags, &[&str])] = &[
    (Flags::THREAD, &["ERR-02"]),
    (Flags::SIGHAND, &["ERR-02", "IMP-06", "DIFF-06"]),
    (Flags::VM, &["ERR-02", "IMP-05"]),
    (Flags::NEWUSER, &["ERR-03", "IMP-04", "DIFF-07"]),
    (Flags::NEWPID, &["IMP-09", "DOC-01"]),
];

case!(Case {
    name: "flags.second_thread.leader",
    about: "While a second thread is alive, the thread group leader gets EINVAL for CLONE_THREAD, CLONE_SIGHAND, \
            CLONE_VM and CLONE_NEWUSER, and all other flags succeed, CLONE_NEWPID included. A refused call leaves \
            all as it was and everything shared.",
    proves: &["MT-02"],
    quick: one_in(5, 4),
    variants: || each_flag("MT-02", NOT_ALONE),
    run: |t| {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let second = IdleThread::start(t)?;
        let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
        judge(t, "MT-02", &start, &witness, &[thread(second.tid())])?;
        second.end();
        Ok(())
    }
});

case!(Case {
    name: "flags.second_thread.other",
    about: "The same when the call comes from a thread that is not the leader. Whatever it does to the caller, the \
            leader's own state stays as it was.",
    proves: &["MT-03"],
    quick: one_in(5, 1),
    variants: || each_flag("MT-03", NOT_ALONE),
    run: |t| {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let observer = Observer::open(t)?;
        let leader = this_thread();
        // With its first thread the C library begins to catch a signal of its own.
        drop(FinishedThread::start(t)?);
        let before = observer.state();
        let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
        in_second_thread(t, || judge(t, "MT-03", &start, &witness, &[leader]).map(drop))?;
        let untouched = Prediction::nothing();
        check_changes(t, t.param::<Flags>(), "MT-03", &untouched, &before, &observer.state())
    }
});

case!(Case {
    name: "flags.dead_leader",
    about: "The last thread of a process whose leader has ended is alone, yet gets EINVAL for CLONE_THREAD, \
            CLONE_SIGHAND, CLONE_VM and CLONE_NEWUSER: the dead leader still counts.",
    proves: &["MT-04"],
    quick: one_in(5, 1),
    variants: || each_flag("MT-04", &[(Flags::THREAD | Flags::SIGHAND | Flags::VM | Flags::NEWUSER, &["ERR-04"])]),
    run: |t| t.in_child(|t| without_leader(t, || {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let start = Start { threads: Threads::LeaderGone, ..Start::of(t.facts()) };
        judge(t, "MT-04", &start, &witness, &[]).map(drop)
    }))
});

case!(Case {
    name: "flags.unjoined_thread",
    about: "A second thread that has ended is gone for the kernel even if nobody has joined it: every flag succeeds.",
    proves: &["MT-05"],
    quick: one_in(5, 2),
    variants: || each_flag("MT-05", &[(Flags::THREAD | Flags::VM | Flags::NEWUSER, &["EFF-VM-06"])]),
    run: |t| {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let _unjoined = FinishedThread::start(t)?;
        judge(t, "MT-05", &Start::of(t.facts()), &witness, &[]).map(drop)
    }
});
