//! Shared by TAP and KTAP: a version, the plan, comments, one result line per case.

use std::io::{self, Write};

use super::text::{comment, one_line};
use super::{Progress, head};
use crate::verdict::event::{CaseInfo, Event};
use crate::verdict::judge::Verdict;
use crate::verdict::outcome::{Counts, Outcome};

/// Input of a result line and its diagnostics.
pub(super) struct CaseResult<'a> {
    pub number: usize,
    pub case: &'a CaseInfo,
    pub verdict: &'a Verdict,
    pub outcome: &'a Outcome,
}

/// The differences between the dialects.
pub(super) trait Dialect {
    /// The first line.
    const VERSION: &'static str;

    /// Writes a result line with its diagnostics.
    fn result(result: &CaseResult, out: &mut dyn Write) -> io::Result<()>;

    /// Text as a comment has it.
    fn comment(text: &str) -> String {
        comment(text)
    }

    /// The comment that ends a report.
    fn totals(counts: &Counts) -> String;
}

/// Writes one event in a dialect.
pub(super) fn write<D: Dialect>(progress: &mut Progress, event: &Event, out: &mut dyn Write) -> io::Result<()> {
    match event {
        Event::RunStarted { plan, .. } => {
            writeln!(out, "{}", D::VERSION)?;
            // "1..0" would say that everything was skipped on purpose.
            if plan.is_empty() {
                writeln!(out, "Bail out! no case was selected")?;
            } else {
                writeln!(out, "1..{}", plan.len())?;
            }
            for line in head(event) {
                writeln!(out, "# {}", D::comment(&line))?;
            }
            progress.plan.clone_from(plan);
        }
        Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. } => {}
        Event::CaseFinished { index, verdict, outcome } => {
            let result = CaseResult { number: progress.next_number(), case: progress.case(*index), verdict, outcome };
            D::result(&result, out)?;
        }
        Event::Remark { text } => writeln!(out, "# {}", D::comment(text))?,
        Event::BailedOut { why } => writeln!(out, "Bail out! {}", one_line(why))?,
        Event::RunFinished { interrupted: Some(signal), .. } => {
            writeln!(out, "Bail out! interrupted by signal {signal}")?
        }
        Event::RunFinished { counts, .. } => writeln!(out, "# {}", D::totals(counts))?,
    }
    out.flush()
}
