//! A run: facts, plan, several supervisors as processes, and the events that come of it.
//!
//! The process that calls [`run`] must be single-threaded while it runs: it forks the supervisors,
//! which fork the cases. It only reads and judges what they send.

mod scout;
mod signals;
mod wire;
mod worker;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::case::Item;
use crate::case_run::{BeforeBody, Setting, Tier, seed_of_repetition};
use crate::event::{CaseInfo, Event};
use crate::facts::Facts;
use crate::judge::{Status, Verdict, judge, worst_of};
use crate::kernel_log::KernelLog;
use crate::leaks::{become_subreaper, kill_children_but};
use crate::needs::{Feature, Global};
use crate::outcome::{Counts, KnownBug, expect};
use crate::plan::{Planned, plan};
use crate::record::RecordLog;
use crate::sandbox::{self, Sandbox};
use crate::shard::Part;
use crate::supervise::{Ending, Observation, restore_globals};

pub use scout::{facts, facts_as_json};
use signals::Signals;
use wire::{Job, receive_observation, send_job};
use worker::{Worker, serve};

/// How many cases run at the same time where nobody says so: two for each CPU, since making and
/// leaving namespaces is waiting for the kernel's grace periods half of the time.
pub fn usual_jobs(cpus: u32) -> u32 {
    cpus.saturating_mul(2)
}

/// How a run is to be done.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What is reported as the program's version.
    pub program: String,
    /// What random draws start from.
    pub seed: u64,
    /// How much of large spaces to look at.
    pub tier: Tier,
    /// How often to run each case; at least once.
    pub repeat: u32,
    /// Run the cases again and again for so long, beyond `repeat` times.
    pub duration: Option<Duration>,
    /// Run the cases again and again until one fails.
    pub until_failure: bool,
    /// How many supervisors; at least one.
    pub jobs: u32,
    /// The deadline of every case, instead of its own.
    pub timeout: Option<Duration>,
    /// What the cases' own deadlines are multiplied with on a slow (emulated) machine.
    pub slowdown: u32,
    /// Cases may change what every process of the machine sees.
    pub may_disturb_host: bool,
    /// Features that are promised to be there.
    pub promised: Vec<Feature>,
    /// Documented kernel bugs; asked for when the first case has run.
    pub known_bugs: fn() -> Vec<KnownBug>,
    /// What [`facts`] found, when that was asked before.
    pub facts: Option<Facts>,
    /// Tell once a second that the run goes on, and how far long cases have come.
    pub heartbeat: bool,
    /// Report in the order of the plan, which holds results back until their turn.
    pub in_order: bool,
    /// What each case's child does before the body, if anything.
    pub before_body: Option<BeforeBody>,
    /// Why what comes of this run is no verdict on a kernel, where it is none. Heads every report.
    pub caveat: Option<String>,
    /// Why a case of this name is left out of this run, where it is.
    pub left_out: fn(&str) -> Option<String>,
    /// Which part of a larger run this is, if it is one.
    pub part: Option<Part>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// How many cases came out how.
    pub counts: Counts,
    /// The signal that cut it short, if one did.
    pub interrupted: Option<i32>,
    /// Whether it was given up.
    pub bailed_out: bool,
}

/// Where events go. An error (a report that cannot be written) ends the run.
pub type Sink<'a> = dyn FnMut(&Event) -> io::Result<()> + 'a;

/// What makes a run impossible, or cuts it short for a reason that is not the kernel's.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no /proc to observe tasks through.
    #[error(
        "/proc is not mounted, and nothing can be observed without it: mount -t proc proc /proc"
    )]
    NoProc,
    /// No process can be forked, or one cannot be prepared.
    #[error("cannot start a supervisor: {0}")]
    Supervisor(String),
    /// A report cannot be written.
    #[error("cannot write the report")]
    Report(#[from] io::Error),
}

