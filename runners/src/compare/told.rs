//! How a comparison is told.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Change, Changed, Comparison, Side};
use crate::matrix::table::escaped;
use crate::results::Results;

/// Version of the JSON form; raised when a reader of an older one would misread it.
const SCHEMA: u32 = 1;

/// How many cases of a kind are named to people; programs get all.
const NAMED: usize = 50;

/// The kinds in the order they are told, each with its heading for one and for several cases.
const HEADINGS: [(Change, &str, &str); 9] = [
    (Change::Regression, "regression", "regressions"),
    (Change::Lost, "case of which nothing can be said any more", "cases of which nothing can be said any more"),
    (Change::KnownBug, "documented bug seen now", "documented bugs seen now"),
    (Change::Skipped, "case no longer checked", "cases no longer checked"),
    (Change::Vanished, "case gone", "cases gone"),
    (Change::Reason, "case that changed its reason", "cases that changed their reason"),
    (Change::Fixed, "fixed", "fixed"),
    (Change::Checked, "case checked now", "cases checked now"),
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
    unchanged: &'c std::collections::BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
struct JsonRun<'c> {
    file: &'c std::path::Path,
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

/// What there is to say of a change: of what it is, and of what it was where that is the point.
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

impl Comparison {
    /// For programs.
    pub fn json(&self, strict: bool) -> String {
        let json = Json {
            schema: SCHEMA,
            old: JsonRun::of(&self.old),
            new: JsonRun::of(&self.new),
            differences: self.differences(),
            exit_status: self.exit_status(strict).code(),
            changes: &self.changes,
            unchanged: &self.unchanged,
        };
        let mut text = serde_json::to_string_pretty(&json).expect("every key is text");
        text.push('\n');
        text
    }

    /// For people at a terminal.
    pub fn pretty(&self, colour: bool) -> String {
        let paint = |change: Change, text: String| match (colour, change) {
            (false, _) => text,
            (_, Change::Regression) => format!("\u{1b}[31;1m{text}\u{1b}[0m"),
            (_, Change::Fixed | Change::Checked) => format!("\u{1b}[32m{text}\u{1b}[0m"),
            _ => format!("\u{1b}[33m{text}\u{1b}[0m"),
        };
        let mut text = format!(
            "old: {} ({})\nnew: {} ({})\n",
            self.old.kernel(),
            self.old.path.display(),
            self.new.kernel(),
            self.new.path.display()
        );
        for difference in self.differences() {
            let _ = writeln!(text, "     {difference}");
        }
        for (kind, ..) in HEADINGS {
            let changes = self.of(kind);
            if changes.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n{}", paint(kind, heading(kind, changes.len())));
            for changed in changes.iter().take(NAMED) {
                let _ = writeln!(text, "  {}: {}", changed.case, arrow(changed));
                for reason in reasons(changed) {
                    let _ = writeln!(text, "      {reason}");
                }
            }
            if changes.len() > NAMED {
                let _ = writeln!(text, "  and {} more", changes.len() - NAMED);
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }

    /// For a mail or a pull request.
    pub fn markdown(&self) -> String {
        let mut text = format!("**{}**\n\n", self.summary());
        for (name, results) in [("old", &self.old), ("new", &self.new)] {
            let _ = writeln!(text, "- {name}: {}", escaped(&results.kernel()));
        }
        for difference in self.differences() {
            let _ = writeln!(text, "- {}", escaped(&difference));
        }
        for (kind, ..) in HEADINGS {
            let changes = self.of(kind);
            if changes.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n### {}\n", heading(kind, changes.len()));
            for changed in changes.iter().take(NAMED) {
                let requirements = match changed.requirements.as_str() {
                    "" => String::new(),
                    ids => format!(" ({ids})"),
                };
                let _ = writeln!(text, "- `{}`{requirements}: {}", changed.case, arrow(changed));
                for reason in reasons(changed) {
                    let _ = writeln!(text, "  - {}", escaped(&reason));
                }
            }
            if changes.len() > NAMED {
                let _ = writeln!(text, "- and {} more", changes.len() - NAMED);
            }
        }
        text
    }

    fn summary(&self) -> String {
        let kinds = HEADINGS.iter().map(|(kind, ..)| *kind);
        let mut parts: Vec<String> = kinds
            .map(|kind| (kind, self.of(kind).len()))
            .filter(|(kind, count)| *count > 0 || *kind == Change::Regression)
            .map(|(kind, count)| heading(kind, count))
            .collect();
        let unchanged: Vec<String> = self.unchanged.iter().map(|(result, count)| format!("{count} {result}")).collect();
        parts.push(match unchanged.as_slice() {
            [] => "nothing as before".to_owned(),
            unchanged => format!("as before: {}", unchanged.join(", ")),
        });
        parts.join("; ")
    }
}
