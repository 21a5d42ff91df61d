//! How far a cgroup namespace reaches: children, threads, mounts, and not the groups themselves (section 3.12 of the
//! behaviour catalogue).

use super::mnt::mount_new;
use crate::prelude::*;

const SOURCE: &str = "cgroup_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::CGROUP_NS).and(ControlGroup::NEEDS);

/// Runs `body` as a task that is in the inner group of a pair, with a peer in the group outside.
#[track_caller]
fn in_a_group(t: &Test, body: impl FnOnce(&Test, &ControlGroup, &Observer, &Peer) -> Done) -> Done {
    let group = ControlGroup::new(t)?;
    let observer = Observer::open(t)?;
    let peer = Peer::start(t, "peer", Flags::NONE)?;
    t.spawn("caller", |t| {
        t.setup(move_into(&group.inner(), getpid()))?;
        body(t, &group, &observer, &peer)
    })?
    .join(t)
}

case!(Case {
    name: "separation.cgroup.fixed_roots",
    about: "The call fixes the roots of all hierarchies, also for children: a task moved out reads \"/..\", others \
            \"/\".",
    proves: &["EFF-CG-03"],
    run: |t| in_a_group(t, |t, group, _, peer| {
        let before = t.setup(Call::new("read(/proc/thread-self/cgroup)", own_groups(())))?;
        t.unshare(Flags::NEWCGROUP).beside(&[peer]).as_predicted()?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        for side in [Side::Caller, Side::Peer(&child)] {
            t.check(side.ask(t, "lines of /proc/thread-self/cgroup, as seen", (), own_groups)?)
                .is(vec!["/".to_owned(); before.len()])?;
        }
        let look = |side: Side| {
            side.ask(t, "line 0:: of /proc/thread-self/cgroup, as seen", "thread-self".to_owned(), group_of)
        };
        t.setup(move_into(group.outer(), getpid()))?;
        t.check(look(Side::Caller)?).is("/..".to_owned())?;
        t.check(look(Side::Peer(&child))?).is("/".to_owned())?;
        // The child's root does not move with it, nor does that of its own children.
        t.setup(move_into(group.outer(), child.pid()))?;
        t.check(look(Side::Peer(&child))?).is("/..".to_owned())?;
        let younger = Peer::start(t, "younger child", Flags::NONE)?;
        t.check(look(Side::Peer(&younger))?).is("/..".to_owned())
    })
});

case!(Case {
    name: "separation.cgroup.mounts",
    about: "A cgroup mount made before the call keeps its view; one made after it has the caller's group as its root. \
            In mountinfo the caller reads the roots of both as seen from its group, and a task outside as before.",
    proves: &["EFF-CG-04", "EFF-CG-07"],
    run: |t| {
        let (old, new) = (new_directory(t, "old")?, new_directory(t, "new")?);
        let identity =
            |path: &Path| Call::io(format!("stat({})", path.display()), fs::metadata(path).map(|m| (m.dev(), m.ino())));
        let (old_root, new_root) = (Path::new(&old), Path::new(&new));
        in_a_group(t, |t, group, _, peer| {
            // Mounts of its own, which vanish with it.
            t.spawn_sharing("caller", Flags::NEWNS.0, |t| {
                t.setup(mount_new("cgroup2", &old))?;
                let group_outside = t.setup(Call::new("line 0:: of /proc/self/cgroup", group_of("self".to_owned())))?;
                let whole = t.setup(identity(old_root))?;
                let inner = t.setup(identity(&group.inner()))?;
                t.unshare(Flags::NEWCGROUP).beside(&[peer]).as_predicted()?;
                t.check(identity(old_root)).is(whole)?;
                t.check(identity(&group.inner())).is(inner)?;
                t.check(mount_new("cgroup2", &new).called("mount(cgroup2) after the call")).succeeds()?;
                t.check(identity(new_root).called("root of the cgroup2 mounted after the call (device, inode)"))
                    .is(inner)?;
                let own = fs::read_to_string(new_root.join("cgroup.procs"))
                    .map(|text| text.lines().any(|line| line == getpid().to_string()));
                t.check(Call::io("whether the caller is in that root's cgroup.procs", own)).is(true)?;
                if group_outside.contains("..") {
                    // The old namespace's own root is further in than the caller's group.
                    return Ok(());
                }
                // The way from the caller's group up to the root that its old namespace has.
                let up = "/..".repeat(Path::new(&group_outside).components().count() - 1);
                let listed = |(pid, point): (i32, String)| {
                    let line = mounts_of(pid)?.into_iter().rfind(|line| line.point() == point);
                    line.map(|line| line.place[1].clone()).ok_or(Errno::ENOENT)
                };
                let own = getpid().as_raw();
                for (side, point, root) in [
                    (Side::Caller, &old, up),
                    (Side::Caller, &new, "/".to_owned()),
                    (Side::Peer(peer), &old, "/".to_owned()),
                    (Side::Peer(peer), &new, group_outside),
                ] {
                    let text = format!("root of the cgroup2 on {point} in the caller's mountinfo, as read");
                    t.check(side.ask(t, &text, (own, point.clone()), listed)?).proves("EFF-CG-07").is(root)?;
                }
                Ok(())
            })?
            .join(t)
        })
    }
});

