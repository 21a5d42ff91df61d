//! Debian's package archive through the machine's own apt, without changing the machine: lists, caches and settings
//! lie in a private root in the user's cache, and nothing is installed.
//!
//! The mirror is the one that the machine's apt is set up with; only the suites are ours. Signatures are checked with
//! the machine's keyrings, by apt. Proxies and the like are read from the machine's apt.conf.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::cache::{Cache, CacheError};
use crate::machine::in_path;

/// Why packages cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The machine is no Debian or derivative.
    #[error(
        "{0} is not installed: kernels are fetched with Debian's tools; on other systems give --kernel a kernel image or a build tree"
    )]
    NotInstalled(&'static str),
    /// No Debian mirror is configured.
    #[error(
        "this machine's apt has no Debian mirror among its sources: add one, or give --kernel a kernel image or a build tree"
    )]
    NoMirror,
    /// There is no place for lists and packages.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file in the private root cannot be written or read.
    #[error("cannot use {path} (free space there or set XDG_CACHE_HOME to another place)")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A tool of apt's failed.
    #[error("{program} failed ({why}): check the network and this machine's apt sources")]
    Failed {
        /// The tool with its command.
        program: String,
        /// The last error it printed.
        why: String,
    },
    /// A package does not hold what its kind should.
    #[error("the package {0} holds no kernel: choose another release with `unshare-conformance kernels list`")]
    NoKernel(String),
}

/// A version of a package that the mirror has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, Debian's notation.
    pub version: String,
}

/// The suites with kernels, oldest first. A mirror that lacks some still serves the others.
const SUITES: [&str; 8] =
    ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid", "experimental"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
/// Code names by which a source is known to be Debian's, also before its lists were ever fetched.
const CODE_NAMES: [&str; 13] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "experimental",
];
/// Lists are fetched again after this time.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// The private root.
#[derive(Debug)]
pub struct Apt {
    root: PathBuf,
}

