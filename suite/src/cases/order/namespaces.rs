//! Which error it is where several namespaces cannot be made (ORD-08, ORD-09, ERR-35 of the behaviour catalogue).

use crate::prelude::*;

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
    about: "A second CLONE_NEWPID gives EINVAL, whatever the limit on PID namespaces. Together with another \
            namespace whose limit is 0, the error shows which is made first: mount, UTS and IPC namespaces come \
            before (ENOSPC), cgroup, network and time namespaces after (EINVAL).",
    proves: &["ORD-08", "ORD-09", "ERR-35"],
    source: "kernel, kernel/nsproxy.c and kernel/pid_namespace.c",
    needs: limits::NEEDS.with(feature::PID_NS),
    quick: one_in(2, 1),
    variants: || variants::each_kind_but(&[Flags::NEWUSER])
        .into_iter()
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
