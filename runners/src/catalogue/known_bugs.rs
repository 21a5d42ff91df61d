//! Documented bugs of released kernels. A case never weakens for a buggy kernel; the list explains its failure.

use harness::place::facts::Version;
use harness::verdict::expectation::Expectation;

use crate::expectations::file::parse;
use crate::prelude::*;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance known-bugs                    bugs of the kernels that `kernels list` shows
  unshare-conformance known-bugs 6.17.13 7.2
  unshare-conformance known-bugs \"$(uname -r)\" arch/x86/boot/bzImage

A release of two numbers means all of its stable releases. Distributions backport fixes without
changing the number: only running the cases shows for certain whether a kernel has a bug.";

/// The arguments of `known-bugs`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KnownBugsArgs {
    /// Releases or kernel images [default: those that `kernels list` shows, and the running kernel]
    #[arg(value_name = "RELEASE|PATH")]
    kernel: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: ListFormat,
}

/// The list that this program carries.
///
/// # Panics
/// The list is not valid, which a test excludes.
pub fn all() -> Vec<Expectation> {
    let list = parse("known-bugs.toml", include_str!("../../known-bugs.toml")).expect("the list is valid");
    list.into_iter().map(|bug| Expectation { at: None, ..bug }).collect()
}

/// A kernel as the user knows it, and the versions it may be.
struct Suspect {
    name: String,
    /// From the first to the last, both inclusive.
    versions: (Version, Version),
}

/// Whether a kernel has a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Affected {
    Yes,
    /// Some of its stable releases have it.
    Partly,
}

#[derive(Serialize)]
struct Listed<'b> {
    kernel: String,
    bugs: Vec<ListedBug<'b>>,
}

#[derive(Serialize)]
struct ListedBug<'b> {
    /// Whether this kernel has it.
    applies: Affected,
    requirement: String,
    cases: &'b [String],
    affected: &'b [(Version, Version)],
    seen: &'b str,
    reference: &'b str,
}

impl<'b> ListedBug<'b> {
    fn of(bug: &'b Expectation, versions: (Version, Version)) -> Option<Self> {
        Some(Self {
            applies: affected(bug, versions)?,
            requirement: bug.requirements.join(", "),
            cases: &bug.cases,
            affected: &bug.affected,
            seen: &bug.reason,
            reference: bug.link.as_deref().unwrap_or_default(),
        })
    }
}

/// Shows which kernels have which bugs.
pub fn run(args: &KnownBugsArgs) -> Result<ExitStatus> {
    let suspects = if args.kernel.is_empty() {
        found()?
    } else {
        args.kernel.iter().map(|name| given(name)).collect::<Result<_, _>>()?
    };
    let bugs = all();
    let list = |Suspect { name: kernel, versions }| {
        let bugs = bugs.iter().filter_map(|bug| ListedBug::of(bug, versions));
        Listed { kernel, bugs: bugs.collect() }
    };
    let listed: Vec<Listed> = suspects.into_iter().map(list).collect();
    stdout::print(match args.format {
        ListFormat::Json => stdout::json(&listed),
        ListFormat::Text => listed.iter().map(text).collect(),
    })
}

fn text(kernel: &Listed) -> String {
    if kernel.bugs.is_empty() {
        return format!("{}: no documented bug\n", kernel.kernel);
    }
    let mut text = format!("{}:\n", kernel.kernel);
    for bug in &kernel.bugs {
        let some = match bug.applies {
            Affected::Yes => "",
            Affected::Partly => " (some of its stable releases)",
        };
        let ranges: Vec<_> =
            bug.affected.iter().map(|(first, beyond)| format!("from {first} to before {beyond}")).collect();
        let cases = match bug.cases {
            // A failure that is excused for no case fails the run.
            [] => "such a kernel does not conform".to_owned(),
            cases => format!("found by {}", cases.join(", ")),
        };
        let _ = writeln!(text, "  {}: {}{some}", bug.requirement, bug.seen);
        let _ = writeln!(text, "    releases {}\n    {}\n    {cases}", ranges.join(" and "), bug.reference);
    }
    text
}

