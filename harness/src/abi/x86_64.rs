//! x86-64 (arch/x86/entry).

use libc::{REG_RAX, REG_RBX, REG_RDI, ucontext_t};

use super::Compat;

/// AUDIT_ARCH_X86_64.
pub const AUDIT: u32 = 0xc000_003e;

/// The bits of a call's number without the one that selects x32, an ABI of the same table (asm/unistd.h).
pub const NUMBER_MASK: u32 = !0x4000_0000;

/// `int 0x80`, the entry of i386.
pub const COMPAT: Option<Compat> = Some(Compat {
    name: "int 0x80",
    // AUDIT_ARCH_I386.
    audit: 0x4000_0003,
    getpid: 20,
    call: int_0x80,
    argument: |context| context.uc_mcontext.gregs[REG_RBX as usize] as u32 as u64,
});

unsafe fn int_0x80(number: u32, first: u64, sixth: u32) -> i32 {
    let result: u64;
    // SAFETY: the caller's. LLVM reserves rbx and rbp; the entry may clobber r8 to r11, and takes its sixth argument
    // from ebp.
    unsafe {
        std::arch::asm!(
            "push rbp",
            "mov ebp, r13d",
            "xchg rbx, r12",
            "int 0x80",
            "xchg rbx, r12",
            "pop rbp",
            inout("r12") first => _,
            in("r13") sixth,
            inlateout("rax") u64::from(number) => result,
            in("rcx") 0, in("rdx") 0, in("rsi") 0, in("rdi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result as u32 as i32
}

/// The first argument of a call that a seccomp filter has trapped, in the handler of SIGSYS.
pub fn argument(context: &ucontext_t) -> u64 {
    context.uc_mcontext.gregs[REG_RDI as usize] as u64
}

/// Has a trapped call return this: 0 or more, or −errno. By the compatible entry only 32 bits of it.
pub fn set_result(context: &mut ucontext_t, result: i64, compat: bool) {
    context.uc_mcontext.gregs[REG_RAX as usize] = if compat { i64::from(result as u32) } else { result };
}

/// clone3(2) with the first eight words of `struct clone_args`, for a child that shares the caller's memory: it never
/// touches that memory, not even a stack, sleeps, and dies with the caller's thread. Gives its process ID, or −errno.
pub fn sleeping_child(arguments: &[u64; 8]) -> i64 {
    let result: i64;
    // SAFETY: the arguments live through the call. The child never leaves this block; r8 and above are the kernel's to
    // keep.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 3f",
            "mov eax, {prctl}",
            "mov edi, {pdeathsig}",
            "mov esi, {sigkill}",
            "syscall",
            "2:",
            "mov eax, {pause}",
            "syscall",
            "jmp 2b",
            "3:",
            prctl = const libc::SYS_prctl,
            pdeathsig = const libc::PR_SET_PDEATHSIG,
            sigkill = const libc::SIGKILL,
            pause = const libc::SYS_pause,
            inlateout("rax") libc::SYS_clone3 => result,
            inlateout("rdi") arguments.as_ptr() => _,
            inlateout("rsi") size_of_val(arguments) => _,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}
