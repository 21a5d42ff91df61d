//! What mounts in one mount namespace mean to another (section 3.17 of the behaviour catalogue).

use super::mnt::mount_tmpfs;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7)";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

/// mount(2) of what is there already: a bind mount, or another propagation type.
fn rearrange((from, to, flags): (Option<String>, String, libc::c_ulong)) -> Result<(), Errno> {
    mount(from.as_deref(), to.as_str(), NONE, MsFlags::from_bits_retain(flags), NONE)
}

#[track_caller]
fn set_type(t: &Test, side: Side, point: &str, flags: MsFlags) -> Done {
    side.must(t, &format!("mount({point}, {flags:?})"), (None, point.to_owned(), flags.bits()), rearrange)
}

fn unmount((point, lazily): (String, bool)) -> Result<(), Errno> {
    umount2(point.as_str(), if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() })
}

/// A new directory with a tmpfs on it, of this propagation type.
#[track_caller]
fn new_mount(t: &Test, name: &str, flags: MsFlags) -> Done<String> {
    let point = new_directory(t, name)?;
    t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(point.clone())))?;
    set_type(t, Side::Caller, &point, flags)?;
    Ok(point)
}

case!(Case {
    name: "separation.mnt.propagated_tree",
    about: "A tree of mounts that propagates at once into a copy of a new user namespace is locked together: its inner \
            mount cannot be unmounted (EINVAL), the whole can.",
    proves: &["EFF-PROP-01"],
    source: "mount_namespaces(7), Restrictions on mount namespaces",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let tree = new_mount(t, "tree", MsFlags::MS_PRIVATE)?;
        new_mount(t, "tree/inner", MsFlags::MS_PRIVATE)?;
        new_mount(t, "shared", MsFlags::MS_SHARED)?;
        let target = new_directory(t, "shared/target")?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&outside]).as_predicted()?;
        let flags = (MsFlags::MS_BIND | MsFlags::MS_REC).bits();
        outside.setup(
            t,
            "mount(MS_BIND|MS_REC) below the shared mount",
            (Some(tree), target.clone(), flags),
            rearrange,
        )?;
        let inner = format!("{target}/inner");
        let mounted =
            |point: &str| Call::new(format!("whether anything is mounted at {point}"), is_mounted(point.to_owned()));
        t.check(mounted(&target)).is(true)?;
        t.check(mounted(&inner)).is(true)?;
        for lazily in [false, true] {
            let text = format!("umount(the inner mount{})", if lazily { ", MNT_DETACH" } else { "" });
            t.check(Call::new(text, unmount((inner.clone(), lazily)))).fails_with(Errno::EINVAL)?;
        }
        t.check(mounted(&inner)).is(true)?;
        t.check(Call::new("umount(the whole, MNT_DETACH)", unmount((target.clone(), true)))).succeeds()?;
        t.check(mounted(&inner)).is(false)?;
        t.check(mounted(&target)).is(false)?;
        let still = outside.call(t, "whether it is still mounted outside", target, is_mounted)?;
        t.check(still).is(true)
    })
});

/// What is done to a mount point, where it is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Deed {
    RemoveDirectory,
    RemoveFile,
    Rename,
}

const DEEDS: [(&str, Deed); 3] =
    [("rmdir", Deed::RemoveDirectory), ("unlink", Deed::RemoveFile), ("rename", Deed::Rename)];

fn act((deed, point): (Deed, String)) -> Result<(), Errno> {
    match deed {
        Deed::RemoveDirectory => fs::remove_dir(point),
        Deed::RemoveFile => fs::remove_file(point),
        Deed::Rename => fs::rename(&point, format!("{point}.renamed")),
    }
    .map_err(errno_of)
}

