//! A matrix of faults as text and as a Markdown document.

use std::ops::RangeInclusive;

use super::caught::{Caught, Row, some_of};
use crate::prelude::*;

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
    for line in caught.not_shown() {
        let _ = writeln!(text, "{line}");
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
    let mut document = Document::default();
    document
        .heading(1, "Faults that the suite notices")
        .paragraph("<!-- Written by `unshare-conformance faults matrix --markdown docs/faults.md`. -->")
        .paragraph(
            "Each fault is a stand-in for a broken kernel: a seccomp filter traps every unshare(2) that a case makes, \
             and a handler in the calling task answers as such a kernel would (`suite/src/fault`). A case notices a \
             fault when it fails; a case that is broken or does not end does not notice it.",
        )
        .paragraph(format!(
            "{}, {}. {}{}.",
            caught.kernel,
            caught.date,
            figures(caught),
            if caught.complete { "" } else { "; pairs that prove nothing new were left out" }
        ))
        .table(
            ["fault", "what the kernel does", "breaks", "noticed by:", "for example"],
            caught.rows.iter().filter(|row| !row.fault.harmless).map(|row| {
                let (fault, by) = (row.fault, row.caught_by.len().to_string());
                [code(&fault.name), fault.about.to_string(), fault.breaks.join(", "), by, examples(row)]
            }),
        )
        .heading(2, "How many cases notice a fault")
        .table(["cases", "faults:", "which"], spread(caught))
        .heading(2, "No fault, no failure")
        .paragraph("Under these every verdict is the one without them.")
        .table(
            ["stand-in", "what the kernel does", "cases:", "other verdicts:"],
            caught.rows.iter().filter(|row| row.fault.harmless).map(|row| {
                let (name, about) = (code(&row.fault.name), row.fault.about.to_string());
                [name, about, row.tried.to_string(), row.changed.len().to_string()]
            }),
        )
        .heading(2, "Good kernels");
    if declared.good_runs.is_empty() {
        document.paragraph("No runs are recorded (`good_runs` in `suite/faults.toml`).");
    } else {
        let runs = declared.good_runs.iter();
        document.table(
            ["kernel", "where", "cases run:", "failed:"],
            runs.map(|run| [run.kernel.clone(), run.place.clone(), run.cases.to_string(), run.failed.to_string()]),
        );
    }
    let impossible = declared.impossible.iter();
    let left_out = declared.left_out.iter().map(|entry| (&entry.cases, &entry.reason, &entry.instead));
    let uncaught = declared.uncaught.iter().map(|entry| (&entry.cases, &entry.reason, &entry.instead));
    document
        .heading(2, "What cannot be simulated, and what covers it")
        .table(
            ["fault", "why not", "instead"],
            impossible.map(|entry| [entry.fault.clone(), entry.reason.clone(), entry.instead.clone()]),
        )
        .heading(2, "Cases that no stand-in makes fail")
        .table(
            ["cases", "why", "instead"],
            left_out.chain(uncaught).map(|(cases, why, instead)| [code(cases), why.clone(), instead.clone()]),
        );
    if !declared.unnoticed.is_empty() {
        let rows = declared.unnoticed.iter().map(|entry| [code(&entry.fault), entry.reason.clone()]);
        document.heading(2, "Faults that no case notices here").table(["fault", "why"], rows);
    }
    for (heading, lines) in [
        ("Known gaps", caught.complaints()),
        ("Not shown by these cases and faults", caught.not_shown().iter().map(|line| escaped(line)).collect()),
    ] {
        if !lines.is_empty() {
            document.heading(2, heading).list(lines);
        }
    }
    document.heading(2, "Cases that could not be tried on this kernel").list(not_tried(&caught.not_passing));
    document.finish()
}

/// How many faults are noticed by how many cases; the names of those that few notice.
fn spread(caught: &Caught) -> Vec<[String; 3]> {
    let bins = [
        ("none", 0..=0),
        ("1 or 2", 1..=2),
        ("3 to 9", 3..=9),
        ("10 to 99", 10..=99),
        ("100 and more", 100..=usize::MAX),
    ];
    let row = |(text, range): (&str, RangeInclusive<usize>)| {
        let faults = caught.rows.iter().filter(|row| !row.fault.harmless && range.contains(&row.caught_by.len()));
        let names: Vec<_> = faults.map(|row| code(&row.fault.name)).collect();
        let shown = if *range.end() < 10 { names.join(", ") } else { String::new() };
        [text.to_owned(), names.len().to_string(), shown]
    };
    bins.map(row).into()
}

/// Cases by the reason why they could not be tried.
fn not_tried(cases: &BTreeMap<String, String>) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (case, reason) in cases {
        by_reason.entry(reason).or_default().push(code(case));
    }
    let line = |(reason, cases): (&str, Vec<String>)| format!("{}: {}", some_of(&cases), escaped(reason));
    by_reason.into_iter().map(line).collect()
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
    let shown: Vec<_> = groups
        .iter()
        .take(3)
        .map(|(case, count)| match count {
            1 => code(case),
            more => format!("`{case}` and {} of its group", more - 1),
        })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_could_not_be_tried_is_named_with_the_reason() {
        let cases = [("a.b", "skip: x_y"), ("a.c", "known kernel bug"), ("a.d", "skip: x_y")];
        let cases = cases.map(|(case, why)| (case.to_owned(), why.to_owned()));
        assert_eq!(not_tried(&BTreeMap::from(cases)), ["`a.c`: known kernel bug", "`a.b`, `a.d`: skip: x\\_y"]);
    }
}
