//! Signals that LAVA's dispatcher finds in a job's output: one for each case, after its diagnostics. LAVA knows pass,
//! fail, skip and unknown, and no reasons.

use std::io::{self, Write};

use super::text::one_line;
use super::{Progress, Reporter, diagnostics, head};
use crate::verdict::event::Event;
use crate::verdict::judge::{Status, Verdict};
use crate::verdict::outcome::Outcome;

/// Writes LAVA's signals for test cases.
#[derive(Debug, Default)]
pub struct Lava {
    progress: Progress,
}

/// A line of text in which no signal can be found.
fn line(text: &str) -> String {
    one_line(text).replace("<LAVA", "\\u{3c}LAVA")
}

/// LAVA's result. A documented bug is expected; an inconclusive case is neither pass nor fail.
fn result(verdict: &Verdict, outcome: &Outcome) -> &'static str {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { .. } | Outcome::UnexpectedPass { .. }, _) => "pass",
        (_, Status::Pass) => "pass",
        (_, Status::Skip) => "skip",
        (_, Status::Fail | Status::TimedOut) => "fail",
        (_, Status::Broken) => "unknown",
    }
}

impl Lava {
    fn finished(&self, index: usize, verdict: &Verdict, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        let case = self.progress.case(index);
        let name = &case.name;
        match (outcome, verdict.status) {
            (Outcome::KnownBug { bug }, _) => writeln!(out, "{name}: {}", line(bug))?,
            (_, Status::Skip) => writeln!(out, "{name}: skipped: {}", line(&verdict.reason))?,
            _ => {
                for text in diagnostics::yaml(verdict, outcome, case) {
                    writeln!(out, "{name}: {}", line(&text))?;
                }
            }
        }
        writeln!(
            out,
            "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT={} UNITS=seconds MEASUREMENT={:.6}>",
            result(verdict, outcome),
            verdict.duration.as_secs_f64()
        )
    }
}

impl Reporter for Lava {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::RunStarted { plan, .. } => {
                self.progress.plan.clone_from(plan);
                for text in head(event) {
                    writeln!(out, "{}", line(&text))?;
                }
            }
            Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. } => {}
            Event::CaseFinished { index, verdict, outcome } => self.finished(*index, verdict, outcome, out)?,
            Event::Remark { text } => writeln!(out, "{}", line(text))?,
            Event::BailedOut { why } => writeln!(out, "given up: {}", line(why))?,
            Event::RunFinished { interrupted: Some(signal), .. } => {
                writeln!(out, "given up: interrupted by signal {signal}")?
            }
            Event::RunFinished { counts, .. } => writeln!(out, "{}", super::tap::totals(counts))?,
        }
        out.flush()
    }
}
