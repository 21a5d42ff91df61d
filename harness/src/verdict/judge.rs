//! From an observation to a verdict: a pure function, tested by a table.

use crate::common::*;

/// A verdict in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every check held, and there was at least one.
    Pass,
    /// The case could not run here.
    Skip,
    /// Inconclusive: the case, the harness or the surroundings went wrong.
    #[default]
    Broken,
    /// The case did not end within its deadline.
    TimedOut,
    /// The kernel does not conform.
    Fail,
}

impl Status {
    /// The word users read.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Skip => "skip",
            Status::Broken => "broken",
            Status::TimedOut => "timed out",
            Status::Fail => "fail",
        }
    }
}

/// The result of running a case, or the reason why it was not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub status: Status,
    /// Why, in one line; empty for a pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Names of the needs for want of which the case was not run, or [`PLACE`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Whose affair the failure is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affair: Option<Affair>,
    /// The checks that failed, in the order they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedCheck>,
    /// Further information for the reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How many times this run had run the case before. The seed of this repetition is the run's seed plus this.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repetition: u32,
    /// How many checks were made.
    pub checks: u32,
    /// How long the run took.
    pub duration: Duration,
}

pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Verdict {
    /// A verdict on a case that was not run.
    pub fn not_run(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), ..Self::default() }
    }

    /// The first thing that went wrong, in one line.
    pub fn cause(&self) -> String {
        match self.failed.first() {
            Some(check) => format!("{}: expected {}, got {}", check.call, check.expected, check.actual),
            None => self.reason.clone(),
        }
    }

    /// Whether the kernel's own report decided.
    pub fn is_of_kernel_log(&self) -> bool {
        self.reason.starts_with(KERNEL_LOG)
    }

    /// Whether the kernel itself is unwell, whatever the case's checks say: it reported a problem, or its guest was
    /// lost while the case ran.
    pub fn is_of_unwell_kernel(&self) -> bool {
        let reports = |note: &String| {
            let kind = note.strip_prefix(KERNEL_LOG).and_then(recognise);
            kind.is_some_and(|kind| kind != SplatKind::OutOfMemory)
        };
        // Only a kernel that died, or a report of its own, fails a case without any failed check.
        let is_lost = self.status == Status::Fail && self.failed.is_empty();
        is_lost || self.is_of_kernel_log() || self.notes.iter().any(reports)
    }

    /// The verdict on a case that the run ended before, or in the middle of.
    pub fn never_reached(why: &str) -> Self {
        Self::not_run(Status::Broken, format!("{NOT_RUN}{why}"))
    }

    /// The verdict on a case that a run did not come to, since it was to stop after a failure.
    pub fn stopped_before() -> Self {
        Self::not_run(Status::Skip, format!("{NOT_RUN}stopped after a failure"))
    }

    /// Whether the run ended before the case did: nothing is known about it.
    pub fn was_never_reached(&self) -> bool {
        matches!(self.status, Status::Broken | Status::Skip) && self.reason.starts_with(NOT_RUN)
    }
}

/// How the reason begins of a case in which the kernel reported a problem.
const KERNEL_LOG: &str = "kernel log: ";

/// How the reason of such a verdict begins. Readers of results know it.
const NOT_RUN: &str = "not run: ";

