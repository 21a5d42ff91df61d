//! Kernels by release: those that were fetched, and those that Debian's archive has.
//!
//! Debian's cloud kernels have what guests need built in, from 5.10 to the newest; its `user-mode-linux` packages are
//! the same kernels as ordinary programs, named `uml-VERSION` here. A release may be shortened at any point that ends a
//! number: `6.12` is the newest 6.12, `5.10.223` the kernel packaged from that version.
//!
//! A name means a kernel for this machine's architecture, unless an architecture follows after a colon, as in
//! `6.12:arm64`. A whole release tells its architecture itself: Debian's end in it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::apt::Debian;
use crate::common::*;

/// A kernel that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its release as `uname -r` says it, or `uml-` and the package's version.
    pub release: String,
    /// What it is built for.
    pub architecture: Architecture,
    /// The package's version, which has the upstream version where the release has not. Empty when only the fetched
    /// file is known.
    pub version: String,
    /// The image, when it was fetched.
    pub image: Option<PathBuf>,
}

/// Why there is no kernel of a release.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Nothing has that name.
    #[error("no kernel release for {1} begins with {0:?}: see `unshare-conformance kernels list --arch {1}`")]
    Unknown(String, Architecture),
    /// The packages of this release hold no image.
    #[error("the packages of {0} hold no kernel: choose another release with `unshare-conformance kernels list`")]
    NoKernel(String),
    /// A user-mode kernel that needs newer libraries than this machine has. With the error it printed.
    #[error("{0} does not run on this machine ({1}): choose an older one, see `unshare-conformance kernels list`")]
    DoesNotRun(String, String),
    /// The archive cannot be reached or read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Kernels cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The user's kernels, and those that a source has, of one architecture.
#[derive(Clone, Debug)]
pub struct Library<S = Debian> {
    cache: Cache,
    source: S,
    architecture: Architecture,
}

impl Library {
    /// The library of this machine's architecture in `cache`, with Debian's archive as its source.
    pub fn new(cache: Cache) -> Library {
        Library::of(Architecture::host(), cache)
    }

    /// The library of an architecture.
    pub fn of(architecture: Architecture, cache: Cache) -> Library {
        Library { source: Debian { cache: cache.clone(), architecture }, cache, architecture }
    }
}

/// A name without the architecture behind its colon, as in `6.12:arm64`, and the architecture, if it has one there or
/// is a whole release that tells it.
pub fn parts_of(name: &str) -> (&str, Option<Architecture>) {
    let parts = name.rsplit_once(':').and_then(|(release, architecture)| Some((release, architecture.parse().ok()?)));
    match parts {
        Some((release, architecture)) => (release, Some(architecture)),
        None => (name, Architecture::of_debian_release(name)),
    }
}

impl<S: Source> Library<S> {
    /// The kernels that were fetched, oldest first. Nothing is asked of the network.
    pub fn fetched(&self) -> Vec<Entry> {
        let mut entries = self.fetched_of_any();
        entries.retain(|entry| entry.architecture == self.architecture);
        entries
    }

    fn fetched_of_any(&self) -> Vec<Entry> {
        let directories = std::fs::read_dir(self.cache.root().join("kernels")).into_iter().flatten().flatten();
        let entry = |directory: std::fs::DirEntry| {
            let release = directory.file_name().into_string().ok()?;
            let image = image_in(&directory.path(), &release);
            let version = std::fs::read_to_string(directory.path().join("version")).unwrap_or_default();
            // Only user-mode Linux does not say it.
            let architecture = Architecture::of_debian_release(&release).unwrap_or(Architecture::X86_64);
            image.is_file().then_some(Entry { release, architecture, version, image: Some(image) })
        };
        sorted(directories.filter_map(entry).collect())
    }

