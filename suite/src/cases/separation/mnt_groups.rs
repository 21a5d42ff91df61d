//! Events that propagate through peer groups, slaves and slaves of slaves, once a mount namespace is copied (section
//! 3.5 of the behaviour catalogue).

use super::mnt::{mount_tmpfs, set_propagation, unmount};
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7), Shared subtrees; kernel, fs/pnode.c";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

/// The mounts of a graph, each in a directory of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    /// A shared mount.
    Master,
    /// A peer of the master that shows only its directory "sub".
    Part,
    /// A slave of the master.
    Slave,
    /// A slave of the master that is shared.
    Both,
    /// A peer of that one.
    Second,
    /// A slave of that one.
    Leaf,
    /// A mount that was shared, had no peers and was made private.
    Former,
}

use Node::{Both, Former, Leaf, Master, Part, Second, Slave};

/// Each node, what it is a bind mount of, and its propagation types in the order they are set.
const NODES: [(Node, &str, Option<&str>, &[MsFlags]); 7] = [
    (Master, "master", None, &[MsFlags::MS_SHARED]),
    (Part, "part", Some("master/sub"), &[]),
    (Slave, "slave", Some("master"), &[MsFlags::MS_SLAVE]),
    (Both, "both", Some("master"), &[MsFlags::MS_SLAVE, MsFlags::MS_SHARED]),
    (Second, "second", Some("both"), &[]),
    (Leaf, "leaf", Some("both"), &[MsFlags::MS_SLAVE]),
    (Former, "former", None, &[MsFlags::MS_SHARED, MsFlags::MS_PRIVATE]),
];

/// Whether an event in one mount reaches another one, of the same namespace or of a copy. A mount that is not shared has
/// no peer, so that its copy is apart from it.
fn reaches(from: Node, to: Node, same_namespace: bool) -> bool {
    match from {
        Master | Part => to != Former,
        Both | Second => matches!(to, Both | Second | Leaf),
        Slave | Leaf | Former => to == from && same_namespace,
    }
}

/// Where a directory of the graph's file system is below a node, if it is there.
fn below(node: Node, name: &str, directory: &str) -> Option<String> {
    let inside = if node == Part { directory.strip_prefix("sub/")? } else { directory };
    Some(format!("{name}/{inside}"))
}

/// Makes the mounts, and the directories that are mounted on.
fn make_graph(t: &Test, directories: &[&str]) -> Done {
    for (_, name, origin, types) in NODES {
        let point = new_directory(t, name)?;
        let made = match origin {
            None => mount_tmpfs(point.clone()),
            Some(origin) => {
                let from = t.directory()?.join(origin);
                mount(Some(&from), point.as_str(), NONE, MsFlags::MS_BIND, NONE)
            }
        };
        t.setup(Call::new(format!("mount({name})"), made))?;
        for kind in types {
            let set = mount(NONE, point.as_str(), NONE, *kind, NONE);
            t.setup(Call::new(format!("mount({name}, {kind:?})"), set))?;
        }
        if origin.is_none() {
            for directory in directories {
                t.setup(Call::io("mkdir", fs::create_dir_all(Path::new(&point).join(directory))))?;
            }
        }
    }
    Ok(())
}

case!(Case {
    name: "separation.mnt.groups",
    about: "After the call a mount and its unmounting reach exactly the peers, in both namespaces, their slaves and the \
            slaves of these, where the place is visible; slaves, private mounts and their copies reach nobody.",
    proves: &["EFF-MNT-03", "EFF-MNT-04", "EFF-MNT-06"],
    variants: || NODES.map(|(_, name, ..)| Variant::new(name, name.to_owned())).into(),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let named: String = t.param();
        let directories = ["place", "sub/place"];
        make_graph(t, &directories)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let base = t.directory()?.to_path_buf();
        let path = |place: &str| base.join(place).to_string_lossy().into_owned();
        let sides = [Side::Caller, Side::Peer(&peer)];
        for (from, from_name, ..) in NODES.into_iter().filter(|(_, name, ..)| *name == named) {
            for directory in directories {
                let Some(origin) = below(from, from_name, directory) else { continue };
                for (acting, side) in sides.into_iter().enumerate() {
                    let look = |mounted: bool| {
                        for (to, to_name, ..) in NODES {
                            let Some(place) = below(to, to_name, directory) else { continue };
                            for (seeing, other) in sides.into_iter().enumerate() {
                                let expected = mounted && reaches(from, to, acting == seeing);
                                let text = format!("whether {place} is mounted on, as seen");
                                t.check(other.ask(t, &text, path(&place), is_mounted)?).is(expected)?;
                            }
                        }
                        Done::Ok(())
                    };
                    let mounted = side.ask(t, &format!("mount(tmpfs, {origin})"), path(&origin), mount_tmpfs)?;
                    t.check(mounted).succeeds()?;
                    look(true)?;
                    t.check(side.ask(t, &format!("umount({origin})"), path(&origin), unmount)?).succeeds()?;
                    look(false)?;
                }
            }
        }
        Ok(())
    })
});

