//! On which releases the documented bugs were looked for, and what follows for all others.
//!
//! The list says of each bug which releases were run and have it, and which do not (`measured_with`,
//! `measured_without`), beside the ranges of releases that are taken to have it (`affected`). From these follows whether
//! a release, or an end of a range, is measured or inferred.

use harness::place::facts::Version;
use harness::verdict::expectation::Expectation;

use crate::expectations::file;
use crate::prelude::*;

/// A release, as kernels are named: `6.12.43`, or `7.3-rc7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Release {
    /// Where it stands.
    pub at: Version,
    series: Series,
    name: String,
}

/// The first two numbers of a release.
type Series = (u32, u32);

impl TryFrom<String> for Release {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let wrong = || format!("{name:?} is no release such as \"6.12.43\" or \"7.3-rc7\"");
        let (numbers, at) = Version::parse(&name).zip(Version::in_order(&name)).ok_or_else(wrong)?;
        Ok(Release { at, series: (numbers.0, numbers.1), name })
    }
}

impl Serialize for Release {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// A documented bug, and the releases on which it was looked for.
#[derive(Clone, Debug)]
pub struct Bug {
    /// The entry.
    pub entry: Expectation,
    /// Releases that were run and have it, oldest first.
    pub with: Vec<Release>,
    /// Releases that were run and do not, oldest first.
    pub without: Vec<Release>,
    /// The subject of the commit that fixes it.
    pub fix: Option<String>,
    /// Releases in whose changelog that stands.
    pub fixed_in: Vec<Release>,
    /// Cases that come across it by chance: they may pass as well.
    pub by_chance: Vec<String>,
}

/// What an entry of the list has beside those of users' files.
#[derive(Default, Deserialize)]
struct Own {
    #[serde(default)]
    measured_with: Vec<Release>,
    #[serde(default)]
    measured_without: Vec<Release>,
    fix: Option<String>,
    #[serde(default)]
    fixed_in: Vec<Release>,
    #[serde(default)]
    by_chance: Vec<String>,
}

const OWN: [&str; 5] = ["measured_with", "measured_without", "fix", "fixed_in", "by_chance"];

/// How something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The release was run, or both sides of an end were.
    Measured,
    /// From other releases that were run, or from the reference.
    Inferred,
}

impl How {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            How::Measured => "measured",
            How::Inferred => "inferred",
        }
    }
}

/// An end of a range, and the releases next to it that were run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// How it is known: measured if the two releases leave nothing between them but their own series.
    pub how: How,
    /// The next release inside the range that has the bug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<Release>,
    /// The next one outside that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<Release>,
    /// Whether the changelog of this release has the fix.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_changelog: bool,
}

impl End {
    fn between(with: Option<&Release>, without: Option<&Release>, end: Version) -> Self {
        let is_close = with.zip(without).is_some_and(|(with, without)| {
            let (older, younger) = if with < without { (with, without) } else { (without, with) };
            // Across a border of series only that border itself is measured.
            older.series == younger.series || (end.2 == 0 && follows(older.series, younger.series))
        });
        let how = if is_close { How::Measured } else { How::Inferred };
        Self { how, with: with.cloned(), without: without.cloned(), in_changelog: false }
    }

    /// In a few words.
    pub fn text(&self) -> String {
        match (self.how, &self.with, &self.without) {
            (How::Measured, Some(with), Some(without)) => {
                let (older, younger) = if with < without { (with, without) } else { (without, with) };
                format!("measured between {older} and {younger}")
            }
            _ if self.in_changelog => format!("{} from its changelog", self.how.word()),
            _ => self.how.word().to_owned(),
        }
    }
}

/// Whether no series can be between two.
fn follows(older: Series, younger: Series) -> bool {
    younger == (older.0, older.1 + 1) || younger == (older.0 + 1, 0)
}

