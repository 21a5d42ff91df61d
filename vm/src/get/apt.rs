//! Debian's package archive through the machine's own apt, without changing the machine: lists, caches and settings
//! lie in a private root in the user's cache, and nothing is installed.
//!
//! The mirror is the one that the machine's apt is set up with; only the suites are ours. Signatures are checked with
//! the machine's keyrings, by apt. Proxies and the like are read from the machine's apt.conf.

use std::fmt::Write as _;
use std::time::Duration;

use super::cache::write_whole;
use crate::common::*;

/// A version of a package that the mirror has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// In Debian's notation.
    version: String,
}

/// The packages with kernels for an architecture (a POSIX extended regular expression). Debian makes user-mode Linux
/// for x86 alone.
fn pattern(architecture: Architecture) -> String {
    let flavours = architecture.debian_flavours().join("|");
    let user_mode = if architecture == Architecture::X86_64 { "|user-mode-linux" } else { "" };
    format!("^(linux-(image|binary|base)-[0-9].*-({flavours}){user_mode})$")
}

/// The suites with kernels, oldest first. A mirror that lacks some still serves the others.
const SUITES: [&str; 8] =
    ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid", "experimental"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
/// Code names by which a source is known to be Debian's, also before its lists were ever fetched.
const CODE_NAMES: &str = "buster bullseye bookworm trixie forky duke sid stable oldstable oldoldstable testing \
                          unstable experimental";
/// Lists are fetched again after this time.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// Debian's archive.
#[derive(Clone, Debug)]
pub struct Debian {
    /// Has the private root.
    pub(crate) cache: Cache,
    /// Whose packages are listed.
    pub(crate) architecture: Architecture,
}

impl Source for Debian {
    fn kernels(&self, progress: Progress<'_>) -> Result<Vec<Offer>, SourceError> {
        self.prepare()?;
        self.update(progress)?;
        Ok(offers(&self.packages()?))
    }

    fn fetch(&self, offer: &Offer, place: Place<'_>, progress: Progress<'_>) -> Result<(), SourceError> {
        offer.parts.iter().try_for_each(|package| {
            progress(&format!("fetching {package}"));
            self.extract(package, place)
        })
    }
}

impl Debian {
    /// The name of the private root in the cache: one for each architecture, whose lists are large.
    fn directory(&self) -> String {
        match self.architecture {
            // As it was called when there was no other.
            Architecture::X86_64 => "apt".to_owned(),
            other => format!("apt-{other}"),
        }
    }

    fn root(&self) -> PathBuf {
        self.cache.root().join(self.directory())
    }

