//! TAP version 14: a subtest for each group of cases.
//!
//! Results of a guest arrive in the order in which cases end, and a subtest is one block: a group is written when it is
//! complete.

use super::*;

/// Writes TAP version 14.
pub type Tap14 = Flat<Nested>;

/// TAP version 14.
#[derive(Debug, Default)]
pub struct Nested {
    /// The groups that are not written yet.
    groups: Vec<Group>,
    written: usize,
}

#[derive(Debug)]
struct Group {
    name: String,
    /// The index of each case in the plan.
    cases: Vec<usize>,
    /// The lines of each result so far, by its place in the group.
    results: BTreeMap<usize, Vec<u8>>,
    /// Whether all results so far leave the group ok, and whether all are skips.
    ok: bool,
    skipped: bool,
}

const INDENT: &str = "    ";

impl Group {
    fn is_complete(&self) -> bool {
        self.results.len() == self.cases.len()
    }

    /// Writes the group. An incomplete one keeps its numbers, so that readers see the gap.
    fn write(&self, number: usize, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "# Subtest: {}", self.name)?;
        writeln!(out, "{INDENT}1..{}", self.cases.len())?;
        for lines in self.results.values() {
            out.write_all(lines)?;
        }
        let ok = self.ok && self.is_complete();
        let directive = if ok && self.skipped { " # SKIP all cases were skipped" } else { "" };
        writeln!(out, "{} {number} - {}{directive}", word(ok), self.name)
    }
}

/// Whether a result leaves its group ok.
fn is_ok(entry: &Entry) -> bool {
    match entry.outcome {
        Outcome::AsJudged { .. } => matches!(entry.verdict.status, Status::Pass | Status::Skip),
        outcome => !outcome.refutes(),
    }
}

impl Dialect for Nested {
    fn begin(&mut self, cases: &[CaseInfo], out: &mut dyn Write) -> io::Result<()> {
        let groups = groups(cases).into_iter();
        let group = |(name, cases)| Group { name, cases, results: BTreeMap::new(), ok: true, skipped: true };
        self.groups = groups.map(group).collect();
        plan("TAP version 14", self.groups.len(), out)
    }

    fn result(&mut self, _: usize, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let place = |group: &Group| group.cases.iter().position(|index| *index == entry.index);
        let mut places = self.groups.iter().enumerate();
        let Some((at, place)) = places.find_map(|(at, group)| Some((at, place(group)?))) else {
            return Ok(());
        };
        let group = &mut self.groups[at];
        group.ok &= is_ok(entry);
        group.skipped &= entry.verdict.status == Status::Skip;
        write_result(place + 1, entry, INDENT, group.results.entry(place).or_default())?;
        if group.is_complete() {
            self.written += 1;
            self.groups.remove(at).write(self.written, out)?;
        }
        Ok(())
    }

    /// Writes groups that never became complete. Groups without any result are left out: the plan is then not met.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for group in std::mem::take(&mut self.groups).iter().filter(|group| !group.results.is_empty()) {
            self.written += 1;
            group.write(self.written, out)?;
        }
        Ok(())
    }
}
