//! Replaces kernel code of the guest through QEMU's fw_cfg device.
//!
//! The device copies what it holds to any physical address (docs/specs/fw_cfg of QEMU, "DMA interface"),
//! and it holds the guest's initramfs, which has every byte somewhere. Root may use its ports, may learn
//! where the kernel's code lies, and so may put any byte there.

use std::arch::asm;
use std::os::unix::fs::FileExt;

use super::Patch;
use crate::prelude::*;

const SELECTOR_PORT: u64 = 0x510;
const PORTS: u64 = 12;
const ADDRESS_PORTS: [u16; 2] = [0x514, 0x518];
const INITRD_DATA: u32 = 0x12;
const ERROR: u32 = 1;
const READ: u32 = 2;
const SKIP: u32 = 4;
const SELECT: u32 = 8;

const PAGE: usize = 4096;
/// How much of the initramfs is looked through for every byte.
const SEARCHED: usize = 256 * PAGE;

/// The system call that is replaced: no case makes it, and its code is long enough.
const VICTIM: &str = "__x64_sys_ptrace";

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// Replaces the victim's code and calls it.
pub fn execute(patch: Patch) -> io::Result<()> {
    let symbols = Symbols::read()?;
    let (start, size) = symbols.extent(VICTIM)?;
    let code = code(patch, start, &symbols)?;
    if code.len() > size {
        return Err(other(format!("{VICTIM} has {size} bytes, and {} are needed", code.len())));
    }
    let physical = kernel_code()? + (start - symbols.address("_text")?);
    let mut device = Device::open()?;
    device.write(physical, &code)?;
    // SAFETY: whatever the kernel does now is what was asked for.
    unsafe { libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0) };
    Ok(())
}

fn code(patch: Patch, start: u64, symbols: &Symbols) -> io::Result<Vec<u8>> {
    // endbr64: where indirect branches may lead.
    let mut code = vec![0xf3, 0x0f, 0x1e, 0xfa];
    match patch {
        // xor eax, eax; mov [rax], eax; ret
        Patch::Oops => code.extend([0x31, 0xc0, 0x89, 0x00, 0xc3]),
        // cli; jmp to itself
        Patch::Stop => code.extend([0xfa, 0xeb, 0xfe]),
        // __warn(file, line, caller, taint, registers, arguments)
        Patch::Warn => {
            code.extend([0x48, 0x83, 0xec, 0x08]); // sub rsp, 8
            code.extend([0x48, 0xbf]); // mov rdi, file
            let file = code.len();
            code.extend([0; 8]);
            code.extend([0xbe, 1, 0, 0, 0]); // mov esi, 1
            code.extend([0x48, 0xba]); // mov rdx, start
            code.extend(start.to_le_bytes());
            code.extend([0xb9, 9, 0, 0, 0]); // mov ecx, TAINT_WARN
            code.extend([0x45, 0x31, 0xc0]); // xor r8d, r8d
            code.extend([0x45, 0x31, 0xc9]); // xor r9d, r9d
            code.extend([0x48, 0xb8]); // mov rax, __warn
            code.extend(symbols.address("__warn")?.to_le_bytes());
            code.extend([0xff, 0xd0]); // call rax
            code.extend([0x48, 0x83, 0xc4, 0x08]); // add rsp, 8
            code.push(0xc3); // ret
            let text = start + code.len() as u64;
            code[file..file + 8].copy_from_slice(&text.to_le_bytes());
            code.extend_from_slice(b"guest-fault\0");
        }
    }
    Ok(code)
}

/// Where the kernel's code begins in physical memory.
fn kernel_code() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/iomem")?;
    text.lines()
        .find(|line| line.trim_end().ends_with(": Kernel code"))
        .and_then(|line| u64::from_str_radix(line.trim_start().split('-').next()?, 16).ok())
        .filter(|&address| address != 0)
        .ok_or_else(|| other("/proc/iomem does not say where the kernel's code is"))
}

/// The kernel's symbols, by address.
struct Symbols(Vec<(u64, String)>);