impl Apt {
    /// Prepares the private root in `cache` for the machine's mirror. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`AptError::NotInstalled`], [`AptError::NoMirror`], or a fault of the cache.
    pub fn open(cache: &Cache) -> Result<Apt, AptError> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            in_path(program).ok_or(AptError::NotInstalled(program))?;
        }
        let root = cache.directory("apt")?;
        for directory in ["lists/partial", "archives/partial", "log"] {
            cache.directory(&format!("apt/{directory}"))?;
        }
        let apt = Apt { root };
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]);
        let sources = sources(&output(targets)?).ok_or(AptError::NoMirror)?;
        // Lists of another mirror do not count.
        if std::fs::read_to_string(apt.root.join("sources.list")).ok().as_deref() != Some(&sources) {
            let _ = std::fs::remove_file(apt.root.join("updated"));
        }
        apt.write("sources.list", &sources)?;
        apt.write("status", "")?;
        apt.write("apt.conf", &settings(&apt.root))?;
        Ok(apt)
    }

    /// Fetches the package lists if those here are older than a day, or in any case. `progress` is told what is going
    /// on, a line at a time.
    ///
    /// # Errors
    /// [`AptError::Failed`] when no suite could be had.
    pub fn update(&self, always: bool, progress: &mut dyn FnMut(&str)) -> Result<(), AptError> {
        let stamp = self.root.join("updated");
        let age = stamp.metadata().and_then(|metadata| metadata.modified());
        let fresh = age.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_LAST));
        if fresh && !always {
            return Ok(());
        }
        progress("fetching Debian's package lists (some 50 MB, once a day)");
        // Only one at a time; apt itself would refuse rather than wait.
        let lock = self.root.join("lock");
        let file = |source| AptError::File { path: lock.clone(), source };
        let held = File::create(&lock).map_err(file)?;
        held.lock().map_err(file)?;

        let mut command = self.command("apt-get");
        command.args(["-q", "update"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed("apt-get update", error.to_string()))?;
        let mut last = String::new();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                progress(&line);
                if line.starts_with("E:") {
                    last = line;
                }
            }
        }
        let status = child.wait().map_err(|error| failed("apt-get update", error.to_string()))?;
        // A suite that the mirror lacks, or that this machine has no key for, fails the whole; what matters is whether
        // any was had.
        let any = std::fs::read_dir(self.root.join("lists")).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        });
        if !status.success() && !any {
            return Err(failed("apt-get update", if last.is_empty() { status.to_string() } else { last }));
        }
        std::fs::write(&stamp, "").map_err(|source| AptError::File { path: stamp, source })
    }

    /// The packages whose names match the regular expression `pattern` (POSIX extended), in all their versions,
    /// metapackages left out.
    ///
    /// # Errors
    /// [`AptError::Failed`].
    pub fn packages(&self, pattern: &str) -> Result<Vec<Package>, AptError> {
        let mut search = self.command("apt-cache");
        search.args(["search", "--names-only", pattern]);
        let found = output(search)?;
        let names: Vec<&str> = found
            .lines()
            .filter(|line| !line.contains("(meta-package)"))
            .filter_map(|line| line.split_once(" - ").map(|(name, _)| name))
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut versions = self.command("apt-cache");
        versions.arg("madison").args(names);
        let mut packages: Vec<Package> = Vec::new();
        for package in output(versions)?.lines().filter_map(parse_madison) {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        Ok(packages)
    }

    /// Downloads a package and puts those of its files that `place` gives a target for there.
    ///
    /// # Errors
    /// [`AptError::Failed`], or [`AptError::File`] for a full disk.
    pub fn extract(
        &self,
        package: &Package,
        place: &mut dyn FnMut(&Path) -> Option<PathBuf>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), AptError> {
        progress(&format!("fetching {} {}", package.name, package.version));
        let scratch =
            tempfile::tempdir_in(&self.root).map_err(|source| AptError::File { path: self.root.clone(), source })?;
        let mut download = self.command("apt-get");
        download.args(["-q", "download"]).arg(format!("{}={}", package.name, package.version));
        download.current_dir(scratch.path());
        output(download)?;
        let archive = std::fs::read_dir(scratch.path())
            .ok()
            .and_then(|entries| {
                entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"))
            })
            .ok_or_else(|| failed("apt-get download", "it left no package".into()))?;

        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--fsys-tarfile").arg(&archive).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = unpack.spawn().map_err(|error| failed("dpkg-deb", error.to_string()))?;
        let extracted = match child.stdout.take() {
            Some(stdout) => extract_from(stdout, place),
            None => Ok(()),
        };
        // Read to the end or not, the pipe is closed by now, so it ends.
        let ended = child.wait_with_output().map_err(|error| failed("dpkg-deb", error.to_string()))?;
        extracted?;
        if !ended.status.success() {
            return Err(failed("dpkg-deb", last_line(&ended.stderr)));
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // After the machine's own settings, so that ours count.
        command.arg("-c").arg(self.root.join("apt.conf"));
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    fn write(&self, name: &str, content: &str) -> Result<(), AptError> {
        let path = self.root.join(name);
        // A newer file than apt's binary cache would make it build that again.
        if std::fs::read_to_string(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        std::fs::write(&path, content).map_err(|source| AptError::File { path, source })
    }
}

/// Takes files out of a tar stream, each whole or not at all.
fn extract_from(stream: impl Read, place: &mut dyn FnMut(&Path) -> Option<PathBuf>) -> Result<(), AptError> {
    let damaged = |error: io::Error| failed("dpkg-deb", format!("the package's file list cannot be read: {error}"));
    for entry in tar::Archive::new(stream).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some(target) = place(&path) else { continue };
        let written = (|| {
            let mut file = tempfile::NamedTempFile::new_in(target.parent().unwrap_or(Path::new(".")))?;
            let size = entry.size();
            if io::copy(&mut entry, &mut file)? < size {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the package ends early"));
            }
            file.persist(&target).map(drop).map_err(|error| error.error)
        })();
        written.map_err(|source| AptError::File { path: target, source })?;
    }
    Ok(())
}

fn failed(program: &str, why: String) -> AptError {
    AptError::Failed { program: program.to_owned(), why }
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned()
}

fn output(mut command: Command) -> Result<String, AptError> {
    let program = format!(
        "{} {}",
        command.get_program().to_string_lossy(),
        command
            .get_args()
            .map(|word| word.to_string_lossy())
            .find(|word| word.starts_with(char::is_lowercase))
            .unwrap_or_default()
    );
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(&program, error.to_string()))?;
    if !output.status.success() {
        return Err(failed(&program, last_line(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Our sources.list, from the machine's index targets: lines of mirror, suite, component.
fn sources(targets: &str) -> Option<String> {
    let mut main = None;
    let mut security = None;
    for line in targets.lines() {
        let mut words = line.split(' ');
        let (Some(mirror), Some(suite), Some("main")) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let code_name = suite.split(['-', '/']).next().unwrap_or(suite);
        if !CODE_NAMES.contains(&code_name) {
            continue;
        }
        match suite.strip_prefix(code_name) {
            // A mirror of the archive has every suite; the first one named is as good as any.
            Some("" | "-updates" | "-backports") => main = main.or(Some(mirror)),
            Some("-security" | "/updates") => security = security.or(Some(mirror)),
            _ => {}
        }
    }
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    // Without that file, apt's own trusted keys.
    let signed = if keyring.exists() { format!(" signed-by={}", keyring.display()) } else { String::new() };
    let mut list = String::new();
    let mirrors = [(Some(main?), &SUITES[..]), (security, &SECURITY_SUITES[..])];
    for (mirror, suites) in mirrors.iter().filter_map(|(mirror, suites)| Some(((*mirror)?, *suites))) {
        for suite in suites {
            let _ = writeln!(list, "deb [arch=amd64{signed}] {mirror} {suite} main");
        }
    }
    Some(list)
}

/// Settings that keep apt within the private root.
fn settings(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}";
Dir::Cache::archives "{root}/archives";
// Container images set these otherwise, and then every question takes seconds.
Acquire::GzipIndexes "false";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Log "{root}/log";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
#clear APT::Architectures;
// Root's cache is closed to the user that apt downloads as.
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::Retries "2";
Acquire::http::Timeout "30";
// Hooks of the machine's would act on the machine.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}

/// `name | version | mirror suite/component architecture Packages`
fn parse_madison(line: &str) -> Option<Package> {
    let mut columns = line.split('|').map(str::trim);
    let (name, version, kind) = (columns.next()?, columns.next()?, columns.next()?);
    kind.ends_with("Packages").then(|| Package { name: name.to_owned(), version: version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_follow_the_machines_mirror() {
        let targets = "http://mirror.example/debian/ bookworm main\nhttp://mirror.example/debian/ bookworm-updates main\n\
                       http://mirror.example/security/ bookworm-security main\nhttp://other.example/ nodistro main\n";
        let list = sources(targets).unwrap();
        assert!(list.contains("http://mirror.example/debian/ trixie-backports main\n"));
        assert!(list.contains("http://mirror.example/security/ bullseye-security main\n"));
        assert!(!list.contains("other.example"));
    }

    #[test]
    fn a_machine_of_another_distribution_has_no_mirror() {
        assert_eq!(sources("http://mirror.example/ubuntu noble main\n"), None);
        assert_eq!(sources(""), None);
        assert!(!sources("http://mirror.example/debian sid main\n").unwrap().contains("security"));
    }

    #[test]
    fn madison_is_read() {
        let line = "user-mode-linux | 6.1um4+b13 | http://mirror.example/debian bookworm/main amd64 Packages";
        let package = Package { name: "user-mode-linux".into(), version: "6.1um4+b13".into() };
        assert_eq!(parse_madison(line), Some(package));
        assert_eq!(parse_madison("linux | 6.1.1-1 | http://mirror.example/debian bookworm/main Sources"), None);
    }

    #[test]
    fn files_are_taken_out_of_a_package_whole() {
        let mut archive = tar::Builder::new(Vec::new());
        for name in ["./boot/vmlinuz-6.1", "./boot/System.map-6.1"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &b"text"[..]).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("kernel");
        let mut place = |path: &Path| path.to_string_lossy().contains("vmlinuz").then(|| target.clone());
        extract_from(&bytes[..], &mut place).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"text");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        std::fs::remove_file(&target).unwrap();
        assert!(extract_from(&bytes[..514], &mut place).is_err());
        assert!(!target.exists());
    }
}
