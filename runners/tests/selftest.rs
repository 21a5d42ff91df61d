//! The harness on deliberately bad cases, with golden output: whatever a case does to itself, its
//! processes, its supervisor or the machine, its verdict is the right one and the run goes on.
//!
//! After an intended change: `SNAPSHOTS=overwrite cargo test -p runners --test selftest`.

mod driver;

use snapbox::{assert_data_eq, file};

fn run(arguments: &[&str]) -> (String, Option<i32>) {
    let output = driver::run(&[&["selftest", "--seed", "1"], arguments].concat());
    (driver::text(&output), output.status.code())
}

/// Takes out what differs from run to run and from machine to machine.
fn normalised(report: &str) -> String {
    report
        .lines()
        // The head tells of the machine; where a hanging process stands depends on its kernel.
        .filter(|line| !line.starts_with("# ") || line.contains(" passed, "))
        .filter(|line| !line.contains("hanging process"))
        .map(without_pids)
        .map(|line| line + "\n")
        .collect()
}

/// Replaces process IDs, and the command line that a leaked process is named by.
fn without_pids(line: &str) -> String {
    let mut line = line.to_owned();
    for (before, after) in [("Pid(", ")"), ("process ", " (")] {
        if let Some(start) = line.find(before).map(|at| at + before.len())
            && let Some(length) = line[start..].find(after)
            && line[start..start + length].bytes().all(|b| b.is_ascii_digit())
        {
            line.replace_range(start..start + length, "PID");
        }
    }
    if let Some(start) = line.find("process PID (")
        && let Some(end) = line.rfind(')')
    {
        line.replace_range(start + "process PID (".len()..end, "…");
    }
    line
}

#[test]
fn every_bad_case_gets_the_verdict_it_deserves() {
    let (report, status) = run(&["--format", "tap", "--jobs", "1"]);
    assert_eq!(status, Some(1), "{report}");
    assert_data_eq!(normalised(&report), file!["golden/selftest.tap"]);
}

#[test]
fn two_supervisors_say_the_same_as_one() {
    let (one, _) = run(&["--format", "tap", "--jobs", "1"]);
    let (two, _) = run(&["--format", "tap", "--jobs", "2"]);
    assert_eq!(normalised(&one), normalised(&two));
}

#[test]
fn ktap_says_it_in_the_kernels_dialect() {
    let (report, _) = run(&["--format", "ktap", "--jobs", "1"]);
    let results: Vec<&str> =
        report.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).collect();
    assert_data_eq!(normalised(&results.join("\n")), file!["golden/selftest.ktap"]);
}

#[test]
fn people_are_told_what_failed_and_what_to_type_next() {
    let (report, _) = run(&["--format", "pretty", "--jobs", "1", "selftest.fail", "selftest.pass"]);
    let report: String = report
        .lines()
        .skip_while(|line| !line.is_empty())
        .map(|line| match line.strip_suffix(" s").and_then(|line| line.rsplit_once(' ')) {
            // Durations differ.
            Some((text, _)) => format!("{text} … s\n"),
            None => format!("{line}\n"),
        })
        .collect();
    assert_data_eq!(report, file!["golden/selftest.pretty"]);
}

#[test]
fn each_kind_of_ending_has_its_exit_status_and_words() {
    for (arguments, expected, told) in [
        (&["selftest.pass"][..], 0, ""),
        (&["selftest.fail"], 1, ""),
        (&["selftest.hang", "--timeout", "50ms"], 1, "timed out after 0.05 s"),
        (&["selftest.skip"], 125, ""),
        (&["selftest.no_check"], 125, ""),
        (&["selftest.exit_0_early"], 125, ""),
        (&["selftest.pass", "selftest.skip", "--strict"], 1, ""),
        // Repetitions are told as one result.
        (&["selftest.fail", "--repeat", "3"], 1, "fail in 3 of 3 repetitions, first in repetition 1"),
    ] {
        let (report, status) = run(&[&["--exact", "--format", "tap"], arguments].concat());
        assert_eq!(status, Some(expected), "{arguments:?}\n{report}");
        assert!(report.contains(told) && report.matches("not ok").count() < 2, "{report}");
    }
}

#[test]
fn a_run_stops_after_its_first_failures() {
    let cases =
        ["selftest.pass", "selftest.fail", "selftest.fail_in_grandchild", "selftest.hang", "--exact", "--jobs", "1"];
    for (option, stopped) in [("--fail-fast=1", 2), ("--fail-fast", 2), ("--fail-fast=2", 1), ("--fail-fast=9", 0)] {
        let more = [option, "--order", "as-listed", "--timeout", "50ms", "--format", "tap"];
        let (report, status) = run(&[&cases[..], &more].concat());
        assert_eq!(status, Some(1), "{report}");
        assert!(report.contains("1..4") && report.matches("ok ").count() >= 4, "{report}");
        let told = report.matches("# SKIP not run: stopped after a failure").count();
        assert_eq!(told, stopped, "{option}\n{report}");
    }
    let (_, status) = run(&["selftest.pass", "--exact", "--fail-fast"]);
    assert_eq!(status, Some(0));
    // One case that fails twice is one failure.
    let (report, _) = run(&[&cases[..], &["--fail-fast=2", "--order", "as-listed", "--repeat", "2"]].concat());
    assert_eq!(report.matches("\nnot ok ").count(), 2, "{report}");
}

#[test]
fn a_run_that_skipped_much_says_so_in_its_last_line() {
    let skipped = "1 of 2 cases were skipped: 1 × there is no moon tonight";
    for (format, line) in
        [("tap", format!("# {skipped}")), ("ktap", format!("# {skipped}")), ("pretty", skipped.into())]
    {
        let selected = ["selftest.pass", "selftest.skip", "--exact", "--format", format];
        let (report, status) = run(&selected);
        assert_eq!((report.lines().last(), status), (Some(line.as_str()), Some(0)), "{report}");
        // A quarter is not worth a line.
        let more = ["selftest.private_directory_vanishes", "selftest.survives_all_that"];
        let (report, status) = run(&[&selected[..], &more].concat());
        assert!(!report.contains("were skipped:") && status == Some(0), "{report}");
    }
}
