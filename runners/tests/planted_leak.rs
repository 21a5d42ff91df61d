//! Leaks that are planted are found, one for each flag. Alone in its file, since no other test may run
//! beside it: what is counted are the kernel's own objects, which all processes make and leave.

mod driver;

use driver::*;

fn main() {
    conclude(trials![as_root planted_leaks_are_found], false);
}

/// What keeps what the call of a case makes.
const LEAKS: [(&str, &[&str]); 2] = [
    (
        "namespaces-are-kept",
        &["newns", "empty_mntns", "newcgroup", "newuts", "newipc", "newuser", "newpid", "newnet", "newtime"],
    ),
    ("shared-is-kept", &["fs", "files", "sysvsem"]),
];

/// The lines of TAP that tell results of these cases under a fault, with what was said of each below.
fn results(fault: &str, cases: &[String]) -> Vec<String> {
    let mut arguments = vec!["run", "--disturb-host", "--fault", fault, "--format", "tap", "--exact"];
    arguments.extend(cases.iter().map(String::as_str));
    let report = text(&run(&arguments));
    let mut results: Vec<String> = Vec::new();
    for line in report.lines() {
        if line.starts_with("ok ") || line.starts_with("not ok ") {
            results.push(line.to_owned());
        } else if let Some(last) = results.last_mut() {
            last.push('\n');
            last.push_str(line);
        }
    }
    results
}

fn planted_leaks_are_found() {
    for (fault, flags) in LEAKS {
        let cases: Vec<String> = flags.iter().map(|flag| format!("leaks.success.{flag}")).collect();
        let good = results("none", &cases);
        let leaking = results(fault, &cases);
        assert_eq!((good.len(), leaking.len()), (cases.len(), cases.len()));
        for (good, leaking) in good.iter().zip(&leaking) {
            assert!(!good.starts_with("not ok"), "{good}");
            if good.contains("# SKIP") {
                eprintln!("nothing can be shown of this here:\n{good}");
                continue;
            }
            assert!(leaking.starts_with("not ok"), "{leaking}");
            // Where other processes were busy it skips itself, and is broken by what the stand-in leaves.
            if !leaking.contains("left per call of unshare(") {
                eprintln!("found to be broken only, beside busy processes:\n{leaking}");
            }
        }
    }
}
