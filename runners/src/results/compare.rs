//! What changed between two runs, the worst first.

use super::read::Results;
use crate::prelude::*;

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It fails, and did not.
    Regression,
    /// It had a verdict, and is inconclusive now.
    Lost,
    /// It passed, and fails now as documented.
    KnownBug,
    /// It was checked, and is skipped now.
    Skipped,
    /// It is not in the new plan.
    Vanished,
    /// It fails as before, for another reason.
    Reason,
    /// It failed, and passes.
    Fixed,
    /// It was skipped or broken, and has a verdict now.
    Checked,
    /// It is not in the old plan.
    New,
}

/// One side of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The result, in a word or two.
    pub result: &'static str,
    /// Why, in one line; empty for a pass.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A case that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The case.
    pub case: String,
    /// What that means.
    pub change: Change,
    /// What it was; none when it was not in the plan.
    pub old: Option<Side>,
    /// What it is.
    pub new: Option<Side>,
    /// What it proves.
    pub requirements: String,
}

/// Two runs, compared.
#[derive(Debug)]
pub struct Comparison {
    /// The run before the change.
    pub old: Results,
    /// The run after it.
    pub new: Results,
    /// What changed, the worst first, each kind in the order of the plan.
    pub changes: Vec<Changed>,
    /// How many cases came out as before, by what that is.
    pub unchanged: BTreeMap<&'static str, usize>,
}

/// The class of a result when two are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Known,
    Skipped,
    Silent,
    Bad,
}

fn state((verdict, outcome): &Judged) -> (State, &'static str) {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { .. }, _) => (State::Known, "known bug"),
        (Outcome::UnexpectedPass { .. }, _) => (State::Good, "unexpected pass"),
        (_, Status::Pass) => (State::Good, "pass"),
        (_, Status::Skip) => (State::Skipped, "skip"),
        (_, Status::Broken) => (State::Silent, "broken"),
        (_, Status::Fail) => (State::Bad, "fail"),
        (_, Status::TimedOut) => (State::Bad, "timed out"),
    }
}

fn change(old: Option<State>, new: Option<State>) -> Option<Change> {
    use State::{Bad, Good, Known, Silent, Skipped};
    Some(match (old, new) {
        (None, None) => return None,
        (Some(_), None) => Change::Vanished,
        // Whether it failed before is not known, and a failure must not pass unseen.
        (Some(Good | Known | Skipped | Silent) | None, Some(Bad)) => Change::Regression,
        (None, Some(_)) => Change::New,
        (Some(Good | Known | Skipped | Bad), Some(Silent)) => Change::Lost,
        (Some(Good), Some(Known)) => Change::KnownBug,
        (Some(Good | Known | Bad), Some(Skipped)) => Change::Skipped,
        (Some(Bad), Some(Good | Known)) | (Some(Known), Some(Good)) => Change::Fixed,
        (Some(Skipped), Some(Good | Known)) | (Some(Silent), Some(Good | Known | Skipped)) => Change::Checked,
        (Some(Good), Some(Good)) => return None,
        // As before.
        (Some(Bad | Skipped | Silent | Known), Some(_)) => Change::Reason,
    })
}

fn side(judged: &Judged) -> Side {
    let (verdict, outcome) = judged;
    let why = match (outcome, verdict.failed.first()) {
        (Outcome::KnownBug { bug, .. } | Outcome::UnexpectedPass { bug, .. }, _) => bug.clone(),
        (_, Some(check)) => {
            format!("{} [{}]", verdict.cause(), check.requirement)
        }
        (_, None) => verdict.reason.clone(),
    };
    Side { result: state(judged).1, why: one_line(&why) }
}

/// What must be the same for a failure to be the same one. Numbers of two digits and more are process
/// IDs, inodes and times, which differ from run to run; a check may have moved in its file. And a reason
/// that names the running kernel is the same one on another.
fn essence(facts: &Facts, judged: &Judged) -> (&'static str, Vec<String>) {
    let without_numbers = |text: &str| without_numbers(&without_release(text, facts));
    let failed = judged.0.failed.iter().map(|check| {
        let seen = without_numbers(&format!("{} | {} | {}", check.call, check.expected, check.actual));
        format!("{} | {seen}", check.requirement)
    });
    let mut texts: Vec<String> = failed.collect();
    if texts.is_empty() {
        texts.push(without_numbers(&side(judged).why));
    }
    (state(judged).1, texts)
}

/// The text with a stand-in for the release of the kernel that it was said of.
fn without_release(text: &str, facts: &Facts) -> String {
    let names = [facts.release.clone(), facts.version.to_string()].into_iter().filter(|name| !name.is_empty());
    names.fold(text.to_owned(), |text, name| {
        let mut pieces = text.split(&name);
        let mut kept = pieces.next().unwrap_or_default().to_owned();
        for after in pieces {
            // 6.1.1 is not in 6.1.192, and not in 16.1.1.
            let goes_on = after.starts_with(|c: char| c.is_ascii_digit())
                || kept.ends_with(|c: char| c.is_ascii_digit() || c == '.');
            kept.push_str(if goes_on { &name } else { "RELEASE" });
            kept.push_str(after);
        }
        kept
    })
}

/// The text with a stand-in for each number of two digits and more.
pub fn without_numbers(text: &str) -> String {
    let runs = text.as_bytes().chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit());
    let kept = runs.map(|run| match run {
        [first, _, ..] if first.is_ascii_digit() => "…".into(),
        run => String::from_utf8_lossy(run),
    });
    kept.collect()
}

