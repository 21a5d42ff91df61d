//! Memory that stays shared whatever becomes of an address space.

use std::io;

/// Maps a `T` of zeroes that the caller shares with every process forked from it later. The
/// mapping is never undone.
///
/// # Errors
/// As mmap(2).
///
/// # Safety
/// Zeroes must be a valid `T`.
pub unsafe fn map_zeroed<T: Sync>() -> io::Result<&'static T> {
    // SAFETY: a fresh anonymous mapping.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: by this function's own condition; a page is aligned for every type of ours.
    Ok(unsafe { &*address.cast() })
}
