//! Kernels side by side as one page: requirements × kernels, with all that is known of each failure.
//!
//! One file with nothing outside it: no script, no font, no picture that is fetched. It follows the
//! reader's light or dark setting, everything opens by keyboard, and every colour has a word beside it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::flag_space::{FlagSpace, HEIGHT, WIDTH};
use super::row::{Conclusion, Row};
use crate::catalogue::coverage::kind;
use crate::prelude::*;
use crate::results::read::Judged;
use crate::run::host::PROGRAM;

const STYLE: &str = include_str!("style.css");

/// How much of a console is shown: its end, where the cause is.
const CONSOLE_LINES: usize = 60;

/// How a requirement came out on a kernel. The worst of its cases counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    NotRun,
    Skip,
    Pass,
    Known,
    Broken,
    Timeout,
    Fail,
}

impl Mark {
    fn of(verdict: &Verdict, outcome: &Outcome) -> Self {
        match (outcome, verdict.status) {
            (Outcome::KnownBug { .. }, _) => Mark::Known,
            (Outcome::UnexpectedPass { .. }, _) | (_, Status::Fail) => Mark::Fail,
            (_, Status::Pass) => Mark::Pass,
            (_, Status::Skip) => Mark::Skip,
            (_, Status::TimedOut) => Mark::Timeout,
            (_, Status::Broken) => Mark::Broken,
        }
    }

    /// The class of its cell, its sign, and its word.
    fn shown(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Mark::NotRun => ("none", "·", "no case"),
            Mark::Skip => ("skip", "–", "skipped"),
            Mark::Pass => ("pass", "✓", "pass"),
            Mark::Known => ("known", "!", "known bug"),
            Mark::Broken => ("broken", "?", "broken"),
            Mark::Timeout => ("timeout", "✗", "timed out"),
            Mark::Fail => ("fail", "✗", "fail"),
        }
    }
}

/// The page.
pub fn page(rows: &[Row], seed: u64, tier: &str) -> String {
    let title = match rows {
        [row] => format!("unshare(2) of Linux {}", named(row)),
        rows => format!("unshare(2) of {} kernels", rows.len()),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    p.legend { (PROGRAM) ", tier " (tier) ", seed " (seed) }
                    (summary(rows))
                    (heat_map(rows))
                    @for (number, row) in rows.iter().enumerate() { (kernel(number, row)) }
                }
            }
        }
    }
    .into_string()
}

fn named(row: &Row) -> &str {
    row.release.as_deref().unwrap_or(&row.kernel)
}

fn summary(rows: &[Row]) -> Markup {
    let slowest = rows.iter().map(|row| row.elapsed).max().unwrap_or_default();
    html! {
        h2 id="kernels" { "Kernels" }
        div.wide { table {
            thead { tr {
                @for head in ["kernel", "verdict", "passed", "failed", "timed out", "broken", "known bugs", "skipped", "time"] {
                    th scope="col" { (head) }
                }
                th scope="col" { "time by group" }
            } }
            tbody { @for (number, row) in rows.iter().enumerate() {
                @let total = row.total();
                tr {
                    th scope="row" { a href={ "#kernel-" (number) } { (named(row)) } @if let Some(guest) = row.accelerator { " (" @if let Some(architecture) = row.foreign() { (architecture) ", " } (guest) ")" } }
                    td class=(class_of(row.conclusion())) { (row.conclusion().words()) }
                    @for count in [total.passed + total.unexpected_passes, total.failed, total.timed_out, total.broken, total.known_bugs, total.skipped] {
                        td.cell { (count) }
                    }
                    td.cell { (format!("{:.1} s", row.elapsed.as_secs_f64())) }
                    td { (timing(row, slowest.as_secs_f64())) }
                }
            } }
        } }
    }
}

fn class_of(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Conforms => "pass",
        Conclusion::DoesNotConform => "fail",
        _ => "known",
    }
}

