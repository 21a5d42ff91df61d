//! The mount namespace (section 3.5 of the behaviour catalogue).
//!
//! Each case mounts in a namespace that clone(2) made for it, so that nothing stays behind.

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::pid_init::in_turns;
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 7.2 and 8 (3); unshare(2), CLONE_NEWNS; mount_namespaces(7)";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

pub(super) fn mount_tmpfs(point: String) -> Result<(), Errno> {
    let flags = MsFlags::empty();
    mount(Some("case"), point.as_str(), Some("tmpfs"), flags, Some("size=64k,mode=0777"))
}

/// Mounts a new instance of a file system that takes no options.
pub(super) fn mount_new(kind: &str, point: &str) -> Call<()> {
    Call::new(format!("mount({kind})"), mount(Some(kind), point, Some(kind), MsFlags::empty(), NONE))
}

/// Checks on either side whether something is mounted at a point.
#[track_caller]
fn check_mounted(t: &Test, what: &str, point: &str, sides: [(Side, bool); 2]) -> Done {
    for (side, expected) in sides {
        t.check(side.ask(t, &format!("whether {what}, as seen"), point.to_owned(), is_mounted)?).is(expected)?;
    }
    Ok(())
}

pub(super) fn unmount(point: String) -> Result<(), Errno> {
    umount2(point.as_str(), MntFlags::empty())
}

pub(super) fn set_propagation((point, flags): (String, libc::c_ulong)) -> Result<(), Errno> {
    let flags = MsFlags::from_bits_truncate(flags);
    mount(NONE, point.as_str(), NONE, flags, NONE)
}

fn bind((from, to): (String, String)) -> Result<(), Errno> {
    mount(Some(from.as_str()), to.as_str(), NONE, MsFlags::MS_BIND, NONE)
}

/// A new directory with a tmpfs on it, of this propagation type.
#[track_caller]
pub(super) fn new_mount(t: &Test, name: &str, propagation: MsFlags) -> Done<String> {
    let point = new_directory(t, name)?;
    t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(point.clone())))?;
    let set = set_propagation((point.clone(), propagation.bits()));
    t.setup(Call::new(format!("mount({name}, {propagation:?})"), set))?;
    Ok(point)
}

/// The ID of the mount that a path leads to, by statx(2).
fn mount_id(path: impl AsRef<Path>) -> Result<u64, Errno> {
    let path = CString::new(path.as_ref().as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    observe::statx(libc::AT_FDCWD, &path, libc::STATX_MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// Whether the namespace of the caller has a mount with this ID.
fn is_listed(id: u64) -> Result<bool, Errno> {
    Ok(mounts()?.iter().any(|line| line.id == id))
}

case!(Case {
    name: "separation.mnt.link",
    about: "Each call gives the caller another mount namespace; a task that shared the old one keeps it.",
    proves: &["EFF-MNT-01", "RET-03"],
    run: |t| {
        const ID: &str = "EFF-MNT-01";
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        // Held open, so that their inode numbers are not given to others (the kernel reuses those of namespaces that
        // are gone).
        let hold = || t.setup(Call::new("open(ns/mnt)", open_link("thread-self", Ns::Mnt)));
        let mut held = vec![hold()?];
        let mut seen = vec![observer.namespace_inode(Ns::Mnt)];
        for _ in 0..3 {
            t.unshare(Flags::NEWNS).beside(&[&peer]).proving(ID).as_predicted()?;
            let known = seen.clone();
            let new = t
                .check(observer.namespace(Ns::Mnt))
                .proves("RET-03")
                .holds(&format!("an inode not among {known:?}"), |inode| *inode != 0 && !known.contains(inode))?;
            seen.push(new);
            held.push(hold()?);
        }
        t.check(namespace_of(peer.pid(), Ns::Mnt)).proves(ID).is(seen[0])
    }
});

/// Each mount with all the mounts it hangs on, up to the root: its lines without their IDs. Sorted, as the order of a
/// list is no part of the tree: the kernel lists mounts in the order they were made, and makes a copy depth first.
fn tree(list: &[MountLine]) -> Vec<String> {
    let shown = |line: &MountLine| {
        let (place, propagation) = (line.place.join(" "), line.propagation.join(" "));
        format!("{place} [{propagation}] {}", line.source)
    };
    let mut tree: Vec<_> = list
        .iter()
        .map(|line| {
            let above = |line: &&MountLine| list.iter().find(|other| other.id == line.parent && other.id != line.id);
            // More steps than mounts would be a circle.
            let chain = std::iter::successors(Some(line), above).take(list.len());
            chain.map(shown).collect::<Vec<_>>().join(", on ")
        })
        .collect();
    tree.sort();
    tree
}

/// The members of one sorted list that the other lacks.
fn lacking<'a>(list: &'a [String], other: &[String]) -> Vec<&'a String> {
    let count = |of: &[String], what: &String| of.iter().filter(|member| *member == what).count();
    let mut lacking: Vec<_> = list.iter().filter(|member| count(list, member) > count(other, member)).collect();
    lacking.dedup();
    lacking
}

case!(Case {
    name: "separation.mnt.copy",
    about: "The new namespace has the same tree of mounts: each with its place, source, options, propagation and \
            parent, under a new ID.",
    proves: &["EFF-MNT-02"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let below = new_mount(t, "tree", MsFlags::MS_PRIVATE)?;
        new_mount(t, "tree/a", MsFlags::MS_PRIVATE)?;
        new_mount(t, "other", MsFlags::MS_PRIVATE)?;
        new_mount(t, "tree/b", MsFlags::MS_SHARED)?;
        t.setup(Call::new("mount(tmpfs, tree/b) again", mount_tmpfs(format!("{below}/b"))))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let before = t.setup(Call::new("read(mountinfo)", mounts()))?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let after = t.setup(Call::new("read(mountinfo)", mounts()))?;
        let (original, copy) = (tree(&before), tree(&after));
        let count = Call::seen("number of mounts in the copy", after.len());
        let reused: Vec<_> = after.iter().filter(|new| before.iter().any(|old| old.id == new.id)).collect();
        all([
            t.check(count).is(before.len()),
            t.check(Call::seen("mounts that the copy lacks", lacking(&original, &copy))).is(vec![]),
            t.check(Call::seen("mounts that only the copy has", lacking(&copy, &original))).is(vec![]),
            t.check(Call::seen("mounts of the copy with an ID of the original", reused)).is(vec![]),
        ])
    })
});

