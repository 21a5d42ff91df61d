//! Recognises what a user points at as "the kernel": a bzImage, an Image, a vmlinux, a user-mode Linux executable, or
//! the build tree that holds one.

use std::error::Error;
use std::io::ErrorKind;

use super::format::{self, Image};
use crate::common::*;

pub use super::format::Kind;

/// A kernel image that was recognised. It is read when opened; a later change of the file goes unnoticed.
#[derive(Clone, Debug)]
pub struct Kernel {
    path: PathBuf,
    pub(crate) image: Image,
}

/// Why a path is not a kernel that a guest can boot: one sentence that also says what to do.
#[derive(Debug)]
pub struct KernelError {
    path: PathBuf,
    flaw: Flaw,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.flaw)
    }
}

impl Error for KernelError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.flaw.source()
    }
}

impl KernelError {
    pub(crate) fn at(path: &Path) -> impl Fn(Flaw) -> KernelError {
        |flaw| KernelError { path: path.to_owned(), flaw }
    }
}

impl Kernel {
    /// Recognises the kernel at `path`, which may be an image or a build tree, and reads its release and,
    /// where that is possible without unpacking, its configuration.
    ///
    /// # Errors
    /// `path` is not a kernel that guests can boot.
    pub fn open(path: &Path) -> Result<Kernel, KernelError> {
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Flaw::Missing,
            _ => error.into(),
        });
        let metadata = metadata.map_err(KernelError::at(path))?;
        if metadata.is_dir() {
            return open_tree(path);
        }
        if !metadata.is_file() {
            return Err(KernelError::at(path)(Flaw::NotAFile));
        }
        let mut kernel = open_image(path)?;
        if kernel.image.configuration.is_none() {
            kernel.image.configuration = configuration_beside(path)?;
        }
        Ok(kernel)
    }

    /// The image itself, also when a build tree was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of image it is.
    pub fn kind(&self) -> Kind {
        self.image.kind
    }

    /// What it is built for.
    pub fn architecture(&self) -> Architecture {
        self.image.architecture
    }

    /// The release as `uname -r` prints it in the guest, where the image states it.
    pub fn release(&self) -> Option<&str> {
        self.image.release.as_deref()
    }

    /// The configuration it was built with, from the build tree's `.config`, from `config-RELEASE` beside
    /// `vmlinuz-RELEASE`, or from the image (CONFIG_IKCONFIG, and every user-mode Linux). A bzImage's embedded copy
    /// is compressed with the kernel: [`crate::payload::unpack`] finds it.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.image.configuration.as_ref()
    }

    /// The same kernel, unpacked to the ELF file `elf` with the PVH entry `entry`.
    pub(crate) fn unpacked_to(self, elf: PathBuf, entry: u32) -> Kernel {
        let image = Image { kind: Kind::Vmlinux, payload: None, pvh_entry: Some(entry), ..self.image };
        Kernel { path: elf, image }
    }

    /// The same kernel, unpacked to the file at `path`, which may say more of it.
    pub(crate) fn unpacked_as(self, path: PathBuf, unpacked: Image) -> Kernel {
        let release = self.image.release.or(unpacked.release);
        let configuration = self.image.configuration.or(unpacked.configuration);
        Kernel { path, image: Image { release, configuration, ..unpacked } }
    }

    #[cfg(test)]
    pub(crate) fn for_test(path: &str, kind: Kind, pvh_entry: Option<u32>) -> Kernel {
        Kernel::of_architecture(path, kind, Architecture::X86_64, pvh_entry)
    }

    #[cfg(test)]
    pub(crate) fn of_architecture(
        path: &str,
        kind: Kind,
        architecture: Architecture,
        pvh_entry: Option<u32>,
    ) -> Kernel {
        Kernel { path: path.into(), image: Image { pvh_entry, ..Image::new(kind, architecture) } }
    }
}

