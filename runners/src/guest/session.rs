//! The results of a guest: a pure state machine from the lines of its two channels to events.
//!
//! Whatever happens to the guest, every case of the plan gets a result: those that were reported,
//! the ones that were running when it was lost, and the rest as not run.

use harness::case::test::seed_of_repetition;
use harness::place::facts::Version;
use harness::report::read_wire;
use harness::run::splat::{SplatKind, recognise};
use harness::verdict::affair::Affair;
use harness::verdict::expectation::Expectations;

use crate::prelude::*;
use crate::results::read::bounded;

/// Output of a guest, or of the program that runs it.
#[derive(Debug)]
pub enum Input {
    /// A line of the console or of the results channel. The role only says where it was read: a kernel with
    /// fewer ports than the machine may use one for the other.
    Line(Role, String),
    /// A signal asked this process to end.
    Signal(i32),
    /// The machine is gone; nothing more will come.
    Ended(MachineEnd),
}

/// How the program that runs the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineEnd {
    /// It exited with this status; the end of its standard error.
    Exited(i32, String),
    /// A signal killed it; the end of its standard error.
    Killed(i32, String),
}

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
    /// The suite in it could not go on.
    GaveUp(String),
    /// It was silent for too long.
    Silent {
        /// How long.
        after: Duration,
        /// What is known of its tasks' stacks.
        stacks: String,
    },
    /// The program that runs it was killed, or exited.
    MachineLost(String),
    /// A signal asked this process to end.
    Interrupted(i32),
}

impl Ending {
    /// Whether the kernel under test cannot be the cause.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Ending::Panicked | Ending::Vanished | Ending::Crashed(_) | Ending::Silent { .. })
    }
}

/// The meaning of a line of a guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Events to report.
    pub events: Vec<Event>,
    /// Text for the console file: all but records.
    pub text: Option<String>,
    /// Whether it was a record, which only a living suite writes.
    pub sign_of_life: bool,
}

/// How a record begins.
const RECORD: &str = "{\"e";
/// How the lines of our own program on the console begin.
const OURS: &str = "unshare-conformance: ";

/// What the console may say of a kernel that does not reach its init, and the remedy.
const HINTS: [(&str, &str); 7] = [
    // Older ones have a buffer of a fixed size, and the host's ptrace(2) takes the whole state or fails with EFAULT.
    (
        "ptrace set fp regs failed",
        "this release of user-mode Linux runs no program on this processor, whose floating-point state is too large for \
         it, as with AMX: boot a newer one, or another kernel under QEMU",
    ),
    ("Unable to mount root fs", "it has not accepted the initramfs, which requires CONFIG_BLK_DEV_INITRD=y"),
    ("Initramfs unpacking failed", "the initramfs did not fit: increase --memory"),
    (
        "(error -8)",
        "it cannot run its init, which requires CONFIG_BINFMT_ELF=y, and CONFIG_64BIT=y or CONFIG_COMPAT=y for an init of \
         the other word size",
    ),
    ("(error -12)", "its init did not fit: increase --memory"),
    ("deadlocked on memory", "it ran out of memory: increase --memory"),
    ("No working init found", "it has not accepted the initramfs, which requires CONFIG_BLK_DEV_INITRD=y"),
];

/// Whether a line is one that only a living suite writes.
pub fn is_sign_of_life(line: &str) -> bool {
    line.contains(RECORD) || vm::init::parse_end_record(line).is_some()
}

/// A console line in which the kernel reports a problem.
struct Splat {
    /// Whether it blames the kernel: running out of memory does not.
    blames_kernel: bool,
    line: String,
    /// The cases that were running.
    running: Vec<usize>,
    /// Whether any case had started: splats during boot are not this suite's business.
    after_first: bool,
}

/// Whether a panic is one of a kernel that is out of memory.
fn is_memory_panic(line: &str) -> bool {
    line.contains("deadlocked on memory") || line.contains("Out of memory")
}

/// Whether a kernel whose ports nobody reads may say so of itself.
fn comes_of_standstill(kind: SplatKind) -> bool {
    matches!(kind, SplatKind::Lockup | SplatKind::RcuStall)
}