case!(Case {
    name: "separation.mnt.private",
    about: "Tasks in one mount namespace see what either mounts; after unshare(CLONE_NEWNS) they do not, on private \
            mounts.",
    proves: &["EFF-MNT-03"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        const ID: &str = "EFF-MNT-03";
        let dirs = ProbeDirs::make(t, &[Probe::Mount])?;
        let (one, two) = (new_mount(t, "one", MsFlags::MS_PRIVATE)?, new_mount(t, "two", MsFlags::MS_PRIVATE)?);
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let sides = (Side::Caller, Side::Peer(&peer));
        check_shared(t, &dirs, Probe::Mount, sides, ID)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        check_apart(t, &dirs, Probe::Mount, sides, ID)?;
        check_apart(t, &dirs, Probe::Mount, (sides.1, sides.0), ID)?;
        for (point, acting, watching) in [(one, sides.0, sides.1), (two, sides.1, sides.0)] {
            acting.must(t, "umount()", point.clone(), unmount)?;
            check_mounted(t, "the unmounted file system is there", &point, [(acting, false), (watching, true)])?;
        }
        Ok(())
    })
});

case!(Case {
    name: "separation.mnt.shared",
    about: "A shared mount and its copy are one peer group: mounts and unmounts below either reach the other.",
    proves: &["EFF-MNT-04"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "shared", MsFlags::MS_SHARED)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let before = t.setup(Call::new("mountinfo(shared)", mount_at(point.clone())))?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let after = t.setup(Call::new("mountinfo(shared)", mount_at(point.clone())))?;
        t.check(Call::seen("propagation of the copy", after.propagation)).is(before.propagation)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        for (name, acting, watching) in [("a", caller, other), ("b", other, caller)] {
            let below = new_directory(t, &format!("shared/{name}"))?;
            acting.must(t, "mount(tmpfs, below)", below.clone(), mount_tmpfs)?;
            let look = || {
                watching.ask(t, &format!("whether what {acting} mounted is there, as seen"), below.clone(), is_mounted)
            };
            t.check(look()?).is(true)?;
            watching.must(t, "umount(below)", below.clone(), unmount)?;
            t.check(acting.ask(t, "whether what the other unmounted is there, as seen", below.clone(), is_mounted)?)
                .is(false)?;
        }
        Ok(())
    })
});

