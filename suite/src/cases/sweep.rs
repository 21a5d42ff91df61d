//! The whole space of flags, state by state, against the executable model: 2^15 sets of known flags, and sets with
//! bits that no kernel knows, as many of them as the tier says. Each call is compared in its result, in all that it
//! changes and must not change, and in what is still shared.

use crate::engines::sweep::states::Fixture;
use crate::engines::sweep::sweep;
use crate::prelude::*;

const SOURCE: &str = "unshare(2); kernel/fork.c, ksys_unshare()";
const NEEDS: Needs = Needs::ROOT;

/// Callers that hang are found one by one; this is only the last resort.
const DEADLINE: Duration = Duration::from_secs(3600);

/// About as long as this many ordinary cases.
fn work(tier: Tier) -> u32 {
    match tier {
        Tier::Quick => 8,
        Tier::Full => 400,
        Tier::Exhaustive => 6000,
    }
}

/// A case that sweeps: it declares what tells it from the other sweeps.
macro_rules! sweep_case {
    (Case { $($field:ident : $value:expr),* $(,)? }) => {
        case!(Case { $($field: $value,)* work: work });
    };
}

const UNDO: Needs = Needs::ROOT.with(feature::SYSV_IPC);

sweep_case!(Case {
    name: "sweep.lone",
    about: "Sets of flags, by a lone task with CAP_SYS_ADMIN: each call has the result, changes the parts of the \
            task's state and leaves alone the others as the model says.",
    proves: &["FLAG-48", "FLAG-49", "FLAG-51", "MT-01", "EFF-GEN-01", "IMP-11"],
    run: |t| sweep(t, &Fixture::lone(t)),
});

sweep_case!(Case {
    name: "sweep.fs_sharer",
    about: "Sets of flags, by a task that shares root, cwd and umask with another: they are apart after a call that \
            names or implies CLONE_FS, and shared after every other; the other task is not touched.",
    proves: &["IMP-01", "IMP-02", "IMP-03", "IMP-10", "EFF-FS-06", "EFF-FS-11", "ATOM-S2"],
    run: |t| sweep(t, &Fixture::sharer(t, Flags::FS, "a task that shares root, cwd and umask")),
});

sweep_case!(Case {
    name: "sweep.files_sharer",
    about: "Sets of flags, by a task that shares its table of descriptors with another: only a call that names \
            CLONE_FILES, and succeeds, takes them apart.",
    proves: &["IMP-10", "EFF-FILES-06", "EFF-FILES-13", "ATOM-S2"],
    run: |t| sweep(t, &Fixture::sharer(t, Flags::FILES, "a task that shares its descriptors")),
});

sweep_case!(Case {
    name: "sweep.undo_sharer",
    about: "Sets of flags, by a task that shares its semaphore undo list with another: it leaves the list with \
            CLONE_SYSVSEM and CLONE_NEWIPC and with nothing else, and no adjustment is applied as long as the other \
            has the list.",
    proves: &["EFF-SEM-03", "EFF-SEM-05", "IMP-07", "ATOM-S2"],
    needs: UNDO,
    run: |t| sweep(t, &Fixture::undo_sharer(t)?),
});

sweep_case!(Case {
    name: "sweep.undo_pending",
    about: "Sets of flags, by a task with pending semaphore adjustments: CLONE_SYSVSEM and CLONE_NEWIPC apply them \
            at once, a call that fails and every other flag do not.",
    proves: &["EFF-SEM-01", "EFF-SEM-09", "IMP-07", "ATOM-S5"],
    needs: UNDO,
    run: |t| sweep(t, &Fixture::undo_pending(t)?),
});

sweep_case!(Case {
    name: "sweep.vm_process.alive",
    about: "Sets of flags, by a task that shares its memory with a living process: those with CLONE_VM are refused, \
            and memory stays shared.",
    proves: &["MT-06", "ERR-06", "EFF-VM-02", "IMP-08", "IMP-12"],
    run: |t| sweep(t, &Fixture::memory_sharer(t, Flags::NONE)),
});

sweep_case!(Case {
    name: "sweep.vm_process.zombie",
    about: "Sets of flags, by a task whose memory was shared by a process that has ended and is not reaped: as if \
            there were none.",
    proves: &["MT-07"],
    run: |t| sweep(t, &Fixture::beside_zombie(t, Flags::NONE)),
});

sweep_case!(Case {
    name: "sweep.sighand_process.alive",
    about: "Sets of flags, by a task that shares memory and signal handlers with a living process: those with \
            CLONE_SIGHAND or CLONE_VM are refused, and both stay shared.",
    proves: &["MT-08", "ERR-05", "EFF-VM-02", "IMP-05", "IMP-08"],
    run: |t| sweep(t, &Fixture::memory_sharer(t, Flags::SIGHAND)),
});

sweep_case!(Case {
    name: "sweep.sighand_process.zombie",
    about: "Sets of flags, by a task whose memory and signal handlers were shared by a process that has ended and is \
            not reaped: those with CLONE_SIGHAND or CLONE_VM are refused.",
    proves: &["MT-09", "ERR-12"],
    run: |t| sweep(t, &Fixture::beside_zombie(t, Flags::SIGHAND)),
});

sweep_case!(Case {
    name: "sweep.second_thread",
    about: "Sets of flags, by a thread that is not alone in its process: those that name or imply CLONE_THREAD are \
            refused, and what the others separate is apart from the other thread.",
    proves: &["MT-02", "ERR-02", "ERR-03", "IMP-04", "IMP-05", "IMP-06", "IMP-09"],
    run: |t| sweep(t, &Fixture::second_thread(t)),
});