/// The peer group of the mount at a point, or the one that it receives from: `shared` or `master`.
fn group_at((point, kind): (String, String)) -> Result<u64, Errno> {
    mount_at(point)?.group(&kind).ok_or(Errno::ENOENT)
}

fn group(t: &Test, side: Side, point: &str, kind: &str) -> Done<Call<u64>> {
    side.ask(t, &format!("number of {kind}: of the mount at {point}"), (point.to_owned(), kind.to_owned()), group_at)
}

case!(Case {
    name: "separation.mnt.formerly_shared",
    about: "A mount that was shared and made private has no peer group any more: once the mount and its copy are both \
            shared again each has a group of its own, and what is mounted below one does not reach the other.",
    proves: &["EFF-PROP-11"],
    source: "mount_namespaces(7), Propagation type transitions; kernel, fs/pnode.c (change_mnt_propagation)",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        t.unshare(Flags::NEWNS).as_predicted()?;
        let point = new_directory(t, "former")?;
        t.setup(Call::new("mount(former)", mount_tmpfs(point.clone())))?;
        let place = format!("{point}/place");
        t.setup(Call::io("mkdir(former/place)", fs::create_dir(&place)))?;
        for kind in [MsFlags::MS_SHARED, MsFlags::MS_PRIVATE] {
            t.setup(Call::new(format!("mount(former, {kind:?})"), set_propagation((point.clone(), kind.bits()))))?;
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        for side in [caller, other] {
            let shared = (point.clone(), MsFlags::MS_SHARED.bits());
            t.check(side.ask(t, "mount(former, MS_SHARED)", shared, set_propagation)?).succeeds()?;
        }
        let there = t.setup(group(t, other, &point, "shared")?)?;
        t.check(group(t, caller, &point, "shared")?).is_not(there)?;
        for (acting, watching) in [(caller, other), (other, caller)] {
            acting.must(t, "mount(tmpfs, former/place)", place.clone(), mount_tmpfs)?;
            t.check(watching.ask(t, "whether former/place is mounted on, as seen", place.clone(), is_mounted)?)
                .is(false)?;
            acting.must(t, "umount(former/place)", place.clone(), unmount)?;
        }
        Ok(())
    })
});

case!(Case {
    name: "separation.mnt.slaves_beside",
    about: "What is mounted below a shared mount of the new namespace its slaves receive as slaves of what was mounted, \
            each of it and none of another slave's: two beside each other that are shared, and one that is not.",
    proves: &["EFF-PROP-12"],
    source: "mount_namespaces(7), SHARED SUBTREES; kernel, fs/pnode.c (find_master)",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        make_graph(t, &["place", "sub/place"])?;
        let point = new_directory(t, "beside")?;
        let master = t.directory()?.join("master").to_string_lossy().into_owned();
        let bound = mount(Some(master.as_str()), point.as_str(), NONE, MsFlags::MS_BIND, NONE);
        t.setup(Call::new("mount(beside, MS_BIND)", bound))?;
        for kind in [MsFlags::MS_SLAVE, MsFlags::MS_SHARED] {
            t.setup(Call::new(format!("mount(beside, {kind:?})"), set_propagation((point.clone(), kind.bits()))))?;
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let below = |name: &str| t.directory().map(|base| base.join(name).join("place").to_string_lossy().into_owned());
        t.check(Call::new("mount(tmpfs, master/place)", mount_tmpfs(below("master")?))).succeeds()?;
        let mounted = t.check(group(t, Side::Caller, &below("master")?, "shared")?).succeeds()?;
        for side in [Side::Caller, Side::Peer(&peer)] {
            for slave in ["slave", "both", "second", "beside"] {
                t.check(group(t, side, &below(slave)?, "master")?).is(mounted)?;
            }
            // A slave of a slave's.
            let both = t.check(group(t, side, &below("both")?, "shared")?).succeeds()?;
            t.check(group(t, side, &below("leaf")?, "master")?).is(both)?;
        }
        Ok(())
    })
});
