//! Deadlines towards which only time counts in which the tasks could run.
//!
//! On a busy machine, or in a guest of one, a late task says nothing about the kernel: it waits for a CPU. A task that
//! hangs sleeps, or has a CPU all the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::run::proc_stat::{Stat, numbers};

/// Whose time counts.
#[derive(Clone, Copy, Debug)]
pub enum Tasks {
    /// All descendants of the caller.
    Descendants,
    /// A process and all its descendants.
    From(Pid),
}

/// The wall time of a deadline is at most this many times its limit: every run ends.
const MOST: u32 = 20;

/// A deadline.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    tasks: Tasks,
    begin: Instant,
    /// When to check the CPU time of the tasks next.
    end: Instant,
    /// When it was last checked.
    seen: Instant,
    /// Their CPU time at that check.
    had: Duration,
    /// How much of the limit was used.
    passed: Duration,
}

impl Patience {
    /// Gives `limit` of time to tasks that start now.
    pub fn new(limit: Duration, tasks: Tasks) -> Self {
        let now = Instant::now();
        Self { limit, tasks, begin: now, end: now + limit, seen: now, had: Duration::ZERO, passed: Duration::ZERO }
    }

    /// Gives the same tasks, which have already run, `limit` of time from now on.
    pub fn renew(&mut self, limit: Duration) {
        *self = Self { had: Share::of(self.tasks).had, ..Self::new(limit, self.tasks) };
    }

    /// The limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Wall time since the start.
    pub fn age(&self) -> Duration {
        self.begin.elapsed()
    }

    /// How long [`is_over`](Self::is_over) stays false for sure.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether the time is used up.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now < self.end {
            return false;
        }
        let share = Share::of(self.tasks);
        self.count(now - self.seen, share);
        self.seen = now;
        let left = self.limit.saturating_sub(self.passed);
        // A remainder this small is not worth another check.
        if left < self.limit / 10 || now - self.begin >= self.limit * MOST {
            return true;
        }
        self.end = now + left;
        false
    }

    fn count(&mut self, elapsed: Duration, share: Share) {
        let had = share.had.saturating_sub(self.had);
        self.had = share.had;
        self.passed += if share.wants_to_run { had.min(elapsed) } else { elapsed };
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

    fn after(looks: &[(u64, u64, bool)]) -> Duration {
        let mut patience = Patience::new(Duration::from_secs(10), Tasks::Descendants);
        for &(elapsed, had, wants_to_run) in looks {
            let had = Duration::from_secs(had);
            patience.count(Duration::from_secs(elapsed), Share { had, wants_to_run });
        }
        patience.passed
    }

    #[test]
    fn time_counts_in_which_tasks_sleep_or_run() {
        assert_eq!(after(&[(10, 0, false)]), Duration::from_secs(10));
        assert_eq!(after(&[(10, 20, true)]), Duration::from_secs(10));
    }

    #[test]
    fn time_does_not_count_in_which_they_wait_for_a_cpu() {
        assert_eq!(after(&[(10, 1, true)]), Duration::from_secs(1));
        assert_eq!(after(&[(10, 1, true), (9, 3, true)]), Duration::from_secs(3));
        assert_eq!(after(&[(10, 1, true), (9, 1, false)]), Duration::from_secs(10));
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
