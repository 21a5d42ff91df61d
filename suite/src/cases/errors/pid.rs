//! The states in which no PID namespace can be made (ERR-09, ERR-10 of the behaviour catalogue): the caller's
//! children go elsewhere already, or it lives in one that belongs to a user namespace it is not in.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), ERRORS (EINVAL); pid_namespaces(7); kernel, kernel/pid_namespace.c";

case!(Case {
    name: "errors.einval.pid_after_setns",
    about: "A task that has sent its future children to another PID namespace by setns(2) gets EINVAL for \
            CLONE_NEWPID, as if it had made that one itself, and nothing changes; its next child is in the entered \
            one.",
    proves: &["ERR-09", "DOC-05"],
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        const ID: &str = "ERR-09";
        let observer = Observer::open(t)?;
        // By clone(2): the caller has never called unshare.
        let init = Peer::start(t, "process 1 of another namespace", Flags::NEWPID)?;
        // Before setns(2) the call succeeds.
        t.in_child(|t| t.unshare(Flags::NEWPID).beside(&[&init]).proving(ID).as_predicted())?;
        let other = t.setup(Call::new("open(its ns/pid)", open_link(init.pid(), Ns::Pid)))?;
        t.setup(Call::new("setns(its PID namespace)", enter(&other)))?;
        let inside = t.setup(namespace_of(init.pid(), Ns::Pid))?;
        let elsewhere = Start { children_elsewhere: true, ..Start::of(t.facts()) };
        for flags in
            [Flags::NEWPID, Flags::NEWPID, Flags::NEWPID | Flags::FS | Flags::FILES, Flags::NEWPID | Flags::NEWUTS]
        {
            t.unshare(flags).from(elsewhere).beside(&[&init]).proving(ID).as_predicted()?;
        }
        t.check(observer.namespace(Ns::PidForChildren)).proves(ID).is(inside)?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        t.check(namespace_of(child.pid(), Ns::Pid)).proves(ID).is(inside)
    }
});

case!(Case {
    name: "errors.einval.pid_of_foreign_owner",
    about: "A task in a PID namespace that belongs to a user namespace which is neither its own nor around it gets \
            EINVAL for CLONE_NEWPID, also together with CLONE_NEWUSER; nothing changes, and all other flags succeed. \
            One that is in the owning user namespace may.",
    proves: &["ERR-10", "DOC-05"],
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::CREATE_USER_NS),
    variants: || vec![
        Variant::new("newpid", Flags::NEWPID),
        Variant::new("newuser-newpid", Flags::NEWUSER | Flags::NEWPID),
        Variant::new("newuts", Flags::NEWUTS).needing(Needs::NONE.with(feature::UTS_NS)),
        Variant::new("newuser", Flags::NEWUSER),
    ],
    run: |t| {
        const ID: &str = "ERR-10";
        let owner = Peer::start(t, "process 1, of another user", Flags::NEWUSER | Flags::NEWPID)?;
        let inside = t.setup(Call::new("open(its ns/pid)", open_link(owner.pid(), Ns::Pid)))?;
        t.setup(Call::new("setns(its PID namespace)", enter(&inside)))?;
        drop(inside);
        let foreign = Start { pid_ns_foreign: true, ..Start::of(t.facts()) };
        // Process 1 is no peer of this child, which has no name for it: another PID namespace.
        t.in_child(|t| {
            t.unshare(t.param::<Flags>()).from(foreign).proving(ID).as_predicted()?;
            t.unshare(Flags::NONE).from(foreign).proving(ID).as_predicted()
        })?;
        let owned = unshare_by(t, &owner, Flags::NEWPID)?.called("unshare(CLONE_NEWPID) by its process 1");
        t.check(owned).proves(ID).succeeds()
    }
});
