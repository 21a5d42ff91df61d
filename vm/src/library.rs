//! Kernels by release: those that were fetched, and those that Debian's archive has.
//!
//! Debian's cloud kernels have what guests need built in, from 5.10 to the newest; its `user-mode-linux` packages are
//! the same kernels as ordinary programs, named `uml-VERSION` here. A release may be shortened at any point that ends a
//! number: `6.12` is the newest 6.12, `5.10.223` the kernel packaged from that version.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, AptError, Package};
use crate::cache::{Cache, CacheError};

/// A kernel that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its release as `uname -r` says it, or `uml-` and the package's version.
    pub release: String,
    /// The package's version, which has the upstream version where the release has not. Empty when only the fetched
    /// file is known.
    pub version: String,
    /// The image, when it was fetched.
    pub image: Option<PathBuf>,
}

/// Why a release cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Nothing has that name.
    #[error("no kernel release begins with {0:?}: see `unshare-conformance kernels list`")]
    Unknown(String),
    /// A user-mode kernel of a suite newer than this machine, whose libraries it lacks.
    #[error(
        "{release} does not run on this machine ({why}): choose an older one, see `unshare-conformance kernels list`"
    )]
    DoesNotRun {
        /// The release.
        release: String,
        /// What was said instead of its version.
        why: String,
    },
    /// The archive cannot be reached or read.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// There is no place for the kernels.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The user's kernels.
#[derive(Clone, Debug)]
pub struct Library {
    cache: Cache,
}

const PATTERN: &str = "^(linux-(image|binary|base)-[0-9].*-cloud-amd64|user-mode-linux)$";

impl Library {
    /// The library in `cache`.
    pub fn new(cache: Cache) -> Library {
        Library { cache }
    }

    /// The kernels that were fetched, oldest first. Nothing is asked of the network.
    pub fn fetched(&self) -> Vec<Entry> {
        let Ok(directories) = std::fs::read_dir(self.cache.root().join("kernels")) else {
            return Vec::new();
        };
        let mut entries: Vec<Entry> = directories
            .flatten()
            .filter_map(|directory| {
                let release = directory.file_name().into_string().ok()?;
                let image = image_in(&directory.path(), &release);
                let version = std::fs::read_to_string(directory.path().join("version")).unwrap_or_default();
                image.is_file().then_some(Entry { release, version, image: Some(image) })
            })
            .collect();
        entries.sort_by(order);
        entries
    }

    /// The fetched kernel that `release` names, the newest if several do.
    pub fn find(&self, release: &str) -> Option<Entry> {
        newest(self.fetched(), release)
    }

    /// Every kernel of Debian's archive and every fetched one, oldest first.
    ///
    /// # Errors
    /// [`LibraryError::Apt`] when the archive cannot be asked; [`Library::fetched`] still works.
    pub fn list(&self, progress: &mut dyn FnMut(&str)) -> Result<Vec<Entry>, LibraryError> {
        let apt = Apt::open(&self.cache)?;
        apt.update(false, progress)?;
        let packages = apt.packages(PATTERN)?;
        Ok(self.entries(&packages))
    }

