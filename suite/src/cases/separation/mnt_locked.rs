//! Copies that a less privileged user namespace owns, and who owns a mount namespace (section 3.5 of the behaviour
//! catalogue).

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mnt::mount_tmpfs;
use super::user::{own_user_namespace, owner_of_own};
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7), Restrictions on mount namespaces";
const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS);

const NONE: Option<&str> = None;

/// A new directory with a tmpfs on it that has these flags.
#[track_caller]
fn new_mount(t: &Test, name: &str, flags: MsFlags) -> Done<String> {
    let path = new_directory(t, name)?;
    let mounted = mount(Some("case"), path.as_str(), Some("tmpfs"), flags, Some("size=64k"));
    t.setup(Call::new(format!("mount(tmpfs, {name}, {flags:?})"), mounted))?;
    Ok(path)
}

case!(Case {
    name: "separation.mnt.locked",
    about: "In a copy that a new user namespace owns no copied mount can be unmounted alone (EINVAL); own mounts can.",
    proves: &["EFF-MNT-12"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_mount(t, "inner", MsFlags::empty())?;
        let below = new_mount(t, "inner/below", MsFlags::empty())?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        for path in [&below, &point] {
            for flags in [MntFlags::empty(), MntFlags::MNT_DETACH] {
                t.check(Call::new(format!("umount(a copied mount, {flags:?})"), umount2(path.as_str(), flags)))
                    .fails_with(Errno::EINVAL)?;
            }
            t.check(Call::new("whether it is still mounted", is_mounted(path.clone()))).is(true)?;
        }
        t.check(Call::new("mount(tmpfs) over a copied mount", mount_tmpfs(below.clone()))).succeeds()?;
        t.check(Call::new("umount(the caller's own mount)", umount2(below.as_str(), MntFlags::empty()))).succeeds()
    })
});

const SETTINGS: [(&str, MsFlags); 5] = [
    ("ro", MsFlags::MS_RDONLY),
    ("nodev", MsFlags::MS_NODEV),
    ("nosuid", MsFlags::MS_NOSUID),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
];

/// Gives a mount these settings, and no others.
fn remount((point, settings): (String, libc::c_ulong)) -> Result<(), Errno> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::from_bits_retain(settings);
    mount(NONE, point.as_str(), NONE, flags, NONE)
}

case!(Case {
    name: "separation.mnt.locked_flags",
    about: "In a copy that a new user namespace owns a remount cannot drop a copied mount's setting (EPERM): \
            read-only, nodev, nosuid, noexec, access times. It can keep it, and on the original or a mount of its own \
            drop it.",
    proves: &["EFF-MNT-13"],
    variants: || variants::named(&SETTINGS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let flag: MsFlags = t.param();
        let point = new_mount(t, "inner", flag)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        // Access times are a choice of several: dropping one means asking for another.
        let dropped = if flag == MsFlags::MS_NOATIME { MsFlags::MS_STRICTATIME } else { MsFlags::empty() };
        let keep = remount((point.clone(), flag.bits()));
        t.check(Call::new("mount(MS_REMOUNT|MS_BIND) that keeps the setting", keep)).succeeds()?;
        let drop = remount((point.clone(), dropped.bits()));
        t.check(Call::new("mount(MS_REMOUNT|MS_BIND) without the setting", drop)).fails_with(Errno::EPERM)?;
        t.check(peer.call(t, "the same to the original", (point, dropped.bits()), remount)?).succeeds()?;
        let own = new_mount(t, "own", flag)?;
        t.check(Call::new("the same to a mount of the caller's own", remount((own, dropped.bits())))).succeeds()
    })
});

/// The settings as mount_setattr(2) names them: what to clear, and what to set instead.
const ATTRIBUTES: [(MsFlags, u64, u64); 5] = [
    (MsFlags::MS_RDONLY, libc::MOUNT_ATTR_RDONLY, 0),
    (MsFlags::MS_NODEV, libc::MOUNT_ATTR_NODEV, 0),
    (MsFlags::MS_NOSUID, libc::MOUNT_ATTR_NOSUID, 0),
    (MsFlags::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC, 0),
    (MsFlags::MS_NOATIME, libc::MOUNT_ATTR__ATIME, libc::MOUNT_ATTR_STRICTATIME),
];

