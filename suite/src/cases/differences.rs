//! Where the manual page and the kernel differ on CLONE_NEWPID (DOC-04, DOC-05 of the behaviour catalogue).

use crate::prelude::*;

/// Sends the calling task's children back to its own PID namespace.
fn children_stay(t: &Test) -> Done {
    let file = t.setup(Call::new("open(ns/pid)", open_link("thread-self", Ns::Pid)))?;
    t.setup(Call::new("setns(ns/pid)", enter(&file)))
}

case!(Case {
    name: "differences.newpid.again",
    about: "The manual page allows CLONE_NEWPID once. After setns(2) to its own PID namespace the caller may use it \
            again: its next child is process 1 of another new namespace.",
    proves: &["DOC-04"],
    source: "pid_namespaces(7) and unshare(2), ERRORS, against kernel/pid_namespace.c",
    needs: Needs::ROOT.with(feature::PID_NS),
    // The caller's own PID namespace must belong to a user namespace that it has power over.
    run: |t| t
        .spawn_sharing("caller", libc::CLONE_NEWPID as u64, |t| {
            let observer = Observer::open(t)?;
            let start = Start::of(t.facts());
            let elsewhere = Start { children_elsewhere: true, ..start };
            let mut namespaces = Vec::new();
            for _ in 0..3 {
                t.unshare(Flags::NEWPID).as_predicted()?;
                t.unshare(Flags::NEWPID).from(elsewhere).as_predicted()?;
                let child = Peer::start(t, "first child", Flags::NONE)?;
                let pid = child.call(t, "getpid() of the first child", (), |()| Ok(getpid().as_raw()))?;
                t.check(pid).is(1)?;
                namespaces.push(observer.namespace_inode(Ns::PidForChildren));
                // It keeps its namespace's number from being given again.
                std::mem::forget(child);
                children_stay(t)?;
            }
            t.check(Call::seen("PID namespaces of the first children", namespaces))
                .holds("three of them", |all| all[0] != all[1] && all[1] != all[2] && all[0] != all[2])
                .map(drop)
        })?
        .join(t)
});

case!(Case {
    name: "differences.newpid.refused",
    about: "The manual page has CLONE_NEWPID refused with EINVAL after an earlier one. The kernel refuses it also \
            after setns(2) to a child PID namespace, and in a PID namespace whose owner is a user namespace that the \
            caller is not in.",
    proves: &["DOC-05"],
    source: "unshare(2), ERRORS, against kernel/pid_namespace.c",
    needs: Needs::ROOT.with(feature::PID_NS),
    // The parameter is what the task in the other PID namespace has of its own.
    variants: || vec![
        Variant::new("setns", Flags::NEWPID),
        Variant::new("foreign_owner", Flags::NEWUSER | Flags::NEWPID)
            .needing(Needs::NONE.with(feature::CREATE_USER_NS)),
    ],
    run: |t| {
        // The model has one word for both: the caller may not make a PID namespace here.
        let refused = Start { children_elsewhere: true, ..Start::of(t.facts()) };
        let own: Flags = t.param();
        let child = Peer::start(t, "task in a child PID namespace", own)?;
        let file = t.setup(Call::new("open(ns/pid of the child)", open_link(child.pid(), Ns::Pid)))?;
        t.setup(Call::new("setns(ns/pid of the child)", enter(&file)))?;
        // A PID namespace that belongs to another user namespace counts once the caller is in it.
        if own.contains(Flags::NEWUSER) {
            t.in_child(|t| t.unshare(Flags::NEWPID).from(refused).as_predicted())
        } else {
            t.unshare(Flags::NEWPID).from(refused).as_predicted()
        }
    }
});
