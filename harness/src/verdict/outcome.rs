//! A verdict compared with the documented bugs of the kernel.

use crate::common::*;

/// A documented bug of some kernels that a case finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownBug {
    /// The requirement that these kernels violate.
    pub requirement: String,
    /// The cases whose failure it excuses; empty means that these kernels do not conform.
    pub cases: Vec<String>,
    /// Affected releases: from the first (inclusive) to the second (exclusive).
    pub affected: Vec<(Version, Version)>,
    /// The symptom, in one line.
    pub seen: String,
    /// The fixing commit or the report.
    pub reference: String,
}

impl KnownBug {
    /// Whether this case is expected to find the bug on this kernel.
    pub fn applies(&self, case: &str, version: Version) -> bool {
        self.cases.iter().any(|name| name == case)
            && self.affected.iter().any(|(first, beyond)| *first <= version && version < *beyond)
    }

    /// The bug that this case is expected to find on this kernel.
    pub fn expected<'b>(bugs: &'b [KnownBug], case: &str, version: Version) -> Option<&'b KnownBug> {
        bugs.iter().find(|bug| bug.applies(case, version))
    }

    /// The bug in one line, for directives.
    pub fn text(&self) -> String {
        format!("known kernel bug {}: {} ({})", self.requirement, self.seen, self.reference)
    }
}

/// A verdict compared with the documented bugs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The verdict stands.
    AsJudged,
    /// It failed as documented.
    KnownBug {
        /// The documented bug, in one line.
        bug: String,
    },
    /// It passed although a bug is documented for this kernel: the entry is stale.
    UnexpectedPass {
        /// The documented bug, in one line.
        bug: String,
    },
}

/// Compares a verdict with the bug that is documented for its case on this kernel, if any.
pub fn expect(verdict: &Verdict, bug: Option<&KnownBug>) -> Outcome {
    let Some(bug) = bug else {
        return Outcome::AsJudged;
    };
    // Only the documented failure is excused.
    let only_this =
        !verdict.failed.is_empty() && verdict.failed.iter().all(|check| check.requirement == bug.requirement);
    match verdict.status {
        Status::Fail if only_this => Outcome::KnownBug { bug: bug.text() },
        Status::Pass => Outcome::UnexpectedPass { bug: bug.text() },
        _ => Outcome::AsJudged,
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
    /// Failed as documented.
    pub known_bugs: u32,
    /// Passed although a bug is documented.
    pub unexpected_passes: u32,
    /// Inconclusive.
    pub broken: u32,
    /// Could not run here.
    pub skipped: u32,
}

impl Counts {
    /// Counts one more case.
    pub fn add(&mut self, status: Status, outcome: &Outcome) {
        let count = match (outcome, status) {
            (Outcome::KnownBug { .. }, _) => &mut self.known_bugs,
            (Outcome::UnexpectedPass { .. }, _) => &mut self.unexpected_passes,
            (Outcome::AsJudged, Status::Pass) => &mut self.passed,
            (Outcome::AsJudged, Status::Fail) => &mut self.failed,
            (Outcome::AsJudged, Status::TimedOut) => &mut self.timed_out,
            (Outcome::AsJudged, Status::Broken) => &mut self.broken,
            (Outcome::AsJudged, Status::Skip) => &mut self.skipped,
        };
        *count += 1;
    }

    /// The exit status of a run that was not interrupted; `strict` counts skips, known bugs and stale entries as
    /// failures. A stale entry alone is none: the fix may have come by a stable release or a backport, and `git bisect`
    /// must not blame the commit that has it.
    pub fn exit_status(&self, strict: bool) -> ExitStatus {
        let excused = if strict { self.known_bugs + self.skipped + self.unexpected_passes } else { 0 };
        if self.failed + self.timed_out + excused > 0 {
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
    use crate::run::record::FailedCheck;

    fn bug() -> KnownBug {
        KnownBug {
            requirement: "EFF-MNT-07".to_owned(),
            cases: vec!["a.b".to_owned()],
            affected: vec![(Version(6, 18, 0), Version(6, 19, 0))],
            seen: "lost".to_owned(),
            reference: "none".to_owned(),
        }
    }

    fn failing(requirements: &[&str]) -> Verdict {
        let mut verdict = Verdict::not_run(Status::Fail, "x");
        let check = |requirement: &&str| FailedCheck { requirement: requirement.to_string(), ..FailedCheck::default() };
        verdict.failed = requirements.iter().map(check).collect();
        verdict
    }

    #[test]
    fn ranges_are_half_open() {
        let bug = bug();
        assert!(!bug.applies("a.b", Version(6, 17, 99)));
        assert!(bug.applies("a.b", Version(6, 18, 0)));
        assert!(bug.applies("a.b", Version(6, 18, 99)));
        assert!(!bug.applies("a.b", Version(6, 19, 0)));
        assert!(!bug.applies("a.c", Version(6, 18, 0)));
    }

    #[test]
    fn only_the_documented_failure_is_excused() {
        let bug = bug();
        let known = |verdict: &Verdict| matches!(expect(verdict, Some(&bug)), Outcome::KnownBug { .. });
        assert!(known(&failing(&["EFF-MNT-07"])));
        assert!(!known(&failing(&["EFF-MNT-01"])));
        assert!(!known(&failing(&["EFF-MNT-07", "EFF-MNT-01"])));
        // A splat fails a case without any failed check.
        assert!(!known(&failing(&[])));
        let pass = Verdict::not_run(Status::Pass, "");
        assert!(matches!(expect(&pass, Some(&bug)), Outcome::UnexpectedPass { .. }));
        assert_eq!(expect(&pass, None), Outcome::AsJudged);
    }

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