    /// The fetched kernel that `name` means: the newest of several, or the one whose whole release it is, of whatever
    /// architecture.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let (release, architecture) = parts_of(name);
        let mut entries = self.fetched_of_any();
        let exact = entries.iter().find(|entry| entry.release == name).cloned();
        entries.retain(|entry| entry.architecture == architecture.unwrap_or(self.architecture));
        exact.or_else(|| matching(entries, release).into_iter().next())
    }

    /// Every kernel of the source and every fetched one, oldest first.
    ///
    /// # Errors
    /// The source cannot be asked; [`Library::fetched`] still works.
    pub fn list(&self, progress: Progress<'_>) -> Result<Vec<Entry>, LibraryError> {
        Ok(self.entries(&self.source.kernels(progress)?))
    }

    /// Fetches the newest kernel that `release` names, unless it was fetched before, or the next one if the archive
    /// lists the newest and does not have it. The entry has the path of its image.
    ///
    /// # Errors
    /// No kernel has that name, or it cannot be fetched or kept.
    pub fn fetch(&self, release: &str, progress: Progress<'_>) -> Result<Entry, LibraryError> {
        if let Some(exact) = self.fetched().into_iter().find(|entry| entry.release == release) {
            return Ok(exact);
        }
        let unknown = || LibraryError::Unknown(release.to_owned(), self.architecture);
        // Refused at once, even where the archive cannot be reached.
        if !(release.starts_with(|c: char| c.is_ascii_digit()) || release.starts_with("uml")) {
            return Err(unknown());
        }
        let offers = self.source.kernels(progress)?;
        let mut gone = None;
        for entry in matching(self.entries(&offers), release) {
            if entry.image.is_some() {
                return Ok(entry);
            }
            let offer = offers.iter().find(|offer| offer.release == entry.release).ok_or_else(unknown)?;
            match self.fetch_offer(entry, offer, progress) {
                Err(LibraryError::Source(error @ SourceError::Gone(_))) => {
                    progress(&error.to_string());
                    gone.get_or_insert(error);
                }
                result => return result,
            }
        }
        Err(gone.map_or_else(unknown, LibraryError::Source))
    }

    fn fetch_offer(&self, entry: Entry, offer: &Offer, progress: Progress<'_>) -> Result<Entry, LibraryError> {
        let directory = self.cache.directory(&format!("kernels/{}", entry.release))?;
        let image = image_in(&directory, &entry.release);
        let config_name = format!("config-{}", entry.release);
        let place = |path: &Path| match path.file_name()?.to_str()? {
            "linux.uml" => Some(image.clone()),
            // Debian calls it so where it is not compressed.
            name if name.starts_with("vmlinuz") || name.starts_with("vmlinux-") => Some(image.clone()),
            name if name == "config" || name == config_name => Some(directory.join(&config_name)),
            _ => None,
        };
        let fetched = self.source.fetch(offer, &place, progress);
        if !image.is_file() {
            let _ = std::fs::remove_dir_all(&directory);
        }
        fetched?;
        if !image.is_file() {
            return Err(LibraryError::NoKernel(entry.release));
        }
        if is_user_mode(&entry.release) {
            std::fs::set_permissions(&image, Permissions::from_mode(0o755)).map_err(CacheError::at(&image))?;
            if let Err(why) = tells_its_version(&image) {
                let _ = std::fs::remove_dir_all(&directory);
                return Err(LibraryError::DoesNotRun(entry.release, why));
            }
        }
        let version = directory.join("version");
        std::fs::write(&version, &entry.version).map_err(CacheError::at(&version))?;
        Ok(Entry { image: Some(image), ..entry })
    }

    fn entries(&self, offers: &[Offer]) -> Vec<Entry> {
        let mut entries = self.fetched();
        for Offer { release, version, .. } in offers {
            if !entries.iter().any(|entry| entry.release == *release) {
                let (release, version) = (release.clone(), version.clone());
                entries.push(Entry { release, architecture: self.architecture, version, image: None });
            }
        }
        sorted(entries)
    }
}

fn is_user_mode(release: &str) -> bool {
    release.starts_with("uml-")
}

fn image_in(directory: &Path, release: &str) -> PathBuf {
    if is_user_mode(release) { directory.join("linux.uml") } else { directory.join(format!("vmlinuz-{release}")) }
}

/// Whether user-mode Linux runs here at all: it is an ordinary program of this machine.
fn tells_its_version(image: &Path) -> Result<(), String> {
    let mut command = Command::new(image);
    command.arg("--version");
    programs::output(command).map(drop).map_err(|failure| {
        // "PATH: library: version `X' not found (required by PATH)"
        let line = failure.to_string();
        let why = line.split_once(": ").map_or(&*line, |(_, why)| why);
        why.split(" (required by").next().unwrap_or(why).to_owned()
    })
}

