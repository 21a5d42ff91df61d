//! What came of a guest: a pure state machine from the lines of its two channels to events.
//!
//! Whatever happens to the guest, every case of the plan gets a result: those that were reported,
//! the ones that were running when it was lost, and the rest as not run.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::case::Item;
use harness::event::{CaseInfo, Event};
use harness::judge::{Status, Verdict};
use harness::outcome::{Counts, ExitStatus, Outcome};
use harness::splat::{SplatKind, recognise};

use super::machine::MachineEnd;
use crate::cli::GuestArgs;

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran to its end: the suite's exit status.
    Complete(u8),
    /// Its kernel panicked.
    Panicked,
    /// It ran out of memory and the kernel killed a process of it.
    OutOfMemory,
    /// It restarted or switched itself off before its end.
    Vanished,
    /// It said nothing for so long.
    Silent {
        /// How long.
        after: Duration,
        /// What was done to learn where it stands.
        stacks: String,
    },
    /// The program that makes it was killed, or gave up.
    MachineLost(String),
    /// This process was told to end.
    Interrupted(i32),
}

impl Ending {
    /// Whether the kernel under test cannot be the cause.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Ending::Complete(_)
                | Ending::OutOfMemory
                | Ending::MachineLost(_)
                | Ending::Interrupted(_)
        )
    }
}

/// Follows one guest.
pub struct Session {
    plan: Vec<CaseInfo>,
    memory: u32,
    began: bool,
    finished: bool,
    end_status: Option<u8>,
    running: BTreeSet<usize>,
    reported: Vec<bool>,
    counts: Counts,
    milliseconds: u64,
    /// What verdicts have told of the kernel's log.
    told: String,
    /// Splats of the console, with the cases that were running.
    splats: Vec<(SplatKind, String, Vec<usize>)>,
    panic: Option<String>,
    /// Lines of the results channel that are none.
    strays: Vec<String>,
}

impl Session {
    /// Begins to follow a guest that is to run these cases.
    pub fn new(items: &[Item], args: &GuestArgs) -> Self {
        Self {
            plan: items.iter().map(CaseInfo::from).collect(),
            memory: args.memory,
            began: false,
            finished: false,
            end_status: None,
            running: BTreeSet::new(),
            reported: vec![false; items.len()],
            counts: Counts::default(),
            milliseconds: 0,
            told: String::new(),
            splats: Vec::new(),
            panic: None,
            strays: Vec::new(),
        }
    }

    /// Whether the suite in the guest has not begun.
    pub fn never_began(&self) -> bool {
        !self.began
    }

    /// Whether the kernel has panicked.
    pub fn has_panicked(&self) -> bool {
        self.panic.is_some()
    }

    /// Takes a line of the console.
    pub fn console(&mut self, line: &str) {
        let line = without_prefix(line);
        let Some(kind) = recognise(line) else {
            return;
        };
        if kind == SplatKind::Panic {
            self.panic.get_or_insert_with(|| line.to_owned());
        }
        let running = self.running.iter().copied().collect();
        self.splats.push((kind, line.to_owned(), running));
    }

    /// Takes a line of the results channel.
    pub fn results(&mut self, line: &str) -> Vec<Event> {
        if let Some(status) = vm::init::parse_end_record(line) {
            self.end_status = Some(status);
            return Vec::new();
        }
        // On a machine with one serial port the kernel's lines come here, too, and may stand
        // before a record on its line.
        let record = line.find("{\"event\"").map_or("", |start| &line[start..]);
        let Ok(mut event) = serde_json::from_str::<Event>(record) else {
            self.console(line);
            if self.strays.len() < 20 && !line.starts_with("{\"schema\"") {
                self.strays.push(line.to_owned());
            }
            return Vec::new();
        };
        match &mut event {
            Event::RunStarted { plan, .. } => {
                // The guest runs this very program: it has the same cases, and need not list them.
                plan.clone_from(&self.plan);
                self.began = true;
            }
            Event::CaseStarted { index } => {
                self.running.insert(*index);
            }
            Event::CaseFinished {
                index,
                verdict,
                outcome,
            } => {
                if self.reported.get(*index) != Some(&false) {
                    return Vec::new();
                }
                self.reported[*index] = true;
                self.running.remove(index);
                self.counts.add(verdict.status, outcome);
                for note in &verdict.notes {
                    self.told.push_str(note);
                    self.told.push('\n');
                }
            }
            Event::RunFinished { milliseconds, .. } => {
                self.finished = true;
                self.milliseconds = *milliseconds;
                return Vec::new();
            }
            Event::Alive => return Vec::new(),
            Event::Remark { .. } | Event::BailedOut { .. } => {}
        }
        vec![event]
    }