sweep_case!(Case {
    name: "sweep.dead_leader",
    about: "Sets of flags, by the last thread of a process whose leader has ended: those that name or imply \
            CLONE_THREAD are refused.",
    proves: &["MT-04", "ERR-04"],
    run: |t| sweep(t, &Fixture::dead_leader(t)),
});

sweep_case!(Case {
    name: "sweep.vfork_child",
    about: "Sets of flags, by a vfork child: those with CLONE_VM are refused, and the parent wakes up with its \
            memory shared and its state as it was.",
    proves: &["MT-10", "ERR-06", "EFF-VM-07"],
    run: |t| sweep(t, &Fixture::vfork_child(t)),
});

sweep_case!(Case {
    name: "sweep.unprivileged",
    about: "Sets of flags, by a task without any capability: those that make a namespace are refused, unless \
            CLONE_NEWUSER is among them.",
    proves: &["PRIV-01", "PRIV-02", "PRIV-03", "PRIV-04", "ERR-20", "ORD-01"],
    needs: Needs::NONE,
    run: |t| sweep(t, &Fixture::unprivileged(t)?),
});

sweep_case!(Case {
    name: "sweep.only_sys_admin",
    about: "Sets of flags, by a task with CAP_SYS_ADMIN and no other capability: as with all of them.",
    proves: &["PRIV-06"],
    run: |t| sweep(t, &Fixture::only_sys_admin(t)?),
});

sweep_case!(Case {
    name: "sweep.all_but_sys_admin",
    about: "Sets of flags, by a task with all capabilities but CAP_SYS_ADMIN: as with none.",
    proves: &["PRIV-05", "ERR-20"],
    run: |t| sweep(t, &Fixture::all_but_sys_admin(t)?),
});

sweep_case!(Case {
    name: "sweep.user_namespace.mapped",
    about: "Sets of flags, by root of a user namespace of its own: all that root may.",
    proves: &["PRIV-03", "EFF-GEN-07"],
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| sweep(t, &Fixture::user_namespace(t)?),
});

sweep_case!(Case {
    name: "sweep.user_namespace.unmapped",
    about: "Sets of flags, by a task in a user namespace that maps no IDs: those with CLONE_NEWUSER are refused.",
    proves: &["ERR-23"],
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| sweep(t, &Fixture::unmapped(t)?),
});

sweep_case!(Case {
    name: "sweep.user_namespace.dropped",
    about: "Sets of flags, by a task in a user namespace of its own that has given CAP_SYS_ADMIN up: those that make \
            a namespace are refused, unless CLONE_NEWUSER is among them.",
    proves: &["PRIV-08"],
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| sweep(t, &Fixture::user_namespace(t)?.without_sys_admin(t)?),
});

sweep_case!(Case {
    name: "sweep.chrooted",
    about: "Sets of flags, by a task in a chroot: those with CLONE_NEWUSER are refused, and root and cwd are in the \
            chroot after every other.",
    proves: &["ERR-21", "ERR-22", "INT-10"],
    run: |t| sweep(t, &Fixture::chrooted(t)?),
});

sweep_case!(Case {
    name: "sweep.children_elsewhere",
    about: "Sets of flags, by a task whose children go to another PID namespace than its own: those with \
            CLONE_NEWPID are refused, and have changed nothing.",
    proves: &["ERR-09", "ATOM-16", "ATOM-S1", "ATOM-S3", "ATOM-S4", "ATOM-S7"],
    needs: NEEDS.with(feature::PID_NS),
    run: |t| sweep(t, &Fixture::children_elsewhere(t)?),
});

sweep_case!(Case {
    name: "sweep.beyond_nr_open",
    about: "Sets of flags, by a task that shares descriptors, one of them beyond fs.nr_open: those with CLONE_FILES \
            are refused with EMFILE, but for an unknown bit.",
    proves: &["ERR-36", "ORD-04", "ORD-05", "ATOM-12"],
    needs: NEEDS.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| sweep(t, &Fixture::beyond_nr_open(t)?),
});

/// The kinds of namespace, each with what it needs. Before a kernel refuses an IPC namespace too many, it waits until
/// those that others have left are gone (kernel, ipc/namespace.c, create_ipc_ns): next to another sweep, which leaves
/// one with every second call, each refusal takes several times as long.
fn kinds() -> Vec<Variant> {
    let alone = |variant: Variant| match variant.param() {
        Flags::NEWIPC => variant.needing(Needs::NONE.alone()),
        _ => variant,
    };
    variants::each_kind().into_iter().map(alone).collect()
}

sweep_case!(Case {
    name: "sweep.limit_0",
    about: "Sets of flags, by a task that may have no namespace of one kind: those that ask for one are refused with \
            ENOSPC, in their turn, and have changed nothing.",
    proves: &["ERR-32", "ATOM-03", "ATOM-09", "ATOM-16"],
    needs: limits::NEEDS,
    quick: one_in(2, 0),
    variants: kinds,
    run: |t| sweep(t, &Fixture::limited(t, t.param::<Flags>(), 0)?),
});

sweep_case!(Case {
    name: "sweep.limit_reached",
    about: "The same by a task that has as many namespaces of one kind as it may, one.",
    proves: &["ERR-30", "ATOM-03", "ATOM-09", "ATOM-16"],
    needs: limits::NEEDS,
    quick: one_in(2, 1),
    variants: kinds,
    run: |t| sweep(t, &Fixture::limited(t, t.param::<Flags>(), 1)?),
});
