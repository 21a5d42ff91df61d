//! The smallest kernel that shows whether a machine runs one: it comes up as Linux does, and says one line.
//!
//! QEMU's firmware (real mode) enters it through its PVH note in 32-bit mode. It makes page tables, goes to long mode,
//! returns from an exception, waits with interrupts on for the timer's, and writes [`LINE`] to the first serial port.
//!
//! There is one of x86-64 alone.

macro_rules! line {
    () => {
        "unshare-conformance: this machine runs"
    };
}

/// What it writes.
pub const LINE: &str = line!();

/// Where it is loaded, and entered.
#[cfg(target_arch = "x86_64")]
const ADDRESS: u32 = 0x10_0000;

// Its own addresses are distances from its start: it does not run where it lies in this program.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    r#"
    .pushsection .rodata.trial_kernel, "a"
    .set TRIAL_AT, 0x100000
    .set TRIAL_TABLES, 0x200000
    .set TRIAL_IDT, TRIAL_TABLES + 0x3000
    .globl unshare_conformance_trial, unshare_conformance_trial_end
unshare_conformance_trial:
    .code32
.Ltrial: cli
    cld
    mov $TRIAL_TABLES, %edi
    mov $0x1000, %ecx
    xor %eax, %eax
    rep stosl
    # The first 4 MiB, by pages of 2 MiB, where they are.
    movl $(TRIAL_TABLES + 0x1003), TRIAL_TABLES
    movl $(TRIAL_TABLES + 0x2003), TRIAL_TABLES + 0x1000
    movl $0x83, TRIAL_TABLES + 0x2000
    movl $0x200083, TRIAL_TABLES + 0x2008
    mov $TRIAL_TABLES, %eax
    mov %eax, %cr3
    # CR4.PAE, EFER.LME, CR0.PG and PE.
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    lgdt .Ltrial_gdtr - .Ltrial + TRIAL_AT
    ljmp $8, $(.Ltrial_long - .Ltrial + TRIAL_AT)
    .code64
.Ltrial_long:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $(TRIAL_IDT + 0x1000), %esp
    # Gates 3 (int3) and 32 (the timer).
    mov $(.Ltrial_gate - .Ltrial + 0x80000), %eax
    mov $0x108e00, %edx
    mov %eax, TRIAL_IDT + 3 * 16
    mov %edx, TRIAL_IDT + 3 * 16 + 4
    mov %eax, TRIAL_IDT + 32 * 16
    mov %edx, TRIAL_IDT + 32 * 16 + 4
    lidt .Ltrial_idtr(%rip)
    xor %ebx, %ebx
    int3
    # The interrupt controller: vectors from 32 on, all masked but the timer's.
    mov $0x11, %al
    out %al, $0x20
    .irp value, 32, 4, 1, 0xfe
    mov $\value, %al
    out %al, $0x21
    .endr
    # The timer: 291 times a second.
    mov $0x34, %al
    out %al, $0x43
    xor %eax, %eax
    out %al, $0x40
    mov $0x10, %al
    out %al, $0x40
    sti
1:  hlt
    cmp $2, %ebx
    jb 1b
    cli
    lea .Ltrial_line(%rip), %rsi
    mov $0x3f8, %edx
2:  lodsb
    test %al, %al
    jz 3f
    out %al, %dx
    jmp 2b
3:  hlt
    jmp 3b
.Ltrial_gate:
    inc %ebx
    iretq
.Ltrial_line:"#,
    concat!(".asciz \"", line!(), "\\n\""),
    r#"
    .p2align 3
.Ltrial_gdt: .quad 0, 0x00af9b000000ffff
.Ltrial_gdtr: .word 15
    .long .Ltrial_gdt - .Ltrial + TRIAL_AT
.Ltrial_idtr: .word 0xfff
    .quad TRIAL_IDT
unshare_conformance_trial_end:
    .popsection"#,
    options(att_syntax)
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    static unshare_conformance_trial: u8;
    static unshare_conformance_trial_end: u8;
}

/// The image: an ELF file that [`crate::kernel::Kernel::open`] takes for a vmlinux. None on a machine of another
/// architecture, where no kernel of this one runs under KVM.
pub fn image() -> Option<Vec<u8>> {
    #[cfg(not(target_arch = "x86_64"))]
    return None;
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the assembler puts the second symbol at the end of what begins at the first.
        let code = unsafe {
            let (start, end) = (&raw const unshare_conformance_trial, &raw const unshare_conformance_trial_end);
            std::slice::from_raw_parts(start, end.addr() - start.addr())
        };
        let note = [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), ADDRESS].map(u32::to_le_bytes).concat();
        Some(super::elf::executable(62, 0xffff_ffff_8000_0000 + u64::from(ADDRESS), code, Some(&note)))
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::kernel::{Kernel, Kind};

    #[test]
    fn it_is_a_kernel_that_qemu_enters() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), image().expect("one of x86-64")).expect("written");
        let kernel = Kernel::open(file.path()).expect("a kernel");
        assert_eq!((kernel.kind(), kernel.image.pvh_entry), (Kind::Vmlinux, Some(ADDRESS)));
    }
}