    /// What the end of the program that makes the guest means.
    pub fn ending_of(&self, how: MachineEnd) -> Ending {
        if let (Some(status), true) = (self.end_status, self.finished) {
            return Ending::Complete(status);
        }
        if self.panic.is_some() {
            return Ending::Panicked;
        }
        let words = |words: String| {
            if words.is_empty() {
                String::new()
            } else {
                format!(": {words}")
            }
        };
        match how {
            MachineEnd::Killed(signal, said) => {
                Ending::MachineLost(format!("signal {signal} ended the machine{}", words(said)))
            }
            MachineEnd::Exited(status, said) if status != 0 => Ending::MachineLost(format!(
                "the machine gave up with status {status}{}",
                words(said)
            )),
            MachineEnd::Exited(..) if self.ran_out_of_memory() => Ending::OutOfMemory,
            MachineEnd::Exited(..) if self.end_status.is_some() => Ending::MachineLost(
                "the suite in the guest ended without its last event".to_owned(),
            ),
            MachineEnd::Exited(..) => Ending::Vanished,
        }
    }

    fn ran_out_of_memory(&self) -> bool {
        self.splats
            .iter()
            .any(|(kind, line, _)| *kind == SplatKind::OutOfMemory && !line.contains("cgroup"))
    }

    /// The events that end the report, and the exit status.
    pub fn end(
        &mut self,
        ending: &Ending,
        strict: bool,
        tail: Vec<String>,
    ) -> (Vec<Event>, ExitStatus) {
        let mut events = Vec::new();
        let why = self.words(ending);
        if let Ending::Complete(status) = ending {
            let news = self.untold_splats();
            events.extend(news.iter().map(|line| Event::Remark {
                text: format!("kernel log: {line}"),
            }));
            if !self.reported.iter().all(|reported| *reported) {
                self.report_rest(ending, "the guest's report has a gap", &mut events);
            }
            let interrupted = (*status > 128).then(|| i32::from(*status - 128));
            events.push(self.finish(interrupted));
            let mut exit = self.counts.exit_status(strict);
            if !news.is_empty() {
                let why = format!("the guest's kernel was unwell: {}", news[0]);
                events.push(Event::BailedOut { why });
                exit = ExitStatus::DoesNotConform;
            }
            return (events, exit);
        }
        for line in &tail {
            events.push(Event::Remark {
                text: format!("console: {line}"),
            });
        }
        if !self.began {
            let why = format!("the kernel never reached the suite: {why}");
            events.push(Event::BailedOut { why });
            return (events, ExitStatus::NothingToSay);
        }
        self.report_rest(ending, &why, &mut events);
        let interrupted = match ending {
            Ending::Interrupted(signal) => Some(*signal),
            _ => None,
        };
        events.push(self.finish(interrupted));
        (events, self.counts.exit_status(strict))
    }

    fn finish(&self, interrupted: Option<i32>) -> Event {
        Event::RunFinished {
            counts: self.counts,
            interrupted,
            milliseconds: self.milliseconds,
        }
    }

    /// Splats of the console, while or after cases ran, that no verdict has told of.
    fn untold_splats(&self) -> Vec<String> {
        self.splats
            .iter()
            .filter(|(_, line, running)| !running.is_empty() && !self.told.contains(line.as_str()))
            .map(|(_, line, _)| line.clone())
            .collect()
    }

    /// Gives every case that has no result one: the kernel's fault where cases were running.
    fn report_rest(&mut self, ending: &Ending, why: &str, events: &mut Vec<Event>) {
        for index in 0..self.plan.len() {
            if self.reported[index] {
                continue;
            }
            let running = self.running.contains(&index);
            let status = match ending {
                _ if !running => Status::Broken,
                Ending::Panicked | Ending::Vanished => Status::Fail,
                Ending::Silent { .. } => Status::TimedOut,
                _ => Status::Broken,
            };
            let reason = if running {
                why.to_owned()
            } else {
                format!("not run: {why}")
            };
            let mut verdict = Verdict::not_run(status, reason);
            if running {
                verdict.notes = self.splat_lines();
            }
            self.counts.add(status, &Outcome::AsJudged);
            self.reported[index] = true;
            events.push(Event::CaseFinished {
                index,
                verdict: Box::new(verdict),
                outcome: Outcome::AsJudged,
            });
        }
    }

    fn splat_lines(&self) -> Vec<String> {
        self.splats
            .iter()
            .map(|(_, line, _)| format!("kernel log: {line}"))
            .collect()
    }

