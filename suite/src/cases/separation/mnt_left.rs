//! What the mounts of a namespace mean once a task has left it for a copy (section 3.5 of the behaviour catalogue):
//! what still holds them, what still receives from them, and what each side does to its own.

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mnt::{mount_tmpfs, new_mount, unmount};
use super::mnt_types::set;
use crate::observe::nsfd::listns_exists;
use crate::place::mount_api;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7); kernel, fs/namespace.c";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

fn go_to(directory: String) -> Result<(), Errno> {
    chdir(directory.as_str())
}

/// Mount and inode of a directory.
fn place_at(path: &CStr) -> Result<(u64, u64), Errno> {
    let stat = observe::statx(libc::AT_FDCWD, path, libc::STATX_MNT_ID | libc::STATX_INO)?;
    Ok((stat.stx_mnt_id, stat.stx_ino))
}

case!(Case {
    name: "separation.mnt.pivot_root",
    about: "pivot_root(2) in the new namespace takes along the tasks there whose cwd is the old root. A cwd in a \
            directory below it stays, and so does one on the same directory in the old namespace.",
    proves: &["EFF-MNT-30"],
    source: "pivot_root(2)",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        // Nothing that is mounted upon may be shared.
        new_mount(t, "base", MsFlags::MS_PRIVATE)?;
        let first = new_mount(t, "base/first", MsFlags::MS_PRIVATE)?;
        let inside = new_directory(t, "base/first/inside")?;
        new_mount(t, "base/first/next", MsFlags::MS_PRIVATE)?;
        new_directory(t, "base/first/next/old")?;
        let behind = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        behind.setup(t, "chdir(first)", first.clone(), go_to)?;
        t.unshare(Flags::NEWNS).beside(&[&behind]).as_predicted()?;
        let below = Peer::start(t, "task below the root", Flags::NONE)?;
        below.setup(t, "chdir(first/inside)", inside, go_to)?;
        let at_root = Peer::start(t, "task at the root", Flags::NONE)?;
        at_root.setup(t, "chdir(first)", first.clone(), go_to)?;
        let cwd = |peer: &Peer| {
            let text = format!("mount and inode of the cwd of the {}", peer.name());
            peer.call(t, &text, (), |()| place_at(c"."))
        };
        let before = (t.setup(cwd(&behind)?)?, t.setup(cwd(&below)?)?);
        t.setup(Call::new("chroot(first)", chroot(first.as_str())))?;
        t.setup(Call::new("chdir(/)", chdir("/")))?;
        let next = t.setup(Call::new("statx(/next)", place_at(c"/next")))?;
        t.check(Call::new("pivot_root(/next, /next/old)", nix::unistd::pivot_root("/next", "/next/old"))).succeeds()?;
        all([
            t.check(Call::new("mount and inode of the caller's root", place_at(c"/"))).is(next),
            t.check(Call::new("mount and inode of the caller's cwd", place_at(c"."))).is(next),
            t.check(cwd(&at_root)?).is(next),
            t.check(cwd(&below)?).is(before.1),
            t.check(cwd(&behind)?).is(before.0),
        ])
    })
});

/// What the call does, which must leave nothing of the caller in the old mounts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Copies,
    GivesAnEmptyOne,
    IsRefused,
}

case!(Case {
    name: "separation.mnt.not_busy",
    about: "A mount of the old namespace that was the caller's root and cwd is not busy after the call: a task there \
            unmounts it. Nor does a call that was refused keep it busy once the caller has ended.",
    proves: &["EFF-MNT-31"],
    source: "umount2(2), EBUSY; unshare(2), CLONE_NEWNS",
    variants: || vec![
        Variant::new("copy", Doing::Copies),
        Variant::new("empty", Doing::GivesAnEmptyOne).needing(NEEDS.with(feature::EMPTY_MNT_NS)),
        Variant::new("refused", Doing::IsRefused),
    ],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let call: Doing = t.param();
        let point = new_mount(t, "inner", MsFlags::MS_PRIVATE)?;
        let enter = |t: &Test| -> Done<Start> {
            let start = enter_chroot(t, Path::new(&point))?;
            t.setup(Call::new("chdir(/)", chdir("/")))?;
            Ok(start)
        };
        let text = "umount(the mount that was root and cwd)";
        if call == Doing::IsRefused {
            t.in_child(|t| {
                // With a sharer there is a copy of root and cwd to throw away.
                let _sharer = Peer::start(t, "sharer of root and cwd", Flags::FS)?;
                enter(t)?;
                t.setup(set_capabilities(0, 0))?;
                t.check(unshare(Flags::NEWNS)).fails_with(Errno::EPERM)
            })?;
            return t.check(Call::new(text, unmount(point.clone()))).succeeds();
        }
        let peer = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        let start = enter(t)?;
        let flags = if call == Doing::Copies { Flags::NEWNS } else { Flags::EMPTY };
        t.unshare(flags).from(start).beside(&[&peer]).as_predicted()?;
        t.check(peer.call(t, text, point.clone(), unmount)?).succeeds()
    })
});

