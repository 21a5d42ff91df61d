//! The system call under test, raw: no C library truncates its argument (RULE-01), and no errno is
//! written, which tasks that share memory would share too.

use crate::spec::prelude::*;

/// unshare(2) by the program's own entry. Gives what the kernel left in the register: 0, or −errno.
///
/// The second argument, which the call does not have, is a copy of the first, for machines on which a trapped call has
/// lost that ([`abi::argument`]).
pub fn unshare_raw(flags: Flags) -> i64 {
    // SAFETY: unshare(2) takes a number. What it may do to the caller is the caller's wish.
    let result = unsafe { abi::raw::syscall2(Sysno::unshare as usize, flags.0 as usize, flags.0 as usize) };
    noted(flags, result as isize as i64)
}

/// Words that calls set aside for [`refused`](crate::place::refused): flags that got ENOSPC, any other errno, and
/// those with which a user namespace was made.
pub const FULL: usize = 0;
/// See [`FULL`].
pub const REFUSED: usize = 1;
/// See [`FULL`].
pub const MADE_USER: usize = 2;

fn noted(flags: Flags, result: i64) -> i64 {
    let word = match result {
        0.. if flags.contains(Flags::NEWUSER) => MADE_USER,
        // Nothing to set aside: sweeps and storms make many.
        0.. => return result,
        _ if result == -i64::from(libc::ENOSPC) => FULL,
        _ => REFUSED,
    };
    harness::run::record::set_aside(word, flags.0);
    result
}

/// unshare(2)'s number by the kernel's own entry, written out here instead of taken from a header (FLAG-50, FLAG-52).
/// The architectures have Rust's names; those that are not listed share the table of arm64, riscv, loongarch and all
/// newer ones.
pub fn number() -> i64 {
    const NUMBERS: [(&str, i64); 5] = [("x86_64", 272), ("x86", 310), ("arm", 337), ("s390x", 303), ("powerpc64", 282)];
    let own = NUMBERS.iter().find(|(architecture, _)| *architecture == std::env::consts::ARCH);
    own.map_or(97, |(_, number)| *number)
}

/// The call with this number, with `flags` as its only argument.
pub fn by_number(number: i64, flags: Flags) -> Call<()> {
    // SAFETY: the caller means unshare(2), which takes a number.
    let result = unsafe { abi::raw::syscall2(number as usize, flags.0 as usize, flags.0 as usize) };
    Call::zero_on_success(format!("syscall({number}, {flags})"), noted(flags, result as isize as i64))
}

/// unshare(2) by the program's own entry, as a call that can be judged.
pub fn unshare(flags: Flags) -> Call<()> {
    Call::zero_on_success(format!("unshare({flags})"), unshare_raw(flags))
}

/// The number of unshare(2) by the 32-bit entry of x86.
pub(crate) const UNSHARE_IA32: u32 = 310;

/// unshare(2) by the 32-bit entry of x86 (int 0x80, number 310) with this in its register, of which that takes the
/// lower half (FLAG-44, FLAG-53). ENOSYS where programs have no such entry; cases that need it are skipped there.
pub fn unshare_ia32(register: Flags) -> Call<()> {
    let text = format!("unshare({register}) by int 0x80");
    // SAFETY: unshare(2) takes a number.
    let result = abi::COMPAT.map_or(-libc::ENOSYS, |compat| unsafe { (compat.call)(UNSHARE_IA32, register.0, 0) });
    Call::zero_on_success(text, noted(Flags(u64::from(register.0 as u32)), result.into()))
}
