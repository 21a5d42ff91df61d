//! Recognises kernel images by their first bytes, and reads what they say of the kernel.
//!
//! Formats: Documentation/arch/x86/boot.rst (the boot protocol header), the ELF specification, and
//! Documentation/arch/arm64/booting.rst and arch/riscv/boot-image-header.rst for telling other architectures apart.

use super::elf::{Segment, bytes, pvh_entry, read_at, segments, u16_at, u32_at};
use crate::common::*;

/// Bytes of the start of a file that tell its format; the boot protocol header ends well before.
const HEAD: u64 = 4096;
/// The end of the boot protocol's fields used here (`payload_length`).
const BOOT_HEADER_END: u64 = 0x250;

/// What kind of kernel image a file is, and so how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Kind {
    /// A compressed x86 image with a boot protocol header: `arch/x86/boot/bzImage`, `/boot/vmlinuz-…`.
    #[serde(rename = "bzImage")]
    BzImage,
    /// An uncompressed x86-64 ELF kernel, which a machine can only start through its PVH note.
    #[serde(rename = "vmlinux")]
    Vmlinux,
    /// A user-mode Linux kernel: an ordinary program of this machine, started as one.
    #[serde(rename = "user-mode")]
    UserMode,
}

impl Kind {
    /// The options without which a kernel of this kind cannot start our init, or cannot be heard.
    pub fn boot_fragment(self) -> Fragment {
        match self {
            Kind::BzImage | Kind::Vmlinux => Fragment::BOOT,
            Kind::UserMode => Fragment::BOOT_USER_MODE,
        }
    }
}

/// What a file says of the kernel in it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) kind: Kind,
    pub(crate) release: Option<String>,
    /// Where the compressed kernel lies in the file, up to the four bytes at its end that state the unpacked size. Only
    /// for a [`Kind::BzImage`].
    pub(crate) payload: Option<Range<u64>>,
    /// Only for a [`Kind::Vmlinux`].
    pub(crate) pvh_entry: Option<u32>,
    pub(crate) configuration: Option<Configuration>,
}

/// Why a file or directory cannot be booted: the rest of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("does not exist: give a bzImage, a vmlinux, a user-mode Linux executable or a kernel build tree")]
    Missing,
    #[error("cannot be read (check its permissions and the disk)")]
    Unreadable(#[from] io::Error),
    #[error("is empty: the build or copy that should have written it did not finish")]
    Empty,
    #[error("is neither a file nor a directory: give a kernel image or a kernel build tree")]
    NotAFile,
    /// The architecture as its own developers call it.
    #[error("is for {0}, and guests are x86-64: build the kernel with ARCH=x86_64")]
    OtherArchitecture(String),
    #[error("is for 32-bit x86, and the guest's init is a 64-bit program: build the kernel with CONFIG_64BIT=y")]
    ThirtyTwoBit,
    #[error("is cut short: its header asks for {expected} bytes and it has {found}; copy or build it again")]
    Truncated { expected: u64, found: u64 },
    #[error("has an x86 boot header that cannot be used ({0}): build the kernel again")]
    BadHeader(&'static str),
    /// What it is instead, with its article.
    #[error("is {0}, not a kernel: give a bzImage, a vmlinux, a user-mode Linux executable or a kernel build tree")]
    NotAKernel(&'static str),
    #[error(
        "is a unified kernel image: take the kernel out of it with \
         `objcopy -O binary --only-section=.linux IMAGE vmlinuz`, and give that"
    )]
    Unified,
    /// What it is, with its article, how to unpack it, and the file in it.
    #[error("is {0}: unpack it with `{1}` and give {2}")]
    Package(&'static str, &'static str, &'static str),
    /// The release that its name tells.
    #[error("holds the modules of a kernel, not the kernel: give /boot/vmlinuz-{0}")]
    Modules(String),
    #[error("is a directory without a kernel: no arch/x86/boot/bzImage, vmlinux or linux in it")]
    NotATree,
    #[error(
        "is a kernel source tree without a kernel: run `make bzImage` in it, or `unshare-conformance kernels build`"
    )]
    NotBuilt,
}

pub(crate) fn read(mut file: &File) -> Result<Image, Flaw> {
    let length = file.seek(io::SeekFrom::End(0))?;
    if length == 0 {
        return Err(Flaw::Empty);
    }
    let head = read_at(file, 0, HEAD)?;
    if head.starts_with(b"\x7fELF") {
        return read_elf(file, length, &head);
    }
    // Other architectures first: their EFI-capable images begin with the same two letters as a bzImage.
    if let Some(architecture) = other_architecture(&head) {
        return Err(Flaw::OtherArchitecture(architecture.to_owned()));
    }
    if bytes(&head, 0x202) == Some(*b"HdrS") {
        return read_bzimage(file, length, &head);
    }
    if is_unified(&head) {
        return Err(Flaw::Unified);
    }
    if let Some((_, flaw)) = packages().into_iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(flaw);
    }
    if head.starts_with(b"MZ") && length < BOOT_HEADER_END {
        return Err(Flaw::Truncated { expected: BOOT_HEADER_END, found: length });
    }
    Err(Flaw::NotAKernel(describe(&head)))
}