/// A bar as long as the run took, in parts as long as the groups did.
fn timing(row: &Row, slowest: f64) -> Markup {
    let sum: u64 = row.groups.values().map(|group| group.milliseconds).sum();
    let scale = row.elapsed.as_secs_f64() / slowest.max(0.001) * 1000.0 / (sum.max(1) as f64);
    let parts: Vec<_> = row
        .groups
        .iter()
        .scan(0.0, |end, (name, group)| {
            let (from, width) = (*end, group.milliseconds as f64 * scale);
            *end += width;
            Some((name, group.seconds(), from, width))
        })
        .collect();
    let label: Vec<_> = parts.iter().map(|(name, seconds, ..)| format!("{name} {seconds}")).collect();
    // The bar of a guest that was lost before its first case is empty, and has a text all the same.
    let label = if label.is_empty() { "no case ran".to_owned() } else { label.join(", ") };
    html! {
        svg.bar role="img" aria-label=(label) viewBox="0 0 1000 14" preserveAspectRatio="none" {
            @for (index, (name, seconds, from, width)) in parts.iter().enumerate() {
                rect x=(from) width=(width) y="0" height="14" opacity=(0.35 + 0.5 * (index % 2) as f64) {
                    title { (name) ": " (seconds) }
                }
            }
        }
    }
}

/// The mark of each requirement on one kernel, and the first case that says so.
fn marks(row: &Row) -> BTreeMap<&str, (Mark, usize)> {
    let mut marks = BTreeMap::new();
    for (index, case, (verdict, outcome)) in row.judged() {
        let mark = Mark::of(verdict, outcome);
        let failed = verdict.failed.iter().flat_map(|check| check.requirement.split(", "));
        // A failed check may contradict another requirement than those its case is there for.
        let is_meant =
            |id: &&str| mark != Mark::Fail || verdict.failed.is_empty() || failed.clone().any(|failed| failed == *id);
        for id in case.proves.iter().map(|id| &**id).filter(is_meant).chain(failed.clone()) {
            let worst = marks.entry(id).or_insert((Mark::NotRun, index));
            if worst.0 < mark {
                *worst = (mark, index);
            }
        }
    }
    marks
}

fn heat_map(rows: &[Row]) -> Markup {
    let marks: Vec<_> = rows.iter().map(marks).collect();
    html! {
        h2 id="requirements" { "Requirements" }
        p.legend {
            "The worst case of a requirement counts. "
            @for mark in [Mark::Pass, Mark::Fail, Mark::Timeout, Mark::Known, Mark::Broken, Mark::Skip, Mark::NotRun] {
                @let (class, sign, word) = mark.shown();
                span class=(class) { (sign) " " (word) } " "
            }
        }
        @for list in requirements::all().chunk_by(|one, next| kind(one) == kind(next)) {
            @let bad = list.iter().any(|requirement| marks.iter().any(|marks| marks.get(&*requirement.id).is_some_and(|(mark, _)| *mark >= Mark::Known)));
            details open[bad] {
                summary { strong { (kind(&list[0])) } " " (list.len()) " requirements" @for (row, marks) in rows.iter().zip(&marks) { (tally(named(row), list, marks)) } }
                div.wide { table {
                    thead { tr { th scope="col" { "requirement" } @for row in rows { th scope="col" { (named(row)) } } th scope="col" { "claim" } } }
                    tbody { @for requirement in list {
                        tr {
                            th scope="row" { (requirement.id) }
                            @for (number, marks) in marks.iter().enumerate() { (cell(number, marks.get(&*requirement.id).copied())) }
                            td { (requirement.claim) }
                        }
                    } }
                } }
            }
        }
    }
}

/// What a closed area says of a kernel: nothing when all is well.
fn tally(kernel: &str, list: &[Requirement], marks: &BTreeMap<&str, (Mark, usize)>) -> Markup {
    let mut counts: BTreeMap<Mark, usize> = BTreeMap::new();
    for requirement in list {
        if let Some((mark, _)) = marks.get(&*requirement.id) {
            *counts.entry(*mark).or_default() += 1;
        }
    }
    html! {
        @for (mark, count) in counts.iter().rev().filter(|(mark, _)| **mark >= Mark::Known) {
            @let (class, sign, word) = mark.shown();
            " · " span class=(class) { (kernel) ": " (sign) " " (count) " " (word) }
        }
    }
}

fn cell(number: usize, mark: Option<(Mark, usize)>) -> Markup {
    let (mark, case) = mark.unwrap_or((Mark::NotRun, 0));
    let (class, sign, word) = mark.shown();
    html! {
        td class={ "cell " (class) } {
            @if mark >= Mark::Known { a href={ "#case-" (number) "-" (case) } { (sign) " " (word) } }
            @else { (sign) " " (word) }
        }
    }
}

