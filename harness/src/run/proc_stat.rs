//! The file `stat` of a task in /proc (proc_pid_stat(5)), and that of the machine (proc_stat(5)).

use nix::unistd::{SysconfVar, sysconf};

use crate::common::*;

/// The fields used here.
pub(crate) struct Stat {
    /// R, S, D and so on.
    pub state: String,
    /// The process ID of the parent.
    pub parent: i32,
    /// CPU time, including reaped children.
    pub ran: Duration,
}

impl Stat {
    /// Reads it; none if there is no such task, or /proc is not mounted.
    pub fn read(task: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("{task}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The command, in parentheses, may contain anything. The third field follows it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
        Some(Self { state: (*fields.first()?).to_owned(), parent: fields.get(1)?.parse().ok()?, ran: of_ticks(ticks) })
    }
}

fn of_ticks(ticks: u64) -> Duration {
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_millis(ticks * 1000 / a_second.max(1) as u64)
}

/// How long the processors have done nothing, all together; none of the time where it cannot be read.
pub(crate) fn idle_time() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // cpu, user, nice, system, idle, waiting for I/O.
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(4).take(2);
    of_ticks(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// The numeric names in a directory: processes in /proc, threads in `task`.
pub(crate) fn numbers(directory: &str) -> Vec<i32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_of_a_task_is_read_whatever_its_name() {
        let text = "7 (a) b) R 3 7 7 0 -1 4194560 100 0 0 0 10 20 30 40 20 0 1 0 5 0 0";
        let stat = Stat::parse(text).expect("it is one");
        let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as u64;
        assert_eq!((stat.parent, stat.state.as_str()), (3, "R"));
        assert_eq!(stat.ran, Duration::from_millis(100 * 1000 / a_second));
    }
}
