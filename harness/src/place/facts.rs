//! Facts about the kernel and the place the suite runs in, gathered once per run.
//!
//! Nothing here makes the call under test: a fact that decides whether a case runs must not depend on it.

use crate::common::*;
use crate::place::config::Config;

/// A kernel version; the third number is the stable release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads the numbers at the start of a release such as `6.1.0-52-cloud-amd64`.
    pub fn parse(release: &str) -> Option<Version> {
        let numbers = release.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        let mut numbers = numbers.split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let stable = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Version(major, minor, stable))
    }

    /// The same, but that a release candidate (`7.3-rc7`, Debian's `7.3~rc7-1`) stands before its release, behind all
    /// stable releases of the series before it. Documented bugs are looked up by this.
    pub fn in_order(release: &str) -> Option<Version> {
        let version = Version::parse(release)?;
        Some(if names_candidate(release) { version.candidate() } else { version })
    }

    /// Where the release candidates of this release stand.
    fn candidate(self) -> Version {
        match self {
            Version(0, 0, _) => self,
            Version(major, 0, _) => Version(major - 1, u32::MAX, u32::MAX),
            Version(major, minor, _) => Version(major, minor - 1, u32::MAX),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Facts about the kernel and the place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Why the results are no verdict on the kernel, if they are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
    /// `uname -s`.
    pub system: String,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub build: String,
    /// `uname -m`.
    pub machine: String,
    /// What this program is built for, if that is not what the kernel is: "i386" on x86-64, "armhf" on arm64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abi: Option<String>,
    /// Version of the kernel. Debian's and Ubuntu's releases omit the stable number; it is then taken from `uname -v`
    /// or `/proc/version_signature`.
    pub version: Version,
    /// The kernel's configuration, if it could be read.
    pub config: Option<Config>,
    /// The supervisors' sandbox.
    pub sandbox: Sandbox,
    /// The suite's [further facts](Suite::facts), by name, and whatever else a results file has.
    #[serde(flatten)]
    pub further: BTreeMap<String, serde_json::Value>,
    /// Effective user ID, inside the sandbox.
    pub uid: u32,
    /// Effective user ID outside the sandbox.
    pub uid_outside: u32,
    /// Effective capabilities, one bit each (`CapEff` of proc_pid_status(5)).
    pub capabilities: u64,
    /// Signs of a sandbox or of local policy that changes results, as the [suite](Suite::signs) finds them.
    pub restrictions: Vec<String>,
    /// `/proc/sys/kernel/tainted` at the start.
    pub taint: u64,
    /// Names of the features that the kernel's own configuration says are built in. If one of these is missing, the
    /// kernel is broken rather than small.
    pub configured: Vec<String>,
    /// Names of the features that are missing, each with the reason a user can act on.
    pub absent: BTreeMap<String, String>,
}

impl Facts {
    /// Gathers the facts for this process, which is a supervisor in its sandbox.
    pub fn gather(sandbox: Sandbox, suite: &Suite) -> Facts {
        let uid = nix::unistd::geteuid().as_raw();
        let mut facts = Facts {
            config: Config::read(),
            uid_outside: match sandbox {
                Sandbox::UserNamespace => user_outside().unwrap_or(uid),
                _ => uid,
            },
            sandbox,
            further: suite.facts.iter().map(|(name, probe)| ((*name).to_owned(), probe().into())).collect(),
            uid,
            capabilities: effective_capabilities(),
            taint: taint(),
            ..Facts::default()
        };
        real_release_in_uname();
        if let Ok(uname) = nix::sys::utsname::uname() {
            facts.system = uname.sysname().to_string_lossy().into_owned();
            facts.release = uname.release().to_string_lossy().into_owned();
            facts.build = uname.version().to_string_lossy().into_owned();
            facts.machine = uname.machine().to_string_lossy().into_owned();
        }
        facts.abi = crate::abi::narrow_program(&facts.machine).map(str::to_owned);
        facts.version = stable_version(&facts.release, &facts.build);
        facts.restrictions = (suite.signs)(&facts);
        let is_set = |option| facts.config.as_ref().is_some_and(|config| config.is_set(option));
        let configured = suite.features().filter(|feature| feature.option.is_some_and(is_set));
        facts.configured = configured.map(|feature| feature.name.to_owned()).collect();
        let missing = suite.features().map(|feature| Some((feature.name.to_owned(), (feature.missing)(&facts)?)));
        facts.absent = missing.flatten().collect();
        facts
    }

    /// Where the kernel stands among all releases, as [`Version::in_order`] has it. Debian's release candidates say in
    /// the build alone that they are some.
    pub fn in_order(&self) -> Version {
        let is_candidate = names_candidate(&self.release) || names_candidate(&self.build);
        if is_candidate { self.version.candidate() } else { self.version }
    }

    /// Whether the kernel and the place offer this.
    pub fn has(&self, feature: Feature) -> bool {
        self.reason_without(feature).is_none()
    }

    /// Why this feature is missing and what would help; none if it is there.
    pub fn reason_without(&self, feature: Feature) -> Option<&String> {
        self.absent.get(feature.name)
    }

    /// Whether a [further fact](Suite::facts) of this name holds.
    pub fn holds(&self, name: &str) -> bool {
        self.further.get(name).and_then(serde_json::Value::as_bool).unwrap_or(false)
    }

    /// The facts as lines for the head of a report.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("kernel: {} {} {} {}", self.system, self.release, self.build, self.machine),
            match &self.config {
                Some(config) => format!("kernel configuration: {}", config.source),
                None => "kernel configuration: not readable".to_owned(),
            },
            format!("caller: uid {}, capabilities {:#x}", self.uid_outside, self.capabilities),
            format!("sandbox: {}", self.sandbox),
        ];
        if let Some(abi) = &self.abi {
            lines.push(format!("program: {abi}, by the kernel's 32-bit entry"));
        }
        if self.taint != 0 {
            lines.push(format!("kernel taint: {}", self.taint));
        }
        lines.extend(self.restrictions.iter().map(|sign| format!("here: {sign}")));
        lines
    }
}

