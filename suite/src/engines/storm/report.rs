//! Figures of a storm: how many rounds, how close together the tasks began, how many rounds truly
//! had calls side by side in the kernel.

use super::*;

/// What is counted over the rounds of a storm.
#[derive(Debug, Default)]
pub(super) struct Figures {
    rounds: u32,
    /// Rounds in which two calls overlapped.
    overlapped: u32,
    /// Calls that overlapped another.
    side_by_side: usize,
    succeeded: u32,
    refused: u32,
    unfinished: u32,
    skews: Vec<u64>,
}

impl Figures {
    /// Counts a finished round.
    pub(super) fn add<'s>(&mut self, tasks: impl Iterator<Item = (Action, &'s Slot)>) {
        self.rounds += 1;
        let (mut starts, mut calls) = (Vec::new(), Vec::new());
        for (action, slot) in tasks {
            let began = slot.began.load(Ordering::Acquire);
            starts.extend((began != 0).then_some(began));
            if !matches!(action, Action::Unshare(_)) {
                continue;
            }
            let count = match slot.result.load(Ordering::Acquire) {
                _ if slot.stage() < Stage::Done => {
                    self.unfinished += 1;
                    continue;
                }
                0 => &mut self.succeeded,
                _ => &mut self.refused,
            };
            *count += 1;
            calls.push((began, slot.ended.load(Ordering::Acquire)));
        }
        if let (Some(first), Some(last)) = (starts.iter().min(), starts.iter().max()) {
            self.skews.push(last - first);
        }
        let overlap = |(at, one): (usize, &(u64, u64))| {
            calls.iter().enumerate().any(|(other, two)| other != at && one.0 < two.1 && two.0 < one.1)
        };
        let side_by_side = calls.iter().enumerate().filter(|call| overlap(*call)).count();
        self.side_by_side += side_by_side;
        self.overlapped += u32::from(side_by_side > 0);
    }

    /// The figures in one line.
    pub(super) fn line(mut self, seed: u64) -> String {
        self.skews.sort_unstable();
        let median = self.skews.get(self.skews.len() / 2).copied().unwrap_or(0);
        let longest = self.skews.last().copied().unwrap_or(0);
        let cut_off = match self.unfinished {
            0 => String::new(),
            count => format!(", {count} cut off by execve or _exit"),
        };
        format!(
            "{} rounds from seed {seed}: start skew {} µs (median), {} µs (longest); \
             calls overlapped in {} rounds, {} of {} calls; {} succeeded, {} were refused{cut_off}",
            self.rounds,
            median / 1000,
            longest / 1000,
            self.overlapped,
            self.side_by_side,
            self.succeeded + self.refused,
            self.succeeded,
            self.refused
        )
    }
}