/// Runs the items and sends what happens to `sink`.
///
/// # Errors
/// See [`RunError`]; everything that was started is gone by then.
pub fn run(items: Vec<Item>, options: &RunOptions, sink: &mut Sink) -> Result<RunEnd, RunError> {
    let start = Instant::now();
    let signals = Signals::block()?;
    become_subreaper().map_err(io::Error::from)?;
    let mut facts = match &options.facts {
        Some(facts) => facts.clone(),
        None => facts()?,
    };
    facts.caveat.clone_from(&options.caveat);
    let promised: Vec<Feature> = options
        .promised
        .iter()
        .chain(&facts.configured)
        .copied()
        .collect();
    let mut planned = plan(items, &facts, options.may_disturb_host, &promised);
    for entry in planned.iter_mut().filter(|entry| entry.verdict.is_none()) {
        entry.verdict = (options.left_out)(&entry.item.name)
            .map(|reason| Verdict::not_run(Status::Skip, reason));
    }
    // Only a run without a sandbox needs a directory that the host sees.
    let directory = match facts.sandbox {
        Sandbox::None { .. } => Some(
            tempfile::Builder::new()
                .prefix("unshare-conformance-")
                .tempdir()?,
        ),
        _ => None,
    };
    let base = directory
        .as_ref()
        .map_or(Path::new("/"), |directory| directory.path());
    let mut run = Run {
        setting: Setting {
            facts,
            seed: options.seed,
            tier: options.tier,
            base: base.to_owned(),
            slowdown: options.slowdown,
            before_body: options.before_body,
        },
        attempts: planned.iter().map(|_| Vec::new()).collect(),
        asked: planned.iter().map(|_| 0).collect(),
        failed: false,
        cut_short: false,
        held_back: planned.iter().map(|entry| entry.verdict.clone()).collect(),
        reported: 0,
        counts: Counts::default(),
        workers: Vec::new(),
        kernel_log: KernelLog::watch(),
        last_alive: Instant::now(),
        known_bugs: LazyLock::new(options.known_bugs),
        planned,
        options,
        sink,
    };
    let globals = run.save_globals();
    let result = run.work(&signals);
    run.stop_workers();
    restore_globals(&globals);
    let interrupted = result?;
    let counts = run.counts;
    (run.sink)(&Event::RunFinished {
        counts,
        interrupted,
        milliseconds: start.elapsed().as_millis() as u64,
    })?;
    Ok(RunEnd {
        counts,
        interrupted,
        bailed_out: false,
    })
}

/// How often a run says that it goes on, for whoever asked for that.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many jobs a supervisor holds, so that it need not wait for the next one.
const JOBS_AHEAD: usize = 2;

struct Run<'a, 's> {
    setting: Setting,
    planned: Vec<Planned>,
    options: &'a RunOptions,
    sink: &'a mut Sink<'s>,
    attempts: Vec<Vec<Verdict>>,
    /// How often each case was to be run so far.
    asked: Vec<usize>,
    /// Whether a case failed.
    failed: bool,
    /// Whether a signal ended the run.
    cut_short: bool,
    held_back: Vec<Option<Verdict>>,
    reported: usize,
    counts: Counts,
    workers: Vec<Worker>,
    kernel_log: KernelLog,
    last_alive: Instant,
    /// Documented kernel bugs.
    known_bugs: LazyLock<Vec<KnownBug>>,
}

impl Run<'_, '_> {
    /// Runs everything; gives the signal that interrupted it, if one did.
    fn work(&mut self, signals: &Signals) -> Result<Option<i32>, RunError> {
        let is_exclusive = |entry: &Planned| entry.item.needs().is_alone();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (index, entry) in self.planned.iter().enumerate() {
            if entry.verdict.is_none() {
                let queue = if is_exclusive(entry) {
                    &mut alone
                } else {
                    &mut together
                };
                queue.push(index);
            }
        }
        let repeat = self.options.repeat.max(1);
        let most = match self.runs_on() {
            true => usize::MAX,
            false => (together.len() + alone.len()) * repeat as usize,
        };
        let wanted = (self.options.jobs.max(1) as usize).min(most);
        let added = (0..wanted).try_for_each(|_| self.add_worker());
        // Told while the supervisors make their sandboxes.
        self.tell_start()?;
        added?;
        self.report_finished()?;
        // What changes global state, or measures it, runs when nothing else does, one at a time.
        let parts = [(together, JOBS_AHEAD, wanted), (alone, 1, 1)];
        let shares = parts.iter().filter(|(cases, ..)| !cases.is_empty()).count() as u32;
        for (cases, ahead, width) in parts {
            if cases.is_empty() {
                continue;
            }
            let end = self
                .options
                .duration
                .map(|duration| Instant::now() + duration / shares.max(1));
            let queue = &mut VecDeque::new();
            let mut round = 0;
            loop {
                if self.failed && self.options.until_failure {
                    // Whoever had a turn already keeps it.
                    for job in queue.drain(..).filter(|job: &Job| job.repetition > 0) {
                        self.asked[job.index as usize] -= 1;
                    }
                }
                if queue.is_empty() && (round == 0 || self.goes_on(end)) {
                    let repetitions = if round == 0 {
                        0..repeat
                    } else {
                        round..round + 1
                    };
                    round = repetitions.end;
                    for index in &cases {
                        queue.extend(repetitions.clone().map(|repetition| Job {
                            index: *index as u32,
                            repetition,
                        }));
                        self.asked[*index] += repetitions.len();
                    }
                }
                self.assign(queue, ahead, width)?;
                if self.workers.iter().all(|worker| worker.jobs.is_empty()) {
                    break;
                }
                if let Some(signal) = self.wait(signals, queue)? {
                    self.cut_short()?;
                    return Ok(Some(signal));
                }
            }
            for index in cases {
                self.close(index)?;
            }
        }
        Ok(None)
    }

