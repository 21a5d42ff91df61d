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
        for flags in [MntFlags::empty(), MntFlags::MNT_DETACH] {
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
