//! Which error it is where several apply (ORD rows and ERR-35 of the behaviour catalogue, section 2.5): unknown bits,
//! then what cannot be separated, then descriptors, then the user namespace, then privilege, then the namespaces in
//! the order mount, UTS, IPC, PID, cgroup, network, time.
//!
//! Each case shows each reason alone before both together: that both errors apply is half of it.

use std::os::fd::IntoRawFd;

use crate::place::limits;
use crate::prelude::*;
use crate::sharing::sibling::{SharingTask, check_seen, check_shared};
use crate::spec::model::Threads;
use crate::tasks::threads::IdleThread;

const SOURCE: &str = "2006 design document, 5 and 6; kernel, kernel/fork.c (ksys_unshare)";

/// No kernel accepts it.
const INVALID: Flags = Flags(1 << 40);

fn unprivileged(t: &Test) -> Done<Start> {
    become_unprivileged(t)?;
    Ok(Start { sys_admin: false, initial_admin: false, ..Start::of(t.facts()) })
}

case!(Case {
    name: "order.flags_before_privilege",
    about: "An unprivileged caller of CLONE_NEWNS gets EPERM, and EINVAL as soon as an unknown bit is with it.",
    proves: &["ORD-01"],
    source: SOURCE,
    run: |t| {
        let start = unprivileged(t)?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        [Flags::NEWNS, Flags::NEWNS | INVALID, Flags::NEWNS | Flags::FILES | Flags(1)]
            .into_iter()
            .try_for_each(|flags| t.unshare(flags).from(start).beside(&[&peer]).as_predicted())
    }
});

case!(Case {
    name: "order.threads_before_privilege",
    about: "An unprivileged caller with a second thread gets EPERM for CLONE_NEWNS, and EINVAL with CLONE_VM, \
            CLONE_SIGHAND or CLONE_THREAD beside it.",
    proves: &["ORD-02"],
    source: SOURCE,
    run: |t| {
        let start = unprivileged(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let second = IdleThread::start(t)?;
        let start = Start { threads: Threads::Others, ..start };
        for flags in [
            Flags::NEWNS,
            Flags::NEWNS | Flags::VM,
            Flags::NEWNS | Flags::SIGHAND,
            Flags::NEWNS | Flags::THREAD | Flags::FS | Flags::FILES,
        ] {
            t.unshare(flags).from(start).beside(&[&peer]).as_predicted()?;
        }
        second.end();
        Ok(())
    }
});

case!(Case {
    name: "order.privilege_before_pid_state",
    about: "A caller whose children already go to another PID namespace gets EINVAL for CLONE_NEWPID, and EPERM once \
            it has lost CAP_SYS_ADMIN.",
    proves: &["ORD-06"],
    source: SOURCE,
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        t.setup(unshare(Flags::NEWPID))?;
        let privileged = Start { children_elsewhere: true, ..Start::of(t.facts()) };
        for flags in [Flags::NEWPID, Flags::NEWPID | Flags::FS] {
            t.unshare(flags).from(privileged).as_predicted()?;
        }
        let start = Start { children_elsewhere: true, ..unprivileged(t)? };
        [Flags::NEWPID, Flags::NEWPID | Flags::FS]
            .into_iter()
            .try_for_each(|flags| t.unshare(flags).from(start).as_predicted())
    }
});

/// What this kind of namespace, with its limit at 0, shows beside a second CLONE_NEWPID.
fn for_limit_and_pid_state(flag: Flags) -> &'static str {
    match flag {
        Flags::NEWPID => "ERR-35",
        Flags::NEWNS | Flags::NEWUTS | Flags::NEWIPC => "ORD-08",
        _ => "ORD-09",
    }
}

case!(Case {
    name: "order.limits_and_pid_state",
    about: "A second CLONE_NEWPID gives EINVAL, whatever the limit on PID namespaces. With another namespace whose \
            limit is 0 in the same call, which error it is shows which comes first: mount, UTS and IPC namespaces \
            come before (ENOSPC), cgroup, network and time ones after (EINVAL).",
    proves: &["ORD-08", "ORD-09", "ERR-35"],
    source: "kernel, kernel/nsproxy.c and kernel/pid_namespace.c",
    needs: limits::NEEDS.with(feature::PID_NS),
    variants: || variants::each_kind()
        .into_iter()
        .filter(|variant| variant.param::<Flags>() != Flags::NEWUSER)
        .map(|variant| {
            let id = for_limit_and_pid_state(variant.param());
            variant.proving([id])
        })
        .collect(),
    run: |t| {
        let flag = t.param::<Flags>();
        let requirement = for_limit_and_pid_state(flag);
        limits::enter_own_user_namespace(t)?;
        // Before: a child by clone(2) would no longer share with the caller.
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        t.setup(unshare(Flags::NEWPID))?;
        limits::set(t, flag, 0)?;
        let start = Start { initial_admin: false, children_elsewhere: true, exhausted: flag, ..Start::of(t.facts()) };
        [Flags::NEWPID, flag, flag | Flags::NEWPID, flag | Flags::NEWPID | Flags::FILES]
            .into_iter()
            .try_for_each(|flags| t.unshare(flags).from(start).beside(&[&peer]).proving(requirement).as_predicted())
    }
});