    /// Prepares the private root for the machine's mirror. Nothing is fetched yet.
    fn prepare(&self) -> Result<(), SourceError> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            in_path(program).ok_or(SourceError::NotInstalled(program))?;
        }
        for directory in ["lists/partial", "archives/partial", "log"] {
            self.cache.directory(&format!("{}/{directory}", self.directory()))?;
        }
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]);
        let targets = output("apt-get indextargets", targets)?;
        let sources = sources(&targets, self.architecture).ok_or(SourceError::NoMirror)?;
        // Lists of another mirror do not count.
        if std::fs::read_to_string(self.root().join("sources.list")).ok().as_deref() != Some(&sources) {
            let _ = std::fs::remove_file(self.root().join("updated"));
        }
        self.write("sources.list", &sources)?;
        self.write("status", "")?;
        let settings = include_str!("../../apt.conf").replace("{architecture}", self.architecture.debian_name());
        let settings = settings.replace("{root}", &self.root().to_string_lossy());
        self.write("apt.conf", &settings)
    }

    fn write(&self, name: &str, content: &str) -> Result<(), SourceError> {
        let path = self.root().join(name);
        // A newer file than apt's binary cache would make it build that again.
        if std::fs::read_to_string(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        Ok(std::fs::write(&path, content).map_err(CacheError::at(&path))?)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // After the machine's own settings, so that ours count.
        command.arg("-c").arg(self.root().join("apt.conf")).env("LC_ALL", "C.UTF-8").args(arguments);
        command
    }

    /// Fetches the package lists if those here are older than a day.
    fn update(&self, progress: Progress<'_>) -> Result<(), SourceError> {
        let stamp = self.root().join("updated");
        let modified = stamp.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_LAST)) {
            return Ok(());
        }
        progress(&format!("fetching Debian's package lists of {} (some 50 MB, once a day)", self.architecture));
        // Only one at a time; apt itself would refuse rather than wait.
        let lock = self.root().join("lock");
        let held = File::create(&lock).map_err(CacheError::at(&lock))?;
        held.lock().map_err(CacheError::at(&lock))?;

        let updated =
            programs::run(self.command("apt-get", &["-q", "update"]), |line| line.starts_with("E:"), progress);
        // A suite that the mirror lacks, or that this machine has no key for, fails the whole; what matters is whether
        // any could be fetched.
        let any = std::fs::read_dir(self.root().join("lists")).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        });
        if !any {
            updated.map_err(failed("apt-get update"))?;
        }
        Ok(std::fs::write(&stamp, "").map_err(CacheError::at(&stamp))?)
    }

    /// The packages with kernels, in all their versions, metapackages left out.
    fn packages(&self) -> Result<Vec<Package>, SourceError> {
        let pattern = pattern(self.architecture);
        let found = output("apt-cache search", self.command("apt-cache", &["search", "--names-only", &pattern]))?;
        let lines = found.lines().filter(|line| !line.contains("(meta-package)"));
        let names: Vec<&str> = lines.filter_map(|line| Some(line.split_once(" - ")?.0)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let versions = self.command("apt-cache", &[&["madison"], &names[..]].concat());
        Ok(output("apt-cache madison", versions)?.lines().filter_map(parse_madison).collect())
    }

    /// Downloads a package, given as `name=version`, and puts those of its files there for which `place` gives a path.
    fn extract(&self, package: &str, place: Place<'_>) -> Result<(), SourceError> {
        let root = self.root();
        let scratch = tempfile::tempdir_in(&root).map_err(CacheError::at(&root))?;
        let mut download = self.command("apt-get", &["-q", "download", package]);
        download.current_dir(scratch.path());
        // What the lists promise need not be on the mirror: they are fetched at another time.
        output("apt-get download", download).map_err(|error| match error {
            SourceError::Failed(_, why) if why.contains(" 404 ") => SourceError::Gone(package.to_owned()),
            error => error,
        })?;
        let mut files = std::fs::read_dir(scratch.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        let archive = files
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| SourceError::Failed("apt-get download".into(), "it left no package".into()))?;

        let tar = scratch.path().join("tar");
        let unpacked = File::create_new(&tar).map_err(CacheError::at(&tar))?;
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--fsys-tarfile").arg(&archive).stdout(unpacked);
        output("dpkg-deb", unpack)?;
        extract_from(File::open(&tar).map_err(CacheError::at(&tar))?, place)
    }
}

/// The kernels that stand in `packages`.
fn offers(packages: &[Package]) -> Vec<Offer> {
    let offer = |package: &Package| {
        let version = package.version.clone();
        let part = |name: String| {
            let is_there = packages.iter().any(|other| other.name == name && other.version == version);
            is_there.then(|| format!("{name}={version}"))
        };
        if package.name == "user-mode-linux" {
            let parts = part(package.name.clone()).into_iter().collect();
            return Some(Offer { release: format!("uml-{version}"), version, parts });
        }
        let release = ["linux-image-", "linux-binary-"].iter().find_map(|prefix| package.name.strip_prefix(prefix))?;
        // Packages of a flavour may be of real-time kernels, which are none of a stable series' own.
        if release.starts_with("unsigned-") || release.contains("-rt-") {
            return None;
        }
        let part = |kind| part(format!("linux-{kind}-{release}"));
        // Which package has the configuration changed over time: the image's own until 6.18, then a small one beside it.
        let parts = match part("binary") {
            Some(binary) => part("base").or_else(|| part("image")).into_iter().chain([binary]).collect(),
            None => part("image").into_iter().collect(),
        };
        Some(Offer { release: release.to_owned(), version: version.clone(), parts })
    };
    packages.iter().filter_map(offer).collect()
}

/// Takes files out of a tar stream, each whole or not at all.
fn extract_from(stream: impl Read, place: Place<'_>) -> Result<(), SourceError> {
    let damaged = |error: io::Error| {
        SourceError::Failed("dpkg-deb".into(), format!("the package's file list cannot be read: {error}"))
    };
    for entry in tar::Archive::new(stream).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let target = place(&entry.path().map_err(damaged)?).filter(|_| entry.header().entry_type().is_file());
        let Some(target) = target else { continue };
        write_whole(&target, |file| match io::copy(&mut entry, file)? {
            copied if copied < entry.size() => Err(io::Error::other("the package ends early")),
            _ => Ok(()),
        })?;
    }
    Ok(())
}

fn failed(program: &str) -> impl FnOnce(Failure) -> SourceError {
    move |failure| SourceError::Failed(program.to_owned(), failure.to_string())
}