    /// Fetches the newest kernel that `release` names and gives it, with the path of its image. One that was fetched
    /// before is not fetched again.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], or why the archive cannot be asked.
    pub fn fetch(&self, release: &str, progress: &mut dyn FnMut(&str)) -> Result<Entry, LibraryError> {
        if let Some(exact) = self.fetched().into_iter().find(|entry| entry.release == release) {
            return Ok(exact);
        }
        // Said at once, and also where the archive cannot be reached.
        if !(release.starts_with(|c: char| c.is_ascii_digit()) || release.starts_with("uml")) {
            return Err(LibraryError::Unknown(release.to_owned()));
        }
        let apt = Apt::open(&self.cache)?;
        apt.update(false, progress)?;
        let packages = apt.packages(PATTERN)?;
        let entry =
            newest(self.entries(&packages), release).ok_or_else(|| LibraryError::Unknown(release.to_owned()))?;
        if entry.image.is_some() {
            return Ok(entry);
        }
        let directory = self.cache.directory(&format!("kernels/{}", entry.release))?;
        let image = image_in(&directory, &entry.release);
        let config = directory.join(format!("config-{}", entry.release));
        // The configuration first, so that an image that is there is complete. Which package has it changed over time:
        // the image's own until 6.18, then a small one beside it.
        let mut holders = holders(&entry, &packages);
        holders.reverse();
        for package in &holders {
            let mut place = |path: &Path| {
                let name = path.file_name()?.to_str()?;
                match name {
                    _ if name == "linux.uml" || name.starts_with("vmlinuz") => Some(image.clone()),
                    _ if name == "config" || name == format!("config-{}", entry.release) => Some(config.clone()),
                    _ => None,
                }
            };
            apt.extract(package, &mut place, progress)?;
        }
        if !image.is_file() {
            let name = holders.last().map_or_else(|| entry.release.clone(), |package| package.name.clone());
            return Err(AptError::NoKernel(name).into());
        }
        if entry.release.starts_with("uml-") {
            make_executable(&image)?;
            if let Err(why) = tells_its_version(&image) {
                let _ = std::fs::remove_dir_all(&directory);
                return Err(LibraryError::DoesNotRun { release: entry.release, why });
            }
        }
        let version = directory.join("version");
        std::fs::write(&version, &entry.version).map_err(|source| AptError::File { path: version, source })?;
        Ok(Entry { image: Some(image), ..entry })
    }

    fn entries(&self, packages: &[Package]) -> Vec<Entry> {
        let mut entries = self.fetched();
        for package in packages {
            let Some(release) = release_of(package) else {
                continue;
            };
            if !entries.iter().any(|entry| entry.release == release) {
                entries.push(Entry { release, version: package.version.clone(), image: None });
            }
        }
        entries.sort_by(order);
        entries
    }
}

fn image_in(directory: &Path, release: &str) -> PathBuf {
    if release.starts_with("uml-") { directory.join("linux.uml") } else { directory.join(format!("vmlinuz-{release}")) }
}

fn make_executable(image: &Path) -> Result<(), AptError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(image, std::fs::Permissions::from_mode(0o755))
        .map_err(|source| AptError::File { path: image.to_owned(), source })
}

/// Whether user-mode Linux runs here at all: it is an ordinary program of this machine.
fn tells_its_version(image: &Path) -> Result<(), String> {
    let output = Command::new(image).arg("--version").output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // "PATH: library: version `X' not found (required by PATH)"
    let line = said.lines().next().unwrap_or_default();
    let why = line.split_once(": ").map_or(line, |(_, why)| why);
    let why = why.split(" (required by").next().unwrap_or_default();
    Err(if why.is_empty() { output.status.to_string() } else { why.to_owned() })
}

/// The release of the kernel in a package, for packages that stand for one.
fn release_of(package: &Package) -> Option<String> {
    if package.name == "user-mode-linux" {
        return Some(format!("uml-{}", package.version));
    }
    let release = package.name.strip_prefix("linux-image-").or_else(|| package.name.strip_prefix("linux-binary-"))?;
    (!release.starts_with("unsigned-")).then(|| release.to_owned())
}

/// The packages that hold the image and the configuration of a kernel, the image's first.
fn holders(entry: &Entry, packages: &[Package]) -> Vec<Package> {
    let named = |name: String| packages.iter().find(|p| p.name == name && p.version == entry.version).cloned();
    if entry.release.starts_with("uml-") {
        return named("user-mode-linux".into()).into_iter().collect();
    }
    let part = |kind: &str| named(format!("linux-{kind}-{}", entry.release));
    match part("binary") {
        Some(binary) => std::iter::once(binary).chain(part("base").or_else(|| part("image"))).collect(),
        None => part("image").into_iter().collect(),
    }
}

/// The newest of `entries` that `release` names.
fn newest(entries: Vec<Entry>, release: &str) -> Option<Entry> {
    // A bare version never means a user-mode kernel.
    let by_version = |entry: &Entry| !entry.release.starts_with("uml-") && begins(&entry.version, release);
    let named = |entry: &Entry| begins(&entry.release, release) || by_version(entry);
    if let Some(exact) = entries.iter().find(|entry| entry.release == release) {
        return Some(exact.clone());
    }
    entries.into_iter().rev().find(named)
}

