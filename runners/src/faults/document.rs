//! A matrix as a document.

use std::collections::BTreeMap;
use std::fmt::Write;

use suite::fault::declared;

use super::caught::{Caught, Row, some_of};
use crate::matrix::table::escaped;

/// A line for each fault, and what is wrong.
pub fn text(caught: &Caught) -> String {
    let mut text = String::new();
    let width = caught.rows.iter().map(|row| row.fault.name.len()).max().unwrap_or_default();
    for row in &caught.rows {
        let name = &row.fault.name;
        let by = row.caught_by.len();
        let _ = write!(text, "{name:width$}  noticed by {by:>4} of {:>4}", row.tried);
        for (count, what) in [(row.broken, "broken"), (row.timed_out, "timed out")] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        text.push('\n');
    }
    for complaint in caught.complaints() {
        let _ = writeln!(text, "! {complaint}");
    }
    for told in caught.not_shown() {
        let _ = writeln!(text, "{told}");
    }
    let _ = writeln!(text, "{}", figures(caught));
    text
}

/// How many faults and cases, in one sentence.
fn figures(caught: &Caught) -> String {
    let faults = caught.rows.iter().filter(|row| !row.fault.harmless).count();
    let noticed = caught.rows.iter().filter(|row| !row.caught_by.is_empty()).count();
    let (cases, silent) = (caught.passing.len(), caught.silent_cases().len());
    format!(
        "{noticed} of {faults} faults are noticed; {} of {cases} cases notice a fault ({} s)",
        cases - silent,
        caught.seconds
    )
}

/// The document.
pub fn markdown(caught: &Caught) -> String {
    let declared = declared::all();
    let mut text = String::from(
        "# Faults that the suite notices\n\n\
         <!-- Written by `unshare-conformance faults matrix --markdown docs/faults.md`. -->\n\n\
         Each fault is a stand-in for a broken kernel: a seccomp filter traps every unshare(2) that \
         a case makes, and a handler in the calling task answers as such a kernel would \
         (`suite/src/fault`). A case notices a fault when it fails; one that is broken, or does not \
         end, has not.\n\n",
    );
    let _ = writeln!(
        text,
        "{}, {}. {}{}.\n",
        caught.kernel,
        caught.date,
        figures(caught),
        if caught.complete { "" } else { "; pairs that prove nothing new were left out" }
    );
    text.push_str("| fault | what the kernel does | breaks | noticed by | for example |\n|---|---|---|---:|---|\n");
    for row in caught.rows.iter().filter(|row| !row.fault.harmless) {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            row.fault.name,
            row.fault.about,
            row.fault.breaks.join(", "),
            row.caught_by.len(),
            examples(row)
        );
    }
    text.push_str("\n## No fault, no failure\n\nUnder these every verdict is the one without them.\n\n");
    text.push_str("| stand-in | what the kernel does | cases | other verdicts |\n|---|---|---:|---:|\n");
    for row in caught.rows.iter().filter(|row| row.fault.harmless) {
        let (name, about) = (&row.fault.name, &row.fault.about);
        let _ = writeln!(text, "| `{name}` | {about} | {} | {} |", row.tried, row.changed.len());
    }
    text.push_str("\n## Good kernels\n\n");
    if declared.good_runs.is_empty() {
        text.push_str("No runs are recorded (`good_runs` in `suite/faults.toml`).\n");
    } else {
        text.push_str("| kernel | where | cases run | failed |\n|---|---|---:|---:|\n");
        for run in &declared.good_runs {
            let _ = writeln!(text, "| {} | {} | {} | {} |", run.kernel, run.place, run.cases, run.failed);
        }
    }
    text.push_str("\n## What cannot be simulated, and what covers it\n\n");
    text.push_str("| fault | why not | instead |\n|---|---|---|\n");
    for entry in &declared.impossible {
        let _ = writeln!(text, "| {} | {} | {} |", entry.fault, entry.reason, entry.instead);
    }
    text.push_str("\n## Cases that no stand-in makes fail\n\n| cases | why | instead |\n|---|---|---|\n");
    for entry in &declared.left_out {
        let _ = writeln!(text, "| `{}` | {} | {} |", entry.cases, entry.reason, entry.instead);
    }
    for entry in &declared.uncaught {
        let _ = writeln!(text, "| `{}` | {} | {} |", entry.cases, entry.reason, entry.instead);
    }
    if !declared.unnoticed.is_empty() {
        text.push_str("\n## Faults that no case notices here\n\n| fault | why |\n|---|---|\n");
        for entry in &declared.unnoticed {
            let _ = writeln!(text, "| `{}` | {} |", entry.fault, entry.reason);
        }
    }
    let complaints = caught.complaints();
    if !complaints.is_empty() {
        text.push_str("\n## Known gaps\n\n");
        for complaint in complaints {
            let _ = writeln!(text, "- {complaint}");
        }
    }
    let not_shown = caught.not_shown();
    if !not_shown.is_empty() {
        text.push_str("\n## Not shown by these cases and faults\n\n");
        for told in not_shown {
            let _ = writeln!(text, "- {}", escaped(&told));
        }
    }
    text.push_str("\n## Cases that could not be tried on this kernel\n\n");
    text.push_str(&not_tried(&caught.not_passing));
    text
}

/// Cases by the reason why they could not be tried.
fn not_tried(cases: &BTreeMap<String, String>) -> String {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (case, reason) in cases {
        by_reason.entry(reason).or_default().push(format!("`{case}`"));
    }
    let mut text = String::new();
    for (reason, cases) in by_reason {
        let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
        let _ = writeln!(text, "- {}: {}", some_of(&cases), escaped(reason));
    }
    text
}

/// One case of each of a few groups.
fn examples(row: &Row) -> String {
    let mut groups: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for case in row.caught_by.keys() {
        let group = case.split('.').next().unwrap_or_default();
        groups.entry(group).or_insert((case, 0)).1 += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|(_, count)| *count);
    let told: Vec<_> = groups
        .iter()
        .take(3)
        .map(|(case, count)| match count {
            1 => format!("`{case}`"),
            more => format!("`{case}` and {} of its group", more - 1),
        })
        .collect();
    told.join(", ")
}

/// The day in UTC, as ISO 8601 has it.
pub fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400) as i64;
    // Years that begin in March, so that the day that comes every fourth year is the last one.
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    format!("{:04}-{month:02}-{of_month:02}", year + era * 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_could_not_be_tried_is_named_with_the_reason() {
        let cases = [("a.b", "skip: x_y"), ("a.c", "known kernel bug"), ("a.d", "skip: x_y")];
        let cases = cases.map(|(case, why)| (case.to_owned(), why.to_owned()));
        assert_eq!(not_tried(&BTreeMap::from(cases)), "- `a.c`: known kernel bug\n- `a.b`, `a.d`: skip: x\\_y\n");
    }
}
