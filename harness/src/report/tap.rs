//! TAP version 13 (Test::Harness up to 3.44 refuses 14): flat, plan first, YAML diagnostics.

use std::io::{self, Write};

use super::flat::{CaseResult, Dialect, write};
use super::text::one_line;
use super::{Progress, Reporter, diagnostics};
use crate::event::Event;
use crate::judge::{Status, Verdict};
use crate::outcome::{Counts, Outcome};

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
        let (ok, directive) = directive(result.verdict, result.outcome);
        let ok = if ok { "ok" } else { "not ok" };
        writeln!(
            out,
            "{ok} {} - {}{directive}",
            result.number, result.case.name
        )?;
        let lines = diagnostics::yaml(result.verdict, result.outcome, result.case);
        if !lines.is_empty() {
            writeln!(out, "  ---")?;
            for line in lines {
                writeln!(out, "  {line}")?;
            }
            writeln!(out, "  ...")?;
        }
        Ok(())
    }

    fn totals(counts: &Counts) -> String {
        format!(
            "{} passed, {} failed, {} timed out, {} broken, {} skipped, {} known kernel bugs",
            counts.passed,
            counts.failed + counts.unexpected_passes,
            counts.timed_out,
            counts.broken,
            counts.skipped,
            counts.known_bugs
        )
    }
}

/// Whether the result line says ok, and its directive.
fn directive(verdict: &Verdict, outcome: &Outcome) -> (bool, String) {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { bug }, _) => (false, format!(" # TODO {}", one_line(bug))),
        // TAP harnesses take "ok … # TODO" for a bonus; the stale entry must be red.
        (Outcome::UnexpectedPass { .. }, _) => (false, String::new()),
        (_, Status::Pass) => (true, String::new()),
        (_, Status::Skip) => (true, format!(" # SKIP {}", one_line(&verdict.reason))),
        _ => (false, String::new()),
    }
}