case!(Case {
    name: "separation.mnt.mount_point_elsewhere",
    about: "What is a mount point in the new namespace alone can be removed or renamed in the old. Removing it takes \
            the mount away; a renamed one keeps it under its new name.",
    proves: &["EFF-PROP-02"],
    source: "mount_namespaces(7), Restrictions on mount namespaces",
    variants: || variants::named(&DEEDS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let deed: Deed = t.param();
        let base = new_mount(t, "base", MsFlags::MS_PRIVATE)?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let point = format!("{base}/point");
        if deed == Deed::RemoveFile {
            t.setup(Call::io("write(point)", fs::write(&point, "below")))?;
        } else {
            t.setup(Call::io("mkdir(point)", fs::create_dir(&point)))?;
        }
        t.unshare(Flags::NEWNS).beside(&[&outside]).as_predicted()?;
        if deed == Deed::RemoveFile {
            let other = format!("{base}/other");
            t.setup(Call::io("write(other)", fs::write(&other, "above")))?;
            t.setup(Call::new("mount(MS_BIND)", rearrange((Some(other), point.clone(), MsFlags::MS_BIND.bits()))))?;
        } else {
            t.setup(Call::new("mount(tmpfs)", mount_tmpfs(point.clone())))?;
        }
        // Here it is one.
        t.check(Call::new(format!("{deed:?} by the caller"), act((deed, point.clone())))).fails_with(Errno::EBUSY)?;
        t.check(outside.call(t, &format!("{deed:?} by the task outside"), (deed, point.clone()), act)?).succeeds()?;
        let mounted =
            |point: &str| Call::new(format!("whether anything is mounted at {point}"), is_mounted(point.to_owned()));
        t.check(mounted(&point)).is(false)?;
        let renamed = format!("{point}.renamed");
        t.check(mounted(&renamed)).is(deed == Deed::Rename)
    })
});

/// The propagation fields of the mount at a point: `shared:`, `master:`, none.
fn type_of(point: String) -> Result<Vec<String>, Errno> {
    let line = mount_at(point)?;
    Ok(line.propagation.iter().map(|field| field.split(':').next().unwrap_or(field).to_owned()).collect())
}

case!(Case {
    name: "separation.mnt.new_mounts",
    about: "In the copy a mount below a shared one is shared, with its twin in the old namespace as its peer; below a \
            private one or a slave it is private; one that a slave receives is a slave. When the namespace ends, its \
            mounts are peers no more.",
    proves: &["EFF-PROP-03"],
    source: "mount_namespaces(7), SHARED SUBTREES and NOTES",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let shared = new_mount(t, "shared", MsFlags::MS_SHARED)?;
        let received = new_mount(t, "received", MsFlags::MS_SHARED)?;
        let private = new_mount(t, "private", MsFlags::MS_PRIVATE)?;
        for base in [&shared, &received, &private] {
            for name in ["by_caller", "by_other"] {
                t.setup(Call::io("mkdir()", fs::create_dir(format!("{base}/{name}"))))?;
            }
        }
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let caller = |t: &Test| -> Done {
            t.unshare(Flags::NEWNS).beside(&[&outside]).as_predicted()?;
            set_type(t, Side::Caller, &received, MsFlags::MS_SLAVE)?;
            let (here, there) = (Side::Caller, Side::Peer(&outside));
            let looks = |side: Side, point: &str, fields: Option<&[&str]>| -> Done {
                let seen = side.ask(t, &format!("propagation of the mount at {point}"), point.to_owned(), type_of)?;
                match fields {
                    Some(fields) => t.check(seen).is(fields.iter().map(|&field| field.to_owned()).collect()),
                    None => t.check(seen).fails_with(Errno::ENOENT),
                }
            };
            for base in [&shared, &received, &private] {
                here.must(t, "mount(tmpfs)", format!("{base}/by_caller"), mount_tmpfs)?;
                there.must(t, "mount(tmpfs)", format!("{base}/by_other"), mount_tmpfs)?;
            }
            let both = |base: &str, name: &str, by_caller: Option<&[&str]>, outside: Option<&[&str]>| -> Done {
                looks(here, &format!("{base}/{name}"), by_caller)?;
                looks(there, &format!("{base}/{name}"), outside)
            };
            both(&shared, "by_caller", Some(&["shared"]), Some(&["shared"]))?;
            both(&shared, "by_other", Some(&["shared"]), Some(&["shared"]))?;
            both(&received, "by_caller", Some(&[]), None)?;
            both(&received, "by_other", Some(&["master"]), Some(&["shared"]))?;
            both(&private, "by_caller", Some(&[]), None)?;
            both(&private, "by_other", None, Some(&[]))?;
            // Peers have one number, and here are twins.
            let point = format!("{shared}/by_caller");
            let number = |side: Side| {
                side.ask(t, "number of the peer group", point.clone(), |point| {
                    mount_at(point)?.group("shared").ok_or(Errno::ENOENT)
                })
            };
            let twin = t.setup(number(there)?)?;
            t.check(number(here)?).is(twin)
        };
        t.spawn("caller", caller)?.join(t)?;
        // The last of a peer group becomes private when it is made a slave, for want of a master.
        set_type(t, Side::Caller, &shared, MsFlags::MS_SLAVE)?;
        let left = Call::new("propagation of a mount whose copy is gone, once made a slave", type_of(shared.clone()));
        t.check(left).is(vec![])
    })
});
