//! Many kernels in one table, and the commands around kernels and images.

mod driver;

use driver::*;
use vm::parameters::Parameters;

/// A case that passes everywhere.
const GOOD: &str = "flags.root.09_fs";
/// A case that fails on the older of the two kernels: a call that fails late leaves traces.
const BAD_ON_OLD: &str = "atomicity.newns.refused_pid";

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
    let place = Place::new();
    let file = place.file("guest.cpio");
    let devices = ["--results", "/dev/ttyS1", "--console", "ttyAMA0,115200"];
    let arguments = [&["image", "-o", &file], &devices[..], &["--seed", "7", "--skip", "a b", "flags."]].concat();
    let line = text(&exits(0, &arguments));
    assert_eq!(line.lines().count(), 1);
    assert!(line.starts_with("console=ttyAMA0,115200 "), "{line}");
    let parameters = Parameters::parse(&line);
    assert_eq!(parameters.results.as_deref(), Some("ttyS1"));
    let words: Vec<&str> = parameters.arguments.iter().map(String::as_str).collect();
    assert_eq!(words.first(), Some(&"run"));
    for pair in [["--format", "ktap"], ["--seed", "7"], ["--skip", "a b"], ["--", "flags."]] {
        assert!(words.windows(2).any(|two| two == pair), "{words:?}");
    }

    let files = unpacked(&fs::read(&file).expect("the image"));
    let (mode, init) = &files["init"];
    assert_eq!(*mode, 0o100_755);
    let program = fs::read(PROGRAM).expect("the program");
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
    let place = Place::new();
    let file = place.file("guest.cpio");
    let image = run(&["image", "--slowdown", "10", "--exact", GOOD, "-o", &file]);
    // Nothing of ours but the file and the line: another machine, one serial port.
    let output = Command::new("qemu-system-x86_64")
        .args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "512"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        .args(["-initrd", &file, "-append", text(&image).trim()])
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
    let list = json(&exits(0, &["kernels", "list", "--fetched", "--format", "json"]));
    let mut list = list.as_array().expect("an array").iter();
    assert!(list.any(|entry| entry["image"].as_str() == kernel.to_str()), "{list:?}");
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
    let place = Place::new();
    let lacks = |status, content: &str| {
        let path = place.write(".config", content);
        text(&exits(status, &["kernels", "config", &path]))
    };
    assert_eq!(lacks(0, &text(&fragment)), "");
    let lacking = lacks(0, &text(&fragment).replace("CONFIG_USER_NS=y", "# CONFIG_USER_NS is not set"));
    let options: Vec<&str> = lacking.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(options, ["CONFIG_USER_NS=y"]);
    lacks(125, "CONFIG_USER_NS=y\n");
}

#[test]
fn a_build_is_put_where_it_was_asked_for_and_tells_what_did_not_take() {
    // A tree that goes through the motions: its make leaves a kernel that was built elsewhere.
    let tree = Place::new();
    fs::create_dir_all(tree.file("scripts/kconfig")).expect("a directory");
    let makefile = format!(
        "tinyconfig:\n\techo CONFIG_HZ=100 > $(O)/.config\n\
         olddefconfig:\n\tsed -i /CONFIG_KCMP/d $(O)/.config\n\
         bzImage:\n\tmkdir -p $(O)/arch/x86/boot && cp '{}' $(O)/arch/x86/boot/bzImage\n",
        fetched("6.1").display()
    );
    let merge = "o=$3; base=$4; shift 4; cat \"$base\" \"$@\" > \"$o/new\"; mv \"$o/new\" \"$o/.config\"\n";
    for (path, content) in [("Kbuild", ""), ("Makefile", &makefile), ("scripts/kconfig/merge_config.sh", merge)] {
        tree.write(path, content);
    }
    let place = Place::new();
    let boot = PathBuf::from(place.file("boot"));
    let output = Command::new(PROGRAM)
        .env("XDG_CACHE_HOME", place.file(""))
        .args(["kernels", "build", &tree.file(""), "-o", &place.file("boot")])
        .output()
        .expect("the program runs");
    let output = exited(0, output, "build");
    assert!(errors(&output).contains("without CONFIG_KCMP=y"), "{}", errors(&output));
    let image = text(&output);
    let image = Path::new(image.trim());
    let name = image.file_name().and_then(|name| name.to_str());
    let release = name.and_then(|name| name.strip_prefix("vmlinuz-")).expect("a vmlinuz");
    assert_eq!(image.parent(), Some(boot.as_path()));
    assert!(image.is_file() && boot.join(format!("config-{release}")).is_file());
}

