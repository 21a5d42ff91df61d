//! What the kernel's interface has of each architecture's own: one file for each, with the same names in it.
//!
//! Everywhere else only calls are made that every architecture has (the generic table, `asm-generic/unistd.h`), no
//! code asks for the architecture, raw calls are made by [`syscall!`] and [`raw`], and unions and bit-fields of the kernel's pass through the wrappers of [`layout`]. A
//! test proves the first two (`suite/tests/portable.rs`).
//!
//! A new architecture is a new file here: its name for audit, where a trapped call has its argument and leaves its
//! result, and a child that needs no stack.

use syscalls::{Errno, Sysno};

pub mod layout;
pub mod number;

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "s390x",
    target_arch = "powerpc64"
)))]
compile_error!("this architecture has no file in harness/src/abi: write one, as its mod.rs says");

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "x86", path = "i386.rs")]
#[cfg_attr(target_arch = "arm", path = "arm.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "s390x", path = "s390x.rs")]
#[cfg_attr(target_arch = "powerpc64", path = "powerpc64.rs")]
mod native;

#[cfg(target_arch = "powerpc64")]
pub use native::{raw, syscall};
#[cfg(not(target_arch = "powerpc64"))]
pub use syscalls::{raw, syscall};

pub use native::{AUDIT, COMPAT, NUMBER_MASK, argument, set_result, sleeping_child};

/// An entry for the calls of another ABI than the program's, usable from the same process.
#[derive(Clone, Copy, Debug)]
pub struct Compat {
    /// How messages call it.
    pub name: &'static str,
    /// The architecture by which seccomp(2) and audit know its calls (linux/audit.h).
    pub audit: u32,
    /// The number of getpid(2) there, which tells whether a kernel has the entry at all.
    pub getpid: u32,
    /// Makes the call of this number. The second parameter is what the register of the first argument holds, of which
    /// the entry takes the lower half; four zeroes follow, and the sixth argument. Gives 0 or more, or −errno.
    ///
    /// # Safety
    /// As for the call. A kernel without the entry sends SIGSEGV.
    pub call: unsafe fn(number: u32, first: u64, sixth: u32) -> i32,
    /// The first argument of a call that was trapped there.
    pub argument: fn(&libc::ucontext_t) -> u64,
}

/// How a program of this architecture is called that runs on a kernel of another one, which `uname -m` says: by the
/// kernel's entry for 32-bit programs. None on a kernel of its own.
pub fn narrow_program(machine: &str) -> Option<&'static str> {
    match (std::env::consts::ARCH, machine) {
        ("x86", "x86_64") => Some("i386"),
        ("arm", "aarch64") => Some("armhf"),
        _ => None,
    }
}

/// clone(2) as fork(2): the child shares with the caller what `flags` name, and has a copy of its memory. Gives the
/// child's process ID; 0 in the child.
///
/// # Errors
/// As clone(2).
///
/// # Safety
/// `flags`, which include the signal at the child's end, must not hold CLONE_VM, CLONE_SETTLS or a flag that takes a
/// pointer. The child is as restricted as a signal handler if the caller's process has other threads.
pub unsafe fn fork(flags: u64) -> Result<usize, Errno> {
    // s390 has the stack before the flags (CONFIG_CLONE_BACKWARDS2).
    let [first, second] = if cfg!(target_arch = "s390x") { [0, flags] } else { [flags, 0] };
    // SAFETY: a null stack means a copy of the caller's; no pointers are passed.
    unsafe { syscall!(Sysno::clone, first, second, 0, 0, 0) }
}

/// semop(2), which some architectures have only as semtimedop(2) without a time limit.
///
/// # Errors
/// As semop(2).
pub fn semop(set: usize, operations: &mut [libc::sembuf]) -> Result<usize, Errno> {
    // SAFETY: the operations live through the call.
    unsafe { syscall!(number::semtimedop, set, operations.as_mut_ptr(), operations.len(), 0) }
}
