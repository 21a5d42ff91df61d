//! Deadlines for tasks, of which only the time counts in which they could run.
//!
//! On a machine that is busy with other things, or in a guest of such a machine, a task that is late says
//! nothing of the kernel: it waits for a CPU. One that hangs sleeps, or has a CPU all the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::run::proc_stat::{Stat, numbers};

/// Whose time it is.
#[derive(Clone, Copy, Debug)]
pub enum Tasks {
    /// All descendants of the calling process.
    Descendants,
    /// A process and all its descendants.
    From(Pid),
}

/// How many times its limit a deadline is put off at most: no run lasts for ever, and nobody waits for a
/// machine that gives its tasks so little.
const MOST: u32 = 20;

/// A deadline.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    tasks: Tasks,
    begin: Instant,
    /// When to look how much the tasks had.
    end: Instant,
    /// When that was last looked at.
    seen: Instant,
    /// How much they had had by then.
    had: Duration,
    /// How much of the limit has passed.
    passed: Duration,
}

impl Patience {
    /// Gives tasks that begin now `limit` of time.
    pub fn new(limit: Duration, tasks: Tasks) -> Self {
        let now = Instant::now();
        Self { limit, tasks, begin: now, end: now + limit, seen: now, had: Duration::ZERO, passed: Duration::ZERO }
    }

    /// Gives the same tasks, which have run before, `limit` of time from now on.
    pub fn renew(&mut self, limit: Duration) {
        *self = Self { had: Share::of(self.tasks).had, ..Self::new(limit, self.tasks) };
    }

    /// How much time was given.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// How long ago it was given.
    pub fn age(&self) -> Duration {
        self.begin.elapsed()
    }

    /// How long there is no need to ask again.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether it has come to its end.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now < self.end {
            return false;
        }
        let share = Share::of(self.tasks);
        self.count(now - self.seen, share);
        self.seen = now;
        let left = self.limit.saturating_sub(self.passed);
        // What is left of a task that has a CPU nearly all the time is not worth another look.
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

/// What tasks had of the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// How long they ran, with those of their children that they waited for.
    had: Duration,
    /// Whether one of them has a CPU or waits for one.
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
    fn a_process_that_runs_is_seen_to() {
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
