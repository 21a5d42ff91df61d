//! A run changes nothing on the host, as root and as an ordinary user.
//!
//! In a program of its own, one test after the other: cargo runs test programs one after the other, so
//! nothing else of this project is running meanwhile.

mod driver;

use driver::*;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

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

/// Where cgroup2 is mounted.
fn cgroup2() -> Option<PathBuf> {
    let mounts = lines("/proc/self/mountinfo");
    let mount = mounts.iter().find(|line| line.contains(" - cgroup2 "))?;
    Some(PathBuf::from(mount.split(' ').nth(4)?))
}

/// The control groups that runs of the program made and did not remove.
fn our_groups() -> BTreeSet<String> {
    let mut groups = cgroup2().map(entries).unwrap_or_default();
    groups.retain(|path| path.contains("/unshare-conformance."));
    groups
}

/// What a run could do to others and undo before it ends.
struct Passing(Inotify);

impl Passing {
    fn watch() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
        let slab_caches = entries("/sys/kernel/slab").into_iter().map(|path| (path, AddWatchFlags::IN_CLOSE_WRITE));
        let groups = cgroup2().map(|path| (path.display().to_string(), AddWatchFlags::IN_CREATE));
        for (path, what) in slab_caches.chain(groups) {
            inotify.add_watch(path.as_str(), what).expect("a watch");
        }
        Self(inotify)
    }

    fn seen(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        loop {
            match self.0.read_events() {
                Ok(events) => seen.extend(events.iter().map(|event| format!("{:?}: {:?}", event.mask, event.name))),
                Err(errno) => {
                    assert_eq!(errno, Errno::EAGAIN);
                    seen.retain(|event| event.contains("shrink") || event.contains("unshare-conformance"));
                    return seen;
                }
            }
        }
    }
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
    let passing = Passing::watch();
    let mut command = Command::new(&program);
    command.args(arguments).args(["--format", "tap"]).current_dir("/");
    if let Some(id) = uid {
        command.uid(id).gid(id);
    }
    let output = exited(status, command.output().expect("the program runs"), arguments);
    let report = text(&output) + &errors(&output);
    assert!(report.contains(expected), "{report}");
    assert_eq!(look(), before);
    assert_eq!(passing.seen(), BTreeSet::new());
}

fn groups_of_a_killed_run_are_removed_by_the_next() {
    let making = ["run", "--disturb-host", "--exact", "races.stopped.mount_namespaces_frozen", "--repeat", "100000"];
    exits(0, &["run", "--exact", "flags.zero.shared"]);
    assert_eq!(our_groups(), BTreeSet::new(), "groups of a run that goes on");
    let mut killed = piped(&making);
    let end = Instant::now() + Duration::from_secs(20);
    while our_groups().is_empty() {
        if killed.try_wait().expect("a child").is_some() || Instant::now() > end {
            killed.kill().expect("killed");
            eprintln!("no control groups can be made here: {}", text(&killed.wait_with_output().expect("ended")));
            return;
        }
    }
    kill(&mut killed);
    // What it started ends with it, a moment later.
    let is_populated = |group: &String| {
        fs::read_to_string(Path::new(group).join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"))
    };
    let maker_lives =
        |group: &String| group.rsplit('.').nth(1).is_some_and(|pid| Path::new("/proc").join(pid).exists());
    while our_groups().iter().any(|group| is_populated(group) || maker_lives(group)) {
        assert!(Instant::now() < end, "processes of the killed run are left");
    }
    let left = our_groups();
    exits(0, &["run", "--exact", "flags.zero.shared"]);
    assert_eq!(our_groups(), BTreeSet::new(), "of {left:?}");
    assert!(!left.is_empty(), "the killed run had no group: nothing is shown");
}

fn main() {
    conclude(
        vec![
            anywhere("a_run_changes_nothing", || unharmed(&["run"], None, 0, "ok 1 - ")),
            as_root("a_run_of_an_ordinary_user_changes_nothing", || unharmed(&["run"], Some(NOBODY), 0, "\nok 1 - ")),
            as_root("the_selftest_changes_nothing", || unharmed(&["selftest"], None, 1, "not ok")),
            as_root("groups_of_a_killed_run_are_removed_by_the_next", groups_of_a_killed_run_are_removed_by_the_next),
        ],
        false,
    );
}
