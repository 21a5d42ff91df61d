//! For benchmarks: cases under a supervisor, without a plan and reports.
//!
//! Everything panics on errors.

use crate::case::items;
use crate::common::*;
use crate::place::inherited::normalise;

/// A case to measure. Its name is part of its seed.
pub fn case(name: &'static str, proves: &'static [&'static str], run: Body) -> Item {
    let mut case = Case::declared_at(file!(), line!());
    (case.name, case.proves, case.run) = (name, proves, run);
    items(Box::leak(Box::new([case]))).remove(0)
}

/// A supervisor of the full tier in this process, whose output it captures: see [`in_child`].
#[derive(Debug)]
pub struct Bench {
    supervisor: Supervisor,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// Starts it with this random seed.
    pub fn start(suite: &'static Suite, seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let setting = Setting {
            suite,
            facts: Facts::gather(Sandbox::default(), suite),
            seed,
            tier: Tier::Full,
            steps: None,
            base: directory.path().to_owned(),
            slowdown: 1,
            own_kernel: false,
            before_body: None,
        };
        let log = RecordLog::map().expect("memory");
        normalise();
        Self { supervisor: Supervisor::start(setting, log, true).expect("a supervisor"), _directory: directory }
    }

    /// Wall time of a case, which must pass.
    pub fn time(&mut self, case: &Item) -> Duration {
        let start = Instant::now();
        let observation = self.supervisor.run(case, 0, Duration::from_secs(600));
        let verdict = judge(&observation);
        assert_eq!(verdict.status, Status::Pass, "{}: {verdict:?}", case.name);
        start.elapsed()
    }
}

/// Measures in a child and returns its text. The caller must be single-threaded.
pub fn in_child(measure: impl FnOnce() -> String) -> String {
    Measurement::start(measure).finish()
}

/// A measurement in a child process.
#[derive(Debug)]
pub struct Measurement {
    child: Pid,
    reader: UnixStream,
}

impl Measurement {
    /// Starts it. The caller must be single-threaded.
    pub fn start(measure: impl FnOnce() -> String) -> Self {
        let (reader, mut writer) = UnixStream::pair().expect("a socket pair");
        // SAFETY: the process is single-threaded, so the child may do anything.
        match unsafe { fork() }.expect("a child") {
            ForkResult::Child => {
                drop(reader);
                writer.write_all(measure().as_bytes()).expect("written");
                std::process::exit(0)
            }
            ForkResult::Parent { child } => Self { child, reader },
        }
    }

    /// Waits for its text.
    pub fn finish(mut self) -> String {
        let mut text = String::new();
        self.reader.read_to_string(&mut text).expect("read");
        waitpid(self.child, None).expect("a child");
        assert!(!text.is_empty(), "the measurement failed");
        text
    }
}

/// The median of at least one number.
pub fn median<T: Copy + PartialOrd>(mut numbers: Vec<T>) -> T {
    numbers.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    numbers[numbers.len() / 2]
}