/// Whether nothing but such reports made a case fail.
fn of_standstill_alone(verdict: &Verdict) -> bool {
    let logged = |text: &str| text.strip_prefix("kernel log: ").and_then(recognise);
    verdict.status == Status::Fail
        && verdict.failed.is_empty()
        && logged(&verdict.reason).is_some_and(comes_of_standstill)
        && verdict.notes.iter().filter_map(|note| logged(note)).all(comes_of_standstill)
}

/// Follows one guest.
#[derive(Default)]
pub struct Session {
    plan: Vec<CaseInfo>,
    memory: u32,
    /// After how many failures the guest was to stop.
    pub fail_fast: Option<u32>,
    /// What is expected of the kernel.
    pub expectations: Expectations,
    /// Its release.
    version: Version,
    /// The kernel is a process of this machine, as user-mode Linux is.
    is_process: bool,
    /// Name and version of the program that the guest's init is to be; any, if empty.
    pub program: &'static str,
    /// Whether it is another one.
    pub is_of_other_version: bool,
    /// The options without which a kernel prints nothing, in words.
    pub console_options: String,
    /// Whether the suite in the guest has begun.
    pub began: bool,
    /// Whether any case has started.
    started: bool,
    /// Whether the guest has begun once more, instead of ending.
    pub restarted: bool,
    finished: bool,
    end_status: Option<u8>,
    running: BTreeSet<usize>,
    /// The last progress of the long ones among them: the repetition, how much of it is done, of how much.
    progress: BTreeMap<usize, [u32; 3]>,
    /// The random seed.
    seed: u64,
    reported: Vec<bool>,
    counts: Counts,
    milliseconds: u64,
    /// What verdicts have reported of the kernel's log.
    reported_log: String,
    splats: Vec<Splat>,
    panic: Option<String>,
    /// Whether anything but records was read.
    console_heard: bool,
    /// The last message of our own program on the console.
    said: Option<String>,
    hint: Option<&'static str>,
    /// Beginnings of records that a line of the kernel cut in two, by channel.
    torn: Vec<(Role, String)>,
    /// How long the ports of the guest were not read, which its kernel may report as a lockup. None in normal times.
    pub stood_still: Option<Duration>,
    /// How many records could not be put together.
    lost: u32,
}

impl Session {
    /// Begins to follow a guest that is to run these cases. `is_process` says that its kernel is a
    /// process of this machine, so that a signal which ends the process is the kernel's crash.
    pub fn new(items: &[Item], args: &GuestArgs, is_process: bool) -> Self {
        Self {
            plan: items.iter().map(CaseInfo::from).collect(),
            memory: args.memory,
            is_process,
            reported: vec![false; items.len()],
            ..Self::default()
        }
    }

    /// Whether only the machine's end is left to come, or the kernel has panicked.
    pub fn is_ending(&self) -> bool {
        self.panic.is_some() || self.end_status.is_some()
    }

    /// Handles a line of either channel: results arrive on the console's if the kernel has one port, and the
    /// console on the results' if it uses the second port as its first.
    pub fn line(&mut self, role: Role, line: &str) -> Heard {
        let mut heard = Heard::default();
        let torn = self.torn.iter().position(|(channel, _)| *channel == role);
        // The rest of a record that kernel lines cut in two.
        let joined = match torn {
            Some(at) if cut_by_kernel(line) != Some(0) => {
                let beginning = self.torn.remove(at).1;
                let is_next = line.starts_with(RECORD) || vm::init::parse_end_record(line).is_some();
                self.lost += u32::from(is_next);
                if is_next { line.to_owned() } else { beginning + line }
            }
            _ => line.to_owned(),
        };
        if let Some(status) = vm::init::parse_end_record(&joined) {
            self.end_status = Some(status);
            heard.sign_of_life = true;
            return heard;
        }
        let Some(start) = joined.find(RECORD) else {
            self.without_record(role, &joined, &mut heard);
            return heard;
        };
        let (before, record) = joined.split_at(start);
        let cut = cut_by_kernel(record);
        let whole = read_wire;
        // A cut at the very end leaves it whole, and its line goes on with the kernel's.
        let event = whole(record).map(|event| (event, "")).or_else(|| {
            let (record, rest) = record.split_at(cut?);
            Some((whole(record)?, rest))
        });
        if let Some((event, rest)) = event {
            // The terminal may have been in the middle of a line of the kernel's.
            for text in [before, rest] {
                if !text.trim().is_empty() {
                    self.text(text, &mut heard);
                }
            }
            heard.sign_of_life = true;
            heard.events.extend(self.record(event));
        } else if let Some(at) = cut {
            self.text(&record[at..], &mut heard);
            self.torn.push((role, record[..at].to_owned()));
        } else {
            self.lost += 1;
            self.text(&joined, &mut heard);
        }
        heard
    }

