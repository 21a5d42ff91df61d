//! The world's mount and the one on it: peer groups, who receives from them, and what is locked (mount_namespaces(7)
//! SHARED SUBTREES; kernel, fs/pnode.c and fs/namespace.c).

use crate::spec::prelude::*;
use crate::spec::world::{Content, Id, Space, World};

/// A mount, as far as it belongs with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Its peer group.
    pub group: Option<Id>,
    /// The peer group it receives from.
    pub master: Option<Id>,
    /// It cannot be bind mounted.
    pub unbindable: bool,
    /// It cannot be unmounted by itself.
    pub locked: bool,
    /// Its options.
    pub options: Options,
    /// Those that can be taken from it no more; [`Options::NOATIME`] stands for how it treats access times.
    pub fixed: Options,
}

/// Options of a mount, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options(pub u8);

impl Options {
    /// MS_NOATIME.
    pub const NOATIME: Options = Options(1 << 4);
    /// Each with the flag of mount(2) and its name, in mountinfo as well.
    pub const ALL: [(Options, u32, &str, &str); 5] = [
        (Options(1), libc::MS_RDONLY as u32, "MS_RDONLY", "ro"),
        (Options(1 << 1), libc::MS_NOSUID as u32, "MS_NOSUID", "nosuid"),
        (Options(1 << 2), libc::MS_NODEV as u32, "MS_NODEV", "nodev"),
        (Options(1 << 3), libc::MS_NOEXEC as u32, "MS_NOEXEC", "noexec"),
        (Options::NOATIME, libc::MS_NOATIME as u32, "MS_NOATIME", "noatime"),
    ];

    /// Whether all of the others are among these.
    pub fn has(self, others: Options) -> bool {
        self.0 & others.0 == others.0
    }

    /// Each of them, as [`ALL`](Self::ALL) has it.
    fn each(self) -> impl Iterator<Item = (Options, u32, &'static str, &'static str)> {
        Options::ALL.into_iter().filter(move |(option, ..)| self.has(*option))
    }

    /// The flags of mount(2).
    pub fn flags(self) -> u32 {
        self.each().fold(0, |all, (_, flag, ..)| all | flag)
    }

    /// As mountinfo shows them, of what it shows those that are no others'.
    pub fn told(self) -> String {
        let writable = (!self.has(Options(1))).then_some("rw");
        writable.into_iter().chain(self.each().map(|(.., name)| name)).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.each().map(|(_, _, name, _)| name).collect();
        f.write_str(&if names.is_empty() { "0".to_owned() } else { names.join("|") })
    }
}

/// What a mount namespace has of the world's mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The mount that the world's directories are on.
    pub base: Mount,
    /// What is mounted on one of them.
    pub child: Option<Mount>,
}

/// What mount(2) makes of a mount's propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Propagation {
    /// MS_SHARED.
    Shared,
    /// MS_PRIVATE.
    Private,
    /// MS_SLAVE.
    Slave,
    /// MS_UNBINDABLE.
    Unbindable,
}

impl Propagation {
    /// All of them.
    pub const ALL: [Propagation; 4] =
        [Propagation::Shared, Propagation::Private, Propagation::Slave, Propagation::Unbindable];

    /// The flag of mount(2) by its name.
    pub fn name(self) -> &'static str {
        match self {
            Propagation::Shared => "MS_SHARED",
            Propagation::Private => "MS_PRIVATE",
            Propagation::Slave => "MS_SLAVE",
            Propagation::Unbindable => "MS_UNBINDABLE",
        }
    }

    /// The flag of mount(2).
    pub fn flag(self) -> u64 {
        u64::from(match self {
            Propagation::Shared => libc::MS_SHARED as u32,
            Propagation::Private => libc::MS_PRIVATE as u32,
            Propagation::Slave => libc::MS_SLAVE as u32,
            Propagation::Unbindable => libc::MS_UNBINDABLE as u32,
        })
    }
}

impl Mount {
    /// Its copy in a new mount namespace: one of another user namespace only receives, and keeps it locked (EFF-MNT-04
    /// to EFF-MNT-07, EFF-MNT-12).
    fn copy(self, other_user: bool) -> Mount {
        if !other_user {
            return self;
        }
        let master = self.group.or(self.master);
        let fixed = Options(self.fixed.0 | self.options.0 | Options::NOATIME.0);
        Mount { group: None, master, locked: true, fixed, ..self }
    }
}

impl Tree {
    /// Its copy in a new mount namespace.
    pub fn copy(self, other_user: bool) -> Tree {
        Tree { base: self.base.copy(other_user), child: self.child.map(|child| child.copy(other_user)) }
    }

    fn mounts(&self) -> impl Iterator<Item = Mount> {
        std::iter::once(self.base).chain(self.child)
    }
}

impl World {
    /// The world's mounts in a mount namespace.
    pub fn tree(&self, space: Id) -> Option<Tree> {
        match self.spaces.get(&space)?.content {
            Content::Mnt(tree) => tree,
            _ => None,
        }
    }

    fn tree_mut(&mut self, space: Id) -> Option<&mut Tree> {
        match &mut self.spaces.get_mut(&space)?.content {
            Content::Mnt(tree) => tree.as_mut(),
            _ => None,
        }
    }

    /// The world's mounts in all mount namespaces that are alive.
    pub fn trees(&self) -> Vec<(Id, Tree)> {
        let trees = self.spaces.keys().filter_map(|id| Some((*id, self.tree(*id)?)));
        trees.collect()
    }

    /// Whether some mount is in this peer group, or receives from it.
    pub fn has_group(&self, group: Id) -> bool {
        let trees = self.trees();
        let mut mounts = trees.iter().flat_map(|(_, tree)| tree.mounts());
        mounts.any(|mount| [mount.group, mount.master].contains(&Some(group)))
    }

