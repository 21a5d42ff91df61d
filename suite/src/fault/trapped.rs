//! A call that was taken from the kernel, and how it is made after all.

use std::sync::atomic::{AtomicU32, AtomicU64};

use syscalls::{Errno, Sysno, syscall};

use crate::spec::prelude::call;

/// The sixth argument of a call that the filter lets through. The call itself has none.
pub(super) const MAGIC: u32 = 0x5ee_f001;
/// The number of the 32-bit entry.
pub(super) const UNSHARE_IA32: u32 = 310;

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
    /// `syscall`, by this number: 272, or that with the bit of x32.
    Syscall(u32),
    /// `int 0x80`.
    Ia32,
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
        let mut stat: libc::stat = std::mem::zeroed();
        syscall!(Sysno::stat, c"/".as_ptr(), &raw mut stat).map_or(0, |_| stat.st_ino)
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn issue(_: Entry, _: u64) -> i64 {
    -i64::from(libc::ENOSYS)
}

#[cfg(target_arch = "x86_64")]
pub(super) fn issue(entry: Entry, flags: u64) -> i64 {
    match entry {
        // SAFETY: unshare(2) takes a number. What it does to the caller is what that asked for.
        Entry::Syscall(number) => unsafe {
            syscalls::raw::syscall6(number as usize, flags as usize, 0, 0, 0, 0, MAGIC as usize) as i64
        },
        Entry::Ia32 => {
            let result: u64;
            // SAFETY: as above. LLVM reserves rbx and rbp; the 32-bit entry may clobber r8 to r11, and takes its sixth
            // argument from ebp.
            unsafe {
                std::arch::asm!(
                    "push rbp",
                    "xchg rbx, {argument}",
                    "mov ebp, {magic:e}",
                    "int 0x80",
                    "xchg rbx, {argument}",
                    "pop rbp",
                    argument = inout(reg) flags & 0xffff_ffff => _,
                    magic = in(reg) MAGIC,
                    inlateout("rax") u64::from(UNSHARE_IA32) => result,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            i64::from(result as u32 as i32)
        }
    }
}
