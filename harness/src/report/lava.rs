//! Signals that LAVA's dispatcher finds in a job's output: one for each case, after its diagnostics. LAVA knows pass,
//! fail, skip and unknown, and no reasons.

use super::*;

/// Writes LAVA's signals for test cases.
pub type Lava = Flat<Signals>;

/// Text, and signals for test cases.
#[derive(Debug, Default)]
pub struct Signals;

/// LAVA's result. A documented bug is expected; an inconclusive case is neither pass nor fail.
fn result(entry: &Entry) -> &'static str {
    match (entry.outcome, entry.verdict.status) {
        (outcome, _) if outcome.refutes() => "fail",
        (Outcome::KnownBug { .. } | Outcome::UnexpectedPass { .. }, _) | (_, Status::Pass) => "pass",
        (_, Status::Skip) => "skip",
        (_, Status::Fail | Status::TimedOut) => "fail",
        (_, Status::Broken) => "unknown",
    }
}

impl Dialect for Signals {
    const GIVEN_UP: &'static str = "given up:";

    fn begin(&mut self, _: &[CaseInfo], _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn result(&mut self, _: usize, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let name = &entry.case.name;
        let lines = match (entry.outcome, entry.verdict.status) {
            (Outcome::KnownBug { bug, .. }, _) => vec![bug.clone()],
            (_, Status::Skip) => vec![format!("skipped: {}", entry.verdict.reason)],
            _ => diagnostics::yaml(entry),
        };
        for line in lines {
            writeln!(out, "{name}: {}", Self::text(&line))?;
        }
        writeln!(
            out,
            "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={name} RESULT={} UNITS=seconds MEASUREMENT={:.6}>",
            result(entry),
            entry.verdict.duration.as_secs_f64()
        )
    }

    /// A line of text in which no signal can be found.
    fn text(text: &str) -> String {
        one_line(text).replace("<LAVA", "\\u{3c}LAVA")
    }

    fn remark(text: &str) -> String {
        Self::text(text)
    }
}
