//! A call that was taken from the kernel, and how it is made after all.

use std::sync::atomic::{AtomicU32, AtomicU64};

use harness::abi::syscall;
use syscalls::{Errno, Sysno};

use crate::call::raw::UNSHARE_IA32;
use crate::spec::prelude::{abi, call};

/// The sixth argument of a call that the filter lets through. The call itself has none.
pub(super) const MAGIC: u32 = 0x5ee_f001;

/// What all tasks of a case know of its fault.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Ledger {
    /// Calls trapped so far.
    pub(super) calls: AtomicU32,
    /// Calls that have not returned yet.
    pub(super) under_way: AtomicU32,
    /// The inode of the case's root directory.
    pub(super) root: AtomicU64,
}

/// The entry by which the kernel was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The program's own, by this number: with the bit of x32 if that was given.
    Native(u32),
    /// That of another ABI, such as `int 0x80`.
    Compat,
}

/// A call that the filter has trapped.
#[derive(Debug)]
pub(super) struct Trapped<'a> {
    /// Its argument.
    pub(super) flags: u64,
    /// How it came in.
    pub(super) entry: Entry,
    pub(super) ledger: &'a Ledger,
    /// The signal mask that the task goes on with.
    pub(super) mask: &'a mut u64,
}

impl Trapped<'_> {
    /// Makes the call after all, with these flags. Returns what the kernel leaves in the register.
    pub(super) fn issue(&self, flags: u64) -> i64 {
        issue(self.entry, flags)
    }
}

/// The header of capget(2) and capset(2), and the caller's sets.
pub(super) fn capabilities() -> Result<([u32; 2], [u32; 6]), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let (header, mut sets) = ([VERSION_3, 0], [0; 6]);
    call!(capget, header.as_ptr(), sets.as_mut_ptr())?;
    Ok((header, sets))
}

/// The inode of the caller's root directory; 0 if it cannot be read.
pub(super) fn root_inode() -> u64 {
    // SAFETY: zeroes are valid; the structure lives through the call.
    unsafe {
        let mut stat: libc::statx = std::mem::zeroed();
        let found = syscall!(Sysno::statx, libc::AT_FDCWD, c"/".as_ptr(), 0, libc::STATX_INO, &raw mut stat);
        found.map_or(0, |_| stat.stx_ino)
    }
}

/// Makes the call by this entry, past the filter. Gives what the kernel leaves in the register.
pub(super) fn issue(entry: Entry, flags: u64) -> i64 {
    match (entry, abi::COMPAT) {
        // SAFETY: unshare(2) takes a number. What it does to the caller is what that asked for.
        (Entry::Native(number), _) => unsafe {
            abi::raw::syscall6(number as usize, flags as usize, 0, 0, 0, 0, MAGIC as usize) as isize as i64
        },
        // SAFETY: as above; the call came in by this entry, so that the kernel has it.
        (Entry::Compat, Some(compat)) => unsafe { (compat.call)(UNSHARE_IA32, flags, MAGIC).into() },
        (Entry::Compat, None) => -i64::from(libc::ENOSYS),
    }
}