    /// Handles a line without the beginning of a record, unless the kernel cut just that in two.
    fn without_record(&mut self, role: Role, line: &str, heard: &mut Heard) {
        if let Some(at) = cut_by_kernel(line) {
            let (before, kernels) = line.split_at(at);
            let is_cut = |start: &usize| {
                let text = &before[*start..];
                RECORD.starts_with(text) || vm::init::begins_end_record(text)
            };
            if let Some(start) = before.char_indices().map(|(start, _)| start).find(is_cut) {
                self.torn.push((role, before[start..].to_owned()));
                return self.text(&[&before[..start], kernels].concat(), heard);
            }
        }
        self.text(line, heard);
    }

    fn text(&mut self, line: &str, heard: &mut Heard) {
        heard.text = Some(heard.text.take().map_or_else(String::new, |text| text + "\n") + line);
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
        let Some(kind) = recognise(line) else {
            return;
        };
        if let Some(how_long) = self.stood_still.filter(|_| comes_of_standstill(kind)) {
            let text = format!("of a guest that stood still for {} s: kernel log: {line}", how_long.as_secs());
            heard.events.push(Event::Remark { text });
            return;
        }
        if kind == SplatKind::Panic {
            self.panic.get_or_insert_with(|| line.to_owned());
        }
        self.splats.push(Splat {
            blames_kernel: kind != SplatKind::OutOfMemory && !(kind == SplatKind::Panic && is_memory_panic(line)),
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
            Event::RunStarted { program, .. } if !self.program.is_empty() && *program != self.program => {
                self.is_of_other_version = true;
                return Vec::new();
            }
            Event::RunStarted { plan, seed, facts, .. } => {
                self.seed = *seed;
                self.version = facts.in_order();
                // The guest's init has the same cases, as it has made sure, and need not list them.
                plan.clone_from(&self.plan);
                self.began = true;
            }
            Event::Remark { .. } | Event::BailedOut { .. } => {}
            // Without its start there is no run that this could belong to.
            _ if !self.began => return Vec::new(),
            Event::CaseStarted { index } | Event::CaseFinished { index, .. }
                if self.reported.get(*index) != Some(&false) =>
            {
                return Vec::new();
            }
            Event::CaseStarted { index } => {
                self.running.insert(*index);
                self.started = true;
            }
            Event::CaseFinished { index, verdict, outcome } => {
                bounded(verdict);
                if let Some(how_long) = self.stood_still
                    && of_standstill_alone(verdict)
                {
                    verdict.status = Status::Skip;
                    verdict.reason =
                        format!("not judged: the guest stood still for {} s; {}", how_long.as_secs(), verdict.reason);
                }
                self.reported[*index] = true;
                self.running.remove(index);
                self.counts.add(verdict.status, outcome);
                for note in &verdict.notes {
                    self.reported_log.push_str(note);
                    self.reported_log.push('\n');
                }
            }
            Event::RunFinished { milliseconds, .. } => {
                self.finished = true;
                self.milliseconds = *milliseconds;
                return Vec::new();
            }
            Event::Alive => return Vec::new(),
            Event::Progress { index, .. } if !self.running.contains(index) => return Vec::new(),
            &mut Event::Progress { index, repetition, done, total } => {
                self.progress.insert(index, [repetition, done, total]);
            }
        }
        vec![event]
    }

    /// The meaning of the end of the program that runs the guest.
    pub fn ending_of(&self, how: MachineEnd) -> Ending {
        // Nothing comes behind the last record that would say where it ends.
        let end_status =
            self.end_status.or_else(|| self.torn.iter().find_map(|(_, text)| vm::init::parse_end_record(text)));
        if let (Some(status), true) = (end_status, self.finished) {
            return Ending::Complete(status);
        }
        if let Some(panic) = &self.panic {
            return if is_memory_panic(panic) { Ending::OutOfMemory } else { Ending::Panicked };
        }
        let with = |what: String, words: String| {
            if words.is_empty() { what } else { format!("{what}: {words}") }
        };
        use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
        match how {
            _ if self.restarted => Ending::Vanished,
            MachineEnd::Killed(signal @ (SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGABRT | SIGTRAP), said)
                if self.is_process =>
            {
                Ending::Crashed(with(format!("the guest's kernel crashed with signal {signal}"), said))
            }
            MachineEnd::Killed(signal, said) => {
                Ending::MachineLost(with(format!("signal {signal} killed the machine"), said))
            }
            MachineEnd::Exited(status, said) if status != 0 => {
                let how = if self.console_heard { "exited with" } else { "could not be started," };
                Ending::MachineLost(with(format!("the machine {how} status {status}"), said))
            }
            MachineEnd::Exited(..) if self.ran_out_of_memory() => Ending::OutOfMemory,
            MachineEnd::Exited(..) => match (&self.said, self.end_status) {
                (Some(said), _) => Ending::GaveUp(said.clone()),
                (None, Some(_)) => Ending::GaveUp("it exited without its last event".to_owned()),
                (None, None) => Ending::Vanished,
            },
        }
    }

    fn ran_out_of_memory(&self) -> bool {
        self.splats.iter().any(|splat| !splat.blames_kernel && !splat.line.contains("cgroup"))
    }

    /// The events that end the report, and the exit status.
    pub fn end(&mut self, ending: &Ending, strict: bool, tail: Vec<String>) -> (Vec<Event>, ExitStatus) {
        let mut events = Vec::new();
        let why = self.words(ending);
        let complete = matches!(ending, Ending::Complete(_));
        if !complete {
            events.extend(tail.iter().map(|line| Event::Remark { text: format!("console: {line}") }));
        }
        if !self.began {
            let why = format!("the kernel never reached the suite: {why}");
            events.push(Event::BailedOut { why });
            return (events, ExitStatus::NothingToSay);
        }
        let news = self.untold_splats();
        events.extend(news.iter().map(|line| Event::Remark { text: format!("kernel log: {line}") }));
        let was_running = !self.running.is_empty();
        self.report_rest(ending, &why, &mut events);
        let interrupted = match ending {
            Ending::Interrupted(signal) => Some(*signal),
            Ending::Complete(status) if *status > 128 => Some(i32::from(*status - 128)),
            _ => None,
        };
        let (counts, milliseconds) = (self.counts, self.milliseconds);
        events.push(Event::RunFinished { counts, interrupted, milliseconds });
        // What no verdict reports.
        let blame = if !ending.is_ours() && !was_running {
            Some(why)
        } else {
            news.first().map(|line| format!("the guest's kernel reported a problem: {line}"))
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

    /// Sets the run time of a guest that did not report its own.
    pub fn lasted(&mut self, duration: Duration) {
        if !self.finished {
            self.milliseconds = duration.as_millis() as u64;
        }
    }

    /// Splats while or after cases ran that no verdict has reported or will report.
    fn untold_splats(&self) -> Vec<String> {
        let is_told = |splat: &Splat| {
            splat.running.iter().any(|case| self.running.contains(case)) || self.reported_log.contains(&splat.line)
        };
        let late = self.splats.iter().filter(|splat| splat.blames_kernel && splat.after_first);
        late.filter(|splat| !is_told(splat)).map(|splat| splat.line.clone()).collect()
    }

    /// Gives every case without a result one: a failure for cases that were running when the kernel failed.
    fn report_rest(&mut self, ending: &Ending, why: &str, events: &mut Vec<Event>) {
        let failures = self.counts.failed + self.counts.timed_out;
        let stopped = matches!(ending, Ending::Complete(_)) && self.fail_fast.is_some_and(|most| failures >= most);
        for index in 0..self.plan.len() {
            if self.reported[index] {
                continue;
            }
            let running = self.running.contains(&index);
            let splats = || self.splats.iter().filter(|splat| splat.running.contains(&index));
            let status = match ending {
                _ if !running => Status::Broken,
                Ending::Panicked | Ending::Vanished | Ending::Crashed(_) => Status::Fail,
                Ending::Silent { .. } => Status::TimedOut,
                // However the guest was lost, earlier splats stand.
                _ if splats().any(|splat| splat.blames_kernel) => Status::Fail,
                _ => Status::Broken,
            };
            // An interrupted case was not lost with its guest.
            let mut verdict = if stopped {
                Verdict::stopped_before()
            } else if running && !matches!(ending, Ending::Interrupted(_)) {
                Verdict::not_run(status, why)
            } else {
                Verdict::never_reached(why)
            };
            verdict.notes = splats().map(|splat| format!("kernel log: {}", splat.line)).collect();
            if let (true, Some(&[repetition, done, total])) = (running, self.progress.get(&index)) {
                verdict.repetition = repetition;
                let seed = seed_of_repetition(self.seed, repetition);
                verdict.notes.push(format!("last progress: {done} of {total}; --seed {seed} repeats it"));
            }
            verdict.affair = Affair::of(&verdict, suite::SUITE.affair);
            let case = &self.plan[index];
            let outcome = self.expectations.outcome(&case.name, &case.proves, self.version, &verdict);
            self.counts.add(verdict.status, &outcome);
            self.reported[index] = true;
            events.push(Event::CaseFinished { index, verdict: Box::new(verdict), outcome });
        }
    }

    /// The ending in words.
    fn words(&self, ending: &Ending) -> String {
        let mut words = match ending {
            Ending::Complete(_) => "the guest's report is incomplete".to_owned(),
            Ending::Panicked => format!("the guest panicked: {}", self.panic.as_deref().unwrap_or("no panic message")),
            Ending::OutOfMemory => format!("the guest ran out of memory: give it more than --memory {}", self.memory),
            Ending::Vanished if self.restarted => "the guest restarted".to_owned(),
            Ending::Vanished => "the guest restarted or powered off".to_owned(),
            Ending::Crashed(how) | Ending::MachineLost(how) => how.clone(),
            Ending::GaveUp(said) => format!("the suite in the guest gave up: {said}"),
            Ending::Silent { after, stacks } => {
                let how = if self.began { "the guest was silent for" } else { "timed out after" };
                format!("{how} {} s; {stacks}", after.as_secs_f64())
            }
            Ending::Interrupted(signal) => return format!("interrupted by signal {signal}"),
        };
        if let (Ending::Complete(_) | Ending::GaveUp(_) | Ending::Vanished, 1..) = (ending, self.lost) {
            words.push_str(&format!(
                "; {} of its lines were cut by the kernel's: give it a port for each (no --single-serial)",
                self.lost
            ));
        }
        if let (Ending::Vanished | Ending::Silent { .. }, Some(splat)) = (ending, self.splats.last()) {
            words.push_str(&format!("; last: {}", splat.line));
        }
        if !self.began && !ending.is_ours() {
            if let Some(hint) = self.hint {
                words.push_str(&format!("; {hint}"));
            } else if !self.console_heard {
                let options = &self.console_options;
                words.push_str("; no console output: it died before the console was up, or has none");
                if !options.is_empty() {
                    words.push_str(&format!(", which requires {options}"));
                }
            }
        }
        words
    }
}

/// Where the kernel's own line begins in a record that it cut in two: at its timestamp.
fn cut_by_kernel(record: &str) -> Option<usize> {
    // A stamp is short: a flood of brackets must not be searched from each of them to the end.
    const LONGEST_STAMP: usize = 32;
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    record.match_indices('[').map(|(at, _)| at).find(|&at| {
        let rest = &record.as_bytes()[at + 1..];
        let rest = &rest[..rest.len().min(LONGEST_STAMP)];
        let stamp = rest.iter().position(|byte| *byte == b']').map(|end| rest[..end].trim_ascii_start());
        let dot = stamp.and_then(|stamp| Some((stamp, stamp.iter().position(|byte| *byte == b'.')?)));
        dot.is_some_and(|(stamp, dot)| {
            is_number(&stamp[..dot]) && is_number(&stamp[dot + 1..]) && stamp.len() == dot + 7
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
mod tests;
