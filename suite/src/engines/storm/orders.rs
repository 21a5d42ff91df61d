//! What a task of the storm has to know before it starts: from then on nobody may allocate.

use super::*;

/// The orders of one task.
#[derive(Clone, Copy)]
pub struct Orders {
    /// The segment.
    pub segment: &'static Segment,
    /// Its number.
    pub number: usize,
    /// What it does.
    pub action: Action,
    /// What the tasks of the round do, in the order of their numbers.
    pub actions: &'static [Action],
    /// How many tasks of the round call unshare.
    pub unsharers: u32,
    /// The only CPU it runs on; none when it may run on all.
    pub cpu: Option<usize>,
    /// The umask that all begin with.
    pub umask: u32,
    /// A directory that this task mounts on and unmounts while it disturbs others.
    pub disturbed: &'static CStr,
    /// How it looks at itself.
    pub observer: Observer,
    /// The directory to mount something on, with a mount namespace of its own.
    pub directory: &'static CStr,
    /// The suite's own program, open.
    pub program: i32,
    /// The arguments of the program, ended by a null pointer.
    pub arguments: *const *const libc::c_char,
    /// A set of one semaphore that it takes one from, to be undone; negative for none.
    pub semaphores: i32,
}

// SAFETY: the pointers lead to memory that outlives every task.
unsafe impl Send for Orders {}

impl Orders {
    /// The task's own slot.
    pub(super) fn slot(&self) -> &'static Slot {
        &self.segment.slots[self.number]
    }

    /// The thread ID of the next task after turn `turn` that does what `wanted` says.
    pub(super) fn target(&self, turn: usize, wanted: impl Fn(Action) -> bool) -> Option<u32> {
        let count = self.actions.len();
        (0..count)
            .map(|step| (self.number + 1 + turn + step) % count)
            .filter(|other| *other != self.number && wanted(self.actions[*other]))
            .map(|other| &self.segment.slots[other])
            .find(|slot| slot.stage() >= Stage::Ready)
            .map(|slot| slot.tid.load(Ordering::Acquire))
    }
}