/// Reads the list.
pub fn parse(text: &str) -> Result<Vec<Bug>, WrongInput> {
    let wrong = |error: toml::de::Error| WrongInput(one_line(error.message()));
    let mut list: toml::Table = text.parse().map_err(wrong)?;
    let entries = list.remove("expect").and_then(|entries| entries.try_into::<Vec<toml::Table>>().ok());
    let bugs = entries.unwrap_or_default().into_iter().map(|mut table| {
        let own: toml::Table = OWN.iter().filter_map(|key| table.remove_entry(*key)).collect();
        let Own { measured_with: with, measured_without: without, fix, fixed_in, by_chance } =
            own.try_into().map_err(wrong)?;
        let entry: Expectation = table.try_into().map_err(wrong)?;
        match file::wrong(&entry) {
            Some(why) => Err(WrongInput(why)),
            None => Ok(Bug { entry, with, without, fix, fixed_in, by_chance }),
        }
    });
    bugs.collect()
}

/// Every release on which the list's bugs were looked for, oldest first.
pub fn looked_at(bugs: &[Bug]) -> BTreeSet<&Release> {
    bugs.iter().flat_map(|bug| bug.with.iter().chain(&bug.without)).collect()
}

/// What is known of releases of which the list has no bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "measured")]
pub enum LookedAt {
    /// It was run; of a series, these releases were.
    Itself {
        /// The first.
        first: Release,
        /// The last.
        last: Release,
    },
    /// It was not, but an older and a younger release of its series were.
    Between {
        /// The next older one.
        older: Release,
        /// The next younger one.
        younger: Release,
    },
    /// Neither it nor releases on both sides of it.
    No {
        /// The nearest of its series that was.
        #[serde(skip_serializing_if = "Option::is_none")]
        nearest: Option<Release>,
    },
}

impl LookedAt {
    /// Looks up releases from the first to the last, both inclusive, of one series.
    pub fn of(releases: &BTreeSet<&Release>, (first, last): (Version, Version)) -> Self {
        let series: Vec<&Release> =
            releases.iter().copied().filter(|release| release.series == (first.0, first.1)).collect();
        let own = || releases.iter().copied().filter(|release| first <= release.at && release.at <= last);
        if let (Some(first), Some(last)) = (own().next(), own().next_back()) {
            return LookedAt::Itself { first: first.clone(), last: last.clone() };
        }
        let older = series.iter().copied().rfind(|release| release.at < first).cloned();
        let younger = series.iter().copied().find(|release| release.at > last).cloned();
        match (older, younger) {
            (Some(older), Some(younger)) => LookedAt::Between { older, younger },
            (older, younger) => LookedAt::No { nearest: older.or(younger) },
        }
    }

    /// In a few words.
    pub fn text(&self) -> String {
        match self {
            LookedAt::Itself { first, last } if first == last => "measured".to_owned(),
            LookedAt::Itself { first, last } => format!("{first} to {last} were measured"),
            LookedAt::Between { older, younger } => format!("inferred: {older} and {younger} were measured"),
            LookedAt::No { nearest: None } => "not measured, nor was any release of its series".to_owned(),
            LookedAt::No { nearest: Some(nearest) } => {
                format!("not measured: the nearest release of its series that was is {nearest}")
            }
        }
    }

    /// What is said where no bug is listed: of a release that nobody looked at, nothing.
    pub fn without_bugs(&self) -> String {
        match self {
            LookedAt::No { .. } => self.text(),
            _ => format!("no documented bug ({})", self.text()),
        }
    }
}

impl Bug {
    /// What is expected of cases: of those that find it, and of those that come across it by chance.
    pub fn expectations(self) -> impl Iterator<Item = Expectation> {
        let status = vec![Status::Fail, Status::Pass];
        let by_chance = Expectation { cases: self.by_chance, status, ..self.entry.clone() };
        std::iter::once(self.entry).chain(Some(by_chance).filter(|entry| !entry.cases.is_empty()))
    }

