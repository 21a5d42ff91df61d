//! The guest's root file system: a cpio archive in the newc format with our own binary as `/init`.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst. The same contents give the same bytes.
//!
//! Of a trivial boot of Debian's 6.1 under TCG, 2.4 MB of binary cost nothing that can be measured, compressed or not;
//! the same binary with its 19 MB of symbols and debug information makes it 1.2 times as long. So `strip`, and no
//! compression.

use std::borrow::Cow;

use cpio::newc;

use crate::architecture::Abi;
use crate::common::*;
use crate::image::elf::{forget_sections, has_interpreter};

/// The file whose presence tells our binary, when it is process 1, that it is the init of a guest and not merely the
/// first process of a container. [`crate::init::set_up`] removes it.
pub(crate) const MARKER: &str = "etc/unshare-conformance-guest";

/// Directories that are there at boot: mount points and what programs take for granted.
const DIRECTORIES: [&str; 8] = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var"];

/// Device nodes, for the moment before devtmpfs is mounted and for kernels without it: name, major, minor
/// (Documentation/admin-guide/devices.txt). The kernel gives init its standard streams from `console`. The terminals
/// are those of every machine: an image serves kernels of all architectures that run its init.
const NODES: [(&str, u32, u32); 9] = [
    ("dev/console", 5, 1),
    ("dev/hvc0", 229, 0),
    ("dev/hvc1", 229, 1),
    ("dev/null", 1, 3),
    ("dev/ttyAMA0", 204, 64),
    ("dev/ttyS0", 4, 64),
    ("dev/ttyS1", 4, 65),
    // Of s390 alone, which has no ttyS1.
    ("dev/ttysclp0", 4, 65),
    ("dev/zero", 1, 5),
];

/// Compilers put the program headers right behind the ELF header.
const HEAD: u64 = 4096;

const DIRECTORY: u32 = libc::S_IFDIR | 0o755;
const REGULAR: u32 = libc::S_IFREG;
const CHARACTER: u32 = libc::S_IFCHR | 0o600;

/// The image cannot be written: the disk is full, or another fault of the file system.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the guest image to {path} (free space there or choose another place)")]
pub struct InitramfsError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What goes into the image.
#[derive(Clone, Debug)]
pub struct Initramfs<'a> {
    init: Cow<'a, [u8]>,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl<'a> Initramfs<'a> {
    /// An image whose `/init` is the static executable `init`, taken as it is. See [`read_stripped`].
    pub fn new(init: impl Into<Cow<'a, [u8]>>) -> Initramfs<'a> {
        Initramfs { init: init.into(), files: Vec::new() }
    }

    /// The same with a further file, in one of the directories that there are: `etc/name`.
    pub fn with_file(mut self, name: &'static str, content: Vec<u8>) -> Self {
        self.files.push((name, content));
        self
    }

    /// Streams the image.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_to(&self, writer: impl Write) -> io::Result<()> {
        let mut archive = Archive { writer, inode: 0 };
        for name in DIRECTORIES {
            archive.entry(name, DIRECTORY, (0, 0), &[])?;
        }
        for (name, major, minor) in NODES {
            archive.entry(name, CHARACTER, (major, minor), &[])?;
        }
        archive.entry(MARKER, REGULAR | 0o644, (0, 0), &[])?;
        for (name, content) in &self.files {
            archive.entry(name, REGULAR | 0o644, (0, 0), content)?;
        }
        archive.entry("init", REGULAR | 0o755, (0, 0), &self.init)?;
        newc::trailer(archive.writer)?.flush()
    }

    /// Writes the image to a file, replacing what is there. What was written until the disk ran full is removed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<(), InitramfsError> {
        let written = File::create(path).and_then(|file| {
            let written = self.write_to(io::BufWriter::new(&file));
            if written.is_err() {
                // Only what we made: /dev/full and its like stay.
                let _ = file.metadata().is_ok_and(|metadata| metadata.is_file()).then(|| std::fs::remove_file(path));
            }
            written
        });
        written.map_err(|source| InitramfsError { path: path.to_owned(), source })
    }
}

struct Archive<W> {
    writer: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("/{name} is larger than 4 GiB"));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        self.inode += 1;
        let links = if mode & libc::S_IFMT == libc::S_IFDIR { 2 } else { 1 };
        let entry = newc::Builder::new(name).ino(self.inode).mode(mode).nlink(links);
        let mut writer = entry.rdev_major(device.0).rdev_minor(device.1).write(&mut self.writer, size);
        // The crate writes the header with the first bytes of content, or on finishing when there are none.
        writer.write_all(content)?;
        writer.finish().map(drop)
    }
}

