//! What is expected of a kernel that does not pass everything: entries of one form, whether this program documents a
//! bug of a release or a user lists what an engine does not do yet.

use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IntoDeserializer, SeqAccess, Visitor};

use crate::common::*;
use crate::prelude::Version;
use crate::verdict::outcome::Outcome;

/// What is expected of some cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The cases: full names, and beginnings that end in `.` (a group) or in `*`. Without any, every case that fails
    /// by one of the requirements.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
    /// The requirements that a failure may violate; none for any failure.
    #[serde(default, rename = "requirement", deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<String>,
    /// How the cases may come out. An entry without any excuses nothing.
    #[serde(default = "fails", deserialize_with = "one_or_many")]
    pub status: Vec<Status>,
    /// Whether also what the kernel's own log reports of a case is expected (an oops, a warning), or that its guest is
    /// lost. Without it no such case is excused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_log: bool,
    /// Why, in one line.
    pub reason: String,
    /// The report or the fixing commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The last day on which the entry excuses anything, as YYYY-MM-DD in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Affected releases: from the first (inclusive) to the second (exclusive); none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<(Version, Version)>,
    /// Where the user's entry stands, as FILE:LINE; none for a bug that this program documents.
    #[serde(skip)]
    pub at: Option<String>,
}

fn fails() -> Vec<Status> {
    vec![Status::Fail]
}

/// How precisely a name means a case: a beginning by its length, the full name beyond all of them.
fn precision(name: &str, case: &str) -> Option<usize> {
    let beginning = if name.ends_with('.') { Some(name) } else { name.strip_suffix('*') };
    match beginning {
        _ if name == case => Some(usize::MAX),
        Some(beginning) if case.starts_with(beginning) => Some(beginning.len()),
        _ => None,
    }
}

impl Expectation {
    /// Whether a name of an entry means this case.
    pub fn means(name: &str, case: &str) -> bool {
        precision(name, case).is_some()
    }

    /// How precisely the entry names a case, if it does: comparable with other entries.
    pub fn names(&self, case: &str) -> Option<usize> {
        self.cases.iter().filter_map(|name| precision(name, case)).max()
    }

    /// Whether the entry is about this release.
    pub fn affects(&self, version: Version) -> bool {
        self.affected.is_empty() || self.affected.iter().any(|(first, beyond)| *first <= version && version < *beyond)
    }

    /// What the user's entry expects, in a few words.
    pub fn expected(&self) -> String {
        self.status.iter().map(|status| status.word()).collect::<Vec<_>>().join(" or ")
    }

    /// The entry in one line, for directives.
    pub fn text(&self) -> String {
        let link = self.link.as_ref().map_or(String::new(), |link| format!(" ({link})"));
        let what = match &self.at {
            None => format!("known kernel bug {}", self.requirements.join(", ")),
            Some(at) => format!("{at} expects {}", self.expected()),
        };
        format!("{what}: {}{link}", self.reason)
    }
}

/// What is expected of a run: the user's entries, and behind them the documented bugs.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// The user's entries that have not expired.
    pub own: Arc<[Expectation]>,
    /// The documented bugs. Read after the first case: a guest may be slow.
    documented: Arc<LazyLock<Vec<Expectation>>>,
}

impl Expectations {
    /// These entries of the user's, and these documented bugs.
    pub fn new(own: Vec<Expectation>, documented: fn() -> Vec<Expectation>) -> Self {
        Self { own: own.into(), documented: Arc::new(LazyLock::new(documented)) }
    }

    /// Compares a verdict with what is expected of its case on this kernel. The user's entries come first.
    pub fn outcome<S: AsRef<str>>(&self, case: &str, proves: &[S], version: Version, verdict: &Verdict) -> Outcome {
        // Nothing is known of such a case.
        if verdict.was_never_reached() {
            return Outcome::AS_JUDGED;
        }
        let of = |entries: &[Expectation]| classified(entries, case, proves, version, verdict);
        of(&self.own).or_else(|| of(&self.documented)).unwrap_or(Outcome::AS_JUDGED)
    }
}

