//! The program under test, run as a user runs it, and what tests of it share.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test target uses its own part")]

pub use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Debug;
pub use std::fs;
pub use std::io::{Read, Write};
pub use std::os::unix::process::CommandExt;
pub use std::path::{Path, PathBuf};
pub use std::process::{Child, Command, Output, Stdio};
pub use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
pub use nix::errno::Errno;
pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;
pub use serde_json::Value;
use vm::cache::Cache;
use vm::library::Library;

/// Its file.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// Runs it to its end.
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program runs")
}

/// What it wrote to standard output.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it wrote to standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it, and checks the exit status.
pub fn exits<S: AsRef<OsStr> + Debug>(status: i32, arguments: &[S]) -> Output {
    exited(status, run(arguments), arguments)
}

/// Checks the exit status of a run of it.
pub fn exited(status: i32, output: Output, what: impl Debug) -> Output {
    assert_eq!(output.status.code(), Some(status), "{what:?}: {}{}", text(&output), errors(&output));
    output
}

/// Runs it, and checks the exit status and what one of the two outputs contains.
pub fn expect<S: AsRef<OsStr> + Debug>(arguments: &[S], status: i32, expected: &str) {
    let output = exits(status, arguments);
    let both = text(&output) + &errors(&output);
    assert!(both.contains(expected), "{arguments:?}: {expected:?} in {both}");
}

/// What it wrote to standard output, which is JSON.
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Starts it with standard output in a pipe.
pub fn piped(arguments: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// Sends a signal to a run of it.
pub fn signal(child: &Child, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(child.id() as i32), signal).expect("it is running");
}

/// Kills a run of it.
pub fn kill(child: &mut Child) {
    child.kill().expect("it is running");
    child.wait().expect("it ends");
}

/// A directory that is gone after the test.
pub struct Place(tempfile::TempDir);

impl Place {
    /// Makes it.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// The name of a file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.file(name), content).expect("written");
        self.file(name)
    }

    /// Reads a file in it.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// The image of a fetched kernel.
pub fn fetched(release: &str) -> PathBuf {
    let cache = Cache::of_user().expect("a place for kernels: set HOME");
    let entry = Library::new(cache).find(release);
    entry.and_then(|entry| entry.image).unwrap_or_else(|| {
        panic!("this test boots kernel {release}: run ci/test or `unshare-conformance kernels fetch {release}`")
    })
}

/// A kernel that has ATOM-01. The newest of 5.10 has it no longer.
pub const OLD: &str = "5.10.223";

/// Fails unless QEMU can be started.
pub fn need_qemu() {
    let started = Command::new("qemu-system-x86_64").arg("--version").output();
    assert!(
        started.is_ok_and(|output| output.status.success()),
        "this test boots guests: run ci/test, which installs QEMU, or install it (Debian: qemu-system-x86)"
    );
}

/// The processes with this word on their command line, each with its parent; zombies have none.
pub fn processes(token: &str) -> Vec<(Pid, Pid)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&command).contains(token) {
            continue;
        }
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        found.push((Pid::from_raw(pid), Pid::from_raw(parent.unwrap_or(0))));
    }
    found
}

/// Waits until there is something to see, for at most four minutes, which no test takes when all is well.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(240), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A test for every caller.
pub fn anywhere(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// A test that requires root, as simulating a fault does. Elsewhere it shows as ignored, with the
/// reason: libtest decides that when it compiles a test, which is why these targets use libtest-mimic, as the
/// cases themselves do. Nothing is lost where it counts: CI runs as root.
pub fn as_root(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let can = nix::unistd::geteuid().is_root();
    let kind = if can { "" } else { "requires root" };
    anywhere(name, test).with_ignored_flag(!can).with_kind(kind)
}

/// Runs trials, in threads or one after the other.
pub fn conclude(trials: Vec<Trial>, in_parallel: bool) {
    let mut arguments = Arguments::from_args();
    if !in_parallel {
        arguments.test_threads = Some(1);
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Trials of these functions, each after its kind.
macro_rules! trials {
    ($($kind:ident $test:ident),* $(,)?) => { vec![$($crate::driver::$kind(stringify!($test), $test)),*] };
}
pub(crate) use trials;
