//! What is known of the kernel and of the place the suite runs in, gathered once per run.
//!
//! Nothing here calls unshare(2): a fact that decides whether a case runs must not come from the
//! call that the case judges.

mod features;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::case::needs::Feature;
use crate::place::config::Config;
use crate::place::sandbox::Sandbox;

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
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What is known of the kernel and the place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Why what comes of the run is no verdict on the kernel, where it is none.
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
    /// The numbers of the release. Debian's and Ubuntu's releases hide the stable number; it is
    /// then taken from `uname -v` or `/proc/version_signature`.
    pub version: Version,
    /// Where the kernel's configuration was read, if it could be.
    pub config: Option<Config>,
    /// The supervisors' sandbox.
    pub sandbox: Sandbox,
    /// Debian's `kernel.unprivileged_userns_clone` is 0: CLONE_NEWUSER takes CAP_SYS_ADMIN in the
    /// initial user namespace (ERR-25).
    pub user_namespace_takes_root: bool,
    /// Effective user ID, inside the sandbox.
    pub uid: u32,
    /// … and outside of it.
    pub uid_outside: u32,
    /// Effective capabilities, one bit each (`CapEff` of proc_pid_status(5)).
    pub capabilities: u64,
    /// Signs of a sandbox or of local policy that changes what unshare(2) may do here (RULE-08).
    pub restrictions: Vec<String>,
    /// `/proc/sys/kernel/tainted` at the start.
    pub taint: u64,
    /// Features that the kernel's own configuration says are built in: where one of these is
    /// missing, the kernel is broken rather than small.
    pub configured: Vec<Feature>,
    /// Features that are missing, each with the reason a user can act on.
    pub absent: BTreeMap<Feature, String>,
}

impl Facts {
    /// Gathers them for the process at hand, which is a supervisor in its sandbox.
    pub fn gather(sandbox: Sandbox) -> Facts {
        let uid = nix::unistd::geteuid().as_raw();
        let mut facts = Facts {
            config: Config::read(),
            restrictions: restrictions(&sandbox),
            uid_outside: match sandbox {
                Sandbox::UserNamespace => user_outside().unwrap_or(uid),
                _ => uid,
            },
            sandbox,
            user_namespace_takes_root: number_in("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            uid,
            capabilities: effective_capabilities(),
            taint: taint(),
            ..Facts::default()
        };
        if let Ok(uname) = nix::sys::utsname::uname() {
            facts.system = uname.sysname().to_string_lossy().into_owned();
            facts.release = uname.release().to_string_lossy().into_owned();
            facts.build = uname.version().to_string_lossy().into_owned();
            facts.machine = uname.machine().to_string_lossy().into_owned();
        }
        facts.version = stable_version(&facts.release, &facts.build);
        facts.configured = features::configured(facts.config.as_ref());
        facts.absent = features::absent(&facts);
        facts
    }

    /// Whether the kernel and the place offer this.
    pub fn has(&self, feature: Feature) -> bool {
        !self.absent.contains_key(&feature)
    }

    /// The facts as lines a person reads at the head of a report.
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
        if self.taint != 0 {
            lines.push(format!("kernel taint: {}", self.taint));
        }
        lines.extend(self.restrictions.iter().map(|sign| format!("here: {sign}")));
        lines
    }
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

/// `/proc/sys/kernel/tainted`; 0 when it cannot be read.
pub fn taint() -> u64 {
    number_in("/proc/sys/kernel/tainted").unwrap_or(0)
}

fn number_in(path: &str) -> Option<u64> {
    small_file(path)?.trim().parse().ok()
}

/// The content of one of the kernel's small files. Their size is not known beforehand, and the
/// library would feel its way with ten system calls, each of which user-mode Linux pays dearly.
fn small_file(path: &str) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let mut content = [0; 4096];
    let mut length = 0;
    loop {
        match file.read(content.get_mut(length..)?).ok()? {
            0 => break,
            more => length += more,
        }
    }
    String::from_utf8(content[..length].to_vec()).ok()
}

fn status_field(name: &str) -> Option<String> {
    let status = small_file("/proc/self/status")?;
    status.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim().to_owned())
    })
}

fn effective_capabilities() -> u64 {
    status_field("CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0)
}

/// The user outside that the first user of the user namespace at hand is mapped to.
fn user_outside() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    map.split_whitespace().nth(1)?.parse().ok()
}

/// Whether the process is in the initial user namespace: only there is every ID mapped to itself.
fn in_initial_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().map(str::parse).collect::<Vec<_>>() == [Ok(0u32), Ok(0), Ok(u32::MAX)])
}

/// Signs of a sandbox or local policy (RULE-08), in words.
fn restrictions(sandbox: &Sandbox) -> Vec<String> {
    let mut signs = Vec::new();
    if status_field("Seccomp").as_deref() == Some("2") {
        signs.push("a seccomp filter is active and may refuse system calls (container runtime?)".to_owned());
    }
    if status_field("NoNewPrivs").as_deref() == Some("1") {
        signs.push("no_new_privs is set: set-user-id programs do not raise privilege".to_owned());
    }
    if !in_initial_user_namespace() && *sandbox != Sandbox::UserNamespace {
        signs.push("this is not the initial user namespace".to_owned());
    }
    for (path, harmless, meaning) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", 1, "Debian's switch against user namespaces of ordinary users"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            0,
            "Ubuntu's AppArmor restriction of user namespaces",
        ),
        ("/proc/sys/kernel/io_uring_disabled", 0, "io_uring is switched off"),
    ] {
        if let Some(value) = number_in(path).filter(|value| *value != harmless) {
            signs.push(format!("{path} is {value} ({meaning})"));
        }
    }
    for kind in ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"] {
        let path = format!("/proc/sys/user/max_{kind}_namespaces");
        if number_in(&path) == Some(0) {
            signs.push(format!("{path} is 0: no such namespace can be made"));
        }
    }
    if let Ok(modules) = fs::read_to_string("/sys/kernel/security/lsm") {
        let strict: Vec<_> =
            modules.trim().split(',').filter(|lsm| ["selinux", "apparmor", "smack", "tomoyo"].contains(lsm)).collect();
        if !strict.is_empty() {
            signs.push(format!("security modules: {}", strict.join(", ")));
        }
    }
    signs
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
}