    /// The ending in words.
    fn words(&self, ending: &Ending) -> String {
        match ending {
            Ending::Complete(status) => format!("complete with status {status}"),
            Ending::Panicked => format!(
                "the guest panicked: {}",
                self.panic.as_deref().unwrap_or("no panic message")
            ),
            Ending::OutOfMemory => format!(
                "the guest ran out of memory: give it more than --memory {}",
                self.memory
            ),
            Ending::Vanished => {
                let last = self
                    .splats
                    .last()
                    .map_or(String::new(), |(_, line, _)| format!(", last: {line}"));
                format!("the guest restarted or switched itself off{last}")
            }
            Ending::Silent { after, stacks } => {
                let last = self
                    .splats
                    .last()
                    .map_or(String::new(), |(_, line, _)| format!("; last: {line}"));
                format!(
                    "the guest was silent for {} s; {stacks}{last}",
                    after.as_secs_f64()
                )
            }
            Ending::MachineLost(how) => how.clone(),
            Ending::Interrupted(signal) => format!("interrupted by signal {signal}"),
        }
    }
}

/// A console line without the kernel's timestamp and task prefix: `[    1.234567][    T1] text`.
fn without_prefix(line: &str) -> &str {
    let mut rest = line.trim_start();
    // A console that prints levels: "<4>".
    if let Some(after) = rest.strip_prefix('<')
        && let Some((level, text)) = after.split_once('>')
        && level.bytes().all(|b| b.is_ascii_digit())
    {
        rest = text;
    }
    while let Some(after) = rest.strip_prefix('[') {
        let Some((inner, text)) = after.split_once(']') else {
            break;
        };
        let stamp = inner.trim();
        if !stamp.starts_with(|c: char| c.is_ascii_digit() || c == 'T' || c == 'C') {
            break;
        }
        rest = text.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::case::{Case, items};
    use harness::case_run::Tier;
    use harness::facts::Facts;

    fn args() -> GuestArgs {
        GuestArgs::default()
    }

    fn plan() -> Vec<Item> {
        let case = |name, line| {
            let mut case = Case::declared_at("x.rs", line);
            case.name = name;
            case
        };
        items(&[case("a.one", 1), case("a.two", 2), case("a.three", 3)])
    }

    fn line(event: &Event) -> String {
        serde_json::to_string(event).unwrap()
    }

    fn started() -> String {
        line(&Event::RunStarted {
            program: "p".to_owned(),
            facts: Box::new(Facts::default()),
            plan: Vec::new(),
            seed: 1,
            tier: Tier::Quick,
            repeat: 1,
        })
    }

    fn begin(index: usize) -> String {
        line(&Event::CaseStarted { index })
    }

    fn passed(index: usize) -> String {
        line(&Event::CaseFinished {
            index,
            verdict: Box::new(Verdict::not_run(Status::Pass, "")),
            outcome: Outcome::AsJudged,
        })
    }

    fn finished() -> String {
        line(&Event::RunFinished {
            counts: Counts::default(),
            interrupted: None,
            milliseconds: 5,
        })
    }

    const PANIC: &str = "[    1.5][    T1] Kernel panic - not syncing: Fatal exception";
    const WARNING: &str = "[    1.4] WARNING: CPU: 0 PID: 7 at kernel/fork.c:1 f+0x1/0x2";
    const END: &str = "unshare-conformance: end status 0";

    /// What a script of channel lines and an ending comes to: statuses in the order of the plan,
    /// and the exit status.
    fn play(script: &[(&str, String)], how: Option<MachineEnd>) -> (Vec<Status>, u8, Vec<Event>) {
        let mut session = Session::new(&plan(), &args());
        let mut events = Vec::new();
        for (channel, line) in script {
            match *channel {
                "results" => events.extend(session.results(line)),
                _ => session.console(line),
            }
        }
        let ending = how.map_or(
            Ending::Silent {
                after: Duration::from_secs(60),
                stacks: String::new(),
            },
            |how| session.ending_of(how),
        );
        let (last, exit) = session.end(&ending, false, Vec::new());
        events.extend(last);
        let mut statuses: Vec<(usize, Status)> = events
            .iter()
            .filter_map(|event| match event {
                Event::CaseFinished { index, verdict, .. } => Some((*index, verdict.status)),
                _ => None,
            })
            .collect();
        statuses.sort();
        (
            statuses.into_iter().map(|(_, status)| status).collect(),
            exit.code(),
            events,
        )
    }

    fn results(line: String) -> (&'static str, String) {
        ("results", line)
    }

    fn console(line: &str) -> (&'static str, String) {
        ("console", line.to_owned())
    }

    fn ended() -> Option<MachineEnd> {
        Some(MachineEnd::Exited(0, String::new()))
    }

    #[test]
    fn every_way_a_guest_can_end() {
        use Status::{Broken, Fail, Pass, TimedOut};
        let all_pass = || {
            vec![
                results(started()),
                results(begin(0)),
                results(passed(0)),
                results(begin(1)),
                results(passed(1)),
                results(begin(2)),
                results(passed(2)),
                results(finished()),
                results(END.to_owned()),
            ]
        };
        let halfway = || {
            vec![
                results(started()),
                results(begin(0)),
                results(passed(0)),
                results(begin(1)),
            ]
        };
        let with = |mut script: Vec<(&'static str, String)>, more: (&'static str, String)| {
            script.push(more);
            script
        };

        let (statuses, exit, _) = play(&all_pass(), ended());
        assert_eq!((statuses, exit), (vec![Pass; 3], 0));
        // The kernel's fault while a case ran.
        let (statuses, exit, _) = play(&with(halfway(), console(PANIC)), ended());
        assert_eq!((statuses, exit), (vec![Pass, Fail, Broken], 1));
        let (statuses, exit, _) = play(&halfway(), ended());
        assert_eq!((statuses, exit), (vec![Pass, Fail, Broken], 1));
        let (statuses, exit, _) = play(&halfway(), None);
        assert_eq!((statuses, exit), (vec![Pass, TimedOut, Broken], 1));
        // Not the kernel's.
        let killed = Some(MachineEnd::Killed(9, String::new()));
        let (statuses, exit, _) = play(&halfway(), killed);
        assert_eq!((statuses, exit), (vec![Pass, Broken, Broken], 125));
        let refused = Some(MachineEnd::Exited(1, "no memory".to_owned()));
        let (statuses, exit, _) = play(&halfway(), refused);
        assert_eq!((statuses, exit), (vec![Pass, Broken, Broken], 125));
        let oom = console("Out of memory: Killed process 7 (init)");
        let (statuses, exit, _) = play(&with(halfway(), oom), ended());
        assert_eq!((statuses, exit), (vec![Pass, Broken, Broken], 125));
        // Before the suite began: nothing can be said.
        let (statuses, exit, events) = play(&[console(PANIC)], ended());
        assert_eq!((statuses, exit), (vec![], 125));
        assert!(matches!(&events[0], Event::BailedOut { why } if why.contains("panicked")));
        let (_, exit, _) = play(&[], None);
        assert_eq!(exit, 125);
    }

    #[test]
    fn a_splat_that_no_verdict_tells_of_is_red() {
        let mut script = vec![results(started()), results(begin(0)), console(WARNING)];
        for index in 0..3 {
            script.push(results(passed(index)));
        }
        script.push(results(finished()));
        script.push(results(END.to_owned()));
        let (statuses, exit, events) = play(&script, ended());
        assert_eq!((statuses, exit), (vec![Status::Pass; 3], 1));
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::BailedOut { .. }))
        );
        // At boot it is not this suite's business.
        let script = [
            vec![console(WARNING)],
            script[..2].to_vec(),
            script[3..].to_vec(),
        ]
        .concat();
        assert_eq!(play(&script, ended()).1, 0);
    }

    #[test]
    fn results_cut_off_in_a_line_are_a_gap_and_not_a_verdict() {
        let cut = passed(0);
        let script = [
            results(started()),
            results(begin(0)),
            results(cut[..cut.len() / 2].to_owned()),
        ];
        let (statuses, exit, _) = play(&script, ended());
        assert_eq!(statuses, vec![Status::Fail, Status::Broken, Status::Broken]);
        assert_eq!(exit, 1);
    }

    #[test]
    fn a_record_is_found_behind_a_kernel_line_on_the_same_port() {
        let mut session = Session::new(&plan(), &args());
        let mixed = format!("[    0.5] random: crng init done{}", started());
        assert_eq!(session.results(&mixed).len(), 1);
        assert!(!session.never_began());
        assert!(session.results(PANIC).is_empty());
        assert!(session.has_panicked());
    }

    #[test]
    fn prefixes_of_real_consoles() {
        for (line, text) in [
            ("[    1.234567] BUG: x", "BUG: x"),
            ("[    1.234567][    T1] BUG: x", "BUG: x"),
            ("<4>[    1.234567] BUG: x", "BUG: x"),
            ("BUG: x", "BUG: x"),
            ("[<0>] f+0x1", "[<0>] f+0x1"),
        ] {
            assert_eq!(without_prefix(line), text);
        }
    }
}
