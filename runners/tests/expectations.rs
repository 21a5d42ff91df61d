//! `--expectations`: what a user expects of a kernel, and what a run says when it comes out otherwise.

mod driver;

use driver::*;

/// A case that passes everywhere.
const PASSES: &str = "flags.zero.shared";

/// One that skips itself, and two that fail, of the harness's own bad cases.
const BAD: [&str; 4] = ["selftest.pass", "selftest.skip", "selftest.fail", "selftest.abort"];

fn entry(rest: &str) -> String {
    format!("[[expect]]\nreason = \"why not\"\n{rest}\n")
}

/// Runs bad cases with a file of these entries and further options, checks the exit status, and gives the report.
fn bad(status: i32, entries: &str, more: &[&str]) -> String {
    let place = Place::new();
    let file = place.write("f.toml", entries);
    let arguments = [&["selftest", "--exact", "--format", "tap", "--expectations", &file], more, &BAD].concat();
    text(&exits(status, &arguments)).replace(&file, "f.toml")
}

#[test]
fn what_comes_out_as_expected_is_known() {
    let both = entry("cases = \"selftest.fail\"\nlink = \"there\"")
        + &entry("cases = \"selftest.ab*\"\nstatus = [\"broken\", \"fail\"]");
    let report = bad(0, &both, &[]);
    assert!(report.contains("selftest.fail # TODO f.toml:1 expects fail: why not (there)"), "{report}");
    assert!(report.contains("2 known kernel bugs"), "{report}");
    // Under --strict a skip has to be expected, too.
    let report = bad(1, &both, &["--strict"]);
    assert!(
        report.contains("# 1 case did not pass as it should, and no entry expects it: selftest.skip\n"),
        "{report}"
    );
    let all = both + &entry("cases = \"selftest.skip\"\nstatus = \"skip\"");
    let report = bad(0, &all, &["--strict"]);
    assert!(report.contains("selftest.skip # SKIP there is no moon tonight"), "{report}");
}

#[test]
fn what_no_entry_expects_is_named() {
    let report = bad(1, &entry("cases = \"selftest.abort\"\nstatus = [\"broken\", \"fail\"]"), &[]);
    assert!(report.contains("# 1 case went wrong, and no entry expects it: selftest.fail\n"), "{report}");
    // By another requirement than the entry's, which is that of its first check.
    let one = entry("cases = \"selftest.fail\"\nrequirement = \"SELF-01\"");
    let report = bad(1, &one, &[]);
    assert!(report.contains("no entry expects it: selftest.fail, selftest.abort\n"), "{report}");
}

#[test]
fn a_pass_against_an_entry_fails_the_run() {
    let place = Place::new();
    let file = place.write("f.toml", entry(&format!("cases = \"{PASSES}\"")));
    let told = "f.toml:1 expects fail, but flags.zero.shared passed: take what passes out of the entry";
    for (format, expected) in [
        ("tap", "not ok 1 - flags.zero.shared"),
        ("tap14", "not ok 1 - flags"),
        ("ktap", "not ok 1 flags.zero.shared"),
        ("junit", "type=\"unexpected pass\""),
        ("json", "\"outcome\":\"unexpected_pass\""),
        ("lava", "RESULT=fail"),
        ("pretty", "this kernel is not as expected"),
    ] {
        let output = exits(1, &["--exact", PASSES, "--expectations", &file, "--format", format]);
        let report = text(&output);
        assert!(report.contains(told) && report.contains(expected), "{format}: {report}");
    }
    // A flaky case may pass, and an exception has to.
    for status in ["[\"fail\", \"pass\"]", "\"pass\""] {
        let file = place.write("g.toml", entry(&format!("cases = \"{PASSES}\"\nstatus = {status}")));
        exits(0, &["--exact", PASSES, "--expectations", &file]);
    }
}

