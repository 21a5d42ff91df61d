//! unshare(2) beside its siblings setns(2) and chroot(2) (section 8 of the behaviour catalogue).

use crate::prelude::*;

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
            t.check(Call::new(format!("setns(ns/{}) while root and cwd are shared", ns.link()), enter(&file)))
                .fails_with(Errno::EINVAL)?;
            t.check(observer.namespace(ns)).is(own)?;
            t.unshare(Flags::FS).beside(&[&sharer]).as_predicted()?;
            t.check(Call::new("setns() after unshare(CLONE_FS)", enter(&file))).succeeds()?;
            t.check(observer.namespace(ns)).is(other)?;
            let seen = sharer.call(t, "inode of the sharer's link", ns.link().to_owned(), |link| {
                fs::metadata(format!("/proc/self/ns/{link}")).map(|link| link.ino()).map_err(errno_of)
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
    quick: one_in(4, 2),
    variants: variants::each_flag,
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let root = new_directory(t, "root")?;
        let start = enter_chroot(t, root.as_ref())?;
        t.setup(Call::new("chdir(/)", chdir("/")))?;
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
