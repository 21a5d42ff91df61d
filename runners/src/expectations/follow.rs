//! What a run makes of the entries, told in its last lines.

use harness::place::facts::Version;
use harness::verdict::expectation::Expectation;

use super::Expected;
use crate::prelude::*;

/// How many cases a sentence names.
const NAMED: usize = 5;

/// The first cases by name, and how many more there are.
fn listed(cases: &[&str]) -> String {
    let (named, more) = cases.split_at(NAMED.min(cases.len()));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    named.join(", ") + &more
}

/// Follows a run: needs that it must not lack, and what was expected of it.
pub struct Follow<'e> {
    needs: StrictNeeds,
    strict: bool,
    expected: &'e Expected,
    facts: Facts,
    plan: Vec<CaseInfo>,
    results: Vec<Option<Judged>>,
}

impl<'e> Follow<'e> {
    /// Before the first event.
    pub fn new(strict: &StrictArgs, expected: &'e Expected) -> Self {
        Self {
            needs: StrictNeeds::new(&strict.strict_needs),
            strict: strict.strict,
            expected,
            facts: Facts::default(),
            plan: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        self.needs.event(event);
        match event {
            Event::RunStarted { plan, facts, .. } => {
                self.results = vec![None; plan.len()];
                self.plan.clone_from(plan);
                self.facts = Facts::clone(facts);
            }
            Event::CaseFinished { index, verdict, outcome } => {
                if let Some(result) = self.results.get_mut(*index) {
                    *result = Some((Verdict::clone(verdict), outcome.clone()));
                }
            }
            _ => {}
        }
    }

    /// The release that was tested, in the order of releases.
    pub fn version(&self) -> Version {
        self.facts.in_order()
    }

    /// The cases that have a result.
    pub fn judged(&self) -> impl Iterator<Item = (&CaseInfo, &Judged)> {
        self.plan.iter().zip(&self.results).filter_map(|(case, result)| Some((case, result.as_ref()?)))
    }

    /// What is left to report of a run that is complete: remarks, and at the end at most one reason for which it does
    /// not conform whatever its counts say. Writes the file of expectations.
    pub fn end(&self) -> Result<Vec<Event>> {
        if self.expected.told_outside {
            return Ok(Vec::new());
        }
        let mut remarks = self.expected.expired.clone();
        remarks.extend(self.refuted());
        remarks.extend(self.unclassified());
        if let Some(write) = &self.expected.write {
            remarks.push(write.write(self, self.strict)?);
        }
        let whys: Vec<_> = self.needs.missing().into_iter().chain(self.unviolated()).collect();
        let why = (!whys.is_empty()).then(|| Event::BailedOut { why: whys.join("; ") });
        Ok(remarks.into_iter().map(|text| Event::Remark { text }).chain(why).collect())
    }

    /// The entries whose cases passed, each in a sentence.
    fn refuted(&self) -> Vec<String> {
        let mut passed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (case, (_, outcome)) in self.judged() {
            if let (true, Some(entry)) = (outcome.refutes(), outcome.entry()) {
                passed.entry(entry).or_default().push(&case.name);
            }
        }
        let sentence = |(at, cases): (&str, Vec<&str>)| {
            let entry = self.expected.expectations.own.iter().find(|entry| entry.at.as_deref() == Some(at));
            let expected = entry.map_or(String::new(), Expectation::expected);
            format!("{at} expects {expected}, but {} passed: take what passes out of the entry", listed(&cases))
        };
        passed.into_iter().map(sentence).collect()
    }

    /// What makes the run red although there is a file, in a sentence: the cases that no entry expects to come out as
    /// they did.
    fn unclassified(&self) -> Option<String> {
        let is_red = |(_, (verdict, outcome)): &(&CaseInfo, &Judged)| match (outcome, verdict.status) {
            _ if outcome.entry().is_some() => false,
            (Outcome::AsJudged { .. }, Status::Pass) => false,
            (Outcome::AsJudged { .. }, Status::Fail | Status::TimedOut | Status::Broken) => true,
            _ => self.strict,
        };
        let cases: Vec<&str> = self.judged().filter(is_red).map(|(case, _)| case.name.as_str()).collect();
        let how = if self.strict { "did not pass as it should" } else { "went wrong" };
        let sentence = || format!("{} {how}, and no entry expects it: {}", counted(cases.len() as u32), listed(&cases));
        (self.expected.given && !cases.is_empty()).then(sentence)
    }

    /// Whether an entry without cases is stale: every case that proves one of its requirements was run and passed.
    pub fn is_unviolated(&self, entry: &Expectation) -> bool {
        if !entry.cases.is_empty() || entry.status.contains(&Status::Pass) || !entry.affects(self.version()) {
            return false;
        }
        let passed: BTreeSet<&str> = self
            .judged()
            .filter(|(_, (verdict, _))| verdict.status == Status::Pass)
            .map(|(case, _)| case.name.as_str())
            .collect();
        let proving = harness::case::items(suite::cases::all()).into_iter();
        let mut proving = proving
            .filter(|item| item.proves().iter().any(|id| entry.requirements.iter().any(|own| own == id)))
            .peekable();
        proving.peek().is_some() && proving.all(|item| passed.contains(item.name.as_str()))
    }

    fn unviolated(&self) -> Vec<String> {
        let stale = self.expected.expectations.own.iter().filter(|entry| self.is_unviolated(entry));
        let sentence = |entry: &Expectation| {
            let (at, ids) = (entry.at.as_deref().unwrap_or_default(), entry.requirements.join(", "));
            format!("{at} expects {}, but every case that proves {ids} passed: take the entry out", entry.expected())
        };
        stale.map(sentence).collect()
    }
}
