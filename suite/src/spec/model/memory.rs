//! What unshare(2) may give when an allocation that it makes fails (FI rows).

use harness::place::facts::Version;
use nix::errno::Errno;

use super::with_implied;
use crate::spec::flags::Flags;

/// Since then a new user namespace takes a record of what its user has in it (ERR-40).
const USERS_RECORD_SINCE: Version = Version(5, 14, 0);

/// The error numbers that a call may give for want of memory; none when it may give any (FI-11).
pub fn without_memory(flags: Flags, version: Version) -> Option<Vec<Errno>> {
    let all = with_implied(flags);
    // What makes up a network namespace fails in many ways.
    if all.contains(Flags::NEWNET) {
        return None;
    }
    let mut errors = vec![Errno::ENOMEM];
    if all.contains(Flags::NEWUSER) {
        if version >= USERS_RECORD_SINCE {
            errors.push(Errno::EAGAIN);
        }
        // The first namespace counted in the new user namespace takes a record to count in (ERR-41).
        if all.intersects(Flags::PRIVILEGED) {
            errors.push(Errno::ENOSPC);
        }
    }
    Some(errors)
}

/// Whether one of the failing allocations of CLONE_NEWUSER must give EAGAIN (ERR-40, FI-09).
pub fn gives_eagain(version: Version) -> bool {
    version >= USERS_RECORD_SINCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_call_has_its_errors() {
        let errors = |flags| without_memory(flags, Version(7, 3, 4));
        assert_eq!(errors(Flags::FS), Some(vec![Errno::ENOMEM]));
        assert_eq!(errors(Flags::NEWUSER), Some(vec![Errno::ENOMEM, Errno::EAGAIN]));
        assert_eq!(errors(Flags::NEWUSER | Flags::NEWNS), Some(vec![Errno::ENOMEM, Errno::EAGAIN, Errno::ENOSPC]));
        assert_eq!(errors(Flags::NEWNET | Flags::NEWUSER), None);
        let old = without_memory(Flags::NEWUSER, Version(5, 10, 0));
        assert_eq!(old, Some(vec![Errno::ENOMEM]));
    }
}
