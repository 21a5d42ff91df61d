//! Propagation types in a new mount namespace, whose copies have peers in the old one (section 3.17 of the behaviour
//! catalogue).

use super::mnt::mount_tmpfs;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7), SHARED SUBTREES";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

/// What a mount does with what is mounted and unmounted below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    /// With a peer: the mount that it is a copy of, in the old namespace.
    Shared,
    /// Without one.
    SharedAlone,
    Slave,
    SharedSlave,
    Private,
    Unbindable,
}

use Type::{Private, Shared, SharedAlone, SharedSlave, Slave, Unbindable};

impl Type {
    /// What mountinfo says of it.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Shared | SharedAlone => &["shared"],
            Slave => &["master"],
            SharedSlave => &["shared", "master"],
            Private => &[],
            Unbindable => &["unbindable"],
        }
    }
}

/// Gives a mount a propagation type.
pub(super) fn set(point: &str, flags: MsFlags) -> Call<()> {
    Call::new(format!("mount({point}, {flags:?})"), mount(NONE, point, NONE, flags, NONE))
}

/// The propagation fields of the mount at a point, without the numbers of groups.
fn fields_of(point: &str) -> Call<Vec<String>> {
    let fields = mount_at(point.to_owned())
        .map(|line| line.propagation.iter().map(|field| field.split(':').next().unwrap_or(field).to_owned()).collect());
    Call::new(format!("propagation fields of {point}"), fields)
}

#[track_caller]
fn check_type(t: &Test, point: &str, expected: Type) -> Done {
    t.check(fields_of(point)).is(expected.fields().iter().map(|&field| field.to_owned()).collect())
}

/// A private tmpfs, so that mounts below it start private, too.
#[track_caller]
fn new_base(t: &Test, name: &str) -> Done<String> {
    let base = new_directory(t, name)?;
    t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(base.clone())))?;
    t.setup(set(&base, MsFlags::MS_PRIVATE))?;
    Ok(base)
}

/// Mounts a tmpfs at a new directory below the base, shared if its copy is to have a peer.
#[track_caller]
fn mount_before(t: &Test, base: &str, name: &str, kind: Type) -> Done<String> {
    let point = format!("{base}/{name}");
    t.setup(Call::io(format!("mkdir({name})"), fs::create_dir(&point)))?;
    t.setup(Call::new(format!("mount(tmpfs, {name})"), mount_tmpfs(point.clone())))?;
    t.setup(Call::io("mkdir(inside)", fs::create_dir(format!("{point}/inside"))))?;
    if matches!(kind, Shared | Slave | SharedSlave) {
        t.setup(set(&point, MsFlags::MS_SHARED))?;
    }
    Ok(point)
}

/// Gives its copy in the new namespace the type.
#[track_caller]
fn become_of_type(t: &Test, point: &str, kind: Type) -> Done {
    let steps: &[MsFlags] = match kind {
        Shared | Private => &[],
        SharedAlone => &[MsFlags::MS_SHARED],
        Slave => &[MsFlags::MS_SLAVE],
        SharedSlave => &[MsFlags::MS_SLAVE, MsFlags::MS_SHARED],
        Unbindable => &[MsFlags::MS_UNBINDABLE],
    };
    steps.iter().try_for_each(|&flags| t.setup(set(point, flags)))?;
    check_type(t, point, kind)
}

/// What each becomes: when made shared, slave, private, unbindable.
const CHANGES: [(Type, [Type; 4]); 6] = [
    (Shared, [Shared, Slave, Private, Unbindable]),
    (SharedAlone, [Shared, Private, Private, Unbindable]),
    (Slave, [SharedSlave, Slave, Private, Unbindable]),
    (SharedSlave, [SharedSlave, Slave, Private, Unbindable]),
    (Private, [Shared, Private, Private, Unbindable]),
    (Unbindable, [Shared, Unbindable, Private, Unbindable]),
];

const WAYS: [MsFlags; 4] = [MsFlags::MS_SHARED, MsFlags::MS_SLAVE, MsFlags::MS_PRIVATE, MsFlags::MS_UNBINDABLE];

