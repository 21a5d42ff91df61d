//! ID maps of a user namespace in another one that has a map itself, and file systems of namespaces that a new user
//! namespace does not own (section 3.13 of the behaviour catalogue).

use std::os::unix::fs::{PermissionsExt, fchown};

use super::mnt::mount_new;
use super::user_id_maps::map_of;
use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS);

/// The first ID of the outer namespace, and how many it has.
const FIRST: u32 = 100_000;
const COUNT: u32 = 100_000;

/// The maps of a user namespace.
const MAPS: [&str; 3] = ["uid_map", "gid_map", "projid_map"];

/// Writes the maps of a task.
fn write_maps((pid, lines): (i32, String)) -> Result<(), Errno> {
    MAPS.into_iter().try_for_each(|map| fs::write(format!("/proc/{pid}/{map}"), &lines).map_err(errno_of))
}

/// Becomes user and group 0 of the user namespace.
fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // The maps of a task that is not dumpable are the initial root's to write.
    prctl::set_dumpable(true)
}

case!(Case {
    name: "separation.user.nested_ranges",
    about: "In a nested user namespace with 5, 6 or 340 ranges IDs are translated by both maps, either way: what the \
            outer one does not map is nobody's, whatever its number, and the caller has no power over it.",
    proves: &["EFF-USER-22"],
    source: "user_namespaces(7), Defining user and group ID mappings; CVE-2018-18955",
    needs: NEEDS.with(feature::INITIAL_ROOT).with(feature::MAP_IDS).with(feature::SECOND_USER),
    variants: || variants::named(&[("5", 5u32), ("6", 6), ("340", 340)]),
    run: |t| {
        let ranges: u32 = t.param();
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        // Files of users outside, and what they read as inside.
        let ids = [0, 3, ranges - 1, FIRST, FIRST + 3, FIRST + ranges - 1];
        let mut files = Vec::new();
        for id in ids {
            let file = t.setup(Call::io("open(file)", File::create(t.directory()?.join(id.to_string()))))?;
            t.setup(Call::io(format!("fchown(file, {id})"), fchown(&file, Some(id), Some(id))))?;
            files.push((id, file));
        }
        let overflow = t.setup(sysctl::number("/proc/sys/kernel/overflowuid"))? as u32;
        in_own_namespaces(t, Flags::NEWUSER, |t| {
            let maps = (getpid().as_raw(), format!("0 {FIRST} {COUNT}"));
            outside.setup(t, "write(maps of the outer namespace)", maps, write_maps)?;
            t.setup(Call::new("setresuid(0) in the outer namespace", become_root()))?;
            let parent = Peer::start(t, "task of the outer namespace", Flags::NONE)?;
            t.unshare(Flags::NEWUSER).from(limits::start(t, Flags::NONE)).beside(&[&parent]).as_predicted()?;
            // The last one is longer. Not in order, which the kernel has to put them in.
            let line = |at: u32| format!("{at} {at} {}\n", if at == ranges - 1 { 500 } else { 1 });
            let mut lines: Vec<_> = (0..ranges).rev().map(line).collect();
            let maps = (getpid().as_raw(), lines.concat());
            t.check(parent.call(t, "write(maps of the inner namespace)", maps, write_maps)?).succeeds()?;
            lines.iter_mut().for_each(|line| line.truncate(line.len() - 1));
            lines.sort();
            for map in MAPS {
                let shown = map_of(format!("/proc/self/{map}"));
                t.check(Call::new(format!("read({map} of the inner namespace)"), shown)).is(lines.clone())?;
            }
            t.check(Call::new("setresuid(0) in the inner namespace", become_root())).succeeds()?;
            for (id, file) in &files {
                let inside = id.checked_sub(FIRST);
                let owner = file.metadata().map(|data| (data.uid(), data.gid()));
                let expected = inside.unwrap_or(overflow);
                t.check(Call::io(format!("owner of a file that is {id}'s outside"), owner)).is((expected, expected))?;
                let mode = file.set_permissions(fs::Permissions::from_mode(0o600));
                let allowed = if inside.is_some() { Ok(()) } else { Err(Errno::EPERM) };
                t.check(Call::io(format!("fchmod(a file that is {id}'s outside)"), mode)).gives(allowed)?;
            }
            Ok(())
        })
    }
});

/// A file system with the kind of namespace whose owner may mount it.
fn file_systems() -> Vec<Variant> {
    [("sysfs", Flags::NEWNET), ("proc", Flags::NEWPID), ("mqueue", Flags::NEWIPC), ("cgroup2", Flags::NEWCGROUP)]
        .map(|(name, flag)| Variant::new(name, (name, flag)).needing(needs_of(flag)))
        .into()
}

case!(Case {
    name: "separation.user.file_systems_of_others",
    about: "After CLONE_NEWUSER and CLONE_NEWNS the caller cannot mount the file system of a namespace that it still \
            has in common with tasks outside (EPERM): sysfs without CLONE_NEWNET, proc without CLONE_NEWPID, mqueue \
            without CLONE_NEWIPC, cgroup2 without CLONE_NEWCGROUP.",
    proves: &["EFF-USER-23"],
    source: "user_namespaces(7), Interaction of user namespaces and other types of namespaces",
    variants: file_systems,
    run: |t| {
        let (name, _): (&str, Flags) = t.param();
        let known = t.setup(Call::io("read(/proc/filesystems)", fs::read_to_string("/proc/filesystems")))?;
        if !known.lines().any(|line| line.split_whitespace().last() == Some(name)) {
            return Err(t.skip(format!("this kernel has no {name}")));
        }
        let point = new_directory(t, "point")?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).as_predicted()?;
        t.check(mount_new(name, &point)).fails_with(Errno::EPERM)
    }
});