    fn tell_start(&mut self) -> io::Result<()> {
        (self.sink)(&Event::RunStarted {
            program: self.options.program.clone(),
            facts: Box::new(self.setting.facts.clone()),
            plan: self
                .planned
                .iter()
                .map(|entry| CaseInfo::from(&entry.item))
                .collect(),
            seed: self.options.seed,
            tier: self.options.tier,
            repeat: self.options.repeat,
            part: self.options.part,
        })
    }

    /// Whether cases are run until time or a failure says to stop.
    fn runs_on(&self) -> bool {
        self.options.duration.is_some() || self.options.until_failure
    }

    /// Whether there is to be another run of each.
    fn goes_on(&self, end: Option<Instant>) -> bool {
        self.runs_on()
            && !(self.failed && self.options.until_failure)
            && end.is_none_or(|end| Instant::now() < end)
    }

    /// Reports what is known of each case when a signal ends the run: an hour of rounds is not lost for
    /// the last ones.
    fn cut_short(&mut self) -> Result<(), RunError> {
        self.cut_short = true;
        for index in 0..self.planned.len() {
            self.close(index)?;
        }
        for index in self.reported..self.planned.len() {
            self.report(index)?;
        }
        Ok(())
    }

    /// Reports a case that was run as often as it shall be.
    fn close(&mut self, index: usize) -> Result<(), RunError> {
        let (runs, asked) = (self.attempts[index].len(), self.asked[index]);
        if runs == 0 || (runs < asked && !self.cut_short) {
            return Ok(());
        }
        let mut verdict = worst_of(std::mem::take(&mut self.attempts[index]));
        if self.runs_on() {
            let runs = runs as u64;
            let (first, last) = (self.options.seed, self.options.seed.wrapping_add(runs - 1));
            verdict
                .notes
                .push(format!("{runs} runs, of the seeds {first} to {last}"));
        } else if runs < asked {
            let text = format!("cut short after {runs} of {asked} runs");
            verdict.notes.push(text);
        }
        self.held_back[index] = Some(verdict);
        if self.options.in_order {
            self.report_finished()
        } else {
            self.report(index)
        }
    }

    fn assign(
        &mut self,
        queue: &mut VecDeque<Job>,
        ahead: usize,
        width: usize,
    ) -> Result<(), RunError> {
        // Each gets one before any gets a second, and nothing waits behind a long one while another
        // supervisor has nothing to do.
        for depth in 0..ahead {
            for at in 0..width.min(self.workers.len()) {
                let Some(&job) = queue.front() else {
                    return Ok(());
                };
                let worker = &self.workers[at];
                let behind = worker.jobs.front().copied();
                if worker.jobs.len() > depth
                    || behind.is_some_and(|first| self.is_long(first) || self.is_long(job))
                {
                    continue;
                }
                queue.pop_front();
                let worker = &mut self.workers[at];
                // A supervisor that is gone is noticed when its answer is read.
                let _ = send_job(&mut worker.stream, job);
                worker.jobs.push_back(job);
                if worker.jobs.len() == 1 {
                    self.announce(job)?;
                }
            }
        }
        Ok(())
    }