case!(Case {
    name: "separation.mnt.changes_of_type",
    about: "In the new namespace each mount becomes what it is made, but a slave stays one when it is shared, and what \
            has no peers, or is a slave or unbindable already, becomes no slave. The mount above and below stay.",
    proves: &["EFF-PROP-04"],
    source: "mount_namespaces(7), Propagation type transitions",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let base = new_base(t, "base")?;
        let mut points = Vec::new();
        for (kind, results) in CHANGES {
            for (flags, becomes) in WAYS.into_iter().zip(results) {
                let name = format!("{kind:?}-{}", points.len());
                points.push((mount_before(t, &base, &name, kind)?, kind, flags, becomes));
            }
        }
        let peer = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        for (point, kind, flags, becomes) in &points {
            become_of_type(t, point, *kind)?;
            let inner = format!("{point}/inside");
            t.setup(Call::new("mount(tmpfs) below it", mount_tmpfs(inner.clone())))?;
            let before = t.setup(fields_of(&inner))?;
            t.check(set(point, *flags)).succeeds()?;
            check_type(t, point, *becomes)?;
            t.check(fields_of(&inner)).is(before)?;
        }
        check_type(t, &base, Private)?;
        // One type at a time, and nothing besides.
        for flags in [MsFlags::MS_SHARED | MsFlags::MS_SLAVE, MsFlags::MS_PRIVATE | MsFlags::MS_NOSUID] {
            t.check(set(&base, flags)).fails_with(Errno::EINVAL)?;
        }
        t.check(set(&base, MsFlags::MS_PRIVATE | MsFlags::MS_SILENT)).succeeds()?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        // Some releases forget in a copy that it is unbindable (EFF-MNT-07).
        let mut kept = points.iter().filter(|(.., becomes)| *becomes != Unbindable);
        kept.try_for_each(|(point, .., becomes)| check_type(t, point, *becomes))
    })
});

case!(Case {
    name: "separation.mnt.slaves_of_the_changed",
    about: "When a mount of the new namespace is no longer shared, its slaves receive from its peers in the old one; \
            where it had none, they are private.",
    proves: &["EFF-PROP-09"],
    source: "mount_namespaces(7), Propagation type transitions; kernel, fs/pnode.c",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let base = new_base(t, "base")?;
        let peered = mount_before(t, &base, "peered", Shared)?;
        let alone = mount_before(t, &base, "alone", SharedAlone)?;
        let outside = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&outside]).as_predicted()?;
        become_of_type(t, &alone, SharedAlone)?;
        let slave_of = |master: &str| -> Done<String> {
            let point = format!("{master}_slave");
            t.setup(Call::io("mkdir(slave)", fs::create_dir(&point)))?;
            let bound = mount(Some(master), point.as_str(), NONE, MsFlags::MS_BIND, NONE);
            t.setup(Call::new(format!("mount({master}, MS_BIND)"), bound))?;
            t.setup(set(&point, MsFlags::MS_SLAVE))?;
            check_type(t, &point, Slave)?;
            Ok(point)
        };
        let (slave, former) = (slave_of(&peered)?, slave_of(&alone)?);
        let master = || Call::new("master of the slave", mount_at(slave.clone()).map(|line| line.group("master")));
        let group = t.setup(master())?;
        t.check(set(&peered, MsFlags::MS_PRIVATE)).succeeds()?;
        t.check(set(&alone, MsFlags::MS_PRIVATE)).succeeds()?;
        t.check(master()).is(group)?;
        check_type(t, &former, Private)?;
        let mounted = |base: &str| {
            Call::new(format!("whether {base}/inside is mounted on"), is_mounted(format!("{base}/inside")))
        };
        outside.setup(t, "mount(tmpfs, peered/inside)", format!("{peered}/inside"), mount_tmpfs)?;
        t.check(mounted(&slave)).is(true)?;
        t.check(mounted(&peered)).is(false)?;
        // The last one leaves its group without peers.
        t.setup(set(&slave, MsFlags::MS_PRIVATE))?;
        t.setup(Call::new("mount(tmpfs, alone/inside)", mount_tmpfs(format!("{alone}/inside"))))?;
        t.check(mounted(&former)).is(false)
    })
});

/// What a mount of this type becomes when it is bound or moved below a shared mount, and below a private one; None:
/// that is refused.
type Results = [(Type, [Option<Type>; 2]); 4];