/// Judges one run of a case. Guilty until proven: without a final record and at least one check there is no pass.
pub fn judge(observation: &Observation) -> Verdict {
    let records = &observation.records;
    let mut failed = Vec::new();
    let mut broken = Vec::new();
    let mut skipped = None;
    let mut notes = Vec::new();
    for record in &records.records {
        match record {
            Record::Failed(check) => failed.push(check.clone()),
            Record::SetupFailed { call, actual, task, at } => {
                let task = task.as_ref().map_or(String::new(), |task| format!(" in {task}"));
                broken.push(format!("setup{task}: {call}: {actual} (at {at})"));
            }
            Record::Skip(reason) => {
                skipped.get_or_insert_with(|| reason.clone());
            }
            Record::Panicked(message) => broken.push(format!("the case panicked: {message}")),
            Record::Note(text) => notes.push(text.clone()),
        }
    }
    let mut timed_out = None;
    match &observation.ending {
        Ending::Exited { status: 0 } if records.finished => {}
        Ending::Exited { status } => broken.push(format!("exited early with status {status}")),
        Ending::Killed { signal } => broken.push(format!("killed by {signal}")),
        Ending::TimedOut { after, hints, survived } => {
            let survived = if *survived { " and survived SIGKILL" } else { "" };
            timed_out = Some(format!("timed out after {} s{survived}", after.as_secs_f64()));
            notes.extend(hints.iter().cloned());
        }
        Ending::SupervisorLost { how } => broken.push(format!("the supervisor died: {how}")),
    }
    broken.extend(observation.leaks.iter().take(LEAKS_SHOWN).map(|leak| format!("leaked: {leak}")));
    if observation.leaks.len() > LEAKS_SHOWN {
        let more = observation.leaks.len() - LEAKS_SHOWN;
        broken.push(format!("{more} more leaks"));
    }
    if records.dropped > 0 {
        broken.push(format!("{} records did not fit in the log", records.dropped));
    }
    if records.checks == 0 && skipped.is_none() && failed.is_empty() && broken.is_empty() && timed_out.is_none() {
        broken.push("no checks were made".to_owned());
    }
    if notes.len() > NOTES_SHOWN {
        let more = notes.len() - NOTES_SHOWN;
        notes.truncate(NOTES_SHOWN);
        notes.push(format!("{more} more notes"));
    }
    notes.extend(printed(&observation.output));

    let News { splats, remarks } = &observation.kernel;
    notes.extend(splats.iter().map(|line| format!("kernel log: {line}")));
    notes.extend(remarks.iter().take(REMARKS_SHOWN).map(|line| format!("kernel log, not of this run: {line}")));
    // Running out of memory is no kernel bug, and may be why a check failed.
    let (of_memory, of_kernel): (Vec<&String>, Vec<&String>) =
        splats.iter().partition(|line| recognise(line) == Some(SplatKind::OutOfMemory));
    let nothing_failed = failed.is_empty() && broken.is_empty() && timed_out.is_none();
    let mut needs = Vec::new();
    let (status, reason) = if let Some(splat) = of_kernel.first() {
        (Status::Fail, format!("{KERNEL_LOG}{splat}"))
    } else if let Some(why) = &observation.refused {
        // What came after a step that the place refused is its consequence.
        failed.clear();
        needs.push(PLACE.to_owned());
        (Status::Skip, why.clone())
    } else if let (Some(splat), false) = (of_memory.first(), nothing_failed) {
        notes.extend(timed_out);
        notes.append(&mut broken);
        (Status::Broken, format!("ran out of memory: {splat}"))
    } else if let Some(check) = failed.first() {
        notes.extend(timed_out);
        notes.append(&mut broken);
        (Status::Fail, format!("{}: expected {}, got {}", check.call, check.expected, check.actual))
    } else if let Some(why) = timed_out {
        notes.append(&mut broken);
        (Status::TimedOut, why)
    } else if !broken.is_empty() {
        let first = broken.remove(0);
        notes.append(&mut broken);
        (Status::Broken, first)
    } else if let Some(reason) = skipped {
        (Status::Skip, reason)
    } else {
        (Status::Pass, String::new())
    };
    let (checks, duration) = (records.checks, observation.duration);
    Verdict { status, reason, needs, affair: None, failed, notes, repetition: 0, checks, duration }
}

/// How many leaks, notes, remarks on others and lines of output a verdict lists.
const LEAKS_SHOWN: usize = 5;
const NOTES_SHOWN: usize = 50;
const REMARKS_SHOWN: usize = 5;
const LINES_SHOWN: usize = 20;
/// How many characters of a printed line a verdict shows.
const LINE_SHOWN: usize = 200;