/// The calls that are made, one after the other.
fn ways_to_a_user_namespace() -> Vec<Variant> {
    let (one, two) = (vec![Flags::NEWUSER | Flags::NEWNS], vec![Flags::NEWUSER, Flags::NEWNS]);
    variants::named(&[("in_one_call", one), ("one_after_the_other", two)])
}

case!(Case {
    name: "separation.mnt.shared_across_user_namespaces",
    about: "A new user namespace's copy of a shared mount is a slave: mounts propagate to it and not from it.",
    proves: &["EFF-MNT-05", "DIFF-12"],
    needs: NEEDS.with(feature::CREATE_USER_NS),
    variants: ways_to_a_user_namespace,
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        const ID: &str = "EFF-MNT-05";
        let point = new_mount(t, "shared", MsFlags::MS_SHARED)?;
        for name in ["a", "b"] {
            new_directory(t, &format!("shared/{name}"))?;
        }
        let private = new_mount(t, "private", MsFlags::MS_PRIVATE)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let before = t.setup(Call::new("mountinfo(shared)", mount_at(point.clone())))?;
        for flags in t.param::<Vec<Flags>>() {
            t.unshare(flags).beside(&[&peer]).proving(ID).as_predicted()?;
        }
        let after = t.setup(Call::new("mountinfo(shared)", mount_at(point.clone())))?;
        t.check(Call::seen("peer group of the copy (shared:)", after.group("shared"))).proves(ID).is(None)?;
        t.check(Call::seen("what the copy is a slave of (master:)", after.group("master")))
            .proves(ID)
            .is(before.group("shared"))?;
        let fields = mount_at(private).map(|line| line.propagation);
        t.check(Call::new("propagation of the copy of a private mount", fields)).proves(ID).is(vec![])?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let look = |side: Side, name: &str| {
            side.ask(t, &format!("whether shared/{name} is mounted on, as seen"), format!("{point}/{name}"), is_mounted)
        };
        other.must(t, "mount(tmpfs, shared/a)", format!("{point}/a"), mount_tmpfs)?;
        t.check(look(caller, "a")?).proves(ID).is(true)?;
        t.check(caller.ask(t, "mount(tmpfs, shared/b)", format!("{point}/b"), mount_tmpfs)?).proves(ID).succeeds()?;
        t.check(look(caller, "b")?).proves(ID).is(true)?;
        t.check(look(other, "b")?).proves(ID).is(false)?;
        other.must(t, "umount(shared/a)", format!("{point}/a"), unmount)?;
        t.check(look(caller, "a")?).proves(ID).is(false)
    })
});

case!(Case {
    name: "separation.mnt.propagation_types",
    about: "Private mounts, slaves and shared slaves keep their type and their peer groups in the copy.",
    proves: &["EFF-MNT-06"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let mut points =
            vec![new_mount(t, "private", MsFlags::MS_PRIVATE)?, new_mount(t, "master", MsFlags::MS_SHARED)?];
        for (name, types) in [("slave", &[MsFlags::MS_SLAVE][..]), ("both", &[MsFlags::MS_SLAVE, MsFlags::MS_SHARED])] {
            let point = new_directory(t, name)?;
            t.setup(Call::new(format!("mount(master, {name}, MS_BIND)"), bind((points[1].clone(), point.clone()))))?;
            for kind in types {
                let set = set_propagation((point.clone(), kind.bits()));
                t.setup(Call::new(format!("mount({name}, {kind:?})"), set))?;
            }
            points.push(point);
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let look = |point: &String| t.setup(Call::new("read(mountinfo)", mount_at(point.clone())));
        let before = points.iter().map(look).collect::<Done<Vec<_>>>()?;
        let kinds: Vec<_> =
            before.iter().map(|line| (line.group("shared").is_some(), line.group("master").is_some())).collect();
        if kinds != [(false, false), (true, false), (false, true), (true, true)] {
            return Err(t.broken("propagation types (shared, slave) before the call", format!("{kinds:?}")));
        }
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        for (point, old) in points.iter().zip(&before) {
            let new = look(point)?;
            let name = Path::new(point).file_name().unwrap_or_default().display().to_string();
            t.check(Call::seen(format!("propagation of the copy of the mount \"{name}\""), new.propagation))
                .is(old.propagation.clone())?;
        }
        // And it works: the copies of the slaves receive from the master, the private one nothing.
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let below = new_directory(t, "master/below")?;
        other.must(t, "mount(tmpfs, master/below)", below, mount_tmpfs)?;
        all(["master", "slave", "both"].map(|name| {
            let point = t.directory()?.join(name).join("below").to_string_lossy().into_owned();
            t.check(caller.ask(t, &format!("whether {name}/below is mounted on, as seen"), point, is_mounted)?).is(true)
        }))
    })
});