const BOUND: Results = [
    (Shared, [Some(Shared), Some(Shared)]),
    (Private, [Some(Shared), Some(Private)]),
    (Slave, [Some(SharedSlave), Some(Slave)]),
    (Unbindable, [None, None]),
];
const MOVED: Results = [
    (Shared, [Some(Shared), Some(Shared)]),
    (Private, [Some(Shared), Some(Private)]),
    (Slave, [Some(SharedSlave), Some(Slave)]),
    (Unbindable, [None, Some(Unbindable)]),
];

const PLACEMENTS: [(&str, (MsFlags, Results)); 2] =
    [("bind", (MsFlags::MS_BIND, BOUND)), ("move", (MsFlags::MS_MOVE, MOVED))];

case!(Case {
    name: "separation.mnt.bound_and_moved",
    about: "A mount that is bound or moved below a shared one becomes shared, and a slave stays one beside; below a \
            private one it stays what it is. An unbindable one can only be moved below a private one (else EINVAL), and \
            nothing out from below a shared one (EINVAL).",
    proves: &["EFF-PROP-05"],
    source: "mount_namespaces(7), Bind (MS_BIND) semantics and Move (MS_MOVE) semantics",
    variants: || variants::named(&PLACEMENTS),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (flags, results): (MsFlags, Results) = t.param();
        let base = new_base(t, "base")?;
        let parents = [mount_before(t, &base, "shared", Shared)?, mount_before(t, &base, "private", Private)?];
        let mut rows = Vec::new();
        for (kind, becomes) in results {
            for (parent, becomes) in parents.iter().zip(becomes) {
                let target = format!("{parent}/{}", rows.len());
                t.setup(Call::io("mkdir(target)", fs::create_dir(&target)))?;
                let source = mount_before(t, &base, &format!("{kind:?}-{}", rows.len()), kind)?;
                rows.push((source, kind, target, becomes));
            }
        }
        let peer = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let place = |from: &str, to: &str| {
            Call::new(format!("mount({from}, {to}, {flags:?})"), mount(Some(from), to, NONE, flags, NONE))
        };
        for (source, kind, target, becomes) in &rows {
            become_of_type(t, source, *kind)?;
            match becomes {
                Some(becomes) => {
                    t.check(place(source, target)).succeeds()?;
                    check_type(t, target, *becomes)?;
                }
                None => t.check(place(source, target)).fails_with(Errno::EINVAL)?,
            }
        }
        // What was mounted below the shared one is in the old namespace as well.
        for (_, _, target, becomes) in &rows {
            let there = target.starts_with(&parents[0]) && becomes.is_some();
            let seen = peer.call(t, &format!("whether anything is mounted at {target}"), target.clone(), is_mounted)?;
            t.check(seen).is(there)?;
        }
        if flags == MsFlags::MS_MOVE {
            let target = format!("{}/inside", parents[1]);
            t.check(place(&rows[0].2, &target)).fails_with(Errno::EINVAL)?;
        }
        Ok(())
    })
});