fn given(name: &str) -> Result<Suspect, WrongInput> {
    let release = name.strip_prefix("uml-").unwrap_or(name);
    let looks_like_release = release.starts_with(|c: char| c.is_ascii_digit());
    let versions = if looks_like_release && !Path::new(name).exists() {
        versions_of(release)
    } else {
        Kernel::open(Path::new(name)).ok().and_then(|kernel| versions_of(kernel.release()?))
    };
    let suspect = versions.map(|versions| Suspect { name: name.to_owned(), versions });
    let why = || format!("{name:?} is neither a kernel release such as 6.17.13 nor a kernel image");
    suspect.ok_or_else(|| WrongInput(why()))
}

/// What a release may be: `6.17` is any of its stable releases, and so may be `6.17.0-5-generic`, since
/// distributions write 0 for whichever it is.
fn versions_of(release: &str) -> Option<(Version, Version)> {
    let version = Version::parse(release)?;
    let is_told = version.2 != 0 || release == version.to_string();
    let last = if is_told { version.2 } else { u32::MAX };
    Some((version, Version(version.0, version.1, last)))
}

/// The running kernel, and those that `kernels list` finds; without the archive, those that were
/// fetched.
fn found() -> Result<Vec<Suspect>> {
    let facts = harness::run::pool::facts(&suite::SUITE)?;
    let mut suspects =
        vec![Suspect { name: format!("{} (running)", facts.release), versions: (facts.version, facts.version) }];
    let library = Library::new(Cache::of_user()?);
    let entries = library.list(&mut |_| ()).unwrap_or_else(|error| {
        eprintln!("unshare-conformance: listing fetched kernels only: {}", vm::chain(&error));
        library.fetched()
    });
    suspects.extend(entries.iter().filter_map(|entry| {
        // The package's version has the stable number, which the release lacks.
        let name = entry.release.strip_prefix("uml-").unwrap_or(&entry.release);
        let by_package = versions_of(&entry.version).filter(|(first, last)| first == last);
        let versions = by_package.or_else(|| versions_of(name))?;
        let name = match by_package {
            Some((version, _)) => format!("{} ({version})", entry.release),
            None => entry.release.clone(),
        };
        Some(Suspect { name, versions })
    }));
    Ok(suspects)
}

fn affected(bug: &Expectation, (first, last): (Version, Version)) -> Option<Affected> {
    let has = |version: Version| bug.affects(version);
    let starts_within = |(from, _): &(Version, Version)| first <= *from && *from <= last;
    match (has(first), has(last)) {
        (true, true) => Some(Affected::Yes),
        (false, false) if !bug.affected.iter().any(starts_within) => None,
        _ => Some(Affected::Partly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectations::file::Known;

    #[test]
    fn every_bug_names_what_exists_and_when_it_did() {
        Known::of(suite::cases::all()).check(&all()).unwrap();
        for bug in all() {
            let told = bug.text();
            // Only the failure that is documented is excused, in releases that have it.
            assert_eq!((bug.requirements.len(), bug.affected.is_empty()), (1, false), "{told}");
            assert!(
                // What a random case comes across now and then is no surprise where it does not.
                bug.link.is_some()
                    && bug.until.is_none()
                    && bug.status.iter().all(|status| matches!(status, Status::Fail | Status::Pass)),
                "{told}"
            );
            assert_eq!(bug.cases.is_empty(), bug.status.is_empty(), "{told}");
        }
    }

    #[test]
    fn a_release_of_two_numbers_is_all_of_its_stable_ones() {
        let bug = |from, beyond| Expectation { affected: vec![(from, beyond)], ..all().remove(0) };
        let from_5_to_7_2 = bug(Version(6, 17, 5), Version(7, 2, 0));
        for (release, expected) in [
            ("6.16.12", None),
            ("6.17", Some(Affected::Partly)),
            ("6.17.4", None),
            ("6.17.5-generic", Some(Affected::Yes)),
            ("6.17.0-5-generic", Some(Affected::Partly)),
            ("6.17.0", None),
            ("6.18", Some(Affected::Yes)),
            ("7.1.99", Some(Affected::Yes)),
            ("7.2", None),
        ] {
            let versions = versions_of(release).expect("a release");
            assert_eq!(affected(&from_5_to_7_2, versions), expected, "{release}");
        }
        let short = bug(Version(6, 17, 5), Version(6, 17, 9));
        let whole = versions_of("6.17").expect("a release");
        assert_eq!(affected(&short, whole), Some(Affected::Partly));
        assert!(given("linux").is_err() && given("/nonexistent").is_err());
    }
}