fn kernel(number: usize, row: &Row) -> Markup {
    html! {
        h2 id={ "kernel-" (number) } { (named(row)) }
        p { span class=(class_of(row.conclusion())) { (row.conclusion().words()) } @if row.release.as_deref() != Some(&row.kernel) { ", given as " code { (row.kernel) } } }
        @if let Some(why) = &row.why { p { (why) } }
        @for (bug, cases) in &row.known_bugs { p { span.known { "known bug" } ", found by " (counted(*cases)) ": " (bug) } }
        @for (index, case, judged) in row.judged() { (failure(number, index, case, judged)) }
        (space(row))
        @if row.conclusion() != Conclusion::Conforms { (console(row)) }
    }
}

/// What is known of a case; nothing when all is well.
fn failure(number: usize, index: usize, case: &CaseInfo, (verdict, outcome): &Judged) -> Markup {
    let mark = Mark::of(verdict, outcome);
    if mark < Mark::Known {
        return html! {};
    }
    let (class, _, word) = mark.shown();
    let cited: Vec<_> = verdict.failed.iter().flat_map(|check| check.requirement.split(", ")).collect();
    let mut rows: Vec<_> = cited.iter().filter_map(|id| requirements::find(id)).collect();
    rows.dedup_by_key(|requirement| &requirement.id);
    html! {
        details id={ "case-" (number) "-" (index) } {
            summary { span class=(class) { (word) } " " code { (case.name) } @if let Some(check) = verdict.failed.first() { ": " (check.call) ": expected " (check.expected) ", got " (check.actual) } @else { ": " (verdict.reason) } }
            p { (case.about) }
            @if let Outcome::KnownBug { bug, .. } | Outcome::UnexpectedPass { bug, .. } = outcome { p { (bug) } }
            @for check in &verdict.failed {
                dl {
                    dt { "call" } dd { code { (check.call) } }
                    dt { "expected" } dd { (check.expected) }
                    dt { "actual" } dd { (check.actual) }
                    @if let Some(task) = &check.task { dt { "seen by" } dd { (task) } }
                    dt { "requirement" } dd { (check.requirement) }
                    dt { "at" } dd { code { (check.at) } }
                }
            }
            @for note in &verdict.notes { @if note.contains('\n') { pre { (note) } } @else { p { (note) } } }
            dl {
                @for requirement in &rows { dt { (requirement.id) } dd { (requirement.claim) br; span.legend { (requirement.source) } } }
                dt { "source" } dd { (case.source) }
                @if let Some(affair) = verdict.affair { dt { "concerns" } dd { (affair.words()) } }
            }
        }
    }
}

/// The space of flags as the sweeps saw it.
fn space(row: &Row) -> Markup {
    let sweeps = row.judged().filter(|(_, case, _)| case.name.starts_with("sweep."));
    let failed = sweeps.flat_map(|(.., (verdict, _))| &verdict.failed);
    let sets = failed.filter_map(|check| {
        let (_, rest) = check.call.split_once("unshare(")?;
        Flags::parse(rest.split_once(')')?.0)
    });
    let Some(space) = FlagSpace::of(sets) else {
        return html! {};
    };
    let (disagreeing, all) = space.share();
    let smallest: Vec<_> = space.smallest().map(|flags| flags.to_string()).collect();
    let text = format!("{disagreeing} of {all} flag sets contain a minimal reproducer: {}", smallest.join("; "));
    let size = format!("0 0 {WIDTH} {HEIGHT}");
    let (columns, lines) = FlagSpace::axes();
    let list = |flags: &[Flags]| flags.iter().map(Flags::to_string).collect::<Vec<_>>().join(", ");
    html! {
        h3 { "Where the sweeps disagree with the model" }
        figure {
            svg.flags role="img" aria-label=(text) width="512" height="256" viewBox=(size) preserveAspectRatio="none" {
                path d=(space.path()) {}
            }
            figcaption { (text) ". Each point is one set of flags. Columns, fastest first: " (list(columns)) "; rows: " (list(lines)) "." }
        }
    }
}

fn console(row: &Row) -> Markup {
    let Some(bytes) = row.console.as_ref().and_then(|path| std::fs::read(path).ok()) else {
        return html! {};
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
    let text = tail.join("\n").replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
    html! {
        details { summary { "End of the console (" (tail.len()) " of " (lines.len()) " lines)" } pre tabindex="0" { (text) } }
    }
}

#[cfg(test)]
mod tests;
