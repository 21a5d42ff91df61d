//! Guests that go wrong, end to end: each fault has its own ending, text and exit status, every case of
//! the plan has a result, and nothing is left behind.
//!
//! With real guests, under emulation. The kernel is the release 6.1 that `kernels fetch` fetched, or the
//! one that UNSHARE_CONFORMANCE_TEST_KERNEL names; user-mode Linux where it makes a difference.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// The first passes, the second is running when a fault happens, the third is never reached.
const CASES: [&str; 3] = [
    "flags.root.09_fs",
    "flags.root.10_files",
    "flags.root.18_sysvsem",
];

/// How long anything may take before a test gives up. No test waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a guest of these tests may be silent. It gives a sign every second, but the machine may be
/// busy with other guests.
const SILENCE: &str = "10s";

/// The kernel under QEMU, or a sentence that says how to get one.
fn kernel() -> String {
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    assert!(
        qemu.is_ok(),
        "these tests boot guests and qemu-system-x86_64 is not installed: run ci/test, which installs it"
    );
    fetched(&std::env::var("UNSHARE_CONFORMANCE_TEST_KERNEL").unwrap_or("6.1".to_owned()))
}

/// User-mode Linux, or a sentence that says how to get it.
fn user_mode() -> String {
    fetched("uml-6.1")
}

fn fetched(name: &str) -> String {
    let cache = vm::cache::Cache::of_user().expect("a cache");
    if let Err(error) = runners::guest::open_kernel(name, &cache) {
        panic!(
            "these tests boot guests: run ci/test, which fetches the kernels they need ({error})"
        );
    }
    name.to_owned()
}

/// A run of the program with a guest.
struct Run {
    command: Command,
    silence: &'static str,
    console: PathBuf,
    directory: tempfile::TempDir,
    /// A word by which the guest's processes are known.
    token: String,
}

/// What came of it.
struct Outcome {
    status: Option<i32>,
    events: Vec<Value>,
    errors: String,
    console: String,
}

/// A run that goes on.
struct Running {
    child: Child,
    directory: tempfile::TempDir,
    token: String,
}

impl Run {
    fn of(kernel: &str) -> Run {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let token = format!(
            "guest_faults.token={}.{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = tempfile::tempdir().expect("a directory");
        let temporary = directory.path().join("tmp");
        std::fs::create_dir(&temporary).expect("a directory");
        let mut command = Command::new(PROGRAM);
        command
            .args(["--kernel", kernel, "--accel", "tcg", "--seed", "1"])
            .args(["--format", "json"])
            .args(["--kernel-arg", &token, "--exact"])
            .args(CASES)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::from(file(&directory.path().join("events"))))
            .stderr(Stdio::from(file(&directory.path().join("errors"))));
        Run {
            command,
            silence: SILENCE,
            console: directory.path().join("console"),
            directory,
            token,
        }
    }

    fn fault(kernel: &str, fault: &str) -> Run {
        Run::of(kernel).with(&["--guest-fault", fault])
    }

    fn with(mut self, arguments: &[&str]) -> Run {
        self.command.args(arguments);
        self
    }

    fn silence(self, silence: &'static str) -> Run {
        Run { silence, ..self }
    }

    fn console(self, console: &str) -> Run {
        Run {
            console: console.into(),
            ..self
        }
    }

    fn start(mut self) -> Running {
        self.command.args(["--silence", self.silence]);
        self.command.arg("--console").arg(&self.console);
        Running {
            child: self.command.spawn().expect("the program runs"),
            directory: self.directory,
            token: self.token,
        }
    }

    fn outcome(self) -> Outcome {
        self.start().outcome()
    }
}

fn file(path: &Path) -> std::fs::File {
    std::fs::File::create(path).expect("a file")
}

