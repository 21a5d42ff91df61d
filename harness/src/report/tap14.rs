//! TAP version 14: a subtest for each group of cases.
//!
//! Results of a guest arrive in the order in which cases end, and a subtest is one block: a group is written when it is
//! complete, in the order of the plan.

use std::io::{self, Write};

use super::flat::CaseResult;
use super::tap::{totals, write_result};
use super::text::{comment, one_line};
use super::{Progress, Reporter, head};
use crate::verdict::event::Event;
use crate::verdict::judge::{Status, Verdict};
use crate::verdict::outcome::Outcome;

/// Writes TAP version 14.
#[derive(Debug, Default)]
pub struct Tap14 {
    progress: Progress,
    groups: Vec<Group>,
    written: usize,
}

#[derive(Debug)]
struct Group {
    name: String,
    /// The index of each case in the plan, and its result once there is one.
    cases: Vec<(usize, Option<(Verdict, Outcome)>)>,
    is_written: bool,
}

impl Group {
    fn is_complete(&self) -> bool {
        self.cases.iter().all(|(_, result)| result.is_some())
    }
}

/// Whether a result leaves its group ok.
fn is_ok(verdict: &Verdict, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::KnownBug { .. } | Outcome::UnexpectedPass { .. } => true,
        Outcome::AsJudged => matches!(verdict.status, Status::Pass | Status::Skip),
    }
}

impl Tap14 {
    fn begin(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        self.groups = self
            .progress
            .groups()
            .into_iter()
            .map(|(name, cases)| Group {
                name,
                cases: cases.into_iter().map(|index| (index, None)).collect(),
                is_written: false,
            })
            .collect();
        writeln!(out, "TAP version 14")?;
        if self.groups.is_empty() {
            writeln!(out, "Bail out! no case was selected")?;
        } else {
            writeln!(out, "1..{}", self.groups.len())?;
        }
        for line in head(event) {
            writeln!(out, "# {}", comment(&line))?;
        }
        Ok(())
    }

    fn finished(&mut self, index: usize, verdict: &Verdict, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        let place = self.groups.iter_mut().enumerate().find_map(|(at, group)| {
            let mut cases = group.cases.iter_mut();
            let case = cases.find(|(case, _)| *case == index)?;
            case.1 = Some((verdict.clone(), outcome.clone()));
            Some(at)
        });
        match place {
            Some(at) if self.groups[at].is_complete() => self.write_group(at, out),
            _ => Ok(()),
        }
    }

    fn write_group(&mut self, at: usize, out: &mut dyn Write) -> io::Result<()> {
        const INDENT: &str = "    ";
        let group = &mut self.groups[at];
        if std::mem::replace(&mut group.is_written, true) {
            return Ok(());
        }
        let group = &self.groups[at];
        writeln!(out, "# Subtest: {}", group.name)?;
        writeln!(out, "{INDENT}1..{}", group.cases.len())?;
        let mut ok = group.is_complete();
        let mut skipped = true;
        for (place, (index, result)) in group.cases.iter().enumerate() {
            // An incomplete group keeps its numbers, so that readers see the gap.
            let Some((verdict, outcome)) = result else {
                continue;
            };
            ok &= is_ok(verdict, outcome);
            skipped &= verdict.status == Status::Skip;
            let result = CaseResult { number: place + 1, case: self.progress.case(*index), verdict, outcome };
            write_result(&result, INDENT, out)?;
        }
        let word = if ok { "ok" } else { "not ok" };
        let directive = if ok && skipped { " # SKIP all cases were skipped" } else { "" };
        self.written += 1;
        writeln!(out, "{word} {} - {}{directive}", self.written, group.name)
    }

    /// Writes groups that never became complete. Groups without any result are left out: the plan is then not met.
    fn write_rest(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for at in 0..self.groups.len() {
            if self.groups[at].cases.iter().any(|(_, result)| result.is_some()) {
                self.write_group(at, out)?;
            }
        }
        Ok(())
    }
}

impl Reporter for Tap14 {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::RunStarted { plan, .. } => {
                self.progress.plan.clone_from(plan);
                self.begin(event, out)?;
            }
            Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. } => {}
            Event::CaseFinished { index, verdict, outcome } => self.finished(*index, verdict, outcome, out)?,
            Event::Remark { text } => writeln!(out, "# {}", comment(text))?,
            Event::BailedOut { why } => {
                self.write_rest(out)?;
                writeln!(out, "Bail out! {}", one_line(why))?;
            }
            Event::RunFinished { counts, interrupted, .. } => {
                self.write_rest(out)?;
                match interrupted {
                    Some(signal) => writeln!(out, "Bail out! interrupted by signal {signal}")?,
                    None => writeln!(out, "# {}", totals(counts))?,
                }
            }
        }
        out.flush()
    }
}