    /// Whether it takes longer than it costs to wait for the next job.
    fn is_long(&self, job: Job) -> bool {
        let item = &self.planned[job.index as usize].item;
        (item.case.work)(self.options.tier) > 1
    }

    fn announce(&mut self, job: Job) -> Result<(), RunError> {
        if job.repetition == 0 {
            (self.sink)(&Event::CaseStarted {
                index: job.index as usize,
            })?;
        }
        Ok(())
    }

    /// Waits for an answer or a signal.
    fn wait(
        &mut self,
        signals: &Signals,
        queue: &mut VecDeque<Job>,
    ) -> Result<Option<i32>, RunError> {
        let ready: Vec<usize> = {
            let fds: Vec<BorrowedFd> = self
                .workers
                .iter()
                .map(|worker| worker.stream.as_fd())
                .collect();
            let mut polled: Vec<PollFd> = fds
                .iter()
                .chain([&signals.fd.as_fd()])
                .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
                .collect();
            let timeout = if self.options.heartbeat {
                PollTimeout::try_from(HEARTBEAT).unwrap_or(PollTimeout::MAX)
            } else {
                PollTimeout::NONE
            };
            match poll(&mut polled, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
            // Not only when nothing came: repetitions of a case come without an event.
            if self.options.heartbeat && self.last_alive.elapsed() >= HEARTBEAT {
                (self.sink)(&Event::Alive)?;
                tell_progress(&self.workers, self.sink)?;
                self.last_alive = Instant::now();
            }
            (0..fds.len())
                .filter(|&at| {
                    polled[at]
                        .revents()
                        .is_some_and(|events| !events.is_empty())
                })
                .collect()
        };
        if let Some(signal) = signals.pending() {
            return Ok(Some(signal));
        }
        // From the back, since a lost supervisor is taken out of the list.
        for at in ready.into_iter().rev() {
            self.take_answer(at, queue)?;
        }
        Ok(None)
    }

    fn take_answer(&mut self, at: usize, queue: &mut VecDeque<Job>) -> Result<(), RunError> {
        let (job, mut observation) = match receive_observation(&mut self.workers[at].stream) {
            Ok(observation) => {
                let Some(job) = self.workers[at].jobs.pop_front() else {
                    return Err(RunError::Supervisor(
                        "it answered a question nobody asked".to_owned(),
                    ));
                };
                (job, observation)
            }
            Err(_) => {
                let (job, how) = self.replace_worker(at, queue)?;
                (job, lost(how))
            }
        };
        self.attribute_splats(at, &mut observation);
        let mut verdict = judge(&observation);
        if !matches!(verdict.status, Status::Pass | Status::Skip) {
            self.failed |= self.known_bug(job.index as usize).is_none();
            verdict.repetition = job.repetition;
            if job.repetition > 0 {
                let seed = seed_of_repetition(self.options.seed, job.repetition);
                verdict.notes.push(format!(
                    "it was repetition {}: --seed {seed} repeats it",
                    job.repetition + 1
                ));
            }
        } else if job.repetition > 0 {
            // Those of the first will do.
            verdict.notes.clear();
        }
        if let Some(next) = self
            .workers
            .get(at)
            .and_then(|worker| worker.jobs.front())
            .copied()
        {
            self.announce(next)?;
        }
        let index = job.index as usize;
        self.attempts[index].push(verdict);
        if !self.runs_on() {
            self.close(index)?;
        }
        Ok(())
    }

    /// The documented bug of this kernel that a case finds, if there is one.
    fn known_bug(&self, index: usize) -> Option<&KnownBug> {
        let name = &self.planned[index].item.name;
        let version = self.setting.facts.version;
        self.known_bugs
            .iter()
            .find(|bug| bug.applies(name, version))
    }

    /// What the kernel logged since the last answer belongs to every case that was running.
    fn attribute_splats(&mut self, at: usize, observation: &mut Observation) {
        let mut new = self.kernel_log.splats();
        new.extend(self.kernel_log.new_taint());
        for (other, worker) in self.workers.iter_mut().enumerate() {
            if other != at && !worker.jobs.is_empty() {
                worker.splats.extend(new.iter().cloned());
            }
        }
        if let Some(worker) = self.workers.get_mut(at) {
            observation.splats.append(&mut worker.splats);
        }
        observation.splats.append(&mut new);
    }

    fn report_finished(&mut self) -> Result<(), RunError> {
        if !self.options.in_order {
            for index in 0..self.planned.len() {
                self.report(index)?;
            }
            return Ok(());
        }
        while self.reported < self.planned.len() && self.held_back[self.reported].is_some() {
            self.report(self.reported)?;
            self.reported += 1;
        }
        Ok(())
    }

    fn report(&mut self, index: usize) -> Result<(), RunError> {
        let Some(verdict) = self.held_back[index].take() else {
            return Ok(());
        };
        let bug = match verdict.status {
            Status::Skip => None,
            _ => self.known_bug(index),
        };
        let outcome = expect(&verdict, bug);
        self.counts.add(verdict.status, &outcome);
        (self.sink)(&Event::CaseFinished {
            index,
            verdict: Box::new(verdict),
            outcome,
        })?;
        Ok(())
    }

    fn add_worker(&mut self) -> Result<(), RunError> {
        let failed = |what: String| RunError::Supervisor(what);
        let (ours, theirs) = UnixStream::pair()?;
        let log = RecordLog::map()?;
        let ids = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        let sandbox = &self.setting.facts.sandbox;
        let pid = sandbox::fork_into(sandbox).map_err(|errno| failed(format!("{errno:?}")))?;
        if pid.as_raw() == 0 {
            drop(ours);
            // The other supervisors' ends would keep them from noticing that we are gone.
            self.workers.clear();
            let status = serve(theirs, &self.planned, &self.setting, self.options, log, ids);
            // SAFETY: ends the supervisor without the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        self.workers.push(Worker {
            pid,
            stream: ours,
            jobs: VecDeque::new(),
            log,
            splats: Vec::new(),
        });
        Ok(())
    }

