//! Mounts of the namespace that a task has left, and mounts that another namespace has on a directory (section 3.5 of
//! the behaviour catalogue).

use super::mnt::mount_tmpfs;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7)";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

/// A new directory with a tmpfs on it, of this propagation type.
#[track_caller]
fn new_mount(t: &Test, name: &str, propagation: MsFlags) -> Done<String> {
    let point = new_directory(t, name)?;
    t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(point.clone())))?;
    let set = mount(NONE, point.as_str(), NONE, propagation, NONE);
    t.setup(Call::new(format!("mount({name}, {propagation:?})"), set))?;
    Ok(point)
}

case!(Case {
    name: "separation.mnt.old_descriptors_propagation",
    about: "Through a directory opened before CLONE_NEWUSER and CLONE_NEWNS the propagation type of the old \
            namespace's mount cannot be changed (EINVAL or EPERM, by release), and it stays what it was.",
    proves: &["EFF-MNT-26"],
    source: "mount_namespaces(7), Restrictions on mount namespaces; CVE-2025-38498",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "shared", MsFlags::MS_SHARED)?;
        let directory = t.setup(Call::io("open(shared)", File::open(&point)))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let propagation = || {
            let text = "propagation of the mount that the peer has";
            Ok(peer.call(t, text, point.clone(), mount_at)?.map(|line| line.propagation))
        };
        let before = t.setup(propagation()?)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SLAVE, MsFlags::MS_UNBINDABLE] {
            let set = mount(NONE, path.as_str(), NONE, kind, NONE);
            let refused = match set {
                Ok(()) => Ok(false),
                Err(Errno::EINVAL | Errno::EPERM) => Ok(true),
                Err(errno) => Err(errno),
            };
            let text = format!("whether mount(the old mount, {kind:?}) is refused (EINVAL or EPERM)");
            t.check(Call::new(text, refused)).is(true)?;
            t.check(propagation()?).is(before.clone())?;
        }
        // The copy is the caller's to change.
        let set = mount(NONE, point.as_str(), NONE, MsFlags::MS_PRIVATE, NONE);
        t.check(Call::new("mount(the copy, MS_PRIVATE)", set)).succeeds()
    })
});

/// Removes a directory.
fn remove_directory(path: String) -> Result<(), Errno> {
    fs::remove_dir(path).map_err(errno_of)
}

/// Removes a file.
fn remove_file(path: String) -> Result<(), Errno> {
    fs::remove_file(path).map_err(errno_of)
}

/// Gives a file another name.
fn rename((from, to): (String, String)) -> Result<(), Errno> {
    fs::rename(from, to).map_err(errno_of)
}

case!(Case {
    name: "separation.mnt.foreign_mount_points",
    about: "What only the new namespace has mounted on a directory or a file keeps nobody in the old one from removing \
            or renaming it: the mounts on what is removed are gone. In its own namespace a mount point is busy (EBUSY).",
    proves: &["EFF-MNT-27"],
    source: "rmdir(2), unlink(2) and rename(2), EBUSY; kernel, fs/namespace.c",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let ground = new_mount(t, "ground", MsFlags::MS_PRIVATE)?;
        let path = |name: &str| format!("{ground}/{name}");
        for name in ["directory", "busy"] {
            new_directory(t, &format!("ground/{name}"))?;
        }
        for name in ["file", "renamed", "source"] {
            t.setup(Call::io(format!("open({name}, O_CREAT)"), fs::write(path(name), "")))?;
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        for name in ["directory", "busy"] {
            t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(path(name))))?;
        }
        for name in ["file", "renamed"] {
            let bound = mount(Some(path("source").as_str()), path(name).as_str(), NONE, MsFlags::MS_BIND, NONE);
            t.setup(Call::new(format!("mount(source, {name}, MS_BIND)"), bound))?;
        }
        t.check(Call::new("rmdir(busy) by the caller, who mounted on it", remove_directory(path("busy"))))
            .fails_with(Errno::EBUSY)?;
        t.check(peer.call(t, "rmdir(directory) by the peer", path("directory"), remove_directory)?).succeeds()?;
        t.check(peer.call(t, "unlink(file) by the peer", path("file"), remove_file)?).succeeds()?;
        let names = (path("renamed"), path("new name"));
        t.check(peer.call(t, "rename(renamed, new name) by the peer", names, rename)?).succeeds()?;
        let listed = mounts().map(|list| list.iter().filter(|line| line.point().starts_with(&ground)).count());
        // The ground itself, and what is on "busy" and on the renamed file.
        t.check(Call::new("how many mounts the caller has there", listed)).is(3)
    })
});