#[test]
fn an_entry_that_has_expired_excuses_nothing() {
    let expired = |until: &str| {
        entry("cases = \"selftest.abort\"\nstatus = [\"broken\", \"fail\"]")
            + &entry(&format!("cases = \"selftest.fail\"\nuntil = \"{until}\""))
    };
    let report = bad(1, &expired("2026-01-31"), &[]);
    assert!(report.contains("# f.toml:5 has expired on 2026-01-31 and excuses nothing: why not\n"), "{report}");
    assert!(report.contains("no entry expects it: selftest.fail\n"), "{report}");
    bad(0, &expired("9999-12-31"), &[]);
}

#[test]
fn what_an_entry_names_must_exist() {
    let place = Place::new();
    for (rest, expected) in [
        ("cases = \"no.such\"", "f.toml:1: \"no.such\" names no case of this version"),
        ("cases = \"flags\"", "end it in a dot (flags.)"),
        ("requirement = \"EFF-99\"", "f.toml:1: \"EFF-99\" is no requirement of this version"),
        ("cases = \"flags.\"\nstatus = \"failed\"", "unknown variant `failed`"),
        ("", "f.toml:1: an entry must name cases"),
    ] {
        let file = place.write("f.toml", entry(rest));
        for command in [&["--exact", PASSES][..], &["matrix", "--kernel", "/dev/null", PASSES]] {
            expect(&[command, &["--expectations", &file]].concat(), 129, expected);
        }
    }
    expect(&["--exact", PASSES, "--expectations", "/no/such"], 129, "cannot read /no/such");
    // Of the cases that it names none need be selected.
    let file = place.write("f.toml", entry("cases = \"separation.\""));
    exits(0, &["--exact", PASSES, "--expectations", &file]);
}

#[test]
fn a_run_writes_what_it_calls_for() {
    let place = Place::new();
    let (file, results) = (place.file("f.toml"), place.file("results.json"));
    let json = format!("json={results}");
    // But for a case that cites a requirement which no case of the harness proves.
    let bad = ["selftest", "--seed", "1", "--skip", "selftest.fail"];
    let run = |status: i32, more: &[&str]| exits(status, &[&bad, more].concat());
    run(1, &["--write-expectations", &file, "--output", &json]);
    let written = place.read("f.toml");
    assert!(written.contains("reason = \"to be looked at: one: expected 2, got 1\""), "{written}");
    assert!(!written.contains("selftest.pass\"") && !written.contains("selftest.skip\""), "{written}");
    // The same run with it is as expected; it is not replaced unasked; what still holds stays.
    run(0, &["--expectations", &file]);
    let output = run(129, &["--write-expectations", &file]);
    assert!(errors(&output).contains("exists: give --expectations"), "{}", errors(&output));
    let by_hand = written.replace("to be looked at: one: expected 2, got 1", "known");
    place.write("f.toml", by_hand.clone() + &entry("cases = [\"selftest.pass\", \"no.such\"]"));
    run(1, &["--expectations", &file, "--write-expectations", &file]);
    assert_eq!(place.read("f.toml"), by_hand);
    // Without running again.
    let again = place.file("g.toml");
    exits(1, &["merge", &results, "--write-expectations", &again]);
    assert_eq!(place.read("g.toml"), written);
}

#[test]
fn a_requirement_that_nothing_violates_is_out_of_date() {
    let place = Place::new();
    // One case proves the first, and several the second.
    let told = "expects fail, but every case that proves FLAG-43 passed: take the entry out";
    let file = place.write("f.toml", entry("requirement = \"FLAG-43\"") + &entry("requirement = \"RET-02\""));
    for format in ["tap", "pretty", "json"] {
        let output = exits(1, &["--exact", "flags.sign_bit", "--expectations", &file, "--format", format]);
        assert!(text(&output).contains(told) && !text(&output).contains("RET-02 passed"), "{}", text(&output));
    }
    // Another case than those that were run may violate it.
    let file = place.write("f.toml", entry("requirement = \"RET-02\""));
    exits(0, &["--exact", "flags.repeat.nothing_shared.fs", "--expectations", &file]);
}
