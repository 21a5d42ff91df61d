//! Recognises what a user points at as "the kernel": a bzImage, a vmlinux, a user-mode Linux executable, or the
//! build tree that holds one.
//!
//! Formats: Documentation/arch/x86/boot.rst (the boot protocol header), the ELF specification, and
//! Documentation/arch/arm64/booting.rst and arch/riscv/boot-image-header.rst for telling other architectures apart.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::elf::{
    PT_LOAD, bytes, elf_architecture, pvh_entry, read_segment, read_up_to, segments, u16_at, u32_at,
};
use crate::kconfig::{Configuration, UML_MARKER};

/// What kind of kernel image a file is, and so how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A compressed x86 image with a boot protocol header: `arch/x86/boot/bzImage`, `/boot/vmlinuz-…`.
    BzImage,
    /// An uncompressed x86-64 ELF kernel, which a machine can only start through its PVH note.
    Vmlinux,
    /// A user-mode Linux kernel: an ordinary program of this machine, started as one.
    UserMode,
}

/// Where a bzImage keeps its compressed kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadExtent {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes, with the four that state the unpacked size at the end.
    pub length: u64,
}

/// A kernel image that was recognised. It is read when opened; a later change of the file goes unnoticed.
#[derive(Clone, Debug)]
pub struct Kernel {
    path: PathBuf,
    kind: Kind,
    release: Option<String>,
    payload: Option<PayloadExtent>,
    pvh_entry: Option<u32>,
    configuration: Option<Configuration>,
}

/// Why a path is not a kernel that a guest can boot.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Nothing is at the path.
    #[error(
        "{0} does not exist: give a bzImage, a vmlinux, a user-mode Linux executable or a kernel build tree"
    )]
    Missing(PathBuf),
    /// It is there and cannot be read.
    #[error("{path} cannot be read ({source}): check its permissions and the disk")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of no bytes.
    #[error("{0} is empty: the build or copy that should have written it did not finish")]
    Empty(PathBuf),
    /// A device, socket or pipe.
    #[error("{0} is neither a file nor a directory: give a kernel image or a kernel build tree")]
    NotAFile(PathBuf),
    /// A kernel, but for another architecture.
    #[error(
        "{path} is for {architecture}, and guests are x86-64: build the kernel with ARCH=x86_64"
    )]
    OtherArchitecture {
        /// The image.
        path: PathBuf,
        /// The architecture as its own developers call it.
        architecture: String,
    },
    /// An x86 kernel without 64-bit entry.
    #[error(
        "{0} is for 32-bit x86, and the guest's init is a 64-bit program: build the kernel with CONFIG_64BIT=y"
    )]
    ThirtyTwoBit(PathBuf),
    /// The header promises more bytes than there are.
    #[error(
        "{path} is cut short: its header asks for {expected} bytes and it has {found}; copy or build it again"
    )]
    Truncated {
        /// The image.
        path: PathBuf,
        /// Bytes that the headers ask for.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// A bzImage older than boot protocol 2.08 (Linux 2.6.26), or with a header that contradicts itself.
    #[error("{path} has an x86 boot header that cannot be used ({why}): build the kernel again")]
    BadHeader {
        /// The image.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        why: &'static str,
    },
    /// Something else altogether.
    #[error(
        "{path} is {what}, not a kernel: give a bzImage, a vmlinux, a user-mode Linux executable or a kernel build tree"
    )]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What it was taken for, with its article.
        what: String,
    },
    /// A directory without sources and without an image.
    #[error(
        "{0} is a directory without a kernel: no arch/x86/boot/bzImage, vmlinux or linux in it"
    )]
    NotATree(PathBuf),
    /// A source tree in which nothing was built.
    #[error(
        "{0} is a kernel source tree in which no kernel was built: run `make bzImage` there, or `unshare-conformance kernels build {0}`"
    )]
    NotBuilt(PathBuf),
}

