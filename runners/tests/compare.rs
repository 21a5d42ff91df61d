//! `compare` and `merge` on the results of real runs: what they say, and with which exit status.

mod driver;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use driver::{errors, expect, run, text};

/// The results of a run, in a file.
fn results(directory: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = directory.join(name);
    let output = format!("json={}", path.display());
    run(&[arguments, &["--format", "tap", "--output", &output]].concat());
    path
}

/// The results of another kernel: those lines changed.
fn changed(path: &Path, change: impl Fn(&mut Value)) -> PathBuf {
    let lines = std::fs::read_to_string(path).expect("results");
    let lines: Vec<String> = lines
        .lines()
        .map(|line| {
            let mut event = serde_json::from_str(line).expect("JSON");
            change(&mut event);
            event.to_string() + "\n"
        })
        .collect();
    let path = path.with_extension("changed");
    std::fs::write(&path, lines.concat()).expect("written");
    path
}

fn compared(old: &Path, new: &Path, options: &[&str]) -> (String, i32) {
    let paths = [old.to_str().expect("UTF-8"), new.to_str().expect("UTF-8")];
    let output = run(&[&["compare"], &paths[..], options].concat());
    (text(&output), output.status.code().expect("an end"))
}

#[test]
fn a_failure_that_was_none_is_a_regression_and_the_other_way_round_a_fix() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = results(directory.path(), "old", &["flags.root.0"]);
    let new = changed(&old, |event| {
        if event["event"] == "case_finished" && event["index"] == 3 {
            event["verdict"]["status"] = "fail".into();
            event["verdict"]["reason"] = "a|b *c*".into();
        }
    });
    let (told, status) = compared(&old, &new, &[]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("1 regression\n  flags.root.03"), "{told}");
    assert!(told.contains("pass → fail\n      a|b *c*"), "{told}");
    let (told, status) = compared(&new, &old, &["--format", "markdown"]);
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("### 1 fixed\n\n- `flags.root.03"), "{told}");
    assert!(told.contains("was a\\|b \\*c\\*"), "{told}");
    let (told, status) = compared(&new, &new, &["--format", "json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((status, &told["changes"]), (0, &Value::Array(Vec::new())));
    assert_eq!(told["unchanged"]["fail"], 1);
}

#[test]
fn silence_is_no_success() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = results(directory.path(), "old", &["flags.root.0"]);
    let new = changed(&old, |event| {
        if event["event"] == "case_finished" && event["index"] == 3 {
            event["verdict"]["status"] = "broken".into();
            event["verdict"]["reason"] = "not run: the guest panicked".into();
        }
    });
    let (told, status) = compared(&old, &new, &[]);
    assert_eq!(status, 125, "{told}");
    assert!(told.contains("the guest panicked"), "{told}");
    // A kernel that was unwell while no case ran.
    let new = changed(&old, |event| {
        if event["event"] == "run_finished" {
            *event = serde_json::json!({"event": "bailed_out", "why": "the kernel was unwell"});
        }
    });
    let (told, status) = compared(&old, &new, &[]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("the kernel was unwell"), "{told}");
}

#[test]
fn a_reason_that_names_the_running_kernel_is_the_same_on_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let any = results(directory.path(), "any", &["flags.root.0"]);
    let on = |name: &str, release: &str, numbers: [u32; 3], since: &str| {
        let [major, minor, stable] = numbers;
        let why = format!("came with Linux {since}, this is {major}.{minor}.{stable}");
        let new = changed(&any, |event| {
            if event["event"] == "run_started" {
                event["facts"]["release"] = release.into();
                event["facts"]["version"] = numbers.to_vec().into();
            }
            if event["event"] == "case_finished" && event["index"] == 3 {
                event["verdict"]["status"] = "skip".into();
                event["verdict"]["reason"] = why.clone().into();
            }
        });
        let path = directory.path().join(name);
        std::fs::rename(new, &path).expect("renamed");
        path
    };
    let old = on("old", "5.10.0-31-cloud-amd64", [5, 10, 223], "7.1");
    let new = on("new", "6.1.7", [6, 1, 7], "7.1");
    let (told, status) = compared(&old, &new, &[]);
    assert_eq!(status, 0, "{told}");
    assert!(!told.contains("skip → skip"), "{told}");
    // Another reason still is one.
    let (told, _) = compared(&old, &on("other", "6.1.7", [6, 1, 7], "7.2"), &[]);
    assert!(told.contains("skip → skip"), "{told}");
}

#[test]
fn cases_that_come_and_go_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = results(directory.path(), "old", &["flags.root.0"]);
    let new = results(directory.path(), "new", &["flags.root.0", "flags.root.1", "--skip", "root.09"]);
    let (told, status) = compared(&old, &new, &[]);
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("1 case gone\n  flags.root.09_fs"), "{told}");
    assert!(told.contains("new cases"), "{told}");
    let (_, status) = compared(&old, &new, &["--strict"]);
    assert_eq!(status, 1);
    // A new case that fails.
    let bad = results(directory.path(), "bad", &["selftest", "--exact", "selftest.fail"]);
    assert_eq!(compared(&old, &bad, &[]).1, 1);
}

#[test]
fn shards_come_together_to_what_one_run_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let whole = run(&["flags.root", "--format", "tap", "--seed", "5"]);
    let shards = ["1/3", "2/3", "3/3"].map(|shard| {
        let name = shard.replace('/', "of");
        results(directory.path(), &name, &["flags.root", "--shard", shard]).display().to_string()
    });
    let results_of = |output: &Output| -> Vec<String> {
        let report = text(output);
        let lines = report.lines().filter(|line| line.contains("ok "));
        lines.map(str::to_owned).collect()
    };
    let merged = run(&["merge", &shards[2], &shards[0], &shards[1], "--format", "tap"]);
    assert_eq!(results_of(&merged), results_of(&whole));
    assert_eq!(merged.status.code(), Some(0));
    // One is missing: said in the report, and no success.
    let part = run(&["merge", &shards[0], &shards[2], "--format", "tap"]);
    assert_eq!(part.status.code(), Some(125));
    let report = text(&part);
    assert!(report.contains("Bail out! shard 2/3 missing: "), "{report}");
    let junit = run(&["merge", &shards[0], "--format", "junit"]);
    assert!(text(&junit).contains("shards 2/3, 3/3 missing"));
}

#[test]
fn what_does_not_fit_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = results(directory.path(), "one", &["flags.root.0"]);
    let other = changed(&one, |event| {
        if event["event"] == "run_started" {
            event["facts"]["release"] = "7.3.0".into();
        }
    });
    let torn = directory.path().join("torn");
    let content = std::fs::read(&one).expect("results");
    std::fs::write(&torn, &content[..content.len() / 2]).expect("written");
    let path = |path: &Path| path.display().to_string();
    for (arguments, expected) in [
        (vec!["merge".to_owned(), path(&one), path(&one)], "each case may occur only once"),
        (vec!["merge".to_owned(), path(&one), path(&other)], "their kernel differs"),
        (vec!["merge".to_owned(), path(&torn)], "before the end of the run"),
        (vec!["compare".to_owned(), path(&one), path(&torn)], "before the end of the run"),
        (vec!["compare".to_owned(), "/nonexistent".to_owned(), path(&one)], "cannot read /nonexistent"),
        (vec!["compare".to_owned(), "/proc/version".to_owned(), path(&one)], "is not a `--format json` report"),
    ] {
        expect(&arguments, 129, expected);
        assert_eq!(errors(&run(&arguments)).lines().count(), 1);
    }
}
