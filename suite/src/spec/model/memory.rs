//! What unshare(2) may give when an allocation that it makes fails (FI rows).

use nix::errno::Errno;

use super::with_implied;
use crate::spec::flags::Flags;

/// The error numbers that a call may give for want of memory; none when it may give any (FI-11). `users_record`: a new
/// user namespace needs a record of what its user has in it, for want of which the call gives EAGAIN (ERR-40).
pub fn without_memory(flags: Flags, users_record: bool) -> Option<Vec<Errno>> {
    let all = with_implied(flags);
    // What makes up a network namespace fails in many ways.
    if all.contains(Flags::NEWNET) {
        return None;
    }
    let mut errors = vec![Errno::ENOMEM];
    if all.contains(Flags::NEWUSER) {
        if users_record {
            errors.push(Errno::EAGAIN);
        }
        // The first namespace counted in the new user namespace takes a record to count in (ERR-41).
        if all.intersects(Flags::PRIVILEGED) {
            errors.push(Errno::ENOSPC);
        }
    }
    Some(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_call_has_its_errors() {
        let errors = |flags| without_memory(flags, true);
        assert_eq!(errors(Flags::FS), Some(vec![Errno::ENOMEM]));
        assert_eq!(errors(Flags::NEWUSER), Some(vec![Errno::ENOMEM, Errno::EAGAIN]));
        assert_eq!(errors(Flags::NEWUSER | Flags::NEWNS), Some(vec![Errno::ENOMEM, Errno::EAGAIN, Errno::ENOSPC]));
        assert_eq!(errors(Flags::NEWNET | Flags::NEWUSER), None);
        let old = without_memory(Flags::NEWUSER, false);
        assert_eq!(old, Some(vec![Errno::ENOMEM]));
    }
}
