//! Further threads of the calling process.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::spec::prelude::*;

/// A thread that does nothing until its end.
#[derive(Debug)]
pub struct IdleThread {
    tid: i32,
    /// It ends when this is dropped.
    life: Option<Sender<()>>,
    handle: Option<JoinHandle<()>>,
}

impl IdleThread {
    /// Starts one and waits until the kernel counts it.
    #[track_caller]
    pub fn start(t: &Test) -> Done<Self> {
        let (life, ended) = channel();
        let (send, receive) = channel();
        let spawned = std::thread::Builder::new().spawn(move || {
            let _ = send.send(gettid().as_raw());
            let _ = ended.recv();
        });
        let handle = t.setup(Call::io("pthread_create()", spawned))?;
        let tid = receive.recv().expect("the thread sends its ID before all else");
        Ok(Self { tid, life: Some(life), handle: Some(handle) })
    }

    /// Its thread ID.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Tells the thread to end, and joins it.
    ///
    /// pthread_join returns when the kernel clears the thread's TID, which is a moment before the
    /// thread leaves its group: wait with [`wait_until_alone`] where that matters.
    pub fn end(self) {}
}

impl Drop for IdleThread {
    fn drop(&mut self) {
        self.life = None;
        let _ = self.handle.take().map(JoinHandle::join);
    }
}

/// A thread that has ended and was not joined: of its process it has left, of the C library's view
/// it has not.
#[derive(Debug)]
pub struct FinishedThread {
    _handle: JoinHandle<()>,
}

impl FinishedThread {
    /// Starts one and waits until the caller is alone again.
    #[track_caller]
    pub fn start(t: &Test) -> Done<Self> {
        let spawned = std::thread::Builder::new().spawn(|| ());
        let _handle = t.setup(Call::io("pthread_create()", spawned))?;
        wait_until_alone();
        Ok(Self { _handle })
    }
}

/// Runs `body` in a second thread while the caller waits for it.
///
/// # Errors
/// The body was stopped; or the thread cannot be made, and the case is broken.
#[track_caller]
pub fn in_second_thread(t: &Test, body: impl FnOnce() -> Done + Send) -> Done {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().spawn_scoped(scope, || {
            t.name_task("second thread");
            body()
        });
        let handle = t.setup(Call::io("pthread_create()", spawned))?;
        match handle.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Goes on with `body` in a second thread after the first, the leader of the thread group, has
/// ended, and ends the process as a task does. For the body of a [`Task`].
#[track_caller]
pub fn without_leader(t: &Test, body: impl FnOnce() -> Done + Send) -> Done {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().spawn_scoped(scope, || {
            t.end_task(|| {
                t.name_task("thread whose leader is gone");
                wait_until_leader_is_gone();
                body()
            })
        });
        t.setup(Call::io("pthread_create()", spawned))?;
        // SAFETY: ends this thread alone. What the other borrows from this stack stays: the kernel
        // does not unmap the stack of a thread that ends.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        unreachable!("a thread that has ended")
    })
}

/// Waits until the leader of the caller's thread group is a zombie.
fn wait_until_leader_is_gone() {
    // The leader's, also for a process that has another ID in this /proc than in its own PID namespace.
    let path = "/proc/self/stat";
    // The state follows the command, which is in parentheses and may hold anything.
    yield_until(|| {
        fs::read_to_string(path).is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
    });
}

/// The threads of the caller's process, but for the caller.
pub fn others() -> Vec<i32> {
    let caller = gettid().as_raw();
    fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|tid| *tid != caller)
        .collect()
}

/// How many threads the kernel counts in the caller's process.
pub fn count() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count())
}

/// Waits for a condition and leaves the processor to others meanwhile.
pub fn yield_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

/// Waits until the caller is the only thread of its process: a thread that ended is counted until
/// the kernel has released it. A kernel that never does is found by the case's deadline.
pub fn wait_until_alone() {
    yield_until(|| count() <= 1);
}