#[test]
fn two_kernels_and_one_that_is_none_in_one_table() {
    need_qemu();
    let _both = ["6.1", OLD].map(fetched);
    let place = Place::new();
    let reports = place.file("reports");
    let kernels = ["--kernel", "6.1", "--kernel", "no/such/bzImage", "--kernel", OLD];
    let how = ["--exact", GOOD, BAD_ON_OLD, "--seed", "77", "--format", "json"];
    // One does not conform, which is worse than one that is no kernel.
    let table = json(&exits(1, &[&["matrix"], &kernels[..], &how, &["--reports", &reports]].concat()));
    let kernels = table["kernels"].as_array().expect("an array");
    let told: Vec<_> = kernels.iter().map(|row| (row["kernel"].as_str(), row["exit_status"].as_u64())).collect();
    assert_eq!(told, [(Some("6.1"), Some(0)), (Some("no/such/bzImage"), Some(129)), (Some(OLD), Some(1))]);
    assert!(kernels[1]["why"].as_str().is_some_and(|why| why.contains("does not exist")));
    assert_eq!(kernels[0]["groups"]["atomicity"]["passed"], 1);
    let failure = &kernels[2]["failures"][0];
    assert_eq!(failure["case"], BAD_ON_OLD);
    assert!(failure["requirement"].as_str().is_some_and(|id| id.starts_with("ATOM-")));

    for kernel in ["6.1", OLD] {
        let tap = place.read(&format!("reports/{kernel}.tap"));
        assert!(tap.contains("\n1..2\n") && tap.contains("seed 77"), "{tap}");
        assert!(place.read(&format!("reports/{kernel}.json")).contains("run_finished"));
        place.read(&format!("reports/{kernel}.console"));
    }
    let markdown = place.read("reports/matrix.md");
    assert!(markdown.contains("| does not conform"), "{markdown}");
    place.read("reports/matrix.json");
}

#[test]
fn an_interrupted_matrix_ends_every_guest() {
    need_qemu();
    let _both = ["6.1", OLD].map(fetched);
    let place = Place::new();
    // Guests have the seed on their kernel command lines, and nobody else has this one.
    let seed = format!("9{}", std::process::id());
    let mut matrix = Command::new(PROGRAM)
        .args(["matrix", "--kernel", "6.1", "--kernel", OLD, "--kernel", "6.1"])
        .args(["--guests", "2", "--repeat", "1000", "--exact", GOOD, "--seed", &seed, "--reports", &place.file("")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let began = |kernel: &str| {
        let events = fs::read_to_string(place.file(&format!("{kernel}.json")));
        events.is_ok_and(|events| events.contains("run_started"))
    };
    wait_for("the guests never began", || {
        assert_eq!(matrix.try_wait().expect("waited for"), None, "it ended by itself");
        (began("6.1") && began(OLD)).then_some(())
    });
    let guest = format!("--seed,{seed}");
    assert_eq!(processes(&guest).len(), 2);
    signal(&matrix, Signal::SIGINT);
    let output = exited(130, matrix.wait_with_output().expect("it ends"), "matrix");
    assert_eq!(processes(&guest), []);
    assert_eq!(text(&output).matches("interrupted").count(), 3, "{}", text(&output));
}
