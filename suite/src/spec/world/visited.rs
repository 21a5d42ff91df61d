//! What of the model histories have been through: states of a caller, and steps from them.

use std::collections::HashMap;

use crate::spec::prelude::*;
use crate::spec::world::{Content, Mount, Op, Options, Task, World};

/// Counts of states and of transitions, each by a number that stands for all that look alike.
#[derive(Clone, Debug, Default)]
pub struct Visited {
    states: HashMap<u64, u32>,
    transitions: HashMap<(u64, u64), u32>,
}

impl Visited {
    /// Notes a step that a task is about to take.
    pub fn note(&mut self, world: &World, task: &Task, op: &Op) {
        let state = world.signature(task);
        *self.states.entry(state).or_default() += 1;
        *self.transitions.entry((state, class(op))).or_default() += 1;
    }

    /// How often such a step was taken from such a state.
    pub fn count(&self, world: &World, task: &Task, op: &Op) -> u32 {
        self.transitions.get(&(world.signature(task), class(op))).copied().unwrap_or(0)
    }

    /// How many different states there were.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// How many different transitions there were.
    pub fn transitions(&self) -> usize {
        self.transitions.len()
    }

    /// How many of the transitions of another walk there were in this one, too.
    pub fn shared_with(&self, other: &Visited) -> usize {
        self.transitions.keys().filter(|key| other.transitions.contains_key(key)).count()
    }
}

/// A step without what makes no difference to unshare(2): which directory, which name. Sets of up to two flags are told
/// apart; of larger ones, how many flags they have.
fn class(op: &Op) -> u64 {
    let flags = |flags: Flags| match flags.0.count_ones() {
        0..=2 => flags.0,
        many => u64::from(many),
    };
    let (kind, more) = match *op {
        Op::Unshare(set) => (0, flags(set)),
        Op::Clone(set, _) => (1, flags(set)),
        Op::Exit => (2, 0),
        Op::Reap(_) => (3, 0),
        Op::Setns(ns, _) => (4, ns as u64),
        Op::Chdir(_) => (5, 0),
        Op::Chroot(_) => (6, 0),
        Op::Umask(_) => (7, 0),
        Op::HostName(_) => (8, 0),
        Op::DropSysAdmin => (9, 0),
        Op::DropAll => (10, 0),
        Op::BecomeNobody => (11, 0),
        Op::NoNewPrivs => (12, 0),
        Op::MapSelf => (13, 0),
        Op::Limit(kind, limit) => (14, kind.0 << 2 | u64::from(limit.min(3))),
        Op::Take => (15, 0),
        Op::Open(_, closes) => (16, closes.into()),
        Op::Close(_) => (17, 0),
        Op::Propagate(to) => (18, to as u64),
        Op::Offset(which) => (19, which as u64),
        Op::Mount => (20, 0),
        Op::Unmount => (21, 0),
        Op::Exec => (22, 0),
        Op::Enter(set, _) => (23, flags(set)),
        Op::Lock => (24, 0),
        Op::Unlock => (25, 0),
        Op::Map(which, _) => (26, which as u64),
        Op::Setgroups(allow) => (27, allow.into()),
        Op::NoRoot => (28, 0),
        Op::Make(object) => (29, object as u64),
        Op::Remove(object) => (30, object as u64),
        Op::Remount(options) => (31, options.0.into()),
        Op::Set(which, _) => (32, which as u64),
        Op::Starved(set, _) => (33, flags(set)),
        Op::Signals => (34, 0),
    };
    kind << 56 | (more & (u64::MAX >> 8))
}

impl World {
    /// All of a caller's state that bears on what a call does, as one number.
    pub fn signature(&self, task: &Task) -> u64 {
        let start = self.start(task);
        let shares = |same: &dyn Fn(&Task) -> bool| u64::from(self.count(same) > 1);
        let depth = self.above(task.space(Ns::User)).count().min(4) as u64 - 1;
        let mounts = self.tree(task.space(Ns::Mnt)).map_or(31, |tree| {
            let of = |mount: Mount| u64::from(mount.group.is_some()) | u64::from(mount.master.is_some()) << 1;
            let child = tree.child.map_or(0, |child| 1 + u64::from(child.locked));
            of(tree.base) | u64::from(tree.base.unbindable) << 2 | child << 3
        });
        let undo = match task.undo {
            None => 0,
            Some(undo) => 1 + u64::from(self.undo.get(&undo).is_some_and(|pending| *pending > 0)),
        };
        let frozen = match self.spaces[&task.space(Ns::TimeForChildren)].content {
            Content::Time { frozen, .. } => u64::from(frozen),
            _ => 0,
        };
        let fields = [
            (start.threads as u64, 2),
            (start.handlers_shared.into(), 1),
            (start.memory_shared.into(), 1),
            (start.sys_admin.into(), 1),
            (start.initial_admin.into(), 1),
            (start.chrooted.into(), 1),
            (start.ids_mapped.into(), 1),
            (start.children_elsewhere.into(), 1),
            ((start.exhausted != Flags::NONE).into(), 1),
            (start.pid_ns_foreign.into(), 1),
            (shares(&|other| other.fs == task.fs), 1),
            (shares(&|other| other.files == task.files), 1),
            ((self.lock == Some(task.files)).into(), 1),
            (shares(&|other| other.undo.is_some() && other.undo == task.undo), 1),
            (undo, 2),
            (depth, 2),
            (mounts, 5),
            ((self.spaces[&task.space(Ns::Mnt)].owner == task.space(Ns::User)).into(), 1),
            ((task.space(Ns::Time) == task.space(Ns::TimeForChildren)).into(), 1),
            (frozen, 1),
            (self.has_semaphore(task).into(), 1),
            ((task.user != 0).into(), 1),
            (task.no_root.into(), 1),
            (self.map_of(task.space(Ns::User)).len().min(2) as u64, 2),
            (self.tree(task.space(Ns::Mnt)).map_or(0, |tree| u64::from(tree.base.fixed != Options::default())), 1),
            (self.objects(task).iter().flatten().count() as u64, 2),
        ];
        fields.into_iter().fold(0, |all, (value, bits)| all << bits | value)
    }
}
