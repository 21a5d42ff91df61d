//! Recognises kernel images by their first bytes, and reads what they say of the kernel.
//!
//! Formats: the ELF specification, and of the kernel's documentation arch/x86/boot.rst (the boot protocol header),
//! arch/arm64/booting.rst, arch/riscv/boot-image-header.rst, arch/arm/booting.rst. Of s390, arch/s390/boot/head.S says
//! where what lies, and of EFI images that unpack themselves, drivers/firmware/efi/libstub/zboot-header.S.

use super::elf::{Layout, Segment, bytes, pvh_entry, read_at, segments, u16_at, u32_at};
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
    /// The image that boot loaders of other architectures load: `arch/arm64/boot/Image`, `arch/riscv/boot/Image`,
    /// `arch/s390/boot/bzImage`.
    Image,
    /// An uncompressed ELF kernel: of x86-64, which a machine can only start through its PVH note, and of ppc64le.
    #[serde(rename = "vmlinux")]
    Vmlinux,
    /// A user-mode Linux kernel: an ordinary program of this machine, started as one.
    #[serde(rename = "user-mode")]
    UserMode,
}

/// What a file says of the kernel in it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) kind: Kind,
    pub(crate) architecture: Architecture,
    pub(crate) release: Option<String>,
    /// Where the compressed kernel lies in the file, up to the four bytes at its end that state the unpacked size. Of a
    /// [`Kind::BzImage`], and of a [`Kind::Image`] that must be unpacked before it is started.
    pub(crate) payload: Option<Range<u64>>,
    /// Only for a [`Kind::Vmlinux`] of x86-64.
    pub(crate) pvh_entry: Option<u32>,
    /// How long its command line can be, where the image says so.
    pub(crate) command_line_limit: Option<usize>,
    pub(crate) configuration: Option<Configuration>,
}

impl Image {
    /// An image of which nothing else is known.
    pub(crate) fn new(kind: Kind, architecture: Architecture) -> Image {
        Image {
            kind,
            architecture,
            release: None,
            payload: None,
            pvh_entry: None,
            command_line_limit: None,
            configuration: None,
        }
    }
}

