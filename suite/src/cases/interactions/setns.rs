//! unshare(2) beside its siblings setns(2) and chroot(2) (section 8 of the behaviour catalogue).

use nix::unistd::{chdir, chroot};

use crate::observe::nsfd::{enter, inode_of, open_link};
use crate::place::mount_api::mount_tmpfs;
use crate::prelude::*;
use crate::spec::model::Threads;
use crate::tasks::side::{check_separated, in_own_namespaces};
use crate::tasks::threads::{IdleThread, wait_until_alone};

case!(Case {
    name: "interactions.setns.shared_fs",
    about: "A task that shares root and cwd cannot enter a mount or a user namespace by setns(2) (EINVAL); after \
            unshare(CLONE_FS) it can.",
    proves: &["INT-08"],
    source: "setns(2), DESCRIPTION; kernel, fs/namespace.c and kernel/user_namespace.c",
    variants: || variants::succeeding([Flags::NEWNS, Flags::NEWUSER]),
    run: |t| {
        let flag = t.param::<Flags>();
        let ns = Kind::of(flag).expect("a kind of namespace").link;
        // Whoever is in the namespace to be entered: made by clone(2).
        let inside = Peer::start(t, "task in the other namespace", flag)?;
        t.in_child(|t| {
            let observer = Observer::open(t)?;
            let sharer = Peer::start(t, "sharer", Flags::FS)?;
            let own = observer.namespace_inode(ns);
            let file = t.setup(Call::new("open(link)", open_link(inside.pid(), ns)))?;
            let other = t.setup(Call::new("fstat(link)", inode_of(&file)))?;
            t.check(Call::new("setns() while root and cwd are shared", enter(&file))).fails_with(Errno::EINVAL)?;
            t.check(observer.namespace(ns)).is(own)?;
            t.unshare(Flags::FS).beside(&[&sharer]).as_predicted()?;
            t.check(Call::new("setns() after unshare(CLONE_FS)", enter(&file))).succeeds()?;
            t.check(observer.namespace(ns)).is(other)?;
            let seen = sharer.call(t, "inode of the sharer's link", ns.link().to_owned(), |link| {
                use std::os::unix::fs::MetadataExt;
                std::fs::metadata(format!("/proc/self/ns/{link}")).map(|link| link.ino()).map_err(errno_of)
            })?;
            t.check(seen).is(own)
        })
    }
});

case!(Case {
    name: "interactions.setns.time_with_threads",
    about: "While a second thread is alive, setns(2) into a time namespace gives EUSERS, since it would move the \
            caller, and unshare(CLONE_NEWTIME), which does not, succeeds. Alone, the caller may do both.",
    proves: &["INT-09"],
    source: "setns(2), ERRORS; kernel, kernel/time/namespace.c",
    needs: Needs::ROOT.with(feature::TIME_NS).with(feature::INITIAL_ROOT),
    run: |t| {
        let file = t.setup(Call::new("open(ns/time)", open_link("thread-self", Ns::Time)))?;
        let thread = IdleThread::start(t)?;
        t.check(Call::new("setns(ns/time) beside a second thread", enter(&file))).fails_with(Errno::EUSERS)?;
        let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
        t.unshare(Flags::NEWTIME).from(start).as_predicted()?;
        thread.end();
        wait_until_alone();
        t.unshare(Flags::NEWTIME).as_predicted()?;
        t.check(Call::new("setns(ns/time) alone", enter(&file))).succeeds()
    }
});

case!(Case {
    name: "interactions.chroot",
    about: "Below another root directory CLONE_NEWUSER gives EPERM, since privilege in a user namespace would be a \
            way out; every other flag succeeds.",
    proves: &["INT-10"],
    source: "unshare(2), ERRORS; kernel, kernel/user_namespace.c",
    needs: Needs::ROOT,
    variants: variants::each_flag,
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let root = t.directory()?.join("root");
        t.setup(Call::io("mkdir(root)", std::fs::create_dir(&root)))?;
        t.setup(Call::new("chroot(root), chdir(/)", chroot(&root).and_then(|()| chdir("/"))))?;
        let start = Start { chrooted: true, ..Start::of(t.facts()) };
        let prediction = t.unshare(t.param::<Flags>()).from(start).beside(&[&peer]).prediction()?;
        check_separated(t, &peer, &prediction, "INT-10")
    }
});

case!(Case {
    name: "interactions.chroot_into_topmost_mount",
    about: "A root directory changed to the topmost mount over \"/\" is not below another root: CLONE_NEWUSER \
            succeeds there. In the mount that this one covers, it gives EPERM.",
    proves: &["INT-10"],
    source: "kernel, fs/namespace.c",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        t.setup(mount_tmpfs("/".as_ref()))?;
        let start = Start::of(t.facts());
        t.in_child(|t| {
            // Its root is now the covered one, which is the top no more.
            let covered = Start { chrooted: true, ..start };
            t.unshare(Flags::NEWUSER).from(covered).as_predicted()
        })?;
        // "/.." crosses what is mounted on the root. The chroot hides /proc.
        Observer::of(t)?;
        t.setup(Call::new("chroot(/..), chdir(/)", chroot("/..").and_then(|()| chdir("/"))))?;
        t.unshare(Flags::NEWUSER).as_predicted()
    })
});

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
                let pid = child.call(t, "getpid() of the first child", (), |()| Ok(nix::unistd::getpid().as_raw()))?;
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
