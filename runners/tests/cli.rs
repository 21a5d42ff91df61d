//! The command line: what it refuses, with which words and which exit status.

mod driver;

use std::io::Read;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use driver::{PROGRAM, errors, expect, processes, run, text, wait_for};

#[test]
fn a_wrong_command_line_stops_a_bisection() {
    for arguments in [
        &["--no-such-option"][..],
        &["--format", "xml"],
        &["--jobs", "0"],
        &["--repeat", "0"],
        &["--timeout", "soon"],
        &["--output", "results.json"],
        &["--output", "json="],
        &[""],
        &["flags.", ""],
        &["flags.", "--skip", ""],
        &["list", ""],
        &["coverage", ""],
        &["--timeout", "0s"],
        &["--duration", "0s"],
        &["--silence", "0ms"],
        &["--boot-patience", "0s"],
        &["faults", "matrix", "--timeout", "0s"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(129), "{arguments:?}");
        assert!(!errors(&output).is_empty());
    }
}

#[test]
fn help_and_version_succeed() {
    expect(&["--help"], 0, "Exit status");
    expect(&["--version"], 0, "unshare-conformance");
}

#[test]
fn a_filter_that_matches_nothing_says_what_does() {
    expect(&["flagz"], 125, "no case matches [\"flagz\"]; `unshare-conformance list` shows all cases");
}

#[test]
fn every_filter_matches_something() {
    for arguments in [
        &["--exact", "flags.zero.shared", "no.such"][..],
        &["flags.zero", "no.such"],
        &["list", "flags.zero", "no.such", "--skip", "flags."],
        &["image", "-o", "/dev/null", "flags.zero", "no.such"],
        &["matrix", "--kernel", "/dev/null", "flags.zero", "no.such"],
        &["faults", "matrix", "flags.zero", "no.such"],
    ] {
        expect(arguments, 125, "no case matches [\"no.such\"]");
    }
}

#[test]
fn cases_that_are_all_skipped_were_found() {
    expect(&["list", "flags.", "--skip", "flags."], 125, "--skip [\"flags.\"] leaves none");
}

#[test]
fn a_report_that_cannot_be_created_is_named() {
    for path in ["/nonexistent/x.json", "/tmp", "/dev/null/x"] {
        expect(&["--exact", "flags.root.09_fs", "--output", &format!("json={path}")], 129, path);
    }
}

#[test]
fn two_reports_in_one_file_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.out");
    for other in ["a.out", "./a.out"] {
        let output = Command::new(PROGRAM)
            .current_dir(&directory)
            .args(["flags.root.09_fs", "--output", "json=a.out"])
            .args(["--output", &format!("tap={other}")])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(129), "{other}");
        assert!(errors(&output).contains("a.out: give each"), "{}", errors(&output));
        assert!(!path.exists());
    }
}

#[test]
fn a_full_disk_is_no_verdict() {
    expect(&["flags.root", "--output", "json=/dev/full"], 125, "/dev/full");
}

#[test]
fn what_the_system_said_is_told_once() {
    let output = run(&["image", "--output", "/dev/full"]);
    assert_eq!(output.status.code(), Some(125));
    let image = errors(&output);
    let output = run(&["--kernel", "/proc/self/mem", "flags.root.09_fs"]);
    assert_eq!(output.status.code(), Some(129));
    let kernel = errors(&output);
    let output = Command::new(PROGRAM)
        .args(["kernels", "list"])
        .env("XDG_CACHE_HOME", "/dev/null/cache")
        .output()
        .expect("the program runs");
    let cache = errors(&output);
    for (said, expected) in [
        (image, "(free space there or choose another place): No space"),
        (kernel, "/proc/self/mem cannot be read"),
        (cache, "XDG_CACHE_HOME to another place): Not a directory"),
    ] {
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.matches("(os error ").count(), 1, "{said}");
    }
}

