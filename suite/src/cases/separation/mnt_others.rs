//! What the caller can and cannot do to mounts that are not its own, and which proc it can mount (section 3.5 of the
//! behaviour catalogue).

use super::mnt::mount_tmpfs;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7); kernel, fs/namespace.c";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

/// A new directory with a private tmpfs on it.
#[track_caller]
fn new_mount(t: &Test, name: &str) -> Done<String> {
    let point = new_directory(t, name)?;
    t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(point.clone())))?;
    let private = mount(NONE, point.as_str(), NONE, MsFlags::MS_PRIVATE, NONE);
    t.setup(Call::new(format!("mount({name}, MS_PRIVATE)"), private))?;
    Ok(point)
}

fn bind(from: &str, to: &str, more: MsFlags) -> Call<()> {
    Call::new(format!("mount(MS_BIND) {more:?}"), mount(Some(from), to, NONE, MsFlags::MS_BIND | more, NONE))
}

case!(Case {
    name: "separation.mnt.of_the_old",
    about: "A mount of the old namespace that a descriptor leads to can neither be unmounted nor bind mounted (EINVAL); \
            of the same mount's copy both can, and a directory below it without what is mounted beside.",
    proves: &["EFF-MNT-26"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (point, free) = (new_mount(t, "old")?, new_mount(t, "free")?);
        let below = new_directory(t, "old/below")?;
        new_mount(t, "old/below/inner")?;
        new_mount(t, "old/beside")?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let file = t.setup(Call::io("open(old)", File::open(&point)))?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let old = format!("/proc/self/fd/{}", file.as_raw_fd());
        for flags in [MntFlags::empty(), MntFlags::MNT_DETACH, MntFlags::MNT_EXPIRE] {
            let text = format!("umount(the mount in the old namespace, {flags:?})");
            t.check(Call::new(text, umount2(old.as_str(), flags))).fails_with(Errno::EINVAL)?;
        }
        for more in [MsFlags::empty(), MsFlags::MS_REC] {
            t.check(bind(&old, &free, more).called("mount(MS_BIND) of the mount in the old namespace"))
                .fails_with(Errno::EINVAL)?;
        }
        let still = peer.call(t, "whether it is still mounted there", point.clone(), is_mounted)?;
        t.check(still).is(true)?;
        // Of the own one, and what is mounted below the directory alone.
        t.check(bind(&below, &free, MsFlags::MS_REC)).succeeds()?;
        for (name, expected) in [("inner", true), ("beside", false)] {
            let text = format!("whether {name} is mounted in the bind mount of old/below");
            t.check(Call::new(text, is_mounted(format!("{free}/{name}")))).is(expected)?;
        }
        t.check(Call::new("umount(old/below)", umount2(below.as_str(), MntFlags::empty())))
            .fails_with(Errno::EINVAL)?;
        t.check(Call::new("umount(old, MNT_DETACH)", umount2(point.as_str(), MntFlags::MNT_DETACH))).succeeds()
    })
});

case!(Case {
    name: "separation.mnt.unmounting_takes_power",
    about: "In a copy that a new user namespace owns MNT_FORCE fails (EPERM) on a bind mount that the caller made of a \
            file system of the old one, and every unmounting once the caller has given up its capabilities.",
    proves: &["EFF-MNT-27"],
    source: "umount2(2), Errors and MNT_FORCE; kernel, fs/namespace.c",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (point, free) = (new_mount(t, "old")?, new_mount(t, "free")?);
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        t.check(bind(&point, &free, MsFlags::empty())).succeeds()?;
        let unmount =
            |flags: MntFlags| Call::new(format!("umount(the bind mount, {flags:?})"), umount2(free.as_str(), flags));
        t.check(unmount(MntFlags::MNT_FORCE)).fails_with(Errno::EPERM)?;
        t.check(unmount(MntFlags::empty())).succeeds()?;
        t.check(Call::new("mount(tmpfs)", mount_tmpfs(free.clone()))).succeeds()?;
        t.check(unmount(MntFlags::MNT_FORCE)).succeeds()?;
        t.check(bind(&point, &free, MsFlags::empty())).succeeds()?;
        t.setup(set_capabilities(0, 0))?;
        t.check(unmount(MntFlags::empty()).called("umount(the bind mount) without capabilities"))
            .fails_with(Errno::EPERM)
    })
});

/// What is done to /proc before the call, and how proc is then mounted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Covered,
    ReadOnly,
}

fn mount_proc((point, flags): (String, libc::c_ulong)) -> Result<(), Errno> {
    mount(Some("proc"), point.as_str(), Some("proc"), MsFlags::from_bits_retain(flags), NONE)
}

