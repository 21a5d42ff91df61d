//! Progress on a terminal: how far, what is running, how much longer.

use crate::prelude::*;

/// The last line of a terminal while cases run; nothing elsewhere.
///
/// The bar and the estimate go by work, not by the number of cases: some take a thousand times as
/// long as others. No thread draws it: the process that reports must stay single-threaded, since it
/// forks.
pub struct ProgressLine {
    bar: ProgressBar,
    label: String,
    cases: Vec<(String, u64)>,
    finished: usize,
    done: u64,
    /// Work done of running cases, by their place in the plan.
    partly: BTreeMap<usize, u64>,
}

impl ProgressLine {
    fn on(bar: ProgressBar, label: String) -> Self {
        Self { bar, label, cases: Vec::new(), finished: 0, done: 0, partly: BTreeMap::new() }
    }

    /// A line on standard error, if that is a terminal.
    pub fn on_terminal() -> Self {
        Self::on(bar_of(0, "{prefix} {bar:24} {eta} {wide_msg}"), String::new())
    }

    /// An invisible line.
    pub fn hidden() -> Self {
        Self::on(ProgressBar::hidden(), String::new())
    }

    /// One of several lines on standard error, for runs at the same time; it begins with `label`.
    pub fn among(lines: &MultiProgress, label: String) -> Self {
        let bar = lines.add(ProgressBar::new(0));
        bar.set_style(style("{prefix} {bar:24} {wide_msg}"));
        bar.set_prefix(format!("{label}    0/0   "));
        bar.set_message("starting");
        Self::on(bar, format!("{label} "))
    }

    /// Whether it is visible.
    pub fn is_seen(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Takes the line away, so that a report can be written where it was.
    pub fn clear(&self) {
        if self.is_seen() {
            self.bar.suspend(|| ());
        }
    }

    /// Follows a run.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { plan, tier, .. } => {
                let work = |case: &[u32; 3]| u64::from(case[*tier as usize]);
                self.cases = plan.iter().map(|case| (case.name.clone(), work(&case.work))).collect();
                let all = self.cases.iter().map(|(_, work)| work).sum();
                self.bar.set_length(all);
                self.count();
            }
            Event::CaseStarted { index } => {
                if let Some((name, _)) = self.cases.get(*index) {
                    self.bar.set_message(name.clone());
                }
            }
            Event::Progress { index, done, total, .. } => {
                let Some((name, work)) = self.cases.get(*index) else {
                    return;
                };
                self.bar.set_message(format!("{name} {done}/{total}"));
                let partly = work * u64::from(*done) / u64::from(*total).max(1);
                self.partly.insert(*index, partly);
                self.count();
            }
            Event::CaseFinished { index, .. } => {
                self.finished += 1;
                self.done += self.cases.get(*index).map_or(0, |(_, work)| *work);
                self.partly.remove(index);
                self.count();
            }
            Event::RunFinished { .. } | Event::BailedOut { .. } => self.bar.finish_and_clear(),
            Event::Remark { .. } | Event::Alive => {}
        }
    }

    fn count(&self) {
        let (label, all) = (&self.label, self.cases.len());
        self.bar.set_prefix(format!("{label}{:>4}/{all:<4}", self.finished));
        self.bar.set_position(self.done + self.partly.values().sum::<u64>());
    }
}

/// A bar of this length on standard error, if that is a terminal.
pub fn bar_of(length: u64, template: &str) -> ProgressBar {
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style(template))
}

/// How a line of progress looks.
///
/// # Panics
/// The template is none; ours are.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{case, run_started};

    #[test]
    fn the_bar_goes_by_work_and_follows_long_cases() {
        let case = |name: &str, work| case(name, "", &[], [1, 1, work]);
        let mut line = ProgressLine::hidden();
        line.event(&run_started("", Tier::Exhaustive, vec![case("short", 1), case("long", 999)]));
        assert_eq!(line.bar.length(), Some(1000));
        line.event(&Event::CaseStarted { index: 1 });
        line.event(&Event::Progress { repetition: 0, index: 1, done: 50, total: 100 });
        assert_eq!(line.bar.position(), 499);
        assert_eq!(line.bar.message(), "long 50/100");
    }
}