case!(Case {
    name: "separation.cgroup.thread",
    about: "unshare(CLONE_NEWCGROUP) by a second thread changes that thread's view only.",
    proves: &["EFF-CG-05"],
    run: |t| in_a_group(t, |t, _, observer, peer| {
        let view = || Call::new("lines of /proc/thread-self/cgroup", own_groups(()));
        let namespace = observer.namespace_inode(Ns::Cgroup);
        let before = t.setup(view())?;
        in_second_thread(t, || {
            let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
            t.unshare(Flags::NEWCGROUP).from(start).beside(&[peer]).as_predicted()?;
            t.check(view()).is(vec!["/".to_owned(); before.len()])
        })?;
        t.check(observer.namespace(Ns::Cgroup)).is(namespace)?;
        t.check(view()).is(before.clone())
    })
});

/// The processes in a group.
fn members(group: &Path) -> Call<Vec<String>> {
    let file = group.join("cgroup.procs");
    let text = fs::read_to_string(&file);
    Call::io(format!("read({})", file.display()), text.map(|text| text.lines().map(str::to_owned).collect()))
}

case!(Case {
    name: "separation.cgroup.membership",
    about: "The caller stays in its group and its limits: the group lists it, cgroup.max.descendants still applies, \
            and cgroup.kill (Linux 5.14) kills the caller.",
    proves: &["EFF-CG-06"],
    source: "cgroup_namespaces(7); kernel, Documentation/admin-guide/cgroup-v2.rst",
    run: |t| {
        let group = ControlGroup::new(t)?;
        let (inner, outer) = (group.inner(), group.outer().to_owned());
        let observer = Observer::open(t)?;
        let set = |file: &str, value: &str| {
            let path = inner.join(file);
            Call::io(format!("write({file}, {value})"), fs::write(path, value))
        };
        // Which the case's first task asks, and kills.
        let caller = Peer::start(t, "caller", Flags::NONE)?;
        t.setup(move_into(&inner, caller.pid()))?;
        t.setup(set("cgroup.max.descendants", "0"))?;
        let make_group = |path: String| {
            let made = fs::create_dir(&path);
            // One that should not be there is not left behind.
            let _ = fs::remove_dir(path);
            made.map_err(errno_of)
        };
        let below = inner.join("below").to_string_lossy().into_owned();
        let text = "mkdir(a group within), beyond cgroup.max.descendants, by the caller";
        let refused = || caller.call(t, text, below.clone(), make_group);
        t.check(refused()?).fails_with(Errno::EAGAIN)?;
        let changed = caller.call(t, "unshare(CLONE_NEWCGROUP) by the caller", observer, |observer| {
            let before = observer.namespace_inode(Ns::Cgroup);
            unshare(Flags::NEWCGROUP).result().map_err(|_| Errno::EPROTO)?;
            Ok(observer.namespace_inode(Ns::Cgroup) != before)
        })?;
        t.check(changed).is(true)?;
        t.check(members(&inner)).is(vec![caller.pid().to_string()])?;
        t.check(members(&outer)).is(vec![])?;
        t.check(refused()?).fails_with(Errno::EAGAIN)?;
        // Killing all members is the group's, too (Linux 5.14); only a member is killed.
        if !inner.join("cgroup.kill").exists() {
            return Ok(());
        }
        t.setup(set("cgroup.kill", "1"))?;
        let ended = waitid(Id::Pid(caller.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let killed = WaitStatus::Signaled(caller.pid(), Signal::SIGKILL, false);
        t.check(Call::new("how the caller ended after cgroup.kill", ended)).is(killed)
    }
});