    /// The ends of each range.
    pub fn ends(&self) -> Vec<[End; 2]> {
        let ends = self.entry.affected.iter().map(|&(first, beyond)| {
            let mut inside = self.with.iter().filter(|release| first <= release.at && release.at < beyond);
            let before = self.without.iter().rfind(|release| release.at < first);
            let behind = self.without.iter().find(|release| release.at >= beyond);
            let (oldest, youngest) = (inside.clone().next(), inside.next_back());
            let in_changelog = self.fixed_in.iter().any(|release| release.at == beyond);
            [End::between(oldest, before, first), End { in_changelog, ..End::between(youngest, behind, beyond) }]
        });
        ends.collect()
    }

    /// How it is known that releases from the first to the last, both inclusive, have it, and by what.
    pub fn known_of(&self, (first, last): (Version, Version)) -> (How, String) {
        let run = |within: &dyn Fn(&Release) -> bool| {
            let mut found = self.with.iter().filter(|release| within(release));
            (found.clone().next(), found.next_back())
        };
        let names = |one: &Release, other: &Release| match one == other {
            true => format!("{one} has it"),
            false => format!("{one} and {other} have it"),
        };
        if let (Some(one), Some(other)) = run(&|release| first <= release.at && release.at <= last) {
            let text = if first == last { String::new() } else { names(one, other) };
            return (How::Measured, text);
        }
        let is_near = |release: &Release| release.series == (first.0, first.1);
        let older = run(&|release| is_near(release) && release.at < first).1;
        let younger = run(&|release| is_near(release) && release.at > last).0;
        let text = match (older, younger) {
            (Some(older), Some(younger)) => names(older, younger),
            (Some(one), None) | (None, Some(one)) => names(one, one),
            (None, None) => "no release of its series with it was run".to_owned(),
        };
        (How::Inferred, text)
    }

