//! A fault: what the table says of it, and how a task of a case acts it.
//!
//! It is acted in a handler of SIGSYS, in a task that may share its memory with others: raw system calls only, nothing
//! is allocated, no errno is written.

use serde::de::{Deserializer, Error};

use super::act::Act;
use super::trapped::{Entry, Trapped, capabilities, root_inode};
use crate::spec::prelude::*;

/// A named way in which a kernel gets unshare(2) wrong.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What `--fault` takes: words with hyphens.
    pub name: String,
    /// What the faulty kernel does, in one sentence.
    pub about: String,
    /// The bug of a kernel that looks like this.
    pub imitates: String,
    /// Requirements that it breaks, for example.
    #[serde(default)]
    pub breaks: Vec<String>,
    /// No check may fail with it: a correct kernel may be like that.
    #[serde(default)]
    pub harmless: bool,
    /// It refuses what is asked, or never answers: that a case notices this says little of its other checks, and is not
    /// enough for it.
    #[serde(default)]
    pub blunt: bool,
    /// A case that times out has noticed it, too.
    #[serde(default)]
    pub hangs: bool,
    /// Where a case takes long to notice it: only those whose names begin so are tried. Empty: all.
    #[serde(default)]
    pub tried_on: Vec<String>,
    /// All of these must hold.
    #[serde(default, skip_serializing)]
    when: Vec<When>,
    /// What is done then instead of the call.
    #[serde(skip_serializing)]
    what: What,
}

/// When a fault shows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum When {
    /// One of these flags was given.
    Any(Flags),
    /// All of these flags were given.
    All(Flags),
    /// The argument was 0.
    NoFlag,
    /// A known flag was given.
    Known,
    /// At least two known flags were given.
    Several,
    /// A bit was given that means nothing to unshare(2).
    Unknown,
    /// The call came by the 32-bit entry.
    Ia32,
    /// The caller's process has, or had, other threads, or it shares its signal handlers or memory.
    InCompany,
    /// The caller is a thread, but not the leader of its process.
    NotLeader,
    /// The caller does not have CAP_SYS_ADMIN.
    Unprivileged,
    /// The caller's root directory is not the one that its case began with.
    Chrooted,
    /// The case has made this many calls before.
    After(u32),
    /// Another task of the case begins a call while this one is under way, which it stays for some looks.
    BesideAnother,
}

/// What a faulty kernel does.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// The call.
    Honest,
    /// Nothing, and leaves this in the register.
    Answer(Answer),
    /// The call, and leaves this in the register if that succeeds.
    DoAndAnswer(Answer),
    /// The call, and reports the first error as the second.
    Swap(Code, Code),
    /// The call, and reports this error as success.
    Forget(Code),
    /// The call without these flags.
    Drop(Flags),
    /// The call with these flags as well.
    Add(Flags),
    /// The call with these bits only.
    Mask(Flags),
    /// The call, and if that is refused, as much of these flags as was asked for.
    Half(Flags),
    /// The call, and if that is refused, each of its flags by itself.
    Rest,
    /// These flags first, then the call.
    First(Flags),
    /// The call twice; the result is the second one's.
    Twice,
    /// The call, half a millisecond late.
    Later,
    /// Nothing, and never returns.
    Never,
    /// Kills the caller.
    Kill,
    /// Something besides, then the call.
    Before(Act),
    /// The call, and if that succeeds, something besides.
    AndThen(Act),
    /// The call, and if that is refused, something besides.
    OrElse(Act),
}

/// What is left in the register: a number, or an error.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Number(i64),
    Error(Code),
}

impl Answer {
    fn register(self) -> i64 {
        match self {
            Answer::Number(number) => number,
            Answer::Error(code) => code.register(),
        }
    }
}

/// An errno, or the kernel's internal code of a restart.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Code {
    Eacces = libc::EACCES as isize,
    Eagain = libc::EAGAIN as isize,
    Eintr = libc::EINTR as isize,
    Einval = libc::EINVAL as isize,
    Emfile = libc::EMFILE as isize,
    Enomem = libc::ENOMEM as isize,
    Enospc = libc::ENOSPC as isize,
    Enosys = libc::ENOSYS as isize,
    Eperm = libc::EPERM as isize,
    Erestartsys = 512,
    Eusers = libc::EUSERS as isize,
}

impl Code {
    fn register(self) -> i64 {
        -(self as i64)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Flags::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no set of flags")))
    }
}

