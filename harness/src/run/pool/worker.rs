//! A supervisor process, from both sides.

use super::*;

/// A supervisor, seen from the reporting process.
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) stream: UnixStream,
    /// Jobs without an answer; it runs the first.
    pub(super) jobs: VecDeque<Job>,
    /// The log of its cases.
    pub(super) log: RecordLog,
    /// What the kernel said while its first job ran, if it was read when another one ended.
    pub(super) news: News,
    /// How long its first job may still take, as the machine lets it run; begun when it is late.
    pub(super) patience: Option<Patience>,
    /// When it began its first job.
    pub(super) began: Instant,
}

/// What a supervisor may need after the deadline of a case: to kill it, and to kill what it left.
const CLEANING_UP: Duration = KILL_PATIENCE.saturating_mul(2);

/// The time that a supervisor gives a case.
pub(super) fn deadline(item: &Item, options: &RunOptions) -> Duration {
    options.timeout.unwrap_or(item.case.deadline) * options.slowdown.max(1)
}

impl Worker {
    pub(super) fn new(pid: Pid, stream: UnixStream, log: RecordLog) -> Self {
        let (jobs, news) = (VecDeque::new(), News::default());
        Self { pid, stream, jobs, log, news, patience: None, began: Instant::now() }
    }

    /// Begins the time of its first job.
    pub(super) fn begin(&mut self) {
        (self.patience, self.began) = (None, Instant::now());
    }

    /// Whether it hangs itself, beside a case that it should have given up long ago: its own look at /proc or its
    /// cleaning up waits for a lock that the kernel never releases.
    pub(super) fn hangs(&mut self, deadline: Duration) -> bool {
        if self.jobs.is_empty() || self.began.elapsed() < deadline.min(CLEANING_UP) {
            return false;
        }
        let pid = self.pid;
        let patience = self.patience.get_or_insert_with(|| Patience::new(deadline + CLEANING_UP, Tasks::From(pid)));
        patience.is_over()
    }
}

/// Main function of a supervisor: prepares, then answers jobs until the reporting process hangs up. Returns the exit
/// status.
pub(super) fn serve(
    mut stream: UnixStream,
    entries: &[Entry],
    setting: &Setting,
    options: &RunOptions,
    log: RecordLog,
    ids: (u32, u32),
) -> i32 {
    // Before anything is made: whatever the umask is.
    inherited::normalise();
    // A supervisor never outlives the run.
    let _ = set_pdeathsig(Signal::SIGKILL);
    let sandbox = &setting.facts.sandbox;
    let has_sandbox = !matches!(sandbox, Sandbox::None { .. });
    let fallback = setting.base.join(std::process::id().to_string());
    if !has_sandbox && fs::create_dir(&fallback).is_err() {
        return 2;
    }
    let supervisor = sandbox::furnish(sandbox, setting.suite.name, ids, &fallback).and_then(|base| {
        let setting = Setting { base, ..setting.clone() };
        Supervisor::start(setting, log, has_sandbox)
    });
    let mut supervisor = match supervisor {
        Ok(supervisor) => supervisor,
        Err(error) => {
            eprintln!("{}: a supervisor cannot be set up: {error}", setting.suite.name);
            return 3;
        }
    };
    while let Ok(job) = receive::<Job>(&mut stream) {
        let item = &entries[job.index as usize].item;
        let observation = supervisor.run(item, job.repetition, deadline(item, options));
        if send(&mut stream, &observation).is_err() {
            break;
        }
    }
    0
}
