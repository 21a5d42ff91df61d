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
use vm::machine::Role;

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
    /// Its kernel, a process of this machine, crashed.
    Crashed(String),
    /// Our own program in it could not go on.
    GaveUp(String),
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
        !matches!(
            self,
            Ending::Panicked | Ending::Vanished | Ending::Crashed(_) | Ending::Silent { .. }
        )
    }
}

/// What a line of a guest came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What is to be reported.
    pub events: Vec<Event>,
    /// What the console's file is to keep: all but records.
    pub text: Option<String>,
    /// Whether it was a record, which only a living suite writes.
    pub sign_of_life: bool,
}

/// How a record begins.
const RECORD: &str = "{\"event\"";
/// How the lines of our own program on the console begin.
const OURS: &str = "unshare-conformance: ";

/// What the console may say of a kernel that does not reach its init, and what helps.
const HINTS: [(&str, &str); 6] = [
    (
        "Unable to mount root fs",
        "it has taken no initramfs, which needs CONFIG_BLK_DEV_INITRD=y",
    ),
    (
        "Initramfs unpacking failed",
        "the initramfs did not fit: give more than --memory",
    ),
    (
        "(error -8)",
        "it does not run its init, which needs CONFIG_BINFMT_ELF=y and CONFIG_64BIT=y",
    ),
    (
        "(error -12)",
        "its init did not fit: give more than --memory",
    ),
    (
        "deadlocked on memory",
        "it needs more memory: give more than --memory",
    ),
    (
        "No working init found",
        "it has taken no initramfs, which needs CONFIG_BLK_DEV_INITRD=y",
    ),
];

/// Whether a line is one that only a living suite writes.
pub fn is_sign_of_life(line: &str) -> bool {
    line.contains(RECORD) || vm::init::parse_end_record(line).is_some()
}

/// A line of the console that says that the kernel is unwell.
struct Splat {
    kind: SplatKind,
    line: String,
    /// The cases that were running.
    running: Vec<usize>,
    /// Whether any case had been started: what a kernel says at its start is not this suite's business.
    after_first: bool,
}

impl Splat {
    fn blames_kernel(&self) -> bool {
        self.kind != SplatKind::OutOfMemory
    }
}

/// The panics of a kernel that has nothing left to kill.
const MEMORY_PANICS: [&str; 2] = ["deadlocked on memory", "Out of memory"];

/// Follows one guest.
pub struct Session {
    plan: Vec<CaseInfo>,
    memory: u32,
    /// The kernel is a process of this machine, as user-mode Linux is.
    is_process: bool,
    began: bool,
    /// Whether any case was.
    started: bool,
    restarted: bool,
    finished: bool,
    end_status: Option<u8>,
    running: BTreeSet<usize>,
    reported: Vec<bool>,
    counts: Counts,
    milliseconds: u64,
    /// What verdicts have told of the kernel's log.
    told: String,
    splats: Vec<Splat>,
    panic: Option<String>,
    /// Whether anything but records was heard.
    console_heard: bool,
    /// The last thing our own program said on the console.
    said: Option<String>,
    hint: Option<&'static str>,
    /// Beginnings of records that a line of the kernel cut in two, by channel.
    torn: Vec<(Role, String)>,
}

