//! Mounts by turns in a new mount namespace, against the same turns in one that clone(2) has made (section 3.17 of the
//! behaviour catalogue): what propagation makes of peers, slaves and mounts within themselves needs no model then.

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7), SHARED SUBTREES; kernel, fs/pnode.c";
const NEEDS: Needs = Needs::ROOT;

const NONE: Option<&str> = None;

/// How many turns there are.
const TURNS: usize = 40;
/// No further turns when there are so many mounts below the base: each can double them.
const MOST: usize = 120;

/// So many of them are compared: an answer has room for no more.
const MOST_SHOWN: usize = 300;

/// What was seen of the turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Played {
    /// The error of each, 0 for none.
    errors: Vec<i32>,
    /// The mounts in the end, in the kernel's order: what each is mounted on, where, and its propagation.
    mounts: Vec<String>,
}

/// Numbers that look random and are the same each time (a linear congruential generator). A library's may become others
/// with its next release, and what the few turns of the quick tier notice depends on them.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The mounts below the base, without what differs from place to place: numbers of mounts and of groups become those of
/// their order.
fn tree_below(base: &str) -> Result<Vec<String>, Errno> {
    let list: Vec<MountLine> = mounts()?.into_iter().filter(|line| line.point().starts_with(base)).collect();
    let mut groups = Vec::new();
    let tree = list.iter().map(|line| {
        let parent = list.iter().position(|other| other.id == line.parent);
        let fields = line.propagation.iter().map(|field| {
            let Some((kind, group)) = field.split_once(':') else { return field.clone() };
            let group = group.to_owned();
            let number = groups.iter().position(|known| *known == group).unwrap_or_else(|| {
                groups.push(group);
                groups.len() - 1
            });
            format!("{kind}:{number}")
        });
        let fields = fields.collect::<Vec<_>>().join(" ");
        let [_, root, point, _] = &line.place;
        format!("{root} at {} on {parent:?} {fields}", point.strip_prefix(base).unwrap_or(point))
    });
    Ok(tree.take(MOST_SHOWN).collect())
}

/// Mounts three file systems and bind mounts of two below the base, and then mounts, binds, moves, unmounts, detaches
/// and changes types of whatever the numbers name.
fn play((base, seed): (String, u64)) -> Result<Played, Errno> {
    let new_tmpfs = |point: &str| mount(Some("case"), point, Some("tmpfs"), MsFlags::empty(), Some("size=64k"));
    let set = |point: &str, flags: MsFlags| mount(NONE, point, NONE, flags, NONE);
    let bind = |from: &str, to: &str, flags: MsFlags| mount(Some(from), to, NONE, flags, NONE);
    let make = |path: String| fs::create_dir_all(path).map_err(errno_of);
    new_tmpfs(&base)?;
    set(&base, MsFlags::MS_PRIVATE)?;
    for node in 0..5 {
        make(format!("{base}/{node}"))?;
    }
    for node in 0..3 {
        new_tmpfs(&format!("{base}/{node}"))?;
        make(format!("{base}/{node}/a/c"))?;
        make(format!("{base}/{node}/b"))?;
    }
    set(&format!("{base}/0"), MsFlags::MS_SHARED)?;
    bind(&format!("{base}/0"), &format!("{base}/3"), MsFlags::MS_BIND)?;
    bind(&format!("{base}/0/a"), &format!("{base}/4"), MsFlags::MS_BIND)?;
    set(&format!("{base}/3"), MsFlags::MS_SLAVE)?;
    set(&format!("{base}/3"), MsFlags::MS_SHARED)?;
    let mut numbers = Numbers(seed);
    let mut errors = Vec::new();
    let mut trees = Vec::new();
    for turn in 0..TURNS {
        if turn % 8 == 7 && tree_below(&base)?.len() > MOST {
            break;
        }
        let mut path = || {
            let below = ["", "", "/a", "/b", "/a/c"];
            format!("{base}/{}{}", numbers.below(5), below[numbers.below(below.len() as u64) as usize])
        };
        let (one, other) = (path(), path());
        let types = [MsFlags::MS_SHARED, MsFlags::MS_SHARED, MsFlags::MS_SLAVE, MsFlags::MS_PRIVATE];
        let result = match numbers.below(12) {
            0..4 => {
                let recursive = if numbers.below(4) == 0 { MsFlags::MS_REC } else { MsFlags::empty() };
                set(&one, types[numbers.below(4) as usize] | recursive)
            }
            4..7 => bind(&one, &other, MsFlags::MS_BIND),
            7 => bind(&one, &other, MsFlags::MS_BIND | MsFlags::MS_REC),
            8 => bind(&one, &other, MsFlags::MS_MOVE),
            9 => umount2(one.as_str(), MntFlags::empty()),
            10 => umount2(one.as_str(), MntFlags::MNT_DETACH),
            11 if numbers.below(2) == 0 => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                let tree = open_tree(CWD, one.as_str(), flags);
                tree.map(|tree| trees.push(tree)).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
            }
            _ => new_tmpfs(&one),
        };
        errors.push(result.err().map_or(0, |errno| errno as i32));
    }
    let mut mounts = tree_below(&base)?;
    // What is mounted below must not come into a tree that is mounted nowhere.
    for tree in &trees {
        let mount =
            |path: &CStr| observe::statx(tree.as_raw_fd(), path, libc::STATX_MNT_ID).map(|stat| stat.stx_mnt_id);
        let top = mount(c".")?;
        let same = [c"a", c"b", c"a/c", c"c"].map(|path| mount(path).map(|id| id == top).ok());
        mounts.push(format!("detached: {same:?}"));
    }
    umount2(base.as_str(), MntFlags::MNT_DETACH)?;
    Ok(Played { errors, mounts })
}

case!(Case {
    name: "separation.mnt.turns",
    about: "Whatever is mounted, bound, moved, unmounted and changed in the new namespace, by many turns drawn by lot, \
            ends as the same turns end in a namespace that clone(2) has made.",
    proves: &["EFF-PROP-10"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let rounds = if t.tier() == Tier::Quick { 8 } else { 200 };
        let base = new_directory(t, "base")?;
        let private = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        let control = Peer::start(t, "task made by clone(2)", Flags::NEWNS)?;
        t.unshare(Flags::NEWNS).beside(&[&control]).as_predicted()?;
        for round in 0..rounds {
            let expected = control.setup(t, "the turns of a task made by clone(2)", (base.clone(), round), play)?;
            let played = t.check(Call::new("the turns of the caller", play((base.clone(), round)))).succeeds()?;
            let text = |what: &str| format!("{what} of round {round}");
            t.check(Call::seen(text("errors"), played.errors)).is(expected.errors)?;
            t.check(Call::seen(text("mounts in the end"), played.mounts)).is(expected.mounts)?;
        }
        Ok(())
    })
});
