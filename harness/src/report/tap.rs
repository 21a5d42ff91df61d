//! TAP version 13 (Test::Harness up to 3.44 refuses 14): flat, plan first, YAML diagnostics.

use std::io::{self, Write};

use super::flat::{CaseResult, Dialect, write};
use super::text::directive_text;
use super::{Progress, Reporter, diagnostics, known_bugs};
use crate::verdict::event::Event;
use crate::verdict::judge::{Status, Verdict};
use crate::verdict::outcome::{Counts, Outcome};

/// Writes TAP version 13.
#[derive(Debug, Default)]
pub struct Tap {
    progress: Progress,
}

impl Reporter for Tap {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        write::<Self>(&mut self.progress, event, out)
    }
}

impl Dialect for Tap {
    const VERSION: &'static str = "TAP version 13";

    fn result(result: &CaseResult, out: &mut dyn Write) -> io::Result<()> {
        write_result(result, "", out)
    }

    fn totals(counts: &Counts) -> String {
        totals(counts)
    }
}

/// Writes a result line and its diagnostics, as TAP 13 and 14 have both.
pub(super) fn write_result(result: &CaseResult, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let (ok, directive) = directive(result.verdict, result.outcome);
    let ok = if ok { "ok" } else { "not ok" };
    let (number, name) = (result.number, &result.case.name);
    writeln!(out, "{indent}{ok} {number} - {name}{directive}")?;
    let lines = diagnostics::yaml(result.verdict, result.outcome, result.case);
    if !lines.is_empty() {
        writeln!(out, "{indent}  ---")?;
        for line in lines {
            writeln!(out, "{indent}  {line}")?;
        }
        writeln!(out, "{indent}  ...")?;
    }
    Ok(())
}

/// The comment that ends a report.
pub(super) fn totals(counts: &Counts) -> String {
    format!(
        "{} passed, {} failed, {} timed out, {} broken, {} skipped, {} {}",
        counts.passed + counts.unexpected_passes,
        counts.failed,
        counts.timed_out,
        counts.broken,
        counts.skipped,
        counts.known_bugs,
        known_bugs(counts)
    )
}

/// Whether the result line says ok, and its directive.
fn directive(verdict: &Verdict, outcome: &Outcome) -> (bool, String) {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { bug }, _) => (false, format!(" # TODO {}", directive_text(bug))),
        // TAP harnesses report "ok … # TODO" as a bonus: the entry is stale, and nothing is wrong with the kernel.
        (Outcome::UnexpectedPass { bug }, _) => (true, format!(" # TODO {}", directive_text(bug))),
        (_, Status::Pass) => (true, String::new()),
        (_, Status::Skip) => (true, format!(" # SKIP {}", directive_text(&verdict.reason))),
        _ => (false, String::new()),
    }
}
