//! A run: facts, plan, supervisor processes, and the resulting events.
//!
//! The process that calls [`run`] must be single-threaded: it forks the supervisors, which fork the cases. It only
//! reads and judges what they send.

mod crew;
mod options;
mod scout;
mod signals;
mod verdicts;
mod wire;
mod worker;

use crate::case::test::seed_of_repetition;
use crate::common::*;
use crate::place::filter;
use crate::place::inherited;
use crate::place::sandbox;
use crate::run::kernel_log::KernelLog;
use crate::run::leftovers::{KILL_PATIENCE, kill_children_but, where_it_hangs};
use crate::run::patience::{Patience, Tasks};
use crate::run::plan::{Planned, plan};
use crate::run::settings::{Kept, restore_stale};
use crate::run::supervise::{adopt_orphans, pidfd_open, wait_until_dead};
use crate::verdict::judge::worst_of;

pub use options::{Amend, RunEnd, RunError, RunOptions, Sink, usual_jobs};
pub use scout::{facts, facts_as_json};
use signals::Signals;
use wire::{Job, receive, send};
use worker::{Worker, deadline, serve};

/// Runs the items and sends events to `sink`.
///
/// # Errors
/// See [`RunError`]; everything that was started is cleaned up.
pub fn run(items: Vec<Item>, options: &RunOptions, sink: &mut Sink) -> Result<RunEnd, RunError> {
    let start = Instant::now();
    filter::refused_to_all().map_or(Ok(()), |call| Err(RunError::Filtered(call)))?;
    let signals = Signals::block()?;
    adopt_orphans()?;
    restore_stale(options.suite);
    (options.suite.remove_stale)();
    let mut facts = match &options.facts {
        Some(facts) => facts.clone(),
        None => facts(options.suite)?,
    };
    if let Some(Amend(amend)) = &options.amend {
        amend(&mut facts);
    }
    facts.caveat.clone_from(&options.caveat);
    let planned = plan(options.suite, items, &facts, options.may_disturb_host).into_iter();
    let left_out = |item: &Item| Some(Verdict::not_run(Status::Skip, (options.left_out)(&item.name)?));
    let entries = planned.map(|Planned { item, verdict }| {
        let verdict = verdict.or_else(|| left_out(&item));
        Entry { item, verdict, attempts: Vec::new(), asked: 0, reported: false }
    });
    // Only a run without a sandbox needs a directory on the host.
    let directory = match facts.sandbox {
        Sandbox::None { .. } => Some(writable_directory(options.suite.name)?),
        _ => None,
    };
    let base = directory.as_ref().map_or(Path::new("/"), |directory| directory.path());
    let mut run = Run {
        setting: Setting {
            suite: options.suite,
            facts,
            seed: options.seed,
            tier: options.tier,
            steps: options.steps,
            base: base.to_owned(),
            slowdown: options.slowdown,
            own_kernel: options.own_kernel,
            before_body: options.before_body,
        },
        entries: entries.collect(),
        failed: false,
        failures: 0,
        cut_short: false,
        stuck: None,
        counts: Counts::default(),
        workers: Vec::new(),
        kernel_log: KernelLog::watch(options.own_kernel, options.suite.task_names),
        last_alive: Instant::now(),
        options,
        sink,
    };
    let kept = Kept::save(options.suite, run.needs())?;
    let result = run.work(&signals);
    run.stop_workers();
    kept.restore();
    (options.suite.remove_stale)();
    let interrupted = result?;
    let counts = run.counts;
    (run.sink)(&Event::RunFinished { counts, interrupted, milliseconds: start.elapsed().as_millis() as u64 })?;
    Ok(RunEnd { counts, interrupted })
}

const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many jobs a supervisor is given, so that it need not wait for the next one.
const JOBS_AHEAD: usize = 2;

/// A case of the plan, and how far the run has come with it.
struct Entry {
    item: Item,
    /// The verdict, once there is one and until it is reported. A case that has one at the start is not run.
    verdict: Option<Verdict>,
    /// The verdicts on its repetitions so far.
    attempts: Vec<Verdict>,
    /// How many repetitions were queued so far.
    asked: usize,
    reported: bool,
}

struct Run<'a, 's> {
    setting: Setting,
    options: &'a RunOptions,
    sink: &'a mut Sink<'s>,
    /// The plan. Jobs and events refer to a case by its index here.
    entries: Vec<Entry>,
    /// Whether a case failed, other than expected.
    failed: bool,
    /// How many results are failures, other than expected.
    failures: u32,
    cut_short: bool,
    /// Why the kernel cannot be tested any further, if so.
    stuck: Option<String>,
    counts: Counts,
    workers: Vec<Worker>,
    kernel_log: KernelLog,
    last_alive: Instant,
}

