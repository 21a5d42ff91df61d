//! Kernels side by side: a table for people, Markdown for summaries, JSON for programs.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, Color, ContentArrangement};

use super::row::{Conclusion, Failure, Group, Row};
use crate::prelude::*;

/// Version of the JSON table's schema; raised when a reader of an older one would misread it.
const SCHEMA: u32 = 1;

/// How many cases that share one reason are named before the rest is only counted.
const NAMED: usize = 3;

/// Every kernel of a matrix.
pub struct Table {
    seed: u64,
    tier: &'static str,
    rows: Vec<Row>,
    groups: BTreeSet<String>,
}

#[derive(Serialize)]
struct JsonTable<'t> {
    schema: u32,
    seed: u64,
    tier: &'t str,
    exit_status: u8,
    kernels: Vec<JsonRow<'t>>,
}

#[derive(Serialize)]
struct JsonRow<'t> {
    #[serde(flatten)]
    row: &'t Row,
    verdict: Conclusion,
    exit_status: u8,
}

impl Table {
    /// A table of these kernels, whose cases were run so.
    pub fn new(how: &HowArgs, rows: Vec<Row>) -> Self {
        let groups = rows.iter().flat_map(|row| row.groups.keys().cloned());
        Self { seed: how.seed(), tier: how.tier_in_guest().name(), groups: groups.collect(), rows }
    }

    /// The worst of all kernels.
    pub fn exit_status(&self) -> ExitStatus {
        let rank = |status: &ExitStatus| match status {
            ExitStatus::Conforms => 0,
            ExitStatus::NothingToSay => 1,
            ExitStatus::Usage => 2,
            ExitStatus::DoesNotConform => 3,
            ExitStatus::Interrupted { .. } => 4,
        };
        self.rows.iter().map(Row::exit_status).max_by_key(rank).unwrap_or(ExitStatus::NothingToSay)
    }

    /// For programs.
    pub fn json(&self) -> String {
        let json = |row| JsonRow { row, verdict: row.conclusion(), exit_status: row.exit_status().code() };
        stdout::json(&JsonTable {
            schema: SCHEMA,
            seed: self.seed,
            tier: self.tier,
            exit_status: self.exit_status().code(),
            kernels: self.rows.iter().map(json).collect(),
        })
    }

    /// For a browser.
    pub fn html(&self) -> String {
        super::html::page(&self.rows, self.seed, self.tier)
    }

    /// For people: as wide as their terminal, or as it needs without one.
    pub fn pretty(&self, colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(self.header());
        for row in &self.rows {
            let mut cells: Vec<Cell> = self.cells(row, "\n").into_iter().map(Cell::new).collect();
            if colour && let Some(verdict) = cells.pop() {
                cells.push(verdict.fg(match row.conclusion() {
                    Conclusion::Conforms => Color::Green,
                    Conclusion::DoesNotConform => Color::Red,
                    _ => Color::Yellow,
                }));
            }
            table.add_row(cells);
        }
        let mut text = table.trim_fmt() + "\n";
        for row in &self.rows {
            let details = details(row);
            if !details.is_empty() {
                let _ = writeln!(text, "\n{}", named(row, ", "));
                details.iter().for_each(|detail| text.push_str(&detail.pretty()));
            }
        }
        let _ = writeln!(text, "\nseed {}, tier {}", self.seed, self.tier);
        text
    }

    /// For the summaries of forges, and for issues.
    pub fn markdown(&self) -> String {
        let mut document = Document::default();
        let rows = self.rows.iter().map(|row| {
            let mut cells = self.cells(row, ", ");
            cells[0] = escaped(&cells[0]);
            cells
        });
        document.table(self.header(), rows);
        for row in &self.rows {
            let details: Vec<_> = details(row).iter().filter_map(Detail::markdown).collect();
            if !details.is_empty() {
                document.paragraph(format!("**{}**", escaped(&named(row, ", ")))).list(details);
            }
        }
        document.paragraph(format!("Seed {}, tier {}.", self.seed, self.tier));
        document.finish()
    }

    fn header(&self) -> impl Iterator<Item = &str> {
        ["kernel"].into_iter().chain(self.groups.iter().map(String::as_str)).chain(["time", "verdict"])
    }

    fn cells(&self, row: &Row, separator: &str) -> Vec<String> {
        let group = |name| row.groups.get(name).map_or("-".to_owned(), |group| summed(group).join(separator));
        let mut cells = vec![named(row, separator)];
        cells.extend(self.groups.iter().map(group));
        cells.extend([format!("{:.1} s", row.elapsed.as_secs_f64()), row.conclusion().words().to_owned()]);
        cells
    }
}

/// What the user calls a kernel, and its release where that says more.
fn named(row: &Row, separator: &str) -> String {
    match &row.release {
        Some(release) if *release != row.kernel => format!("{}{separator}{release}", row.kernel),
        _ => row.kernel.clone(),
    }
}

