//! Documented bugs of released kernels. A case never weakens for a buggy kernel; the list explains its failure.

use harness::place::facts::Version;
use harness::verdict::expectation::Expectation;

use super::measured::{Bug, End, How, LookedAt, Release, looked_at, parse};
use crate::prelude::*;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance known-bugs                    bugs of the kernels that `kernels list` shows
  unshare-conformance known-bugs 6.17.13 7.2
  unshare-conformance known-bugs \"$(uname -r)\" arch/x86/boot/bzImage

A release of two numbers means all of its stable releases. Measured is what was run: the release
itself, or the releases next to an end of a range. Inferred is what follows from others that
were, or from the reference. A release that is not between two of its series that were run gets
no promise. Distributions backport fixes without changing the number: only running the cases
shows for certain whether a kernel has a bug.";

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
    bugs().into_iter().flat_map(Bug::expectations).collect()
}

/// The same, with the releases on which each bug was looked for.
///
/// # Panics
/// As [`all`].
pub fn bugs() -> Vec<Bug> {
    parse(include_str!("../../known-bugs.toml")).expect("the list is valid")
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
    /// Whether anybody looked.
    #[serde(flatten)]
    looked_at: LookedAt,
    bugs: Vec<ListedBug<'b>>,
}

#[derive(Serialize)]
struct ListedBug<'b> {
    /// Whether this kernel has it.
    applies: Affected,
    /// How that is known, and by which releases that were run.
    how: How,
    known_by: String,
    requirement: String,
    cases: &'b [String],
    /// Further cases, which come across it or do not.
    by_chance: &'b [String],
    /// Whether a failure of the cases is excused; a kernel with another bug does not conform.
    excused: bool,
    affected: &'b [(Version, Version)],
    /// How the ends of these ranges are known.
    ends: Vec<[End; 2]>,
    measured_with: &'b [Release],
    measured_without: &'b [Release],
    /// The subject of the commit that fixes it, and the releases in whose changelog that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'b str>,
    fixed_in: &'b [Release],
    seen: &'b str,
    reference: &'b str,
}

impl<'b> ListedBug<'b> {
    fn of(bug: &'b Bug, versions: (Version, Version)) -> Option<Self> {
        let Bug { entry, with, without, fix, fixed_in, by_chance } = bug;
        let applies = affected(entry, versions)?;
        let (how, known_by) = bug.known_of(versions);
        Some(Self {
            applies,
            how,
            known_by,
            requirement: entry.requirements.join(", "),
            cases: &entry.cases,
            by_chance,
            excused: !entry.status.is_empty(),
            affected: &entry.affected,
            ends: bug.ends(),
            measured_with: with,
            measured_without: without,
            fix: fix.as_deref(),
            fixed_in,
            seen: &entry.reason,
            reference: entry.link.as_deref().unwrap_or_default(),
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
    let bugs = bugs();
    let looked_at = looked_at(&bugs);
    let list = |Suspect { name: kernel, versions }| {
        let bugs = bugs.iter().filter_map(|bug| ListedBug::of(bug, versions));
        Listed { kernel, looked_at: LookedAt::of(&looked_at, versions), bugs: bugs.collect() }
    };
    let listed: Vec<Listed> = suspects.into_iter().map(list).collect();
    stdout::print(match args.format {
        ListFormat::Json => stdout::json(&listed),
        ListFormat::Text => listed.iter().map(text).collect(),
    })
}

fn text(kernel: &Listed) -> String {
    if kernel.bugs.is_empty() {
        return format!("{}: {}\n", kernel.kernel, kernel.looked_at.without_bugs());
    }
    let mut text = format!("{} ({}):\n", kernel.kernel, kernel.looked_at.text());
    for bug in &kernel.bugs {
        let some = match bug.applies {
            Affected::Yes => "",
            Affected::Partly => " (some of its stable releases)",
        };
        let ranges = bug.affected.iter().zip(&bug.ends).map(|((first, beyond), [begin, end])| {
            format!("from {first} ({}) to before {beyond} ({})", begin.text(), end.text())
        });
        let ranges = ranges.collect::<Vec<_>>().join("\n      and ");
        let how = match bug.known_by.as_str() {
            "" => bug.how.word().to_owned(),
            by => format!("{}: {by}", bug.how.word()),
        };
        // A failure that is not excused fails the run.
        let excused = if bug.excused { "" } else { "; such a kernel does not conform" };
        let _ = writeln!(text, "  {}: {}{some}", bug.requirement, bug.seen);
        let _ = writeln!(text, "    {how}\n    releases {ranges}\n    {}", bug.reference);
        if let Some(fix) = bug.fix {
            let _ = writeln!(text, "    fixed by: {fix}");
        }
        let _ = writeln!(text, "    found by {}{excused}", bug.cases.join(", "));
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
    let version = Version::in_order(release)?;
    if Version::parse(release) != Some(version) {
        return Some((version, version));
    }
    let is_told = version.2 != 0 || release == version.to_string();
    let last = if is_told { version.2 } else { u32::MAX };
    Some((version, Version(version.0, version.1, last)))
}

/// The running kernel, and those that `kernels list` finds; without the archive, those that were
/// fetched.
fn found() -> Result<Vec<Suspect>> {
    let facts = harness::run::pool::facts(&suite::SUITE)?;
    let mut suspects =
        vec![Suspect { name: format!("{} (running)", facts.release), versions: (facts.in_order(), facts.in_order()) }];
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
            assert!(!bug.cases.is_empty(), "{told}");
        }
    }

    #[test]
    fn the_ranges_are_what_was_measured() {
        let wrong: Vec<_> = bugs().iter().flat_map(Bug::contradictions).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
