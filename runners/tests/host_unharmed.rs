//! A run changes nothing on the host, as root and as an ordinary user.
//!
//! In a program of its own, one test after the other: cargo runs test programs one after the other, so
//! nothing else of this project is running meanwhile.

mod driver;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;

use driver::*;

const NOBODY: u32 = 65534;

/// What a run could leave behind or change, by its kind.
type Host = BTreeMap<&'static str, BTreeSet<String>>;

fn lines(path: impl AsRef<Path>) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn entries(path: impl AsRef<Path>) -> BTreeSet<String> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string()).collect()
}

fn directories_below(path: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.insert(entry.path().display().to_string());
            directories_below(&entry.path(), found);
        }
    }
}

fn look() -> Host {
    let mut settings = BTreeSet::new();
    for directory in ["kernel", "fs", "fs/mqueue", "user"] {
        for file in entries(Path::new("/proc/sys").join(directory)) {
            // Counters and random numbers are no settings.
            let counter = ["dentry-state", "file-nr", "inode-nr", "inode-state", "aio-nr", "ns_last_pid", "pty"];
            if !counter.iter().any(|name| file.contains(name)) && Path::new(&file).is_file() {
                settings.insert(format!("{file}: {:?}", lines(&file)));
            }
        }
    }
    let ipc = ["shm", "sem", "msg"].into_iter().flat_map(|kind| lines(format!("/proc/sysvipc/{kind}"))).collect();
    let mut cgroups = BTreeSet::new();
    directories_below(Path::new("/sys/fs/cgroup"), &mut cgroups);
    let (mut processes, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for process in entries("/proc") {
        let command = fs::read_to_string(format!("{process}/cmdline")).unwrap_or_default();
        if ["unshare-conformance", "host-unharmed-"].iter().any(|name| command.contains(name)) {
            processes.insert(command);
        }
        for link in entries(format!("{process}/ns")) {
            if let Ok(target) = fs::read_link(link) {
                namespaces.insert(target.display().to_string());
            }
        }
    }
    let temporary = entries("/tmp").into_iter().filter(|path| path.contains("unshare-conformance"));
    BTreeMap::from([
        ("mounts", lines("/proc/self/mountinfo")),
        ("ipc", ipc),
        ("temporary", temporary.collect()),
        ("cgroups", cgroups),
        ("settings", settings),
        ("processes", processes),
        ("namespaces", namespaces),
    ])
}

/// Runs the program, from where an ordinary user can execute it too, and compares.
fn unharmed(arguments: &[&str], uid: Option<u32>, status: i32, expected: &str) {
    let directory = tempfile::Builder::new()
        .prefix("host-unharmed-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let program = directory.path().join("program");
    fs::copy(PROGRAM, &program).expect("copied");
    let before = look();
    assert_eq!(before["processes"], BTreeSet::new(), "a run is still going on");
    let mut command = Command::new(&program);
    command.args(arguments).args(["--format", "tap"]).current_dir("/");
    if let Some(id) = uid {
        command.uid(id).gid(id);
    }
    let output = exited(status, command.output().expect("the program runs"), arguments);
    let report = text(&output) + &errors(&output);
    assert!(report.contains(expected), "{report}");
    assert_eq!(look(), before);
}

fn a_run_changes_nothing() {
    unharmed(&["run"], None, 0, "ok 1 - ");
}

fn a_run_of_an_ordinary_user_changes_nothing() {
    unharmed(&["run"], Some(NOBODY), 0, "\nok 1 - ");
}

fn the_selftest_changes_nothing() {
    unharmed(&["selftest"], None, 1, "not ok");
}

fn main() {
    conclude(
        trials![
            anywhere a_run_changes_nothing,
            as_root a_run_of_an_ordinary_user_changes_nothing,
            as_root the_selftest_changes_nothing,
        ],
        false,
    );
}
