//! Shared by the dialects that are written line by line.

use super::*;

/// Writes events in a dialect.
#[derive(Debug, Default)]
pub struct Flat<D> {
    dialect: D,
    plan: Vec<CaseInfo>,
    reported: usize,
    skips: Skips,
}

/// The differences between the dialects.
pub trait Dialect {
    /// How the line begins that says why a run was given up.
    const GIVEN_UP: &'static str = "Bail out!";

    /// Writes what comes before the head.
    fn begin(&mut self, plan: &[CaseInfo], out: &mut dyn Write) -> io::Result<()>;

    /// Writes a result and its diagnostics.
    fn result(&mut self, number: usize, entry: &Entry, out: &mut dyn Write) -> io::Result<()>;

    /// Writes the results that were held back.
    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Text as part of a line.
    fn text(text: &str) -> String {
        one_line(text)
    }

    /// Text as a line that is no result.
    fn remark(text: &str) -> String {
        format!("# {}", comment(text))
    }

    /// What the last line says.
    fn totals(counts: &Counts) -> String {
        let refuted = match counts.refuted {
            0 => String::new(),
            refuted => format!(", {refuted} passed unexpectedly"),
        };
        format!(
            "{} passed, {} failed, {} timed out, {} broken, {} skipped, {} {}{refuted}",
            counts.passed + counts.unexpected_passes - counts.refuted,
            counts.failed,
            counts.timed_out,
            counts.broken,
            counts.skipped,
            counts.known_bugs,
            known_bugs(counts)
        )
    }
}

impl<D: Dialect> Reporter for Flat<D> {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::RunStarted { plan, .. } => {
                self.dialect.begin(plan, out)?;
                for line in head(event) {
                    writeln!(out, "{}", D::remark(&line))?;
                }
                self.plan.clone_from(plan);
            }
            Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. } => {}
            &Event::CaseFinished { index, ref verdict, ref outcome } => {
                self.reported += 1;
                if verdict.status == Status::Skip {
                    self.skips.add(verdict);
                }
                let entry = Entry { index, case: &self.plan[index], verdict, outcome };
                self.dialect.result(self.reported, &entry, out)?;
            }
            Event::Remark { text } => writeln!(out, "{}", D::remark(text))?,
            Event::BailedOut { why } => {
                self.dialect.end(out)?;
                writeln!(out, "{} {}", D::GIVEN_UP, D::text(why))?;
            }
            Event::RunFinished { counts, interrupted, .. } => {
                self.dialect.end(out)?;
                match interrupted {
                    Some(signal) => writeln!(out, "{} interrupted by signal {signal}", D::GIVEN_UP)?,
                    None => {
                        let skips = self.skips.sentence(counts);
                        for line in [D::totals(counts)].into_iter().chain(skips) {
                            writeln!(out, "{}", D::remark(&line))?;
                        }
                    }
                }
            }
        }
        out.flush()
    }
}

/// Writes the version of a dialect of TAP, and a plan of this many results.
pub(super) fn plan(version: &str, results: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{version}")?;
    match results {
        // "1..0" would say that everything was skipped on purpose.
        0 => writeln!(out, "Bail out! no case was selected"),
        _ => writeln!(out, "1..{results}"),
    }
}

pub(super) fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "not ok" }
}