case!(Case {
    name: "separation.mnt.unbindable",
    about: "An unbindable mount is copied and stays unbindable: a bind mount of the copy fails (EINVAL).",
    proves: &["EFF-MNT-07"],
    source: "mount_namespaces(7), MS_UNBINDABLE; unshare(2), CLONE_NEWNS",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "unbindable", MsFlags::MS_UNBINDABLE)?;
        let elsewhere = new_directory(t, "elsewhere")?;
        let bind_it = |side: Side, what: &str| {
            side.ask(t, &format!("mount({what}, MS_BIND)"), (point.clone(), elsewhere.clone()), bind)
        };
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.check(bind_it(Side::Caller, "an unbindable mount")?).fails_with(Errno::EINVAL)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("whether the unbindable mount was copied", is_mounted(point.clone()))).is(true)?;
        let propagation = Call::new("propagation of the copy of an unbindable mount", mount_at(point.clone()))
            .map(|line| line.propagation);
        all([
            t.check(bind_it(Side::Caller, "the copy of an unbindable mount")?).fails_with(Errno::EINVAL),
            t.check(bind_it(Side::Peer(&peer), "the original unbindable mount")?).fails_with(Errno::EINVAL),
            t.check(propagation).is(vec!["unbindable".to_owned()]),
        ])
    })
});

case!(Case {
    name: "separation.mnt.cwd_and_root",
    about: "The caller's cwd and root become the same directories of the copied mounts: their mount IDs are of the new \
            namespace, and paths and mount(2) work there.",
    proves: &["EFF-MNT-08"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "inner", MsFlags::MS_PRIVATE)?;
        let below = new_directory(t, "inner/here/below")?;
        t.setup(Call::new("chdir(inner/here)", chdir(format!("{point}/here").as_str())))?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        for path in [".", "/"] {
            let id = t.check(Call::new(format!("statx({path}, STATX_MNT_ID)"), mount_id(path))).succeeds()?;
            for (side, expected) in [(Side::Caller, true), (Side::Peer(&peer), false)] {
                let text = format!("whether mountinfo lists the mount of the caller's {path}, read");
                t.check(side.ask(t, &text, id, is_listed)?).is(expected)?;
            }
        }
        t.check(Call::new("getcwd()", getcwd())).is(PathBuf::from(format!("{point}/here")))?;
        t.check(Call::new("mount(tmpfs, ./below)", mount_tmpfs("./below".to_owned()))).succeeds()?;
        check_mounted(t, "./below is mounted on", &below, [(Side::Caller, true), (Side::Peer(&peer), false)])
    })
});

case!(Case {
    name: "separation.mnt.old_descriptors",
    about: "A directory opened before the call stays in the old mount: fchdir(2) there works, mount(2) does not.",
    proves: &["EFF-MNT-10"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "inner", MsFlags::MS_PRIVATE)?;
        new_directory(t, "inner/below")?;
        let directory = t.setup(Call::io("open(inner)", File::open(&point)))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let old = t.setup(Call::new("statx(inner)", mount_id(&point)))?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("fchdir(opened before)", nix::unistd::fchdir(directory.as_fd()))).succeeds()?;
        t.check(Call::new("statx(., STATX_MNT_ID)", mount_id("."))).is(old)?;
        t.check(Call::io("stat(below)", fs::metadata("below").map(|m| m.is_dir()))).is(true)?;
        t.check(Call::new("mount(tmpfs, below) on the old mount", mount_tmpfs("below".to_owned())))
            .fails_with(Errno::EINVAL)?;
        // By its path it is the new one.
        t.setup(Call::new("chdir(inner)", chdir(point.as_str())))?;
        t.check(Call::new("statx(., STATX_MNT_ID)", mount_id("."))).is_not(old)?;
        t.check(Call::new("mount(tmpfs, below) on the copy", mount_tmpfs("below".to_owned()))).succeeds()
    })
});

