//! `compare` and `merge` on the results of real runs: what they say, and with which exit status.

mod driver;

use driver::*;

/// The results of a run, in a file.
fn results(place: &Place, name: &str, arguments: &[&str]) -> String {
    let output = format!("json={}", place.file(name));
    run(&[arguments, &["--format", "tap", "--output", &output]].concat());
    place.file(name)
}

/// The results of another kernel, in a file of that name: those lines changed.
fn changed(place: &Place, path: &str, name: &str, change: impl Fn(&mut Value)) -> String {
    let changed = |line| {
        let mut event = serde_json::from_str(line).expect("JSON");
        change(&mut event);
        event.to_string() + "\n"
    };
    let lines = fs::read_to_string(path).expect("results");
    place.write(name, lines.lines().map(changed).collect::<String>())
}

/// A change of one case's verdict.
fn verdict(status: &str, reason: &str) -> impl Fn(&mut Value) {
    move |event| {
        if event["event"] == "case_finished" && event["index"] == 3 {
            event["verdict"]["status"] = status.into();
            event["verdict"]["reason"] = reason.into();
        }
    }
}

/// What a comparison says: these words, with this exit status.
fn compared(old: &str, new: &str, options: &[&str], status: i32, words: &[&str]) -> String {
    let told = text(&exits(status, &[&["compare", old, new], options].concat()));
    assert!(words.iter().all(|words| told.contains(words)), "{words:?} in {told}");
    told
}

#[test]
fn a_failure_that_was_none_is_a_regression_and_the_other_way_round_a_fix() {
    let place = Place::new();
    let old = results(&place, "old", &["flags.root.0"]);
    let new = changed(&place, &old, "new", verdict("fail", "a|b *c*"));
    compared(&old, &new, &[], 1, &["1 regression\n  flags.root.03", "pass → fail\n      a|b *c*"]);
    let fixed = ["### 1 fixed\n\n- `flags.root.03", "was a\\|b \\*c\\*"];
    compared(&new, &old, &["--format", "markdown"], 0, &fixed);
    let told: Value = serde_json::from_str(&compared(&new, &new, &["--format", "json"], 0, &[])).expect("JSON");
    assert_eq!(told["changes"], Value::Array(Vec::new()));
    assert_eq!(told["unchanged"]["fail"], 1);
}

#[test]
fn silence_is_no_success() {
    let place = Place::new();
    let old = results(&place, "old", &["flags.root.0"]);
    let new = changed(&place, &old, "new", verdict("broken", "not run: the guest panicked"));
    compared(&old, &new, &[], 125, &["the guest panicked"]);
    // A kernel that was unwell while no case ran.
    let new = changed(&place, &old, "unwell", |event| {
        if event["event"] == "run_finished" {
            *event = serde_json::json!({"event": "bailed_out", "why": "the kernel was unwell"});
        }
    });
    compared(&old, &new, &[], 1, &["the kernel was unwell"]);
}

#[test]
fn a_reason_that_names_the_running_kernel_is_the_same_on_another() {
    let place = Place::new();
    let any = results(&place, "any", &["flags.root.0"]);
    let on = |name: &str, release: &str, numbers: [u32; 3], since: &str| {
        let [major, minor, stable] = numbers;
        let why = format!("came with Linux {since}, this is {major}.{minor}.{stable}");
        let skipped = verdict("skip", &why);
        changed(&place, &any, name, |event| {
            if event["event"] == "run_started" {
                event["facts"]["release"] = release.into();
                event["facts"]["version"] = numbers.to_vec().into();
            }
            skipped(event);
        })
    };
    let old = on("old", "5.10.0-31-cloud-amd64", [5, 10, 223], "7.1");
    let new = on("new", "6.1.7", [6, 1, 7], "7.1");
    let told = compared(&old, &new, &[], 0, &[]);
    assert!(!told.contains("skip → skip"), "{told}");
    // Another reason still is one.
    compared(&old, &on("other", "6.1.7", [6, 1, 7], "7.2"), &[], 0, &["skip → skip"]);
}

#[test]
fn cases_that_come_and_go_are_named() {
    let place = Place::new();
    let old = results(&place, "old", &["flags.root.0"]);
    let new = results(&place, "new", &["flags.root.0", "flags.root.1", "--skip", "root.09"]);
    compared(&old, &new, &[], 0, &["1 case gone\n  flags.root.09_fs", "new cases"]);
    compared(&old, &new, &["--strict"], 1, &[]);
    // A new case that fails.
    let bad = results(&place, "bad", &["selftest", "--exact", "selftest.fail"]);
    compared(&old, &bad, &[], 1, &[]);
}

#[test]
fn shards_come_together_to_what_one_run_says() {
    let place = Place::new();
    let whole = run(&["flags.root", "--format", "tap", "--seed", "5"]);
    let shards = ["1/3", "2/3", "3/3"].map(|shard| {
        let name = shard.replace('/', "of");
        results(&place, &name, &["flags.root", "--shard", shard])
    });
    let results_of = |output: &Output| -> Vec<String> {
        let report = text(output);
        let lines = report.lines().filter(|line| line.contains("ok "));
        lines.map(str::to_owned).collect()
    };
    let merged = exits(0, &["merge", &shards[2], &shards[0], &shards[1], "--format", "tap"]);
    assert_eq!(results_of(&merged), results_of(&whole));
    // One is missing: said in the report, and no success.
    expect(&["merge", &shards[0], &shards[2], "--format", "tap"], 125, "Bail out! shard 2/3 missing: ");
    let junit = run(&["merge", &shards[0], "--format", "junit"]);
    assert!(text(&junit).contains("shards 2/3, 3/3 missing"));
}

#[test]
fn what_does_not_fit_is_refused_in_one_sentence() {
    let place = Place::new();
    let one = results(&place, "one", &["flags.root.0"]);
    let other = changed(&place, &one, "other", |event| {
        if event["event"] == "run_started" {
            event["facts"]["release"] = "7.3.0".into();
        }
    });
    let content = place.read("one");
    let torn = place.write("torn", &content.as_bytes()[..content.len() / 2]);
    for (arguments, expected) in [
        (&["merge", &one, &one][..], "each case may occur only once"),
        (&["merge", &one, &other], "their kernel differs"),
        (&["merge", &torn], "before the end of the run"),
        (&["compare", &one, &torn], "before the end of the run"),
        (&["compare", "/nonexistent", &one], "cannot read /nonexistent"),
        (&["compare", "/proc/version", &one], "is not a `--format json` report"),
    ] {
        expect(arguments, 129, expected);
        assert_eq!(errors(&run(arguments)).lines().count(), 1);
    }
}
