//! Root, current directory, mounts and cgroup of the caller against tasks that change them meanwhile (section 7 of
//! the behaviour catalogue). What the caller gets must be how it was at one moment.

use crate::engines::race::DEADLINE;
use crate::observe::sharing as sharing_by_kcmp;
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 and 8 (4); kernel, fs/fs_struct.c and fs/namespace.c";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

case!(Case {
    name: "races.fs.execve",
    about: "While a sharer of root and cwd executes a set-user-ID program, unshare(CLONE_FS) succeeds and never \
            gives EAGAIN, as clone(CLONE_FS) may; and since a third task goes on sharing, the program is not raised.",
    proves: &["RACE-05", "MT-16"],
    source: "kernel, fs/exec.c and kernel/fork.c; execve(2)",
    needs: setuid_exec::NEEDS,
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let program = Program::new(t)?;
        play(t, 2, |random, barrier| {
            let (mine, its) = (delay(random), 4 * delay(random));
            t.in_child(|t| {
                let third = Peer::start(t, "third task", Flags::FS)?;
                let executor = barrier.spawn(t, "executor", Flags::FS, |t| {
                    become_unprivileged(t)?;
                    barrier.start(2, mine);
                    t.setup(program.execute())
                })?;
                barrier.start(2, its);
                t.check(unshare(Flags::FS)).proves("RACE-05").succeeds()?;
                check_kcmp(t, &third, Shared::Fs, false, "RACE-05")?;
                let user = effective_user(t, executor.pid())?;
                t.check(Call::seen("effective user of the set-user-ID program", user))
                    .proves("RACE-05")
                    .is(setuid_exec::ORDINARY)
            })?;
            Ok("executed")
        })
    })
});

/// How deep the sharer goes.
const DEPTH: usize = 40;

/// A directory in a directory and so on, the upper half on one file system, the lower on another. Gives their inodes
/// and devices from the top; the caller's cwd is the top one.
#[track_caller]
fn dig(t: &Test) -> Done<Vec<(u64, u64)>> {
    let top = PathBuf::from(new_directory(t, "deep")?);
    t.setup(mount_tmpfs(&top))?;
    let mut path = top.clone();
    let mut places = Vec::new();
    for depth in 0..=DEPTH {
        if depth == DEPTH / 2 {
            t.setup(mount_tmpfs(&path))?;
        }
        let stat = t.setup(Call::io("stat()", fs::metadata(&path)))?;
        places.push((stat.ino(), stat.dev()));
        path.push("deeper");
        t.setup(Call::io("mkdir(deeper)", fs::create_dir(&path)))?;
    }
    t.setup(Call::new("chdir(deep), chroot(.)", chdir(&top).and_then(|()| chroot("."))))?;
    Ok(places)
}

/// Checks that the mounts behind the caller's root and cwd are mounts of its mount namespace. `proc` is an open
/// /proc. The caller ends up at the root of its mount namespace, from where alone all of its mounts are seen.
#[track_caller]
fn check_mounts(t: &Test, proc: &File) -> Done {
    let ids = [("root", place_of(c"/").mount), ("cwd", place_of(c".").mount)];
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let opened = openat(proc.as_fd(), "thread-self/ns/mnt", flags, Mode::empty());
    let own = t.setup(Call::new("open(thread-self/ns/mnt)", opened))?;
    t.setup(Call::new("setns(own mount namespace)", enter(&File::from(own))))?;
    let mounts: Vec<u64> = t.setup(Call::new("read(mountinfo)", mounts()))?.iter().map(|line| line.id).collect();
    for (what, id) in ids {
        let text = format!("whether the mount behind the {what}, {id}, is one of the namespace's");
        t.check(Call::seen(text, mounts.contains(&id))).is(true)?;
    }
    Ok(())
}

