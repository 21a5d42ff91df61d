//! A verdict compared with what was expected, and what all of them come to.

use super::expectation::Expectation;
use super::judge::is_zero;
use crate::common::*;

/// A verdict compared with what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The verdict stands.
    AsJudged {
        /// The entry of the user's that expects this skip, as FILE:LINE.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<String>,
    },
    /// It came out as documented, or as the user expects.
    KnownBug {
        /// The documented bug, or the user's entry, in one line.
        bug: String,
        /// Where the user's entry stands, as FILE:LINE; none for a documented bug.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<String>,
    },
    /// It passed although something else was expected: the entry is stale.
    UnexpectedPass {
        /// The documented bug, or the user's entry, in one line.
        bug: String,
        /// Where the user's entry stands, as FILE:LINE; none for a documented bug.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<String>,
    },
}

impl Outcome {
    /// Nothing was expected.
    pub const AS_JUDGED: Outcome = Outcome::AsJudged { entry: None };

    /// As this entry expects.
    pub fn known_bug(entry: &Expectation) -> Self {
        Outcome::KnownBug { bug: entry.text(), entry: entry.at.clone() }
    }

    /// A pass that this entry does not expect.
    pub fn unexpected_pass(entry: &Expectation) -> Self {
        Outcome::UnexpectedPass { bug: entry.text(), entry: entry.at.clone() }
    }

    /// The user's entry that expects it, or does not, as FILE:LINE.
    pub fn entry(&self) -> Option<&str> {
        let (Outcome::AsJudged { entry } | Outcome::KnownBug { entry, .. } | Outcome::UnexpectedPass { entry, .. }) =
            self;
        entry.as_deref()
    }

    /// Whether a pass shows that an entry of the user's is wrong. A stale entry of this program's is no failure: the
    /// fix may have come by a stable release or a backport, and `git bisect` must not blame the commit that has it.
    pub fn refutes(&self) -> bool {
        matches!(self, Outcome::UnexpectedPass { entry: Some(_), .. })
    }
}

/// Number of cases by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Passed as expected.
    pub passed: u32,
    /// Failed, and not as documented.
    pub failed: u32,
    /// Did not end in time.
    pub timed_out: u32,
    /// Came out as documented, or as the user expects.
    pub known_bugs: u32,
    /// Passed although a bug is documented, or the user expects something else.
    pub unexpected_passes: u32,
    /// Inconclusive.
    pub broken: u32,
    /// Could not run here.
    pub skipped: u32,
    /// Of the known bugs and the skipped: as an entry of the user's expects.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expected: u32,
    /// Of the unexpected passes: against an entry of the user's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refuted: u32,
}

impl Counts {
    /// Counts one more case.
    pub fn add(&mut self, status: Status, outcome: &Outcome) {
        let count = match (outcome, status) {
            (Outcome::KnownBug { .. }, _) => &mut self.known_bugs,
            (Outcome::UnexpectedPass { .. }, _) => &mut self.unexpected_passes,
            (Outcome::AsJudged { .. }, Status::Pass) => &mut self.passed,
            (Outcome::AsJudged { .. }, Status::Fail) => &mut self.failed,
            (Outcome::AsJudged { .. }, Status::TimedOut) => &mut self.timed_out,
            (Outcome::AsJudged { .. }, Status::Broken) => &mut self.broken,
            (Outcome::AsJudged { .. }, Status::Skip) => &mut self.skipped,
        };
        *count += 1;
        self.refuted += u32::from(outcome.refutes());
        self.expected += u32::from(outcome.entry().is_some() && !outcome.refutes());
    }

    /// The exit status of a run that was not interrupted; `strict` counts skips, known bugs and stale entries as
    /// failures, except what an entry of the user's expects.
    pub fn exit_status(&self, strict: bool) -> ExitStatus {
        let excused = (self.known_bugs + self.skipped + self.unexpected_passes).saturating_sub(self.expected);
        if self.failed + self.timed_out + self.refuted > 0 || (strict && excused > 0) {
            ExitStatus::DoesNotConform
        } else if self.broken > 0 || self.passed + self.known_bugs + self.unexpected_passes == 0 {
            ExitStatus::NothingToSay
        } else {
            ExitStatus::Conforms
        }
    }
}

/// Exit statuses, chosen for `git bisect run` and CI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Every case that ran passed, and at least one ran.
    Conforms,
    /// The kernel does not conform.
    DoesNotConform,
    /// Inconclusive; `git bisect run` skips such a commit.
    NothingToSay,
    /// The command line or an input file is wrong; `git bisect run` stops.
    Usage,
    /// A signal ended the run.
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

impl ExitStatus {
    /// The number the process exits with.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Conforms => 0,
            ExitStatus::DoesNotConform => 1,
            ExitStatus::NothingToSay => 125,
            ExitStatus::Usage => 129,
            ExitStatus::Interrupted { signal } => (128 + signal) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn exit_statuses() {
        let none = Counts::default();
        let one = Counts { passed: 1, ..none };
        for (counts, expected) in [
            (none, [125, 125]),
            (one, [0, 0]),
            (Counts { skipped: 1, ..one }, [0, 1]),
            (Counts { known_bugs: 1, ..one }, [0, 1]),
            (Counts { unexpected_passes: 1, ..one }, [0, 1]),
            (Counts { unexpected_passes: 1, refuted: 1, ..one }, [1, 1]),
            (Counts { known_bugs: 2, skipped: 1, expected: 3, ..one }, [0, 0]),
            (Counts { known_bugs: 2, skipped: 1, expected: 2, ..one }, [0, 1]),
            (Counts { failed: 1, ..one }, [1, 1]),
            (Counts { timed_out: 1, ..one }, [1, 1]),
            (Counts { broken: 1, ..one }, [125, 125]),
            (Counts { broken: 1, failed: 1, ..one }, [1, 1]),
            (Counts { skipped: 5, ..none }, [125, 1]),
        ] {
            assert_eq!([false, true].map(|strict| counts.exit_status(strict).code()), expected, "{counts:?}");
        }
        assert_eq!(ExitStatus::Interrupted { signal: 2 }.code(), 130);
        assert_eq!(ExitStatus::Interrupted { signal: 15 }.code(), 143);
    }
}