/// What these entries make of a verdict; none if it is nothing that they expect.
fn classified<S: AsRef<str>>(
    entries: &[Expectation],
    case: &str,
    proves: &[S],
    version: Version,
    verdict: &Verdict,
) -> Option<Outcome> {
    let entries: Vec<_> = entries.iter().filter(|entry| entry.affects(version)).collect();
    // An exception to a group is more precise than the group.
    let most = entries.iter().filter_map(|entry| entry.names(case)).max();
    let named = || entries.iter().filter(|entry| most.is_some() && entry.names(case) == most);
    let of_all_cases = || entries.iter().filter(|entry| entry.cases.is_empty());
    let status = verdict.status;
    let is_unwell = verdict.is_of_unwell_kernel();
    let fits = |entry: &&&Expectation| entry.status.contains(&status) && (entry.kernel_log || !is_unwell);
    match status {
        Status::Pass => match named().find(fits) {
            Some(_) => Some(Outcome::AS_JUDGED),
            None => named().find(|entry| !entry.status.is_empty()).map(|entry| Outcome::unexpected_pass(entry)),
        },
        Status::Fail => {
            let excusing: Vec<_> = named().chain(of_all_cases()).filter(fits).collect();
            // Only what is listed is excused. A splat fails a case without any failed check, and then no requirement
            // names it.
            let lists = |entry: &&Expectation, ids: &str| {
                ids.split(", ").any(|id| entry.requirements.iter().any(|own| own == id))
            };
            let excuse = |ids: &String| {
                let is_listed = |id: &str| excusing.iter().any(|entry| lists(entry, id));
                ids.split(", ").all(is_listed).then(|| excusing.iter().find(|entry| lists(entry, ids)))?
            };
            let whatever = excusing.iter().find(|entry| entry.requirements.is_empty());
            let failed: Option<Vec<_>> = verdict.failed.iter().map(|check| excuse(&check.requirement)).collect();
            let entry = whatever.or_else(|| failed?.first().copied());
            entry.map(|entry| Outcome::known_bug(entry))
        }
        Status::Skip | Status::Broken | Status::TimedOut => {
            let is_proven = |entry: &&&Expectation| {
                entry.requirements.iter().any(|id| proves.iter().any(|proven| proven.as_ref() == id))
            };
            let entry = named().find(fits).or_else(|| of_all_cases().filter(fits).find(is_proven))?;
            Some(match status {
                Status::Skip => Outcome::AsJudged { entry: entry.at.clone() },
                _ => Outcome::known_bug(entry),
            })
        }
    }
}