    /// Changes the propagation of the world's mount.
    pub(super) fn propagate(&mut self, space: Id, to: Propagation) {
        let Some(Tree { base, .. }) = self.tree(space) else { return };
        let changed = if to == Propagation::Shared {
            let group = base.group.unwrap_or_else(|| self.id());
            Mount { group: Some(group), unbindable: false, ..base }
        } else {
            let master = self.leave_group(base);
            match to {
                // Without a peer left, nobody to receive from but who it received from before.
                Propagation::Slave => Mount { group: None, master, ..base },
                _ => Mount { group: None, master: None, unbindable: to == Propagation::Unbindable, ..base },
            }
        };
        if let Some(tree) = self.tree_mut(space) {
            tree.base = changed;
        }
    }

    /// Changes the options of the world's mount. Without MS_NOATIME, access times are treated as before.
    ///
    /// # Errors
    /// EPERM: they would not have one that is fixed (EFF-MNT-13).
    pub(super) fn remount(&mut self, space: Id, new: Options) -> Result<(), Errno> {
        let Some(Tree { base, .. }) = self.tree(space) else { return Ok(()) };
        let kept = Options(new.0 | (base.options.0 & Options::NOATIME.0));
        let times_change = kept.has(Options::NOATIME) && !base.options.has(Options::NOATIME);
        let fixed = Options(base.fixed.0 & !Options::NOATIME.0);
        if !kept.has(fixed) || (base.fixed.has(Options::NOATIME) && times_change) {
            return Err(Errno::EPERM);
        }
        if let Some(tree) = self.tree_mut(space) {
            tree.base.options = kept;
        }
        Ok(())
    }

    /// Takes a mount out of its peer group. Gives whom it receives from as a slave of what it left. Where it is the last
    /// of its group, who received from it receives from its own master.
    fn leave_group(&mut self, mount: Mount) -> Option<Id> {
        let Some(group) = mount.group else { return mount.master };
        let trees = self.trees();
        let members = trees.iter().flat_map(|(_, tree)| tree.mounts()).filter(|other| other.group == Some(group));
        if members.count() > 1 {
            return Some(group);
        }
        for (space, _) in trees {
            if let Some(tree) = self.tree_mut(space) {
                let all = std::iter::once(&mut tree.base).chain(tree.child.as_mut());
                all.filter(|other| other.master == Some(group)).for_each(|other| other.master = mount.master);
            }
        }
        mount.master
    }

    /// The groups that an event of this one reaches: itself, and those that receive from one of them.
    fn reached(&self, group: Id) -> BTreeSet<Id> {
        let trees = self.trees();
        let mut reached = BTreeSet::from([group]);
        loop {
            let before = reached.len();
            for (_, Tree { base, .. }) in &trees {
                if base.master.is_some_and(|master| reached.contains(&master)) {
                    reached.extend(base.group);
                }
            }
            if reached.len() == before {
                return reached;
            }
        }
    }

    /// The mount namespaces that see what is mounted in this one: itself, its peers, and all who receive from them.
    pub(super) fn recipients(&self, space: Id) -> Vec<Id> {
        let Some(group) = self.tree(space).and_then(|tree| tree.base.group) else { return vec![space] };
        let reached = self.reached(group);
        let sees = |base: Mount| [base.group, base.master].into_iter().flatten().any(|group| reached.contains(&group));
        self.trees().into_iter().filter(|(_, tree)| sees(tree.base)).map(|(id, _)| id).collect()
    }

    /// Mounts something on one of the world's directories, where nothing is.
    pub(super) fn mount(&mut self, space: Id) {
        let recipients = self.recipients(space);
        let source = self.tree(space).and_then(|tree| tree.base.group);
        // Each group has one of what is mounted on its mounts.
        let mut groups: BTreeMap<Id, Id> = BTreeMap::new();
        for id in source.map(|group| self.reached(group)).unwrap_or_default() {
            let group = self.id();
            groups.insert(id, group);
        }
        for id in recipients {
            let Some(Tree { base, .. }) = self.tree(id) else { continue };
            let group = base.group.and_then(|group| groups.get(&group)).copied();
            // Who is a peer of where it was mounted has it from nobody.
            let is_peer = base.group == source;
            let master = base.master.filter(|_| !is_peer).and_then(|master| groups.get(&master)).copied();
            if let Some(tree) = self.tree_mut(id) {
                tree.child = Some(Mount { group, master, ..Mount::default() });
            }
        }
    }

    /// Unmounts it again, wherever that is seen.
    pub(super) fn unmount(&mut self, space: Id) {
        for id in self.recipients(space) {
            if let Some(child) = self.tree(id).and_then(|tree| tree.child) {
                self.leave_group(child);
                if let Some(tree) = self.tree_mut(id) {
                    tree.child = None;
                }
            }
        }
    }

    /// Forgets mount namespaces that no task is in.
    pub(super) fn forget_mounts(&mut self) {
        let used: BTreeSet<Id> = self.alive().map(|(_, task)| task.space(Ns::Mnt)).collect();
        for (id, tree) in self.trees().into_iter().filter(|(id, _)| !used.contains(id)) {
            for (mount, is_child) in [(tree.child, true), (Some(tree.base), false)] {
                let Some(mount) = mount else { continue };
                self.leave_group(mount);
                match self.tree_mut(id) {
                    Some(tree) if is_child => tree.child = None,
                    Some(tree) => tree.base.group = None,
                    None => {}
                }
            }
            if let Some(Space { content: Content::Mnt(tree), .. }) = self.spaces.get_mut(&id) {
                *tree = None;
            }
        }
    }
}