case!(Case {
    name: "separation.mnt.visible_proc",
    about: "Process 1 of new user, mount and PID namespaces can mount proc where one is visible that nothing covers; not \
            where a directory of it is covered, nor writable or with other access times where that one is read-only or \
            keeps others (EPERM).",
    proves: &["EFF-MNT-28"],
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::PID_NS),
    variants: || variants::named(&[
        ("uncovered", Before::Nothing),
        ("covered", Before::Covered),
        ("read_only", Before::ReadOnly),
    ]),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let before: Before = t.param();
        let point = new_mount(t, "proc")?;
        let private = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        // The same without the call under test: a place may have covered its proc.
        let flags = (Flags::NEWUSER | Flags::NEWNS | Flags::NEWPID).0;
        let control = Peer::start(t, "task made by clone(2)", Flags(flags))?;
        let plain = control.call(t, "mount(proc) by a task made by clone(2)", (point.clone(), 0), mount_proc)?;
        if plain.result().is_err() {
            return Err(t.skip("this place's /proc is covered in part: run as root outside containers"));
        }
        match before {
            Before::Nothing => {}
            Before::Covered => t.setup(Call::new("mount(tmpfs, /proc/sys)", mount_tmpfs("/proc/sys".to_owned())))?,
            Before::ReadOnly => {
                let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
                t.setup(Call::new("mount(/proc, MS_REMOUNT|MS_RDONLY)", mount(NONE, "/proc", NONE, flags, NONE)))?;
            }
        }
        t.unshare(Flags::NEWUSER | Flags::NEWNS | Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let try_with = |flags: MsFlags| {
            first.call(t, &format!("mount(proc, {flags:?}) by process 1"), (point.clone(), flags.bits()), mount_proc)
        };
        match before {
            Before::Nothing => t.check(try_with(MsFlags::empty())?).succeeds(),
            Before::Covered => t.check(try_with(MsFlags::empty())?).fails_with(Errno::EPERM),
            Before::ReadOnly => {
                t.check(try_with(MsFlags::empty())?).fails_with(Errno::EPERM)?;
                t.check(try_with(MsFlags::MS_RDONLY | MsFlags::MS_STRICTATIME)?).fails_with(Errno::EPERM)?;
                t.check(try_with(MsFlags::MS_RDONLY)?).succeeds()
            }
        }
    })
});

/// What is done before the call, for a proc that is visible only in part, or not writable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proc {
    /// A directory of it is covered; the same directory is bind mounted elsewhere.
    Covered,
    /// Covered, and another one shows processes alone (subset=pid).
    Restricted,
    /// Covered, and another one's file system is read-only, though its mount is not.
    ReadOnly,
    /// Whoever mounts proc has covered a directory himself.
    CoveredByItself,
    /// Not proc but sysfs, and what is covered is a directory that is always empty.
    EmptyOfSysfs,
}

/// A flag of the mount and its options, for one try each.
const TRIES: [(MsFlags, Option<&str>); 6] = [
    (MsFlags::empty(), NONE),
    (MsFlags::MS_RDONLY, NONE),
    (MsFlags::MS_NOATIME, NONE),
    (MsFlags::MS_RDONLY.union(MsFlags::MS_NOATIME), NONE),
    (MsFlags::empty(), Some("subset=pid")),
    (MsFlags::MS_RDONLY, Some("subset=pid")),
];

/// The errors, 0 for none, of each try to mount proc, or sysfs, at a point, and of remounting it writable and with other access
/// times.
fn try_proc((kind, point, covers): (String, String, bool)) -> Result<Vec<[i32; 3]>, Errno> {
    if covers {
        mount_tmpfs("/proc/sys".to_owned())?;
    }
    let errno = |result: Result<(), Errno>| result.err().map_or(0, |errno| errno as i32);
    let tries = TRIES.iter().map(|(flags, options)| {
        let mounted = mount(Some("case"), point.as_str(), Some(kind.as_str()), *flags, *options);
        if mounted.is_err() {
            return [errno(mounted), 0, 0];
        }
        let remount = |flags: MsFlags| {
            let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
            errno(mount(NONE, point.as_str(), NONE, flags, NONE))
        };
        let kept = *flags & MsFlags::MS_RDONLY;
        let errors = [0, remount(kept | MsFlags::MS_STRICTATIME), remount(*flags & MsFlags::MS_NOATIME)];
        let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
        errors
    });
    Ok(tries.collect())
}

