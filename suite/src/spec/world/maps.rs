//! ID maps of user namespaces: what can be written to them, by whom, and how IDs are seen through them
//! (user_namespaces(7) User and group ID mappings; kernel/user_namespace.c).

use crate::feature::{CAP_SETFCAP, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use crate::spec::prelude::*;
use crate::spec::world::{Content, FIRST_USER, Id, Task, World};

/// A line of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first ID in the namespace.
    pub inside: u32,
    /// What that is in the world's first user namespace.
    pub outside: u32,
    /// How many IDs.
    pub count: u32,
}

/// What tasks write to maps, and its lines; then what is refused with EINVAL, without lines.
pub const MAPS: [(&str, &[[u32; 3]]); 24] = [
    ("0 0 1\n", &[[0, 0, 1]]),
    ("0 0 1\n1 65534 1\n", &[[0, 0, 1], [1, 65534, 1]]),
    ("0 65534 1\n65534 0 1", &[[0, 65534, 1], [65534, 0, 1]]),
    ("  3 0 4\n9  65534\t1", &[[3, 0, 4], [9, 65534, 1]]),
    ("0 0 65536", &[[0, 0, 65536]]),
    ("0 70000 2\n5 0 1", &[[0, 70000, 2], [5, 0, 1]]),
    // More than five lines are kept in another way, and sorted.
    (
        "20 3 1\n10 10 1\n11 65534 1\n0 0 2\n12 11 1\n14 13 1",
        &[[20, 3, 1], [10, 10, 1], [11, 65534, 1], [0, 0, 2], [12, 11, 1], [14, 13, 1]],
    ),
    (
        "6 0 1\n5 1 1\n4 2 1\n3 3 1\n2 4 1\n1 5 1\n0 65534 1",
        &[[6, 0, 1], [5, 1, 1], [4, 2, 1], [3, 3, 1], [2, 4, 1], [1, 5, 1], [0, 65534, 1]],
    ),
    // The second line overlaps the first: inside, and outside; in its middle, at its ends.
    ("0 0 2\n1 65534 1", &[]),
    ("0 0 4\n2 65534 1", &[]),
    ("4 65534 1\n0 0 5", &[]),
    ("0 0 2\n5 1 1", &[]),
    ("0 0 4\n9 2 1", &[]),
    ("9 9 1\n0 5 5", &[]),
    ("6 0 1\n5 1 1\n4 2 1\n3 3 1\n2 4 1\n1 5 1\n0 65534 2", &[]),
    ("0 0 0", &[]),
    ("0 0", &[]),
    ("0 0 1 0", &[]),
    ("x 0 1", &[]),
    ("0 0 1\n\n", &[]),
    // No user has the last ID, and none comes after it.
    ("4294967295 0 1", &[]),
    ("0 4294967295 1", &[]),
    ("4294967294 0 2", &[]),
    ("0 4294967294 2", &[]),
];

/// The most lines that are shown as they were written.
pub(super) const SHORT: usize = 5;

impl World {
    /// The map of a user namespace that is not the first.
    pub fn map_of(&self, space: Id) -> &[Extent] {
        match self.spaces.get(&space).map(|space| &space.content) {
            Some(Content::User { map, .. }) => map,
            _ => &[],
        }
    }

    /// Whether a user namespace has no map yet.
    pub(super) fn is_unmapped(&self, space: Id) -> bool {
        space != FIRST_USER && self.map_of(space).is_empty()
    }

    /// How a user of the first user namespace is seen in another: 65534 without a mapping.
    pub fn seen(&self, user: u32, from: Id) -> u32 {
        const UNMAPPED: u32 = 65534;
        if from == FIRST_USER {
            return user;
        }
        let extent = self.extent(user, from);
        extent.map_or(UNMAPPED, |extent| extent.inside + (user - extent.outside))
    }

    /// A task's user as the parent of its user namespace sees it.
    pub fn outer(&self, task: &Task) -> u32 {
        self.seen(task.user, self.spaces[&task.space(Ns::User)].owner)
    }

