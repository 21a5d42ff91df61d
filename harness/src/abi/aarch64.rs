//! arm64 (arch/arm64/kernel/entry.S, signal.c).

use libc::ucontext_t;

use super::Compat;

/// AUDIT_ARCH_AARCH64.
pub const AUDIT: u32 = 0xc000_00b7;

/// The bits of a call's number: all.
pub const NUMBER_MASK: u32 = !0;

/// No program of this architecture makes calls of another.
pub const COMPAT: Option<Compat> = None;

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS.
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.regs[0]
}

/// Has a trapped call return this: 0 or more, or −errno.
pub fn set_result(context: &mut ucontext_t, result: i64, _compat: bool) {
    context.uc_mcontext.regs[0] = result as u64;
}

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i64;
    // SAFETY: the arguments live through the call. The child never leaves this block; the kernel keeps all registers
    // but x0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 3f",
            "mov x8, {prctl}",
            "mov x0, {pdeathsig}",
            "mov x1, {sigkill}",
            "svc 0",
            "2:",
            "mov x0, 0",
            "mov x1, 0",
            "mov x2, 0",
            "mov x3, 0",
            "mov x4, 0",
            "mov x8, {ppoll}",
            "svc 0",
            "b 2b",
            "3:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            ppoll = const libc::SYS_ppoll,
            in("x8") libc::SYS_clone3,
            inlateout("x0") arguments.as_ptr() as i64 => result,
            in("x1") size_of_val(arguments),
        );
    }
    result
}
