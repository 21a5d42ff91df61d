//! The formats of kernel images, told apart by their first bytes and looked into for the release.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Kernel, KernelError, Kind, PayloadExtent, not_a_kernel, unreadable};
use crate::elf::{PT_LOAD, bytes, elf_architecture, pvh_entry, read_segment, read_up_to, segments, u16_at, u32_at};
use crate::kconfig::{Configuration, UML_MARKER};

/// Bytes of the start of a file that tell its format; the boot protocol header ends well before.
pub(super) const HEAD: usize = 4096;
/// The end of the boot protocol's fields used here (`payload_length`).
const BOOT_HEADER_END: usize = 0x250;

pub(super) fn open_image(path: &Path) -> Result<Kernel, KernelError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    let length = file.seek(SeekFrom::End(0)).map_err(|error| unreadable(path, error))?;
    if length == 0 {
        return Err(KernelError::Empty(path.to_owned()));
    }
    let mut head = vec![0; HEAD.min(usize::try_from(length).unwrap_or(HEAD))];
    file.read_exact_at(&mut head, 0).map_err(|error| unreadable(path, error))?;

    if head.starts_with(b"\x7fELF") {
        return open_elf(path, &file, length, &head);
    }
    // Other architectures first: their EFI-capable images begin with the same two letters as a bzImage.
    if let Some(architecture) = other_architecture(&head) {
        return Err(KernelError::OtherArchitecture { path: path.to_owned(), architecture: architecture.into() });
    }
    if bytes(&head, 0x202) == Some(*b"HdrS") {
        return open_bzimage(path, &file, length, &head);
    }
    if head.starts_with(b"MZ") && head.len() < BOOT_HEADER_END {
        let expected = BOOT_HEADER_END as u64;
        return Err(KernelError::Truncated { path: path.to_owned(), expected, found: length });
    }
    Err(not_a_kernel(path, describe(&head)))
}

/// The architecture of a raw kernel image that is not x86's.
fn other_architecture(head: &[u8]) -> Option<&'static str> {
    if bytes(head, 56) == Some(*b"ARM\x64") {
        return Some("arm64");
    }
    if bytes(head, 56) == Some(*b"RSC\x05") {
        return Some("riscv");
    }
    if u32_at(head, 0x24) == Some(0x016f_2818) {
        return Some("32-bit arm");
    }
    // An EFI image that decompresses itself; no x86 kernel is built as one.
    if bytes(head, 4) == Some(*b"zimg") {
        return Some("another architecture than x86 (an EFI zboot image)");
    }
    None
}

/// A guess at what a file is, with its article, for the sentence that says it is no kernel.
pub(super) fn describe(head: &[u8]) -> &'static str {
    let magics: [(&[u8], &str); 10] = [
        (b"MZ", "a PE (EFI) program without a Linux boot header"),
        (b"\x1f\x8b", "a gzip file (unpack it first)"),
        (b"\xfd7zXZ", "an xz file (unpack it first)"),
        (b"\x28\xb5\x2f\xfd", "a zstd file (unpack it first)"),
        (b"\x02\x21\x4c\x18", "an lz4 file (unpack it first)"),
        (b"BZh", "a bzip2 file (unpack it first)"),
        (b"!<arch>", "an archive (a Debian package or a library)"),
        (b"070701", "an initramfs"),
        (b"QFI\xfb", "a disk image"),
        (b"#!", "a script"),
    ];
    if let Some((_, what)) = magics.iter().find(|(magic, _)| head.starts_with(magic)) {
        return what;
    }
    if std::str::from_utf8(head).is_ok_and(|text| !text.contains('\0')) {
        "a text file"
    } else {
        "a file of unknown format"
    }
}

