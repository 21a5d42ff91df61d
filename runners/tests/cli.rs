//! The command line: what it refuses, with which words and which exit status.

mod driver;

use std::process::ChildStdout;

use driver::*;

#[test]
fn a_wrong_command_line_stops_a_bisection() {
    for arguments in [
        &["--no-such-option"][..],
        &["--format", "xml"],
        &["--jobs", "0"],
        &["--repeat", "0"],
        &["--steps", "0"],
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
        &["--strict-needs", ""],
        &["matrix"],
        &["matrix", "--kernel", "6.1", "--on", "host"],
        &["matrix", "--kernel", "6.1", "--console", "x"],
        &["matrix", "--kernel", "6.1", "--guests", "0"],
        &["matrix", "--kernel", "6.1", "--format", "tap"],
        &["kernels"],
        &["kernels", "fetch"],
        &["kernels", "fetch", "nosuch"],
        &["kernels", "build", "/nonexistent"],
        &["kernels", "build", "/dev"],
        &["matrix", "--kernel", "6.1", "--reports", "/dev/null/x"],
        &["--kernel", "6.1", "--kernel", "6.2"],
        &["--kernel", "6.1", "--on", "host"],
        &["--on", "qemu"],
        &["--abi", "nosuch"],
        &["--abi", "x32"],
        &["--abi", "i386", "--init", "/init"],
    ] {
        let output = exits(129, arguments);
        assert!(!errors(&output).is_empty() && text(&output).is_empty());
    }
}

#[test]
fn a_missing_need_that_was_demanded_fails_the_run() {
    // Beside a filter, which allows everything, a task cannot enter seccomp's strict mode.
    let with_filter = |demanded: &str, format: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["--exact", "flags.zero.shared", "interactions.seccomp.strict.none", "--format", format]);
        command.args(["--strict-needs", demanded]);
        // SAFETY: only system calls between fork and execve.
        unsafe { command.pre_exec(attach_filter) };
        command.output().expect("the program runs")
    };
    let told = "needs are missing that --strict-needs demands: no_filter cost 1 case";
    for demanded in ["no_filter", "sysv_ipc,no_filter", "all"] {
        for format in ["tap", "ktap", "pretty", "junit", "json"] {
            let output = exited(1, with_filter(demanded, format), demanded);
            let last = text(&output).lines().last().map(str::to_owned).unwrap_or_default();
            assert!(text(&output).contains(told), "{}", text(&output));
            assert!(format != "pretty" || last == format!("failed: {told}"), "{last}");
        }
    }
    for demanded in ["sysv_ipc", "place"] {
        let output = exited(0, with_filter(demanded, "json"), demanded);
        assert!(text(&output).contains("\"needs\":[\"no_filter\"]"), "{}", text(&output));
        let place = Place::new();
        let file = place.write("results.json", &output.stdout);
        for (more, status) in [("all", 1), ("no_filter", 1), ("place", 0)] {
            let output = exits(status, &["merge", file.as_str(), "--strict-needs", more]);
            assert_eq!(text(&output).contains(told), status == 1, "{}", text(&output));
        }
    }
}

/// Attaches a seccomp filter that allows everything.
fn attach_filter() -> std::io::Result<()> {
    const RET_ALLOW: libc::sock_filter = libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let mut allow = RET_ALLOW;
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // SAFETY: prctl(2) takes numbers, and a program that outlives the call.
    let attached = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    Errno::result(attached)?;
    Ok(())
}

#[test]
fn each_command_line_is_answered_in_its_own_words() {
    let one = ["--exact", "flags.root.09_fs"];
    for (arguments, status, expected) in [
        (&["--help"][..], 0, "Exit status"),
        (&["--version"], 0, "unshare-conformance"),
        (&[one[0], one[1], "--format", "tap", "--seed", "77"], 0, "# seed 77"),
        (&["flagz"], 125, "no case matches [\"flagz\"]; `unshare-conformance list` shows all cases"),
        // Every filter matches something.
        (&["--exact", "flags.zero.shared", "no.such"], 125, "no case matches [\"no.such\"]"),
        (&["flags.zero", "no.such"], 125, "no case matches [\"no.such\"]"),
        (&["list", "flags.zero", "no.such", "--skip", "flags."], 125, "no case matches [\"no.such\"]"),
        (&["image", "-o", "/dev/null", "flags.zero", "no.such"], 125, "no case matches [\"no.such\"]"),
        (&["matrix", "--kernel", "/dev/null", "flags.zero", "no.such"], 125, "no case matches [\"no.such\"]"),
        (&["faults", "matrix", "flags.zero", "no.such"], 125, "no case matches [\"no.such\"]"),
        (&["list", "flags.", "--skip", "flags."], 125, "--skip [\"flags.\"] leaves none"),
        // Reports that cannot be written.
        (&[one[0], one[1], "--output", "json=/nonexistent/x.json"], 129, "/nonexistent/x.json"),
        (&[one[0], one[1], "--output", "json=/tmp"], 129, "/tmp"),
        (&[one[0], one[1], "--output", "json=/dev/null/x"], 129, "/dev/null/x"),
        (&["flags.root", "--output", "json=/dev/full"], 125, "/dev/full"),
        // What is no need, no kernel, no source tree.
        (&["--strict-needs", "root"], 129, "sys_admin, "),
        (&["run", "--strict-needs", "sys_admin,root"], 129, "place, all"),
        (&["matrix", "--kernel", "no/such/bzImage"], 129, "no/such/bzImage does not exist"),
        (&["kernels", "build", "/dev"], 129, "not a kernel source tree"),
    ] {
        expect(arguments, status, expected);
    }
}