fn open_image(path: &Path) -> Result<Kernel, KernelError> {
    let image = File::open(path).map_err(Flaw::from).and_then(|file| format::read(&file));
    Ok(Kernel { path: path.to_owned(), image: image.map_err(KernelError::at(path))? })
}

/// Where build trees have their images, with the option of the architecture.
const IMAGES: [(&str, &str); 12] = [
    ("arch/x86/boot/bzImage", "X86"),
    ("arch/x86_64/boot/bzImage", "X86"),
    ("arch/arm64/boot/Image", "ARM64"),
    ("arch/arm64/boot/Image.gz", "ARM64"),
    ("arch/arm64/boot/vmlinuz.efi", "ARM64"),
    ("arch/riscv/boot/Image", "RISCV"),
    ("arch/riscv/boot/Image.gz", "RISCV"),
    ("arch/riscv/boot/vmlinuz.efi", "RISCV"),
    ("arch/s390/boot/bzImage", "S390"),
    // A user-mode tree has a `vmlinux` too, which is the same program as `linux`.
    ("linux", "UML"),
    ("vmlinux", "PPC64"),
    ("vmlinuz", "VMLINUZ"),
];

/// Where they have images that no guest boots.
const OTHER_IMAGES: [(&str, &str); 2] =
    [("arch/arm/boot/zImage", "32-bit arm"), ("arch/loongarch/boot/vmlinux.efi", "loongarch")];

/// The image in a build tree, an `O=` directory as well as one built in its sources.
fn open_tree(tree: &Path) -> Result<Kernel, KernelError> {
    let configuration = configuration_file(&tree.join(".config"))?;
    // A tree that was built for several architectures is configured for the last.
    let is_configured = |option: &str| configuration.as_ref().is_some_and(|it| it.is_built_in(option));
    let mut candidates = IMAGES;
    candidates.sort_by_key(|(_, option)| !is_configured(option));
    for (candidate, _) in candidates {
        let image = tree.join(candidate);
        if image.is_file() {
            // Distributions put it beside a `vmlinuz` in /usr/lib/modules/RELEASE.
            let beside = configuration_beside(&image)?;
            let Kernel { path, mut image } = open_image(&image)?;
            image.configuration = configuration.or(beside).or(image.configuration);
            if let Ok(release) = std::fs::read_to_string(tree.join("include/config/kernel.release")) {
                image.release = image.release.or(Some(release.trim().to_owned()));
            }
            return Ok(Kernel { path, image });
        }
    }
    for (image, architecture) in OTHER_IMAGES {
        if tree.join(image).is_file() {
            return Err(KernelError::at(&tree.join(image))(Flaw::OtherArchitecture(architecture.to_owned())));
        }
    }
    if tree.join("modules.builtin").is_file() && configuration.is_none() {
        let release = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(KernelError::at(tree)(Flaw::Modules(release)));
    }
    let is_source = tree.join("Kbuild").is_file() || tree.join("scripts/kconfig").exists() || configuration.is_some();
    Err(KernelError::at(tree)(if is_source { Flaw::NotBuilt } else { Flaw::NotATree }))
}

/// `config-RELEASE` beside `vmlinuz-RELEASE` or `vmlinux-RELEASE`, as distributions lay out `/boot`; `config` beside
/// `vmlinuz`, as they lay out `/usr/lib/modules/RELEASE`.
fn configuration_beside(image: &Path) -> Result<Option<Configuration>, KernelError> {
    let name = image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let rest = ["vmlinuz", "vmlinux", "bzImage"].iter().find_map(|prefix| name.strip_prefix(prefix));
    match rest.filter(|rest| rest.is_empty() || rest.starts_with('-')) {
        Some(rest) => configuration_file(&image.with_file_name(format!("config{rest}"))),
        None => Ok(None),
    }
}

fn configuration_file(path: &Path) -> Result<Option<Configuration>, KernelError> {
    match Configuration::read(path) {
        Ok(configuration) => Ok(Some(configuration)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KernelError::at(path)(error.into())),
    }
}

#[cfg(test)]
mod tests;
