//! Reports: events in, one dialect out. Reporters know nothing about running cases.

mod diagnostics;
mod document;
mod flat;
mod json;
mod junit;
mod kcidb;
mod ktap;
mod lava;
mod pretty;
mod skips;
mod tap;
mod tap14;
mod text;
mod wire;

use document::Document;
use flat::{Dialect, Flat, plan, word};
use skips::{Skips, by_first_need};
use tap::write_result;
use text::{comment, directive_text, note_lines, yaml_scalar};

use crate::common::*;

pub use json::{Json, SCHEMA};
pub use junit::Junit;
pub use kcidb::{Kcidb, Submission};
pub use ktap::Ktap;
pub use lava::Lava;
pub use pretty::{Pretty, Verbosity};
pub use tap::Tap;
pub use tap14::Tap14;
pub use text::one_line;
pub use wire::{Wire, read as read_wire};

/// Turns events into one dialect.
pub trait Reporter {
    /// Reports one event.
    ///
    /// # Errors
    /// The output cannot be written.
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;

    /// Ends the report. Dialects that consist of one document are written now.
    ///
    /// # Errors
    /// The output cannot be written.
    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.flush()
    }
}

/// A case of the plan and its result.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    index: usize,
    case: &'a CaseInfo,
    verdict: &'a Verdict,
    outcome: &'a Outcome,
}

/// The groups of a plan, each with the indices of its cases, in the order of the plan.
fn groups(plan: &[CaseInfo]) -> Vec<(String, Vec<usize>)> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, case) in plan.iter().enumerate() {
        match groups.iter_mut().find(|(group, _)| group == case.group()) {
            Some((_, cases)) => cases.push(index),
            None => groups.push((case.group().to_owned(), vec![index])),
        }
    }
    groups
}

/// The head of a report: what runs, where, and what reproduces it.
fn head(event: &Event) -> Vec<String> {
    let Event::RunStarted { program, facts, seed, tier, repeat, part, .. } = event else {
        return Vec::new();
    };
    let mut lines: Vec<String> = facts.caveat.iter().cloned().collect();
    lines.push(program.clone());
    lines.extend(facts.lines());
    let times = if *repeat > 1 { format!(", each case {repeat} times") } else { String::new() };
    lines.push(format!("seed {seed}, tier {}{times}", tier.name()));
    if let Some(part) = part {
        lines.push(format!("shard {} of {} cases", part.shard, part.whole));
    }
    lines
}

/// The words after the number of known bugs.
fn known_bugs(counts: &Counts) -> &'static str {
    if counts.known_bugs == 1 { "known kernel bug" } else { "known kernel bugs" }
}
