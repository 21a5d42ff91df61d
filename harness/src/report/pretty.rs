//! For people at a terminal: failures in full, the rest in a table.

use super::*;
use crate::case::test::seed_of_repetition;
use crate::verdict::affair::Affairs;

/// Writes for people.
#[derive(Debug, Default)]
pub struct Pretty {
    plan: Vec<CaseInfo>,
    colour: bool,
    verbosity: Verbosity,
    groups: BTreeMap<String, (Counts, Duration)>,
    first_failure: Option<(String, u64)>,
    /// Beginning of the command that reruns one case.
    again: String,
    /// Seed of the first repetition.
    seed: u64,
    skips: Skips,
    /// How many cases the run did not reach, by reason.
    never_reached: BTreeMap<String, u32>,
    caveat: Option<String>,
    affairs: Affairs,
    /// What the run came to, once every case was told of: the counts, the signal that interrupted it, and milliseconds.
    end: Option<(Counts, Option<i32>, u64)>,
    /// What was found after that.
    afterwards: Option<String>,
}

/// How much is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures and the summary only.
    Quiet,
    /// The kernel, failures, known bugs, a line for each group.
    #[default]
    Normal,
    /// Also each case.
    Verbose,
}

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31;1m";
const YELLOW: &str = "\u{1b}[33m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

impl Pretty {
    /// A reporter, in colour or not. `again` is the beginning of the command that reruns one case in the same place.
    pub fn new(colour: bool, verbosity: Verbosity, again: String) -> Self {
        Self { colour, verbosity, again, ..Self::default() }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }

    fn finished(&mut self, index: usize, verdict: &Verdict, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        let case = &self.plan[index];
        let (counts, duration) = self.groups.entry(case.group().to_owned()).or_default();
        counts.add(verdict.status, outcome);
        if let (Some(affair), Outcome::AsJudged { .. }) = (verdict.affair, outcome) {
            self.affairs.add(affair);
        }
        *duration += verdict.duration;

        let (colour, word) = match (outcome, verdict.status) {
            (Outcome::KnownBug { .. }, _) => (YELLOW, "known bug"),
            (outcome @ Outcome::UnexpectedPass { .. }, _) => {
                (if outcome.refutes() { RED } else { YELLOW }, "unexpected pass")
            }
            (_, Status::Pass) => (GREEN, "pass"),
            (_, Status::Skip) => (YELLOW, "skip"),
            (_, status) => (RED, status.word()),
        };
        let (shown_from, lines) = match (outcome, verdict.status) {
            (Outcome::KnownBug { bug, .. }, _) => (Verbosity::Normal, vec![one_line(bug)]),
            (Outcome::AsJudged { .. }, Status::Pass) => {
                let notes = verdict.notes.iter().flat_map(|note| note_lines(note));
                let notes = notes.map(|line| self.paint(DIM, &line));
                (Verbosity::Verbose, notes.collect())
            }
            (Outcome::AsJudged { .. }, Status::Skip) => {
                self.skips.add(verdict);
                (Verbosity::Verbose, vec![one_line(&verdict.reason)])
            }
            (Outcome::AsJudged { .. }, _) if verdict.was_never_reached() => {
                *self.never_reached.entry(verdict.reason.clone()).or_default() += 1;
                return Ok(());
            }
            _ => {
                let seed = seed_of_repetition(self.seed, verdict.repetition);
                self.first_failure.get_or_insert_with(|| (case.name.clone(), seed));
                (Verbosity::Quiet, diagnostics::yaml(&Entry { index, case, verdict, outcome }))
            }
        };
        if self.verbosity >= shown_from {
            writeln!(out, "{} {}", self.paint(colour, &format!("{word:>9}")), case.name)?;
            for line in lines {
                writeln!(out, "          {line}")?;
            }
        }
        Ok(())
    }

