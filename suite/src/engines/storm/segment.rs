//! The shared memory segment: the futexes that start a round, and what each task leaves there.

use super::*;
use crate::place::clock::nanoseconds;
use crate::tasks::shm::map_kept;

/// Room for the largest storm.
pub const MOST_TASKS: usize = fds::STORM_TASKS as usize;

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// It has not been made, or has not run yet.
    None,
    /// It waits for the round to begin.
    Ready,
    /// It has begun.
    Acting,
    /// Its call has returned and it has left what it saw.
    Done,
    /// It has looked again after everybody was done.
    Settled,
    /// The program it executed runs.
    Executed,
}

const STAGES: [Stage; 6] = [Stage::None, Stage::Ready, Stage::Acting, Stage::Done, Stage::Settled, Stage::Executed];

/// What a task looks like from its own side at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Its state; without the list of descriptors, which others may be changing.
    pub state: State,
    /// The directory that tasks with a mount namespace of their own mount something on.
    pub directory: Place,
    /// Which of the tasks' traces are open descriptors here, one bit each.
    pub traces: u64,
}

/// What one task leaves.
#[repr(C)]
pub struct Slot {
    stage: AtomicU32,
    /// What unshare returned; for execve, what it failed with.
    pub result: AtomicI64,
    /// Its thread ID.
    pub tid: AtomicU32,
    /// Nanoseconds of CLOCK_MONOTONIC when its call began.
    pub began: AtomicU64,
    /// … and when it had returned.
    pub ended: AtomicU64,
    /// How many threads the executed program has.
    pub threads: AtomicU32,
    /// Whether leaving the traces worked: −errno of the first step that did not.
    pub leaving: AtomicI64,
    /// One for each [`Which`].
    views: [UnsafeCell<View>; 3],
}

impl Slot {
    /// How far the task has come.
    pub fn stage(&self) -> Stage {
        STAGES.get(self.stage.load(Ordering::Acquire) as usize).copied().unwrap_or(Stage::None)
    }

    /// Says how far the task has come.
    pub fn reach(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::Release);
    }

    /// Leaves a view; the stage that follows publishes it.
    pub fn leave(&self, which: Which, view: View) {
        // SAFETY: only the slot's own task writes, before the stage that lets others read.
        unsafe { *self.views[which as usize].get() = view };
    }

    /// A view that was left.
    pub fn view(&self, which: Which) -> View {
        // SAFETY: read after the stage that published it; plain data, any bit pattern is valid.
        unsafe { *self.views[which as usize].get() }
    }
}

/// Which of a task's looks at itself.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// Before the round began.
    Before,
    /// Right after its call.
    After,
    /// When all tasks had done their calls and left their traces.
    Settled,
}

/// The segment. Mapped shared from a memory file, so that an executed program can map it again.
#[repr(C)]
pub struct Segment {
    /// 0 until the round begins.
    pub go: Word,
    /// 0 until all calls are done and tasks shall look again.
    pub settle: Word,
    /// 0 until tasks shall end.
    pub end: Word,
    /// Raised whenever a task reaches a stage.
    pub progress: Word,
    /// How many tasks have been woken and are running.
    pub awake: AtomicU32,
    /// 1 while a task waits for another to act at the same time.
    pub waiting: AtomicU32,
    /// How many unshare calls have returned.
    pub returned: AtomicU32,
    /// One for each task; the last one is the starter's own.
    pub slots: [Slot; MOST_TASKS],
}

// SAFETY: atomics, and views that are published through the stages.
unsafe impl Sync for Segment {}

impl Segment {
    /// Makes one. Its descriptor, [`fds::SEGMENT`], survives execve.
    #[track_caller]
    pub fn make(t: &Test) -> Done<&'static Segment> {
        // SAFETY: zeroes are a valid segment.
        unsafe { map_kept(t, c"storm", fds::SEGMENT) }
    }

    /// Forgets the last round.
    pub fn clear(&'static self) {
        // SAFETY: all tasks of the last round are gone; zeroes are a valid segment.
        unsafe { std::ptr::from_ref(self).cast_mut().write_bytes(0, 1) };
    }

    /// Says that a task has reached a stage.
    pub fn reach(&self, slot: &Slot, stage: Stage) {
        slot.reach(stage);
        self.progress.advance();
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC).map_or(0, |now| now as u64)
}
