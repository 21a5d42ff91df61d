//! Keeps user-mode Linux on one processor.
//!
//! Its kernel and its guest's processes are processes of the host that take turns, several times
//! for each system call. On two processors each turn wakes the other one up, which takes longer
//! than the turn: a guest on one starts in 0.8 of the time, and gives its first verdict in half.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::prelude::*;

/// Keeps a process, and all that it starts from now on, on one of the processors that this one may
/// use. Guests of one run get theirs in turn. Where that is not possible, they are merely slower.
pub fn keep_on_one_cpu(pid: u32) {
    // Runs that go on at the same time do not all begin with the same processor.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let this = Pid::from_raw(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize;
    let _ = sched_getaffinity(this)
        .and_then(|allowed| one_of(&allowed, turn))
        .and_then(|one| sched_setaffinity(Pid::from_raw(pid as i32), &one));
}

fn one_of(allowed: &CpuSet, turn: usize) -> nix::Result<CpuSet> {
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect();
    let mut one = CpuSet::new();
    one.set(cpus[turn % cpus.len()])?;
    Ok(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_the_allowed_ones() {
        let mut allowed = CpuSet::new();
        allowed.set(3).unwrap();
        allowed.set(5).unwrap();
        let chosen = |turn| {
            let one = one_of(&allowed, turn).unwrap();
            (0..8).filter(|&cpu| one.is_set(cpu) == Ok(true)).collect()
        };
        let turns: Vec<Vec<usize>> = (0..3).map(chosen).collect();
        assert_eq!(turns, [[3], [5], [3]]);
    }
}
