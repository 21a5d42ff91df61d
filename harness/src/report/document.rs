//! Shared by dialects that consist of one document: collects a run, which is written at the end.

use super::*;

#[derive(Debug, Default)]
pub(super) struct Document {
    plan: Vec<CaseInfo>,
    /// The first event.
    pub started: Option<Event>,
    results: Vec<Option<(Verdict, Outcome)>>,
    /// Remarks, in order.
    pub remarks: Vec<String>,
    /// Why the run was given up or interrupted.
    pub given_up: Option<String>,
    /// Wall time of the run.
    pub milliseconds: u64,
}

impl Document {
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { plan, .. } => {
                self.results = vec![None; plan.len()];
                self.plan.clone_from(plan);
                self.started = Some(event.clone());
            }
            Event::CaseFinished { index, verdict, outcome } => {
                self.results[*index] = Some((verdict.as_ref().clone(), outcome.clone()))
            }
            Event::Remark { text } => self.remarks.push(text.clone()),
            Event::BailedOut { why } => self.given_up = Some(why.clone()),
            Event::RunFinished { interrupted, milliseconds, .. } => {
                self.milliseconds = *milliseconds;
                if let Some(signal) = interrupted {
                    self.given_up = Some(format!("interrupted by signal {signal}"));
                }
            }
            Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. } => {}
        }
    }

    /// Gives every case of the plan a result, since silence could be read as success.
    pub fn complete(&mut self) {
        for result in &mut self.results {
            result.get_or_insert_with(|| (Verdict::never_reached("the run ended before"), Outcome::AS_JUDGED));
        }
    }

    /// The cases by group, both in the order of the plan, without those that have no result.
    /// [`complete`](Self::complete) gives every case one.
    pub fn groups(&self) -> Vec<(String, Vec<Entry<'_>>)> {
        let entry = |index: usize| {
            let (verdict, outcome) = self.results[index].as_ref()?;
            Some(Entry { index, case: &self.plan[index], verdict, outcome })
        };
        let groups = groups(&self.plan).into_iter();
        groups.map(|(name, cases)| (name, cases.into_iter().filter_map(entry).collect())).collect()
    }
}