impl Symbols {
    fn read() -> io::Result<Self> {
        let _ = std::fs::write("/proc/sys/kernel/kptr_restrict", "0");
        let text = std::fs::read_to_string("/proc/kallsyms")?;
        let mut symbols: Vec<(u64, String)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                Some((address, words.nth(1)?.to_owned()))
            })
            .collect();
        symbols.sort();
        Ok(Self(symbols))
    }

    fn address(&self, name: &str) -> io::Result<u64> {
        self.0
            .iter()
            .find(|(address, symbol)| symbol == name && *address != 0)
            .map(|(address, _)| *address)
            .ok_or_else(|| other(format!("/proc/kallsyms has no {name}")))
    }

    /// Address and size.
    fn extent(&self, name: &str) -> io::Result<(u64, usize)> {
        let start = self.address(name)?;
        let after = self.0.iter().find(|(address, _)| *address > start);
        let size = after.map_or(0, |(address, _)| address - start);
        Ok((start, usize::try_from(size).unwrap_or(0)))
    }
}

/// The device, with a page for requests and one for answers.
struct Device {
    pages: *mut u8,
    physical: [u64; 2],
    /// Where in the initramfs each byte is.
    bytes: [Option<u32>; 256],
}

impl Device {
    fn open() -> io::Result<Self> {
        // SAFETY: takes numbers; gives this process the device's ports.
        Errno::result(unsafe { libc::ioperm(SELECTOR_PORT, PORTS, 1) })?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED | libc::MAP_POPULATE;
        // SAFETY: a fresh mapping of two pages, which stay where they are in memory.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, protection, flags, -1, 0) };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut device = Device {
            pages: pages.cast(),
            physical: [physical(pages as u64)?, physical(pages as u64 + PAGE as u64)?],
            bytes: [None; 256],
        };
        for offset in (0..SEARCHED).step_by(PAGE) {
            let mut page = [0; PAGE];
            device.read(offset as u32, device.physical[1], PAGE as u32)?;
            // SAFETY: the second page is ours and PAGE bytes long.
            unsafe { device.pages.add(PAGE).copy_to_nonoverlapping(page.as_mut_ptr(), PAGE) };
            for (at, &byte) in page.iter().enumerate() {
                device.bytes[usize::from(byte)].get_or_insert((offset + at) as u32);
            }
        }
        Ok(device)
    }

    /// Puts bytes at a physical address.
    fn write(&mut self, physical: u64, bytes: &[u8]) -> io::Result<()> {
        for (at, &byte) in bytes.iter().enumerate() {
            let offset =
                self.bytes[usize::from(byte)].ok_or_else(|| other(format!("no byte {byte:#x} in the initramfs")))?;
            self.read(offset, physical + at as u64, 1)?;
        }
        Ok(())
    }

    /// Copies from this offset of the initramfs to a physical address.
    fn read(&mut self, offset: u32, to: u64, length: u32) -> io::Result<()> {
        self.request((INITRD_DATA << 16) | SELECT | SKIP, offset, 0)?;
        self.request(READ, length, to)
    }

    fn request(&mut self, control: u32, length: u32, address: u64) -> io::Result<()> {
        let mut request = Vec::new();
        request.extend(control.to_be_bytes());
        request.extend(length.to_be_bytes());
        request.extend(address.to_be_bytes());
        // SAFETY: the first page is ours and longer than a request.
        unsafe {
            self.pages.copy_from_nonoverlapping(request.as_ptr(), request.len());
        }
        let place = self.physical[0];
        // The second write starts the copy, which is done when it returns.
        for (port, half) in ADDRESS_PORTS.into_iter().zip([(place >> 32) as u32, place as u32]) {
            // SAFETY: the ports are this process's; the device changes what the request names.
            unsafe { asm!("out dx, eax", in("dx") port, in("eax") half.to_be(), options(nostack)) };
        }
        // SAFETY: as above; the device has written there.
        let answer = u32::from_be(unsafe { self.pages.cast::<u32>().read_volatile() });
        if answer == 0 {
            return Ok(());
        }
        Err(other(if answer & ERROR != 0 { "fw_cfg refused a copy" } else { "there is no fw_cfg device" }))
    }
}

/// Where a page of this process lies in physical memory.
fn physical(address: u64) -> io::Result<u64> {
    let pagemap = File::open("/proc/self/pagemap")?;
    let mut entry = [0; 8];
    pagemap.read_exact_at(&mut entry, address / PAGE as u64 * 8)?;
    let frame = u64::from_le_bytes(entry) & ((1 << 55) - 1);
    if frame == 0 {
        return Err(other("/proc/self/pagemap does not say where memory is"));
    }
    Ok(frame * PAGE as u64 + address % PAGE as u64)
}
