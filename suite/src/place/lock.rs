//! Record locks.

use crate::spec::prelude::*;

/// Asks for a lock of the whole file, or about it, by a raw call: for tasks that share what the C library keeps in its
/// memory. Gives the kind that fcntl(2) leaves in the structure.
///
/// # Errors
/// As fcntl(2).
pub fn raw_lock(fd: i32, command: i32, kind: i32) -> Result<i32, syscalls::Errno> {
    // SAFETY: zeroes are a valid lock, of the whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    call!(fcntl, fd, command, &raw mut lock)?;
    Ok(lock.l_type.into())
}

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