case!(Case {
    name: "races.fs.deeper",
    about: "While a sharer moves, again and again, first its cwd and then its root one directory deeper, and across \
            a mount, CLONE_FS and CLONE_NEWNS give the caller a root and a cwd of one moment: the cwd is the root or \
            one deeper, never above, and both are in the caller's mount namespace.",
    proves: &["RACE-06"],
    needs: NEEDS.with(feature::ROOT_IN_SIGHT),
    variants: || variants::of_flags([Flags::FS, Flags::NEWNS, Flags::NEWNS | Flags::NEWUTS]),
    run: |t| {
        let proc = t.setup(Call::io("open(/proc)", File::open("/proc")))?;
        t.directory()?;
        play(t, 2, |random, barrier| {
            let (mine, its, steps) = (random.u32(0..500), delay(random), random.u32(0..2 * DEPTH as u32));
            in_own_namespaces(t, Flags::NEWNS, |t| {
                let places = dig(t)?;
                let sharer = barrier.spawn(t, "sharer", Flags::FS, |t| {
                    barrier.start(2, its);
                    for _ in 0..DEPTH {
                        t.check(Call::new("chdir(deeper)", chdir("deeper"))).succeeds()?;
                        // In each of the two states it lets the other go on.
                        barrier.finish();
                        std::thread::yield_now();
                        t.check(Call::new("chroot(.)", chroot("."))).succeeds()?;
                        barrier.finish();
                        std::thread::yield_now();
                    }
                    Ok(())
                })?;
                barrier.start(2, 0);
                barrier.wait_until_finished(steps);
                (0..mine).for_each(|_| std::hint::spin_loop());
                t.check(unshare(t.param::<Flags>())).succeeds()?;
                let depth_of = |path: &str| {
                    let stat = fs::metadata(path);
                    let depth = stat.map(|stat| places.iter().position(|place| *place == (stat.ino(), stat.dev())));
                    t.check(Call::io(format!("depth of {path}"), depth))
                        .holds("one of the directories", Option::is_some)
                };
                let (root, cwd) = (depth_of("/")?.unwrap_or(0), depth_of(".")?.unwrap_or(0));
                t.check(Call::seen("depth of the cwd, below the root at 0", cwd as i64 - root as i64))
                    .holds("0 or 1", |below| (0..=1).contains(below))?;
                sharer.join(t)?;
                // Apart: the sharer is at the bottom, the caller where it was.
                t.check(Call::seen("depth of the cwd when the sharer is at the bottom", depth_of(".")?.unwrap_or(0)))
                    .is(cwd)?;
                barrier.put(0, u64::from(cwd != root) + 2 * u64::from(root == DEPTH));
                check_mounts(t, &proc)
            })?;
            Ok(["between two steps", "within a step", "after the last"][barrier.get(0).min(2) as usize])
        })
    }
});

case!(Case {
    name: "races.fs.pivot_root",
    about: "While another task in the mount namespace calls pivot_root(2), which moves the root and cwd of all who \
            had the old root, CLONE_FS and CLONE_NEWNS leave the caller with root and cwd both old or both new, and \
            both in its mount namespace.",
    proves: &["RACE-06"],
    source: "pivot_root(2); kernel, fs/namespace.c",
    needs: NEEDS.with(feature::ROOT_IN_SIGHT),
    quick: one_in(2, 0),
    variants: || [Flags::FS, Flags::NEWNS]
        .into_iter()
        .flat_map(|flags| [
            Variant::new(format!("{}_beside_sharer", flags.slug()), (flags, false)),
            Variant::new(flags.slug(), (flags, true)),
        ])
        .collect(),
    run: |t| {
        let proc = t.setup(Call::io("open(/proc)", File::open("/proc")))?;
        let (flags, alone): (Flags, bool) = t.param();
        expect_claimed(t, flags)?;
        let top = PathBuf::from(new_directory(t, "root")?);
        play(t, 2, |random, barrier| {
            let (mine, its) = (delay(random), delay(random));
            in_own_namespaces(t, Flags::NEWNS, |t| {
                let new = top.join("new");
                t.setup(mount_tmpfs(&top))?;
                t.setup(Call::io("mkdir(new)", fs::create_dir(&new)))?;
                t.setup(mount_tmpfs(&new))?;
                t.setup(Call::io("mkdir(new/old)", fs::create_dir(new.join("old"))))?;
                let inode = |path: &Path| t.setup(Call::io("stat()", fs::metadata(path).map(|stat| stat.dev())));
                let (old, new) = (inode(&top)?, inode(&new)?);
                let observer = Observer::open(t)?;
                let (own, namespace) = (std::process::id() as i32, observer.namespace_inode(Ns::Mnt));
                t.setup(Call::new("chdir(root), chroot(.)", chdir(&top).and_then(|()| chroot("."))))?;
                let sharing = if alone { Flags::NONE } else { Flags::FS };
                let other = barrier.spawn(t, "other task", sharing, |t| {
                    barrier.start(2, its);
                    let pivoted = nix::unistd::pivot_root("new", "new/old");
                    barrier.wait_until_finished(1);
                    t.check(Call::new("pivot_root(new, new/old)", pivoted)).succeeds()?;
                    if t.facts().has(feature::KCMP) {
                        let shared = sharing_by_kcmp(Shared::Fs, std::process::id() as i32, own);
                        t.check(shared.called("whether the two share root and cwd, by kcmp")).is(false)?;
                    }
                    Ok(())
                })?;
                barrier.start(2, mine);
                let call = unshare(flags);
                barrier.finish();
                t.check(call).succeeds()?;
                other.join(t)?;
                let changed = observer.namespace_inode(Ns::Mnt) != namespace;
                t.check(Call::seen("whether the caller is in another mount namespace", changed))
                    .is(flags.contains(Flags::NEWNS))?;
                let seen =
                    |path: &str| Call::io(format!("device of {path}"), fs::metadata(path).map(|stat| stat.dev()));
                let root = t
                    .check(seen("/"))
                    .holds("that of the old or the new root", |device| [old, new].contains(device))?;
                t.check(seen(".")).is(root)?;
                barrier.put(0, u64::from(root == new));
                check_mounts(t, &proc)
            })?;
            Ok(["at the old root", "at the new root"][barrier.get(0) as usize])
        })
    }
});