case!(Case {
    name: "separation.mnt.master_is_gone",
    about: "A slave whose master goes with the old namespace receives from the master's peers, and is private where \
            the master had none.",
    proves: &["EFF-PROP-08"],
    source: "mount_namespaces(7), SHARED SUBTREES; kernel, fs/pnode.c",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let shared = new_mount(t, "shared", MsFlags::MS_SHARED)?;
        let alone = new_mount(t, "alone", MsFlags::MS_PRIVATE)?;
        let below = new_directory(t, "shared/below")?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&outside]).as_predicted()?;
        // The caller is the only one in this namespace, and in the next.
        t.setup(set(&alone, MsFlags::MS_SHARED))?;
        let group = t.setup(Call::new("mountinfo(shared)", mount_at(shared.clone())))?.group("shared");
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&outside]).as_predicted()?;
        let fields = |point: &String| mount_at(point.clone()).map(|line| line.propagation);
        // Somebody may be reading the mounts of the old namespace.
        let ended = t.wait_until(Duration::from_secs(5), || fields(&alone).is_ok_and(|fields| fields.is_empty()));
        t.check(Call::seen("whether the copy of a mount without other peers is private", ended)).is(true)?;
        let master = mount_at(shared.clone()).map(|line| (line.group("shared"), line.group("master")));
        t.check(Call::new("peer group and master of the copy of a shared mount", master)).is((None, group))?;
        let mounted =
            |when: &str| Call::new(format!("whether shared/below is mounted on {when}"), is_mounted(below.clone()));
        outside.setup(t, "mount(tmpfs, shared/below)", below.clone(), mount_tmpfs)?;
        t.check(mounted("after a mount outside")).is(true)?;
        outside.setup(t, "umount(shared/below)", below.clone(), unmount)?;
        t.check(mounted("after it is unmounted outside")).is(false)
    })
});

/// A tmpfs on a directory with an ID mapping of the mount, which is written as the map of a user namespace is. None where
/// the kernel, or the place, cannot have one.
#[track_caller]
fn mount_with_mapping(t: &Test, point: &str, map: &str) -> Done<Option<()>> {
    let owner = Peer::start(t, "owner of the mapping", Flags::NEWUSER)?;
    for file in ["uid_map", "gid_map"] {
        if fs::write(format!("/proc/{}/{file}", owner.pid()), map).is_err() {
            return Ok(None);
        }
    }
    let Ok(new) = mount_api::new_tmpfs().result().map(|fd| fd.try_clone()) else { return Ok(None) };
    let new = t.setup(Call::io("dup(the new mount)", new))?;
    let made = openat(&new, "file", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::from_bits_truncate(0o644));
    t.setup(Call::new("openat(the new mount, file, O_CREAT)", made.map(drop)))?;
    let user = t.setup(Call::io("open(ns/user)", File::open(format!("/proc/{}/ns/user", owner.pid()))))?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user.as_raw_fd() as u64,
    };
    let (directory, size) = (new.as_raw_fd(), size_of_val(&attributes));
    let set = call!(mount_setattr, directory, c"".as_ptr(), libc::AT_EMPTY_PATH, &raw const attributes, size);
    if set.is_err() {
        return Ok(None);
    }
    let path = CString::new(point).unwrap_or_default();
    t.setup(mount_api::attach(&new, &path)).map(Some)
}

