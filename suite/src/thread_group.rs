//! Further threads of the calling process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use harness::prelude::*;

/// A thread that does nothing until it is told to end.
#[derive(Debug)]
pub struct IdleThread {
    end: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

impl IdleThread {
    /// Starts one and waits until the kernel counts it.
    ///
    /// # Errors
    /// The thread cannot be made: the case is broken.
    #[track_caller]
    pub fn start(t: &Test) -> Done<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&end);
        let spawned = std::thread::Builder::new().spawn(move || {
            while !told.load(Ordering::Acquire) {
                std::thread::park();
            }
        });
        let handle = t.setup(Call::io("pthread_create()", spawned))?;
        Ok(Self {
            end,
            handle: Some(handle),
        })
    }

    /// Tells the thread to end, and joins it.
    ///
    /// pthread_join returns when the kernel clears the thread's TID, which is a moment before the
    /// thread leaves its group: wait with [`wait_until_alone`] where that matters.
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(handle) = self.handle.take() {
            handle.thread().unpark();
            let _ = handle.join();
        }
    }
}

impl Drop for IdleThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How many threads the kernel counts in the caller's process.
pub fn count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count())
}

/// Waits until the caller is the only thread of its process: a thread that ended is counted until
/// the kernel has released it. A kernel that never does is found by the case's deadline.
pub fn wait_until_alone() {
    while count() > 1 {
        std::thread::yield_now();
    }
}
