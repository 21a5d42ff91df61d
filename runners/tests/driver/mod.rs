//! The program under test, run as a user runs it, and what tests of it share.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test target uses its own part")]

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::unistd::Pid;
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

/// Runs it, and checks the exit status and what one of the two outputs contains.
pub fn expect<S: AsRef<OsStr> + std::fmt::Debug>(arguments: &[S], status: i32, expected: &str) {
    let output = run(arguments);
    let both = text(&output) + &errors(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {both}");
    assert!(both.contains(expected), "{arguments:?}: {expected:?} in {both}");
}

/// The image of a fetched kernel.
pub fn fetched(release: &str) -> PathBuf {
    let cache = Cache::of_user().expect("a place for kernels: set HOME");
    let entry = Library::new(cache).find(release);
    entry.and_then(|entry| entry.image).unwrap_or_else(|| {
        panic!("this test boots kernel {release}: run ci/test or `unshare-conformance kernels fetch {release}`")
    })
}

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
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&command).contains(token) {
            continue;
        }
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
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

/// A test that requires root on x86-64, as simulating a fault does. Elsewhere it shows as ignored, with the
/// reason: libtest decides that when it compiles a test, which is why these targets use libtest-mimic, as the
/// cases themselves do. Nothing is lost where it counts: CI runs as root.
pub fn as_root(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let can = cfg!(target_arch = "x86_64") && nix::unistd::geteuid().is_root();
    let kind = if can { "" } else { "requires root on x86-64" };
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