    /// Whether a user namespace maps a user.
    pub(super) fn is_mapped(&self, user: u32, space: Id) -> bool {
        space == FIRST_USER || self.extent(user, space).is_some()
    }

    fn extent(&self, user: u32, space: Id) -> Option<&Extent> {
        self.map_of(space).iter().find(|extent| user >= extent.outside && user - extent.outside < extent.count)
    }

    /// What the first of so many IDs of a user namespace is in the first one, if one line of its map has them all.
    pub(super) fn outside(&self, space: Id, first: u32, count: u32) -> Option<u32> {
        if space == FIRST_USER {
            return Some(first);
        }
        let has = |extent: &&Extent| {
            let end = u64::from(extent.inside) + u64::from(extent.count);
            extent.inside <= first && u64::from(first) + u64::from(count) <= end
        };
        self.map_of(space).iter().find(has).map(|extent| extent.outside + (first - extent.inside))
    }

    /// Whether it is certain what comes of a write of [one of these](MAPS) to both maps of another task's user namespace:
    /// the file is root's, as writer and owner are, and what may be written to one map may be to the other.
    pub(super) fn may_map(&self, task: &Task, which: usize, of: usize) -> bool {
        let Some(other) = self.task(of).filter(|other| other.leader) else { return false };
        let space = other.space(Ns::User);
        let (parent, lines) = (self.spaces[&space].owner, MAPS[which].1);
        let may = |capability| self.capable(task, capability, parent);
        let by_privilege = may(CAP_SETUID);
        // Who made the namespace can map itself without privilege; groups only after it has denied setgroups(2).
        let is_own = matches!(lines, [[_, lower, 1]] if self.outside(parent, *lower, 1) == Some(task.user));
        let by_itself = is_own && self.spaces[&space].maker == task.user;
        // Not all releases ask for CAP_SETFCAP.
        let maps_root = lines.iter().any(|[_, lower, _]| *lower == 0);
        space != FIRST_USER
            && (task.user, other.user) == (0, 0)
            && by_privilege == may(CAP_SETGID)
            && (by_privilege || !by_itself)
            && (!by_privilege || !maps_root || may(CAP_SETFCAP))
    }

    /// What comes of such a write: the new map.
    pub(super) fn map(&self, task: &Task, which: usize, of: usize) -> Result<Vec<Extent>, Errno> {
        let Some(other) = self.task(of) else { return Err(Errno::ESRCH) };
        let (own, space) = (task.space(Ns::User), other.space(Ns::User));
        let parent = self.spaces[&space].owner;
        let is_near = own == space || own == parent;
        if !is_near || !self.map_of(space).is_empty() || !self.capable(task, CAP_SYS_ADMIN, space) {
            return Err(Errno::EPERM);
        }
        let lines = MAPS[which].1;
        if lines.is_empty() {
            return Err(Errno::EINVAL);
        }
        let may = self.capable(task, CAP_SETUID, parent);
        let lower = |[inside, lower, count]: [u32; 3]| {
            let outside = self.outside(parent, lower, count).filter(|_| may)?;
            Some(Extent { inside, outside, count })
        };
        let map: Option<Vec<Extent>> = lines.iter().copied().map(lower).collect();
        let mut map = map.ok_or(Errno::EPERM)?;
        if map.len() > SHORT {
            map.sort_by_key(|extent| extent.inside);
        }
        Ok(map)
    }

    /// A map as its file shows it to who is in the first user namespace, with one blank between its numbers.
    pub fn shown_map(map: &[Extent]) -> String {
        let lines = map.iter().map(|extent| format!("{} {} {}", extent.inside, extent.outside, extent.count));
        lines.collect::<Vec<_>>().join(" ")
    }

    /// Whether a user namespace denies setgroups(2).
    pub fn denies_setgroups(&self, space: Id) -> bool {
        match self.spaces[&space].content {
            Content::User { denied, .. } => denied.unwrap_or(self.denies_setgroups),
            _ => false,
        }
    }
}
