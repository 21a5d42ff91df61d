//! 32-bit x86 (arch/x86/entry, arch/x86/kernel/signal_32.c).

use libc::{REG_EAX, REG_EBX, ucontext_t};

use super::Compat;

/// AUDIT_ARCH_I386.
pub const AUDIT: u32 = 0x4000_0003;

/// The bits of a call's number: all.
pub const NUMBER_MASK: u32 = !0;

/// A 32-bit program makes every call by `int 0x80`, or as the kernel's own page for it does.
pub const COMPAT: Option<Compat> = None;

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS.
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.gregs[REG_EBX as usize] as u32 as u64
}

/// Has a trapped call return this: 0 or more, or −errno.
pub fn set_result(context: &mut ucontext_t, result: i64, _compat: bool) {
    context.uc_mcontext.gregs[REG_EAX as usize] = result as i32;
}

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i32;
    // SAFETY: the arguments live through the call. The child never leaves this block; the kernel keeps all registers
    // but eax.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            "test eax, eax",
            "jnz 3f",
            "mov eax, {prctl}",
            "mov ebx, {pdeathsig}",
            "mov ecx, {sigkill}",
            "int 0x80",
            "2:",
            "mov eax, {pause}",
            "int 0x80",
            "jmp 2b",
            "3:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            pause = const libc::SYS_pause,
            inlateout("eax") libc::SYS_clone3 => result,
            in("ebx") arguments.as_ptr(),
            in("ecx") size_of_val(arguments),
        );
    }
    result.into()
}
