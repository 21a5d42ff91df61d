//! What a kernel claims to implement of unshare(2), where that is not all of it: `--profile`.
//!
//! What is not claimed must be refused: EINVAL, as for any bit that the kernel does not know, before anything else is
//! looked at, and nothing changed (ERR-01; 2006 design document, 5: flags for which unsharing is not implemented give
//! EINVAL). What is claimed is taken to be there, whatever the probes say.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use harness::place::facts::Facts;

use crate::feature;
use crate::spec::flags::Flags;
use crate::spec::namespaces::KINDS;

/// The fact, in results, that names the flags that are not claimed.
const UNCLAIMED: &str = "unclaimed";

/// The list of a kernel that claims no flag.
const NO_FLAG: &str = "none";

/// The flags that a kernel claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    claimed: Flags,
}

/// A profile's file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    claims: Vec<String>,
}

impl FromStr for Profile {
    type Err = String;

    /// Reads a list of flags, such as `fs,files,newuts`, or `none`, or a file with a list, whose name has a slash or
    /// ends in `.toml`: `claims = ["fs", "files"]`, or `claims = []`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == NO_FLAG {
            return Self::of(std::iter::empty());
        }
        if !text.contains('/') && !text.ends_with(".toml") {
            return Self::of(text.split(','));
        }
        let content = std::fs::read_to_string(Path::new(text)).map_err(|error| format!("{text}: {error}"))?;
        let content: Content = toml::from_str(&content).map_err(|error| format!("{text}: {}", error.message()))?;
        Self::of(content.claims.iter().map(String::as_str)).map_err(|why| format!("{text}: {why}"))
    }
}

impl Profile {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let flag = |name: &str| {
            let known = Flags::KNOWN.into_iter().find(|flag| flag.slug() == name.trim());
            known.ok_or_else(|| {
                let all: Vec<_> = Flags::KNOWN.map(Flags::slug).into();
                format!("{name:?} is no flag of unshare(2): there are {}", all.join(", "))
            })
        };
        let claimed = names.map(flag).collect::<Result<Vec<_>, _>>()?.into_iter().collect();
        Ok(Self { claimed })
    }

    /// The flags that the kernel does not claim.
    fn unclaimed(self) -> Flags {
        Flags::KNOWN.into_iter().collect::<Flags>() & !self.claimed
    }

    /// Has the facts say what the profile claims, whatever the probes say: a case that needs a claimed kind of
    /// namespace runs, one that needs another is skipped.
    pub fn amend(self, facts: &mut Facts) {
        let names: Vec<_> = self.unclaimed().iter().map(|flag| flag.to_string()).collect();
        facts.further.insert(UNCLAIMED.to_owned(), names.into());
        let kinds = KINDS.into_iter().filter_map(|kind| Some((kind.flag, kind.feature?)));
        let no_users = facts.reason_without(feature::USER_NS).is_some();
        for (flag, feature) in
            kinds.chain([(Flags::EMPTY, feature::EMPTY_MNT_NS), (Flags::NEWUSER, feature::CREATE_USER_NS)])
        {
            if !self.claimed.contains(flag) {
                facts.absent.insert(feature.name.to_owned(), not_claimed(flag));
                facts.configured.retain(|name| name != feature.name);
            // A place that allows no user namespaces is none that lacks them.
            } else if feature.name != feature::CREATE_USER_NS.name || no_users {
                facts.absent.remove(feature.name);
            }
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.claimed {
            Flags::NONE => f.write_str(NO_FLAG),
            claimed => f.write_str(&claimed.iter().map(Flags::slug).collect::<Vec<_>>().join(",")),
        }
    }
}

/// The flags of unshare(2) that the kernel does not claim; none without a profile.
pub fn unclaimed(facts: &Facts) -> Flags {
    let names = facts.further.get(UNCLAIMED).and_then(serde_json::Value::as_array);
    names.into_iter().flatten().filter_map(|name| Flags::parse(name.as_str()?)).collect()
}

/// Why a case is skipped, or ends early.
pub fn not_claimed(flags: Flags) -> String {
    format!("{flags} is not claimed by the profile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::{Kernel, Start, predict};
    use nix::errno::Errno;

    fn profile(text: &str) -> Profile {
        text.parse().expect("a profile")
    }

    #[test]
    fn a_list_reads_back_as_it_is_written() {
        assert_eq!(profile("newuts,fs").to_string(), "fs,newuts");
        assert_eq!((profile("none").to_string().as_str(), profile("none").claimed), ("none", Flags::NONE));
        let all = Flags::KNOWN.map(Flags::slug).join(",");
        assert_eq!(profile(&all).to_string(), all);
        assert_eq!(profile(&all).unclaimed(), Flags::NONE);
    }

    #[test]
    fn what_is_no_flag_is_named() {
        let why = "fs,newtme".parse::<Profile>().expect_err("no flag");
        assert!(why.starts_with("\"newtme\" is no flag of unshare(2): there are newtime, vm, fs,"), "{why}");
        assert!("missing/profile.toml".parse::<Profile>().expect_err("no file").starts_with("missing/profile.toml: "));
    }

    #[test]
    fn a_file_reads_as_a_list() {
        let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        std::fs::write(&file, "claims = [\"fs\", \"newuts\"]\n").expect("written");
        assert_eq!(profile(file.path().to_str().expect("text")), profile("fs,newuts"));
        std::fs::write(&file, "claims = []\n").expect("written");
        assert_eq!(profile(file.path().to_str().expect("text")), profile("none"));
        std::fs::write(&file, "claim = []\n").expect("written");
        let why = file.path().to_str().expect("text").parse::<Profile>().expect_err("no such key");
        assert!(why.contains("unknown field `claim`"), "{why}");
    }

    #[test]
    fn what_is_not_claimed_is_an_unknown_bit_and_what_is_claimed_is_there() {
        let mut facts = Facts::default();
        facts.absent.insert("uts_ns".to_owned(), "no link".to_owned());
        facts.configured.push("time_ns".to_owned());
        profile("fs,files,newuts,newuser").amend(&mut facts);
        assert!(facts.has(feature::UTS_NS) && !facts.has(feature::TIME_NS) && facts.configured.is_empty());
        assert!(facts.has(feature::CREATE_USER_NS));
        assert_eq!(unclaimed(&facts), profile("fs,files,newuts,newuser").unclaimed());
        let result = |start: &Start, flags| predict(start, flags, &Kernel::of(&facts)).result;
        let nobody = Start::unprivileged();
        assert_eq!(result(&nobody, Flags::NEWTIME), Err(Errno::EINVAL));
        assert_eq!(result(&Start::default(), Flags::SYSVSEM), Err(Errno::EINVAL));
        assert_eq!(result(&Start::default(), Flags::NEWCGROUP), Err(Errno::EINVAL));
        assert_eq!(result(&Start::default(), Flags::NEWUTS | Flags::FS), Ok(()));
        assert_eq!(result(&nobody, Flags::NEWUTS), Err(Errno::EPERM));
    }

    #[test]
    fn without_a_profile_everything_is_claimed() {
        assert_eq!(unclaimed(&Facts::default()), Flags::NONE);
    }
}
