//! Recognises what a user points at as "the kernel": a bzImage, a vmlinux, a user-mode Linux executable, or the
//! build tree that holds one.
//!
//! Formats: Documentation/arch/x86/boot.rst (the boot protocol header), the ELF specification, and
//! Documentation/arch/arm64/booting.rst and arch/riscv/boot-image-header.rst for telling other architectures apart.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

mod image;

use crate::elf::{pvh_entry, read_up_to, segments};
use crate::kconfig::Configuration;
use image::{HEAD, describe, open_image};

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
    #[error("{0} does not exist: give a bzImage, a vmlinux, a user-mode Linux executable or a kernel build tree")]
    Missing(PathBuf),
    /// It is there and cannot be read.
    #[error("cannot read {path} (check its permissions and the disk)")]
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
    #[error("{path} is for {architecture}, and guests are x86-64: build the kernel with ARCH=x86_64")]
    OtherArchitecture {
        /// The image.
        path: PathBuf,
        /// The architecture as its own developers call it.
        architecture: String,
    },
    /// An x86 kernel without 64-bit entry.
    #[error("{0} is for 32-bit x86, and the guest's init is a 64-bit program: build the kernel with CONFIG_64BIT=y")]
    ThirtyTwoBit(PathBuf),
    /// The header promises more bytes than there are.
    #[error("{path} is cut short: its header asks for {expected} bytes and it has {found}; copy or build it again")]
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
    #[error("{0} is a directory without a kernel: no arch/x86/boot/bzImage, vmlinux or linux in it")]
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
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => KernelError::Missing(path.to_owned()),
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
    pub(crate) fn unpacked_to(self, elf: PathBuf, pvh_entry: Option<u32>, embedded: Option<Configuration>) -> Kernel {
        let configuration = self.configuration.or(embedded);
        Kernel { path: elf, kind: Kind::Vmlinux, payload: None, pvh_entry, configuration, ..self }
    }

    /// A kernel that no file stands for.
    #[cfg(test)]
    pub(crate) fn for_test(path: &str, kind: Kind, pvh_entry: Option<u32>) -> Kernel {
        Kernel { path: path.into(), kind, release: None, payload: None, pvh_entry, configuration: None }
    }

    /// The same kernel, with the configuration that was found in it unless there is a better one.
    pub(crate) fn configured(self, embedded: Option<Configuration>) -> Kernel {
        Kernel { configuration: self.configuration.or(embedded), ..self }
    }
}

/// The PVH entry of a vmlinux of which nothing else is asked: reads a few kilobytes instead of all of it.
pub(crate) fn pvh_entry_of(path: &Path) -> Result<Option<u32>, KernelError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let length = file.metadata().map_err(|error| unreadable(path, error))?.len();
    let mut head = vec![0; HEAD];
    let filled = read_up_to(&file, &mut head, 0).map_err(|error| unreadable(path, error))?;
    head.truncate(filled);
    let found = head.starts_with(b"\x7fELF").then(|| segments(&file, &head)).transpose();
    let Some(segments) = found.map_err(|error| unreadable(path, error))?.flatten() else {
        return Err(not_a_kernel(path, describe(&head)));
    };
    let expected = segments.iter().filter_map(|s| s.offset.checked_add(s.length)).max().unwrap_or(0);
    if expected > length {
        return Err(KernelError::Truncated { path: path.to_owned(), expected, found: length });
    }
    pvh_entry(&file, &segments).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, source: io::Error) -> KernelError {
    KernelError::Unreadable { path: path.to_owned(), source }
}

fn not_a_kernel(path: &Path, what: impl Into<String>) -> KernelError {
    KernelError::NotAKernel { path: path.to_owned(), what: what.into() }
}

/// The image in a build tree, an `O=` directory as well as one built in its sources.
fn open_tree(tree: &Path) -> Result<Kernel, KernelError> {
    let configuration = match std::fs::read(tree.join(".config")) {
        Ok(text) => Some(Configuration::parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&tree.join(".config"), error)),
    };
    // A user-mode tree has a `vmlinux` too, which is the same program as `linux`.
    let candidates = ["arch/x86/boot/bzImage", "arch/x86_64/boot/bzImage", "linux", "vmlinux"];
    for candidate in candidates {
        let image = tree.join(candidate);
        if image.is_file() {
            let mut kernel = open_image(&image)?;
            kernel.configuration = configuration.or(kernel.configuration);
            if let Ok(release) = std::fs::read_to_string(tree.join("include/config/kernel.release")) {
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
            return Err(KernelError::OtherArchitecture { path: tree.join(image), architecture: architecture.into() });
        }
    }
    if tree.join("Kbuild").is_file() || tree.join("scripts/kconfig").exists() || configuration.is_some() {
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
    let Some(rest) = ["vmlinuz", "vmlinux", "bzImage"].iter().find_map(|prefix| name.strip_prefix(prefix)) else {
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

#[cfg(test)]
mod tests;
