//! Where tasks meet to begin together, and the words that they exchange.

use crate::spec::prelude::*;
use crate::tasks::shm::map_zeroed;

/// How many words a barrier has for the tasks to exchange.
pub const WORDS: usize = 1024;

/// Where the tasks of a race meet. It lies in memory that stays shared whatever a task leaves.
#[repr(C)]
pub struct Barrier {
    arrived: AtomicU32,
    finished: AtomicU32,
    over: AtomicU32,
    /// What tasks leave for each other and for the judge.
    pub words: [AtomicU64; WORDS],
}

/// How often a waiting task looks before it yields: who yields comes late.
const LOOKS: u32 = 2000;

/// Whether a counter gets this value while a task looks at it without a pause.
fn look_for(counter: &AtomicU32, value: u32) -> bool {
    (0..LOOKS).any(|_| {
        std::hint::spin_loop();
        counter.load(Ordering::Acquire) >= value
    })
}

/// Waits until a counter has this value, to go on at once. It yields in the end: there may be one
/// processor.
fn wait_for(counter: &AtomicU32, value: u32) {
    while !look_for(counter, value) {
        std::thread::yield_now();
    }
}

/// The same where nothing is lost by coming late: it leaves the processor to those it waits for.
fn wait_calmly_for(counter: &AtomicU32, value: u32) {
    if look_for(counter, value) {
        return;
    }
    while counter.load(Ordering::Acquire) < value {
        // Without the C library: tasks of a race may share memory, and with it errno.
        let _ = sleep(100_000);
    }
}

impl Barrier {
    /// Makes one, for all rounds of a case.
    #[track_caller]
    pub fn new(t: &Test) -> Done<&'static Barrier> {
        // SAFETY: zeroes are a valid barrier.
        t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed() }))
    }

    /// Makes it as new, when no task uses it.
    pub fn clear(&self) {
        self.set_counters(0);
        for word in &self.words {
            word.store(0, Ordering::Release);
        }
    }

    /// Waits until this many tasks are here, and then for as long as `delay` says.
    pub fn start(&self, tasks: u32, delay: u32) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        wait_for(&self.arrived, tasks);
        for _ in 0..delay {
            std::hint::spin_loop();
        }
    }

    /// Says that the calling task has done its part.
    pub fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until this many tasks have done their part.
    pub fn wait_until_finished(&self, tasks: u32) {
        wait_calmly_for(&self.finished, tasks);
    }

    /// Whether this many tasks have done their part.
    pub fn is_finished(&self, tasks: u32) -> bool {
        self.finished.load(Ordering::Acquire) >= tasks
    }

    /// Ends the race: tasks that go round in circles stop, tasks that hold something let go.
    pub fn end(&self) {
        self.over.store(1, Ordering::Release);
    }

    /// Starts a task of the race, which shares with the caller what `sharing` names. If it is stopped
    /// by a check that failed, nobody waits for it any more.
    #[track_caller]
    pub fn spawn(&self, t: &Test, name: &str, sharing: Flags, body: impl FnOnce(&Test) -> Done) -> Done<Task> {
        t.spawn_sharing(name, sharing.0, |t| {
            let done = body(t);
            if done.is_err() {
                // Lets all go on who wait, whatever for.
                self.set_counters(u32::MAX / 2);
            }
            done
        })
    }

    fn set_counters(&self, value: u32) {
        for counter in [&self.arrived, &self.finished, &self.over] {
            counter.store(value, Ordering::Release);
        }
    }

    /// Whether the race has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) != 0
    }

    /// Waits until the race has ended.
    pub fn wait_until_over(&self) {
        wait_calmly_for(&self.over, 1);
    }

    /// Sets a word.
    pub fn put(&self, at: usize, value: u64) {
        self.words[at].store(value, Ordering::Release);
    }

    /// Reads a word.
    pub fn get(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Acquire)
    }
}
