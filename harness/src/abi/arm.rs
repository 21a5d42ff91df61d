//! 32-bit ARM, EABI (arch/arm/kernel/entry-common.S, signal.c).

use libc::ucontext_t;

use super::Compat;

/// AUDIT_ARCH_ARM.
pub const AUDIT: u32 = 0x4000_0028;

/// The bits of a call's number: all.
pub const NUMBER_MASK: u32 = !0;

/// No program of this architecture makes calls of another.
pub const COMPAT: Option<Compat> = None;

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS.
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.arm_r0.into()
}

/// Has a trapped call return this: 0 or more, or −errno.
pub fn set_result(context: &mut ucontext_t, result: i64, _compat: bool) {
    context.uc_mcontext.arm_r0 = result as u32;
}

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i32;
    // SAFETY: the arguments live through the call. The child never leaves this block; the kernel keeps all registers
    // but r0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cmp r0, #0",
            "bne 3f",
            "mov r7, #{prctl}",
            "mov r0, #{pdeathsig}",
            "mov r1, #{sigkill}",
            "svc 0",
            "2:",
            "mov r7, #{pause}",
            "svc 0",
            "b 2b",
            "3:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            pause = const libc::SYS_pause,
            in("r7") libc::SYS_clone3,
            inlateout("r0") arguments.as_ptr() as i32 => result,
            in("r1") size_of_val(arguments),
        );
    }
    result.into()
}