impl Kernel {
    /// Recognises the kernel at `path`, which may be an image or a build tree, and reads its release and, where it
    /// can be had without unpacking, its configuration.
    ///
    /// # Errors
    /// One sentence for whatever else the path holds; see [`KernelError`].
    pub fn open(path: &Path) -> Result<Kernel, KernelError> {
        let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                KernelError::Missing(path.to_owned())
            }
            _ => unreadable(path, source),
        })?;
        if metadata.is_dir() {
            return open_tree(path);
        }
        if !metadata.is_file() {
            return Err(KernelError::NotAFile(path.to_owned()));
        }
        let mut kernel = open_image(path)?;
        if kernel.configuration.is_none() {
            kernel.configuration = configuration_beside(path)?;
        }
        Ok(kernel)
    }

    /// The image itself, also when a build tree was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of image it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The release as `uname -r` prints it in the guest, where the image states it.
    pub fn release(&self) -> Option<&str> {
        self.release.as_deref()
    }

    /// Where the compressed kernel lies; only for [`Kind::BzImage`].
    pub fn payload(&self) -> Option<PayloadExtent> {
        self.payload
    }

    /// The entry point of the PVH note, a physical address; only for [`Kind::Vmlinux`]. For a bzImage it is known
    /// once it is unpacked, see [`crate::payload::unpack`].
    pub fn pvh_entry(&self) -> Option<u32> {
        self.pvh_entry
    }

    /// The configuration it was built with, from the build tree's `.config`, from `config-RELEASE` beside
    /// `vmlinuz-RELEASE`, or from the image (CONFIG_IKCONFIG, and every user-mode Linux). A bzImage's embedded copy
    /// is compressed with the kernel: [`crate::payload::unpack`] finds it.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }
}

impl Kernel {
    /// The same kernel, unpacked to an ELF file.
    pub(crate) fn unpacked_to(
        self,
        elf: PathBuf,
        pvh_entry: Option<u32>,
        embedded: Option<Configuration>,
    ) -> Kernel {
        let configuration = self.configuration.or(embedded);
        Kernel {
            path: elf,
            kind: Kind::Vmlinux,
            payload: None,
            pvh_entry,
            configuration,
            ..self
        }
    }

    /// A kernel that no file stands for.
    #[cfg(test)]
    pub(crate) fn for_test(path: &str, kind: Kind, pvh_entry: Option<u32>) -> Kernel {
        Kernel {
            path: path.into(),
            kind,
            release: None,
            payload: None,
            pvh_entry,
            configuration: None,
        }
    }

    /// The same kernel, with the configuration that was found in it unless there is a better one.
    pub(crate) fn configured(self, embedded: Option<Configuration>) -> Kernel {
        Kernel {
            configuration: self.configuration.or(embedded),
            ..self
        }
    }
}

