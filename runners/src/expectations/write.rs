//! The entries that a run calls for, as a file: sorted, so that it changes only where the kernel does.

use harness::verdict::expectation::Expectation;

use super::file::Known;
use super::follow::Follow;
use crate::prelude::*;
use crate::results::compare::without_numbers;
use crate::run::files::Draft;

/// How the reason of an entry begins that nobody has looked at.
const UNSEEN: &str = "to be looked at: ";

/// How long a line may get.
const WIDTH: usize = 120;

/// A file to be written when the run has ended.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    draft: Mutex<Option<Draft>>,
    /// Its entries so far.
    old: Vec<Expectation>,
    known: Known,
}

impl Written {
    /// The file that this draft replaces, which has these entries.
    pub fn new(path: &Path, draft: Draft, old: Vec<Expectation>, known: Known) -> Self {
        Self { path: path.to_owned(), draft: Mutex::new(Some(draft)), old, known }
    }

    /// Writes it, and says so in a sentence. Under `strict` skipped cases and documented bugs are expected, too.
    pub fn write(&self, run: &Follow, strict: bool) -> Result<String> {
        let mut entries = kept(&self.old, &self.known, run);
        let kept = entries.len();
        entries.extend(new(run, strict));
        entries.sort_by(|one, other| order(one).cmp(&order(other)));
        let text: String = entries.iter().map(entry).collect();
        let head = "# Written by --write-expectations. Look at each entry, and say why in its reason.\n";
        if let Some(draft) = locked(&self.draft).take() {
            draft.finish(&format!("{head}{text}"))?;
        }
        let (path, new) = (self.path.display(), entries.len() - kept);
        Ok(format!("{path} has {kept} of the old entries and {new} new ones, to be looked at"))
    }
}

fn order(entry: &Expectation) -> (Option<&String>, &[String], &[Status], &str) {
    (entry.cases.first(), &entry.requirements, &entry.status, &entry.reason)
}

/// The old entries as far as they still hold.
fn kept(old: &[Expectation], known: &Known, run: &Follow) -> Vec<Expectation> {
    let results: BTreeMap<&str, &Judged> = run.judged().map(|(case, judged)| (case.name.as_str(), judged)).collect();
    let today = today();
    let kept = old.iter().filter_map(|entry| {
        if entry.until.as_ref().is_some_and(|until| *until < today) || run.is_unviolated(entry) {
            return None;
        }
        let mut entry = entry.clone();
        entry.requirements.retain(|id| known.has_requirement(id));
        if entry.cases.is_empty() {
            return (!entry.requirements.is_empty()).then_some(entry);
        }
        // What this run has not decided may still hold, and what a more precise entry names is not this one's affair.
        let holds = |case: &String| match results.get(case.as_str()) {
            None => true,
            Some((_, outcome)) if outcome.entry().is_some() => {
                outcome.entry() != entry.at.as_deref() || !outcome.refutes()
            }
            Some((verdict, _)) => {
                matches!(verdict.status, Status::Pass | Status::Skip)
                    || verdict.was_never_reached()
                    || !entry.affects(run.version())
                    || old.iter().any(|other| other.names(case) > entry.names(case))
            }
        };
        let names = entry.cases.iter().flat_map(|name| {
            let cases: Vec<&String> = known.meant(name).collect();
            match cases.iter().all(|case| holds(case)) {
                _ if cases.is_empty() => Vec::new(),
                true => vec![name.clone()],
                // Of a group, what still holds of it.
                false => cases.into_iter().filter(|case| holds(case)).cloned().collect(),
            }
        });
        let cases: BTreeSet<String> = names.collect();
        (!cases.is_empty()).then(|| Expectation { cases: cases.into_iter().collect(), ..entry.clone() })
    });
    kept.collect()
}

/// An entry for each thing that went wrong and that nothing expects.
fn new(run: &Follow, strict: bool) -> Vec<Expectation> {
    let mut entries: BTreeMap<(Status, BTreeSet<String>, bool, String), BTreeSet<String>> = BTreeMap::new();
    for (case, (verdict, outcome)) in run.judged() {
        let is_news = match (verdict.status, outcome) {
            _ if verdict.was_never_reached() => false,
            (Status::Pass, _) => false,
            (Status::Skip, Outcome::AsJudged { entry: None }) | (_, Outcome::KnownBug { entry: None, .. }) => strict,
            (_, outcome) => *outcome == Outcome::AS_JUDGED,
        };
        if is_news {
            let violated = verdict.failed.iter().flat_map(|check| check.requirement.split(", ")).map(str::to_owned);
            let reason = without_numbers(&one_line(&verdict.cause()));
            let key = (verdict.status, violated.collect(), verdict.is_of_unwell_kernel(), reason);
            entries.entry(key).or_default().insert(case.name.clone());
        }
    }
    let entry = |((status, requirements, kernel_log, reason), cases): (_, BTreeSet<String>)| {
        let requirements: BTreeSet<String> = requirements;
        Expectation {
            cases: cases.into_iter().collect(),
            requirements: requirements.into_iter().collect(),
            status: vec![status],
            kernel_log,
            reason: format!("{UNSEEN}{reason}"),
            link: None,
            until: None,
            affected: Vec::new(),
            at: None,
        }
    };
    entries.into_iter().map(entry).collect()
}

/// An entry as TOML.
fn entry(entry: &Expectation) -> String {
    let mut text = "\n[[expect]]\n".to_owned();
    let mut field = |key: &str, value: String| {
        let _ = writeln!(text, "{key} = {value}");
    };
    let quoted = |value: &str| toml::Value::from(value).to_string();
    let list = |values: &[String]| match values {
        [one] => quoted(one),
        values => {
            let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
            let line = format!("[{}]", values.join(", "));
            match line.len() + "requirement = ".len() <= WIDTH {
                true => line,
                false => format!("[\n{}]", values.iter().map(|value| format!("    {value},\n")).collect::<String>()),
            }
        }
    };
    if !entry.cases.is_empty() {
        field("cases", list(&entry.cases));
    }
    if !entry.requirements.is_empty() {
        field("requirement", list(&entry.requirements));
    }
    let status = entry.status.iter().filter_map(|status| Some(serde_json::to_value(status).ok()?.as_str()?.to_owned()));
    field("status", list(&status.collect::<Vec<_>>()));
    if entry.kernel_log {
        field("kernel_log", "true".to_owned());
    }
    field("reason", quoted(&entry.reason));
    for (key, value) in [("link", &entry.link), ("until", &entry.until)] {
        if let Some(value) = value {
            field(key, quoted(value));
        }
    }
    if !entry.affected.is_empty() {
        let ranges = entry.affected.iter().map(|(first, beyond)| {
            let numbers =
                |version: &harness::place::facts::Version| format!("[{}, {}, {}]", version.0, version.1, version.2);
            format!("[{}, {}]", numbers(first), numbers(beyond))
        });
        field("affected", format!("[{}]", ranges.collect::<Vec<_>>().join(", ")));
    }
    text
}
