//! KTAP version 1 (Documentation/dev-tools/ktap.rst), flat, so that prove and kunit.py agree. Diagnostics precede the
//! result line.

use super::*;

/// Writes KTAP version 1.
pub type Ktap = Flat<Ktap1>;

/// KTAP version 1.
#[derive(Debug, Default)]
pub struct Ktap1;

impl Dialect for Ktap1 {
    fn begin(&mut self, cases: &[CaseInfo], out: &mut dyn Write) -> io::Result<()> {
        plan("KTAP version 1", cases.len(), out)
    }

    fn result(&mut self, number: usize, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        for line in diagnostics::yaml(entry) {
            writeln!(out, "# {}", without_ends(line))?;
        }
        let (ok, directive) = directive(entry);
        writeln!(out, "{} {number} {}{directive}", word(ok), entry.case.name)
    }

    fn remark(text: &str) -> String {
        format!("# {}", without_ends(comment(text)))
    }

    fn totals(counts: &Counts) -> String {
        let failed = counts.failed + counts.timed_out + counts.broken + counts.refuted;
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
    without_ends(directive_text(text))
}

/// Whether the result line says ok, and its directive. A known bug is `ok … # XFAIL`: the kernel's parser counts `not
/// ok … # XFAIL` as a failure.
fn directive(&Entry { verdict, outcome, .. }: &Entry) -> (bool, String) {
    match (outcome, verdict.status) {
        (Outcome::KnownBug { bug, .. }, _) => (true, format!(" # XFAIL {}", harmless(bug))),
        (outcome, _) if outcome.refutes() => (false, String::new()),
        (Outcome::UnexpectedPass { .. }, _) | (_, Status::Pass) => (true, String::new()),
        (_, Status::Skip) => (true, format!(" # SKIP {}", harmless(&verdict.reason))),
        (_, Status::Fail) => (false, String::new()),
        (_, Status::TimedOut) => (false, format!(" # TIMEOUT {}", harmless(&verdict.reason))),
        (_, Status::Broken) => (false, format!(" # ERROR {}", harmless(&verdict.reason))),
    }
}