/// The kernels that `release` names, the newest first; one alone if it is the whole release.
fn matching(entries: Vec<Entry>, release: &str) -> Vec<Entry> {
    // A bare version never means a user-mode kernel.
    let by_version = |entry: &Entry| !is_user_mode(&entry.release) && begins(&entry.version, release);
    let named = |entry: &&Entry| begins(&entry.release, release) || by_version(entry);
    match entries.iter().find(|entry| entry.release == release) {
        Some(exact) => vec![exact.clone()],
        None => entries.iter().rev().filter(named).cloned().collect(),
    }
}

/// Whether `text` begins with `prefix` and the prefix does not end within a number: 6.12 does not begin with 6.1.
fn begins(text: &str, prefix: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    !prefix.is_empty()
        && text.strip_prefix(prefix).is_some_and(|rest| !(prefix.ends_with(is_digit) && rest.starts_with(is_digit)))
}

/// Oldest first, user-mode kernels after the others.
fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    let is_user_mode = |entry: &Entry| is_user_mode(&entry.release);
    entries.sort_by(|a, b| (is_user_mode(a), parts(&a.release)).cmp(&(is_user_mode(b), parts(&b.release))));
    entries
}

/// What to sort releases by: numbers as numbers and everything else as text.
fn parts(release: &str) -> Vec<(Option<u64>, &[u8])> {
    let parts = release.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    parts.map(|part| (str::from_utf8(part).ok().and_then(|part| part.parse().ok()), part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::source::Place;

    /// A source of these releases and versions, whose images hold their releases. It does not have what is `GONE`.
    struct Shelf(&'static [(&'static str, &'static str)]);

    const GONE: &str = "6.12.118+deb13-cloud-amd64";

    impl Source for Shelf {
        fn kernels(&self, _: Progress<'_>) -> Result<Vec<Offer>, SourceError> {
            let offer = |(release, version): &(&str, &str)| Offer {
                release: release.to_string(),
                version: version.to_string(),
                parts: Vec::new(),
            };
            Ok(self.0.iter().map(offer).collect())
        }

        fn fetch(&self, offer: &Offer, place: Place<'_>, _: Progress<'_>) -> Result<(), SourceError> {
            if offer.release == GONE {
                return Err(SourceError::Gone(offer.release.clone()));
            }
            for (name, content) in [("linux.uml", "#!/bin/sh\necho lib: no version >&2; exit 1"), ("config", "y")] {
                let path = place(Path::new(name)).unwrap();
                std::fs::write(&path, content).map_err(CacheError::at(&path))?;
            }
            assert_eq!(place(Path::new("System.map")), None);
            assert!(offer.parts.is_empty());
            Ok(())
        }
    }

    const ARCHIVE: Shelf = Shelf(&[
        ("6.12.90+deb13-cloud-amd64", "6.12.90-1"),
        ("6.12.117+deb13-cloud-amd64", "6.12.117-1"),
        (GONE, "6.12.118-1"),
        ("6.1.0-53-cloud-amd64", "6.1.187-1"),
        ("5.10.0-32-cloud-amd64", "5.10.223-1"),
        ("7.3.4+deb13-cloud-amd64", "7.3.4-1"),
        ("7.3.4+deb13-cloud-amd64", "7.3.4-1"),
        ("uml-6.1um4+b13", "6.1um4+b13"),
    ]);

    fn library() -> (tempfile::TempDir, Library<Shelf>) {
        let directory = tempfile::tempdir().unwrap();
        let architecture = Architecture::X86_64;
        let library = Library { cache: Cache::at(directory.path()), source: ARCHIVE, architecture };
        (directory, library)
    }

    #[test]
    fn a_prefix_names_the_newest_release() {
        let (_directory, library) = library();
        let entries = library.list(&mut |_| ()).unwrap();
        let release = |prefix: &str| matching(entries.clone(), prefix).first().map(|entry| entry.release.clone());
        assert_eq!(release("6.12").as_deref(), Some(GONE));
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
        let entries = library.list(&mut |_| ()).unwrap();
        let releases: Vec<String> = entries.into_iter().map(|entry| entry.release).collect();
        assert_eq!(releases.len(), 7);
        assert!(releases[0].starts_with("5.10") && releases[6].starts_with("uml-"), "{releases:?}");
    }

    #[test]
    fn a_kernel_is_fetched_once_and_found_from_then_on() {
        let (directory, library) = library();
        let fetched = library.fetch("6.12", &mut |_| ()).unwrap();
        assert_eq!(library.find("6.12.117"), Some(fetched.clone()));
        assert_eq!(library.fetch("6.12", &mut |_| ()).unwrap(), fetched);
        let config = "kernels/6.12.117+deb13-cloud-amd64/config-6.12.117+deb13-cloud-amd64";
        assert!(directory.path().join(config).is_file());
        assert!(matches!(library.fetch("6.11", &mut |_| ()), Err(LibraryError::Unknown(..))));
        assert!(matches!(library.fetch("linux", &mut |_| ()), Err(LibraryError::Unknown(..))));
    }

    #[test]
    fn the_next_kernel_is_fetched_for_one_that_the_archive_lost() {
        let (directory, library) = library();
        let mut told = Vec::new();
        let entry = library.fetch("6.12", &mut |line| told.push(line.to_owned())).unwrap();
        assert_eq!(entry.release, "6.12.117+deb13-cloud-amd64");
        assert!(told.iter().any(|line| line.contains(GONE) && line.contains("does not have it")), "{told:?}");
        assert!(!directory.path().join("kernels").join(GONE).exists());
        // Asked for by its name, nothing else will do.
        let error = library.fetch(GONE, &mut |_| ()).unwrap_err();
        assert!(matches!(error, LibraryError::Source(SourceError::Gone(_))), "{error}");
    }

    #[test]
    fn kernels_of_other_architectures_are_found_by_name() {
        let (_directory, library) = library();
        for (release, version) in [
            ("6.12.117+deb13-cloud-arm64", "6.12.117-1"),
            ("6.12.90+deb13-cloud-amd64", "6.12.90-1"),
            ("6.1.0-50-686", "6.1.176-1"),
            ("6.1.0-50-686-pae", "6.1.176-1"),
        ] {
            let kernel = library.cache.directory(&format!("kernels/{release}")).unwrap();
            std::fs::write(kernel.join(format!("vmlinuz-{release}")), "").unwrap();
            std::fs::write(kernel.join("version"), version).unwrap();
        }
        let found = |name: &str| library.find(name).map(|entry| (entry.release, entry.architecture));
        let arm64 = Some(("6.12.117+deb13-cloud-arm64".to_owned(), Architecture::Arm64));
        assert_eq!(found("6.12"), Some(("6.12.90+deb13-cloud-amd64".to_owned(), Architecture::X86_64)));
        for name in ["6.12:arm64", "6.12.117:aarch64", "6.12.117+deb13-cloud-arm64"] {
            assert_eq!(found(name), arm64, "{name}");
        }
        assert_eq!(found("6.1:i386").unwrap().0, "6.1.0-50-686-pae");
        assert_eq!(found("6.12:s390x"), None);
        assert_eq!(library.fetched().len(), 1);
        assert_eq!(parts_of("6.12:vax"), ("6.12:vax", None));
        let whole = "6.12.117+deb13-cloud-arm64";
        assert_eq!(parts_of(whole), (whole, Some(Architecture::Arm64)));
    }

    #[test]
    fn a_user_mode_kernel_that_does_not_run_here_is_not_kept() {
        let (directory, library) = library();
        let error = library.fetch("uml", &mut |_| ()).unwrap_err().to_string();
        assert!(error.starts_with("uml-6.1um4+b13 does not run on this machine (no version)"), "{error}");
        assert!(!directory.path().join("kernels/uml-6.1um4+b13").exists());
    }

    #[test]
    fn fetched_kernels_are_found_without_a_source() {
        let (_directory, library) = library();
        assert_eq!(library.find("6.1"), None);
        let kernel = library.cache.directory("kernels/6.1.0-53-cloud-amd64").unwrap();
        assert_eq!(library.find("6.1"), None);
        std::fs::write(kernel.join("vmlinuz-6.1.0-53-cloud-amd64"), "").unwrap();
        std::fs::write(kernel.join("version"), "6.1.187-1").unwrap();
        assert_eq!(library.find("6.1.187").unwrap().release, "6.1.0-53-cloud-amd64");
    }
}
