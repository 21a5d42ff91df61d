//! Reports: events in, one dialect out. A reporter knows nothing of how cases are run.

mod diagnostics;
mod flat;
mod json;
mod ktap;
mod pretty;
mod tap;
mod text;
mod wire;

use std::io::{self, Write};

use crate::event::{CaseInfo, Event};

pub use json::Json;
pub use ktap::Ktap;
pub use pretty::{Pretty, Verbosity};
pub use tap::Tap;
pub use text::one_line;
pub use wire::Wire;

/// Turns events into one dialect.
pub trait Reporter {
    /// Tells of one event.
    ///
    /// # Errors
    /// The output cannot be written.
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;
}

/// The plan, remembered from the first event, and how far the report has come.
#[derive(Debug, Default)]
struct Progress {
    plan: Vec<CaseInfo>,
    reported: usize,
}

impl Progress {
    fn case(&self, index: usize) -> &CaseInfo {
        &self.plan[index]
    }

    /// The number of the next result line.
    fn next_number(&mut self) -> usize {
        self.reported += 1;
        self.reported
    }
}

/// The lines at the head of a report: what was run, on what, and what reproduces it.
fn head(event: &Event) -> Vec<String> {
    let Event::RunStarted {
        program,
        facts,
        seed,
        tier,
        repeat,
        ..
    } = event
    else {
        return Vec::new();
    };
    let mut lines: Vec<String> = facts.caveat.iter().cloned().collect();
    lines.push(program.clone());
    lines.extend(facts.lines());
    lines.push(format!(
        "seed {seed}, tier {}{}",
        tier.name(),
        if *repeat > 1 {
            format!(", each case {repeat} times")
        } else {
            String::new()
        }
    ));
    lines
}