    /// Sentences on what contradicts what: ranges and releases that were run.
    #[cfg(test)]
    pub fn contradictions(&self) -> Vec<String> {
        let name = self.entry.requirements.join(", ");
        let told = |releases: &[Release], has: bool| {
            let wrong = releases.iter().filter(|release| self.entry.affects(release.at) != has);
            let what = if has { "is not in" } else { "is in" };
            wrong.map(|release| format!("{name}: {release} {what} the ranges")).collect::<Vec<_>>()
        };
        let sorted = [&self.with, &self.without].into_iter().filter(|list| !list.is_sorted_by(|a, b| a < b));
        let unsorted = sorted.map(|list| format!("{name}: {list:?} is not in the order of releases"));
        let is_end = |release: &&Release| self.entry.affected.iter().any(|(_, beyond)| *beyond == release.at);
        let fixed = self.fixed_in.iter().filter(|release| !is_end(release));
        let fixed = fixed.map(|release| format!("{name}: the fix is in {release}, where no range ends"));
        told(&self.with, true).into_iter().chain(told(&self.without, false)).chain(unsorted).chain(fixed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(text: &str) -> Bug {
        let text = format!("[[expect]]\nrequirement = \"X\"\nreason = \"r\"\n{text}");
        parse(&text).expect("valid").remove(0)
    }

    fn release(name: &str) -> Release {
        Release::try_from(name.to_owned()).expect("a release")
    }

    #[test]
    fn an_end_is_measured_between_two_releases_that_leave_nothing_else() {
        let bug = bug("affected = [[[5, 10, 0], [5, 10, 252]], [[6, 17, 0], [7, 2, 10]], [[7, 3, 0], [7, 4, 0]]]\n\
             measured_with = [\"5.10.218\", \"5.10.251\", \"6.17.8\", \"7.2.9\"]\n\
             measured_without = [\"5.10.257\", \"6.16.12\", \"7.2.11\"]\n");
        assert_eq!(bug.contradictions(), [""; 0]);
        let texts: Vec<_> = bug.ends().iter().flatten().map(End::text).collect();
        assert_eq!(
            texts,
            [
                "inferred",
                "measured between 5.10.251 and 5.10.257",
                "measured between 6.16.12 and 6.17.8",
                "measured between 7.2.9 and 7.2.11",
                "inferred",
                "inferred",
            ]
        );
    }

    #[test]
    fn a_border_of_series_says_nothing_of_an_end_within_one() {
        let bug = bug("affected = [[[6, 16, 0], [6, 18, 16]]]\nmeasured_with = [\"6.18.15\"]\n\
             measured_without = [\"6.12.118\", \"6.19.6\"]\n");
        let ends = bug.ends();
        assert_eq!(ends[0].iter().map(|end| end.how).collect::<Vec<_>>(), [How::Inferred, How::Inferred]);
        assert_eq!(ends[0][1].without, Some(release("6.19.6")));
        // From 6.19 to 7.0 there is no other.
        assert!(follows((6, 19), (7, 0)) && !follows((6, 12), (6, 16)));
    }

    #[test]
    fn a_release_is_measured_or_inferred_from_others_of_its_series() {
        let bug = bug("affected = [[[6, 12, 0], [6, 13, 0]]]\nmeasured_with = [\"6.12.43\", \"6.12.73\"]\n");
        let known = |first, last| bug.known_of((Version(6, 12, first), Version(6, 12, last)));
        assert_eq!(known(43, 43), (How::Measured, String::new()));
        assert_eq!(known(50, 50), (How::Inferred, "6.12.43 and 6.12.73 have it".to_owned()));
        assert_eq!(known(80, 80), (How::Inferred, "6.12.73 has it".to_owned()));
        assert_eq!(known(0, u32::MAX), (How::Measured, "6.12.43 and 6.12.73 have it".to_owned()));
        let other = bug.known_of((Version(6, 8, 1), Version(6, 8, 1)));
        assert_eq!(other, (How::Inferred, "no release of its series with it was run".to_owned()));
    }

    #[test]
    fn nothing_is_promised_of_a_release_beyond_those_that_were_run() {
        let run = ["6.1.170", "6.1.192", "7.3-rc7", "7.3.4"].map(release);
        let run: BTreeSet<&Release> = run.iter().collect();
        let of = |first, last| LookedAt::of(&run, (first, last)).without_bugs();
        let one = |version| of(version, version);
        assert_eq!(one(Version(6, 1, 192)), "no documented bug (measured)");
        assert_eq!(one(Version(6, 1, 180)), "no documented bug (inferred: 6.1.170 and 6.1.192 were measured)");
        assert_eq!(
            of(Version(6, 1, 0), Version(6, 1, u32::MAX)),
            "no documented bug (6.1.170 to 6.1.192 were measured)"
        );
        for (version, nearest) in [(Version(6, 1, 20), "6.1.170"), (Version(6, 1, 200), "6.1.192")] {
            assert_eq!(one(version), format!("not measured: the nearest release of its series that was is {nearest}"));
        }
        assert_eq!(one(Version(6, 8, 0)), "not measured, nor was any release of its series");
        let candidate = Version::in_order("7.3-rc7").expect("a release");
        assert_eq!(one(candidate), "no documented bug (measured)");
        // Not the candidate, which is before it.
        assert!(one(Version(7, 3, 0)).contains("inferred: 7.3-rc7 and 7.3.4"), "{}", one(Version(7, 3, 0)));
    }

    #[test]
    fn what_contradicts_the_ranges_is_told() {
        let bug = bug("affected = [[[6, 1, 0], [6, 2, 0]]]\nmeasured_with = [\"6.1.9\", \"6.1.8\", \"6.2.0\"]\n\
             measured_without = [\"6.1.7\"]\nfixed_in = [\"6.2.0\", \"6.1.50\"]\n");
        assert_eq!(bug.ends()[0][1].text(), "inferred from its changelog");
        let told = bug.contradictions().join("\n");
        for expected in [
            "6.2.0 is not in the ranges",
            "6.1.7 is in the ranges",
            "not in the order of releases",
            "the fix is in 6.1.50, where no range ends",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        assert!(parse("[[expect]]\nreason = \"r\"\n").is_err());
        assert!(parse("[[expect]]\nrequirement = \"X\"\nreason = \"r\"\nmeasured_with = [\"x\"]\n").is_err());
    }
}
