//! Mounts of the namespace that a task has left (section 3.5 of the behaviour catalogue).

use super::mnt::new_mount;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7)";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

case!(Case {
    name: "separation.mnt.old_descriptors_propagation",
    about: "Through a directory opened before CLONE_NEWUSER and CLONE_NEWNS the propagation type of the old \
            namespace's mount cannot be changed (EINVAL or EPERM, by release), and it stays what it was.",
    proves: &["EFF-MNT-29"],
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
