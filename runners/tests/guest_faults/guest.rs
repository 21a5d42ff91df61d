//! Runs the program with a guest, disturbs both, and looks at what they leave.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use crate::driver::*;

/// The first passes, the second is running when a fault happens, the third is never reached.
pub const CASES: [&str; 3] = ["flags.root.09_fs", "flags.root.10_files", "flags.root.18_sysvsem"];

/// User-mode Linux, which may not run on this processor: see [`user_mode`].
pub const USER_MODE: &str = "uml-6.1";

/// How long a guest of these tests may be silent. It gives a sign every second, but the machine may be
/// busy with other guests.
pub const SILENCE: &str = "10s";

/// The kernels of both kinds that run here.
pub fn kernels() -> impl Iterator<Item = String> {
    std::iter::once(kernel()).chain(user_mode())
}

/// The kernel under QEMU.
pub fn kernel() -> String {
    need_qemu();
    let name = std::env::var("UNSHARE_CONFORMANCE_TEST_KERNEL").unwrap_or("6.1".to_owned());
    if !Path::new(&name).exists() {
        fetched(&name);
    }
    name
}

/// User-mode Linux, where the processor lets it run a program. Elsewhere its tests are not run, and say so.
pub fn user_mode() -> Option<String> {
    static RUNS: OnceLock<bool> = OnceLock::new();
    let runs = RUNS.get_or_init(|| {
        fetched(USER_MODE);
        let events = Run::of(USER_MODE).outcome().events;
        let Some(why) = events.iter().find_map(|event| event["why"].as_str()) else {
            return true;
        };
        assert!(why.contains("runs no program on this processor"), "{why}");
        // Not eprintln!, which is captured and shown of failed tests alone.
        writeln!(std::io::stderr(), "not run: the tests of user-mode Linux: {why}").expect("written");
        false
    });
    runs.then(|| USER_MODE.to_owned())
}

/// A run of the program with a guest.
pub struct Run {
    pub command: Command,
    pub silence: &'static str,
    pub console: String,
    pub place: Place,
    /// A word by which the guest's processes are known.
    pub token: String,
}

/// What came of it.
pub struct Outcome {
    pub status: Option<i32>,
    pub events: Vec<Value>,
    pub errors: String,
    pub console: String,
}

/// A run that goes on.
pub struct Running {
    pub child: Child,
    pub place: Place,
    pub token: String,
}

impl Run {
    pub fn of(kernel: &str) -> Run {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let token = format!("guest_faults.token={}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Place::new();
        fs::create_dir(place.file("tmp")).expect("a directory");
        let output = |name| fs::File::create(place.file(name)).expect("a file");
        let mut command = Command::new(PROGRAM);
        command
            .args(["--kernel", kernel, "--accel", "tcg", "--seed", "1"])
            .args(["--format", "json"])
            .args(["--kernel-arg", &token, "--jobs", "1", "--exact"])
            .args(CASES)
            .env("TMPDIR", place.file("tmp"))
            .stdin(Stdio::null())
            .stdout(output("events"))
            .stderr(output("errors"));
        Run { command, silence: SILENCE, console: place.file("console"), place, token }
    }

    pub fn fault(self, fault: &str) -> Run {
        self.with(&["--guest-fault", fault])
    }

    pub fn with(mut self, arguments: &[&str]) -> Run {
        self.command.args(arguments);
        self
    }

    pub fn silence(self, silence: &'static str) -> Run {
        Run { silence, ..self }
    }

    pub fn console(self, console: &str) -> Run {
        Run { console: console.into(), ..self }
    }

    pub fn start(mut self) -> Running {
        self.command.args(["--silence", self.silence, "--console", &self.console]);
        Running { child: self.command.spawn().expect("the program runs"), place: self.place, token: self.token }
    }

    pub fn outcome(self) -> Outcome {
        self.start().outcome()
    }
}

impl Running {
    pub fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.place.file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the report or another file has this text.
    pub fn wait_for(&mut self, name: &str, text: &str) {
        wait_for(&format!("no {text:?} in {name}"), || self.text(name).contains(text).then_some(()));
    }

