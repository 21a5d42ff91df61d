//! Deadlines towards which only time counts in which the tasks could run.
//!
//! On a busy machine, or in a guest of one, a late task says nothing about the kernel: it waits for a CPU. A task that
//! hangs sleeps, or has a CPU all the time. Nor does a jump of the clock say anything: a machine was suspended, a
//! guest's CPUs were taken away, all processes were stopped. So time is counted in short steps, each by the one who
//! waits, and a step counts as long as it was meant to take.
//!
//! Deadlines are longer where a machine is slow. But to do nothing takes a slow machine no longer: where all of it
//! sleeps, a step counts as it would on a fast one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::run::proc_stat::{self, Stat, numbers};

/// Whose time counts.
#[derive(Clone, Copy, Debug)]
pub enum Tasks {
    /// All descendants of the caller.
    Descendants,
    /// A process and all its descendants.
    From(Pid),
}

/// A deadline waits at most this many times its limit, jumps of the clock not counted: every run ends.
const MOST: u32 = 20;

/// A deadline is counted in steps of this part of its limit, so that a jump counts as no more.
const STEPS: u32 = 20;

/// No step is longer.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// A deadline.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    tasks: Tasks,
    begin: Instant,
    /// How long the step at hand takes.
    step: Duration,
    /// When it ends: then the CPU time of the tasks is checked next.
    end: Instant,
    /// Their CPU time at the last check.
    had: Duration,
    /// How much of the limit was used.
    passed: Duration,
    /// The steps so far, counted or not.
    waited: Duration,
    idle: Option<Idle>,
}

/// How long the processors of a machine have done nothing, which runs nothing but the tasks.
#[derive(Clone, Copy, Debug)]
struct Idle {
    /// How many times slower than a fast one the machine is.
    slowdown: u32,
    /// When this was looked at last, and the idle time of all processors then. Not before the first step ends, which
    /// hardly any case comes to.
    last: Option<(Instant, Duration)>,
}

impl Idle {
    /// Whether all processors slept since the last look, which was a step ago.
    fn all_along(&mut self, step: Duration) -> bool {
        let now = (Instant::now(), proc_stat::idle_time());
        let Some(before) = self.last.replace(now) else {
            return false;
        };
        let (wall, slept) = (now.0 - before.0, now.1.saturating_sub(before.1));
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        wall <= step * 2 && slept >= wall * cpus * 9 / 10
    }
}

impl Patience {
    /// Gives `limit` of time to tasks that start now.
    pub fn new(limit: Duration, tasks: Tasks) -> Self {
        let (begin, step) = (Instant::now(), LONGEST_STEP.min(limit / STEPS));
        let (end, none) = (begin + step, Duration::ZERO);
        Self { limit, tasks, begin, step, end, had: none, passed: none, waited: none, idle: None }
    }

    /// The same on a machine that runs nothing else and is so many times slower than a fast one, for a limit that is so
    /// many times longer.
    pub fn on_slow_machine(self, slowdown: u32) -> Self {
        Self { idle: Some(Idle { slowdown, last: None }), ..self }
    }

    /// Gives the same tasks, which have already run, `limit` of time from now on.
    pub fn renew(&mut self, limit: Duration) {
        *self = Self { had: Share::of(self.tasks).had, idle: self.idle, ..Self::new(limit, self.tasks) };
    }

    /// The limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Wall time since the start.
    pub fn age(&self) -> Duration {
        self.begin.elapsed()
    }

    /// How much of the limit the tasks have used so far.
    pub fn passed(&self) -> Duration {
        self.passed
    }

    /// How long until [`is_over`](Self::is_over) is to be called again, for the time to be counted.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether the time is used up. Counts nothing unless it is called at the end of each step.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now < self.end {
            return false;
        }
        let step = self.step;
        let nothing_happens = self.idle.as_mut().is_some_and(|idle| idle.all_along(step));
        let share = Share::of(self.tasks);
        self.count(share, nothing_happens);
        self.end = now + self.step;
        self.passed >= self.limit || self.waited >= self.limit * MOST
    }

    /// Counts a step, in which perhaps nothing happened on the whole machine.
    fn count(&mut self, share: Share, nothing_happened: bool) {
        let had = share.had.saturating_sub(self.had);
        self.had = share.had;
        self.waited += self.step;
        self.passed += match self.idle {
            _ if share.wants_to_run => had.min(self.step),
            Some(idle) if nothing_happened => self.step * idle.slowdown,
            _ => self.step,
        };
    }
}

/// How much more than the pause it asked for a round of a wait may count.
const ROUND: Duration = Duration::from_millis(4);

/// The time limit of a task that waits in rounds: it looks, and pauses. Of a round only the pause counts and a few
/// milliseconds for the look, however long the task had to wait for a CPU or was stopped.
#[derive(Debug)]
pub struct TimeLimit {
    left: Duration,
    seen: Instant,
}

impl TimeLimit {
    /// Gives the calling task this much time from now on.
    pub fn new(limit: Duration) -> Self {
        Self { left: limit, seen: Instant::now() }
    }

    /// Ends a round: pauses, and says whether there is time left for another.
    pub fn pause(&mut self, pause: Duration) -> bool {
        if self.left.is_zero() {
            return false;
        }
        std::thread::sleep(pause);
        self.round_ended(pause, Instant::now())
    }

    /// Ends a round that the caller spent with a call that was to last this long at most.
    pub fn spend(&mut self, pause: Duration) -> bool {
        self.round_ended(pause, Instant::now())
    }

