//! Reports read by programs that others wrote.

mod driver;

use driver::*;

/// Test::Harness reads a report and gives its own summary and exit status.
fn prove(report: &[u8]) -> (String, bool) {
    let place = Place::new();
    let file = place.write("report.tap", report);
    let output = Command::new("prove").args(["--exec", "cat", &file]).output();
    let output = output.expect("prove is installed (Debian: perl)");
    (text(&output), output.status.success())
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