    fn summary(
        &self,
        counts: &Counts,
        interrupted: Option<i32>,
        milliseconds: u64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.verbosity >= Verbosity::Normal {
            writeln!(out)?;
            for (group, (counts, duration)) in &self.groups {
                let duration = self.paint(DIM, &format!("{:.1} s", duration.as_secs_f64()));
                writeln!(out, "{group:>12}  {}  {duration}", self.by_result(counts))?;
            }
            let never_reached = by_first_need(&self.never_reached);
            for (reasons, colour, word) in [(never_reached, RED, ""), (self.skips.by_reason(), YELLOW, " skipped:")] {
                for (reason, cases) in reasons {
                    let cases = format!("{cases:>5}{word}");
                    let reason = cut(&one_line(reason), columns().saturating_sub(cases.len() + 1));
                    writeln!(out, "{} {reason}", self.paint(colour, &cases))?;
                }
            }
            writeln!(out)?;
        }
        if let Some(signal) = interrupted {
            writeln!(out, "{} by signal {signal}; everything was cleaned up", self.paint(RED, "interrupted"))?;
        }
        let red = counts.failed + counts.timed_out;
        let verdict = if let Some(caveat) = &self.caveat {
            self.paint(YELLOW, caveat)
        } else if red > 0 || self.afterwards.is_some() {
            self.paint(RED, "this kernel does not conform")
        } else if counts.refuted > 0 {
            self.paint(RED, "this kernel is not as expected")
        } else if counts.broken > 0 || counts.passed + counts.known_bugs == 0 || interrupted.is_some() {
            self.paint(YELLOW, "inconclusive")
        } else if counts.known_bugs > 0 && counts.expected > 0 {
            self.paint(YELLOW, "this kernel conforms but for what the expectations list")
        } else if counts.known_bugs > 0 {
            self.paint(YELLOW, "this kernel conforms but for its documented bugs")
        } else {
            self.paint(GREEN, "this kernel conforms")
        };
        writeln!(out, "{verdict}: {} in {:.1} s", self.by_result(counts), milliseconds as f64 / 1000.0)?;
        if let Some(sentence) = self.affairs.sentence() {
            writeln!(out, "{sentence}")?;
        }
        if let Some((name, seed)) = &self.first_failure {
            writeln!(out, "next: {} --seed {seed} --exact {name} -v", self.again)?;
        }
        if let (Some(skips), None) = (self.skips.sentence(counts), interrupted) {
            writeln!(out, "{}", self.paint(YELLOW, &one_line(&skips)))?;
        }
        Ok(())
    }

    fn by_result(&self, counts: &Counts) -> String {
        let parts = [
            (counts.passed, "passed", GREEN),
            (counts.failed, "failed", RED),
            (counts.unexpected_passes, "passed unexpectedly", YELLOW),
            (counts.timed_out, "timed out", RED),
            (counts.broken, "broken", RED),
            (counts.known_bugs, known_bugs(counts), YELLOW),
            (counts.skipped, "skipped", YELLOW),
        ];
        let shown = parts.into_iter().filter(|(count, word, _)| *count > 0 || *word == "passed");
        let painted: Vec<_> =
            shown.map(|(count, word, colour)| self.paint(colour, &format!("{count} {word}"))).collect();
        painted.join(", ")
    }
}

/// At most so many characters of a text.
fn cut(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        None => text.to_owned(),
        Some(_) => text.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The width of the terminal on standard output, or 100 columns without one.
fn columns() -> usize {
    // SAFETY: all zeros are a size; the request writes one there.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size);
        size
    };
    if size.ws_col == 0 { 100 } else { size.ws_col.into() }
}

impl Reporter for Pretty {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::RunStarted { plan, facts, seed, .. } => {
                self.seed = *seed;
                self.plan.clone_from(plan);
                self.caveat.clone_from(&facts.caveat);
                if let (Some(caveat), Verbosity::Quiet) = (&self.caveat, self.verbosity) {
                    writeln!(out, "{}", one_line(caveat))?;
                }
                if self.verbosity >= Verbosity::Normal {
                    for line in head(event) {
                        writeln!(out, "{}", self.paint(DIM, &one_line(&line)))?;
                    }
                    writeln!(out)?;
                }
            }
            Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. } => {}
            Event::CaseFinished { index, verdict, outcome } => self.finished(*index, verdict, outcome, out)?,
            Event::Remark { text } => writeln!(out, "{}", one_line(text))?,
            Event::BailedOut { why } if self.end.is_some() => self.afterwards = Some(why.clone()),
            Event::BailedOut { why } => writeln!(out, "{}: {}", self.paint(RED, "given up"), one_line(why))?,
            Event::RunFinished { counts, interrupted, milliseconds } => {
                self.end = Some((*counts, *interrupted, *milliseconds));
            }
        }
        out.flush()
    }

    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Some((counts, interrupted, milliseconds)) = self.end.take() {
            self.summary(&counts, interrupted, milliseconds, out)?;
        }
        if let Some(why) = &self.afterwards {
            writeln!(out, "{}: {}", self.paint(RED, "failed"), one_line(why))?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_cut() {
        assert_eq!((cut("äöü", 3).as_str(), cut("äöü", 2).as_str(), cut("", 0).as_str()), ("äöü", "ä…", ""));
    }
}
