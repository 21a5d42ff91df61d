//! Why cases were skipped, in sum.

use super::*;

/// How many reasons the last line of a report names.
const NAMED: usize = 3;

/// The reasons of a run's skips, each with how many cases it has.
#[derive(Debug, Default)]
pub(super) struct Skips(BTreeMap<String, u32>);

impl Skips {
    /// Counts a skipped case. Reasons that the place refused a call are one, whichever call it was.
    pub fn add(&mut self, verdict: &Verdict) {
        let reason = match verdict.needs.as_slice() {
            [need] if need == PLACE => without_call(&verdict.reason),
            _ => &verdict.reason,
        };
        *self.0.entry(reason.to_owned()).or_default() += 1;
    }

    /// The reasons, the most frequent first.
    pub fn by_reason(&self) -> Vec<(&str, u32)> {
        by_first_need(&self.0)
    }

    /// What the last line of a report says of a run that skipped at least a third of its cases: how many, and the most
    /// frequent reasons, which say what to change.
    pub fn sentence(&self, counts: &Counts) -> Option<String> {
        let Counts { passed, failed, timed_out, known_bugs, unexpected_passes, broken, skipped, .. } = *counts;
        let all = [passed, failed, timed_out, known_bugs, unexpected_passes, broken, skipped];
        let all: u64 = all.into_iter().map(u64::from).sum();
        if skipped == 0 || u64::from(skipped) * 3 < all {
            return None;
        }
        let reasons = self.by_reason();
        let (named, others) = reasons.split_at(NAMED.min(reasons.len()));
        let mut parts: Vec<String> = named.iter().map(|(reason, cases)| format!("{cases} × {reason}")).collect();
        if !others.is_empty() {
            let others: u32 = others.iter().map(|(_, cases)| cases).sum();
            parts.push(format!("{others} × other reasons"));
        }
        Some(format!("{skipped} of {all} cases were skipped: {}", parts.join("; ")))
    }
}

/// Reasons with how many cases each has, the most frequent first. A case with several unmet needs counts for the
/// first of them; `-v` shows all.
pub(super) fn by_first_need(reasons: &BTreeMap<String, u32>) -> Vec<(&str, u32)> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (reason, cases) in reasons {
        *counts.entry(reason.split("; ").next().unwrap_or_default()).or_default() += cases;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, cases)| std::cmp::Reverse(*cases));
    counts
}

/// A reason without the call that it ends with, in parentheses.
fn without_call(reason: &str) -> &str {
    let mut depth = 0;
    for (at, c) in reason.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if c == '(' { reason[..at].trim_end() } else { reason };
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::judge::Status;

    fn skips(reasons: &[(&str, u32)]) -> Skips {
        Skips(reasons.iter().map(|(reason, cases)| ((*reason).to_owned(), *cases)).collect())
    }

    #[test]
    fn skips_are_grouped_by_their_first_need() {
        let skips = skips(&[("requires a; requires b", 2), ("requires a", 3), ("requires c", 4)]);
        assert_eq!(skips.by_reason(), [("requires a", 5), ("requires c", 4)]);
    }

    #[test]
    fn refused_calls_are_one_reason() {
        let mut skips = Skips::default();
        let why = "RLIMIT_NOFILE (ulimit -Hn) is below 4096: raise it";
        for call in ["dup(3): EMFILE", "open(/proc/self/fd/7 (x)): EMFILE", "pipe(): EMFILE"] {
            let mut verdict = Verdict::not_run(Status::Skip, format!("{why} ({call})"));
            verdict.needs = vec![PLACE.to_owned()];
            skips.add(&verdict);
        }
        // Parentheses of another reason stay.
        skips.add(&Verdict::not_run(Status::Skip, "needs time namespaces (CONFIG_TIME_NS)"));
        assert_eq!(skips.by_reason(), [(why, 3), ("needs time namespaces (CONFIG_TIME_NS)", 1)]);
        assert_eq!(["a", "a)", "(a", ""].map(without_call), ["a", "a)", "(a", ""]);
    }

    #[test]
    fn a_third_is_worth_a_line() {
        let skips = skips(&[("a: do x", 1), ("b: do y", 7), ("c: do z", 2), ("d", 1), ("e", 1)]);
        let line = |passed| skips.sentence(&Counts { passed, skipped: 12, ..Counts::default() });
        let expected = "12 of 36 cases were skipped: 7 × b: do y; 2 × c: do z; 1 × a: do x; 2 × other reasons";
        assert_eq!(line(24).as_deref(), Some(expected));
        assert_eq!(line(25), None);
        assert_eq!(skips.sentence(&Counts::default()), None);
    }
}