case!(Case {
    name: "separation.mnt.id_mapping",
    about: "The copy of a mount that shows the owners of files by an ID mapping has the same mapping.",
    proves: &["EFF-MNT-32"],
    source: "mount_setattr(2), ID-mapped mounts; unshare(2), CLONE_NEWNS",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        const SHOWN: u32 = 1234;
        let point = new_directory(t, "mapped")?;
        if mount_with_mapping(t, &point, &format!("0 {SHOWN} 1"))?.is_none() {
            return Err(t.skip("no ID-mapped tmpfs can be mounted here: Linux 6.3, as root outside containers"));
        }
        let owner = |_: ()| fs::metadata(format!("{point}/file")).map(|file| file.uid()).map_err(errno_of);
        let before = t.setup(Call::new("owner of the file", owner(())))?;
        if before != SHOWN {
            return Err(t.broken("owner of the file by the mapping", before.to_string()));
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("owner of the file as the copied mount shows it", owner(()))).is(SHOWN)
    })
});

case!(Case {
    name: "separation.mnt.id_mapping_seen_inside",
    about: "Of a mount's ID mapping, statmount(2) shows a task in a new user namespace those ranges that lie wholly in its own \
            map, by the IDs there: neither what begins below the map nor what ends above it.",
    proves: &["EFF-MNT-39"],
    source: "statmount(2), STATMOUNT_MNT_UIDMAP; kernel, fs/mnt_idmapping.c (statmount_mnt_idmap)",
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        // The question itself crashes 6.16.12, and not 6.18.44. A kernel with listns(2) is newer than both.
        listns_exists(t)?;
        if !t.has_own_kernel() {
            return Err(t.skip("a kernel that gets it wrong would end the machine: use --kernel"));
        }
        let point = new_directory(t, "mapped")?;
        let mapping = "0 1998 4\n10 2003 2\n20 2008 4";
        if mount_with_mapping(t, &point, mapping)?.is_none() {
            return Err(t.skip("no ID-mapped tmpfs can be mounted here: Linux 6.3, as root outside containers"));
        }
        let path = CString::new(point).unwrap_or_default();
        let seen = || mount_api::uid_mapping(&path);
        let all = match seen() {
            Ok(Some(all)) => all,
            Ok(None) | Err(Errno::ENOSYS | Errno::EINVAL) => {
                return Err(t.skip("this kernel's statmount(2) does not show ID mappings (Linux 6.15)"));
            }
            Err(errno) => return t.setup(Call::new("statmount()", Err(errno))),
        };
        if all != ["0 1998 4", "10 2003 2", "20 2008 4"] {
            return Err(t.broken("ID mapping of the mount before the call", format!("{all:?}")));
        }
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.unshare(Flags::NEWUSER).beside(&[&outside]).as_predicted()?;
        outside.setup(t, "write(uid_map)", getpid().as_raw(), |pid| {
            fs::write(format!("/proc/{pid}/uid_map"), "0 2000 10").map_err(errno_of)
        })?;
        let shown = seen().map(|mapping| mapping.unwrap_or_default());
        t.check(Call::new("ID mapping of the mount, as statmount(2) shows it", shown)).is(vec!["10 3 2".to_owned()])
    })
});

/// Mounts the file of the user namespace on a file, takes it away, and mounts what an open descriptor has of it there
/// again, without and with MS_REC: what these two give.
fn bind_unmounted(file: &str) -> Result<[Result<(), Errno>; 2], Errno> {
    let bind = |from: &str, more: MsFlags| mount(Some(from), file, NONE, MsFlags::MS_BIND | more, NONE);
    bind("/proc/self/ns/user", MsFlags::empty())?;
    let open = File::open(file).map_err(errno_of)?;
    umount2(file, MntFlags::MNT_DETACH)?;
    let path = format!("/proc/self/fd/{}", open.as_raw_fd());
    Ok([MsFlags::empty(), MsFlags::MS_REC].map(|more| {
        let bound = bind(&path, more);
        if bound.is_ok() {
            let _ = umount2(file, MntFlags::MNT_DETACH);
        }
        bound
    }))
}