case!(Case {
    name: "order.limits_of_two",
    about: "CLONE_NEWNS and CLONE_NEWUTS with both limits at 0 give ENOSPC, and nothing changes, whichever of the \
            two it is for.",
    proves: &["ORD-08"],
    source: "kernel, kernel/nsproxy.c",
    needs: limits::NEEDS.with(feature::UTS_NS),
    run: |t| {
        limits::enter_own_user_namespace(t)?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let both = Flags::NEWNS | Flags::NEWUTS;
        for exhausted in [Flags::NEWNS, Flags::NEWUTS, both] {
            for flag in both.iter() {
                let limit = if exhausted.contains(flag) { 0 } else { limits::HIGHEST };
                limits::set(t, flag, limit)?;
            }
            let start = limits::start(t, exhausted);
            t.unshare(both).from(start).beside(&[&peer]).as_predicted()?;
        }
        Ok(())
    }
});

/// A descriptor beyond the lowest value of fs.nr_open (LIM-03).
const HIGH: i32 = observe::fds::HIGH;

/// Opens a descriptor and lowers fs.nr_open below it; the supervisor puts that back. Whoever shares the table can
/// then not be given a copy of it.
fn put_table_out_of_reach(t: &Test) -> Done {
    let file = t.setup(Call::io("open(/)", std::fs::File::open("/")))?.into_raw_fd();
    // SAFETY: the number is not in use, and the other is ours.
    let moved = unsafe { libc::dup3(file, HIGH, libc::O_CLOEXEC) };
    t.setup(Call::new(format!("dup3({HIGH})"), Errno::result(moved)))?;
    nix::unistd::close(file).ok();
    let path = global::NR_OPEN.path();
    t.setup(Call::io(format!("write({path}, 64)"), std::fs::write(path, "64")))
}

/// Forks a child that ends at once.
fn try_fork() -> Call<()> {
    use nix::unistd::{ForkResult, fork};
    // SAFETY: the case is single-threaded, and the child ends at once.
    let result = unsafe { fork() }.map(|fork| match fork {
        // SAFETY: ends the child without destructors.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => {
            let _ = nix::sys::wait::waitpid(child, None);
        }
    });
    Call::new("fork()", result)
}

case!(Case {
    name: "order.descriptors",
    about: "A shared table of descriptors that cannot be copied (EMFILE) is found before a missing privilege and \
            before a user namespace is made, and after unknown bits, which give EINVAL; nothing changes, and the \
            table stays shared. fork(2) gives EMFILE then, too.",
    proves: &["ORD-03", "ORD-04", "ORD-05", "ATOM-12", "ERR-38"],
    source: SOURCE,
    needs: Needs::NONE
        .with(feature::INITIAL_ROOT)
        .with(feature::SECOND_USER)
        .with(feature::CREATE_USER_NS)
        .disturbing(global::NR_OPEN),
    variants: || vec![
        Variant::new("before_privilege", (Flags::NEWNS, "ORD-03")).proving(["ORD-03", "ATOM-12", "ERR-38"]),
        Variant::new("before_user", (Flags::NEWUSER | Flags::NEWNS, "ORD-04")).proving(["ORD-04"]),
        Variant::new("after_flags", (INVALID, "ORD-05")).proving(["ORD-05"]),
    ],
    run: |t| {
        // Both stay privileged and outlive the caller, which could not end them.
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let sharer = SharingTask { tid: nix::unistd::getpid().as_raw(), made_with: Flags::FS | Flags::FILES };
        let sharing = sharer.made_with.0;
        t.spawn_sharing("caller", sharing, |t| judge_descriptors(t, &witness, sharer))?.join(t)
    }
});

fn judge_descriptors(t: &Test, witness: &Peer, sharer: SharingTask) -> Done {
    let (flags, requirement): (Flags, &str) = t.param();
    put_table_out_of_reach(t)?;
    t.check(try_fork()).proves("ERR-38").fails_with(Errno::EMFILE)?;
    let root = Start { beyond_nr_open: true, ..Start::of(t.facts()) };
    t.unshare(flags | Flags::FILES).from(root).beside(&[witness]).proving(requirement).as_predicted()?;
    let nobody = Start { beyond_nr_open: true, ..unprivileged(t)? };
    t.unshare(flags | Flags::FILES).from(nobody).beside(&[witness]).proving(requirement).as_predicted()?;
    check_shared(t, witness, sharer, Flags::NONE, requirement)?;
    check_seen(t, witness, sharer, Flags::NONE, requirement)?;
    // Without CLONE_FILES, what else there is decides.
    t.unshare(flags).from(nobody).beside(&[witness]).proving(requirement).as_predicted()
}