/// What a case printed, cut to a length that people read.
fn printed(output: &str) -> Vec<String> {
    let printed = |line: &str| {
        let cut: String = line.chars().take(LINE_SHOWN).collect();
        let dots = if cut.len() < line.len() { "…" } else { "" };
        format!("printed: {cut}{dots}")
    };
    let lines = output.lines().count();
    let mut shown: Vec<String> = output.lines().take(LINES_SHOWN).map(printed).collect();
    if lines > LINES_SHOWN {
        shown.push(format!("printed {} more lines", lines - LINES_SHOWN));
    }
    shown
}

/// One verdict for a case that was run several times: the worst, and how often it occurred. Of several failures it is
/// one by the kernel's own report, if there is any: what is expected of a check does not excuse it.
///
/// # Panics
/// There is no verdict at all.
pub fn worst_of(verdicts: Vec<Verdict>) -> Verdict {
    let runs = verdicts.len();
    let checks = verdicts.iter().map(|verdict| verdict.checks).sum();
    let duration = verdicts.iter().map(|verdict| verdict.duration).sum();
    let weight = |verdict: &Verdict| (verdict.status, verdict.is_of_unwell_kernel());
    let most = verdicts.iter().map(weight).max().expect("a case was run at least once");
    let alike = verdicts.iter().filter(|verdict| verdict.status == most.0).count();
    let times = verdicts.iter().filter(|verdict| weight(verdict) == most).count();
    let by = if times < alike { " by the kernel's own report" } else { "" };
    let status = most.0;
    let mut verdicts = verdicts.into_iter().enumerate();
    let (index, mut worst) = verdicts.find(|(_, verdict)| weight(verdict) == most).expect("the maximum is one of them");
    worst.checks = checks;
    worst.duration = duration;
    if runs > 1 && status != Status::Pass && status != Status::Skip {
        worst.notes.push(format!(
            "{}{by} in {times} of {runs} repetitions, first in repetition {}",
            status.word(),
            index + 1
        ));
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::leftovers::{Leak, LeakKind};
    use crate::run::record::{At, Records};

    fn failed() -> Record {
        let [call, expected, actual] = ["mkdir(/x)", "0", "EPERM"].map(str::to_owned);
        Record::Failed(FailedCheck { call, expected, actual, ..FailedCheck::default() })
    }

    fn setup_failed() -> Record {
        let at = At { file: "suite/src/x.rs".to_owned(), line: 1 };
        Record::SetupFailed { call: "mkdir".to_owned(), actual: "ENOSPC".to_owned(), task: None, at }
    }

    fn skip() -> Record {
        Record::Skip("no kcmp".to_owned())
    }

    fn observed(checks: u32, finished: bool, records: Vec<Record>) -> Observation {
        let records = Records { checks, finished, records, dropped: 0 };
        Observation { records, ..Observation::new(Ending::Exited { status: 0 }) }
    }

    fn ending(observation: Observation, ending: Ending) -> Observation {
        Observation { ending, ..observation }
    }

    #[test]
    fn the_table() {
        let second = Duration::from_secs(1);
        let killed = || Ending::Killed { signal: "SIGSEGV".to_owned() };
        let timed_out = || Ending::TimedOut { after: second, hints: vec!["state S".to_owned()], survived: false };
        let lost = Ending::SupervisorLost { how: "gone".to_owned() };
        let fine = || observed(1, true, vec![]);
        let leaky = Observation { leaks: vec![Leak { kind: LeakKind::Mount, what: "/x".to_owned() }], ..fine() };
        let mut flooded = fine();
        flooded.records.dropped = 3;
        let logged = |line: &str, ending| {
            let kernel = News { splats: vec![line.to_owned()], ..News::default() };
            Observation { kernel, ending, ..fine() }
        };
        let of_others = News { remarks: vec!["BUG: x".to_owned()], ..News::default() };
        let splat = logged("BUG: x", Ending::Exited { status: 0 });
        let out_of_memory = |ending| logged("Out of memory: Killed process 7 (init)", ending);
        let refused = |records| Observation { refused: Some("no room".to_owned()), ..observed(1, true, records) };
        let panicked = Record::Panicked("index".to_owned());
        use Status::{Broken, Fail, Pass, Skip, TimedOut};
        let table = [
            (fine(), Pass, ""),
            (observed(0, true, vec![]), Broken, "no checks were made"),
            (observed(1, false, vec![]), Broken, "exited early with status 0"),
            (observed(0, true, vec![skip()]), Skip, "no kcmp"),
            (observed(2, true, vec![skip()]), Skip, "no kcmp"),
            (observed(1, true, vec![failed()]), Fail, "mkdir(/x): expected 0, got EPERM"),
            (observed(0, true, vec![setup_failed()]), Broken, "setup: mkdir: ENOSPC (at suite/src/x.rs:1)"),
            (observed(1, true, vec![setup_failed(), skip()]), Broken, "setup: mkdir: ENOSPC (at suite/src/x.rs:1)"),
            (observed(1, true, vec![setup_failed(), failed()]), Fail, "mkdir(/x): expected 0, got EPERM"),
            (observed(1, true, vec![skip(), failed()]), Fail, "mkdir(/x): expected 0, got EPERM"),
            (observed(1, false, vec![panicked]), Broken, "the case panicked: index"),
            (ending(fine(), killed()), Broken, "killed by SIGSEGV"),
            (ending(observed(1, false, vec![failed()]), killed()), Fail, "mkdir(/x): expected 0, got EPERM"),
            (ending(fine(), Ending::Exited { status: 3 }), Broken, "exited early with status 3"),
            (ending(observed(1, false, vec![]), timed_out()), TimedOut, "timed out after 1 s"),
            (ending(observed(1, false, vec![failed()]), timed_out()), Fail, "mkdir(/x): expected 0, got EPERM"),
            (ending(observed(1, false, vec![setup_failed()]), timed_out()), TimedOut, "timed out after 1 s"),
            (ending(observed(0, false, vec![]), lost), Broken, "the supervisor died: gone"),
            (refused(vec![setup_failed(), failed()]), Skip, "no room"),
            (leaky, Broken, "leaked: mount /x"),
            (flooded, Broken, "3 records did not fit in the log"),
            (splat, Fail, "kernel log: BUG: x"),
            (Observation { kernel: of_others, ..fine() }, Pass, ""),
            (out_of_memory(Ending::Exited { status: 0 }), Pass, ""),
            (out_of_memory(killed()), Broken, "ran out of memory: Out of memory: Killed process 7 (init)"),
        ];
        for (observation, status, reason) in table {
            let verdict = judge(&observation);
            assert_eq!((verdict.status, verdict.reason.as_str()), (status, reason), "{observation:#?}");
            assert_eq!(verdict.needs == [PLACE], reason == "no room");
        }
    }

    #[test]
    fn the_worst_repetition_counts() {
        let pass = judge(&observed(1, true, vec![]));
        let fail = judge(&observed(1, true, vec![failed()]));
        let verdict = worst_of(vec![pass.clone(), fail, pass.clone()]);
        assert_eq!((verdict.status, verdict.checks), (Status::Fail, 3));
        assert_eq!(verdict.notes, ["fail in 1 of 3 repetitions, first in repetition 2"]);
        let mut splat = observed(1, true, vec![]);
        splat.kernel.splats.push("BUG: KASAN: slab-use-after-free in x".to_owned());
        let fail = judge(&observed(1, true, vec![failed()]));
        let verdict = worst_of(vec![fail.clone(), judge(&splat), fail]);
        assert!(verdict.is_of_kernel_log(), "{verdict:?}");
        let told = "fail by the kernel's own report in 1 of 3 repetitions, first in repetition 2";
        assert_eq!(verdict.notes.last().map(String::as_str), Some(told));
        assert_eq!(worst_of(vec![pass.clone(), pass]).notes, [""; 0]);
    }
}