/// The part of an ELF executable that is loaded: without symbols, debug information and section headers, which are
/// more than half of a release build. `None` when `elf` is no executable.
fn strip(mut elf: Vec<u8>) -> Option<Vec<u8>> {
    let end = loaded_extent(&elf).filter(|&end| end <= elf.len())?;
    elf.truncate(end);
    forget_sections(&mut elf)?;
    Some(elf)
}

/// The executable at `path`, without what `strip` leaves out, which is not even read; as it is when there is
/// nothing to leave out.
///
/// # Errors
/// What the system says of reading it.
pub fn read_stripped(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut program = Vec::new();
    (&file).take(HEAD).read_to_end(&mut program)?;
    if let Some(end) = loaded_extent(&program).filter(|&end| end as u64 <= u64::from(u32::MAX)) {
        let rest = end.saturating_sub(program.len());
        program.reserve_exact(rest);
        (&file).take(rest as u64).read_to_end(&mut program)?;
        if let Some(stripped) = strip(program) {
            return Ok(stripped);
        }
        program = Vec::new();
        file.rewind()?;
    }
    file.read_to_end(&mut program)?;
    Ok(program)
}

/// Why a file cannot be the init of any guest: the rest of a sentence that begins with its path.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// What the system says of reading it.
    #[error("cannot be read")]
    Unreadable(#[from] io::Error),
    /// It is something else, or for another kind of machine.
    #[error("is no ELF program")]
    NotAProgram,
    /// It needs a loader, which guests do not have.
    #[error("is not linked statically")]
    Dynamic,
}

/// What the static executable at `path` is built for.
///
/// # Errors
/// It is none.
pub fn abi_of(path: &Path) -> Result<Abi, ProgramError> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    let abi = Abi::of_elf(&head).ok_or(ProgramError::NotAProgram)?;
    match has_interpreter(&head) {
        Some(false) => Ok(abi),
        Some(true) => Err(ProgramError::Dynamic),
        None => Err(ProgramError::NotAProgram),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<(String, u32, u32)> {
        let mut rest = archive;
        let mut names = Vec::new();
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return names;
            }
            let entry = reader.entry();
            names.push((entry.name().to_owned(), entry.mode(), entry.file_size()));
            rest = reader.to_writer(io::sink()).unwrap();
        }
    }

    fn bytes_of(image: &Initramfs) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_image_holds_init_and_nodes_after_their_directories() {
        let image = Initramfs::new(&b"\x7fELF pretend"[..]);
        let bytes = bytes_of(&image);
        let names = names(&bytes);
        let position = |name: &str| names.iter().position(|entry| entry.0 == name).unwrap();
        assert_eq!(names[position("init")].1, 0o100_755);
        assert_eq!(names[position("init")].2, 12);
        assert_eq!(names[position("dev/console")].1, 0o020_600);
        assert!(position("etc") < position(MARKER) && position("dev") < position("dev/console"));
        assert_eq!(bytes, bytes_of(&image));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_full_disk_is_said() {
        let error = Initramfs::new(&[1; 100_000][..]).write_file(Path::new("/dev/full")).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
        // What the system said is told once, by the chain.
        assert!(!error.to_string().contains("No space left"), "{error}");
        assert!(crate::chain(&error).ends_with("(os error 28)"), "{error}");
        assert!(Path::new("/dev/full").exists());
    }

    #[test]
    fn a_stripped_executable_still_runs() {
        use std::os::unix::fs::PermissionsExt;
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let stripped = strip(whole.clone()).unwrap();
        assert!(read_stripped(&std::env::current_exe().unwrap()).unwrap() == stripped);
        // Release builds are linked without symbols: there, only section headers go.
        let most = if cfg!(debug_assertions) { whole.len() / 2 } else { whole.len() };
        assert!(stripped.len() < most, "{} of {}", stripped.len(), whole.len());
        let directory = tempfile::tempdir().unwrap();
        let (written, program) = (directory.path().join("written"), directory.path().join("program"));
        std::fs::write(&written, stripped).unwrap();
        // A child that another test forks may have what was open for writing here, and a program is busy meanwhile.
        assert!(Command::new("cp").args([&written, &program]).status().unwrap().success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new(&program).arg("--list").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(strip(b"#!/bin/sh".to_vec()), None);
        assert_eq!(strip(whole[..60].to_vec()), None);
    }
}