/// The PVH entry of a vmlinux of which nothing else is asked: reads a few kilobytes instead of all of it.
pub(crate) fn pvh_entry_of(path: &Path) -> Result<Option<u32>, KernelError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let length = file
        .metadata()
        .map_err(|error| unreadable(path, error))?
        .len();
    let mut head = vec![0; HEAD];
    let filled = read_up_to(&file, &mut head, 0).map_err(|error| unreadable(path, error))?;
    head.truncate(filled);
    let found = head
        .starts_with(b"\x7fELF")
        .then(|| segments(&file, &head))
        .transpose();
    let Some(segments) = found.map_err(|error| unreadable(path, error))?.flatten() else {
        return Err(not_a_kernel(path, describe(&head)));
    };
    let expected = segments
        .iter()
        .filter_map(|s| s.offset.checked_add(s.length))
        .max()
        .unwrap_or(0);
    if expected > length {
        return Err(KernelError::Truncated {
            path: path.to_owned(),
            expected,
            found: length,
        });
    }
    pvh_entry(&file, &segments).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, source: io::Error) -> KernelError {
    KernelError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn not_a_kernel(path: &Path, what: impl Into<String>) -> KernelError {
    KernelError::NotAKernel {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// The image in a build tree, an `O=` directory as well as one built in its sources.
fn open_tree(tree: &Path) -> Result<Kernel, KernelError> {
    let configuration = match std::fs::read(tree.join(".config")) {
        Ok(text) => Some(Configuration::parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&tree.join(".config"), error)),
    };
    // A user-mode tree has a `vmlinux` too, which is the same program as `linux`.
    let candidates = [
        "arch/x86/boot/bzImage",
        "arch/x86_64/boot/bzImage",
        "linux",
        "vmlinux",
    ];
    for candidate in candidates {
        let image = tree.join(candidate);
        if image.is_file() {
            let mut kernel = open_image(&image)?;
            kernel.configuration = configuration.or(kernel.configuration);
            if let Ok(release) = std::fs::read_to_string(tree.join("include/config/kernel.release"))
            {
                kernel.release = kernel.release.or(Some(release.trim().to_owned()));
            }
            return Ok(kernel);
        }
    }
    for (image, architecture) in [
        ("arch/arm64/boot/Image", "arm64"),
        ("arch/riscv/boot/Image", "riscv"),
        ("arch/arm/boot/zImage", "arm"),
        ("arch/s390/boot/bzImage", "s390"),
        ("arch/powerpc/boot/zImage", "powerpc"),
        ("arch/loongarch/boot/vmlinux.efi", "loongarch"),
    ] {
        if tree.join(image).is_file() {
            return Err(KernelError::OtherArchitecture {
                path: tree.join(image),
                architecture: architecture.into(),
            });
        }
    }
    if tree.join("Kbuild").is_file()
        || tree.join("scripts/kconfig").exists()
        || configuration.is_some()
    {
        return Err(KernelError::NotBuilt(tree.to_owned()));
    }
    Err(KernelError::NotATree(tree.to_owned()))
}

/// `config-RELEASE` beside `vmlinuz-RELEASE` or `vmlinux-RELEASE`, as distributions lay out `/boot`; `config` beside
/// `vmlinuz`, as they lay out `/usr/lib/modules/RELEASE`.
fn configuration_beside(image: &Path) -> Result<Option<Configuration>, KernelError> {
    let Some(name) = image.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let Some(rest) = ["vmlinuz", "vmlinux", "bzImage"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
    else {
        return Ok(None);
    };
    if !(rest.is_empty() || rest.starts_with('-')) {
        return Ok(None);
    }
    let beside = image.with_file_name(format!("config{rest}"));
    match std::fs::read(&beside) {
        Ok(text) => Ok(Some(Configuration::parse(&String::from_utf8_lossy(&text)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&beside, error)),
    }
}

/// Bytes of the start of a file that tell its format; the boot protocol header ends well before.
const HEAD: usize = 4096;
/// The end of the boot protocol's fields used here (`payload_length`).
const BOOT_HEADER_END: usize = 0x250;

fn open_image(path: &Path) -> Result<Kernel, KernelError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    let length = file
        .seek(SeekFrom::End(0))
        .map_err(|error| unreadable(path, error))?;
    if length == 0 {
        return Err(KernelError::Empty(path.to_owned()));
    }
    let mut head = vec![0; HEAD.min(usize::try_from(length).unwrap_or(HEAD))];
    file.read_exact_at(&mut head, 0)
        .map_err(|error| unreadable(path, error))?;

    if head.starts_with(b"\x7fELF") {
        return open_elf(path, &file, length, &head);
    }
    // Other architectures first: their EFI-capable images begin with the same two letters as a bzImage.
    if let Some(architecture) = other_architecture(&head) {
        return Err(KernelError::OtherArchitecture {
            path: path.to_owned(),
            architecture: architecture.into(),
        });
    }
    if bytes(&head, 0x202) == Some(*b"HdrS") {
        return open_bzimage(path, &file, length, &head);
    }
    if head.starts_with(b"MZ") && head.len() < BOOT_HEADER_END {
        let expected = BOOT_HEADER_END as u64;
        return Err(KernelError::Truncated {
            path: path.to_owned(),
            expected,
            found: length,
        });
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
fn describe(head: &[u8]) -> &'static str {
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
    let truncated = |expected: u64| KernelError::Truncated {
        path: path.to_owned(),
        expected,
        found: length,
    };
    let bad = |why| KernelError::BadHeader {
        path: path.to_owned(),
        why,
    };
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
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_graphic())
        .unwrap_or(text.len());
    (end > 0).then(|| String::from_utf8_lossy(&text[..end]).into_owned())
}

fn open_elf(path: &Path, file: &File, length: u64, head: &[u8]) -> Result<Kernel, KernelError> {
    let truncated = |expected: u64| KernelError::Truncated {
        path: path.to_owned(),
        expected,
        found: length,
    };
    if head.len() < 64 {
        return Err(truncated(64));
    }
    let little_endian = head[5] == 1;
    let machine = bytes(head, 18).map_or(0, |raw| {
        if little_endian {
            u16::from_le_bytes(raw)
        } else {
            u16::from_be_bytes(raw)
        }
    });
    if machine != 62 {
        let architecture = elf_architecture(machine);
        // Without x86-64's layout there is no saying whether it is a kernel; the machine alone rules it out.
        return Err(match machine {
            3 => KernelError::ThirtyTwoBit(path.to_owned()),
            _ => KernelError::OtherArchitecture {
                path: path.to_owned(),
                architecture,
            },
        });
    }
    match u16_at(head, 16) {
        Some(1) => {
            return Err(not_a_kernel(
                path,
                "an ELF object (a module or an unlinked part)",
            ));
        }
        Some(4) => return Err(not_a_kernel(path, "a core dump")),
        _ => {}
    }
    let segments = segments(file, head).map_err(|error| unreadable(path, error))?;
    let Some(segments) = segments else {
        return Err(not_a_kernel(path, "an ELF file without program headers"));
    };
    if let Some(end) = segments
        .iter()
        .filter_map(|s| s.offset.checked_add(s.length))
        .max()
        && end > length
    {
        return Err(truncated(end));
    }
    // x86-64 kernels are linked into the topmost 2 GiB; no program can be.
    let in_kernel_space = segments
        .iter()
        .any(|s| s.kind == PT_LOAD && s.address >= 0xffff_ffff_8000_0000);
    let mut banner = None;
    let mut user_mode = false;
    let mut configuration = None;
    // Kernels carry up to 60 MB in their segments; debug information, which can be ten times that, is not read.
    for segment in segments
        .iter()
        .filter(|s| s.kind == PT_LOAD && s.length > 0)
    {
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
    Ok(Kernel {
        path: path.to_owned(),
        kind,
        release: banner,
        payload: None,
        pvh_entry,
        configuration,
    })
}

/// The release in the banner that the kernel prints first. The format string of /proc/version has no digit there.
fn find_release(data: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(data, BANNER).find_map(|at| {
        let rest = &data[at + BANNER.len()..];
        rest.first()
            .is_some_and(u8::is_ascii_digit)
            .then(|| first_word(&rest[..rest.len().min(128)]))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::PT_NOTE;

    /// The smallest bzImage that is well formed: one setup sector and `payload` as the whole of its system.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let system = payload.len().next_multiple_of(16);
        let mut image = vec![0; 2 * 512 + 512];
        image[..2].copy_from_slice(b"MZ");
        image[0x1f1] = 2;
        image[0x1f4..0x1f8].copy_from_slice(&u32::try_from(system / 16).unwrap().to_le_bytes());
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&0x0200_u16.to_le_bytes());
        image[0x211] = 1;
        image[0x236] = 1;
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image[0x400..0x41c].copy_from_slice(b"6.1.0-test (me@here) #1 SMP\0");
        image.extend_from_slice(payload);
        image.resize(3 * 512 + system, 0);
        image
    }

    /// An ELF executable for `machine` with one loaded segment at `address` holding `data`.
    fn elf(machine: u16, address: u64, data: &[u8], note: Option<&[u8]>) -> Vec<u8> {
        let count = 1 + usize::from(note.is_some());
        let start = 64 + 56 * count;
        let mut file = vec![0; start];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 2;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(count).unwrap();
        let mut header = |index: usize, kind: u32, offset: usize, length: usize| {
            let at = 64 + 56 * index;
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&(offset as u64).to_le_bytes());
            file[at + 16..at + 24].copy_from_slice(&address.to_le_bytes());
            file[at + 32..at + 40].copy_from_slice(&(length as u64).to_le_bytes());
        };
        header(0, PT_LOAD, start, data.len());
        if let Some(note) = note {
            header(1, PT_NOTE, start + data.len(), note.len());
        }
        file.extend_from_slice(data);
        file.extend_from_slice(note.unwrap_or_default());
        file
    }

    fn opened(name: &str, content: &[u8]) -> Result<Kernel, KernelError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Kernel::open(&path)
    }

    fn sentence(content: &[u8]) -> String {
        opened("image", content).unwrap_err().to_string()
    }

    #[test]
    fn a_bzimage_gives_its_release_and_payload() {
        let kernel = opened("bzImage", &bzimage(b"payload with its size")).unwrap();
        assert_eq!(kernel.kind(), Kind::BzImage);
        assert_eq!(kernel.release(), Some("6.1.0-test"));
        assert_eq!(
            kernel.payload(),
            Some(PayloadExtent {
                offset: 1536,
                length: 21
            })
        );
    }

    #[test]
    fn a_bzimage_cut_anywhere_is_said_to_be_cut() {
        let whole = bzimage(&[7; 4000]);
        for length in [
            2,
            100,
            0x1f0,
            0x202,
            0x206,
            0x240,
            0x24f,
            0x250,
            1535,
            1536,
            whole.len() - 100,
        ] {
            let error = opened("image", &whole[..length]).unwrap_err();
            assert!(
                matches!(error, KernelError::Truncated { .. }),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn a_vmlinux_gives_its_banner_and_pvh_entry() {
        let note = [
            &4_u32.to_le_bytes()[..],
            &8_u32.to_le_bytes(),
            &18_u32.to_le_bytes(),
            b"Xen\0",
            &0x100_0350_u64.to_le_bytes(),
        ]
        .concat();
        let data = b"Linux version %s\0Linux version 6.12.0+deb13 (builder@host) #1\0";
        let image = elf(62, 0xffff_ffff_8100_0000, data, Some(&note));
        let kernel = opened("vmlinux", &image).unwrap();
        assert_eq!(kernel.kind(), Kind::Vmlinux);
        assert_eq!(kernel.release(), Some("6.12.0+deb13"));
        assert_eq!(kernel.pvh_entry(), Some(0x100_0350));
        let cut = opened("vmlinux", &image[..image.len() - 20]).unwrap_err();
        assert!(matches!(cut, KernelError::Truncated { .. }), "{cut}");
    }

    #[test]
    fn user_mode_linux_is_told_from_programs() {
        let data = b"Linux version 6.1.176 (b@h)\0# Linux/um\n\0CONFIG_UML=y\n\0CONFIG_PID_NS=y\n\0\0other";
        let kernel = opened("linux", &elf(62, 0x6000_0000, data, None)).unwrap();
        assert_eq!(kernel.kind(), Kind::UserMode);
        assert_eq!(kernel.configuration().unwrap().iter().count(), 2);
        assert!(sentence(&elf(62, 0x40_0000, b"hello", None)).contains("an ordinary ELF program"));
    }

    #[test]
    fn other_architectures_are_named() {
        let mut arm64 = vec![0; 4096];
        arm64[..2].copy_from_slice(b"MZ");
        arm64[56..60].copy_from_slice(b"ARM\x64");
        assert!(sentence(&arm64).contains("is for arm64"));
        assert!(sentence(&elf(243, 0, b"", None)).contains("is for riscv"));
        assert!(sentence(&elf(3, 0, b"", None)).contains("32-bit x86"));
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        assert!(sentence(b"").contains("is empty"));
        assert!(sentence(b"obj-y += fork.o\n").contains("a text file"));
        assert!(sentence(b"#!/bin/sh\n").contains("a script"));
        assert!(sentence(&[0x1f, 0x8b, 8, 0]).contains("a gzip file"));
        assert!(sentence(&[0; 5000]).contains("unknown format"));
        let error = Kernel::open(Path::new("/nonexistent/bzImage")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/bzImage does not exist")
        );
        assert!(matches!(
            Kernel::open(Path::new("/dev/null")),
            Err(KernelError::NotAFile(_))
        ));
    }

    #[test]
    fn no_prefix_of_an_image_panics() {
        let images = [
            bzimage(&[1; 64]),
            elf(
                62,
                0xffff_ffff_8100_0000,
                b"Linux version 6",
                Some(&[4; 20]),
            ),
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        for image in &images {
            for length in (0..image.len()).step_by(7) {
                std::fs::write(&path, &image[..length]).unwrap();
                let _ = Kernel::open(&path);
            }
        }
    }

    #[test]
    fn a_build_tree_gives_its_image_and_configuration() {
        let tree = tempfile::tempdir().unwrap();
        assert!(matches!(
            Kernel::open(tree.path()),
            Err(KernelError::NotATree(_))
        ));
        std::fs::write(tree.path().join(".config"), "CONFIG_USER_NS=y\n").unwrap();
        assert!(matches!(
            Kernel::open(tree.path()),
            Err(KernelError::NotBuilt(_))
        ));
        let boot = tree.path().join("arch/x86/boot");
        std::fs::create_dir_all(&boot).unwrap();
        std::fs::write(boot.join("bzImage"), bzimage(b"payload")).unwrap();
        let kernel = Kernel::open(tree.path()).unwrap();
        assert_eq!(kernel.path(), boot.join("bzImage"));
        assert!(kernel.configuration().unwrap().is_built_in("USER_NS"));
    }

    #[test]
    fn the_configuration_beside_an_image_is_found() {
        let boot = tempfile::tempdir().unwrap();
        std::fs::write(boot.path().join("config-6.1"), "CONFIG_IPC_NS=y\n").unwrap();
        let image = boot.path().join("vmlinuz-6.1");
        std::fs::write(&image, bzimage(b"payload")).unwrap();
        assert!(
            Kernel::open(&image)
                .unwrap()
                .configuration()
                .unwrap()
                .is_built_in("IPC_NS")
        );
    }
}
