//! The propagation of the world's mount: peer groups and who receives from them (mount_namespaces(7) SHARED SUBTREES;
//! kernel, fs/pnode.c).

use crate::spec::prelude::*;
use crate::spec::world::{Content, Id, Space, World};

/// The mount that the world's directories are on, in one mount namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Its peer group.
    pub group: Option<Id>,
    /// The peer group it receives from.
    pub master: Option<Id>,
    /// It cannot be bind mounted.
    pub unbindable: bool,
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

impl Base {
    /// Its copy in a new mount namespace: one of another user namespace only receives (EFF-MNT-04 to EFF-MNT-07).
    pub fn copy(self, other_user: bool) -> Base {
        match self.group {
            Some(group) if other_user => Base { group: None, master: Some(group), ..self },
            _ => self,
        }
    }
}

impl World {
    /// The world's mount in a mount namespace.
    pub fn base(&self, space: Id) -> Option<Base> {
        match self.spaces.get(&space)?.content {
            Content::Mnt(base) => base,
            _ => None,
        }
    }

    pub(super) fn set_base(&mut self, space: Id, base: Base) {
        if let Some(Space { content: Content::Mnt(there), .. }) = self.spaces.get_mut(&space) {
            *there = Some(base);
        }
    }

    /// The world's mounts in all mount namespaces that are alive.
    pub fn bases(&self) -> Vec<(Id, Base)> {
        let bases = self.spaces.keys().filter_map(|id| Some((*id, self.base(*id)?)));
        bases.collect()
    }

    pub(super) fn propagate(&mut self, space: Id, to: Propagation) {
        let Some(base) = self.base(space) else { return };
        if to == Propagation::Shared {
            let group = base.group.unwrap_or_else(|| self.id());
            return self.set_base(space, Base { group: Some(group), unbindable: false, ..base });
        }
        let master = self.leave_group(space);
        let base = match to {
            // Without a peer left, nobody to receive from but who it received from before.
            Propagation::Slave => Base { group: None, master, unbindable: base.unbindable },
            _ => Base { group: None, master: None, unbindable: to == Propagation::Unbindable },
        };
        self.set_base(space, base);
    }

    /// Takes a mount out of its peer group. Gives whom it receives from as a slave of what it left. Where it was the
    /// last of its group, who received from it receives from its own master.
    fn leave_group(&mut self, space: Id) -> Option<Id> {
        let base = self.base(space)?;
        let Some(group) = base.group else { return base.master };
        let others = self.bases();
        if others.iter().any(|(id, other)| *id != space && other.group == Some(group)) {
            return Some(group);
        }
        for (id, other) in others.into_iter().filter(|(_, other)| other.master == Some(group)) {
            self.set_base(id, Base { master: base.master, ..other });
        }
        base.master
    }

    /// Forgets mount namespaces that no task is in.
    pub(super) fn forget_mounts(&mut self) {
        let used: BTreeSet<Id> = self.alive().map(|(_, task)| task.space(Ns::Mnt)).collect();
        let dead: Vec<Id> = self.bases().into_iter().map(|(id, _)| id).filter(|id| !used.contains(id)).collect();
        for id in dead {
            self.leave_group(id);
            if let Some(Space { content: Content::Mnt(base), .. }) = self.spaces.get_mut(&id) {
                *base = None;
            }
        }
    }
}