fn open_bzimage(path: &Path, file: &File, length: u64, head: &[u8]) -> Result<Kernel, KernelError> {
    let truncated = |expected: u64| KernelError::Truncated { path: path.to_owned(), expected, found: length };
    let bad = |why| KernelError::BadHeader { path: path.to_owned(), why };
    if head.len() < BOOT_HEADER_END {
        return Err(truncated(BOOT_HEADER_END as u64));
    }
    // All of these lie below BOOT_HEADER_END.
    let version = u16_at(head, 0x206).unwrap_or(0);
    if version < 0x0208 {
        return Err(bad("its boot protocol is older than 2.08"));
    }
    // Zero means four, from the days of boot sectors.
    let setup_sectors = match head[0x1f1] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let protected_mode = (setup_sectors + 1) * 512;
    let system_size = u64::from(u32_at(head, 0x1f4).unwrap_or(0)) * 16;
    if head[0x211] & 1 == 0 {
        return Err(bad("it is a zImage, which loads below 1 MiB"));
    }
    // The size is rounded up to whole paragraphs, which not every build writes out.
    let image_end = (protected_mode + system_size).saturating_sub(15);
    if length < image_end {
        return Err(truncated(protected_mode + system_size));
    }
    let payload = PayloadExtent {
        offset: protected_mode + u64::from(u32_at(head, 0x248).unwrap_or(0)),
        length: u64::from(u32_at(head, 0x24c).unwrap_or(0)),
    };
    if payload.length < 4 {
        return Err(bad("it states no payload"));
    }
    if payload.offset + payload.length > length {
        return Err(truncated(payload.offset + payload.length));
    }
    // xloadflags came with 2.12 (Linux 3.8).
    if version >= 0x020c && u16_at(head, 0x236).unwrap_or(0) & 1 == 0 {
        return Err(KernelError::ThirtyTwoBit(path.to_owned()));
    }
    let release = match u16_at(head, 0x20e).unwrap_or(0) {
        0 => None,
        offset => {
            let mut text = vec![0; 256];
            let at = u64::from(offset) + 0x200;
            let read = read_up_to(file, &mut text, at).map_err(|error| unreadable(path, error))?;
            text.truncate(read);
            first_word(&text)
        }
    };
    Ok(Kernel {
        path: path.to_owned(),
        kind: Kind::BzImage,
        release,
        payload: Some(payload),
        pvh_entry: None,
        configuration: None,
    })
}

/// The printable text up to the first blank or NUL.
fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(text.len());
    (end > 0).then(|| String::from_utf8_lossy(&text[..end]).into_owned())
}

fn open_elf(path: &Path, file: &File, length: u64, head: &[u8]) -> Result<Kernel, KernelError> {
    let truncated = |expected: u64| KernelError::Truncated { path: path.to_owned(), expected, found: length };
    if head.len() < 64 {
        return Err(truncated(64));
    }
    let little_endian = head[5] == 1;
    let machine =
        bytes(head, 18).map_or(0, |raw| if little_endian { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) });
    if machine != 62 {
        let architecture = elf_architecture(machine);
        // Without x86-64's layout there is no saying whether it is a kernel; the machine alone rules it out.
        return Err(match machine {
            3 => KernelError::ThirtyTwoBit(path.to_owned()),
            _ => KernelError::OtherArchitecture { path: path.to_owned(), architecture },
        });
    }
    match u16_at(head, 16) {
        Some(1) => {
            return Err(not_a_kernel(path, "an ELF object (a module or an unlinked part)"));
        }
        Some(4) => return Err(not_a_kernel(path, "a core dump")),
        _ => {}
    }
    let segments = segments(file, head).map_err(|error| unreadable(path, error))?;
    let Some(segments) = segments else {
        return Err(not_a_kernel(path, "an ELF file without program headers"));
    };
    if let Some(end) = segments.iter().filter_map(|s| s.offset.checked_add(s.length)).max()
        && end > length
    {
        return Err(truncated(end));
    }
    // x86-64 kernels are linked into the topmost 2 GiB; no program can be.
    let in_kernel_space = segments.iter().any(|s| s.kind == PT_LOAD && s.address >= 0xffff_ffff_8000_0000);
    let mut banner = None;
    let mut user_mode = false;
    let mut configuration = None;
    // Kernels carry up to 60 MB in their segments; debug information, which can be ten times that, is not read.
    for segment in segments.iter().filter(|s| s.kind == PT_LOAD && s.length > 0) {
        let data = read_segment(file, *segment).map_err(|error| unreadable(path, error))?;
        banner = banner.or_else(|| find_release(&data));
        user_mode |= memchr::memmem::find(&data, UML_MARKER).is_some();
        configuration = configuration.or_else(|| Configuration::embedded(&data));
    }
    let kind = if in_kernel_space {
        Kind::Vmlinux
    } else if user_mode && banner.is_some() {
        Kind::UserMode
    } else {
        return Err(not_a_kernel(path, "an ordinary ELF program"));
    };
    let pvh_entry = match kind {
        Kind::Vmlinux => pvh_entry(file, &segments).map_err(|error| unreadable(path, error))?,
        _ => None,
    };
    Ok(Kernel { path: path.to_owned(), kind, release: banner, payload: None, pvh_entry, configuration })
}

/// The release in the banner that the kernel prints first. The format string of /proc/version has no digit there.
fn find_release(data: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(data, BANNER).find_map(|at| {
        let rest = &data[at + BANNER.len()..];
        rest.first().is_some_and(u8::is_ascii_digit).then(|| first_word(&rest[..rest.len().min(128)]))?
    })
}