case!(Case {
    name: "separation.mnt.unmounted_lazily",
    about: "A tree of the copy that is unmounted at once (MNT_DETACH) comes apart, and a directory of it that is open \
            shows what was covered; its propagation type changes only if that of any such mount does. A detached tree \
            that is closed stays together.",
    proves: &["EFF-MNT-33"],
    source: "umount2(2), MNT_DETACH; open_tree(2)",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let outer = new_mount(t, "outer", MsFlags::MS_PRIVATE)?;
        let lid = new_directory(t, "outer/lid")?;
        t.setup(Call::io("write(outer/lid/covered)", fs::write(format!("{lid}/covered"), "text")))?;
        t.setup(Call::new("mount(tmpfs, outer/lid)", mount_tmpfs(lid.clone())))?;
        // Releases differ in what can be done to a mount that is no longer mounted.
        let change = |open: &File| {
            let path = format!("/proc/self/fd/{}", open.as_raw_fd());
            mount(NONE, path.as_str(), NONE, MsFlags::MS_PRIVATE, NONE)
        };
        let control = new_mount(t, "control", MsFlags::MS_PRIVATE)?;
        let open = t.setup(Call::io("open(control)", File::open(&control)))?;
        t.setup(Call::new("umount(control, MNT_DETACH)", umount2(control.as_str(), MntFlags::MNT_DETACH)))?;
        let changed = change(&open);
        let file = t.directory()?.join("file").to_string_lossy().into_owned();
        t.setup(Call::io("open(O_CREAT)", fs::write(&file, "")))?;
        let bound = bind_unmounted(&file);
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let look = |directory: &dyn AsRawFd, what: &str| {
            // SAFETY: the descriptor is open.
            let directory = unsafe { BorrowedFd::borrow_raw(directory.as_raw_fd()) };
            let found = openat(directory, "lid/covered", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
            Call::new(format!("openat(lid/covered) in {what}"), found.map(drop))
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, outer.as_str(), flags).map_err(io::Error::from);
        let tree = t.setup(Call::io("open_tree(outer, OPEN_TREE_CLONE|AT_RECURSIVE)", tree))?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let inside = t.setup(Call::new("openat(the tree, .)", openat(&tree, ".", flags, Mode::empty())))?;
        drop(tree);
        t.check(look(&inside, "a detached tree that is closed")).fails_with(Errno::ENOENT)?;
        let open = t.setup(Call::io("open(outer)", File::open(&outer)))?;
        t.check(look(&open, "the copy")).fails_with(Errno::ENOENT)?;
        t.check(Call::new("umount(outer, MNT_DETACH)", umount2(outer.as_str(), MntFlags::MNT_DETACH))).succeeds()?;
        t.check(look(&open, "the copy after it is unmounted")).succeeds()?;
        t.check(Call::seen("mount(the unmounted copy, MS_PRIVATE)", change(&open))).is(changed)?;
        t.check(Call::seen("bind mounts of a namespace's unmounted file", bind_unmounted(&file))).is(bound)?;
        t.check(peer.call(t, "whether the lid is mounted in the old namespace", lid, is_mounted)?).is(true)
    })
});

case!(Case {
    name: "separation.mnt.listed",
    about: "listmount(2) lists the mounts of the new namespace that mountinfo lists, in either direction.",
    proves: &["EFF-MNT-34"],
    source: "listmount(2)",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        new_mount(t, "first", MsFlags::MS_PRIVATE)?;
        new_mount(t, "second", MsFlags::MS_PRIVATE)?;
        // Nothing that others mount comes in.
        t.setup(set("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))?;
        let count = || mounts().map(|list| list.len());
        let before = t.setup(Call::new("read(mountinfo)", count()))?;
        let Ok(listed) = mount_api::listed_mounts().result().map(Vec::len) else {
            return Err(t.skip("no listmount(2): Linux 6.8 has it"));
        };
        // What the root covers is in neither list, or in both.
        if listed != before || listed >= mount_api::MOST_LISTED {
            return Err(t.skip("listmount(2) lists other mounts here than mountinfo does"));
        }
        let backwards = mount_api::listed_backwards().result().is_ok();
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let list = t
            .check(mount_api::listed_mounts())
            .holds(&format!("{before} mounts, by growing ID"), |ids| ids.len() == before && ids.is_sorted())?;
        t.check(Call::new("number of mounts in mountinfo", count())).is(before)?;
        if backwards {
            let reversed = list.into_iter().rev().collect();
            t.check(mount_api::listed_backwards()).is(reversed)?;
        }
        Ok(())
    })
});