/// Reads one value, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Many<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Many<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Vec<T>, E> {
            T::deserialize(one.into_deserializer()).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, many: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(many))
        }
    }

    deserializer.deserialize_any(Many(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::record::FailedCheck;

    const NOW: Version = Version(6, 18, 3);

    fn entry(cases: &[&str], requirements: &[&str], status: &[Status]) -> Expectation {
        Expectation {
            cases: cases.iter().map(|name| (*name).to_owned()).collect(),
            requirements: requirements.iter().map(|id| (*id).to_owned()).collect(),
            status: status.to_vec(),
            kernel_log: false,
            reason: "lost".to_owned(),
            link: None,
            until: None,
            affected: Vec::new(),
            at: Some("f.toml:1".to_owned()),
        }
    }

    fn bug() -> Expectation {
        let affected = vec![(Version(6, 18, 0), Version(6, 19, 0))];
        Expectation { affected, at: None, ..entry(&["a.b"], &["EFF-MNT-07"], &[Status::Fail]) }
    }

    fn failing(requirements: &[&str]) -> Verdict {
        let mut verdict = Verdict::not_run(Status::Fail, "x");
        let check = |requirement: &&str| FailedCheck { requirement: requirement.to_string(), ..FailedCheck::default() };
        verdict.failed = requirements.iter().map(check).collect();
        verdict
    }

    fn with(status: Status) -> Verdict {
        match status {
            Status::Fail => failing(&["R-8"]),
            _ => Verdict::not_run(status, "x"),
        }
    }

    /// The outcome of a case that proves R-1, in a word.
    fn word(entries: &[Expectation], case: &str, verdict: &Verdict) -> &'static str {
        let expectations = Expectations::new(entries.to_vec(), Vec::new);
        match expectations.outcome(case, &["R-1"], NOW, verdict) {
            Outcome::AsJudged { entry: None } => "as judged",
            Outcome::AsJudged { entry: Some(_) } => "expected skip",
            Outcome::KnownBug { .. } => "known",
            Outcome::UnexpectedPass { entry: None, .. } => "stale",
            Outcome::UnexpectedPass { entry: Some(_), .. } => "refuted",
        }
    }

    #[test]
    fn ranges_are_half_open() {
        let bug = bug();
        let affected =
            [(6, 17, 99), (6, 18, 0), (6, 18, 99), (6, 19, 0)].map(|(a, b, c)| bug.affects(Version(a, b, c)));
        assert_eq!(affected, [false, true, true, false]);
    }

    #[test]
    fn only_the_documented_failure_is_excused() {
        let word = |verdict: &Verdict| word(&[bug()], "a.b", verdict);
        assert_eq!(word(&failing(&["EFF-MNT-07"])), "known");
        assert_eq!(word(&failing(&["EFF-MNT-01"])), "as judged");
        assert_eq!(word(&failing(&["EFF-MNT-07", "EFF-MNT-01"])), "as judged");
        // A splat fails a case without any failed check.
        assert_eq!(word(&failing(&[])), "as judged");
        assert_eq!(word(&with(Status::Pass)), "stale");
        assert_eq!(word(&with(Status::Skip)), "as judged");
    }

    #[test]
    fn a_name_is_whole_or_says_where_it_ends() {
        let means = |name, case| precision(name, case);
        assert_eq!(means("a.b", "a.b"), Some(usize::MAX));
        assert_eq!(means("a.b", "a.bc"), None);
        assert_eq!(means("a.", "a.b"), Some(2));
        assert_eq!(means("a.b.", "a.b"), None);
        assert_eq!(means("a.b*", "a.bc"), Some(3));
        assert_eq!(means("*", "a.bc"), Some(0));
        assert_eq!(means("a", "a.b"), None);
    }

    #[test]
    fn what_comes_out_as_the_entry_says_is_expected() {
        use Status::{Broken, Fail, Pass, Skip, TimedOut};
        for (status, verdict, expected) in [
            (&[Fail][..], with(Fail), "known"),
            (&[Fail], failing(&["R-9"]), "known"),
            (&[Fail], with(Pass), "refuted"),
            (&[Fail], with(Broken), "as judged"),
            (&[Fail], with(TimedOut), "as judged"),
            (&[Fail], with(Skip), "as judged"),
            (&[Broken, TimedOut], with(Broken), "known"),
            (&[Broken, TimedOut], with(TimedOut), "known"),
            (&[Broken, TimedOut], with(Fail), "as judged"),
            (&[Skip], with(Skip), "expected skip"),
            (&[Skip], with(Pass), "refuted"),
            // A flaky case, and an exception.
            (&[Fail, Pass], with(Pass), "as judged"),
            (&[Fail, Pass], with(Fail), "known"),
            (&[Pass], with(Fail), "as judged"),
            // The run ended before.
            (&[Broken], Verdict::never_reached("the guest panicked"), "as judged"),
            (&[Skip], Verdict::stopped_before(), "as judged"),
        ] {
            assert_eq!(word(&[entry(&["a."], &[], status)], "a.b", &verdict), expected, "{status:?} {verdict:?}");
        }
    }

    #[test]
    fn the_most_precise_name_decides() {
        use Status::{Fail, Pass};
        let entries =
            [entry(&["a."], &[], &[Fail]), entry(&["a.b*"], &[], &[Fail, Pass]), entry(&["a.bc"], &[], &[Pass])];
        let words = |case| [with(Fail), with(Pass)].map(|verdict| word(&entries, case, &verdict));
        assert_eq!(words("a.x"), ["known", "refuted"]);
        assert_eq!(words("a.bx"), ["known", "as judged"]);
        assert_eq!(words("a.bc"), ["as judged", "as judged"]);
        assert_eq!(words("b.x"), ["as judged", "as judged"]);
    }

    #[test]
    fn a_requirement_excuses_its_violation_alone() {
        use Status::{Fail, Skip};
        let entries = [entry(&[], &["R-1"], &[Fail, Skip]), entry(&["a.b"], &["R-2"], &[Fail])];
        assert_eq!(word(&entries, "c.d", &failing(&["R-1"])), "known");
        assert_eq!(word(&entries, "c.d", &failing(&["R-2"])), "as judged");
        assert_eq!(word(&entries, "a.b", &failing(&["R-2", "R-1"])), "known");
        assert_eq!(word(&entries, "a.b", &failing(&["R-2", "R-3"])), "as judged");
        // Another case may violate it.
        assert_eq!(word(&entries, "c.d", &with(Status::Pass)), "as judged");
        assert_eq!(word(&entries, "c.d", &with(Skip)), "expected skip");
        let unproven = [entry(&[], &["R-2"], &[Skip])];
        assert_eq!(word(&unproven, "c.d", &with(Skip)), "as judged");
    }

    #[test]
    fn what_the_kernel_reports_is_excused_by_name_alone() {
        use Status::{Fail, TimedOut};
        let splat = |verdict: Verdict| Verdict { reason: "kernel log: BUG: KASAN: x".to_owned(), ..verdict };
        let noted = Verdict { notes: vec!["kernel log: Oops: 0000 [#1]".to_owned()], ..with(TimedOut) };
        let lost = Verdict::not_run(Fail, "the guest panicked: x");
        let any = entry(&["a."], &[], &[Fail, TimedOut]);
        let listed = entry(&["a."], &["R-1"], &[Fail, TimedOut]);
        for (verdict, expected) in [
            (splat(failing(&[])), "as judged"),
            (splat(failing(&["R-1"])), "known"),
            (lost, "as judged"),
            (noted, "known"),
        ] {
            for entry in [&any, &listed] {
                assert_eq!(word(std::slice::from_ref(entry), "a.b", &verdict), "as judged", "{verdict:?}");
            }
            let told = |entry: &Expectation| Expectation { kernel_log: true, ..entry.clone() };
            assert_eq!(word(&[told(&any)], "a.b", &verdict), "known", "{verdict:?}");
            assert_eq!(word(&[told(&listed)], "a.b", &verdict), expected, "{verdict:?}");
        }
        let remark = Verdict { notes: vec!["kernel log: Out of memory: Killed process 1".to_owned()], ..with(Fail) };
        assert_eq!(word(&[any], "a.b", &remark), "known");
    }

    #[test]
    fn the_users_entries_come_before_the_documented_bugs() {
        let outcome = |own: Vec<Expectation>, verdict: &Verdict| {
            Expectations::new(own, || vec![bug()]).outcome("a.b", &["R-1"], NOW, verdict)
        };
        let known = failing(&["EFF-MNT-07"]);
        assert_eq!(outcome(Vec::new(), &known).entry(), None);
        let own = || vec![entry(&["a."], &[], &[Status::Fail])];
        assert_eq!(outcome(own(), &known).entry(), Some("f.toml:1"));
        assert!(outcome(own(), &with(Status::Pass)).refutes());
        // What the user's entries do not expect may still be documented.
        let other = vec![entry(&["a.b"], &[], &[Status::TimedOut])];
        assert_eq!(outcome(other, &known), Outcome::known_bug(&bug()));
    }

    #[test]
    fn a_bug_that_excuses_nothing_changes_no_verdict() {
        let nothing = [Expectation { status: Vec::new(), cases: Vec::new(), ..bug() }];
        for verdict in [failing(&["EFF-MNT-07"]), with(Status::Pass), with(Status::Broken)] {
            assert_eq!(word(&nothing, "a.b", &verdict), "as judged");
        }
    }

    #[test]
    fn an_entry_in_one_line() {
        assert_eq!(
            Expectation { link: Some("URL".to_owned()), ..bug() }.text(),
            "known kernel bug EFF-MNT-07: lost (URL)"
        );
        let own = entry(&["a.b"], &[], &[Status::Fail, Status::TimedOut]);
        assert_eq!(own.text(), "f.toml:1 expects fail or timed out: lost");
    }
}
