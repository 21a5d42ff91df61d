//! Shared memory segments of System V.

use crate::spec::prelude::*;

/// The setting of an IPC namespace by which segments go with the last task that has attached them.
pub const RMID_FORCED: &str = "/proc/sys/kernel/shm_rmid_forced";

/// Turns that setting on.
pub fn force_removal() -> Call<()> {
    Call::io("write(1) to shm_rmid_forced", fs::write(RMID_FORCED, "1"))
}

/// A new segment that has no key and nobody attaches.
///
/// # Errors
/// As shmget(2).
pub fn new_segment((): ()) -> Result<i32, Errno> {
    // SAFETY: shmget takes numbers.
    Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600) })
}

/// Whether a segment is there: the number of its attachments.
///
/// # Errors
/// As shmctl(2).
pub fn attachments(id: i32) -> Result<u64, Errno> {
    // SAFETY: zeroes are valid; the structure lives through the call.
    unsafe {
        let mut data: libc::shmid_ds = std::mem::zeroed();
        Errno::result(libc::shmctl(id, libc::IPC_STAT, &raw mut data)).map(|_| data.shm_nattch as u64)
    }
}

/// How many segments there are in the calling task's IPC namespace.
///
/// # Errors
/// /proc/sysvipc/shm cannot be read.
pub fn count((): ()) -> Result<usize, Errno> {
    fs::read_to_string("/proc/sysvipc/shm").map(|text| text.lines().count() - 1).map_err(errno_of)
}
