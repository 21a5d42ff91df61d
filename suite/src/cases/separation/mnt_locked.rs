//! Copies that a less privileged user namespace owns, and who owns a mount namespace (section 3.5 of the behaviour
//! catalogue).

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
            read-only, nodev, nosuid, noexec, access times. It can keep it, and on the original drop it.",
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
        t.check(peer.call(t, "the same to the original", (point, dropped.bits()), remount)?).succeeds()
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
