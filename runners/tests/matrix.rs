//! Many kernels in one table, and the commands around kernels and images.

mod driver;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use driver::{PROGRAM, errors, expect, fetched, need_qemu, processes, run, text, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vm::parameters::Parameters;

/// A case that passes everywhere.
const GOOD: &str = "flags.root.09_fs";
/// A case that fails on the older of the two kernels: a call that fails late leaves traces.
const BAD_ON_5_10: &str = "atomicity.newns.refused_pid";

/// The files of an initramfs: mode and content.
fn unpacked(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut rest = archive;
    loop {
        let reader = cpio::newc::Reader::new(rest).expect("an entry");
        if reader.entry().is_trailer() {
            return files;
        }
        let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
        let mut content = Vec::new();
        rest = reader.to_writer(&mut content).expect("a whole entry");
        files.insert(name, (mode, content));
    }
}

#[test]
fn an_image_is_an_archive_with_this_program_as_init() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("guest.cpio");
    let file_name = file.to_str().expect("UTF-8");
    let devices = ["--results", "/dev/ttyS1", "--console", "ttyAMA0,115200"];
    let output =
        run(&[&["image", "-o", file_name], &devices[..], &["--seed", "7", "--skip", "a b", "flags."]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));

    let line = text(&output);
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with("console=ttyAMA0,115200 "), "{line}");
    let parameters = Parameters::parse(&line);
    assert_eq!(parameters.results.as_deref(), Some("ttyS1"));
    let words: Vec<&str> = parameters.arguments.iter().map(String::as_str).collect();
    assert_eq!(words.first(), Some(&"run"));
    for pair in [["--format", "ktap"], ["--seed", "7"], ["--skip", "a b"], ["--", "flags."]] {
        assert!(words.windows(2).any(|two| two == pair), "{words:?}");
    }

    let files = unpacked(&std::fs::read(&file).expect("the image"));
    let (mode, init) = &files["init"];
    assert_eq!(*mode, 0o100_755);
    let program = std::fs::read(PROGRAM).expect("the program");
    assert_eq!(init[..4], program[..4]);
    assert!(init.len() < program.len(), "symbols are not for guests");
    assert!(files.contains_key("dev/console"));
}

#[test]
fn an_image_that_cannot_be_is_no_image() {
    for (arguments, status, words) in [
        (&["image"][..], 129, "--output"),
        (&["image", "-o", "/dev/null", "--console", "tty S0"], 129, "not one word"),
        (&["image", "-o", "/dev/null", "--console", ""], 129, "not one word"),
        (&["image", "-o", "/dev/null", "--results", "tty S1"], 129, "not one word"),
        (&["image", "-o", "/dev/full"], 125, "/dev/full"),
        (&["image", "-o", "/nonexistent/x"], 129, "/nonexistent/x"),
        (&["image", "-o", "/dev/null", "no.such.case"], 125, "no case matches"),
    ] {
        expect(arguments, status, words);
        assert_eq!(text(&run(arguments)), "");
    }
}

#[test]
fn an_image_tells_its_results_on_the_console_of_any_loader() {
    need_qemu();
    let kernel = fetched("6.1");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("guest.cpio");
    let image = run(&["image", "--slowdown", "10", "--exact", GOOD, "-o", file.to_str().expect("UTF-8")]);
    // Nothing of ours but the file and the line: another machine, one serial port.
    let output = Command::new("qemu-system-x86_64")
        .args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "512"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(&file)
        .arg("-append")
        .arg(text(&image).trim())
        .stdin(Stdio::null())
        .output()
        .expect("QEMU runs");
    let console = text(&output);
    let lines: Vec<&str> = console.lines().map(str::trim_end).collect();
    for expected in ["KTAP version 1", "1..1", &format!("ok 1 {GOOD}"), "unshare-conformance: end status 0"] {
        assert!(lines.contains(&expected), "{expected:?} in {console}");
    }
}