/// How many mount points there are.
const POINTS: usize = 12;

/// Which of the mount points below `base` the calling task sees mounted, a bit each; and how many mounts there are
/// below `base`.
fn mounted(t: &Test, base: &str) -> Done<(u64, u64)> {
    let lines = t.setup(Call::new("read(mountinfo)", mounts()))?;
    let below: Vec<&MountLine> = lines.iter().filter(|line| line.point().starts_with(base)).collect();
    let bit = |point: &str| point.rsplit('/').next()?.parse::<u32>().ok().map(|n| 1u64 << n);
    let bits = below.iter().filter_map(|line| bit(line.point())).fold(0, |all, bit| all | bit);
    Ok((bits, below.len() as u64))
}

/// Mounts and unmounts below a shared mount as drawn, and leaves some mounted.
fn mount_and_unmount(t: &Test, barrier: &Barrier, base: &Path, mut random: fastrand::Rng) -> Done {
    let mut up = [false; POINTS];
    for _ in 0..40 {
        let at = random.usize(..POINTS);
        let point = base.join(at.to_string());
        if up[at] {
            t.check(Call::new("umount()", umount2(&point, MntFlags::MNT_DETACH))).succeeds()?;
        } else {
            let done = mount(NONE, &point, Some("tmpfs"), MsFlags::empty(), Some("size=4k"));
            t.check(Call::new("mount(tmpfs)", done)).succeeds()?;
        }
        up[at] = !up[at];
        barrier.finish();
    }
    let (bits, count) = mounted(t, &base.to_string_lossy())?;
    barrier.put(0, bits);
    barrier.put(1, count);
    Ok(())
}

case!(Case {
    name: "races.mounts.propagated",
    about: "While another task mounts and unmounts below a shared mount, unshare(CLONE_NEWNS) gives the caller a \
            copy in the same peer group: once all is quiet both see the same mounts below it, be it because they \
            were copied or because they were propagated.",
    proves: &["RACE-07"],
    source: "mount_namespaces(7), Shared subtrees; kernel, fs/namespace.c and fs/pnode.c",
    run: |t| {
        let base = PathBuf::from(new_directory(t, "shared")?);
        play(t, 2, |random, barrier| {
            let (mine, steps, its) = (delay(random), random.u32(0..30), fastrand::Rng::with_seed(random.u64(..)));
            in_own_namespaces(t, Flags::NEWNS, |t| {
                t.setup(mount_tmpfs(&base))?;
                t.setup(Call::new("mount(MS_SHARED)", mount(NONE, &base, NONE, MsFlags::MS_SHARED, NONE)))?;
                for at in 0..POINTS {
                    t.setup(Call::io("mkdir()", fs::create_dir(base.join(at.to_string()))))?;
                }
                let observer = Observer::open(t)?;
                let old = observer.namespace_inode(Ns::Mnt);
                let other = barrier
                    .spawn(t, "other task", Flags::NONE, |t| mount_and_unmount(t, barrier, &base, its.clone()))?;
                barrier.wait_until_finished(steps);
                barrier.start(1, mine);
                t.check(unshare(Flags::NEWNS)).succeeds()?;
                other.join(t)?;
                t.check(observer.namespace(Ns::Mnt)).is_not(old)?;
                let text = "mount points in use below a shared mount (a bit each), and mounts there";
                t.check(Call::seen(text, mounted(t, &base.to_string_lossy())?)).is((barrier.get(0), barrier.get(1)))
            })?;
            Ok("of 40 mounts and unmounts")
        })
    }
});

case!(Case {
    name: "races.cgroup.migrated",
    about: "While the caller is moved from one cgroup to another, unshare(CLONE_NEWCGROUP) makes one of the two the \
            root of what it sees: its own group then reads \"/\" or the way from the first to the second.",
    proves: &["RACE-19"],
    source: "cgroup_namespaces(7); kernel, kernel/cgroup/namespace.c",
    needs: NEEDS.with(feature::CGROUP_NS).and(ControlGroup::NEEDS),
    run: |t| {
        let group = ControlGroup::new(t)?;
        play(t, 2, |random, barrier| {
            let (mine, its) = (delay(random), delay(random));
            let caller = barrier.spawn(t, "caller", Flags::NONE, |t| {
                barrier.start(2, mine);
                t.check(unshare(Flags::NEWCGROUP)).succeeds()?;
                barrier.wait_until_over();
                let seen = group_of("self".to_owned());
                let path = t
                    .check(Call::new("own group in cgroup2", seen))
                    .holds("/ or /inner", |path| ["/", "/inner"].contains(&path.as_str()))?;
                barrier.put(0, u64::from(path == "/inner"));
                Ok(())
            })?;
            t.setup(move_into(group.outer(), caller.pid()))?;
            barrier.start(2, its);
            let moved = move_into(&group.inner(), caller.pid());
            barrier.end();
            t.setup(moved)?;
            caller.join(t)?;
            Ok(["rooted in the second group", "rooted in the first group"][barrier.get(0) as usize])
        })
    }
});
