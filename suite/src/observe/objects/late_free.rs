//! What the kernel frees in its own time, freed now.
//!
//! What is freed by kfree_rcu() each processor collects, for five seconds, and for five more while what
//! came before still waits; only a page full of it is seen to at once (mm/slab_common.c:
//! KFREE_DRAIN_JIFFIES, KVFREE_BULK_MAX_ENTR). For someone who counts the kernel's objects they are
//! leaked until then, five seconds' worth of them.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};
use nix::unistd::{Pid, pipe};

/// More than a page of pointers.
const MORE_THAN_A_PAGE: u32 = 600;

/// Has every processor that the task may use free what it has collected: gives it more than a page full of
/// other things to free. It works where the kernel frees what epoll watches in the same way (6.18 does);
/// elsewhere it only takes its 2 ms.
///
/// # Errors
/// What the kernel said to a step of it.
pub fn hurry() -> Result<(), Errno> {
    let myself = Pid::from_raw(0);
    let allowed = sched_getaffinity(myself)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let (watched, _other_end) = pipe()?;
    for cpu in 0..CpuSet::count() {
        if !allowed.is_set(cpu)? {
            continue;
        }
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(myself, &only)?;
        for _ in 0..MORE_THAN_A_PAGE {
            epoll.add(&watched, EpollEvent::empty())?;
            epoll.delete(&watched)?;
        }
    }
    sched_setaffinity(myself, &allowed)
}