/// The PVH entry of a vmlinux of which nothing else is asked: reads a few kilobytes instead of all of it.
pub(crate) fn pvh_entry_of(file: &File) -> Result<Option<u32>, Flaw> {
    let head = read_at(file, 0, HEAD)?;
    if !head.starts_with(b"\x7fELF") {
        return Err(Flaw::NotAKernel(describe(&head)));
    }
    Ok(pvh_entry(file, &segments_within(file, file.metadata()?.len(), &head)?)?)
}

/// Whether a file is a PE program with a section `.linux`, as systemd-stub(7) has it.
fn is_unified(head: &[u8]) -> bool {
    let is_linux = || {
        let header = usize::try_from(u32_at(head, 0x3c)?).ok().filter(|at| *at < head.len())?;
        let sections = usize::from(u16_at(head, header + 6)?);
        // The table follows the optional header; a row has 40 bytes and begins with the name.
        let table = head.get(header + 24 + usize::from(u16_at(head, header + 20)?)..)?;
        let is_pe = head[header..].starts_with(b"PE\0\0");
        Some(is_pe && table.chunks_exact(40).take(sections).any(|section| section.starts_with(b".linux\0\0")))
    };
    head.starts_with(b"MZ") && is_linux() == Some(true)
}

/// How packages begin that distributions put kernels in, and what to do with them.
fn packages() -> [(&'static [u8], Flaw); 2] {
    [
        (
            b"!<arch>\ndebian-binary",
            Flaw::Package("a Debian package", "dpkg-deb -x PACKAGE DIRECTORY", "DIRECTORY/boot/vmlinuz-RELEASE"),
        ),
        (
            b"\xed\xab\xee\xdb",
            Flaw::Package("an RPM package", "rpm2cpio PACKAGE | cpio -id", "./lib/modules/RELEASE/vmlinuz"),
        ),
    ]
}

/// The architecture of a raw kernel image that is not x86's.
fn other_architecture(head: &[u8]) -> Option<&'static str> {
    let magics: [(usize, &[u8; 4], &str); 4] = [
        (56, b"ARM\x64", "arm64"),
        (56, b"RSC\x05", "riscv"),
        (0x24, b"\x18\x28\x6f\x01", "32-bit arm"),
        // An EFI image that decompresses itself; no x86 kernel is built as one.
        (4, b"zimg", "another architecture than x86 (an EFI zboot image)"),
    ];
    magics.iter().find(|(at, magic, _)| bytes(head, *at) == Some(**magic)).map(|(.., name)| *name)
}

/// The name that `ARCH=` uses for an ELF machine that Linux runs on.
fn elf_architecture(machine: u16) -> String {
    let name = match machine {
        2 | 43 => "sparc",
        4 => "m68k",
        8 => "mips",
        15 => "parisc",
        20 | 21 => "powerpc",
        22 => "s390",
        40 => "32-bit arm",
        42 => "sh",
        50 => "ia64",
        94 => "xtensa",
        183 => "arm64",
        243 => "riscv",
        258 => "loongarch",
        other => return format!("another architecture (ELF machine {other})"),
    };
    name.to_owned()
}

/// A guess at what a file is, with its article, if it is not a kernel.
fn describe(head: &[u8]) -> &'static str {
    let magics: [(&[u8], &str); 10] = [
        (b"MZ", "a PE (EFI) program without a Linux boot header"),
        (b"\x1f\x8b", "a gzip file (unpack it first)"),
        (b"\xfd7zXZ", "an xz file (unpack it first)"),
        (b"\x28\xb5\x2f\xfd", "a zstd file (unpack it first)"),
        (b"\x02\x21\x4c\x18", "an lz4 file (unpack it first)"),
        (b"BZh", "a bzip2 file (unpack it first)"),
        (b"!<arch>", "an archive (a library)"),
        (b"070701", "an initramfs"),
        (b"QFI\xfb", "a disk image"),
        (b"#!", "a script"),
    ];
    match magics.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, what)) => what,
        None if std::str::from_utf8(head).is_ok_and(|text| !text.contains('\0')) => "a text file",
        None => "a file of unknown format",
    }
}