#[test]
fn other_architectures_need_the_program_for_them() {
    let place = Place::new();
    // As an Image of arm64 begins.
    let mut image = vec![0; 4096];
    image[56..60].copy_from_slice(b"ARM\x64");
    let image = place.write("Image", image);
    for (init, expected) in [
        ("/nonexistent", "/nonexistent cannot be read"),
        ("/proc/version", "/proc/version is no ELF program: give --init a static program for aarch64"),
        (PROGRAM, "which a kernel for arm64 does not run: `ci/cross aarch64` builds one"),
    ] {
        expect(&["--kernel", &image, "--init", init, "flags."], 129, expected);
        expect(&["image", "--arch", "arm64", "--init", init, "-o", &place.file("guest.cpio"), "flags."], 129, expected);
    }
    expect(&["--kernel", "6.1:vax"], 129, "\"vax\" is no architecture of guests: give x86_64, i386, arm64");
    expect(&["--kernel", "2.6:arm64"], 129, "run `unshare-conformance kernels fetch 2.6:arm64`");
    expect(&["kernels", "fetch", "--arch", "vax", "6.1"], 129, "\"vax\" is no architecture of guests");
    expect(&["kernels", "fetch", "--arch", "s390x", "6.1:arm64"], 129, "6.1:arm64 is not for s390x");
    expect(&["kernels", "config", "--arch", "s390x"], 0, "CONFIG_SCLP_VT220_CONSOLE=y");
}

#[test]
fn two_reports_in_one_file_are_refused() {
    let place = Place::new();
    for other in ["a.out", "./a.out"] {
        let outputs = [format!("json={}", place.file("a.out")), format!("tap={}", place.file(other))];
        expect(&["flags.root.09_fs", "--output", &outputs[0], "--output", &outputs[1]], 129, "a.out: give each");
        assert!(!Path::new(&place.file("a.out")).exists());
    }
}

#[test]
fn what_the_system_said_is_told_once() {
    let image = exits(125, &["image", "--output", "/dev/full"]);
    let kernel = exits(129, &["--kernel", "/proc/self/mem", "flags.root.09_fs"]);
    let cache = Command::new(PROGRAM).args(["kernels", "list"]).env("XDG_CACHE_HOME", "/dev/null/cache").output();
    for (output, expected) in [
        (image, "(free space there or choose another place): No space"),
        (kernel, "/proc/self/mem cannot be read"),
        (cache.expect("the program runs"), "XDG_CACHE_HOME to another place): Not a directory"),
    ] {
        let said = errors(&output);
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.matches("(os error ").count(), 1, "{said}");
    }
}

#[test]
fn a_closed_pipe_is_no_verdict_and_is_told_of() {
    let mut child = piped(&["flags.", "--format", "tap"]);
    child.stdout.take().expect("piped").read_exact(&mut [0; 4]).expect("TAP begins");
    assert_closed_is_told(child.wait_with_output().expect("it ends"));
}

#[test]
fn results_that_nobody_reads_to_their_end_are_told_of() {
    let place = Place::new();
    let file = place.file("full.json");
    exits(0, &["flags.root.09_fs", "--output", &format!("json={file}")]);
    for arguments in [&["merge", &file][..], &["list"], &["coverage"]] {
        // Nobody reads: the other end is closed before the program begins.
        let (_, closed) = std::io::pipe().expect("a pipe");
        let output = Command::new(PROGRAM).args(arguments).stdout(closed).stderr(Stdio::piped()).output();
        assert_closed_is_told(output.expect("the program runs"));
    }
}

fn assert_closed_is_told(output: Output) {
    let errors = errors(&exited(125, output, "closed"));
    let told = "standard output was closed before all was written";
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(told), "{errors}");
}

#[test]
fn further_reports_are_written_beside_standard_output() {
    let place = Place::new();
    let output = format!("json={}", place.file("results.json"));
    exits(0, &["--exact", "flags.root.09_fs", "--format", "tap", "--output", &output]);
    let lines = place.read("results.json");
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(events.first().expect("a first line")["schema"], 1);
    assert_eq!(events.last().expect("a last line")["event"], "run_finished");
}

/// A run that hangs, soon after its start.
fn hanging(timeout: &str) -> (Child, ChildStdout) {
    let mut child = piped(&["selftest", "--exact", "selftest.hang", "--timeout", timeout, "--format", "tap"]);
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut [0; 16]).expect("TAP begins");
    // The case may or may not have begun; both must end well.
    std::thread::sleep(Duration::from_millis(50));
    (child, out)
}

#[test]
fn interrupted_runs_clean_up_and_say_so() {
    for (ending, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (mut child, mut out) = hanging("1h");
        signal(&child, ending);
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
    let child = piped(&[arguments, &["--jobs", "1", "--format", "tap"]].concat());
    std::thread::sleep(after);
    signal(&child, Signal::SIGINT);
    text(&exited(130, child.wait_with_output().expect("it ends"), arguments))
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
    kill(&mut child);
    // The kernel kills the supervisor and its case when their parent is gone, one after the other.
    wait_for("left running", || processes(TIME).is_empty().then_some(()));
}

#[test]
fn the_list_has_what_a_case_has() {
    let list = json(&run(&["list", "--format", "json", "flags.root.09"]));
    assert_eq!(list[0]["name"], "flags.root.09_fs");
    assert_eq!(list[0]["proves"][0], "FLAG-09");
}