impl Running {
    fn text(&self, name: &str) -> String {
        let bytes = std::fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the report or another file has this text.
    fn wait_for(&mut self, name: &str, text: &str) {
        let start = Instant::now();
        while !self.text(name).contains(text) {
            assert!(
                start.elapsed() < PATIENCE,
                "no {text:?} in {name}: {}",
                self.text(name)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process that makes the guest, once it is there.
    fn machine(&self) -> Pid {
        let start = Instant::now();
        loop {
            let ours = Pid::from_raw(self.child.id() as i32);
            if let Some((pid, _)) = processes(&self.token)
                .into_iter()
                .find(|(pid, parent)| *pid != ours && *parent == ours)
            {
                return pid;
            }
            assert!(start.elapsed() < PATIENCE, "no machine");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end, and for what must be gone then.
    fn outcome(mut self) -> Outcome {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(start.elapsed() < 2 * PATIENCE, "{}", self.text("events"));
            std::thread::sleep(Duration::from_millis(20));
        };
        // The processes of user-mode Linux are killed with it, and may take a moment to vanish.
        let start = Instant::now();
        while !processes(&self.token).is_empty() {
            assert!(
                start.elapsed() < PATIENCE,
                "left running: {:?}",
                processes(&self.token)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let left: Vec<PathBuf> = std::fs::read_dir(self.directory.path().join("tmp"))
            .expect("a directory")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        Outcome {
            status: status.code(),
            events: self
                .text("events")
                .lines()
                .map(|line| serde_json::from_str(line).expect("an event"))
                .collect(),
            errors: self.text("errors"),
            console: self.text("console"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes with this word on their command line, each with its parent; zombies have none.
fn processes(token: &str) -> Vec<(Pid, Pid)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&command).contains(token) {
            continue;
        }
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        found.push((Pid::from_raw(pid), Pid::from_raw(parent.unwrap_or(0))));
    }
    found
}

impl Outcome {
    /// Status and reason of every case that has a result, by its place in the plan.
    fn verdicts(&self) -> Vec<(String, String)> {
        let mut verdicts: Vec<(u64, String, String)> = self
            .events
            .iter()
            .filter(|event| event["event"] == "case_finished")
            .map(|event| {
                let verdict = &event["verdict"];
                (
                    event["index"].as_u64().expect("a place"),
                    verdict["status"].as_str().expect("a status").to_owned(),
                    verdict["reason"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        verdicts.sort();
        let places: Vec<u64> = verdicts.iter().map(|(place, ..)| *place).collect();
        let all: Vec<u64> = (0..CASES.len() as u64).collect();
        assert_eq!(places, all, "every case has one result: {self}");
        verdicts
            .into_iter()
            .map(|(_, status, reason)| (status, reason))
            .collect()
    }

    /// The case that was running came out so, for this reason; the last one was not run.
    fn lost(&self, exit: i32, status: &str, reason: &str) -> &Self {
        let verdicts = self.verdicts();
        assert_eq!(verdicts[0].0, "pass", "{self}");
        assert_eq!(verdicts[1].0, status, "{self}");
        assert!(verdicts[1].1.contains(reason), "{self}");
        assert_eq!(verdicts[2].0, "broken", "{self}");
        assert!(verdicts[2].1.starts_with("not run: "), "{self}");
        self.exited(exit);
        assert!(self.errors.contains("the guest's console is in "), "{self}");
        self
    }

    /// The case that was running failed for what the kernel logged; the others did not.
    fn splat(&self, reason: &str) -> &Self {
        let verdicts = self.verdicts();
        let statuses: Vec<&str> = verdicts.iter().map(|(status, _)| status.as_str()).collect();
        assert_eq!(statuses, ["pass", "fail", "pass"], "{self}");
        assert!(verdicts[1].1.contains(reason), "{self}");
        self.exited(1)
    }

    fn exited(&self, exit: i32) -> &Self {
        assert_eq!(self.status, Some(exit), "{self}");
        self
    }

    /// It never came to a plan, for this reason.
    fn never_began(&self, exit: i32, reason: &str) -> &Self {
        assert!(
            self.events
                .iter()
                .all(|event| event["event"] != "case_finished"),
            "{self}"
        );
        let why = self
            .events
            .iter()
            .find(|event| event["event"] == "bailed_out")
            .map(|event| event["why"].to_string())
            .unwrap_or_default();
        assert!(why.contains("the kernel never reached the suite"), "{self}");
        assert!(why.contains(reason), "{self}");
        self.exited(exit)
    }

    /// There was no guest at all, for this reason.
    fn refused(&self, exit: i32, reason: &str) -> &Self {
        assert!(self.errors.contains(reason), "{self}");
        self.exited(exit)
    }

    fn all_passed(&self) -> &Self {
        assert!(
            self.verdicts().iter().all(|(status, _)| status == "pass"),
            "{self}"
        );
        self.exited(0)
    }

    fn console_has(&self, text: &str) -> &Self {
        assert!(
            self.console.contains(text),
            "no {text:?} in {}",
            self.console
        );
        self
    }

    /// The end of the console is shown, too.
    fn tail_has(&self, text: &str) -> &Self {
        let shown = self.events.iter().any(|event| {
            let remark = event["text"].as_str().unwrap_or_default();
            remark.starts_with("console: ") && remark.contains(text)
        });
        assert!(shown, "{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "status {:?}", self.status)?;
        for event in &self.events {
            writeln!(f, "{event}")?;
        }
        writeln!(f, "{}", self.errors)?;
        let tail: Vec<&str> = self.console.lines().rev().take(30).collect();
        tail.iter().rev().try_for_each(|line| writeln!(f, "{line}"))
    }
}

// While cases run: the kernel's fault.

#[test]
fn a_panic() {
    let text = "Kernel panic - not syncing: sysrq triggered crash";
    Run::fault(&kernel(), "panic")
        .outcome()
        .lost(1, "fail", text)
        .console_has("Call Trace:")
        .tail_has("Kernel Offset");
}

#[test]
fn a_panic_after_which_the_machine_stays() {
    Run::fault(&kernel(), "panic")
        .with(&["--kernel-arg", "panic=0"])
        .outcome()
        .lost(1, "fail", "the guest panicked");
}

#[test]
fn a_panic_of_user_mode_linux() {
    Run::fault(&user_mode(), "panic").outcome().lost(
        1,
        "fail",
        "the guest panicked: Kernel panic - not syncing",
    );
}

#[test]
fn an_oops_in_process_context() {
    Run::fault(&kernel(), "oops")
        .outcome()
        .splat("BUG: kernel NULL pointer dereference")
        .console_has("Oops: ");
}

#[test]
fn a_warning() {
    Run::fault(&kernel(), "warn")
        .outcome()
        .splat("WARNING: ")
        .console_has("Call Trace:");
}

#[test]
fn a_hang_with_interrupts_on() {
    Run::fault(&kernel(), "hang")
        .outcome()
        .lost(
            1,
            "timed_out",
            "the guest was silent for 10 s; its tasks' stacks are on the console (SysRq)",
        )
        // Those of tasks that are not to blame, too.
        .console_has("kthreadd")
        .console_has("RIP=");
}

#[test]
fn a_hang_with_interrupts_off() {
    Run::fault(&kernel(), "hang-irqs-off")
        .outcome()
        .lost(
            1,
            "timed_out",
            "the stack of what kept it is on the console (NMI)",
        )
        .console_has("__x64_sys_ptrace");
}

#[test]
fn a_hang_of_user_mode_linux() {
    Run::fault(&user_mode(), "hang").outcome().lost(
        1,
        "timed_out",
        "the guest was silent for 10 s",
    );
}

#[test]
fn silence() {
    Run::fault(&kernel(), "silence")
        .with(&["--single-serial"])
        .outcome()
        .lost(
            1,
            "timed_out",
            "its tasks' stacks are on the console (SysRq)",
        );
}

#[test]
fn a_restart() {
    Run::fault(&kernel(), "reboot")
        .outcome()
        .lost(1, "fail", "the guest restarted or switched itself off")
        .tail_has("sysrq: Resetting");
}

#[test]
fn a_restart_of_user_mode_linux() {
    Run::fault(&user_mode(), "reboot")
        .outcome()
        .lost(1, "fail", "the guest restarted");
}

#[test]
fn switched_off() {
    Run::fault(&kernel(), "power-off").outcome().lost(
        1,
        "fail",
        "the guest restarted or switched itself off",
    );
}

#[test]
fn init_exits() {
    Run::fault(&kernel(), "init-exit")
        .outcome()
        .lost(1, "fail", "Attempted to kill init!");
}

#[test]
fn results_cut_off_in_a_line() {
    Run::fault(&kernel(), "half-record").outcome().lost(
        1,
        "fail",
        "the guest restarted or switched itself off",
    );
}

// While cases run: not the kernel's fault.

#[test]
fn the_results_channel_hangs_up() {
    Run::fault(&kernel(), "results-hang-up").outcome().lost(
        125,
        "broken",
        "the suite in the guest gave up: cannot write the report",
    );
}

#[test]
fn results_that_lead_nowhere() {
    Run::fault(&kernel(), "results-lost").outcome().lost(
        125,
        "broken",
        "the suite in the guest gave up: it ended without its last event",
    );
}

#[test]
fn the_suite_exits() {
    Run::fault(&user_mode(), "suite-exit").outcome().lost(
        125,
        "broken",
        "the suite in the guest gave up: it ended without its last event",
    );
}

#[test]
fn a_guest_out_of_memory() {
    Run::fault(&kernel(), "out-of-memory")
        .with(&["--memory", "256"])
        .silence("60s")
        .outcome()
        .lost(
            125,
            "broken",
            "the guest ran out of memory: give it more than --memory 256",
        )
        .console_has("Out of memory: Killed process");
}

#[test]
fn a_machine_that_is_killed() {
    for kernel in [kernel(), user_mode()] {
        let mut run = Run::fault(&kernel, "silence").silence("600s").start();
        run.wait_for("events", "case_finished");
        kill(run.machine(), Signal::SIGKILL).expect("it can be killed");
        run.outcome()
            .lost(125, "broken", "signal 9 ended the machine");
    }
}

#[test]
fn a_machine_that_stops_itself() {
    let mut run = Run::fault(&kernel(), "silence").start();
    run.wait_for("events", "case_finished");
    kill(run.machine(), Signal::SIGSTOP).expect("it can be stopped");
    run.outcome()
        .lost(1, "timed_out", "QEMU does not answer, either");
}

#[test]
fn an_interrupted_run() {
    for (kernel, signal, exit) in [
        (kernel(), Signal::SIGINT, 130),
        (user_mode(), Signal::SIGTERM, 143),
    ] {
        let mut run = Run::fault(&kernel, "silence").silence("600s").start();
        run.wait_for("events", "case_finished");
        kill(Pid::from_raw(run.child.id() as i32), signal).expect("it can be interrupted");
        let outcome = run.outcome();
        let reason = format!("interrupted by signal {}", signal as i32);
        outcome.lost(exit, "broken", &reason);
    }
}

#[test]
fn an_interrupted_boot() {
    let run = Run::of(&kernel()).start();
    run.machine();
    kill(Pid::from_raw(run.child.id() as i32), Signal::SIGINT).expect("it can be interrupted");
    run.outcome().never_began(130, "interrupted by signal 2");
}

#[test]
fn a_runner_that_is_killed_takes_its_machine_along() {
    for kernel in [kernel(), user_mode()] {
        let mut run = Run::fault(&kernel, "silence").silence("600s").start();
        run.wait_for("events", "case_finished");
        run.child.kill().expect("it can be killed");
        run.child.wait().expect("it can be waited for");
        let start = Instant::now();
        while !processes(&run.token).is_empty() {
            assert!(start.elapsed() < PATIENCE, "{:?}", processes(&run.token));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

// While cases run: nobody's fault.

#[test]
fn a_console_flood_of_100_megabytes() {
    let run = Run::fault(&user_mode(), "flood").silence("60s");
    let outcome = run.outcome();
    outcome.all_passed();
    let size = outcome.console.len();
    assert!((16_000_000..20_000_000).contains(&size), "{size} bytes");
    outcome.console_has(" bytes, then:]");
}

#[test]
fn a_disk_that_is_full_for_the_console() {
    let outcome = Run::of(&kernel())
        .console("/dev/full")
        .with(&["--kernel-arg", "loglevel=7"])
        .outcome();
    outcome.all_passed();
    let remark = "the console cannot be kept in /dev/full (No space left on device";
    assert!(outcome.to_string().contains(remark), "{outcome}");
}

#[test]
fn a_kernel_with_one_serial_port() {
    Run::of(&kernel())
        .with(&["--kernel-arg", "8250.nr_uarts=1"])
        .outcome()
        .all_passed();
}

#[test]
fn console_and_results_on_one_port() {
    for kernel in [kernel(), user_mode()] {
        let outcome = Run::of(&kernel).with(&["--single-serial"]).outcome();
        outcome.all_passed();
        assert!(!outcome.console.contains("case_finished"), "{outcome}");
    }
}

// Before the suite.

/// As of a kernel without CONFIG_BLK_DEV_INITRD: it finds no init in its initramfs and no root.
#[test]
fn a_panic_before_the_suite() {
    for (option, exit) in [("skip", 125), ("fail", 1)] {
        Run::of(&kernel())
            .with(&[
                "--kernel-arg",
                "rdinit=/nonexistent",
                "--boot-failure",
                option,
            ])
            .outcome()
            .never_began(exit, "Unable to mount root fs")
            .never_began(exit, "CONFIG_BLK_DEV_INITRD=y")
            .tail_has("Call Trace:");
    }
}

#[test]
fn a_configuration_that_cannot_boot_is_said_beforehand() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("vmlinuz-6.1");
    let cache = vm::cache::Cache::of_user().expect("a cache");
    let kernel = runners::guest::open_kernel(&kernel(), &cache).expect("a kernel");
    std::os::unix::fs::symlink(kernel.path(), &image).expect("a link");
    let configuration = "CONFIG_64BIT=y\n# CONFIG_BLK_DEV_INITRD is not set\n";
    std::fs::write(directory.path().join("config-6.1"), configuration).expect("a file");
    let outcome = Run::of(&image.display().to_string())
        .with(&["--kernel-arg", "rdinit=/nonexistent"])
        .outcome();
    outcome.never_began(125, "Unable to mount root fs");
    let said = "the kernel was built without CONFIG_BLK_DEV_INITRD=y";
    assert!(outcome.errors.contains(said), "{outcome}");
}

#[test]
fn a_kernel_without_a_serial_console() {
    Run::of(&kernel())
        .with(&["--kernel-arg", "8250.nr_uarts=0"])
        .outcome()
        .never_began(125, "CONFIG_SERIAL_8250_CONSOLE=y");
}

#[test]
fn a_kernel_of_which_nothing_is_heard() {
    Run::of(&kernel())
        .with(&["--kernel-arg", "8250.nr_uarts=0", "--kernel-arg", "panic=0"])
        .with(&[
            "--kernel-arg",
            "rdinit=/nonexistent",
            "--boot-patience",
            "5s",
        ])
        .outcome()
        .never_began(
            125,
            "it took more than 5 s; it answers neither SysRq nor NMI",
        )
        .never_began(125, "CONFIG_SERIAL_8250_CONSOLE=y")
        .console_has("RIP=");
}

#[test]
fn too_little_memory_to_boot() {
    Run::of(&kernel())
        .with(&["--memory", "64", "--boot-patience", "20s"])
        .outcome()
        .never_began(125, "");
}

#[test]
fn more_memory_than_there_is() {
    Run::of(&kernel())
        .with(&["--memory", "1000000000"])
        .outcome()
        .never_began(125, "could not be started, status 1: qemu-system-x86_64: ");
}

// What is no guest at all.

#[test]
fn a_machine_without_qemu() {
    let mut run = Run::of(&kernel());
    run.command.env("PATH", "/nonexistent");
    run.outcome()
        .refused(125, "qemu-system-x86_64 is not installed: install it");
}

#[test]
fn a_console_that_cannot_be_created() {
    Run::of(&kernel())
        .console("/nonexistent/console")
        .outcome()
        .refused(125, "cannot keep the console in /nonexistent/console");
}

#[test]
fn kernels_that_cannot_be_used_stop_a_bisection() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("an image");
        path.display().to_string()
    };
    let cache = vm::cache::Cache::of_user().expect("a cache");
    let whole = runners::guest::open_kernel(&kernel(), &cache).expect("a kernel");
    let whole = std::fs::read(whole.path()).expect("an image");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0);
    let mut arm64 = vec![0; 4096];
    arm64[..2].copy_from_slice(b"MZ");
    arm64[56..60].copy_from_slice(b"ARM\x64");
    for (kernel, reason) in [
        (
            image("truncated", &whole[..whole.len() / 2]),
            "is cut short",
        ),
        (image("damaged", &damaged), "is damaged"),
        (
            image("arm64", &arm64),
            "is for arm64, and guests are x86-64",
        ),
        (image("empty", b""), "is empty"),
        (
            image("text", b"obj-y += fork.o\n"),
            "is a text file, not a kernel",
        ),
        ("/nonexistent/bzImage".to_owned(), "does not exist"),
        ("/dev/null".to_owned(), "is neither a file nor a directory"),
        (
            "2.6.16".to_owned(),
            "there is no kernel 2.6.16 here: fetch it",
        ),
        (
            directory.path().display().to_string(),
            "is a directory without a kernel",
        ),
    ] {
        Run::of(&kernel).outcome().refused(129, reason);
    }
}

#[test]
fn a_kernel_that_may_not_be_read() {
    if !nix::unistd::geteuid().is_root() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bzImage");
        let mut image = file(&path);
        image.write_all(b"MZ").expect("an image");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        image.set_permissions(mode).expect("its owner may");
        Run::of(&path.display().to_string())
            .outcome()
            .refused(129, "cannot be read (Permission denied");
        return;
    }
    // Root may read everything, so somebody else is to try; and somewhere they can execute this.
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let program = directory.path().join("unshare-conformance");
    std::fs::copy(PROGRAM, &program).expect("a copy");
    let image = directory.path().join("bzImage");
    std::fs::write(&image, "MZ").expect("an image");
    std::fs::set_permissions(&image, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("its owner may");
    let output = Command::new(&program)
        .arg("--kernel")
        .arg(&image)
        .env("XDG_CACHE_HOME", directory.path().join("cache"))
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("cannot be read (Permission denied"),
        "{errors}"
    );
    assert_eq!(output.status.code(), Some(129));
}

#[test]
fn options_that_do_not_go_together_are_a_wrong_command_line() {
    for (kernel, arguments, reason) in [
        (
            kernel(),
            &["--on", "uml"][..],
            "cannot be booted on user-mode",
        ),
        (
            user_mode(),
            &["--on", "qemu"],
            "cannot be booted on qemu-x86_64",
        ),
        (kernel(), &["--kernel-arg", "a b"], "is not one word"),
        (
            user_mode(),
            &["--cpus", "2"],
            "can have 1 to 1 processors, not 2",
        ),
    ] {
        Run::of(&kernel)
            .with(arguments)
            .outcome()
            .refused(129, reason);
    }
}

#[test]
fn a_report_on_a_full_disk_ends_the_guest() {
    Run::of(&user_mode())
        .with(&["--output", "json=/dev/full"])
        .outcome()
        .refused(125, "/dev/full");
}