#[test]
fn fetched_kernels_are_listed_without_the_network() {
    let kernel = fetched("6.1");
    let output = run(&["kernels", "list", "--fetched", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(list.iter().any(|entry| entry["image"].as_str() == kernel.to_str()), "{list:?}");
    // An exact release asks nothing of the network either.
    let release = kernel.parent().and_then(Path::file_name).expect("a directory");
    let output = run(&["kernels".as_ref(), "fetch".as_ref(), release]);
    assert_eq!(text(&output).trim(), kernel.to_str().expect("UTF-8"));
    assert_eq!(errors(&output), "");
}

#[test]
fn what_a_configuration_lacks_is_a_fragment() {
    let fragment = run(&["kernels", "config"]);
    assert!(text(&fragment).contains("\nCONFIG_USER_NS=y\n"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(".config");
    let path = file.to_str().expect("UTF-8");

    std::fs::write(&file, &fragment.stdout).expect("written");
    let whole = run(&["kernels", "config", path]);
    assert_eq!((text(&whole).as_str(), whole.status.code()), ("", Some(0)));

    let lacking = text(&fragment).replace("CONFIG_USER_NS=y", "# CONFIG_USER_NS is not set");
    std::fs::write(&file, lacking).expect("written");
    let lacking = run(&["kernels", "config", path]);
    let options: Vec<String> =
        text(&lacking).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(options, ["CONFIG_USER_NS=y"]);
    assert_eq!(lacking.status.code(), Some(0));

    std::fs::write(&file, "CONFIG_USER_NS=y\n").expect("written");
    let nothing = run(&["kernels", "config", path]);
    assert_eq!(nothing.status.code(), Some(125));
}

#[test]
fn what_is_no_tree_is_not_built() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = run(&["kernels".as_ref(), "build".as_ref(), directory.path().as_os_str()]);
    assert_eq!(output.status.code(), Some(129));
    assert!(errors(&output).contains("not a kernel source tree"), "{}", errors(&output));
    assert_eq!(text(&output), "");
}

#[test]
fn a_build_is_put_where_it_was_asked_for_and_tells_what_did_not_take() {
    // A tree that goes through the motions: its make leaves a kernel that was built elsewhere.
    let tree = tempfile::tempdir().expect("a directory");
    let scripts = tree.path().join("scripts/kconfig");
    std::fs::create_dir_all(&scripts).expect("a directory");
    let makefile = format!(
        "tinyconfig:\n\techo CONFIG_HZ=100 > $(O)/.config\n\
         olddefconfig:\n\tsed -i /CONFIG_KCMP/d $(O)/.config\n\
         bzImage:\n\tmkdir -p $(O)/arch/x86/boot && cp '{}' $(O)/arch/x86/boot/bzImage\n",
        fetched("6.1").display()
    );
    let merge = "o=$3; base=$4; shift 4; cat \"$base\" \"$@\" > \"$o/new\"; mv \"$o/new\" \"$o/.config\"\n";
    for (path, content) in [
        (tree.path().join("Kbuild"), ""),
        (tree.path().join("Makefile"), &makefile),
        (scripts.join("merge_config.sh"), merge),
    ] {
        std::fs::write(path, content).expect("written");
    }
    let place = tempfile::tempdir().expect("a directory");
    let boot = place.path().join("boot");
    let output = Command::new(PROGRAM)
        .env("XDG_CACHE_HOME", place.path())
        .args(["kernels", "build"])
        .arg(tree.path())
        .arg("-o")
        .arg(&boot)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("without CONFIG_KCMP=y"), "{}", errors(&output));
    let image = text(&output);
    let image = Path::new(image.trim());
    let name = image.file_name().and_then(|name| name.to_str());
    let release = name.and_then(|name| name.strip_prefix("vmlinuz-")).expect("a vmlinuz");
    assert_eq!(image.parent(), Some(boot.as_path()));
    assert!(image.is_file() && boot.join(format!("config-{release}")).is_file());
}

#[test]
fn a_wrong_command_line_stops_a_bisection() {
    for arguments in [
        &["matrix"][..],
        &["matrix", "--kernel", "6.1", "--on", "host"],
        &["matrix", "--kernel", "6.1", "--console", "x"],
        &["matrix", "--kernel", "6.1", "--guests", "0"],
        &["matrix", "--kernel", "6.1", "--format", "tap"],
        &["kernels"],
        &["kernels", "fetch"],
        &["kernels", "fetch", "nosuch"],
        &["kernels", "build", "/nonexistent"],
        &["matrix", "--kernel", "6.1", "--reports", "/dev/null/x"],
        &["--kernel", "6.1", "--kernel", "6.2"],
        &["--kernel", "6.1", "--on", "host"],
        &["--on", "qemu"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(129), "{arguments:?}");
        assert!(!errors(&output).is_empty() && text(&output).is_empty());
    }
}

#[test]
fn two_kernels_and_one_that_is_none_in_one_table() {
    need_qemu();
    for release in ["6.1", "5.10"] {
        fetched(release);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let reports = directory.path().join("reports");
    let kernels = ["--kernel", "6.1", "--kernel", "no/such/bzImage", "--kernel", "5.10"];
    let how = ["--exact", GOOD, BAD_ON_5_10, "--seed", "77", "--format", "json"];
    let output = run(&[&["matrix"], &kernels[..], &how, &["--reports", reports.to_str().expect("UTF-8")]].concat());
    // One does not conform, which is worse than one that is no kernel.
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let kernels = table["kernels"].as_array().expect("an array");
    let told: Vec<_> = kernels.iter().map(|row| (row["kernel"].as_str(), row["exit_status"].as_u64())).collect();
    assert_eq!(told, [(Some("6.1"), Some(0)), (Some("no/such/bzImage"), Some(129)), (Some("5.10"), Some(1))]);
    assert!(kernels[1]["why"].as_str().is_some_and(|why| why.contains("does not exist")));
    assert_eq!(kernels[0]["groups"]["atomicity"]["passed"], 1);
    let failure = &kernels[2]["failures"][0];
    assert_eq!(failure["case"], BAD_ON_5_10);
    assert!(failure["requirement"].as_str().is_some_and(|id| id.starts_with("ATOM-")));

    for kernel in ["6.1", "5.10"] {
        let tap = std::fs::read_to_string(reports.join(format!("{kernel}.tap"))).expect("TAP");
        assert!(tap.contains("\n1..2\n") && tap.contains("seed 77"), "{tap}");
        let events = std::fs::read_to_string(reports.join(format!("{kernel}.json")));
        assert!(events.expect("JSON").contains("run_finished"));
        assert!(reports.join(format!("{kernel}.console")).is_file());
    }
    let markdown = std::fs::read_to_string(reports.join("matrix.md")).expect("Markdown");
    assert!(markdown.contains("| does not conform"), "{markdown}");
    assert!(reports.join("matrix.json").is_file());
}

#[test]
fn what_is_no_kernel_is_wrong_input() {
    expect(&["matrix", "--kernel", "no/such/bzImage"], 129, "no/such/bzImage does not exist");
}

#[test]
fn an_interrupted_matrix_ends_every_guest() {
    need_qemu();
    for release in ["6.1", "5.10"] {
        fetched(release);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let reports = directory.path();
    // Guests have the seed on their kernel command lines, and nobody else has this one.
    let seed = format!("9{}", std::process::id());
    let mut matrix = Command::new(PROGRAM)
        .args(["matrix", "--kernel", "6.1", "--kernel", "5.10", "--kernel", "6.1"])
        .args(["--guests", "2", "--repeat", "1000", "--exact", GOOD, "--seed", &seed, "--reports"])
        .arg(reports)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let began = |kernel: &str| {
        let events = std::fs::read_to_string(reports.join(format!("{kernel}.json")));
        events.is_ok_and(|events| events.contains("run_started"))
    };
    wait_for("the guests never began", || {
        assert_eq!(matrix.try_wait().expect("waited for"), None, "it ended by itself");
        (began("6.1") && began("5.10")).then_some(())
    });
    let guest = format!("--seed,{seed}");
    assert_eq!(processes(&guest).len(), 2);
    kill(Pid::from_raw(matrix.id() as i32), Signal::SIGINT).expect("it is running");
    let output = matrix.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(processes(&guest), []);
    assert_eq!(text(&output).matches("interrupted").count(), 3, "{}", text(&output));
}
