//! Progress on a terminal: how far, what is running, how long yet.

use harness::event::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The last line of a terminal while cases run; nothing elsewhere.
///
/// No thread draws it: the process that reports must stay single-threaded, since it forks.
pub struct ProgressLine {
    bar: ProgressBar,
    names: Vec<String>,
}

impl ProgressLine {
    /// A line on standard error, if that is a terminal.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{pos}/{len} {bar:24} {eta} {wide_msg}")
            .expect("the template is valid");
        bar.set_style(style);
        Self {
            bar,
            names: Vec::new(),
        }
    }

    /// A line that is never seen.
    pub fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            names: Vec::new(),
        }
    }

    /// One of several lines on standard error, for runs at the same time; it begins with `label`.
    pub fn among(lines: &MultiProgress, label: String) -> Self {
        let bar = lines.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{prefix} {pos:>4}/{len:4} {bar:24} {wide_msg}")
            .expect("the template is valid");
        bar.set_style(style);
        bar.set_prefix(label);
        bar.set_message("starting");
        Self {
            bar,
            names: Vec::new(),
        }
    }

    /// Takes the line away, so that a report can be written where it was.
    pub fn clear(&self) {
        if !self.bar.is_hidden() {
            self.bar.suspend(|| ());
        }
    }

    /// Follows a run.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { plan, .. } => {
                self.names = plan.iter().map(|case| case.name.clone()).collect();
                self.bar.set_length(plan.len() as u64);
            }
            Event::CaseStarted { index } => self.bar.set_message(self.names[*index].clone()),
            Event::CaseFinished { .. } => self.bar.inc(1),
            Event::RunFinished { .. } | Event::BailedOut { .. } => self.bar.finish_and_clear(),
            Event::Remark { .. } | Event::Alive => {}
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self::new()
    }
}