#[test]
fn a_closed_pipe_is_no_verdict_and_is_told_of() {
    let mut child = Command::new(PROGRAM)
        .args(["flags.", "--format", "tap"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut first = [0; 4];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("TAP begins");
    let output = child.wait_with_output().expect("it ends");
    assert_closed_is_told(&output);
}

#[test]
fn results_that_nobody_reads_to_their_end_are_told_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("full.json");
    let file = path.to_str().expect("UTF-8");
    let output = run(&["flags.root.09_fs", "--output", &format!("json={file}")]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    for arguments in [&["merge", file][..], &["list"], &["coverage"]] {
        // Nobody reads: the other end is closed before the program begins.
        let (_, closed) = std::io::pipe().expect("a pipe");
        let output = Command::new(PROGRAM)
            .args(arguments)
            .stdout(closed)
            .stderr(Stdio::piped())
            .output()
            .expect("the program runs");
        assert_closed_is_told(&output);
    }
}

fn assert_closed_is_told(output: &Output) {
    let errors = errors(output);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    let told = "standard output was closed before all was written";
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(told), "{errors}");
}

#[test]
fn further_reports_are_written_beside_standard_output() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("results.json");
    let output =
        run(&["--exact", "flags.root.09_fs", "--format", "tap", "--output", &format!("json={}", path.display())]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let lines = std::fs::read_to_string(path).expect("the report is there");
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(events.first().expect("a first line")["schema"], 1);
    assert_eq!(events.last().expect("a last line")["event"], "run_finished");
}

#[test]
fn a_seed_is_reported_and_taken() {
    expect(&["--exact", "flags.root.09_fs", "--format", "tap", "--seed", "77"], 0, "# seed 77");
}

/// A run that hangs, soon after its start.
fn hanging(timeout: &str) -> (Child, ChildStdout) {
    let mut child = Command::new(PROGRAM)
        .args(["selftest", "--exact", "selftest.hang", "--timeout", timeout, "--format", "tap"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut [0; 16]).expect("TAP begins");
    // The case may or may not have begun; both must end well.
    std::thread::sleep(Duration::from_millis(50));
    (child, out)
}

#[test]
fn interrupted_runs_clean_up_and_say_so() {
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (mut child, mut out) = hanging("1h");
        kill(Pid::from_raw(child.id() as i32), signal).expect("it is running");
        let ended = child.wait().expect("it ends");
        assert_eq!(ended.code(), Some(status));
        let mut rest = String::new();
        // All that held the pipe open is gone, or this would never return.
        out.read_to_string(&mut rest).expect("UTF-8");
        assert!(rest.contains("Bail out!"), "{rest}");
    }
}

/// The TAP of a run that is interrupted after a while.
fn interrupted(after: Duration, arguments: &[&str]) -> String {
    let child = Command::new(PROGRAM)
        .args(arguments)
        .args(["--jobs", "1", "--format", "tap"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    std::thread::sleep(after);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it is running");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    text(&output)
}

#[test]
fn cases_that_an_interrupted_run_did_not_come_to_have_a_result() {
    let text =
        interrupted(Duration::from_millis(700), &["selftest", "selftest.hang", "selftest.pass", "--timeout", "1h"]);
    let plan = text.lines().find_map(|line| line.strip_prefix("1..")).and_then(|count| count.parse::<usize>().ok());
    let results = text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok "));
    assert_eq!(plan, Some(results.count()), "{text}");
    assert!(text.contains("interrupted by signal 2"), "{text}");
}

#[test]
fn what_a_long_run_found_before_it_was_interrupted_is_told() {
    let text = interrupted(Duration::from_millis(1500), &["flags.zero.shared", "--seed", "5", "--duration", "1h"]);
    assert!(text.contains("ok 1 - flags.zero.shared"), "{text}");
    assert!(text.contains("runs, seeds 5 to"), "{text}");
    assert!(text.contains("Bail out! interrupted"), "{text}");
}

#[test]
fn a_killed_run_leaves_no_process() {
    // A time that no other test gives: theirs run at the same time.
    const TIME: &str = "61m17s";
    let (mut child, _out) = hanging(TIME);
    child.kill().expect("it is running");
    child.wait().expect("it ends");
    // The kernel kills the supervisor and its case when their parent is gone, one after the other.
    wait_for("left running", || processes(TIME).is_empty().then_some(()));
}

#[test]
fn the_list_has_what_a_case_has() {
    let output = run(&["list", "--format", "json", "flags.root.09"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(list[0]["name"], "flags.root.09_fs");
    assert_eq!(list[0]["proves"][0], "FLAG-09");
}
