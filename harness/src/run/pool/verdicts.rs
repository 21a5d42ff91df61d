//! Verdicts of a case: combined over its repetitions, compared with what is expected, reported in order.

use super::*;

impl Run<'_, '_> {
    /// Reports every case when the run ends before its time: with its results so far, or this one.
    pub(super) fn cut_short(&mut self, others: Option<Verdict>) -> Result<(), RunError> {
        self.cut_short = true;
        for index in 0..self.entries.len() {
            self.close(index)?;
        }
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            // Silence could be read as success.
            if !entry.reported {
                entry.verdict = entry.verdict.take().or_else(|| others.clone());
            }
            self.report(index)?;
        }
        Ok(())
    }

    /// Reports a case whose repetitions are complete.
    pub(super) fn close(&mut self, index: usize) -> Result<(), RunError> {
        let entry = &mut self.entries[index];
        let (runs, asked) = (entry.attempts.len(), entry.asked);
        if runs == 0 || (runs < asked && !self.cut_short) {
            return Ok(());
        }
        let mut verdict = worst_of(std::mem::take(&mut entry.attempts));
        if self.runs_on() {
            let runs = runs as u64;
            let (first, last) = (self.options.seed, self.options.seed.wrapping_add(runs - 1));
            verdict.notes.push(format!("{runs} runs, seeds {first} to {last}"));
        } else if runs < asked {
            verdict.notes.push(format!("cut short after {runs} of {asked} runs"));
        }
        self.entries[index].verdict = Some(verdict);
        if self.options.in_order { self.report_finished() } else { self.report(index) }
    }

    /// A verdict on a case, compared with what is expected.
    pub(super) fn outcome(&self, index: usize, verdict: &Verdict) -> Outcome {
        let (item, version) = (&self.entries[index].item, self.setting.facts.in_order());
        self.options.expectations.outcome(&item.name, item.proves(), version, verdict)
    }

    /// Attributes what the kernel said since the last answer to every case that was running.
    pub(super) fn attribute_news(&mut self, at: usize, observation: &mut Observation) {
        let new = self.kernel_log.news();
        for (other, worker) in self.workers.iter_mut().enumerate() {
            if other != at && !worker.jobs.is_empty() {
                worker.news.add(&new);
            }
        }
        if let Some(worker) = self.workers.get_mut(at) {
            observation.kernel.add(&std::mem::take(&mut worker.news));
        }
        observation.kernel.add(&new);
    }

    pub(super) fn report_finished(&mut self) -> Result<(), RunError> {
        if !self.options.in_order {
            return (0..self.entries.len()).try_for_each(|index| self.report(index));
        }
        while let Some(next) = self.entries.iter().position(|entry| !entry.reported)
            && self.entries[next].verdict.is_some()
        {
            self.report(next)?;
        }
        Ok(())
    }

    pub(super) fn report(&mut self, index: usize) -> Result<(), RunError> {
        let Some(mut verdict) = self.entries[index].verdict.take() else {
            return Ok(());
        };
        verdict.affair = Affair::of(&verdict, self.options.suite.affair);
        self.entries[index].reported = true;
        let outcome = self.outcome(index, &verdict);
        self.counts.add(verdict.status, &outcome);
        (self.sink)(&Event::CaseFinished { index, verdict: Box::new(verdict), outcome })?;
        Ok(())
    }
}
