//! Seccomp filters that this process was started under, and what they refuse.

use nix::errno::Errno;
use syscalls::Sysno;

use super::facts::status_field;

/// What the program cannot run without, or look by.
const RUNS_BY: &[Sysno] = &[
    // First: without it not even a report can be opened.
    Sysno::getrandom,
    Sysno::fcntl,
    Sysno::getdents64,
    Sysno::kill,
    Sysno::mkdirat,
    Sysno::openat,
    Sysno::pipe2,
    Sysno::prctl,
    Sysno::prlimit64,
    Sysno::readlinkat,
    Sysno::signalfd4,
    Sysno::socketpair,
    Sysno::statx,
    Sysno::umount2,
    Sysno::unlinkat,
    Sysno::wait4,
    Sysno::waitid,
];

/// Their forms that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD_FORMS: &[Sysno] = &[Sysno::mkdir, Sysno::open, Sysno::readlink, Sysno::rmdir, Sysno::unlink];
#[cfg(not(target_arch = "x86_64"))]
const OLD_FORMS: &[Sysno] = &[];

/// Whether a seccomp filter is attached to this process.
pub fn has_filter() -> bool {
    status_field("Seccomp").as_deref() == Some("2")
}

/// What a call gives for arguments that no kernel accepts: not EPERM, EACCES or ENOSYS, unless a filter or a missing
/// capability answers. It must be one that returns, and that does nothing with such arguments.
///
/// # Errors
/// What the call gives.
pub fn answer_to_nonsense(number: Sysno) -> Result<(), Errno> {
    const NONSENSE: usize = usize::MAX;
    // With all bits set this one makes a queue: without, it looks for one that is not there.
    let second = if number == Sysno::msgget { 0 } else { NONSENSE };
    // SAFETY: no address is valid, and no number or descriptor either.
    let result = unsafe { syscalls::syscall!(number, NONSENSE, second, NONSENSE, NONSENSE, NONSENSE, NONSENSE) };
    result.map(drop).map_err(|errno| Errno::from_raw(errno.into_raw()))
}

/// The call that a filter refuses and that nothing runs without.
pub fn refused_to_all() -> Option<Sysno> {
    has_filter().then_some(())?;
    let refusals = [Errno::EPERM, Errno::EACCES, Errno::ENOSYS];
    let refused = |number: &&Sysno| answer_to_nonsense(**number).is_err_and(|errno| refusals.contains(&errno));
    RUNS_BY.iter().chain(OLD_FORMS).find(refused).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_as_such() {
        // As a process without a filter asks.
        if !has_filter() {
            for number in RUNS_BY.iter().chain(OLD_FORMS).chain(&[Sysno::msgget, Sysno::semget, Sysno::shmget]) {
                let answer = answer_to_nonsense(*number);
                assert!(
                    matches!(answer, Err(Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOENT)),
                    "{number}: {answer:?}"
                );
            }
        }
    }
}