fn output(program: &str, command: Command) -> Result<String, SourceError> {
    programs::output(command).map_err(failed(program))
}

/// Our sources.list, from the machine's index targets: lines of mirror, suite, component.
fn sources(targets: &str, architecture: Architecture) -> Option<String> {
    let architecture = architecture.debian_name();
    let (mut main, mut security) = (None, None);
    for line in targets.lines() {
        let mut words = line.split(' ');
        let (Some(mirror), Some(suite), Some("main")) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let end = suite.find(['-', '/']).unwrap_or(suite.len());
        match suite.split_at(end) {
            (code_name, _) if !CODE_NAMES.split(' ').any(|known| known == code_name) => {}
            // A mirror of the archive has every suite; the first one named is as good as any.
            (_, "" | "-updates" | "-backports") => main = main.or(Some(mirror)),
            (_, "-security" | "/updates") => security = security.or(Some(mirror)),
            _ => {}
        }
    }
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    // Without that file, apt's own trusted keys.
    let signed = if keyring.exists() { format!(" signed-by={}", keyring.display()) } else { String::new() };
    let mut list = String::new();
    for (mirror, suites) in [(Some(main?), &SUITES[..]), (security, &SECURITY_SUITES[..])] {
        for (mirror, suite) in mirror.iter().flat_map(|mirror| suites.iter().map(move |suite| (mirror, suite))) {
            let _ = writeln!(list, "deb [arch={architecture}{signed}] {mirror} {suite} main");
        }
    }
    Some(list)
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
        let list = sources(targets, Architecture::Ppc64le).unwrap();
        assert!(list.contains("http://mirror.example/debian/ trixie-backports main\n"));
        assert!(list.lines().all(|line| line.starts_with("deb [arch=ppc64el")), "{list}");
        assert!(list.contains("http://mirror.example/security/ bullseye-security main\n"));
        assert!(!list.contains("other.example"));
    }

    #[test]
    fn a_machine_of_another_distribution_has_no_mirror() {
        assert_eq!(sources("http://mirror.example/ubuntu noble main\n", Architecture::X86_64), None);
        assert_eq!(sources("", Architecture::X86_64), None);
        let list = sources("http://mirror.example/debian sid main\n", Architecture::X86_64);
        assert!(!list.unwrap().contains("security"));
    }

    #[test]
    fn madison_is_read() {
        let line = "user-mode-linux | 6.1um4+b13 | http://mirror.example/debian bookworm/main amd64 Packages";
        let package = Package { name: "user-mode-linux".into(), version: "6.1um4+b13".into() };
        assert_eq!(parse_madison(line), Some(package));
        assert_eq!(parse_madison("linux | 6.1.1-1 | http://mirror.example/debian bookworm/main Sources"), None);
    }

    #[test]
    fn only_the_packages_that_guests_boot_are_asked_for() {
        let of = |architecture| pattern(architecture);
        assert_eq!(of(Architecture::X86_64), "^(linux-(image|binary|base)-[0-9].*-(cloud-amd64)|user-mode-linux)$");
        assert_eq!(of(Architecture::I386), "^(linux-(image|binary|base)-[0-9].*-(686-pae|686))$");
        let real_time = Package { name: "linux-image-6.1.0-50-rt-686-pae".to_owned(), version: "6.1.176-1".to_owned() };
        assert_eq!(offers(&[real_time]), []);
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
        let place = |path: &Path| path.to_string_lossy().contains("vmlinuz").then(|| target.clone());
        extract_from(&bytes[..], &place).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"text");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        std::fs::remove_file(&target).unwrap();
        assert!(extract_from(&bytes[..514], &place).is_err());
        assert!(!target.exists());
    }

    #[test]
    fn split_packages_are_taken_together_and_the_image_comes_last() {
        let package = |name: &str| Package { name: name.into(), version: "1".into() };
        let packages = ["binary-7.3", "binary-unsigned-7.3", "base-7.3", "image-6.1", "image-unsigned-6.1"]
            .map(|name| package(&format!("linux-{name}")));
        let offers = offers(&packages);
        let parts: Vec<(&str, Vec<&str>)> =
            offers.iter().map(|offer| (&*offer.release, offer.parts.iter().map(String::as_str).collect())).collect();
        let expected = [("7.3", vec!["linux-base-7.3=1", "linux-binary-7.3=1"]), ("6.1", vec!["linux-image-6.1=1"])];
        assert_eq!(parts, expected);
        assert_eq!(super::offers(&[package("user-mode-linux")])[0].release, "uml-1");
    }
}
