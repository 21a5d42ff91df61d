//! How a comparison is shown: to people, to programs, in a mail.

use super::compare::{Change, Changed, Comparison, Side};
use super::read::Results;
use crate::prelude::*;

/// Version of the JSON form; raised when a reader of an older one would misread it.
const SCHEMA: u32 = 1;

/// How many cases of a kind are named to people; programs get all.
const NAMED: usize = 50;

/// The kinds in the order they are shown, each with its heading for one and for several cases.
const HEADINGS: [(Change, &str, &str); 9] = [
    (Change::Regression, "regression", "regressions"),
    (Change::Lost, "case became inconclusive", "cases became inconclusive"),
    (Change::KnownBug, "documented bug newly seen", "documented bugs newly seen"),
    (Change::Skipped, "case no longer checked", "cases no longer checked"),
    (Change::Vanished, "case gone", "cases gone"),
    (Change::Reason, "case fails for another reason", "cases fail for another reason"),
    (Change::Fixed, "fixed", "fixed"),
    (Change::Checked, "case newly checked", "cases newly checked"),
    (Change::New, "new case", "new cases"),
];

fn heading(change: Change, count: usize) -> String {
    let (_, one, several) = HEADINGS.iter().find(|(kind, ..)| *kind == change).expect("every kind has a heading");
    format!("{count} {}", if count == 1 { one } else { several })
}

#[derive(Serialize)]
struct Json<'c> {
    schema: u32,
    old: JsonRun<'c>,
    new: JsonRun<'c>,
    differences: Vec<String>,
    exit_status: u8,
    changes: &'c [Changed],
    unchanged: &'c BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
struct JsonRun<'c> {
    file: &'c Path,
    program: &'c str,
    release: &'c str,
    build: &'c str,
    machine: &'c str,
    seed: u64,
    tier: &'static str,
    cases: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_up: Option<&'c str>,
}

impl<'c> JsonRun<'c> {
    fn of(results: &'c Results) -> Self {
        Self {
            file: &results.path,
            program: &results.program,
            release: &results.facts.release,
            build: &results.facts.build,
            machine: &results.facts.machine,
            seed: results.seed,
            tier: results.tier.name(),
            cases: results.cases.len(),
            given_up: results.given_up.as_deref(),
        }
    }
}

fn arrow(changed: &Changed) -> String {
    let word = |side: &Option<Side>| side.as_ref().map_or("not there", |side| side.result);
    format!("{} → {}", word(&changed.old), word(&changed.new))
}

/// The reasons of a change: the new one, and the old one where it matters.
fn reasons(changed: &Changed) -> Vec<String> {
    let why = |side: &Option<Side>| {
        let why = side.as_ref().map(|side| side.why.clone());
        why.filter(|why| !why.is_empty())
    };
    let (old, new) = (why(&changed.old), why(&changed.new));
    match changed.change {
        Change::Reason => [("was ", old), ("is ", new)]
            .into_iter()
            .filter_map(|(word, why)| Some(format!("{word}{}", why?)))
            .collect(),
        Change::Fixed => old.map(|why| format!("was {why}")).into_iter().collect(),
        Change::Regression | Change::Lost | Change::KnownBug | Change::Skipped => new.into_iter().collect(),
        Change::Vanished | Change::Checked | Change::New => Vec::new(),
    }
}

/// For programs.
pub fn json(comparison: &Comparison, strict: bool) -> String {
    stdout::json(&Json {
        schema: SCHEMA,
        old: JsonRun::of(&comparison.old),
        new: JsonRun::of(&comparison.new),
        differences: comparison.differences(),
        exit_status: comparison.exit_status(strict).code(),
        changes: &comparison.changes,
        unchanged: &comparison.unchanged,
    })
}

/// The kinds of change that there are, each with its heading, its first cases and how many more it has.
fn kinds(comparison: &Comparison) -> impl Iterator<Item = (Change, String, Vec<&Changed>, Option<String>)> {
    HEADINGS.iter().filter_map(|(kind, ..)| {
        let mut changes = comparison.of(*kind);
        let heading = (!changes.is_empty()).then(|| heading(*kind, changes.len()))?;
        let more = changes.len().checked_sub(NAMED + 1).map(|more| format!("and {} more", more + 1));
        changes.truncate(NAMED);
        Some((*kind, heading, changes, more))
    })
}

/// For people at a terminal.
pub fn pretty(comparison: &Comparison, colour: bool) -> String {
    let paint = |change: Change, text: String| match (colour, change) {
        (false, _) => text,
        (_, Change::Regression) => format!("\u{1b}[31;1m{text}\u{1b}[0m"),
        (_, Change::Fixed | Change::Checked) => format!("\u{1b}[32m{text}\u{1b}[0m"),
        _ => format!("\u{1b}[33m{text}\u{1b}[0m"),
    };
    let mut text = String::new();
    for (name, results) in [("old", &comparison.old), ("new", &comparison.new)] {
        let _ = writeln!(text, "{name}: {} ({})", results.kernel(), results.path.display());
    }
    for difference in comparison.differences() {
        let _ = writeln!(text, "     {difference}");
    }
    for (kind, heading, changes, more) in kinds(comparison) {
        let _ = writeln!(text, "\n{}", paint(kind, heading));
        for changed in changes {
            let _ = writeln!(text, "  {}: {}", changed.case, arrow(changed));
            for reason in reasons(changed) {
                let _ = writeln!(text, "      {reason}");
            }
        }
        if let Some(more) = more {
            let _ = writeln!(text, "  {more}");
        }
    }
    let _ = writeln!(text, "\n{}", summary(comparison));
    text
}

/// For a mail or a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let mut document = Document::default();
    let runs = [("old", &comparison.old), ("new", &comparison.new)];
    let facts = runs.iter().map(|(name, results)| format!("{name}: {}", results.kernel()));
    document
        .paragraph(format!("**{}**", summary(comparison)))
        .list(facts.chain(comparison.differences()).map(|fact| escaped(&fact)));
    for (_, heading, changes, more) in kinds(comparison) {
        let mut items = Vec::new();
        for changed in changes {
            let requirements = match changed.requirements.as_str() {
                "" => String::new(),
                ids => format!(" ({ids})"),
            };
            items.push(format!("{}{requirements}: {}", code(&changed.case), arrow(changed)));
            items.extend(reasons(changed).iter().map(|reason| format!("  {}", escaped(reason))));
        }
        document.heading(3, heading).list(items.into_iter().chain(more));
    }
    document.finish()
}

fn summary(comparison: &Comparison) -> String {
    let kinds = HEADINGS.iter().map(|(kind, ..)| (*kind, comparison.of(*kind).len()));
    let mut parts: Vec<String> = kinds
        .filter(|(kind, count)| *count > 0 || *kind == Change::Regression)
        .map(|(kind, count)| heading(kind, count))
        .collect();
    let unchanged: Vec<String> =
        comparison.unchanged.iter().map(|(result, count)| format!("{count} {result}")).collect();
    parts.push(match unchanged.as_slice() {
        [] => "nothing unchanged".to_owned(),
        unchanged => format!("unchanged: {}", unchanged.join(", ")),
    });
    parts.join("; ")
}
