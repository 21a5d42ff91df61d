//! TAP version 13 (Test::Harness up to 3.44 refuses 14): flat, plan first, YAML diagnostics.

use std::io::{self, Write};

use super::text::one_line;
use super::{Progress, Reporter, diagnostics, head};
use crate::event::Event;
use crate::judge::{Status, Verdict};
use crate::outcome::Outcome;

/// Writes TAP version 13.
#[derive(Debug, Default)]
pub struct Tap {
    progress: Progress,
}

impl Reporter for Tap {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::RunStarted { plan, .. } => {
                writeln!(out, "TAP version 13")?;
                // "1..0" would say that everything was skipped on purpose.
                if plan.is_empty() {
                    writeln!(out, "Bail out! no case was selected")?;
                } else {
                    writeln!(out, "1..{}", plan.len())?;
                }
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
                let (ok, directive) = directive(verdict, outcome);
                let ok = if ok { "ok" } else { "not ok" };
                writeln!(out, "{ok} {number} - {}{directive}", case.name)?;
                let lines = diagnostics::yaml(verdict, outcome, case);
                if !lines.is_empty() {
                    writeln!(out, "  ---")?;
                    for line in lines {
                        writeln!(out, "  {line}")?;
                    }
                    writeln!(out, "  ...")?;
                }
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
                    writeln!(
                        out,
                        "# {} passed, {} failed, {} timed out, {} broken, {} skipped, {} known kernel bugs",
                        counts.passed,
                        counts.failed + counts.unexpected_passes,
                        counts.timed_out,
                        counts.broken,
                        counts.skipped,
                        counts.known_bugs
                    )?;
                }
            }
        }
        out.flush()
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