impl Comparison {
    /// Compares two runs.
    pub fn new(old: Results, new: Results) -> Self {
        let (before, after) = (by_name(&old), by_name(&new));
        let mut changes = Vec::new();
        let mut unchanged = BTreeMap::new();
        let vanished = old.cases.iter().filter(|case| !after.contains_key(case.case.name.as_str()));
        for case in new.cases.iter().chain(vanished) {
            let name = case.case.name.as_str();
            let (was, is) = (before.get(name), after.get(name));
            let state_of = |judged: Option<&Judged>| judged.map(|judged| state(judged).0);
            let is_news = |change: &Change| {
                let essence_of =
                    |run: &Results, judged: Option<&Judged>| judged.map(|judged| essence(&run.facts, judged));
                *change != Change::Reason || essence_of(&old, was) != essence_of(&new, is)
            };
            let change = change(state_of(was), state_of(is)).filter(is_news);
            let (old, new) = (was.map(side), is.map(side));
            match change {
                Some(change) => {
                    let (case, requirements) = (name.to_owned(), case.case.proves.join(", "));
                    changes.push(Changed { case, change, old, new, requirements });
                }
                None => *unchanged.entry(new.map_or("", |side| side.result)).or_default() += 1,
            }
        }
        // The run as a whole: the kernel reported a problem while no case ran.
        if let (None, Some(why)) = (&old.given_up, &new.given_up) {
            changes.push(Changed {
                case: "the whole run".to_owned(),
                change: Change::Regression,
                old: None,
                new: Some(Side { result: "given up", why: one_line(why) }),
                requirements: String::new(),
            });
        }
        changes.sort_by_key(|changed| changed.change);
        drop((before, after));
        Self { old, new, changes, unchanged }
    }

    /// The changes of this kind.
    pub fn of(&self, change: Change) -> Vec<&Changed> {
        let changes = self.changes.iter();
        changes.filter(|changed| changed.change == change).collect()
    }

    /// The exit status, for CI.
    pub fn exit_status(&self, strict: bool) -> ExitStatus {
        let any = |kinds: &[Change]| self.changes.iter().any(|changed| kinds.contains(&changed.change));
        let stricter = [Change::KnownBug, Change::Skipped, Change::Vanished];
        let in_common = self.changes.iter().any(|changed| changed.old.is_some() && changed.new.is_some())
            || !self.unchanged.is_empty();
        if any(&[Change::Regression]) || (strict && any(&stricter)) {
            ExitStatus::DoesNotConform
        } else if any(&[Change::Lost]) || !in_common {
            ExitStatus::NothingToSay
        } else {
            ExitStatus::Conforms
        }
    }

    /// What else differs between the runs and may explain a change.
    pub fn differences(&self) -> Vec<String> {
        let (old, new) = (&self.old, &self.new);
        let pairs = [
            ("program", old.program.clone(), new.program.clone()),
            ("tier", old.tier.name().to_owned(), new.tier.name().to_owned()),
            ("seed", old.seed.to_string(), new.seed.to_string()),
            ("repetitions", old.repeat.to_string(), new.repeat.to_string()),
            ("caller", format!("uid {}", old.facts.uid_outside), format!("uid {}", new.facts.uid_outside)),
            ("sandbox", old.facts.sandbox.to_string(), new.facts.sandbox.to_string()),
        ];
        let differ = pairs.into_iter().filter(|(_, old, new)| old != new);
        differ.map(|(what, old, new)| format!("{what}: {old} → {new}")).collect()
    }
}

fn by_name(results: &Results) -> BTreeMap<&str, Judged> {
    let cases = results.cases.iter();
    cases.map(|case| (case.case.name.as_str(), case.judged())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use State::{Bad, Good, Known, Silent, Skipped};
        let all = [Good, Known, Skipped, Silent, Bad];
        // Whatever it was: a failure is never overlooked, and silence never taken for success.
        for old in [None].into_iter().chain(all.map(Some)) {
            let to_bad = change(old, Some(Bad));
            let expected = match old {
                Some(Bad) => Change::Reason,
                _ => Change::Regression,
            };
            assert_eq!(to_bad, Some(expected));
            if let Some(Good | Known | Skipped | Bad) = old {
                assert_eq!(change(old, Some(Silent)), Some(Change::Lost));
            }
        }
        assert_eq!(change(Some(Good), Some(Good)), None);
        assert_eq!(change(Some(Good), Some(Known)), Some(Change::KnownBug));
        assert_eq!(change(Some(Good), Some(Skipped)), Some(Change::Skipped));
        assert_eq!(change(Some(Bad), Some(Good)), Some(Change::Fixed));
        assert_eq!(change(Some(Skipped), Some(Good)), Some(Change::Checked));
        assert_eq!(change(Some(Good), None), Some(Change::Vanished));
        assert_eq!(change(None, Some(Good)), Some(Change::New));
    }

    #[test]
    fn the_running_release_is_no_reason() {
        let on = |release: &str, text: &str| {
            let version = harness::place::facts::Version::parse(release).unwrap();
            let facts = Facts { release: release.to_owned(), version, ..Facts::default() };
            without_release(text, &facts)
        };
        assert_eq!(on("5.10.0-31-amd64", "this is 5.10.0-31-amd64."), "this is RELEASE.");
        assert_eq!(on("6.1.1-x", "came with 6.1.192, is 6.1.1"), "came with 6.1.192, is RELEASE");
        assert_eq!(on("6.1.1", "16.1.1"), "16.1.1");
    }

    #[test]
    fn what_differs_from_run_to_run_is_no_change_of_reason() {
        assert_eq!(
            without_numbers("mount ID went from 49 to 63; got 1"),
            without_numbers("mount ID went from 50 to 164; got 1")
        );
        assert_ne!(without_numbers("got 1"), without_numbers("got 2"));
    }
}
