//! Which steps two tasks can take at the same time.

use crate::spec::prelude::*;
use crate::spec::world::{Op, TASKS, VFORK, World};

impl World {
    /// Whether two tasks can take these steps at the same time, so that one of both orders must explain what comes of
    /// it. Steps of several system calls, and those that need the other's end or its beginning, have their own turns; so
    /// have those of which nobody could see at once which came first.
    pub fn may_race(&self, a: (usize, &Op), b: (usize, &Op)) -> bool {
        let is_one_call = |op: &Op| {
            let several = matches!(op, Op::Chroot(_) | Op::BecomeNobody | Op::MapSelf | Op::Map(..) | Op::Offset(_));
            let waits = matches!(op, Op::Clone(flags, _) if flags.contains(VFORK));
            !several
                && !waits
                && !matches!(
                    op,
                    Op::Starved(..)
                        | Op::Exec
                        | Op::Reap(_)
                        | Op::Set(..)
                        | Op::Setgroups(_)
                        | Op::Make(_)
                        | Op::Remove(_)
                )
        };
        let handed = |op: &Op| matches!(op, Op::Clone(..) | Op::Setns(..) | Op::Enter(..));
        let about = |op: &Op, other: usize| matches!(op, Op::Setns(_, of) | Op::Enter(_, of) if *of == other);
        let limited = |at: usize| self.task(at).is_some_and(|task| self.is_limited(task.space(Ns::User)));
        // Both of two sharers may find that they are two, and copy what then neither keeps: its lock is gone.
        let copied = |(at, op): (usize, &Op)| {
            let files = self.task(at).map(|task| task.files);
            files.filter(|_| matches!(op, Op::Unshare(flags) if flags.contains(Flags::FILES)))
        };
        // It opens a file, under a number that another task could take or copy meanwhile.
        let opens = |op: &Op| matches!(op, Op::Setns(..) | Op::Enter(..) | Op::Limit(..));
        let same_files = self.task(a.0).map(|task| task.files) == self.task(b.0).map(|task| task.files);
        let in_order = |first: (usize, &Op), then: (usize, &Op)| {
            let mut world = self.clone();
            if !self.enabled(first.0, first.1) {
                return None;
            }
            world.step(first.0, first.1);
            if !world.enabled(then.0, then.1) {
                return None;
            }
            world.step(then.0, then.1);
            Some(world)
        };
        let one_by_one = a.0 == b.0
            || !is_one_call(a.1)
            || !is_one_call(b.1)
            || (handed(a.1) && handed(b.1))
            || about(a.1, b.0)
            || about(b.1, a.0)
            || limited(a.0)
            || limited(b.0)
            || self.waits_for(a.0).is_some()
            || self.waits_for(b.0).is_some()
            || (same_files && (opens(a.1) || opens(b.1)))
            || (self.lock.is_some() && copied(a).is_some() && copied(a) == copied(b));
        if one_by_one {
            return false;
        }
        let (Some(one), Some(other)) = (in_order(a, b), in_order(b, a)) else { return false };
        let moves_mounts = |op: &Op| matches!(op, Op::Mount | Op::Unmount | Op::Propagate(_) | Op::Remount(_));
        !(moves_mounts(a.1) || moves_mounts(b.1)) || World::mounts_tell(&one, &other)
    }

    /// Whether all that differs of the mounts of two worlds is seen by tasks: none is out of sight, and what is there in
    /// both is locked in both or in neither.
    fn mounts_tell(one: &World, other: &World) -> bool {
        let sees_all = |world: &World| {
            let seen = |space| world.alive().any(|(_, task)| task.space(Ns::Mnt) == space && world.sees_base(task));
            world.trees().into_iter().all(|(space, _)| seen(space))
        };
        let child = |world: &World, at| world.tree(world.task(at)?.space(Ns::Mnt))?.child;
        let same_locks = (0..TASKS).all(|at| match (child(one, at), child(other, at)) {
            (Some(one), Some(other)) => one.locked == other.locked,
            _ => true,
        });
        sees_all(one) && sees_all(other) && same_locks
    }
}