case!(Case {
    name: "separation.mnt.pruned_and_kept",
    about: "A recursive bind mount leaves out unbindable mounts. An unmount below a shared mount reaches its peers, but \
            not where something is mounted upon; the mount itself goes by its parent's type, and what is mounted two \
            levels below, too.",
    proves: &["EFF-PROP-06"],
    source: "mount_namespaces(7), SHARED SUBTREES and Unmount semantics",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let base = new_base(t, "base")?;
        let tree = mount_before(t, &base, "tree", Private)?;
        mount_before(t, &tree, "bindable", Private)?;
        let unbindable = mount_before(t, &tree, "unbindable", Private)?;
        let shared = mount_before(t, &base, "shared", Shared)?;
        let private = mount_before(t, &shared, "private", Private)?;
        t.setup(set(&private, MsFlags::MS_PRIVATE))?;
        let copy = new_directory(t, "base/copy")?;
        let peer = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        // Here, as some releases forget it of a copy (EFF-MNT-07).
        t.setup(set(&unbindable, MsFlags::MS_UNBINDABLE))?;
        let bound = mount(Some(tree.as_str()), copy.as_str(), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE);
        t.check(Call::new("mount(MS_BIND|MS_REC)", bound)).succeeds()?;
        let mounted =
            |point: &str| Call::new(format!("whether anything is mounted at {point}"), is_mounted(point.to_owned()));
        t.check(mounted(&format!("{copy}/bindable"))).is(true)?;
        t.check(mounted(&format!("{copy}/unbindable"))).is(false)?;
        let there = |point: &str| {
            peer.call(t, &format!("whether anything is mounted at {point}"), point.to_owned(), is_mounted)
        };
        let (below, deeper) = (format!("{shared}/inside"), format!("{private}/inside"));
        // Below the private mount nothing propagates, though the mount above is shared.
        t.setup(Call::new("mount(tmpfs)", mount_tmpfs(deeper.clone())))?;
        t.check(there(&deeper)?).is(false)?;
        t.setup(Call::new("mount(tmpfs)", mount_tmpfs(below.clone())))?;
        t.check(there(&below)?).is(true)?;
        let upon = format!("{below}/upon");
        let side = Side::Peer(&peer);
        side.must(t, "mkdir()", upon.clone(), |upon| fs::create_dir(upon).map_err(errno_of))?;
        // Its own type is the parent's, so that it reaches the caller unless it is private.
        side.must(t, "mount(MS_PRIVATE)", below.clone(), |below| {
            mount(NONE, below.as_str(), NONE, MsFlags::MS_PRIVATE, NONE)
        })?;
        side.must(t, "mount(tmpfs) upon it", upon.clone(), mount_tmpfs)?;
        t.check(mounted(&upon)).is(false)?;
        let unmount = |point: &str| Call::new(format!("umount({point})"), umount2(point, MntFlags::empty()));
        t.check(unmount(&below)).succeeds()?;
        t.check(mounted(&below)).is(false)?;
        t.check(there(&below)?.called("whether it is still mounted where something is mounted upon it")).is(true)?;
        t.setup(unmount(&deeper))?;
        // The private mount is one of a shared parent's.
        t.check(unmount(&private)).succeeds()?;
        t.check(there(&private)?).is(false)
    })
});

case!(Case {
    name: "separation.mnt.dominant_group",
    about: "Where a slave's master is out of the reader's sight, mountinfo also says from which group in sight it \
            receives; where it is in sight, not.",
    proves: &["EFF-PROP-07"],
    source: "mount_namespaces(7), SHARED SUBTREES and The /proc/pid/mountinfo propagate_from tag",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let base = new_base(t, "base")?;
        let first = mount_before(t, &base, "first", Shared)?;
        let point = format!("{first}/inside");
        let peer = Peer::start(t, "task in the old namespace", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        // First, its slave, which is shared as well, and that one's slave, within the first.
        t.setup(set(&first, MsFlags::MS_PRIVATE))?;
        t.setup(set(&first, MsFlags::MS_SHARED))?;
        let second = new_directory(t, "base/second")?;
        let bind =
            |from: &str, to: &str| Call::new("mount(MS_BIND)", mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE));
        t.setup(bind(&first, &second))?;
        t.setup(set(&second, MsFlags::MS_SLAVE))?;
        t.setup(set(&second, MsFlags::MS_SHARED))?;
        t.setup(bind(&second, &point))?;
        t.setup(set(&point, MsFlags::MS_SLAVE))?;
        let group = |at: &str, kind: &str| -> Done<u64> {
            let number = mount_at(at.to_owned()).and_then(|line| line.group(kind).ok_or(Errno::ENOENT));
            t.setup(Call::new(format!("number of the {kind} group of {at}"), number))
        };
        let (dominant, master) = (group(&first, "shared")?, group(&second, "shared")?);
        t.check(Call::seen("master of the second", group(&second, "master")?)).is(dominant)?;
        let groups = |name: &str, point: &str| {
            let line = mount_at(point.to_owned());
            let groups = line.map(|line| [line.group("master"), line.group("propagate_from")]);
            Call::new(format!("master and propagate_from of {name}"), groups)
        };
        t.check(groups("the third", &point)).is([Some(master), None])?;
        // A root from which the second is out of sight. Its own /proc goes along.
        let child = Peer::start(t, "task in the first", Flags::NONE)?;
        child.setup(t, "chroot(first)", first.clone(), |first| chroot(first.as_str()))?;
        let seen = mounts_of(child.pid()).and_then(|list| {
            let line = list.into_iter().rfind(|line| line.point() == "/inside").ok_or(Errno::ENOENT)?;
            Ok([line.group("master"), line.group("propagate_from")])
        });
        t.check(Call::new("master and propagate_from of the third, as a task in the first sees it", seen))
            .is([Some(master), Some(dominant)])
    })
});
