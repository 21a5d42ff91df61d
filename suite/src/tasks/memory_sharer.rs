//! A task that shares the caller's memory and shows it: what the caller writes into ordinary
//! memory, it reads there, and the other way round.
//!
//! The two ring for each other through a mapping that stays shared whatever happens, so a kernel
//! that gave the caller a copy of its memory is found by what is read, not by a hang.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futex::{Futex, Shared};
use harness::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::spec::flags::Flags;
use crate::tasks::vm;

/// How long to wait for the other task before looking whether it is still alive.
const PATIENCE: Duration = Duration::from_millis(200);

/// In a MAP_SHARED mapping.
#[repr(C)]
struct Bell {
    asked: Futex<Shared>,
    answered: Futex<Shared>,
    /// What the task read in ordinary memory.
    heard: AtomicU64,
}

/// In the caller's ordinary memory.
#[derive(Debug, Default)]
struct Slate {
    question: AtomicU64,
    answer: AtomicU64,
}

struct Sharing {
    bell: &'static Bell,
    slate: Slate,
}

/// A process made by clone(CLONE_VM) and more. Killed and reaped when dropped.
pub struct MemorySharer {
    pid: Pid,
    sharing: &'static Sharing,
}

impl std::fmt::Debug for MemorySharer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySharer({})", self.pid)
    }
}

/// What came of one exchange through ordinary memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Whether the other task read what the caller wrote.
    pub heard: bool,
    /// Whether the caller read what the other task wrote.
    pub answered: bool,
}

/// Raw memory and futexes only: the task uses the caller's thread-local storage.
extern "C" fn answer(sharing: *mut c_void) -> c_int {
    // SAFETY: the argument is leaked.
    let sharing = unsafe { &*sharing.cast::<Sharing>() };
    let bell = sharing.bell;
    let mut done = 0;
    loop {
        while bell.asked.value.load(Ordering::Acquire) == done {
            let _ = bell.asked.wait(done);
        }
        done += 1;
        let question = sharing.slate.question.load(Ordering::Acquire);
        bell.heard.store(question, Ordering::Release);
        sharing.slate.answer.store(!question, Ordering::Release);
        bell.answered.value.store(done, Ordering::Release);
        bell.answered.wake(1);
    }
}

fn map_bell() -> Result<&'static Bell, Errno> {
    // SAFETY: a fresh anonymous mapping.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Bell>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: zeroes are a valid bell, and the mapping is never undone.
    Ok(unsafe { &*address.cast() })
}

impl MemorySharer {
    /// Starts a task that shares the caller's memory and what else `flags` (of clone(2)) name.
    ///
    /// # Errors
    /// It cannot be made: the case is broken.
    #[track_caller]
    pub fn start(t: &Test, flags: Flags) -> Done<Self> {
        let bell = t.setup(Call::new("mmap(MAP_SHARED)", map_bell()))?;
        let slate = Slate::default();
        let sharing: &'static Sharing = Box::leak(Box::new(Sharing { bell, slate }));
        let argument = std::ptr::from_ref(sharing).cast_mut().cast();
        // SAFETY: the argument is leaked; the body keeps to the rules of such tasks.
        let pid = unsafe { vm::start(t, flags | Flags::VM, answer, argument)? };
        Ok(Self { pid, sharing })
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Checks that caller and task share their memory, in both directions.
    ///
    /// # Errors
    /// They do not: a failed check is on record.
    #[track_caller]
    pub fn check_shared(&self, t: &Test, when: &str, requirement: &'static str) -> Done {
        let exchange = self.exchange(t)?;
        let text = format!("memory shared with a CLONE_VM process, {when}");
        t.check(Call::seen(text, exchange)).proves(requirement).is(Exchange { heard: true, answered: true })
    }

    #[track_caller]
    fn exchange(&self, t: &Test) -> Done<Exchange> {
        let Sharing { bell, slate } = self.sharing;
        let round = bell.asked.value.load(Ordering::Acquire) + 1;
        let question = 0x5eed_0000 + u64::from(round);
        slate.question.store(question, Ordering::Release);
        bell.asked.value.store(round, Ordering::Release);
        bell.asked.wake(1);
        loop {
            let answered = bell.answered.value.load(Ordering::Acquire);
            if answered == round {
                break;
            }
            let _ = bell.answered.wait_for(answered, PATIENCE);
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
            if !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive)) {
                return Err(t.broken("exchange with a CLONE_VM process", "it is gone"));
            }
        }
        Ok(Exchange {
            heard: bell.heard.load(Ordering::Acquire) == question,
            answered: slate.answer.load(Ordering::Acquire) == !question,
        })
    }
}

impl Drop for MemorySharer {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
    }
}
