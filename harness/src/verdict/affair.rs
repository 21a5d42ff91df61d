//! Whom a violation hurts.

use crate::common::*;

/// Whose affair it is that a requirement is violated: the gravest that may come of it, by growing weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affair {
    /// Which error a call gives, or which of two; nothing else changes.
    Errno,
    /// What programs rely on: state, what is separated, whether a call succeeds.
    #[default]
    Programs,
    /// A boundary between users or namespaces, a privilege, a limit, or the kernel's own memory.
    Security,
}

impl Affair {
    /// What users read that a failure concerns.
    pub fn words(self) -> &'static str {
        match self {
            Affair::Errno => "the error number alone",
            Affair::Programs => "what programs rely on",
            Affair::Security => "security",
        }
    }

    /// Whose affair a verdict is, by the requirements that it violates; none if it violates none.
    pub fn of(verdict: &Verdict, of_requirement: impl Fn(&str) -> Affair) -> Option<Affair> {
        let violated = verdict.failed.iter().flat_map(|check| check.requirement.split(", "));
        match verdict.status {
            Status::Pass | Status::Skip | Status::Broken => None,
            Status::TimedOut => Some(Affair::Programs),
            // The kernel itself is unwell.
            Status::Fail if verdict.is_of_unwell_kernel() => Some(Affair::Security),
            Status::Fail => violated.map(of_requirement).max(),
        }
    }
}

/// How many failures there are of each affair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affairs(BTreeMap<Affair, u32>);

impl Affairs {
    /// Counts a failure.
    pub fn add(&mut self, affair: Affair) {
        *self.0.entry(affair).or_default() += 1;
    }

    /// The numbers in words, the gravest first; none if nothing failed.
    pub fn sentence(&self) -> Option<String> {
        let parts = self.0.iter().rev().map(|(affair, count)| format!("{} ({count})", affair.words()));
        let parts: Vec<_> = parts.collect();
        (!parts.is_empty()).then(|| format!("the failures concern {}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(requirements: &[&str]) -> Verdict {
        let check = |id: &&str| FailedCheck { requirement: (*id).to_owned(), ..FailedCheck::default() };
        Verdict { failed: requirements.iter().map(check).collect(), ..Verdict::not_run(Status::Fail, "x") }
    }

    #[test]
    fn the_gravest_requirement_counts() {
        let affair = |verdict: &Verdict| {
            Affair::of(verdict, |id| match id {
                "E" => Affair::Errno,
                "S" => Affair::Security,
                _ => Affair::Programs,
            })
        };
        assert_eq!(affair(&failing(&["E"])), Some(Affair::Errno));
        assert_eq!(affair(&failing(&["E", "P"])), Some(Affair::Programs));
        assert_eq!(affair(&failing(&["P", "E, S"])), Some(Affair::Security));
        assert_eq!(affair(&failing(&[])), Some(Affair::Security));
        assert_eq!(
            affair(&Verdict { reason: "kernel log: BUG: x".to_owned(), ..failing(&["E"]) }),
            Some(Affair::Security)
        );
        assert_eq!(affair(&Verdict::not_run(Status::TimedOut, "x")), Some(Affair::Programs));
        for status in [Status::Pass, Status::Skip, Status::Broken] {
            assert_eq!(affair(&Verdict::not_run(status, "x")), None);
        }
    }

    #[test]
    fn failures_in_words() {
        let mut affairs = Affairs::default();
        assert_eq!(affairs.sentence(), None);
        [Affair::Errno, Affair::Security, Affair::Errno].into_iter().for_each(|affair| affairs.add(affair));
        assert_eq!(
            affairs.sentence().as_deref(),
            Some("the failures concern security (1), the error number alone (2)")
        );
    }
}
