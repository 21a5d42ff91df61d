//! A run changes nothing on the host, as root and as an ordinary user.
//!
//! One test in a program of its own: cargo runs test programs one after the other, so nothing else
//! of this project is running meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");
const NOBODY: u32 = 65534;

/// What a run could leave behind or change.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    mounts: BTreeSet<String>,
    ipc: BTreeSet<String>,
    temporary: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    settings: BTreeSet<String>,
    processes: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

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

impl Host {
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
        Host {
            mounts: lines("/proc/self/mountinfo"),
            ipc,
            temporary: entries("/tmp").into_iter().filter(|path| path.contains("unshare-conformance")).collect(),
            cgroups,
            settings,
            processes,
            namespaces,
        }
    }
}

fn report(mut command: Command) -> (String, Option<i32>) {
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code())
}

#[test]
fn the_host_is_the_same_after_as_before() {
    // Somewhere an ordinary user can execute it.
    let directory = tempfile::Builder::new()
        .prefix("host-unharmed-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let program = directory.path().join("program");
    fs::copy(PROGRAM, &program).expect("copied");
    let before = Host::look();
    assert_eq!(before.processes, BTreeSet::new(), "a run is still going on");

    let mut command = Command::new(&program);
    command.args(["run", "--format", "tap"]).current_dir("/");
    let (text, status) = report(command);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(Host::look(), before);

    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new(&program);
        command.args(["run", "--format", "tap"]).current_dir("/");
        command.uid(NOBODY).gid(NOBODY);
        let (text, status) = report(command);
        assert_eq!(status, Some(0), "as an ordinary user:\n{text}");
        assert!(text.contains("\nok 1 - "), "{text}");
        assert_eq!(Host::look(), before, "after a run as an ordinary user");

        let mut command = Command::new(&program);
        command.args(["selftest", "--format", "tap"]).current_dir("/");
        let (text, status) = report(command);
        assert_eq!(status, Some(1), "{text}");
        assert_eq!(Host::look(), before, "after the selftest");
    }
}