/// Keeps the calling task on the CPU it is on: IDs of namespaces grow in the order of their making only there
/// (RULE-10), as separation.mnt.younger_namespace_file shows.
pub(super) fn stay_on_this_cpu() -> Result<(), Errno> {
    let mut set = nix::sched::CpuSet::new();
    set.set(nix::sched::sched_getcpu()?)?;
    nix::sched::sched_setaffinity(Pid::from_raw(0), &set)
}

case!(Case {
    name: "separation.mnt.namespace_files",
    about: "A bind mount of a mount namespace's file is not copied, to avoid a loop, nor would it propagate (EINVAL); \
            one of another kind of namespace is.",
    proves: &["EFF-MNT-11"],
    source: "mount_namespaces(7); kernel, fs/namespace.c",
    run: |t| {
        t.setup(Call::new("sched_setaffinity(this CPU)", stay_on_this_cpu()))?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            let peer = Peer::start(t, "peer", Flags::NONE)?;
            let younger = Peer::start(t, "task in a younger namespace", Flags::NEWNS)?;
            let mut points = Vec::new();
            for (ns, copied) in [(Ns::Mnt, false), (Ns::User, true), (Ns::Ipc, true)] {
                let link = format!("/proc/{}/ns/{}", younger.pid(), ns.link());
                if !Path::new(&link).exists() {
                    continue;
                }
                let point = t.directory()?.join(ns.link());
                t.setup(Call::io("open(O_CREAT)", fs::write(&point, "")))?;
                let point = point.to_string_lossy().into_owned();
                t.setup(Call::new(format!("mount({link}, MS_BIND)"), bind((link, point.clone()))))?;
                if ns == Ns::Mnt {
                    // What is mounted upon it goes along.
                    let upon = t.directory()?.join("upon");
                    t.setup(Call::io("open(O_CREAT)", fs::write(&upon, "")))?;
                    let upon = upon.to_string_lossy().into_owned();
                    t.setup(Call::new("mount(upon that, MS_BIND)", bind((upon, point.clone()))))?;
                }
                points.push((ns, point, copied));
            }
            let shared = new_mount(t, "shared", MsFlags::MS_SHARED)?;
            t.setup(Call::io("open(O_CREAT)", fs::write(format!("{shared}/file"), "")))?;
            // A mount that comes after those that are left out.
            let last = new_mount(t, "last", MsFlags::MS_PRIVATE)?;
            t.setup(Call::new("chdir(last)", chdir(last.as_str())))?;
            t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
            let id = t.setup(Call::new("statx(., STATX_MNT_ID)", mount_id(".")))?;
            t.check(Call::new("whether mountinfo lists the mount of the cwd", is_listed(id))).is(true)?;
            for (ns, point, copied) in points {
                let what = format!("a bind mount of ns/{} is there", ns.link());
                check_mounted(t, &what, &point, [(Side::Caller, copied), (Side::Peer(&peer), true)])?;
            }
            let other = Peer::start(t, "task in a namespace made afterwards", Flags::NEWNS)?;
            let bound = bind((format!("/proc/{}/ns/mnt", other.pid()), format!("{shared}/file")));
            t.check(Call::new("mount(ns/mnt, MS_BIND) below a shared mount", bound)).fails_with(Errno::EINVAL)
        })
    }
});

/// The CPUs that the calling task may run on, as far as a case goes through them in pairs.
fn some_cpus() -> Result<Vec<usize>, Errno> {
    const MOST: usize = 3;
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let allowed = (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    Ok(allowed.take(MOST).collect())
}

fn stay_on(cpu: usize) -> Result<(), Errno> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    nix::sched::sched_setaffinity(Pid::from_raw(0), &set)
}

