//! File descriptors by number: which numbers the suite keeps for itself, and what it does with them.
//!
//! A table can be shared, and open(2) takes whatever number is free; so whatever one task opens for another to
//! find has a number of its own. Nothing here writes errno.
//!
//! Cases that leave no [`Trace`](crate::sharing::probe::Trace) take further numbers, each for itself alone:
//! `races.files` 30 to 33 and from 40 on, `interactions.close_range` 40, 100 and 120, or all up to 510, `atomicity.state.descriptors` 100
//! and 101, `separation.files` 31 to 256 and 150 to 152, `separation.files_copy` 50 and 1000,
//! `separation.files_memory` up to 300, `allocations` 1000, `walks` 20 to 25, 58 to 60, 70 and 300.

use crate::spec::prelude::*;

/// `/proc` of an [`Observer`](super::Observer). It and all below fit into a table of 64 descriptors, which is the
/// smallest that a case leaves (`fs.nr_open`).
pub const OBSERVER: i32 = 63;
/// The memory file of a storm, for the programs that its tasks execute.
pub const SEGMENT: i32 = 62;
/// `fail-nth` of a caller whose allocations fail.
pub const FAIL_NTH: i32 = 61;
/// The first that [`Trace`](crate::sharing::probe::Trace)s of cases and their siblings open.
pub const TRACE: i32 = 30;
/// How many of them there are.
pub const TRACES: u32 = 26;
/// How many tasks a storm may have.
pub const STORM_TASKS: i32 = 64;
/// The first that tasks of a storm open as their trace, one for each.
pub const STORM_TRACE: i32 = 100;
/// Beyond the limit of a case that lowers `fs.nr_open`, and above all that is opened without a number.
pub const HIGH: i32 = 200;
/// The first that tasks of a storm open and close to disturb others, [`STORM_OWN_EACH`] for each.
pub const STORM_OWN: i32 = 300;
/// How many each has.
pub const STORM_OWN_EACH: i32 = 4;

/// The error of a raw system call as an [`Errno`].
pub fn errno(error: syscalls::Errno) -> Errno {
    Errno::from_raw(error.into_raw())
}

/// Whether a number names an open descriptor.
pub fn is_open(fd: i32) -> bool {
    flags(fd).is_some()
}

/// The flags of an open descriptor (F_GETFD).
pub fn flags(fd: i32) -> Option<u32> {
    call!(fcntl, fd, libc::F_GETFD).ok().map(|flags| flags as u32)
}

/// Device and inode of what a number names.
///
/// # Errors
/// As fstat(2).
pub fn file_of(fd: i32) -> Result<(u64, u64), Errno> {
    // SAFETY: used for one call; a number that is not open gives EBADF.
    identity(rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(fd) }))
}

/// Device and inode of what a path leads to.
///
/// # Errors
/// As stat(2).
pub fn file_at(path: &str) -> Result<(u64, u64), Errno> {
    identity(rustix::fs::stat(path))
}

/// Those of the C library have 32 bits on some architectures.
fn identity(stat: rustix::io::Result<rustix::fs::Stat>) -> Result<(u64, u64), Errno> {
    stat.map(|stat| (stat.st_dev as u64, stat.st_ino as u64)).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Makes a number another name of an open descriptor: dup3(2) with these flags (0 or O_CLOEXEC).
///
/// # Errors
/// As dup3(2).
pub fn dup_to(fd: i32, number: i32, flags: i32) -> Result<(), Errno> {
    call!(dup3, fd, number, flags).map(drop).map_err(errno)
}

/// Closes a number; that it is not open is no error.
pub fn close(fd: i32) {
    let _ = call!(close, fd);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_kept_twice() {
        let kept = [
            0..3,
            TRACE..TRACE + TRACES as i32,
            FAIL_NTH..FAIL_NTH + 1,
            SEGMENT..SEGMENT + 1,
            OBSERVER..OBSERVER + 1,
            STORM_TRACE..STORM_TRACE + STORM_TASKS,
            HIGH..HIGH + 1,
            STORM_OWN..STORM_OWN + STORM_OWN_EACH * STORM_TASKS,
        ];
        assert!(kept.windows(2).all(|pair| pair[0].end <= pair[1].start), "{kept:?}");
    }
}