    /// A supervisor died: whatever it left is removed, another takes its place, and its jobs go
    /// back to the queue but for the one it ran.
    fn replace_worker(
        &mut self,
        at: usize,
        queue: &mut VecDeque<Job>,
    ) -> Result<(Job, String), RunError> {
        let mut worker = self.workers.remove(at);
        let _ = kill(worker.pid, Signal::SIGKILL);
        let how = match waitpid(worker.pid, None) {
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("{signal} ended it"),
            Ok(WaitStatus::Exited(_, status)) => format!("it exited with status {status}"),
            other => format!("{other:?}"),
        };
        let others: Vec<Pid> = self.workers.iter().map(|worker| worker.pid).collect();
        kill_children_but(&others);
        let Some(job) = worker.jobs.pop_front() else {
            return Err(RunError::Supervisor(how));
        };
        while let Some(job) = worker.jobs.pop_back() {
            queue.push_front(job);
        }
        self.add_worker()?;
        Ok((job, how))
    }

    fn stop_workers(&mut self) {
        for worker in &self.workers {
            let _ = kill(worker.pid, Signal::SIGKILL);
        }
        self.workers.clear();
        kill_children_but(&[]);
    }

    fn save_globals(&self) -> Vec<(Global, String)> {
        let mut globals: Vec<Global> = self
            .planned
            .iter()
            .filter(|entry| entry.verdict.is_none())
            .flat_map(|entry| entry.item.needs().disturbed().collect::<Vec<_>>())
            .collect();
        globals.dedup();
        globals
            .into_iter()
            .filter_map(|global| Some((global, std::fs::read_to_string(global.path()).ok()?)))
            .collect()
    }
}

/// Tells how far the long ones of the running cases have come.
fn tell_progress(workers: &[Worker], sink: &mut Sink) -> io::Result<()> {
    for worker in workers {
        if let (Some(job), Some((done, total))) = (worker.jobs.front(), worker.log.progress()) {
            sink(&Event::Progress {
                index: job.index as usize,
                repetition: job.repetition,
                done,
                total,
            })?;
        }
    }
    Ok(())
}

fn lost(how: String) -> Observation {
    Observation {
        records: Default::default(),
        ending: Ending::SupervisorLost { how },
        leaks: Vec::new(),
        output: String::new(),
        splats: Vec::new(),
        duration: Duration::ZERO,
    }
}