    /// The process that makes the guest, once it is there.
    pub fn machine(&self) -> Pid {
        let ours = Pid::from_raw(self.child.id() as i32);
        let is_machine = |(pid, parent): &(Pid, Pid)| *pid != ours && *parent == ours;
        wait_for("no machine", || Some(processes(&self.token).into_iter().find(is_machine)?.0))
    }

    /// Waits for the end, and for what must be gone then.
    pub fn outcome(mut self) -> Outcome {
        let status = wait_for("no end", || self.child.try_wait().expect("it can be waited for"));
        // The processes of user-mode Linux are killed with it, and may take a moment to vanish.
        wait_for("left running", || processes(&self.token).is_empty().then_some(()));
        let left = fs::read_dir(self.place.file("tmp")).expect("a directory").flatten();
        let left: Vec<PathBuf> = left.map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        Outcome {
            status: status.code(),
            events: self.text("events").lines().map(|line| serde_json::from_str(line).expect("an event")).collect(),
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

impl Outcome {
    /// Status and reason of every case that has a result, by its place in the plan.
    pub fn verdicts(&self) -> Vec<(String, String)> {
        let verdict_of = |index| {
            let is_meant = |event: &&Value| event["event"] == "case_finished" && event["index"] == index;
            let verdicts: Vec<&Value> = self.events.iter().filter(is_meant).map(|event| &event["verdict"]).collect();
            assert_eq!(verdicts.len(), 1, "every case has one result: {self}");
            let text = |member| verdicts[0][member].as_str().unwrap_or_default().to_owned();
            (text("status"), text("reason"))
        };
        let planned = self.events.iter().find_map(|event| event["plan"].as_array());
        (0..planned.map_or(CASES.len(), Vec::len)).map(verdict_of).collect()
    }

    /// The case that was running came out so, for this reason; the last one was not run.
    pub fn lost(&self, exit: i32, status: &str, reason: &str) -> &Self {
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
    pub fn splat(&self, reason: &str) -> &Self {
        let verdicts = self.verdicts();
        let statuses: Vec<&str> = verdicts.iter().map(|(status, _)| status.as_str()).collect();
        assert_eq!(statuses, ["pass", "fail", "pass"], "{self}");
        assert!(verdicts[1].1.contains(reason), "{self}");
        self.exited(1)
    }

    pub fn exited(&self, exit: i32) -> &Self {
        assert_eq!(self.status, Some(exit), "{self}");
        self
    }

    /// It never came to a plan, for this reason.
    pub fn never_began(&self, exit: i32, reason: &str) -> &Self {
        assert!(self.events.iter().all(|event| event["event"] != "case_finished"), "{self}");
        let last = self.events.iter().find(|event| event["event"] == "bailed_out");
        let why = last.map(|event| event["why"].to_string()).unwrap_or_default();
        assert!(why.contains("the kernel never reached the suite"), "{self}");
        assert!(why.contains(reason), "{self}");
        self.exited(exit)
    }

    /// There was no guest at all, for this reason.
    pub fn refused(&self, exit: i32, reason: &str) -> &Self {
        assert!(self.errors.contains(reason), "{self}");
        self.exited(exit)
    }

    pub fn all_passed(&self) -> &Self {
        assert!(self.verdicts().iter().all(|(status, _)| status == "pass"), "{self}");
        self.exited(0)
    }

    pub fn console_has(&self, text: &str) -> &Self {
        assert!(self.console.contains(text), "no {text:?} in {}", self.console);
        self
    }

    /// The end of the console is shown, too.
    pub fn tail_has(&self, text: &str) -> &Self {
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

/// Tests of one guest each: the kernel, the fault if there is one, options, and what is expected of the outcome.
macro_rules! guests {
    ($($name:ident: $kernel:ident $(, $fault:literal)? $(, $option:ident($value:expr))* => $($check:ident($($argument:expr),*)),+;)*) => {
        $(#[test]
        fn $name() {
            if let Some(kernel) = Option::<String>::from($kernel()) {
                Run::of(&kernel)$(.fault($fault))?$(.$option($value))*.outcome()$(.$check($($argument),*))+;
            }
        })*
    };
}
pub(crate) use guests;