impl Session {
    /// Begins to follow a guest that is to run these cases. `is_process` says that its kernel is a
    /// process of this machine, so that a signal which ends the process is the kernel's crash.
    pub fn new(items: &[Item], args: &GuestArgs, is_process: bool) -> Self {
        Self {
            plan: items.iter().map(CaseInfo::from).collect(),
            memory: args.memory,
            is_process,
            began: false,
            started: false,
            restarted: false,
            finished: false,
            end_status: None,
            running: BTreeSet::new(),
            reported: vec![false; items.len()],
            counts: Counts::default(),
            milliseconds: 0,
            told: String::new(),
            splats: Vec::new(),
            panic: None,
            console_heard: false,
            said: None,
            hint: None,
            torn: Vec::new(),
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

    /// Whether the guest has begun once more, instead of ending.
    pub fn has_restarted(&self) -> bool {
        self.restarted
    }

    /// Whether nothing is to come but the machine's end.
    pub fn is_over(&self) -> bool {
        self.end_status.is_some()
    }

    /// Takes a line, from whichever channel: results come on the console's where the kernel has one
    /// port, and the console on the results' where it takes the second for the first.
    pub fn line(&mut self, role: Role, line: &str) -> Heard {
        let mut heard = Heard::default();
        if let Some(status) = vm::init::parse_end_record(line) {
            self.end_status = Some(status);
            heard.sign_of_life = true;
            return heard;
        }
        let torn = self.torn.iter().position(|(channel, _)| *channel == role);
        // What goes on after the kernel's lines that cut a record in two.
        let joined = match torn {
            Some(at) if !line.starts_with('[') => self.torn.remove(at).1 + line,
            _ => line.to_owned(),
        };
        let Some(start) = joined.find(RECORD) else {
            self.text(&joined, &mut heard);
            return heard;
        };
        let (before, record) = joined.split_at(start);
        match serde_json::from_str::<Event>(record) {
            Ok(event) => {
                // The terminal may have been in the middle of a line of the kernel's.
                if !before.trim().is_empty() {
                    self.text(before, &mut heard);
                }
                heard.sign_of_life = true;
                heard.events = self.record(event);
            }
            Err(_) => match cut_by_kernel(record) {
                Some(at) => {
                    self.text(&record[at..], &mut heard);
                    self.torn.push((role, record[..at].to_owned()));
                }
                None => self.text(&joined, &mut heard),
            },
        }
        heard
    }

    fn text(&mut self, line: &str, heard: &mut Heard) {
        heard.text = Some(line.to_owned());
        self.console_heard = true;
        let line = without_prefix(line);
        if let Some(words) = line.strip_prefix(OURS) {
            self.said = Some(words.to_owned());
        }
        if !self.began
            && let Some((_, hint)) = HINTS.iter().find(|(text, _)| line.contains(text))
        {
            self.hint.get_or_insert(hint);
        }
        let Some(mut kind) = recognise(line) else {
            return;
        };
        if kind == SplatKind::Panic {
            self.panic.get_or_insert_with(|| line.to_owned());
            if MEMORY_PANICS.iter().any(|text| line.contains(text)) {
                kind = SplatKind::OutOfMemory;
            }
        }
        self.splats.push(Splat {
            kind,
            line: line.to_owned(),
            running: self.running.iter().copied().collect(),
            after_first: self.started,
        });
    }

    fn record(&mut self, mut event: Event) -> Vec<Event> {
        match &mut event {
            Event::RunStarted { .. } if self.began => {
                self.restarted = true;
                return Vec::new();
            }
            Event::RunStarted { plan, .. } => {
                // The guest runs this very program: it has the same cases, and need not list them.
                plan.clone_from(&self.plan);
                self.began = true;
            }
            Event::CaseStarted { index } => {
                if self.reported.get(*index) != Some(&false) {
                    return Vec::new();
                }
                self.running.insert(*index);
                self.started = true;
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
            Event::Progress { index, .. } if !self.running.contains(index) => return Vec::new(),
            Event::Progress { .. } | Event::Remark { .. } | Event::BailedOut { .. } => {}
        }
        vec![event]
    }

    /// What the end of the program that makes the guest means.
    pub fn ending_of(&self, how: MachineEnd) -> Ending {
        if let (Some(status), true) = (self.end_status, self.finished) {
            return Ending::Complete(status);
        }
        if let Some(panic) = &self.panic {
            return if MEMORY_PANICS.iter().any(|text| panic.contains(text)) {
                Ending::OutOfMemory
            } else {
                Ending::Panicked
            };
        }
        let with = |what: String, words: String| {
            if words.is_empty() {
                what
            } else {
                format!("{what}: {words}")
            }
        };
        match how {
            _ if self.restarted => Ending::Vanished,
            MachineEnd::Killed(signal, said)
                if self.is_process
                    && [
                        libc::SIGSEGV,
                        libc::SIGBUS,
                        libc::SIGILL,
                        libc::SIGFPE,
                        libc::SIGABRT,
                        libc::SIGTRAP,
                    ]
                    .contains(&signal) =>
            {
                Ending::Crashed(with(
                    format!("the guest's kernel crashed with signal {signal}"),
                    said,
                ))
            }
            MachineEnd::Killed(signal, said) => {
                Ending::MachineLost(with(format!("signal {signal} ended the machine"), said))
            }
            MachineEnd::Exited(status, said) if status != 0 && !self.console_heard => {
                Ending::MachineLost(with(
                    format!("the machine could not be started, status {status}"),
                    said,
                ))
            }
            MachineEnd::Exited(status, said) if status != 0 => Ending::MachineLost(with(
                format!("the machine gave up with status {status}"),
                said,
            )),
            MachineEnd::Exited(..) if self.ran_out_of_memory() => Ending::OutOfMemory,
            MachineEnd::Exited(..) => match (&self.said, self.end_status) {
                (Some(said), _) => Ending::GaveUp(said.clone()),
                (None, Some(_)) => Ending::GaveUp("it ended without its last event".to_owned()),
                (None, None) => Ending::Vanished,
            },
        }
    }

    fn ran_out_of_memory(&self) -> bool {
        self.splats
            .iter()
            .any(|splat| !splat.blames_kernel() && !splat.line.contains("cgroup"))
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
        let complete = matches!(ending, Ending::Complete(_));
        if !complete {
            events.extend(tail.iter().map(|line| Event::Remark {
                text: format!("console: {line}"),
            }));
        }
        if !self.began {
            let why = format!("the kernel never reached the suite: {why}");
            events.push(Event::BailedOut { why });
            return (events, ExitStatus::NothingToSay);
        }
        let news = self.untold_splats();
        events.extend(news.iter().map(|line| Event::Remark {
            text: format!("kernel log: {line}"),
        }));
        let was_running = !self.running.is_empty();
        self.report_rest(ending, &why, &mut events);
        let interrupted = match ending {
            Ending::Interrupted(signal) => Some(*signal),
            Ending::Complete(status) if *status > 128 => Some(i32::from(*status - 128)),
            _ => None,
        };
        events.push(self.finish(interrupted));
        // What no verdict tells of.
        let blame = if !ending.is_ours() && !was_running {
            Some(why)
        } else {
            news.first()
                .map(|line| format!("the guest's kernel was unwell: {line}"))
        };
        let exit = match blame {
            Some(why) => {
                events.push(Event::BailedOut { why });
                ExitStatus::DoesNotConform
            }
            None => self.counts.exit_status(strict),
        };
        (events, exit)
    }

    fn finish(&self, interrupted: Option<i32>) -> Event {
        Event::RunFinished {
            counts: self.counts,
            interrupted,
            milliseconds: self.milliseconds,
        }
    }

    /// Splats of the console, while or after cases ran, that no verdict has told of or is to tell of.
    /// That memory ran out is no fault of the kernel's.
    fn untold_splats(&self) -> Vec<String> {
        self.splats
            .iter()
            .filter(|splat| {
                let is_told = splat.running.iter().any(|case| self.running.contains(case))
                    || self.told.contains(splat.line.as_str());
                splat.blames_kernel() && splat.after_first && !is_told
            })
            .map(|splat| splat.line.clone())
            .collect()
    }

    /// Gives every case that has no result one: the kernel's fault where cases were running.
    fn report_rest(&mut self, ending: &Ending, why: &str, events: &mut Vec<Event>) {
        for index in 0..self.plan.len() {
            if self.reported[index] {
                continue;
            }
            let running = self.running.contains(&index);
            let splats = || {
                self.splats
                    .iter()
                    .filter(|splat| splat.running.contains(&index))
            };
            let status = match ending {
                _ if !running => Status::Broken,
                Ending::Panicked | Ending::Vanished | Ending::Crashed(_) => Status::Fail,
                Ending::Silent { .. } => Status::TimedOut,
                // However the guest was lost, what its kernel said before stands.
                _ if splats().any(Splat::blames_kernel) => Status::Fail,
                _ => Status::Broken,
            };
            let reason = if running {
                why.to_owned()
            } else {
                format!("not run: {why}")
            };
            let mut verdict = Verdict::not_run(status, reason);
            verdict.notes = splats()
                .map(|splat| format!("kernel log: {}", splat.line))
                .collect();
            self.counts.add(status, &Outcome::AsJudged);
            self.reported[index] = true;
            events.push(Event::CaseFinished {
                index,
                verdict: Box::new(verdict),
                outcome: Outcome::AsJudged,
            });
        }
    }

    /// The ending in words.
    fn words(&self, ending: &Ending) -> String {
        let mut words = match ending {
            Ending::Complete(_) => "the guest's report has a gap".to_owned(),
            Ending::Panicked => format!(
                "the guest panicked: {}",
                self.panic.as_deref().unwrap_or("no panic message")
            ),
            Ending::OutOfMemory => format!(
                "the guest ran out of memory: give it more than --memory {}",
                self.memory
            ),
            Ending::Vanished if self.restarted => "the guest restarted".to_owned(),
            Ending::Vanished => "the guest restarted or switched itself off".to_owned(),
            Ending::Crashed(how) | Ending::MachineLost(how) => how.clone(),
            Ending::GaveUp(said) => format!("the suite in the guest gave up: {said}"),
            Ending::Silent { after, stacks } if self.began => {
                format!(
                    "the guest was silent for {} s; {stacks}",
                    after.as_secs_f64()
                )
            }
            Ending::Silent { after, stacks } => {
                format!("it took more than {} s; {stacks}", after.as_secs_f64())
            }
            Ending::Interrupted(signal) => return format!("interrupted by signal {signal}"),
        };
        if let (Ending::Vanished | Ending::Silent { .. }, Some(splat)) =
            (ending, self.splats.last())
        {
            words.push_str(&format!("; last: {}", splat.line));
        }
        if !self.began && !ending.is_ours() {
            if let Some(hint) = self.hint {
                words.push_str(&format!("; {hint}"));
            } else if !self.console_heard {
                words.push_str(
                    "; nothing was heard of it: it ends before its console begins, or has none, which needs CONFIG_SERIAL_8250_CONSOLE=y",
                );
            }
        }
        words
    }
}

/// Where the kernel's own line begins in a record that it cut in two: at its timestamp.
fn cut_by_kernel(record: &str) -> Option<usize> {
    record.match_indices('[').map(|(at, _)| at).find(|&at| {
        record[at + 1..].split_once(']').is_some_and(|(stamp, _)| {
            stamp
                .trim_start()
                .split_once('.')
                .is_some_and(|(seconds, fraction)| {
                    let is_number =
                        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                    is_number(seconds) && is_number(fraction) && fraction.len() == 6
                })
        })
    })
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
        let cases = [case("a.one", 1), case("a.two", 2), case("a.three", 3)];
        items(Box::leak(Box::new(cases)))
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
            part: None,
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
    fn play(script: &[(Role, String)], how: Option<MachineEnd>) -> (Vec<Status>, u8, Vec<Event>) {
        let mut session = Session::new(&plan(), &args(), false);
        let mut events = Vec::new();
        for (role, line) in script {
            events.extend(session.line(*role, line).events);
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

    fn results(line: String) -> (Role, String) {
        (Role::Results, line)
    }

    fn console(line: &str) -> (Role, String) {
        (Role::Console, line.to_owned())
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
        let with = |mut script: Vec<(Role, String)>, more: (Role, String)| {
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
    fn a_splat_after_the_last_case_is_red() {
        let mut script = vec![results(started())];
        for index in 0..3 {
            script.extend([results(begin(index)), results(passed(index))]);
        }
        script.extend([
            results(finished()),
            console(WARNING),
            results(END.to_owned()),
        ]);
        assert_eq!(play(&script, ended()).1, 1);
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
    fn records_and_the_console_are_told_apart_on_every_channel() {
        for role in [Role::Console, Role::Results] {
            let mut session = Session::new(&plan(), &args(), false);
            let mixed = format!("[    0.5] random: crng init done{}", started());
            let heard = session.line(role, &mixed);
            assert_eq!(heard.events.len(), 1);
            assert!(heard.sign_of_life);
            assert_eq!(heard.text.unwrap(), "[    0.5] random: crng init done");
            assert!(!session.never_began());
            let heard = session.line(role, PANIC);
            assert_eq!(heard.text.unwrap(), PANIC);
            assert!(!heard.sign_of_life && session.has_panicked());
            session.line(role, END);
            assert!(session.is_over());
        }
    }

    #[test]
    fn a_record_that_the_kernel_cut_in_two_is_put_together() {
        let mut session = Session::new(&plan(), &args(), false);
        session.line(Role::Console, &started());
        session.line(Role::Console, &begin(0));
        let record = passed(0);
        let (first, second) = record.split_at(30);
        let cut = format!("{first}[    1.234567] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1");
        let heard = session.line(Role::Console, &cut);
        assert!(heard.text.unwrap().starts_with("[    1.234567] WARNING"));
        session.line(Role::Console, "[    1.234569]  ? f+0x1/0x2");
        // The other channel goes on meanwhile.
        assert_eq!(session.line(Role::Results, &begin(1)).events.len(), 1);
        let heard = session.line(Role::Console, second);
        assert!(matches!(
            heard.events.as_slice(),
            [Event::CaseFinished { index: 0, .. }]
        ));
    }

    #[test]
    fn a_panic_is_red_even_when_every_case_has_its_result() {
        let mut script = vec![results(started())];
        for index in 0..3 {
            script.extend([results(begin(index)), results(passed(index))]);
        }
        script.push(results(finished()));
        script.push(console(PANIC));
        let (statuses, exit, events) = play(&script, ended());
        assert_eq!((statuses, exit), (vec![Status::Pass; 3], 1));
        assert!(
            matches!(events.last(), Some(Event::BailedOut { why }) if why.contains("panicked"))
        );
    }

    #[test]
    fn a_splat_stands_whoever_ended_the_guest() {
        let script = [results(started()), results(begin(0)), console(WARNING)];
        let killed = Some(MachineEnd::Killed(9, String::new()));
        let (statuses, exit, _) = play(&script, killed);
        assert_eq!(statuses, vec![Status::Fail, Status::Broken, Status::Broken]);
        assert_eq!(exit, 1);
    }

    #[test]
    fn our_own_program_giving_up_is_no_fault_of_the_kernel() {
        let said = "unshare-conformance: cannot write the report: Input/output error";
        let script = [results(started()), results(begin(0)), console(said)];
        let (statuses, exit, events) = play(&script, ended());
        assert_eq!(statuses, vec![Status::Broken; 3]);
        assert_eq!(exit, 125);
        assert!(events.iter().any(|event| matches!(event,
            Event::CaseFinished { verdict, .. } if verdict.reason.contains("cannot write the report"))));
    }

    #[test]
    fn a_second_beginning_is_a_restart() {
        let mut session = Session::new(&plan(), &args(), true);
        session.line(Role::Results, &started());
        session.line(Role::Results, &begin(0));
        assert!(session.line(Role::Results, &started()).events.is_empty());
        assert!(session.has_restarted());
        let ending = session.ending_of(MachineEnd::Exited(0, String::new()));
        assert_eq!(ending, Ending::Vanished);
        assert_eq!(session.end(&ending, false, Vec::new()).1.code(), 1);
    }

    #[test]
    fn a_kernel_that_is_a_process_can_crash() {
        let crash = || MachineEnd::Killed(libc::SIGSEGV, String::new());
        let kill = || MachineEnd::Killed(libc::SIGKILL, String::new());
        let user_mode = Session::new(&plan(), &args(), true);
        let other = Session::new(&plan(), &args(), false);
        assert!(!user_mode.ending_of(crash()).is_ours());
        assert!(user_mode.ending_of(kill()).is_ours());
        assert!(other.ending_of(crash()).is_ours());
    }

    /// The last sentence of a guest that never reached the suite.
    fn never_reached(script: &[(Role, String)], how: Option<MachineEnd>) -> String {
        let (_, exit, events) = play(script, how);
        assert_eq!(exit, 125);
        match events.last() {
            Some(Event::BailedOut { why }) => why.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_kernel_that_never_reached_the_suite_gets_a_hint() {
        let root = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
        let console_line = "[    0.1] Linux version 6.1";
        let refused = MachineEnd::Exited(1, "qemu: cannot allocate memory".to_owned());
        let gave_up = "unshare-conformance: the guest's proc cannot be mounted on /proc";
        for (script, how, expected) in [
            (vec![console(root)], ended(), "CONFIG_BLK_DEV_INITRD=y"),
            (vec![], ended(), "CONFIG_SERIAL_8250_CONSOLE=y"),
            (vec![], None, "CONFIG_SERIAL_8250_CONSOLE=y"),
            (vec![console(console_line)], None, "it took more than 60 s"),
            (
                vec![],
                Some(refused),
                "could not be started, status 1: qemu: cannot allocate memory",
            ),
            (
                vec![console(gave_up)],
                ended(),
                "gave up: the guest's proc cannot be mounted",
            ),
        ] {
            let why = never_reached(&script, how);
            assert!(why.contains(expected), "{why}");
        }
        let why = never_reached(&[console(console_line)], ended());
        assert!(!why.contains("CONFIG"), "{why}");
    }

    #[test]
    fn a_kernel_that_gives_up_for_want_of_memory_is_not_to_blame() {
        let panic = "Kernel panic - not syncing: System is deadlocked on memory";
        let script = [results(started()), results(begin(0)), console(panic)];
        let (statuses, exit, _) = play(&script, ended());
        // The panic is the kernel's, and told; but the ending says what to do.
        assert_eq!(statuses, vec![Status::Broken; 3]);
        assert_eq!(exit, 125);
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
