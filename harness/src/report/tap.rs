//! TAP version 13 (Test::Harness up to 3.44 refuses 14): flat, plan first, YAML diagnostics.

use super::*;

/// Writes TAP version 13.
pub type Tap = Flat<Tap13>;

/// TAP version 13.
#[derive(Debug, Default)]
pub struct Tap13;

impl Dialect for Tap13 {
    fn begin(&mut self, cases: &[CaseInfo], out: &mut dyn Write) -> io::Result<()> {
        plan("TAP version 13", cases.len(), out)
    }

    fn result(&mut self, number: usize, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        write_result(number, entry, "", out)
    }
}

/// Writes a result line and its diagnostics, as TAP 13 and 14 have both.
pub(super) fn write_result(number: usize, entry: &Entry, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let (ok, directive) = directive(entry);
    writeln!(out, "{indent}{} {number} - {}{directive}", word(ok), entry.case.name)?;
    let lines = diagnostics::yaml(entry);
    if !lines.is_empty() {
        writeln!(out, "{indent}  ---")?;
        for line in lines {
            writeln!(out, "{indent}  {line}")?;
        }
        writeln!(out, "{indent}  ...")?;
    }
    Ok(())
}

/// Whether the result line says ok, and its directive.
fn directive(entry: &Entry) -> (bool, String) {
    match (entry.outcome, entry.verdict.status) {
        (Outcome::KnownBug { bug, .. }, _) => (false, format!(" # TODO {}", directive_text(bug))),
        (outcome, _) if outcome.refutes() => (false, String::new()),
        // TAP harnesses report "ok … # TODO" as a bonus: the entry is stale, and nothing is wrong with the kernel.
        (Outcome::UnexpectedPass { bug, .. }, _) => (true, format!(" # TODO {}", directive_text(bug))),
        (_, Status::Pass) => (true, String::new()),
        (_, Status::Skip) => (true, format!(" # SKIP {}", directive_text(&entry.verdict.reason))),
        _ => (false, String::new()),
    }
}