impl Fault {
    /// Whether a case of this name is tried.
    pub fn is_tried_on(&self, case: &str) -> bool {
        self.tried_on.is_empty() || self.tried_on.iter().any(|name| case.starts_with(name))
    }

    /// Answers a call that the filter has trapped; `before` is how many there were before it.
    pub(super) fn answer(&self, call: &mut Trapped, before: u32) -> i64 {
        // A task that is killed in a call stays counted: such a kernel does not recover either.
        call.ledger.under_way.fetch_add(1, Ordering::AcqRel);
        let applies = self.when.iter().all(|when| when.holds(call, before));
        let what = if applies { self.what } else { What::Honest };
        let result = perform(what, call);
        call.ledger.under_way.fetch_sub(1, Ordering::AcqRel);
        result
    }
}

fn perform(what: What, call: &mut Trapped) -> i64 {
    let asked = call.flags;
    match what {
        What::Honest => call.issue(asked),
        What::Answer(answer) => answer.register(),
        What::DoAndAnswer(answer) => swap(call.issue(asked), 0, answer.register()),
        What::Swap(from, to) => swap(call.issue(asked), from.register(), to.register()),
        What::Forget(code) => swap(call.issue(asked), code.register(), 0),
        What::Drop(flags) => call.issue(asked & !flags.0),
        What::Add(flags) => call.issue(asked | flags.0),
        What::Mask(bits) => call.issue(asked & bits.0),
        What::Half(flags) if asked & flags.0 == 0 => call.issue(asked),
        What::Half(flags) => or_else(call, |call| {
            call.issue(asked & flags.0);
        }),
        What::Rest => or_else(call, |call| {
            for flag in Flags::KNOWN.into_iter().filter(|flag| asked & flag.0 != 0) {
                call.issue(flag.0);
            }
        }),
        What::First(flags) => {
            call.issue(flags.0);
            call.issue(asked)
        }
        What::Twice => {
            call.issue(asked);
            call.issue(asked)
        }
        What::Later => {
            let _ = sleep(500_000);
            call.issue(asked)
        }
        What::Never => loop {
            let _ = sleep(999_999_999);
        },
        What::Kill => {
            if let (Ok(process), Ok(thread)) = (call!(getpid), call!(gettid)) {
                let _ = call!(tgkill, process, thread, libc::SIGKILL);
            }
            call.issue(asked)
        }
        What::Before(act) => {
            act.perform(call);
            call.issue(asked)
        }
        What::AndThen(act) => {
            let result = call.issue(asked);
            if result == 0 {
                act.perform(call);
            }
            result
        }
        What::OrElse(act) => or_else(call, |call| act.perform(call)),
    }
}

fn swap(result: i64, from: i64, to: i64) -> i64 {
    if result == from { to } else { result }
}

fn or_else(call: &mut Trapped, deed: impl FnOnce(&mut Trapped)) -> i64 {
    let result = call.issue(call.flags);
    if result != 0 {
        deed(call);
    }
    result
}

impl When {
    fn holds(self, call: &Trapped, before: u32) -> bool {
        let flags = Flags(call.flags);
        let known = || Flags::KNOWN.into_iter().filter(|flag| flags.intersects(*flag));
        match self {
            When::Any(of) => flags.intersects(of),
            When::All(of) => flags.contains(of),
            When::NoFlag => flags == Flags::NONE,
            When::Known => known().next().is_some(),
            When::Several => known().nth(1).is_some(),
            When::Unknown => known().fold(flags.0, |rest, flag| rest & !flag.0) != 0,
            When::Ia32 => call.entry == Entry::Compat,
            // These flags change nothing: they only look.
            When::InCompany => call.issue(Flags::VM.0) != 0,
            When::NotLeader => call!(getpid) != call!(gettid),
            When::Unprivileged => {
                const SYS_ADMIN: u32 = 21;
                !capabilities().is_ok_and(|(_, sets)| sets[0] & 1 << SYS_ADMIN != 0)
            }
            When::Chrooted => root_inode() != call.ledger.root.load(Ordering::Relaxed),
            When::After(calls) => before >= calls,
            // Each look costs the caller a turn on the CPU: on a busy machine, where others begin late, it looks longer.
            When::BesideAnother => (0..30).any(|_| {
                let _ = sleep(300_000);
                call.ledger.under_way.load(Ordering::Acquire) > 1
            }),
        }
    }
}
