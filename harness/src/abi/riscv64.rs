//! riscv64 (arch/riscv/kernel/traps.c, signal.c).

use libc::ucontext_t;

use super::Compat;

/// AUDIT_ARCH_RISCV64.
pub const AUDIT: u32 = 0xc000_00f3;

/// Where `struct user_regs_struct` has a0.
const A0: usize = 10;

/// The bits of a call's number: all.
pub const NUMBER_MASK: u32 = !0;

/// No program of this architecture makes calls of another.
pub const COMPAT: Option<Compat> = None;

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS.
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.__gregs[A0]
}

/// Has a trapped call return this: 0 or more, or −errno.
pub fn set_result(context: &mut ucontext_t, result: i64, _compat: bool) {
    context.uc_mcontext.__gregs[A0] = result as u64;
}

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i64;
    // SAFETY: the arguments live through the call. The child never leaves this block; the kernel keeps all registers
    // but a0.
    unsafe {
        std::arch::asm!(
            "ecall",
            "bnez a0, 3f",
            "li a7, {prctl}",
            "li a0, {pdeathsig}",
            "li a1, {sigkill}",
            "ecall",
            "2:",
            "li a0, 0",
            "li a1, 0",
            "li a2, 0",
            "li a3, 0",
            "li a4, 0",
            "li a7, {ppoll}",
            "ecall",
            "j 2b",
            "3:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            ppoll = const libc::SYS_ppoll,
            in("a7") libc::SYS_clone3,
            inlateout("a0") arguments.as_ptr() as i64 => result,
            in("a1") size_of_val(arguments),
        );
    }
    result
}