    fn round_ended(&mut self, pause: Duration, now: Instant) -> bool {
        let round = now.saturating_duration_since(self.seen).min(pause + ROUND);
        self.left = self.left.saturating_sub(round);
        self.seen = now;
        !self.left.is_zero()
    }
}

/// Share of the CPUs that tasks had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Their CPU time, including reaped children.
    had: Duration,
    /// Whether one of them is runnable.
    wants_to_run: bool,
}

impl Share {
    fn of(tasks: Tasks) -> Self {
        let processes: Vec<(i32, Stat)> =
            numbers("/proc").into_iter().filter_map(|pid| Some((pid, Stat::read(&format!("/proc/{pid}"))?))).collect();
        let own = std::process::id() as i32;
        let root = match tasks {
            Tasks::Descendants => own,
            Tasks::From(pid) => pid.as_raw(),
        };
        let mut family = BTreeSet::from([root]);
        loop {
            let before = family.len();
            let children = processes
                .iter()
                .filter(|(_, stat)| family.contains(&stat.parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>();
            family.extend(children);
            if family.len() == before {
                break;
            }
        }
        if let Tasks::Descendants = tasks {
            family.remove(&own);
        }
        let mut share = Self { had: Duration::ZERO, wants_to_run: false };
        for (pid, stat) in processes.iter().filter(|(pid, _)| family.contains(pid)) {
            share.had += stat.ran;
            let threads = format!("/proc/{pid}/task");
            share.wants_to_run |= numbers(&threads)
                .into_iter()
                .any(|thread| Stat::read(&format!("{threads}/{thread}")).is_some_and(|stat| stat.state == "R"));
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    /// What is counted after such steps: the CPU time had so far in milliseconds, and whether more is wanted.
    fn after(steps: &[(u64, bool)]) -> Duration {
        let mut patience = Patience::new(STEP * STEPS, Tasks::Descendants);
        for &(had, wants_to_run) in steps {
            patience.count(Share { had: Duration::from_millis(had), wants_to_run }, false);
        }
        patience.passed
    }

    #[test]
    fn time_counts_in_which_tasks_sleep_or_run() {
        assert_eq!(after(&[(0, false)]), STEP);
        assert_eq!(after(&[(2000, true)]), STEP);
    }

    #[test]
    fn time_does_not_count_in_which_they_wait_for_a_cpu() {
        assert_eq!(after(&[(100, true)]), STEP / 10);
        assert_eq!(after(&[(100, true), (300, true)]), STEP * 3 / 10);
        assert_eq!(after(&[(100, true), (100, false)]), STEP * 11 / 10);
    }

    #[test]
    fn where_nothing_happens_a_slow_machine_is_as_fast_as_any() {
        let mut patience = Patience::new(STEP * STEPS, Tasks::Descendants).on_slow_machine(10);
        let asleep = Share { had: Duration::ZERO, wants_to_run: false };
        patience.count(asleep, false);
        assert_eq!(patience.passed, STEP);
        patience.count(asleep, true);
        assert_eq!(patience.passed, STEP * 11);
        patience.count(Share { wants_to_run: true, ..asleep }, true);
        assert_eq!(patience.passed, STEP * 11);
    }

    #[test]
    fn a_machine_that_works_does_not_sleep() {
        let mut idle = Idle { slowdown: 10, last: Some((Instant::now(), proc_stat::idle_time())) };
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(());
        }
        // One of many processors is not all of them.
        assert!(!idle.all_along(STEP) || std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 9));
        // Nor is it known of a jump.
        idle.last = idle.last.map(|(when, slept)| (when - STEP * 3600, slept));
        assert!(!idle.all_along(STEP));
    }

    #[test]
    fn a_jump_of_the_clock_counts_as_one_step_of_a_deadline() {
        let mut patience = Patience::new(STEP * STEPS, Tasks::Descendants);
        // As after an hour in which the machine stood still.
        patience.begin -= STEP * 3600;
        patience.end -= STEP * 3600;
        assert!(!patience.is_over());
        assert_eq!((patience.passed, patience.waited), (STEP, STEP));
    }

    #[test]
    fn a_deadline_passes_even_if_nobody_gets_a_cpu() {
        let mut patience = Patience::new(STEP * STEPS, Tasks::Descendants);
        let starved = Share { had: Duration::ZERO, wants_to_run: true };
        (1..STEPS * MOST).for_each(|_| patience.count(starved, false));
        patience.end = Instant::now();
        assert!(patience.is_over());
    }

    #[test]
    fn a_jump_of_the_clock_counts_as_one_round_of_a_wait() {
        let pause = Duration::from_millis(1);
        let mut limit = TimeLimit::new(Duration::from_secs(1));
        assert!(limit.round_ended(pause, limit.seen + pause));
        assert_eq!(limit.left, Duration::from_millis(999));
        assert!(limit.round_ended(pause, limit.seen + Duration::from_secs(3600)));
        assert_eq!(limit.left, Duration::from_millis(994));
        let long = Duration::from_secs(1);
        assert!(!limit.round_ended(long, limit.seen + long));
        assert!(!limit.pause(long), "no pause once it is over");
    }

    #[test]
    fn a_running_process_is_seen_as_runnable() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let pid = Pid::from_raw(child.id() as i32);
        let mut share = Share::of(Tasks::From(pid));
        while share.had.is_zero() {
            share = Share::of(Tasks::From(pid));
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(share.wants_to_run);
        assert!(!Share::of(Tasks::From(pid)).wants_to_run);
    }
}