/// Takes a setting off a mount, or off a whole tree (AT_RECURSIVE); EOPNOTSUPP where the kernel lacks the call.
fn clear(directory: impl AsFd, path: &CStr, setting: MsFlags, more: c_int) -> Result<(), Errno> {
    let found = ATTRIBUTES.iter().find(|(flag, ..)| *flag == setting);
    let &(_, attr_clr, attr_set) = found.ok_or(Errno::EBADMSG)?;
    let attributes = libc::mount_attr { attr_set, attr_clr, propagation: 0, userns_fd: 0 };
    let directory = directory.as_fd().as_raw_fd();
    let flags = libc::AT_EMPTY_PATH | more;
    let size = size_of_val(&attributes);
    match call!(mount_setattr, directory, path.as_ptr(), flags, &raw const attributes, size) {
        Err(syscalls::Errno::ENOSYS) => Err(Errno::EOPNOTSUPP),
        result => result.map(drop).map_err(fds::errno),
    }
}

/// Checks that no call takes a setting off the mount on this directory.
#[track_caller]
fn check_kept(t: &Test, what: &str, point: &str, setting: MsFlags, has_setattr: bool) -> Done {
    let dropped = if setting == MsFlags::MS_NOATIME { MsFlags::MS_STRICTATIME } else { MsFlags::empty() };
    let remounted = remount((point.to_owned(), dropped.bits()));
    t.check(Call::new(format!("mount({what}, MS_REMOUNT|MS_BIND) without the setting"), remounted))
        .fails_with(Errno::EPERM)?;
    if has_setattr {
        let open = t.setup(Call::io(format!("open({what})"), File::open(point)))?;
        for more in [0, libc::AT_RECURSIVE] {
            let text = format!("mount_setattr({what}) that clears the setting, with flags {more:#x}");
            t.check(Call::new(text, clear(&open, c"", setting, more))).fails_with(Errno::EPERM)?;
        }
    }
    Ok(())
}

case!(Case {
    name: "separation.mnt.locked_flags_of_copies",
    about: "A setting that is locked in a copied mount stays so whichever call is asked, mount_setattr(2) too, and in \
            whatever is made of the mount: a bind mount, a detached tree, a further copy.",
    proves: &["EFF-MNT-24"],
    variants: || variants::named(&SETTINGS),
    quick: one_in(3, 0),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let setting: MsFlags = t.param();
        let (point, free) = (new_mount(t, "inner", setting)?, new_directory(t, "free")?);
        // A control, of a mount that is not locked.
        let other = new_mount(t, "other", setting)?;
        let open = t.setup(Call::io("open(other)", File::open(&other)))?;
        let has_setattr = match clear(&open, c"", setting, 0) {
            Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES) => false,
            result => t.setup(Call::new("mount_setattr() of an original", result)).map(|()| true)?,
        };
        t.unshare(Flags::NEWUSER | Flags::NEWNS).as_predicted()?;
        check_kept(t, "the mount", &point, setting, has_setattr)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        t.check(Call::new("mount(MS_BIND|MS_REC)", mount(Some(point.as_str()), free.as_str(), NONE, flags, NONE)))
            .succeeds()?;
        check_kept(t, "a bind mount of it", &free, setting, has_setattr)?;
        if has_setattr {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(CWD, point.as_str(), flags).map_err(io::Error::from);
            let tree = t.check(Call::io("open_tree(OPEN_TREE_CLONE)", tree)).succeeds()?;
            t.check(Call::new("mount_setattr(a detached tree of it)", clear(&tree, c"", setting, 0)))
                .fails_with(Errno::EPERM)?;
        }
        t.unshare(Flags::NEWNS).as_predicted()?;
        check_kept(t, "the mount in a further copy", &point, setting, has_setattr)
    })
});

/// The calls that are made, one after the other.
fn ways_to_an_owner() -> Vec<Variant> {
    let way = |name: &str, calls: &[Flags]| Variant::new(name, calls.to_vec());
    vec![
        way("same_user_namespace", &[Flags::NEWNS]),
        way("in_one_call", &[Flags::NEWUSER | Flags::NEWNS]).needing(NEEDS),
        way("one_after_the_other", &[Flags::NEWUSER, Flags::NEWNS]).needing(NEEDS),
    ]
}

case!(Case {
    name: "separation.mnt.owner",
    about: "The new mount namespace belongs to the caller's user namespace, or to the new one from the same call.",
    proves: &["EFF-MNT-15"],
    source: "user_namespaces(7), Interaction of user namespaces and other types of namespaces; ioctl_ns(2)",
    needs: Needs::ROOT,
    variants: ways_to_an_owner,
    run: |t| {
        let calls: Vec<Flags> = t.param();
        let before = own_user_namespace(t)?;
        for &flags in &calls {
            t.unshare(flags).as_predicted()?;
        }
        let own = own_user_namespace(t)?;
        t.check(owner_of_own(Ns::Mnt)).is(own)?;
        // The old one's where no other was made.
        t.check(Call::seen("whether the caller's user namespace is the old one", own == before))
            .is(calls == [Flags::NEWNS])
    }
});
