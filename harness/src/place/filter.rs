//! Seccomp filters that this process was started under, and what they refuse.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use syscalls::Sysno;

use super::facts::status_field;
use crate::case::task::fork_sharing;
use crate::common::*;

/// Errors that filters answer with.
pub const REFUSALS: [Errno; 3] = [Errno::EPERM, Errno::EACCES, Errno::ENOSYS];

/// System calls that the runner itself needs, by name: an architecture may lack some.
const RUNS_BY: &str = "getrandom fcntl getdents64 kill mkdir mkdirat open openat pipe2 prctl prlimit64 readlink \
     readlinkat rmdir signalfd4 socketpair statx unlink unlinkat wait4 waitid";

/// Refusals that the standard library has another way for.
const BYPASSED: [(&str, Errno); 3] =
    [("getrandom", Errno::EPERM), ("getrandom", Errno::ENOSYS), ("statx", Errno::ENOSYS)];

/// Whether a seccomp filter is attached to this process.
pub fn has_filter() -> bool {
    status_field("Seccomp").as_deref() == Some("2")
}

/// Calls it with invalid arguments: the kernel answers neither EPERM, EACCES nor ENOSYS, unless it looks at the caller's
/// privilege first. It must be a call that returns, and that does nothing with such arguments.
fn answer_to_nonsense(number: Sysno) -> Result<(), Errno> {
    const NONSENSE: usize = usize::MAX;
    // With all bits set this one makes a queue: without, it looks for one that is not there.
    let second = if number == Sysno::msgget { 0 } else { NONSENSE };
    // SAFETY: no address is valid, and no number or descriptor either.
    let result = unsafe { crate::abi::syscall!(number, NONSENSE, second, NONSENSE, NONSENSE, NONSENSE, NONSENSE) };
    result.map(drop).map_err(|errno| Errno::from_raw(errno.into_raw()))
}

/// What a call gives for invalid arguments in a child, which stands for all that it does to its caller. A child that a
/// filter kills counts as refused with EPERM.
///
/// # Errors
/// What the call gives.
pub fn answer_in_child(number: Sysno) -> Result<(), Errno> {
    // SAFETY: no CLONE_VM; the process is single-threaded.
    let child = unsafe { fork_sharing(0) }?;
    if child.as_raw() == 0 {
        exit_now(answer_to_nonsense(number).err().map_or(0, |errno| errno as i32));
    }
    match waitpid(child, Some(WaitPidFlag::__WALL))? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
        _ => Err(Errno::EPERM),
    }
}

/// The call that a filter refuses and that nothing runs without.
pub fn refused_to_all() -> Option<Sysno> {
    has_filter().then(|| RUNS_BY.split_whitespace().filter_map(|name| name.parse().ok()).find(is_fatal))?
}

/// getrandom(2), if a filter refuses it so that not even a report can be opened.
pub fn refused_randomness() -> Option<Sysno> {
    has_filter().then_some(Sysno::getrandom).filter(is_fatal)
}

/// Whether a filter refuses this call with an error that the runner has no other way for.
fn is_fatal(number: &Sysno) -> bool {
    let errno = answer_in_child(*number).err().filter(|errno| REFUSALS.contains(errno));
    errno.is_some_and(|errno| !BYPASSED.contains(&(number.name(), errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_as_such() {
        // As a process without a filter asks.
        if !has_filter() {
            let names =
                RUNS_BY.split_whitespace().chain(["msgget", "semget", "shmget", "setns", "mount", "chroot", "clone3"]);
            for number in names.filter_map(|name| name.parse().ok()) {
                let answer = answer_in_child(number);
                assert!(answer.is_err_and(|errno| !REFUSALS.contains(&errno)), "{number}: {answer:?}");
            }
        }
    }
}
