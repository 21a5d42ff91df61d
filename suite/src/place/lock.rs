//! Record locks.

use crate::spec::prelude::*;

/// A write lock on the whole file, by this command of fcntl(2).
///
/// # Errors
/// EAGAIN: somebody else has a lock on it. Else as fcntl(2).
pub fn write_lock((command, fd): (i32, i32)) -> Result<(), Errno> {
    // SAFETY: zeroes are a valid flock; the structure lives through the call.
    let result = unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        libc::fcntl(fd, command, &raw mut lock)
    };
    // Both errnos mean that somebody else has it (fcntl_locking(2)).
    match Errno::result(result) {
        Err(Errno::EACCES) => Err(Errno::EAGAIN),
        other => other.map(drop),
    }
}
