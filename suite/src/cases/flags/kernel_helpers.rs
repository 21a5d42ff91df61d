//! Sibling that a process did not make itself: the kernel's io_uring helpers, which are threads of the process that
//! owns the ring, and a tracer (rows MT-11 to MT-14 of the behaviour catalogue, section 6).
//!
//! Nothing of this existed in 2006. Since Linux 5.12 (5.10.162 among the stable releases) a ring's helper is a member
//! of the thread group, so that a process which never made a thread gets EINVAL.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (EINVAL) and 8 (1); unshare(2), CLONE_THREAD";

/// What a helper shares with the task that set up the ring.
const HELPERS_SHARE: Flags = Flags(Flags::VM.0 | Flags::FS.0 | Flags::FILES.0 | Flags::SIGHAND.0);

/// The variants of a row with a helper: four flags refused as with any second thread.
fn beside_a_helper(row: &'static str) -> Vec<Variant> {
    each_flag(
        row,
        &[
            (Flags::THREAD | Flags::SIGHAND | Flags::VM, &["ERR-02"]),
            (Flags::NEWUSER, &["ERR-03"]),
            (Flags::FS | Flags::FILES, &["MT-13"]),
        ],
    )
}

/// Tries the variant's flags while the kernel's helpers are threads of the process.
fn judge_beside_helpers(t: &Test, row: &'static str, witness: &Peer) -> Done {
    let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
    let helpers: Vec<_> = others().into_iter().map(|tid| SharingTask { tid, made_with: HELPERS_SHARE }).collect();
    judge(t, row, &start, witness, &helpers).map(drop)
}

case!(Case {
    name: "flags.sqpoll_helper",
    about: "A process with an io_uring ring that a kernel helper polls is not alone: CLONE_THREAD, CLONE_SIGHAND, \
            CLONE_VM and CLONE_NEWUSER give EINVAL, all other flags succeed, and CLONE_FS and CLONE_FILES leave the \
            helper behind.",
    proves: &["MT-11"],
    needs: Needs::NONE.with(feature::IO_URING),
    quick: one_in(5, 0),
    variants: || beside_a_helper("MT-11"),
    run: |t| {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let _ring = Ring::with_poller(t)?;
        judge_beside_helpers(t, "MT-11", &witness)
    }
});

case!(Case {
    name: "flags.sqpoll_helper_gone",
    about: "After the ring is closed and its helper has ended, a call that was refused because of the helper \
            succeeds.",
    proves: &["MT-11"],
    needs: Needs::NONE.with(feature::IO_URING),
    quick: one_in(2, 0),
    variants: || [Flags::THREAD, Flags::SIGHAND, Flags::VM, Flags::NEWUSER].map(for_flags).into(),
    run: |t| {
        let flags = t.param::<Flags>();
        let ring = Ring::with_poller(t)?;
        let alone = Start::of(t.facts());
        let accompanied = Start { threads: Threads::Others, ..alone };
        t.unshare(flags).from(accompanied).as_predicted()?;
        drop(ring);
        wait_until_alone();
        t.unshare(flags).as_predicted()
    }
});

case!(Case {
    name: "flags.io_worker",
    about: "A worker thread that io_uring made for a request which blocks counts like the polling helper: the same \
            four flags give EINVAL while it lives.",
    proves: &["MT-12"],
    needs: Needs::NONE.with(feature::IO_URING),
    quick: one_in(5, 4),
    variants: || beside_a_helper("MT-12"),
    run: |t| {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let _ring = Ring::with_worker(t)?;
        judge_beside_helpers(t, "MT-12", &witness)
    }
});

case!(Case {
    name: "flags.ptraced",
    about: "A tracer shares nothing with the task it traces: every flag succeeds.",
    proves: &["MT-14"],
    quick: one_in(5, 2),
    variants: || each_flag("MT-14", &[]),
    run: |t| {
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let tracee = t.spawn("child", |t| {
            // SAFETY: PTRACE_TRACEME takes nothing.
            let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            t.setup(Call::new("ptrace(PTRACE_TRACEME)", Errno::result(traced)))?;
            judge(t, "MT-14", &Start::of(t.facts()), &witness, &[]).map(drop)
        })?;
        t.setup(Call::new("waitid(tracee)", wait_for_stop(tracee.pid())))?;
        tracee.join(t)
    }
});
