//! Resource limits in 64 bits on every architecture (prlimit(2)). getrlimit(2) of 32-bit ones gives 32.

use crate::common::*;

/// The soft and the hard limit of the calling process. `u64::MAX` is none.
///
/// # Errors
/// As prlimit(2).
pub fn getrlimit(resource: Resource) -> Result<(u64, u64), Errno> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call; no new limit is given.
    Errno::result(unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft and the hard limit of the calling process.
///
/// # Errors
/// As prlimit(2).
pub fn setrlimit(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure lives through the call; the old limit is not asked for.
    Errno::result(unsafe { libc::prlimit64(0, resource as _, &raw const limit, std::ptr::null_mut()) }).map(drop)
}