impl Run<'_, '_> {
    /// Runs everything; returns the signal that interrupted it, if one did.
    fn work(&mut self, signals: &Signals) -> Result<Option<i32>, RunError> {
        let mut to_run: Vec<usize> =
            (0..self.entries.len()).filter(|&index| self.entries[index].verdict.is_none()).collect();
        to_run.sort_by_cached_key(|&index| (self.options.rank)(&self.entries[index].item.name));
        let (alone, together): (Vec<_>, Vec<_>) =
            to_run.into_iter().partition(|&index| self.entries[index].item.needs().is_alone());
        let repeat = self.options.repeat.max(1);
        let runs = (together.len() + alone.len()) * repeat as usize;
        let most = if self.runs_on() { usize::MAX } else { runs };
        let wanted = (self.options.jobs.max(1) as usize).min(most);
        let added = (0..wanted).try_for_each(|_| self.add_worker());
        // Reported while the supervisors make their sandboxes.
        self.report_start()?;
        // Where a limit on processes or namespaces leaves room for fewer, the cases take longer.
        let wanted = match (added, self.workers.len()) {
            (Err(error), 0) => return Err(error),
            (Err(error), started) => {
                eprintln!("{}: {started} of {wanted} supervisors started: {error}", self.options.suite.name);
                started
            }
            (Ok(()), started) => started,
        };
        self.report_finished()?;
        // Cases that change or measure global state run alone, one at a time.
        let parts = [(together, JOBS_AHEAD, wanted), (alone, 1, 1)];
        let shares = parts.iter().filter(|(cases, ..)| !cases.is_empty()).count() as u32;
        for (cases, ahead, width) in parts {
            if cases.is_empty() {
                continue;
            }
            let end = self.options.duration.map(|duration| Instant::now() + duration / shares.max(1));
            let queue = &mut VecDeque::new();
            let mut round = 0;
            loop {
                if self.failed && self.options.until_failure {
                    // Only repetitions are dropped: each case runs once.
                    for job in queue.drain(..).filter(|job: &Job| job.repetition > 0) {
                        self.entries[job.index as usize].asked -= 1;
                    }
                }
                if queue.is_empty() && (round == 0 || self.goes_on(end)) {
                    let repetitions = if round == 0 { 0..repeat } else { round..round + 1 };
                    round = repetitions.end;
                    for index in &cases {
                        queue.extend(repetitions.clone().map(|repetition| Job { index: *index as u32, repetition }));
                        self.entries[*index].asked += repetitions.len();
                    }
                }
                self.assign(queue, ahead, width)?;
                if self.workers.iter().all(|worker| worker.jobs.is_empty()) {
                    break;
                }
                if let Some(signal) = self.wait(signals, queue)? {
                    self.cut_short(Some(Verdict::never_reached(&format!("interrupted by signal {signal}"))))?;
                    return Ok(Some(signal));
                }
                if let Some(why) = self.stuck.take() {
                    self.cut_short(Some(Verdict::never_reached(&why)))?;
                    return Ok(None);
                }
                if self.options.fail_fast.is_some_and(|most| self.failures >= most) {
                    // A runner that gets the results in any order knows what it lacks.
                    self.cut_short(self.options.in_order.then(Verdict::stopped_before))?;
                    return Ok(None);
                }
            }
            for index in cases {
                self.close(index)?;
            }
        }
        Ok(None)
    }

    fn report_start(&mut self) -> io::Result<()> {
        (self.sink)(&Event::RunStarted {
            program: self.options.program.clone(),
            facts: Box::new(self.setting.facts.clone()),
            plan: self.entries.iter().map(|entry| CaseInfo::from(&entry.item)).collect(),
            seed: self.options.seed,
            tier: self.options.tier,
            repeat: self.options.repeat,
            part: self.options.part,
        })
    }

    /// Whether cases are repeated until a time limit or a failure.
    fn runs_on(&self) -> bool {
        self.options.duration.is_some() || self.options.until_failure
    }

    /// Whether to run each case once more.
    fn goes_on(&self, end: Option<Instant>) -> bool {
        self.runs_on() && !(self.failed && self.options.until_failure) && end.is_none_or(|end| Instant::now() < end)
    }

