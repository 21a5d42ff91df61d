//! What came of cases under faults, and whether it proves what it is to prove.

use std::collections::{BTreeMap, BTreeSet};

use harness::judge::{Status, Verdict};
use serde::Serialize;
use suite::fault::{Fault, declared};

/// What came of the cases under one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The fault.
    #[serde(flatten)]
    pub fault: &'static Fault,
    /// Cases that failed, each with what it said first.
    pub caught_by: BTreeMap<String, String>,
    /// Cases that were run.
    pub tried: usize,
    /// Of these, those of which nothing can be said: a step of their own went wrong.
    pub broken: usize,
    /// … and those that did not end in time.
    pub timed_out: usize,
    /// Cases whose verdict is another than without the fault.
    #[serde(skip)]
    pub changed: Vec<String>,
}

impl Row {
    /// Nothing has been run yet.
    pub fn new(fault: &'static Fault) -> Self {
        Self {
            fault,
            caught_by: BTreeMap::new(),
            tried: 0,
            broken: 0,
            timed_out: 0,
            changed: Vec::new(),
        }
    }

    /// Takes the verdict on a case that passes without the fault.
    pub fn add(&mut self, case: &str, verdict: &Verdict) {
        self.tried += 1;
        let noticed = match verdict.status {
            Status::Fail => true,
            Status::TimedOut => self.fault.hangs,
            _ => false,
        };
        if noticed {
            self.caught_by
                .insert(case.to_owned(), verdict.reason.clone());
        }
        self.broken += usize::from(verdict.status == Status::Broken);
        self.timed_out += usize::from(verdict.status == Status::TimedOut);
        if verdict.status != Status::Pass {
            let what = format!("{case}: {} ({})", verdict.status.word(), verdict.reason);
            self.changed.push(what);
        }
    }
}

/// All that came of a matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Caught {
    /// `uname -r` and more.
    pub kernel: String,
    /// The day, as ISO 8601 has it.
    pub date: String,
    /// How long it took.
    pub seconds: u64,
    /// Every pair was tried, not only as many as prove that each fault is caught and each case catches.
    pub complete: bool,
    /// Cases that pass without a fault.
    pub passing: BTreeSet<String>,
    /// Cases that do not, by their status.
    pub not_passing: BTreeMap<String, String>,
    /// The faults.
    pub rows: Vec<Row>,
}

impl Caught {
    /// Cases that no fault makes fail, but for those that only refuse.
    pub fn silent_cases(&self) -> BTreeSet<&str> {
        let sharp = self.rows.iter().filter(|row| !row.fault.blunt);
        let loud: BTreeSet<&String> = sharp.flat_map(|row| row.caught_by.keys()).collect();
        self.passing
            .iter()
            .filter(|case| !loud.contains(case))
            .map(String::as_str)
            .collect()
    }

    /// What is wrong: each line is a bug of the suite, or of what is declared of it.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for row in &self.rows {
            let name = &row.fault.name;
            if row.fault.harmless {
                complaints.extend(
                    row.changed
                        .iter()
                        .map(|case| format!("under \"{name}\", which is no fault: {case}")),
                );
            } else if row.caught_by.is_empty() && !declared::unnoticed(name) {
                complaints.push(format!("no case notices \"{name}\": {}", row.fault.about));
            }
        }
        let silent = self.silent_cases();
        let undeclared = silent
            .iter()
            .filter(|case| declared::uncaught(case).is_none());
        complaints.extend(undeclared.map(|case| format!("no fault makes {case} fail")));
        complaints
    }

    /// The fewest faults, or nearly so, that make every case fail that any makes fail: those first
    /// that do it to the most.
    pub fn cover(&self) -> Vec<&str> {
        let mut left: BTreeSet<&str> = self.passing.iter().map(String::as_str).collect();
        let mut cover = Vec::new();
        loop {
            let gain = |row: &&Row| {
                row.caught_by
                    .keys()
                    .filter(|case| left.contains(case.as_str()))
                    .count()
            };
            let Some(best) = self
                .rows
                .iter()
                .filter(|row| !row.fault.blunt)
                .max_by_key(gain)
                .filter(|row| gain(row) > 0)
            else {
                return cover;
            };
            for case in best.caught_by.keys() {
                left.remove(case.as_str());
            }
            cover.push(best.fault.name.as_ref());
        }
    }
}
