//! powerpc64, little-endian (Documentation/arch/powerpc/syscall64-abi.rst; arch/powerpc/kernel/signal_64.c).

use libc::ucontext_t;

use super::Compat;

/// AUDIT_ARCH_PPC64LE.
pub const AUDIT: u32 = 0xc000_0015;

/// The bits of a call's number: all.
pub const NUMBER_MASK: u32 = !0;

/// No program of this architecture makes calls of another.
pub const COMPAT: Option<Compat> = None;

/// The places of registers in `gp_regs` (asm/ptrace.h): the condition register, and why the kernel was entered.
const CCR: usize = 38;
const TRAP: usize = 40;
/// Of [`TRAP`]: the instruction `scv`, which leaves −errno as everywhere else.
const SCV: u64 = 0x3000;
/// The summary overflow of the first condition field: the instruction `sc` leaves errno, and this bit set.
const SUMMARY_OVERFLOW: u64 = 1 << 28;

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS.
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.gp_regs[3]
}

/// Has a trapped call return this: 0 or more, or −errno.
pub fn set_result(context: &mut ucontext_t, result: i64, _compat: bool) {
    let registers = &mut context.uc_mcontext.gp_regs;
    registers[3] = result as u64;
    if registers[TRAP] & !0xf != SCV {
        registers[CCR] &= !SUMMARY_OVERFLOW;
        if result < 0 {
            registers[3] = result.unsigned_abs();
            registers[CCR] |= SUMMARY_OVERFLOW;
        }
    }
}

/// System calls. Those of the crate `syscalls` promise the compiler that the call keeps the count register, XER and all
/// condition fields but the first, which it does not: a loop that counts in that register then ends elsewhere.
pub mod raw {
    /// The call of this number with these arguments. Gives its result, or −errno.
    ///
    /// # Safety
    /// As for the call.
    pub unsafe fn syscall6(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> usize {
        let result: usize;
        // SAFETY: the caller's. What the call may clobber is named.
        unsafe {
            std::arch::asm!(
                "sc",
                "bns+ 2f",
                "neg 3, 3",
                "2:",
                inlateout("r0") number => _,
                inlateout("r3") a => result,
                inlateout("r4") b => _,
                inlateout("r5") c => _,
                inlateout("r6") d => _,
                inlateout("r7") e => _,
                inlateout("r8") f => _,
                out("r9") _, out("r10") _, out("r11") _, out("r12") _,
                out("cr0") _, out("cr1") _, out("cr5") _, out("cr6") _, out("cr7") _, out("ctr") _, out("xer") _,
                options(nostack),
            );
        }
        result
    }

    /// The same without arguments.
    ///
    /// # Safety
    /// As for the call.
    pub unsafe fn syscall0(number: usize) -> usize {
        // SAFETY: the caller's.
        unsafe { syscall6(number, 0, 0, 0, 0, 0, 0) }
    }

    /// The same with one argument.
    ///
    /// # Safety
    /// As for the call.
    pub unsafe fn syscall1(number: usize, a: usize) -> usize {
        // SAFETY: the caller's.
        unsafe { syscall6(number, a, 0, 0, 0, 0, 0) }
    }

    /// The same with two arguments.
    ///
    /// # Safety
    /// As for the call.
    pub unsafe fn syscall2(number: usize, a: usize, b: usize) -> usize {
        // SAFETY: the caller's.
        unsafe { syscall6(number, a, b, 0, 0, 0, 0) }
    }
}

/// The call of this number with up to six arguments, each a number or a pointer: as `syscalls::syscall!`.
#[macro_export]
#[doc(hidden)]
macro_rules! raw_syscall {
    ($number:expr) => { $crate::raw_syscall!($number, 0) };
    ($number:expr, $a:expr) => { $crate::raw_syscall!($number, $a, 0) };
    ($number:expr, $a:expr, $b:expr) => { $crate::raw_syscall!($number, $a, $b, 0) };
    ($number:expr, $a:expr, $b:expr, $c:expr) => { $crate::raw_syscall!($number, $a, $b, $c, 0) };
    ($number:expr, $a:expr, $b:expr, $c:expr, $d:expr) => { $crate::raw_syscall!($number, $a, $b, $c, $d, 0) };
    ($number:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        $crate::raw_syscall!($number, $a, $b, $c, $d, $e, 0)
    };
    ($number:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr) => {
        ::syscalls::Errno::from_ret($crate::abi::raw::syscall6(
            $number as usize,
            $a as usize,
            $b as usize,
            $c as usize,
            $d as usize,
            $e as usize,
            $f as usize,
        ))
    };
}
pub use raw_syscall as syscall;

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i64;
    // SAFETY: the arguments live through the call. The child never leaves this block; the kernel may clobber r0, r3 to
    // r12, and what is named.
    unsafe {
        std::arch::asm!(
            "sc",
            "bns+ 2f",
            "neg 3, 3",
            "2:",
            "cmpdi 3, 0",
            "bne 4f",
            "li 0, {prctl}",
            "li 3, {pdeathsig}",
            "li 4, {sigkill}",
            "sc",
            "3:",
            "li 0, {ppoll}",
            "li 3, 0",
            "li 4, 0",
            "li 5, 0",
            "li 6, 0",
            "li 7, 0",
            "sc",
            "b 3b",
            "4:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            ppoll = const libc::SYS_ppoll,
            inlateout("r0") libc::SYS_clone3 => _,
            inlateout("r3") arguments.as_ptr() as i64 => result,
            inlateout("r4") size_of_val(arguments) => _,
            out("r5") _, out("r6") _, out("r7") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
            out("cr0") _, out("cr1") _, out("cr5") _, out("cr6") _, out("cr7") _, out("ctr") _, out("xer") _,
        );
    }
    result
}
