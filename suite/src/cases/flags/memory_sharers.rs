//! Processes that share the caller's memory or signal handlers without being threads: every flag against CLONE_VM and
//! CLONE_VM|CLONE_SIGHAND processes, alive, dead and reaped, and in a vfork child (rows MT-06 to MT-10 of the
//! behaviour catalogue, section 6).
//!
//! The 2006 document meant CLONE_VM to duplicate the memory, and had CLONE_THREAD force CLONE_VM. No release ever
//! duplicated it (DIFF-03): the call only succeeds when there is nothing to separate. CLONE_THREAD forces nothing
//! since about Linux 4.3 (DIFF-06), although unshare(2) still says it does (DOC-02) and asks callers of all three
//! flags to share their memory with nobody (DOC-03).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (EINVAL), 6 and 8 (1); unshare(2), CLONE_VM";

/// How far the life of the other process has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Zombie,
    Reaped,
}

/// Tries the variant's flags while another process shares the memory, and the handlers if `with` says so, and is
/// alive, dead or reaped.
fn judge_beside(t: &Test, row: &'static str, with: Flags, life: Life) -> Done {
    let witness = Peer::start(t, "witness", Flags::NONE)?;
    let sharing = Flags::VM | SHARED | with;
    let mut process = VmTask::start(t, sharing)?;
    if life != Life::Alive {
        process.become_zombie(t)?;
    }
    if life == Life::Reaped {
        process.reap();
    }
    let start = Start {
        // The memory is let go at exit, the table of handlers when the process is reaped.
        memory_shared: life == Life::Alive,
        handlers_shared: with.contains(Flags::SIGHAND) && life != Life::Reaped,
        ..Start::of(t.facts())
    };
    if life != Life::Alive {
        judge(t, row, &start, &witness, &[])?;
        process.reap();
        return Ok(());
    }
    let sharer = SharingTask { tid: process.pid().as_raw(), made_with: sharing };
    judge(t, row, &start, &witness, &[sharer])?;
    process.check_shared(t, "after the call", row)
}

case!(Case {
    name: "flags.vm_process.alive",
    about: "While a CLONE_VM process is alive, CLONE_VM gives EINVAL and the memory stays shared, together with all \
            else; CLONE_THREAD, CLONE_SIGHAND, CLONE_NEWUSER and every other flag succeed.",
    proves: &["MT-06"],
    quick: one_in(5, 1),
    variants: || each_flag(
        "MT-06",
        &[
            (Flags::THREAD, &["EFF-VM-03", "IMP-08", "IMP-12", "DOC-02", "DOC-03", "DIFF-06"]),
            (Flags::SIGHAND, &["EFF-VM-03", "DOC-03"]),
            (Flags::VM, &["ERR-06", "EFF-VM-02", "EFF-VM-03"]),
            (Flags::NEWUSER, &["EFF-USER-15"]),
        ]
    ),
    run: |t| judge_beside(t, "MT-06", Flags::NONE, Life::Alive)
});

case!(Case {
    name: "flags.vm_process.zombie",
    about: "A CLONE_VM process that has ended has let go of the memory, reaped or not: every flag succeeds.",
    proves: &["MT-07"],
    quick: one_in(5, 2),
    variants: || each_flag("MT-07", &[(Flags::VM, &["EFF-VM-05"])]),
    run: |t| judge_beside(t, "MT-07", Flags::NONE, Life::Zombie)
});

case!(Case {
    name: "flags.vm_process.reaped",
    about: "After a CLONE_VM process has been reaped every flag succeeds: nothing is left over.",
    proves: &["MT-07"],
    quick: one_in(5, 3),
    variants: || each_flag("MT-07", &[]),
    run: |t| judge_beside(t, "MT-07", Flags::NONE, Life::Reaped)
});

case!(Case {
    name: "flags.sighand_process.alive",
    about: "While a CLONE_VM|CLONE_SIGHAND process is alive, CLONE_SIGHAND and CLONE_VM give EINVAL and all stays \
            shared; CLONE_THREAD, CLONE_NEWUSER and every other flag succeed.",
    proves: &["MT-08"],
    quick: one_in(5, 3),
    variants: || each_flag(
        "MT-08",
        &[
            (Flags::THREAD, &["EFF-VM-04", "IMP-08", "DOC-02", "DOC-03", "DIFF-06"]),
            (Flags::SIGHAND, &["ERR-05", "EFF-VM-04", "ATOM-S2"]),
            (Flags::VM, &["ERR-05", "ERR-06", "IMP-05", "EFF-VM-02", "EFF-VM-04", "ATOM-S2", "DIFF-06"]),
            (Flags::NEWUSER, &["EFF-USER-15"]),
        ]
    ),
    run: |t| judge_beside(t, "MT-08", Flags::SIGHAND, Life::Alive)
});

case!(Case {
    name: "flags.sighand_process.zombie",
    about: "A CLONE_VM|CLONE_SIGHAND process that has ended still holds the signal handlers until it is reaped: \
            CLONE_SIGHAND and CLONE_VM give EINVAL, every other flag succeeds.",
    proves: &["MT-09"],
    quick: one_in(5, 0),
    variants: || each_flag("MT-09", &[(Flags::SIGHAND | Flags::VM, &["ERR-12", "EFF-VM-05"])]),
    run: |t| judge_beside(t, "MT-09", Flags::SIGHAND, Life::Zombie)
});