fn read_bzimage(file: &File, length: u64, head: &[u8]) -> Result<Image, Flaw> {
    let truncated = |expected| Flaw::Truncated { expected, found: length };
    if length < BOOT_HEADER_END {
        return Err(truncated(BOOT_HEADER_END));
    }
    // All of these lie below BOOT_HEADER_END.
    let half = |offset| u16_at(head, offset).unwrap_or(0);
    let word = |offset| u64::from(u32_at(head, offset).unwrap_or(0));
    let version = half(0x206);
    if version < 0x0208 {
        return Err(Flaw::BadHeader("its boot protocol is older than 2.08"));
    }
    if half(0x211) & 1 == 0 {
        return Err(Flaw::BadHeader("it is a zImage, which loads below 1 MiB"));
    }
    // Zero means four, from the days of boot sectors.
    let setup_sectors = match half(0x1f1) & 0xff {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let protected_mode = (setup_sectors + 1) * 512;
    let system_end = protected_mode + word(0x1f4) * 16;
    // The size is rounded up to whole paragraphs, which not every build writes out.
    if length < system_end.saturating_sub(15) {
        return Err(truncated(system_end));
    }
    let (offset, size) = (protected_mode + word(0x248), word(0x24c));
    if size < 4 {
        return Err(Flaw::BadHeader("it states no payload"));
    }
    if size > LARGEST as u64 {
        return Err(Flaw::BadHeader("it states a payload of more than 1 GiB"));
    }
    if offset + size > length {
        return Err(truncated(offset + size));
    }
    // xloadflags came with 2.12 (Linux 3.8).
    if version >= 0x020c && half(0x236) & 1 == 0 {
        return Err(Flaw::ThirtyTwoBit);
    }
    let release = match half(0x20e) {
        0 => None,
        offset => first_word(&read_at(file, u64::from(offset) + 0x200, 256)?),
    };
    let payload = Some(offset..offset + size);
    Ok(Image { kind: Kind::BzImage, release, payload, pvh_entry: None, configuration: None })
}

/// The printable text up to the first blank or NUL.
fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(text.len());
    (end > 0).then(|| String::from_utf8_lossy(&text[..end]).into_owned())
}

fn read_elf(file: &File, length: u64, head: &[u8]) -> Result<Image, Flaw> {
    if length < 64 {
        return Err(Flaw::Truncated { expected: 64, found: length });
    }
    let little_endian = head[5] == 1;
    let machine =
        bytes(head, 18).map_or(0, |raw| if little_endian { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) });
    // The layout is known for x86-64 only; the machine alone rules out all others.
    match (machine, u16_at(head, 16)) {
        (3, _) => return Err(Flaw::ThirtyTwoBit),
        (62, Some(1)) => return Err(Flaw::NotAKernel("an ELF object (a module or an unlinked part)")),
        (62, Some(4)) => return Err(Flaw::NotAKernel("a core dump")),
        (62, _) => {}
        (other, _) => return Err(Flaw::OtherArchitecture(elf_architecture(other))),
    }
    let segments = segments_within(file, length, head)?;
    // x86-64 kernels are linked into the topmost 2 GiB; no program can be.
    let in_kernel_space = segments.iter().any(|s| s.kind == PT_LOAD && s.address >= 0xffff_ffff_8000_0000);
    let (mut release, mut user_mode, mut configuration) = (None, false, None);
    // Kernels carry up to 60 MB in their segments; debug information, which can be ten times that, is not read.
    for segment in segments.iter().filter(|s| s.kind == PT_LOAD && s.length > 0) {
        let data = read_at(file, segment.offset, segment.length)?;
        release = release.or_else(|| find_release(&data));
        user_mode |= memchr::memmem::find(&data, UML_MARKER).is_some();
        configuration = configuration.or_else(|| Configuration::embedded(&data));
    }
    let (kind, pvh_entry) = if in_kernel_space {
        (Kind::Vmlinux, pvh_entry(file, &segments)?)
    } else if user_mode && release.is_some() {
        (Kind::UserMode, None)
    } else {
        return Err(Flaw::NotAKernel("an ordinary ELF program"));
    };
    Ok(Image { kind, release, payload: None, pvh_entry, configuration })
}

/// The program headers of an ELF file of `length` bytes, all of whose segments lie within it.
fn segments_within(file: &File, length: u64, head: &[u8]) -> Result<Vec<Segment>, Flaw> {
    let segments = segments(file, head)?.ok_or(Flaw::NotAKernel("an ELF file without program headers"))?;
    let expected = segments.iter().map(Segment::end).max().unwrap_or(0);
    if expected > length {
        return Err(Flaw::Truncated { expected, found: length });
    }
    let read = segments.iter().filter(|segment| [PT_LOAD, PT_NOTE].contains(&segment.kind));
    if read.map(|segment| segment.length).fold(0, u64::saturating_add) > LARGEST as u64 {
        return Err(Flaw::NotAKernel("an ELF file with more than 1 GiB to load"));
    }
    Ok(segments)
}

/// The release in the banner that the kernel prints first. The format string of /proc/version has no digit there.
fn find_release(data: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(data, BANNER).find_map(|at| {
        let rest = &data[at + BANNER.len()..];
        rest.first().is_some_and(u8::is_ascii_digit).then(|| first_word(&rest[..rest.len().min(128)]))?
    })
}
