//! The reasons to refuse a user namespace (ERR-21 to ERR-24, ATOM-08 of the behaviour catalogue): a chroot, and a
//! user or group that has no mapping in the current one.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), ERRORS (EPERM); user_namespaces(7)";

const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS);

/// The kinds of root directory.
#[derive(Clone, Copy)]
enum Root {
    Directory,
    Mount,
    Bind,
}

case!(Case {
    name: "errors.eperm.chroot",
    about: "A caller whose root directory is not that of its mount namespace gets EPERM for CLONE_NEWUSER, alone or \
            with other flags, and nothing changes; back in the root of the mount namespace it succeeds. The root of \
            another mount is no better than a directory.",
    proves: &["ERR-21", "ERR-22"],
    variants: || variants::named(&[
        ("directory", Root::Directory),
        ("root_of_a_mount", Root::Mount),
        ("bind_mount_of_the_root", Root::Bind),
    ]),
    run: |t| {
        let root = t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| judge_chroot(t, root))
    }
});

fn judge_chroot(t: &Test, root: &Path) -> Done {
    match t.param() {
        Root::Directory => {}
        Root::Mount => t.setup(mount_tmpfs(root))?,
        // With what is mounted below: in a user namespace that may not be taken off.
        Root::Bind => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            t.setup(Call::new("mount(MS_BIND)", mount(Some("/"), root, None::<&str>, flags, None::<&str>)))?;
        }
    }
    let peer = Peer::start(t, "peer", Flags::FILES)?;
    let outside = t.setup(Call::io("open(/)", File::open("/")))?;
    let start = enter_chroot(t, root)?;
    for (flags, requirement) in [
        (Flags::NEWUSER, "ERR-21"),
        (Flags::NEWUSER, "ERR-21"),
        (Flags::NEWUSER | Flags::FS | Flags::FILES, "ERR-21"),
        (Flags::NEWUSER | Flags::NEWNS, "ERR-22"),
        (Flags::NEWUSER | Flags::NEWNS | Flags::NEWUTS, "ERR-22"),
    ] {
        t.unshare(flags).from(start).beside(&[&peer]).proving(requirement).as_predicted()?;
    }
    leave_chroot(t, &outside)?;
    drop(outside);
    t.unshare(Flags::NEWUSER).beside(&[&peer]).proving("ERR-21").as_predicted()
}

case!(Case {
    name: "errors.eperm.chroot_allows",
    about: "A chroot concerns CLONE_NEWUSER alone: every other flag succeeds in it and does what it does outside. \
            After chroot(\"/\") even CLONE_NEWUSER succeeds, since that is no other root.",
    proves: &["ERR-22", "ERR-21"],
    quick: one_in(4, 1),
    variants: variants::each_flag,
    run: |t| {
        let flag = t.param::<Flags>();
        let root = t.directory()?;
        let (to, requirement) = if flag == Flags::NEWUSER { (Path::new("/"), "ERR-21") } else { (root, "ERR-22") };
        let start = Start { chrooted: flag != Flags::NEWUSER, ..enter_chroot(t, to)? };
        t.unshare(flag).from(start).proving(requirement).as_predicted()
    }
});

case!(Case {
    name: "errors.eperm.chroot_beside_sharer",
    about: "CLONE_NEWUSER with CLONE_FS and CLONE_FILES in a chroot, beside a sibling that shares: EPERM after root, \
            cwd and descriptors were copied, and yet nothing changes and all is still shared.",
    proves: &["ATOM-08"],
    source: "2006 design document, 6 (duplicate everything before anything is switched)",
    run: |t| {
        // The sibling shares the root, and is in the chroot, too.
        let sibling = Sibling::start(t, SHARED)?.without_root();
        let start = enter_chroot(t, t.directory()?)?;
        let flags = Flags::NEWUSER | Flags::FS | Flags::FILES;
        for _ in 0..2 {
            t.unshare(flags).from(start).beside(&[sibling.peer()]).as_predicted()?;
        }
        sibling.check(t, Flags::NONE, "ATOM-08")
    }
});

case!(Case {
    name: "errors.eperm.unmapped",
    about: "A second CLONE_NEWUSER gives EPERM, and changes nothing, as long as the caller's user or group has no \
            mapping in the first: with neither map written, and with either one alone. With both it succeeds. Other \
            namespaces take no mapping.",
    proves: &["ERR-23", "ERR-24"],
    // The parameter says whether the map of users is written first.
    variants: || vec![Variant::new("gid", true), Variant::new("uid", false).proving(["ERR-23"])],
    run: |t| {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let before = limits::start(t, Flags::NONE);
        t.unshare(Flags::NEWUSER).beside(&[&peer]).proving("ERR-23").as_predicted()?;
        let unmapped = Start { ids_mapped: false, ..before };
        let refused = |requirement| {
            let sets = [Flags::NEWUSER, Flags::NEWUSER | Flags::FS | Flags::FILES, Flags::NEWUSER | Flags::NEWNS];
            let call = |flags| t.unshare(flags).from(unmapped).beside(&[&peer]).proving(requirement).as_predicted();
            all(sets.map(call))
        };
        refused("ERR-23")?;
        t.unshare(Flags::NEWNS).from(unmapped).proving("ERR-23").as_predicted()?;
        t.setup(write_own("setgroups", "deny"))?;
        let uid_first: bool = t.param();
        let (users, groups) = (("uid_map", uid), ("gid_map", gid));
        let (first, second) = if uid_first { (users, groups) } else { (groups, users) };
        t.setup(write_own(first.0, &format!("7 {} 1", first.1)))?;
        refused(if uid_first { "ERR-24" } else { "ERR-23" })?;
        t.setup(write_own(second.0, &format!("8 {} 1", second.1)))?;
        t.unshare(Flags::NEWUSER).from(before).beside(&[&peer]).proving("ERR-23").as_predicted()
    }
});
