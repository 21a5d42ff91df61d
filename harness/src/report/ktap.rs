//! KTAP version 1 (Documentation/dev-tools/ktap.rst), flat, so that prove and kunit.py agree. Diagnostics precede the
//! result line.

use std::io::{self, Write};

use super::flat::{CaseResult, Dialect, write};
use super::text;
use super::{Progress, Reporter, diagnostics};
use crate::verdict::event::Event;
use crate::verdict::judge::{Status, Verdict};
use crate::verdict::outcome::{Counts, Outcome};

/// Writes KTAP version 1.
#[derive(Debug, Default)]
pub struct Ktap {
    progress: Progress,
}

impl Reporter for Ktap {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        write::<Self>(&mut self.progress, event, out)
    }
}

impl Dialect for Ktap {
    const VERSION: &'static str = "KTAP version 1";

    fn result(result: &CaseResult, out: &mut dyn Write) -> io::Result<()> {
        for line in diagnostics::yaml(result.verdict, result.outcome, result.case) {
            writeln!(out, "# {}", without_ends(line))?;
        }
        let (ok, directive) = directive(result.verdict, result.outcome);
        let ok = if ok { "ok" } else { "not ok" };
        writeln!(out, "{ok} {} {}{directive}", result.number, result.case.name)
    }

    fn comment(text: &str) -> String {
        without_ends(text::comment(text))
    }

    fn totals(counts: &Counts) -> String {
        let failed = counts.failed + counts.timed_out + counts.broken;
        format!(
            "Totals: pass:{} fail:{failed} xfail:{} xpass:0 skip:{} error:0",
            counts.passed, counts.known_bugs, counts.skipped
        )
    }
}

/// Text that the kernel's parser takes for the end of a report anywhere in a line: a quoted panic would hide the
/// results after it.
const ENDS: [(&str, &str); 3] = [
    ("Kernel panic - not syncing: VFS:", "Kernel panic - not syncing\\: VFS:"),
    ("reboot: System halted", "reboot\\: System halted"),
    ("List of all partitions:", "List of all partitions\\:"),
];

fn without_ends(text: String) -> String {
    ENDS.iter().fold(text, |text, (end, harmless)| text.replace(end, harmless))
}

fn harmless(text: &str) -> String {
    without_ends(text::directive_text(text))
}

/// Whether the result line says ok, and its directive. A known bug is `ok … # XFAIL`: the kernel's parser counts `not
/// ok … # XFAIL` as a failure.
fn directive(verdict: &Verdict, outcome: &Outcome) -> (bool, String) {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { bug }, _) => (true, format!(" # XFAIL {}", harmless(bug))),
        (Outcome::UnexpectedPass { .. }, _) | (_, Status::Pass) => (true, String::new()),
        (_, Status::Skip) => (true, format!(" # SKIP {}", harmless(&verdict.reason))),
        (_, Status::Fail) => (false, String::new()),
        (_, Status::TimedOut) => (false, format!(" # TIMEOUT {}", harmless(&verdict.reason))),
        (_, Status::Broken) => (false, format!(" # ERROR {}", harmless(&verdict.reason))),
    }
}
