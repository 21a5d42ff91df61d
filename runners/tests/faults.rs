//! Runs under simulated faults: what they say of themselves, and that the stand-in changes nothing.

mod driver;

use harness::verdict::event::Event;
use harness::verdict::judge::Status;

use driver::*;

fn main() {
    conclude(
        trials![
            as_root without_a_fault_every_verdict_is_the_same,
            as_root a_planted_race_is_found,
            as_root no_report_can_be_taken_for_a_verdict,
            anywhere a_wrong_fault_is_reported,
            anywhere a_guest_with_a_fault_stops_at_its_first_failure,
            as_root an_ordinary_user_is_told_why_not,
            anywhere every_fault_is_listed,
            as_root a_part_of_a_matrix_says_what_it_does_not_show,
            anywhere a_matrix_that_cannot_be_kept_is_not_begun,
        ],
        true,
    );
}

/// Each case's verdict in one word.
fn verdicts(arguments: &[&str]) -> BTreeMap<String, Status> {
    let output = run(&[&["run", "--tier", "quick", "--seed", "1", "--format", "json"], arguments].concat());
    let (mut names, mut verdicts) = (Vec::new(), BTreeMap::new());
    for line in text(&output).lines() {
        match serde_json::from_str(line) {
            Ok(Event::RunStarted { plan, .. }) => names = plan.into_iter().map(|case| case.name).collect(),
            Ok(Event::CaseFinished { index, verdict, .. }) => {
                verdicts.insert(names[index].clone(), verdict.status);
            }
            _ => {}
        }
    }
    verdicts
}

fn without_a_fault_every_verdict_is_the_same() {
    let mut plain = verdicts(&[]);
    let simulated = verdicts(&["--fault", "none"]);
    assert!(plain.len() > 700, "{}", plain.len());
    for (name, status) in &mut plain {
        if suite::fault::declared::impossible(name).is_some() {
            *status = Status::Skip;
        }
    }
    let differ: Vec<_> = plain.iter().filter(|(name, status)| simulated.get(*name) != Some(status)).collect();
    assert!(differ.is_empty(), "{differ:?}");
    assert_eq!(plain.len(), simulated.len());
}

fn a_planted_race_is_found() {
    for (fault, case) in
        [("not-done-beside-another", "storm.processes"), ("files-kept-beside-another", "storm.deep.descriptors")]
    {
        let verdict = |fault| verdicts(&["--fault", fault, "--exact", case]).remove(case);
        assert_eq!(verdict("none"), Some(Status::Pass));
        assert_eq!(verdict(fault), Some(Status::Fail), "{fault}");
    }
}

fn no_report_can_be_taken_for_a_verdict() {
    let report = |format| text(&run(&["run", "--fault", "returns-one", "flags.root.09_fs", "--format", format]));
    let caveat = "no verdict on this kernel: the fault \"returns-one\" is simulated";
    assert_eq!(report("tap").lines().nth(2).map(|line| line.starts_with(&format!("# {caveat}"))), Some(true));
    let pretty = report("pretty");
    assert!(pretty.starts_with(caveat), "{pretty}");
    assert!(!pretty.contains("this kernel does not conform"), "{pretty}");
    let json = report("json");
    assert!(json.lines().nth(1).is_some_and(|line| line.contains("\"caveat\":\"no verdict")), "{json}");
}

fn a_wrong_fault_is_reported() {
    expect(&["run", "--fault", "drops-everything", "flags.root.09_fs"], 129, "similar: drops-");
}

fn a_guest_with_a_fault_stops_at_its_first_failure() {
    need_qemu();
    let kernel = fetched("6.1");
    let kernel = kernel.to_str().expect("text");
    let report = text(&exits(1, &["--kernel", kernel, "--fault", "returns-one", "--fail-fast", "--format", "tap"]));
    assert!(report.contains("# no verdict on this kernel: the fault \"returns-one\" is simulated"), "{report}");
    let stopped = report.matches("# SKIP not run: stopped after a failure").count();
    let plan: usize = report.lines().find_map(|line| line.strip_prefix("1..")?.parse().ok()).expect("a plan");
    assert!(stopped > plan / 2 && report.matches("\nnot ok ").count() < 10, "{stopped} of {plan}\n{report}");
}

fn an_ordinary_user_is_told_why_not() {
    let mut command = Command::new("/proc/self/fd/9");
    // An ordinary user may not reach the program by its path.
    let program = fs::File::open(PROGRAM).expect("the program is there");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&program);
    // SAFETY: dup2(2) is async-signal-safe.
    unsafe { command.pre_exec(move || Ok(Errno::result(libc::dup2(fd, 9)).map(drop)?)) };
    let output = command
        .args(["run", "--fault", "none", "flags.root.09_fs"])
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the program runs");
    let said = errors(&exited(125, output, "as nobody"));
    assert!(said.contains("by root only"), "{said}");
}

fn every_fault_is_listed() {
    let text = text(&run(&["faults", "list"]));
    let json = json(&run(&["faults", "list", "--format", "json"]));
    let faults = json.as_array().expect("an array");
    assert!(faults.len() > 100);
    for fault in faults {
        let name = fault["name"].as_str().expect("a name");
        assert!(text.lines().any(|line| line == name), "{name}");
    }
}

fn a_part_of_a_matrix_says_what_it_does_not_show() {
    let matrix = |arguments: &[&str]| text(&exits(0, &[&["faults", "matrix", "--check"], arguments].concat()));
    matrix(&["flags.root.09_fs", "--fault", "changes-umask", "--fault", "none"]);
    // What was not chosen may show it: nothing is wrong.
    let said = matrix(&["flags.root.09_fs", "--fault", "drops-files"]);
    for expected in [
        "none of the selected cases notices drops-files",
        "none of the selected faults makes these fail: flags.root.09_fs",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert!(!said.contains("! "), "{said}");
}

fn a_matrix_that_cannot_be_kept_is_not_begun() {
    for option in ["--markdown", "--json", "--witnesses"] {
        let arguments = ["faults", "matrix", option, "/nonexistent/x"];
        expect(&arguments, 129, "the file /nonexistent/x cannot be written (give another path)");
        assert_eq!(errors(&run(&arguments)).matches("os error").count(), 1);
    }
}
