//! KTAP version 1, as the kernel's documentation has it (Documentation/dev-tools/ktap.rst), flat:
//! prove and kunit.py then agree. Diagnostics come before the result line.

use std::io::{self, Write};

use super::text::one_line;
use super::{Progress, Reporter, diagnostics, head};
use crate::event::Event;
use crate::judge::{Status, Verdict};
use crate::outcome::Outcome;

/// Writes KTAP version 1.
#[derive(Debug, Default)]
pub struct Ktap {
    progress: Progress,
}

impl Reporter for Ktap {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::RunStarted { plan, .. } => {
                writeln!(out, "KTAP version 1")?;
                writeln!(out, "1..{}", plan.len())?;
                for line in head(event) {
                    writeln!(out, "# {}", one_line(&line))?;
                }
                self.progress.plan.clone_from(plan);
            }
            Event::CaseStarted { .. } | Event::Alive => {}
            Event::CaseFinished {
                index,
                verdict,
                outcome,
            } => {
                let number = self.progress.next_number();
                let case = self.progress.case(*index);
                for line in diagnostics::yaml(verdict, outcome, case) {
                    writeln!(out, "# {line}")?;
                }
                let (ok, directive) = result(verdict, outcome);
                let ok = if ok { "ok" } else { "not ok" };
                writeln!(out, "{ok} {number} {}{directive}", case.name)?;
            }
            Event::Remark { text } => writeln!(out, "# {}", one_line(text))?,
            Event::BailedOut { why } => writeln!(out, "Bail out! {}", one_line(why))?,
            Event::RunFinished {
                counts,
                interrupted,
                ..
            } => {
                if let Some(signal) = interrupted {
                    writeln!(out, "Bail out! interrupted by signal {signal}")?;
                } else {
                    let failed =
                        counts.failed + counts.unexpected_passes + counts.timed_out + counts.broken;
                    writeln!(
                        out,
                        "# Totals: pass:{} fail:{failed} xfail:{} xpass:0 skip:{} error:0",
                        counts.passed, counts.known_bugs, counts.skipped
                    )?;
                }
            }
        }
        out.flush()
    }
}

/// Whether the result line says ok, and its directive. A known bug is `ok … # XFAIL`: the kernel's
/// parser counts `not ok … # XFAIL` as a failure.
fn result(verdict: &Verdict, outcome: &Outcome) -> (bool, String) {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { bug }, _) => (true, format!(" # XFAIL {}", one_line(bug))),
        (Outcome::UnexpectedPass { .. }, _) => (false, String::new()),
        (_, Status::Pass) => (true, String::new()),
        (_, Status::Skip) => (true, format!(" # SKIP {}", one_line(&verdict.reason))),
        (_, Status::Fail) => (false, String::new()),
        (_, Status::TimedOut) => (false, format!(" # TIMEOUT {}", one_line(&verdict.reason))),
        (_, Status::Broken) => (false, format!(" # ERROR {}", one_line(&verdict.reason))),
    }
}
