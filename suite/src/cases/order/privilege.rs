//! Which error it is where several apply (ORD rows and ERR-35 of the behaviour catalogue, section 2.5): unknown bits,
//! then what cannot be separated, then descriptors, then the user namespace, then privilege, then the namespaces in
//! the order mount, UTS, IPC, PID, cgroup, network, time.
//!
//! Each case shows each reason alone before both together, which proves that both errors apply.

use crate::prelude::*;

/// No kernel accepts it.
const INVALID: Flags = Flags::INVALID;

const SOURCE: &str = "2006 design document, 5 and 6; kernel, kernel/fork.c (ksys_unshare)";

case!(Case {
    name: "order.flags_before_privilege",
    about: "An unprivileged caller of CLONE_NEWNS gets EPERM, and EINVAL as soon as an unknown bit is with it.",
    proves: &["ORD-01"],
    run: |t| {
        become_unprivileged(t)?;
        let start = Start::unprivileged();
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
    run: |t| {
        become_unprivileged(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let second = IdleThread::start(t)?;
        let start = Start { threads: Threads::Others, ..Start::unprivileged() };
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
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        t.setup(unshare(Flags::NEWPID))?;
        let elsewhere = |start| {
            let start = Start { children_elsewhere: true, ..start };
            let sets = [Flags::NEWPID, Flags::NEWPID | Flags::FS];
            sets.into_iter().try_for_each(|flags| t.unshare(flags).from(start).as_predicted())
        };
        elsewhere(Start::of(t.facts()))?;
        become_unprivileged(t)?;
        elsewhere(Start::unprivileged())
    }
});
