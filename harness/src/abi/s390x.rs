//! s390x (arch/s390/kernel/syscall.c, signal.c).

use libc::ucontext_t;

use super::Compat;

/// AUDIT_ARCH_S390X.
pub const AUDIT: u32 = 0x8000_0016;

/// The bits of a call's number: all.
pub const NUMBER_MASK: u32 = !0;

/// No program of this architecture makes calls of another.
pub const COMPAT: Option<Compat> = None;

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS: the copy of it that the
/// caller has put in the place of the second. The first itself is −ENOSYS by then (do_syscall() in
/// arch/s390/kernel/syscall.c, after syscall_rollback()).
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.gregs[3]
}

/// Has a trapped call return this: 0 or more, or −errno.
pub fn set_result(context: &mut ucontext_t, result: i64, _compat: bool) {
    context.uc_mcontext.gregs[2] = result as u64;
}

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i64;
    // SAFETY: the arguments live through the call. The child never leaves this block; the kernel keeps all registers
    // but r2.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "ltgr %r2, %r2",
            "jne 3f",
            "lghi %r1, {prctl}",
            "lghi %r2, {pdeathsig}",
            "lghi %r3, {sigkill}",
            "svc 0",
            "2:",
            "lghi %r1, {ppoll}",
            "lghi %r2, 0",
            "lghi %r3, 0",
            "lghi %r4, 0",
            "lghi %r5, 0",
            "lghi %r6, 0",
            "svc 0",
            "j 2b",
            "3:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            ppoll = const libc::SYS_ppoll,
            in("r1") libc::SYS_clone3,
            inlateout("r2") arguments.as_ptr() as i64 => result,
            in("r3") size_of_val(arguments),
        );
    }
    result
}