/// Has uname(2) give this process, and the children that run cases, the kernel's own release: under
/// `setarch --uname-2.6` it gives a 2.6 release.
fn real_release_in_uname() {
    const UNAME26: i32 = 0x002_0000;
    const ASK: libc::c_ulong = 0xffff_ffff;
    // SAFETY: personality(2) takes a number.
    let persona = unsafe { libc::personality(ASK) };
    if persona != -1 && persona & UNAME26 != 0 {
        // SAFETY: as above.
        unsafe { libc::personality((persona & !UNAME26) as libc::c_ulong) };
    }
}

/// Whether a release or a version is that of a release candidate.
fn names_candidate(release: &str) -> bool {
    let number = |sign| release.split_once(sign).map(|(_, number): (&str, &str)| number);
    ["-rc", "~rc"].into_iter().filter_map(number).any(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// The version with its stable number, which distributions leave out of the release.
fn stable_version(release: &str, build: &str) -> Version {
    let named = Version::parse(release).unwrap_or_default();
    // Debian: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-…)".
    let debian = build.split_once("Debian ").and_then(|(_, rest)| Version::parse(rest));
    // Ubuntu: "Ubuntu 6.8.0-40.40-generic 6.8.12".
    let ubuntu = fs::read_to_string("/proc/version_signature")
        .ok()
        .and_then(|line| line.split_whitespace().last().and_then(Version::parse));
    [debian, ubuntu].into_iter().flatten().find(|full| (full.0, full.1) == (named.0, named.1)).unwrap_or(named)
}

/// Taint bits that unshare(2) cannot cause: a module that is proprietary, forced, staging, out of tree, unsigned, a test
/// or a live patch, a CPU out of its specification, what the distribution or the build says of itself.
pub const TAINT_OF_OTHERS: u64 =
    1 | 1 << 1 | 1 << 2 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 18;

/// `/proc/sys/kernel/tainted`; 0 when it cannot be read.
pub fn taint() -> u64 {
    number_in("/proc/sys/kernel/tainted").unwrap_or(0)
}

/// The number that one of the kernel's files consists of.
pub fn number_in(path: &str) -> Option<u64> {
    small_file(path)?.trim().parse().ok()
}

/// Content of one of the kernel's small files. Their size is unknown, so that std would make ten system calls, which
/// are slow in user-mode Linux.
fn small_file(path: &str) -> Option<String> {
    let mut content = Vec::with_capacity(4096);
    File::open(path).ok()?.take(4096).read_to_end(&mut content).ok()?;
    String::from_utf8(content).ok()
}

/// A field of `/proc/self/status`, by its name before the colon.
pub fn status_field(name: &str) -> Option<String> {
    let status = small_file("/proc/self/status")?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

/// Whether a capability, by its number, is effective.
pub fn has_capability(facts: &Facts, capability: u32) -> bool {
    facts.capabilities & (1 << capability) != 0
}

fn effective_capabilities() -> u64 {
    status_field("CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0)
}

/// The outside user that the first user of the current user namespace is mapped to.
fn user_outside() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    map.split_whitespace().nth(1)?.parse().ok()
}

/// Whether the process is in the initial user namespace: only there, every ID is mapped to itself.
pub fn in_initial_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().map(str::parse).collect::<Vec<_>>() == [Ok(0u32), Ok(0), Ok(u32::MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_real_releases() {
        for (release, build, expected) in [
            ("6.1.0-52-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-08-01)", Version(6, 1, 170)),
            ("6.18.44-fc-v669", "#1 SMP", Version(6, 18, 44)),
            ("7.3.0", "#1", Version(7, 3, 0)),
            ("7.3-rc1", "#1", Version(7, 3, 0)),
            ("5.10.223", "", Version(5, 10, 223)),
        ] {
            assert_eq!(stable_version(release, build), expected, "{release}");
        }
        assert_eq!(Version::parse("linux"), None);
    }

    #[test]
    fn a_release_candidate_comes_before_its_release() {
        const LAST: u32 = u32::MAX;
        for (release, expected) in [
            ("7.3.0-rc7", Version(7, 2, LAST)),
            ("7.3~rc7-1~exp1", Version(7, 2, LAST)),
            ("7.0-rc1", Version(6, LAST, LAST)),
            ("7.3.0", Version(7, 3, 0)),
            ("6.1.0-rcu-amd64", Version(6, 1, 0)),
        ] {
            assert_eq!(Version::in_order(release), Some(expected), "{release}");
        }
        let facts = |release: &str, build: &str| Facts {
            version: stable_version(release, build),
            release: release.to_owned(),
            build: build.to_owned(),
            ..Facts::default()
        };
        let order = ["7.2.13", "7.3.0-rc7", "7.3.0"].map(|release| facts(release, "#1").in_order());
        assert!(order.is_sorted() && order[0] < order[1] && order[1] < order[2], "{order:?}");
        let debian = facts("7.3-cloud-amd64", "#1 SMP Debian 7.3~rc7-1~exp1 (2026-10-19)");
        assert_eq!((debian.version, debian.in_order()), (Version(7, 3, 0), order[1]));
    }
}