case!(Case {
    name: "separation.mnt.proc_as_by_clone",
    about: "Which proc process 1 of the new namespaces can mount, and how it can be remounted, is what a task can whose \
            namespaces clone(2) has made: with the visible one covered, restricted or read-only. Likewise sysfs.",
    proves: &["EFF-MNT-35"],
    needs: Needs::ROOT.with(feature::PID_NS),
    variants: || {
        let all = Flags::NEWUSER | Flags::NEWNS | Flags::NEWPID;
        let row = |name: &str, proc: Proc, flags: Flags| Variant::new(name, (proc, flags));
        let needs = NEEDS.with(feature::CREATE_USER_NS);
        vec![
            row("covered", Proc::Covered, all).needing(needs),
            row("restricted", Proc::Restricted, all).needing(needs),
            row("read_only", Proc::ReadOnly, all).needing(needs),
            row("covered_by_itself", Proc::CoveredByItself, all).needing(needs),
            row("sysfs", Proc::EmptyOfSysfs, Flags::NEWUSER | Flags::NEWNS | Flags::NEWNET)
                .needing(needs.with(feature::NET_NS)),
            row("same_user_namespace", Proc::Covered, Flags::NEWNS | Flags::NEWPID),
        ]
    },
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (proc, flags): (Proc, Flags) = t.param();
        if proc != Proc::EmptyOfSysfs && !Path::new("/proc/sys").exists() {
            return Err(t.skip("the /proc here has no files but those of processes: mount it without subset=pid"));
        }
        let (point, other) = (new_mount(t, "proc")?, new_mount(t, "other")?);
        let private = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        let mount_other = |flags: MsFlags, options: Option<&str>| {
            let mounted = mount(Some("proc"), other.as_str(), Some("proc"), flags, options);
            mounted.map_err(|errno| {
                t.skip(format!("another proc cannot be mounted here ({errno}): run as root outside containers"))
            })
        };
        match proc {
            Proc::Covered => t.setup(bind("/proc/sys", &other, MsFlags::empty()))?,
            Proc::Restricted => mount_other(MsFlags::empty(), Some("subset=pid"))?,
            Proc::ReadOnly => {
                mount_other(MsFlags::MS_RDONLY, NONE)?;
                let writable = mount(NONE, other.as_str(), NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, NONE);
                t.setup(Call::new("mount(other, MS_REMOUNT|MS_BIND)", writable))?;
            }
            Proc::EmptyOfSysfs => {
                let empty = ["debug", "tracing", "security"].map(|name| format!("/sys/kernel/{name}"));
                let covered = empty.into_iter().find(|path| mount_tmpfs(path.clone()).is_ok());
                if covered.is_none() {
                    return Err(t.skip("none of sysfs's empty directories is here: a kernel with DEBUG_FS has one"));
                }
            }
            Proc::CoveredByItself => {}
        }
        let covers = proc == Proc::CoveredByItself;
        let kind = if proc == Proc::EmptyOfSysfs { "sysfs" } else { "proc" };
        if matches!(proc, Proc::Covered | Proc::Restricted | Proc::ReadOnly) {
            t.setup(Call::new("mount(tmpfs, /proc/sys)", mount_tmpfs("/proc/sys".to_owned())))?;
        }
        let control = Peer::start(t, "task made by clone(2)", flags)?;
        let expected = control.setup(
            t,
            "mounts by a task made by clone(2)",
            (kind.to_owned(), point.clone(), covers),
            try_proc,
        )?;
        t.unshare(flags).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let text = "errors of each mount, with other access times, and without MS_RDONLY";
        t.check(first.call(t, text, (kind.to_owned(), point, covers), try_proc)?).is(expected)
    })
});

case!(Case {
    name: "separation.mnt.proc_without_any",
    about: "In a copy with the same owner proc can be mounted although none is visible there any more.",
    proves: &["EFF-MNT-38"],
    source: "mount_namespaces(7); kernel, fs/namespace.c (mount_too_revealing)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "proc")?;
        let private = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        let control = Peer::start(t, "task made by clone(2)", Flags::NEWNS)?;
        let plain = control.call(t, "mount(proc) by a task made by clone(2)", (point.clone(), 0), mount_proc)?;
        if plain.result().is_err() {
            return Err(t.skip("proc cannot be mounted here: run as root outside containers"));
        }
        t.unshare(Flags::NEWNS).as_predicted()?;
        let all = t.setup(Call::new("read(mountinfo)", mounts()))?;
        for line in all.iter().rev().filter(|line| line.source.starts_with("proc ")) {
            // One that is covered, or was mounted below one that is gone by now, is out of reach.
            let _ = umount2(line.point(), MntFlags::MNT_DETACH);
        }
        t.check(Call::new("mount(proc)", mount_proc((point, 0)))).succeeds()
    })
});