case!(Case {
    name: "flags.sighand_process.reaped",
    about: "Once a CLONE_VM|CLONE_SIGHAND process has been reaped every flag succeeds.",
    proves: &["ERR-12"],
    quick: one_in(5, 3),
    variants: || each_flag("ERR-12", &[]),
    run: |t| judge_beside(t, "ERR-12", Flags::SIGHAND, Life::Reaped)
});

case!(Case {
    name: "flags.sighand_process.killed",
    about: "One caller through the life of its CLONE_VM|CLONE_SIGHAND child: CLONE_SIGHAND and CLONE_VM give EINVAL \
            while the child lives, still give EINVAL when it has been killed, and succeed once it is reaped.",
    proves: &["ERR-05", "ERR-12", "EFF-VM-05"],
    run: |t| {
        let mut child = VmTask::start(t, Flags::SIGHAND)?;
        let both = [Flags::SIGHAND, Flags::VM];
        let start = Start { memory_shared: true, handlers_shared: true, ..Start::of(t.facts()) };
        let call_both = |start: Start, requirement| {
            both.into_iter().try_for_each(|flag| t.unshare(flag).from(start).proving(requirement).as_predicted())
        };
        call_both(start, "ERR-05")?;
        child.be_killed(t)?;
        call_both(Start { memory_shared: false, ..start }, "ERR-12")?;
        child.reap();
        call_both(Start::of(t.facts()), "ERR-12")
    }
});

/// What a vfork child is to do.
struct Errand {
    observer: Observer,
    flags: Flags,
    parent: i32,
    asked: Flags,
    asked_after: Flags,
}

/// What it saw.
#[derive(Clone, Copy)]
struct Seen {
    before: State,
    register: i64,
    after: State,
    shared_before: Result<Flags, Errno>,
    shared_after: Result<Flags, Errno>,
}

/// Runs in a vfork child: raw system calls only.
fn call_and_look(errand: &Errand) -> Seen {
    let before = errand.observer.state();
    let [pid, ..] = before.ids;
    let shared_before = shared_flags(pid, errand.parent, errand.asked);
    let register = unshare_raw(errand.flags);
    let after = errand.observer.state();
    let shared_after = shared_flags(pid, errand.parent, errand.asked_after);
    let _ = Trace::CALLER.leave(Flags::FS | Flags::FILES);
    Seen { before, register, after, shared_before, shared_after }
}

case!(Case {
    name: "flags.vfork_child",
    about: "A vfork child shares its parent's memory: CLONE_VM gives EINVAL, and every other flag succeeds in it and \
            leaves the parent's state alone.",
    proves: &["MT-10"],
    quick: one_in(5, 0),
    variants: || each_flag(
        "MT-10",
        &[
            (Flags::VM, &["ERR-06", "EFF-VM-02", "EFF-VM-07"]),
            (Flags::SIGHAND | Flags::FILES | Flags::FS | Flags::NEWUSER, &["EFF-VM-07"]),
        ]
    ),
    run: |t| {
        let flags = t.param::<Flags>();
        let start = Start { memory_shared: true, ..Start::of(t.facts()) };
        let prediction = predict(&start, flags, &Kernel::of(t.facts()));
        let asked = if t.facts().has(feature::KCMP) { askable(t, SHARED) } else { Flags::NONE };
        let observer = Observer::open(t)?;
        let errand = Errand {
            observer,
            flags,
            parent: std::process::id() as i32,
            asked,
            // In a user namespace of its own the child may not ask about its parent, which sleeps.
            asked_after: if flags.contains(Flags::NEWUSER) { Flags::NONE } else { asked },
        };
        let before = observer.state();
        let end = in_vfork_child_sharing(t, SHARED, &errand, call_and_look)?;
        let probes = Trace::CALLER.find(before.umask);
        let after = observer.state();
        let seen = end.result;
        let shared = (Flags::VM | SHARED) & asked;
        let kcmp = |when: &str, result| {
            Call::new(format!("what the vfork child and its parent share {when}, by kcmp"), result)
        };
        t.setup(kcmp("before", seen.shared_before))?;
        all([
            t.check(kcmp("before", seen.shared_before)).is(shared),
            t.check(Call::zero_on_success(format!("unshare({flags})"), seen.register)).gives(prediction.result),
            check_changes(t, flags, "MT-10", &prediction, &seen.before, &seen.after),
            t.check(kcmp("after", seen.shared_after)).is(shared & !prediction.separated & errand.asked_after),
            t.check(Call::seen("the child's writes are the parent's", end.memory_shared)).is(true),
            t.check(Call::seen("the child's umask (CLONE_FS) and descriptors (CLONE_FILES) are the parent's", probes))
                .is(SHARED & !prediction.separated & !Flags::SYSVSEM),
            check_changes(t, flags, "MT-10", &Prediction::nothing(), &before, &after),
        ])
    }
});