/// Mounts a file on another by way of a tree that is mounted nowhere.
fn attach_tree(from: &str, to: &str) -> Result<(), Errno> {
    let attach = || {
        let tree = open_tree(CWD, from, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        move_mount(tree, c"", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    attach().map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

case!(Case {
    name: "separation.mnt.younger_namespace_file",
    about: "The file of a mount namespace can be mounted in an older one, on whichever CPU each was made; that of an \
            older one, or its own, cannot (EINVAL, of a detached tree ELOOP), since that would be a loop.",
    proves: &["EFF-MNT-25"],
    source: "mount_namespaces(7); kernel, fs/namespace.c (mnt_ns_loop)",
    run: |t| {
        let cpus = t.setup(Call::new("sched_getaffinity()", some_cpus()))?;
        let point = t.directory()?.join("file");
        t.setup(Call::io("open(O_CREAT)", fs::write(&point, "")))?;
        let point = point.to_string_lossy().into_owned();
        let pairs = cpus.iter().flat_map(|older| cpus.iter().map(move |younger| (*older, *younger)));
        let made = pairs.map(|(older, younger)| {
            t.in_child(|t| {
                t.setup(Call::new(format!("sched_setaffinity({older})"), stay_on(older)))?;
                t.unshare(Flags::NEWNS).as_predicted()?;
                // Where the tree is shared, what is mounted here would reach others.
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", mount(NONE, "/", NONE, private, NONE)))?;
                t.setup(Call::new(format!("sched_setaffinity({younger})"), stay_on(younger)))?;
                let peer = Peer::start(t, "task in a younger namespace", Flags::NEWNS)?;
                let (own, its) = (getpid(), peer.pid());
                let file = |pid: Pid| format!("/proc/{pid}/ns/mnt");
                let text =
                    format!("mount(file of a namespace made on CPU {younger}, MS_BIND) in one made before on {older}");
                all([
                    t.check(Call::new(text, bind((file(its), point.clone())))).succeeds(),
                    t.check(Call::new("mount(file of the own namespace, MS_BIND)", bind((file(own), point.clone()))))
                        .fails_with(Errno::EINVAL),
                    t.check(Call::seen("move_mount() of a tree of that file", attach_tree(&file(own), &point)))
                        .is(Err(Errno::ELOOP)),
                    t.check(peer.call(
                        t,
                        "mount(file of an older namespace, MS_BIND)",
                        (file(own), point.clone()),
                        bind,
                    )?)
                    .fails_with(Errno::EINVAL),
                ])
            })
        });
        all(made)
    }
});

case!(Case {
    name: "separation.mnt.unmount_copy",
    about: "Within one user namespace the caller may unmount a copied mount; the original stays.",
    proves: &["EFF-MNT-14"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "inner", MsFlags::MS_PRIVATE)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("umount(a copied mount)", unmount(point.clone()))).succeeds()?;
        check_mounted(t, "it is mounted", &point, [(Side::Caller, false), (Side::Peer(&peer), true)])
    })
});

case!(Case {
    name: "separation.mnt.thread",
    about: "unshare(CLONE_NEWNS) by a second thread moves that thread alone: the first does not see what it mounts.",
    proves: &["EFF-MNT-16"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (theirs, ours) = (new_directory(t, "theirs")?, new_directory(t, "ours")?);
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        // The calling thread's namespace, and whether something is mounted there.
        let view = |point: &str| {
            let mounted = is_mounted(point.to_owned()).unwrap_or(true);
            (observer.namespace_inode(Ns::Mnt), mounted)
        };
        let before = view(&theirs);
        let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
        let first = || {
            all([
                t.check(Call::seen("mount namespace of the first thread", view(&theirs))).is((before.0, false)),
                t.setup(Call::new("mount(tmpfs, ours)", mount_tmpfs(ours.clone()))),
            ])
        };
        in_turns(t, first, |first_thread| {
            t.unshare(Flags::NEWNS).from(start).beside(&[&peer]).as_predicted()?;
            t.check(Call::new("mount(tmpfs, theirs)", mount_tmpfs(theirs.clone()))).succeeds()?;
            t.check(Call::seen("mount namespace of the second thread", view(&theirs)))
                .holds("another namespace, with the mount", |view| view.1 && view.0 != before.0)?;
            first_thread();
            t.check(Call::new("whether what the first thread mounted is there", is_mounted(ours.clone()))).is(false)
        })
    })
});

case!(Case {
    name: "separation.mnt.chrooted",
    about: "After chroot(2) unshare(CLONE_NEWNS) succeeds; the root stays the same directory, of the copied mount.",
    proves: &["EFF-MNT-17"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "jail", MsFlags::MS_PRIVATE)?;
        new_directory(t, "jail/root/below")?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.setup(Call::new("chroot(jail/root)", chroot(format!("{point}/root").as_str())))?;
        t.setup(Call::new("chdir(/)", chdir("/")))?;
        let start = Start { chrooted: true, ..Start::of(t.facts()) };
        t.unshare(Flags::NEWNS).from(start).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("mount(tmpfs, /below)", mount_tmpfs("/below".to_owned()))).succeeds()?;
        let text = "whether jail/root/below is mounted on, as seen by the peer";
        t.check(peer.call(t, text, format!("{point}/root/below"), is_mounted)?).is(false)
    })
});