/// Why a file or directory cannot be booted: the rest of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("does not exist: give a bzImage, an Image, a vmlinux, a user-mode Linux executable or a kernel build tree")]
    Missing,
    #[error("cannot be read (check its permissions and the disk)")]
    Unreadable(#[from] io::Error),
    #[error("is empty: the build or copy that should have written it did not finish")]
    Empty,
    #[error("is neither a file nor a directory: give a kernel image or a kernel build tree")]
    NotAFile,
    /// The architecture as its own developers call it.
    #[error("is for {0}, which no guest has: build the kernel for x86_64, i386, arm64, riscv64, s390x or ppc64le")]
    OtherArchitecture(String),
    /// The architecture, and what its boot loaders and QEMU start instead.
    #[error("is a {0} kernel in a form that QEMU does not start: give {1} of the same build")]
    OtherForm(Architecture, &'static str),
    #[error("is a big-endian {0} kernel, and the guest's init is little-endian: set CONFIG_CPU_BIG_ENDIAN=n")]
    BigEndian(Architecture),
    #[error("is cut short: its header asks for {expected} bytes and it has {found}; copy or build it again")]
    Truncated { expected: u64, found: u64 },
    #[error("has a boot header that cannot be used ({0}): build the kernel again")]
    BadHeader(&'static str),
    /// What it is instead, with its article.
    #[error("is {0}, not a kernel: give a bzImage, an Image, a vmlinux, a user-mode Linux executable or a build tree")]
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
    #[error("is a directory without a kernel: no arch/*/boot/bzImage, arch/*/boot/Image, vmlinux or linux in it")]
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
    if let Some(architecture) = raw_architecture(&head) {
        return read_raw(file, length, &head, architecture?);
    }
    if bytes(&head, 4) == Some(*b"zimg") {
        return read_zboot(length, &head);
    }
    if bytes(&head, 0x202) == Some(*b"HdrS") {
        return read_bzimage(file, length, &head);
    }
    if let Some(image) = read_s390(file, length)? {
        return Ok(image);
    }
    if head.starts_with(b"\x1f\x8b")
        && let Some(architecture) = raw_architecture(&unpacked_head(file)?)
    {
        return Ok(Image { payload: Some(0..length), ..Image::new(Kind::Image, architecture?) });
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

/// The machine and the sections of a PE program, each a row that begins with its name.
fn pe_sections(head: &[u8]) -> Option<(u16, impl Iterator<Item = &[u8]>)> {
    let header = usize::try_from(u32_at(head, 0x3c)?).ok().filter(|at| *at < head.len())?;
    if !head.starts_with(b"MZ") || !head[header..].starts_with(b"PE\0\0") {
        return None;
    }
    let count = usize::from(u16_at(head, header + 6)?);
    // The table follows the optional header.
    let table = head.get(header + 24 + usize::from(u16_at(head, header + 20)?)..)?;
    Some((u16_at(head, header + 4)?, table.chunks_exact(40).take(count)))
}

/// How long a PE program is that has these sections.
fn pe_extent(head: &[u8]) -> Option<u64> {
    let end = |row: &[u8]| Some(u64::from(u32_at(row, 16)?) + u64::from(u32_at(row, 20)?));
    pe_sections(head)?.1.filter_map(end).max()
}

/// Whether a file is a PE program with a section `.linux`, as systemd-stub(7) has it.
fn is_unified(head: &[u8]) -> bool {
    pe_sections(head).is_some_and(|(_, mut sections)| sections.any(|section| section.starts_with(b".linux\0\0")))
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

/// The architecture of a raw kernel image that is not x86's, if it is one of guests.
fn raw_architecture(head: &[u8]) -> Option<Result<Architecture, Flaw>> {
    let magics: [(usize, &[u8; 4], Option<Architecture>); 3] = [
        (56, b"ARM\x64", Some(Architecture::Arm64)),
        (56, b"RSC\x05", Some(Architecture::Riscv64)),
        (0x24, b"\x18\x28\x6f\x01", None),
    ];
    let (.., found) = magics.into_iter().find(|(at, magic, _)| bytes(head, *at) == Some(**magic))?;
    let Some(architecture) = found else {
        return Some(Err(Flaw::OtherArchitecture("32-bit arm".to_owned())));
    };
    // The EFI header is all that tells the word size of a RISC-V kernel.
    if pe_sections(head).is_some_and(|(machine, _)| machine == 0x5032) {
        return Some(Err(Flaw::OtherArchitecture("32-bit riscv".to_owned())));
    }
    // The lowest of the flags, which only arm64 has at this place.
    let is_big_endian = architecture == Architecture::Arm64 && head.get(24).is_some_and(|flags| flags & 1 == 1);
    Some(if is_big_endian { Err(Flaw::BigEndian(architecture)) } else { Ok(architecture) })
}

/// The beginning of what a gzip file holds; empty if it is damaged.
fn unpacked_head(file: &File) -> Result<Vec<u8>, Flaw> {
    let mut head = Vec::new();
    let stream = read_at(file, 0, 16 * HEAD)?;
    // A stream that ends early has given what was asked for, or is none.
    let _ = flate2::read::GzDecoder::new(&stream[..]).take(HEAD).read_to_end(&mut head);
    Ok(head)
}

/// An `Image` of arm64 or riscv64.
fn read_raw(file: &File, length: u64, head: &[u8], architecture: Architecture) -> Result<Image, Flaw> {
    // Only the EFI header says what is in the file; the image's own counts memory that is cleared.
    if let Some(expected) = pe_extent(head).filter(|expected| *expected > length) {
        return Err(Flaw::Truncated { expected, found: length });
    }
    if length > LARGEST as u64 {
        return Err(Flaw::NotAKernel("a file of more than 1 GiB"));
    }
    let data = read_at(file, 0, length)?;
    let (release, configuration) = (find_release(&data), Configuration::embedded(&data));
    Ok(Image { release, configuration, ..Image::new(Kind::Image, architecture) })
}

/// An EFI program that unpacks the kernel in it.
fn read_zboot(length: u64, head: &[u8]) -> Result<Image, Flaw> {
    let architecture = match pe_sections(head).map(|(machine, _)| machine) {
        Some(0xaa64) => Architecture::Arm64,
        Some(0x5064) => Architecture::Riscv64,
        Some(0x6264) => return Err(Flaw::OtherArchitecture("loongarch".to_owned())),
        _ => return Err(Flaw::OtherArchitecture("another architecture (an EFI zboot image)".to_owned())),
    };
    let word = |offset| u64::from(u32_at(head, offset).unwrap_or(0));
    let (offset, size) = (word(8), word(12));
    // The size is that of the stream, behind which the unpacked size stands. gzip has it at its own end.
    let size = if head.get(24..28) == Some(b"gzip") { size } else { size + 4 };
    if size > LARGEST as u64 {
        return Err(Flaw::BadHeader("it states a payload of more than 1 GiB"));
    }
    if offset + size > length {
        return Err(Flaw::Truncated { expected: offset + size, found: length });
    }
    Ok(Image { payload: Some(offset..offset + size), ..Image::new(Kind::Image, architecture) })
}

/// A `bzImage` of s390, if the file is one. It is unpacked as it starts, and its parts lie at the addresses that they
/// have in memory.
fn read_s390(file: &File, length: u64) -> Result<Option<Image>, Flaw> {
    /// Where the kernel is entered, followed by a jump and the magic.
    const START: u64 = 0x10000;
    /// What boot loaders read and write: `struct parmarea`.
    const PARAMETERS: usize = 0x400;
    let head = read_at(file, START, 2 * PARAMETERS as u64)?;
    if head.get(8..14) != Some(b"S390EP") {
        return Ok(None);
    }
    let number = |offset| bytes(&head, PARAMETERS + offset).map(u64::from_be_bytes);
    let (Some(version), Some(limit)) = (number(0x28), number(0x30)) else {
        return Err(Flaw::Truncated { expected: START + 2 * PARAMETERS as u64, found: length });
    };
    let release = match version {
        0 => None,
        version if version >= length => return Err(Flaw::Truncated { expected: version, found: length }),
        version => first_word(&read_at(file, version, 256)?),
    };
    // Kernels before 5.17 state none, and have room for 896 bytes.
    let limit = if limit == 0 { 896 } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let image = Image::new(Kind::Image, Architecture::S390x);
    Ok(Some(Image { release, command_line_limit: Some(limit.saturating_sub(1)), ..image }))
}

/// The name that `ARCH=` uses for an ELF machine that Linux runs on, of those that no guest has.
fn elf_architecture(machine: u16, layout: Layout) -> String {
    let size = if layout.is_wide() { "" } else { "32-bit " };
    let order = if layout.is_little_endian() { "" } else { "big-endian " };
    let name = match machine {
        2 | 43 => "sparc",
        4 => "m68k",
        8 => "mips",
        15 => "parisc",
        20 | 21 => return format!("{size}{order}powerpc"),
        22 => return format!("{size}s390"),
        40 => "32-bit arm",
        42 => "sh",
        50 => "ia64",
        62 => "x32",
        94 => "xtensa",
        183 => return format!("{order}arm64"),
        243 => return format!("{size}riscv"),
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
    let is_wide = version < 0x020c || half(0x236) & 1 == 1;
    let architecture = if is_wide { Architecture::X86_64 } else { Architecture::I386 };
    let release = match half(0x20e) {
        0 => None,
        offset => first_word(&read_at(file, u64::from(offset) + 0x200, 256)?),
    };
    Ok(Image { release, payload: Some(offset..offset + size), ..Image::new(Kind::BzImage, architecture) })
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
    let Some(layout) = Layout::of(head) else {
        return Err(Flaw::NotAKernel("a damaged ELF file"));
    };
    let machine = layout.machine(head).unwrap_or(0);
    let Some(architecture) = elf_of_guests(machine, layout) else {
        return Err(Flaw::OtherArchitecture(elf_architecture(machine, layout)));
    };
    match layout.kind(head) {
        Some(1) => return Err(Flaw::NotAKernel("an ELF object (a module or an unlinked part)")),
        Some(4) => return Err(Flaw::NotAKernel("a core dump")),
        _ => {}
    }
    let segments = segments_within(file, length, head)?;
    // x86-64 kernels are linked into the topmost 2 GiB, others of 64 bits above the middle; no program can be.
    let lowest = match architecture {
        Architecture::X86_64 => 0xffff_ffff_8000_0000,
        Architecture::I386 => 0xc000_0000,
        _ => 1 << 63,
    };
    let in_kernel_space = segments.iter().any(|s| s.kind == PT_LOAD && s.address >= lowest);
    let (mut release, mut user_mode, mut configuration) = (None, false, None);
    // Kernels carry up to 60 MB in their segments; debug information, which can be ten times that, is not read.
    for segment in segments.iter().filter(|s| s.kind == PT_LOAD && s.length > 0) {
        let data = read_at(file, segment.offset, segment.length)?;
        release = release.or_else(|| find_release(&data));
        user_mode |= memchr::memmem::find(&data, UML_MARKER).is_some();
        configuration = configuration.or_else(|| Configuration::embedded(&data));
    }
    // Those of s390 lay at the beginning of memory until 6.10.
    let is_kernel = in_kernel_space || (architecture == Architecture::S390x && release.is_some());
    let kind = match architecture {
        Architecture::X86_64 if !is_kernel && user_mode && release.is_some() => Kind::UserMode,
        _ if !is_kernel => return Err(Flaw::NotAKernel("an ordinary ELF program")),
        Architecture::X86_64 | Architecture::Ppc64le => Kind::Vmlinux,
        // QEMU starts these, but enters them as it enters a program: without initramfs and command line, or elsewhere
        // than they expect.
        Architecture::I386 => return Err(Flaw::OtherForm(architecture, "arch/x86/boot/bzImage")),
        Architecture::Arm64 => return Err(Flaw::OtherForm(architecture, "arch/arm64/boot/Image")),
        Architecture::Riscv64 => return Err(Flaw::OtherForm(architecture, "arch/riscv/boot/Image")),
        Architecture::S390x => return Err(Flaw::OtherForm(architecture, "arch/s390/boot/bzImage")),
    };
    let pvh_entry = match (architecture, kind) {
        (Architecture::X86_64, Kind::Vmlinux) => pvh_entry(file, &segments)?,
        _ => None,
    };
    Ok(Image { release, pvh_entry, configuration, ..Image::new(kind, architecture) })
}

/// The architecture of guests that an ELF file is for, if it is for one.
fn elf_of_guests(machine: u16, layout: Layout) -> Option<Architecture> {
    let architecture = match machine {
        3 => return Some(Architecture::I386),
        21 if layout.is_little_endian() => Architecture::Ppc64le,
        22 if !layout.is_little_endian() => Architecture::S390x,
        62 => Architecture::X86_64,
        183 if layout.is_little_endian() => Architecture::Arm64,
        243 => Architecture::Riscv64,
        _ => return None,
    };
    layout.is_wide().then_some(architecture)
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