fn summed(group: &Group) -> Vec<String> {
    let Counts { passed, failed, timed_out, known_bugs, unexpected_passes, broken, skipped, .. } = group.counts;
    let counts = [
        (passed, "passed"),
        (failed, "failed"),
        (unexpected_passes, "unexpected"),
        (timed_out, "timed out"),
        (broken, "broken"),
        (known_bugs, "known"),
        (skipped, "skipped"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    counts.chain([group.seconds()]).collect()
}

/// An entry below the table.
#[derive(Debug, PartialEq, Eq)]
enum Detail<'r> {
    Failure(&'r Failure),
    More { cases: usize, what: &'r str },
    KnownBug { bug: &'r str, cases: u32 },
    GivenUp(&'r str),
    Console(String),
}

fn details(row: &Row) -> Vec<Detail<'_>> {
    let mut details = Vec::new();
    // A lost guest gives hundreds of cases the same reason.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // Cases that an interrupted run did not reach are no news.
    let cut_short = row.conclusion() == Conclusion::Interrupted;
    for failure in row.failures.iter().filter(|failure| !(cut_short && failure.status == Status::Broken.word())) {
        let count = counts.entry(&failure.what).or_default();
        *count += 1;
        if *count <= NAMED {
            details.push(Detail::Failure(failure));
        }
    }
    let counts = counts.into_iter().filter(|(_, count)| *count > NAMED);
    details.extend(counts.map(|(what, count)| Detail::More { cases: count - NAMED, what }));
    details.extend(row.known_bugs.iter().map(|(bug, &cases)| Detail::KnownBug { bug, cases }));
    details.extend(row.why.as_deref().map(Detail::GivenUp));
    if row.exit_status() != ExitStatus::Conforms && !cut_short {
        details.extend(row.console.as_ref().map(|path| Detail::Console(path.display().to_string())));
    }
    details
}

impl Detail<'_> {
    fn pretty(&self) -> String {
        match self {
            Detail::Failure(failure) => format!(
                "  {:>9} {}\n            {} [{}]\n",
                failure.status, failure.case, failure.what, failure.requirement
            ),
            Detail::More { cases, what } => format!("            and {cases} more: {what}\n"),
            Detail::KnownBug { bug, cases } => format!("      known {bug}: {}\n", counted(*cases)),
            Detail::GivenUp(why) => format!("   given up {why}\n"),
            Detail::Console(path) => format!("    console {path}\n"),
        }
    }

    fn markdown(&self) -> Option<String> {
        Some(match self {
            Detail::Failure(Failure { case, status, what, requirement, .. }) => {
                format!("{} ({status}): {} [{requirement}]", code(case), escaped(what))
            }
            Detail::More { cases, what } => format!("and {cases} more: {}", escaped(what)),
            Detail::KnownBug { bug, cases } => format!("{}: {}", escaped(bug), counted(*cases)),
            Detail::GivenUp(why) => format!("given up: {}", escaped(why)),
            // A path on the machine that ran it means nothing to readers of a summary.
            Detail::Console(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(case: &str, what: &str) -> Failure {
        Failure {
            case: case.to_owned(),
            status: "fail",
            what: what.to_owned(),
            requirement: "EFF-MNT-07".to_owned(),
            at: String::new(),
        }
    }

    fn row(kernel: &str, status: Option<ExitStatus>) -> Row {
        Row { status, elapsed: Duration::from_millis(1500), ..Row::new(kernel) }
    }

    fn good(kernel: &str) -> Row {
        let mut row = row(kernel, Some(ExitStatus::Conforms));
        let group = row.groups.entry("flags".to_owned()).or_default();
        group.counts.passed = 3;
        row
    }

    #[test]
    fn the_worst_kernel_decides() {
        let signal = ExitStatus::Interrupted { signal: 2 };
        for (statuses, code) in [
            (vec![Some(ExitStatus::Conforms)], 0),
            (vec![Some(ExitStatus::Conforms), None], 125),
            (vec![None, Some(ExitStatus::DoesNotConform), None], 1),
            (vec![Some(signal), Some(ExitStatus::DoesNotConform)], 130),
        ] {
            let rows = statuses.into_iter().map(|status| row("k", status));
            assert_eq!(Table::new(&HowArgs::of_seed(7), rows.collect()).exit_status().code(), code);
        }
    }

    #[test]
    fn every_kernel_has_its_row_and_failures_stand_below() {
        let mut bad = row("a|b", Some(ExitStatus::DoesNotConform));
        bad.release = Some("6.17.0".to_owned());
        bad.failures.push(failure("separation.x", "f(*p): expected 0"));
        bad.failures.extend((0..9).map(|index| failure(&format!("flags.{index}"), "not run")));
        let mut lost = row("gone", None);
        lost.why = Some("gone does not exist".to_owned());
        let table = Table::new(&HowArgs::of_seed(7), vec![good("6.1"), bad, lost]);

        let pretty = table.pretty(false);
        for expected in [
            "3 passed",
            "conforms\n",
            "a|b, 6.17.0",
            "separation.x\n            f(*p): expected 0 [EFF-MNT-07]",
            "and 6 more: not run",
            "given up gone does not exist",
            "seed 7, tier quick",
        ] {
            assert!(pretty.contains(expected), "{expected:?} in\n{pretty}");
        }
        assert!(!pretty.contains('\u{1b}'), "{pretty}");

        let markdown = table.markdown();
        let rows = markdown.lines().filter(|line| line.starts_with('|'));
        let columns: BTreeSet<usize> = rows.map(|line| line.replace("\\|", "").matches('|').count()).collect();
        assert_eq!(columns.len(), 1, "{markdown}");
        assert!(markdown.contains("f(\\*p): expected 0"), "{markdown}");

        let json: serde_json::Value = serde_json::from_str(&table.json()).unwrap();
        assert_eq!(json["exit_status"], 1);
        assert_eq!(json["kernels"][0]["groups"]["flags"]["passed"], 3);
        assert_eq!(json["kernels"][1]["failures"][0]["requirement"], "EFF-MNT-07");
        assert_eq!(json["kernels"][2]["verdict"], "nothing_to_say");
    }

    #[test]
    fn what_an_interrupted_run_did_not_come_to_is_not_listed() {
        let mut cut = row("k", Some(ExitStatus::Interrupted { signal: 2 }));
        cut.failures.push(Failure { status: Status::Broken.word(), ..failure("storm.x", "not run") });
        assert!(details(&cut).is_empty());
        cut.failures.push(failure("flags.x", "expected 0"));
        assert_eq!(details(&cut).len(), 1);
    }
}