/// Whether `prefix` is the beginning of `text` and does not end within a number: 6.1 is no beginning of 6.12.
fn begins(text: &str, prefix: &str) -> bool {
    !prefix.is_empty()
        && text.strip_prefix(prefix).is_some_and(|rest| {
            !(prefix.ends_with(|c: char| c.is_ascii_digit()) && rest.starts_with(|c: char| c.is_ascii_digit()))
        })
}

/// Oldest first: numbers as numbers, everything else as text; user-mode kernels after the others.
fn order(a: &Entry, b: &Entry) -> Ordering {
    let user_mode = |entry: &Entry| entry.release.starts_with("uml-");
    user_mode(a).cmp(&user_mode(b)).then_with(|| natural(&a.release, &b.release))
}

fn natural(a: &str, b: &str) -> Ordering {
    fn parts(text: &str) -> Vec<(Option<u64>, &str)> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let digits = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
            parts.push((if digits { rest[..end].parse().ok() } else { None }, &rest[..end]));
            rest = &rest[end..];
        }
        parts
    }
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.into(), version: version.into() }
    }

    fn archive() -> Vec<Package> {
        vec![
            package("linux-image-6.12.90+deb13-cloud-amd64", "6.12.90-1"),
            package("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
            package("linux-image-6.1.0-53-cloud-amd64", "6.1.187-1"),
            package("linux-image-5.10.0-32-cloud-amd64", "5.10.223-1"),
            package("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
            package("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
            package("linux-binary-unsigned-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
            package("linux-base-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
            package("user-mode-linux", "6.1um4+b13"),
        ]
    }

    fn library() -> (tempfile::TempDir, Library) {
        let directory = tempfile::tempdir().unwrap();
        let library = Library::new(Cache::at(directory.path()));
        (directory, library)
    }

    #[test]
    fn a_prefix_names_the_newest_release() {
        let (_directory, library) = library();
        let entries = library.entries(&archive());
        let release = |prefix: &str| newest(entries.clone(), prefix).map(|entry| entry.release);
        assert_eq!(release("6.12").as_deref(), Some("6.12.117+deb13-cloud-amd64"));
        assert_eq!(release("6.1").as_deref(), Some("6.1.0-53-cloud-amd64"));
        assert_eq!(release("5.10.223").as_deref(), Some("5.10.0-32-cloud-amd64"));
        assert_eq!(release("uml-6.1").as_deref(), Some("uml-6.1um4+b13"));
        assert_eq!(release("7").as_deref(), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(release("6.12.90+deb13-cloud-amd64").as_deref(), Some("6.12.90+deb13-cloud-amd64"));
        for unknown in ["", "6.11", "5.1", "cloud"] {
            assert_eq!(release(unknown), None);
        }
    }

    #[test]
    fn each_release_is_listed_once_and_in_order() {
        let (_directory, library) = library();
        let releases: Vec<String> = library.entries(&archive()).into_iter().map(|entry| entry.release).collect();
        assert_eq!(releases.len(), 6);
        assert!(releases[0].starts_with("5.10") && releases[5].starts_with("uml-"), "{releases:?}");
    }

    #[test]
    fn split_packages_are_taken_together() {
        let (_directory, library) = library();
        let packages = archive();
        let entry = newest(library.entries(&packages), "7.3").unwrap();
        let names: Vec<String> = holders(&entry, &packages).into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-base-7.3.4+deb13-cloud-amd64"]);
    }

    #[test]
    fn fetched_kernels_are_found_without_apt() {
        let (directory, library) = library();
        assert_eq!(library.find("6.1"), None);
        let kernel = directory.path().join("kernels/6.1.0-53-cloud-amd64");
        std::fs::create_dir_all(&kernel).unwrap();
        assert_eq!(library.find("6.1"), None);
        std::fs::write(kernel.join("vmlinuz-6.1.0-53-cloud-amd64"), "").unwrap();
        std::fs::write(kernel.join("version"), "6.1.187-1").unwrap();
        assert_eq!(library.find("6.1.187").unwrap().release, "6.1.0-53-cloud-amd64");
    }
}
