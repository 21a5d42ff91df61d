//! Reports read by programs that others wrote.

mod driver;

use std::process::Command;

use driver::run;

/// Test::Harness reads a report and gives its own summary and exit status.
fn prove(report: &[u8]) -> (String, bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.tap");
    std::fs::write(&file, report).expect("written");
    let output =
        Command::new("prove").args(["--exec", "cat"]).arg(&file).output().expect("prove is installed (Debian: perl)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.success())
}

#[test]
fn prove_takes_a_good_run_for_good() {
    for format in ["tap", "ktap"] {
        let (text, good) = prove(&run(&["flags.", "--format", format]).stdout);
        assert!(good && text.contains("Result: PASS"), "{format}: {text}");
    }
}

#[test]
fn prove_takes_a_bad_run_for_bad_and_counts_the_same() {
    let report = run(&["selftest", "--format", "tap"]).stdout;
    let (text, good) = prove(&report);
    let failed = String::from_utf8_lossy(&report).lines().filter(|line| line.starts_with("not ok")).count();
    assert!(!good && text.contains(&format!("Failed: {failed})")), "{text}");
}