    fn assign(&mut self, queue: &mut VecDeque<Job>, ahead: usize, width: usize) -> Result<(), RunError> {
        // Each supervisor gets one job before any gets a second, and no job waits behind a long one while another
        // supervisor is idle.
        for depth in 0..ahead {
            for at in 0..width.min(self.workers.len()) {
                let Some(&job) = queue.front() else {
                    return Ok(());
                };
                let worker = &self.workers[at];
                let behind = worker.jobs.front().copied();
                if worker.jobs.len() > depth || behind.is_some_and(|first| self.is_long(first) || self.is_long(job)) {
                    continue;
                }
                queue.pop_front();
                let worker = &mut self.workers[at];
                // A dead supervisor is noticed when its answer is read.
                let _ = send(&mut worker.stream, &job);
                worker.jobs.push_back(job);
                if worker.jobs.len() == 1 {
                    worker.begin();
                    self.announce(job)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a job takes longer than waiting for the next one.
    fn is_long(&self, job: Job) -> bool {
        let item = &self.entries[job.index as usize].item;
        (item.case.work)(self.options.tier) > 1
    }

    fn announce(&mut self, job: Job) -> Result<(), RunError> {
        if job.repetition == 0 {
            (self.sink)(&Event::CaseStarted { index: job.index as usize })?;
        }
        Ok(())
    }

    /// Waits for an answer or a signal.
    fn wait(&mut self, signals: &Signals, queue: &mut VecDeque<Job>) -> Result<Option<i32>, RunError> {
        let ready: Vec<usize> = {
            let fds = self.workers.iter().map(|worker| worker.stream.as_fd()).chain(signals.fd.iter().map(AsFd::as_fd));
            let mut polled: Vec<PollFd> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            // In time for a heartbeat, and to see that a supervisor hangs.
            match poll(&mut polled, PollTimeout::from(HEARTBEAT.as_millis() as u16)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
            // Also when answers arrive: repetitions of a case send no event.
            if self.options.heartbeat && self.last_alive.elapsed() >= HEARTBEAT {
                (self.sink)(&Event::Alive)?;
                report_progress(&self.workers, self.sink)?;
                self.last_alive = Instant::now();
            }
            (0..self.workers.len())
                .filter(|&at| polled[at].revents().is_some_and(|events| !events.is_empty()))
                .collect()
        };
        if let Some(signal) = signals.pending() {
            return Ok(Some(signal));
        }
        // From the back, since a dead supervisor is removed from the list.
        for at in ready.into_iter().rev() {
            self.take_answer(at, queue)?;
        }
        let hanging = self.workers.iter_mut().position(|worker| {
            let job = worker.jobs.front().copied();
            job.is_some_and(|job| worker.hangs(deadline(&self.entries[job.index as usize].item, self.options)))
        });
        hanging.map_or(Ok(()), |at| self.give_up_on(at, queue))?;
        Ok(None)
    }

    fn take_answer(&mut self, at: usize, queue: &mut VecDeque<Job>) -> Result<(), RunError> {
        let (job, observation) = match receive(&mut self.workers[at].stream) {
            Ok(observation) => {
                let job = self.workers[at].jobs.pop_front();
                (job.ok_or_else(|| RunError::Supervisor("unexpected answer".to_owned()))?, observation)
            }
            Err(_) => {
                let (job, how) = self.replace_worker(at, queue)?;
                (job, Observation::new(Ending::SupervisorLost { how }))
            }
        };
        self.take(at, job, observation)
    }

    /// Judges what was observed of a job, which was the first of this supervisor, if that still exists.
    fn take(&mut self, at: usize, job: Job, mut observation: Observation) -> Result<(), RunError> {
        self.attribute_news(at, &mut observation);
        let mut verdict = judge(&observation);
        if !matches!(verdict.status, Status::Pass | Status::Skip) {
            let is_new = self.outcome(job.index as usize, &verdict) == Outcome::AS_JUDGED;
            self.failed |= is_new;
            // A case fails once, however often it is repeated.
            let fails = |verdict: &Verdict| matches!(verdict.status, Status::Fail | Status::TimedOut);
            let failed_before = self.entries[job.index as usize].attempts.iter().any(fails);
            self.failures += u32::from(is_new && fails(&verdict) && !failed_before);
            verdict.repetition = job.repetition;
            if job.repetition > 0 {
                let seed = seed_of_repetition(self.options.seed, job.repetition);
                verdict.notes.push(format!("repetition {}: --seed {seed} repeats it", job.repetition + 1));
            }
        } else if job.repetition > 0 {
            // The notes of the first repetition suffice.
            verdict.notes.clear();
        }
        if let Some(worker) = self.workers.get_mut(at) {
            worker.begin();
            if let Some(&next) = worker.jobs.front() {
                self.announce(next)?;
            }
        }
        let index = job.index as usize;
        self.entries[index].attempts.push(verdict);
        if !self.runs_on() {
            self.close(index)?;
        }
        Ok(())
    }

    /// What the cases of the plan that are run need, together.
    fn needs(&self) -> Needs {
        let to_run = self.entries.iter().filter(|entry| entry.verdict.is_none());
        to_run.fold(Needs::NONE, |needs, entry| needs.and(entry.item.needs()))
    }
}

/// Reports the progress of running cases that publish it.
fn report_progress(workers: &[Worker], sink: &mut Sink) -> io::Result<()> {
    for worker in workers {
        if let (Some(job), Some((done, total))) = (worker.jobs.front(), worker.log.progress()) {
            sink(&Event::Progress { index: job.index as usize, repetition: job.repetition, done, total })?;
        }
    }
    Ok(())
}

/// A temporary directory in the first place that takes one: in containers the usual place may be read-only.
fn writable_directory(name: &str) -> io::Result<tempfile::TempDir> {
    let prefix = format!("{name}-");
    let make = |place: &Path| {
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(place)?;
        // Whatever the umask is: tasks of ordinary users pass through.
        fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map(|()| directory)
    };
    let others = ["/dev/shm", "/var/tmp", "/run", "."].map(Path::new);
    make(&std::env::temp_dir()).or_else(|error| others.into_iter().find_map(|place| make(place).ok()).ok_or(error))
}
