//! The results of cases under faults, and whether they prove what they should.

use crate::prelude::*;

/// The results of the cases under one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The fault.
    #[serde(flatten)]
    pub fault: &'static Fault,
    /// Cases that failed, each with its first message.
    pub caught_by: BTreeMap<String, String>,
    /// Cases that were run.
    pub tried: usize,
    /// Of these, broken ones: a step of their own went wrong.
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
        Self { fault, caught_by: BTreeMap::new(), tried: 0, broken: 0, timed_out: 0, changed: Vec::new() }
    }

    /// Whether no case notices the fault, without a declared reason.
    pub fn is_unnoticed(&self) -> bool {
        self.caught_by.is_empty() && !self.fault.harmless && !declared::unnoticed(&self.fault.name)
    }

    /// Adds the verdict on a case that passes without the fault.
    pub fn add(&mut self, case: &str, verdict: &Verdict) {
        self.tried += 1;
        let noticed = match verdict.status {
            Status::Fail => true,
            Status::TimedOut => self.fault.hangs,
            _ => false,
        };
        if noticed {
            self.caught_by.insert(case.to_owned(), verdict.reason.clone());
        }
        self.broken += usize::from(verdict.status == Status::Broken);
        self.timed_out += usize::from(verdict.status == Status::TimedOut);
        if verdict.status != Status::Pass {
            let what = format!("{case}: {} ({})", verdict.status.word(), verdict.reason);
            self.changed.push(what);
        }
    }
}

/// The results of a matrix.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Caught {
    /// `uname -r` and more.
    pub kernel: String,
    /// The date, as in ISO 8601.
    pub date: String,
    /// How long it took.
    pub seconds: u64,
    /// Every pair was tried, not only as many as prove that each fault is caught and each case catches.
    pub complete: bool,
    /// Every fault there is was chosen: a case that notices none of them has no proof.
    pub all_faults: bool,
    /// Every case there is was chosen: a fault that none of them notices has no proof.
    pub all_cases: bool,
    /// Cases that pass without a fault.
    pub passing: BTreeSet<String>,
    /// Cases that do not, each with why.
    pub not_passing: BTreeMap<String, String>,
    /// The faults.
    pub rows: Vec<Row>,
}

impl Caught {
    /// Cases that no fault makes fail, but for those that only refuse.
    pub fn silent_cases(&self) -> BTreeSet<&str> {
        let sharp = self.rows.iter().filter(|row| !row.fault.blunt);
        let loud: BTreeSet<&String> = sharp.flat_map(|row| row.caught_by.keys()).collect();
        self.passing.iter().filter(|case| !loud.contains(case)).map(String::as_str).collect()
    }

    /// Faults that no case notices, without a declared reason.
    fn unnoticed_faults(&self) -> Vec<&'static Fault> {
        self.rows.iter().filter(|row| row.is_unnoticed()).map(|row| row.fault).collect()
    }

    /// Cases that no fault makes fail, without a declared reason.
    pub fn undeclared_silent_cases(&self) -> Vec<String> {
        let silent = self.silent_cases().into_iter().filter(|case| declared::uncaught(case).is_none());
        silent.map(str::to_owned).collect()
    }

    /// What the selected faults and cases do not show, without anything being wrong: others may show it.
    pub fn not_shown(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let faults = self.unnoticed_faults();
        if !self.all_cases && !faults.is_empty() {
            let names: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
            lines.push(format!("none of the selected cases notices {}", some_of(&names)));
        }
        let cases = self.undeclared_silent_cases();
        if !self.all_faults && !cases.is_empty() {
            lines.push(format!("none of the selected faults makes these fail: {}", some_of(&cases)));
        }
        lines
    }

    /// What is wrong: each line is a bug of the suite or of its declarations.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for Row { fault, changed, .. } in self.rows.iter().filter(|row| row.fault.harmless) {
            let told = |case| format!("under the harmless stand-in \"{}\": {case}", fault.name);
            complaints.extend(changed.iter().map(told));
        }
        if self.all_cases {
            let told = |fault: &Fault| format!("no case notices \"{}\": {}", fault.name, fault.about);
            complaints.extend(self.unnoticed_faults().into_iter().map(told));
        }
        if self.all_faults {
            let silent = self.undeclared_silent_cases();
            complaints.extend(silent.iter().map(|case| format!("no fault makes {case} fail")));
        }
        complaints
    }

    /// A small set of faults that makes every case fail that any fault makes fail, greedily chosen.
    pub fn cover(&self) -> Vec<&str> {
        let mut left: BTreeSet<&str> = self.passing.iter().map(String::as_str).collect();
        let mut cover = Vec::new();
        loop {
            let gain = |row: &&Row| row.caught_by.keys().filter(|case| left.contains(case.as_str())).count();
            let sharp = self.rows.iter().filter(|row| !row.fault.blunt);
            let Some(best) = sharp.max_by_key(gain).filter(|row| gain(row) > 0) else {
                return cover;
            };
            left.retain(|case| !best.caught_by.contains_key(*case));
            cover.push(best.fault.name.as_str());
        }
    }
}

/// The first few of these names; the rest is counted.
pub fn some_of(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    const NAMED: usize = 5;
    // Counting one name takes as much room as naming it.
    if names.len() <= NAMED + 1 {
        return names.join(", ");
    }
    format!("{} and {} more", names[..NAMED].join(", "), names.len() - NAMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_not_wrong() {
        let fault = suite::fault::find("drops-fs").expect("there is this fault");
        let mut caught = Caught {
            all_faults: true,
            all_cases: true,
            passing: BTreeSet::from(["a.case".to_owned()]),
            rows: vec![Row::new(fault)],
            ..Caught::default()
        };
        let unnoticed = format!("no case notices \"drops-fs\": {}", fault.about);
        let silent = "no fault makes a.case fail".to_owned();
        assert_eq!(caught.complaints(), [unnoticed.clone(), silent.clone()]);
        assert!(caught.not_shown().is_empty());
        caught.all_faults = false;
        assert_eq!(caught.complaints(), [unnoticed]);
        let expected = "none of the selected faults makes these fail: a.case";
        assert_eq!(caught.not_shown(), [expected]);
        (caught.all_faults, caught.all_cases) = (true, false);
        assert_eq!(caught.complaints(), [silent]);
        let expected = "none of the selected cases notices drops-fs";
        assert_eq!(caught.not_shown(), [expected]);
    }

    #[test]
    fn many_names_are_counted() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(some_of(&names[..6]), "a, b, c, d, e, f");
        assert_eq!(some_of(&names), "a, b, c, d, e and 2 more");
    }
}
