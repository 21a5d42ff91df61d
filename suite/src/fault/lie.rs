//! What a faulty kernel does instead of the call, as data, and how it is done.
//!
//! All of this runs in a handler of SIGSYS, in a task that may share its memory with others: raw
//! system calls only, nothing is allocated, no errno is written.

use std::sync::atomic::Ordering;

use syscalls::{Sysno, syscall};

use super::act::Act;
use super::stand_in::{Entry, Trapped};
use crate::spec::flags::Flags;

/// When a faulty kernel shows its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// One of these flags was given.
    Any(Flags),
    /// All of these flags were given.
    All(Flags),
    /// None of these flags was given.
    Without(Flags),
    /// Exactly these flags were given.
    Exactly(u64),
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
    /// The caller has CAP_SYS_ADMIN.
    Privileged,
    /// The caller's root directory is not the one that its case began with.
    Chrooted,
    /// The case has made this many calls before.
    After(u32),
    /// Another task of the case is in a call, too, a moment after this one has begun.
    BesideAnother,
}

/// What a faulty kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What was asked for.
    Honest,
    /// Nothing, and leaves this in the register.
    Answer(i64),
    /// What was asked for, and leaves this in the register where that was a success.
    DoAndAnswer(i64),
    /// What was asked for, and tells one error as another.
    Swap(i32, i32),
    /// What was asked for; this error it tells as a success.
    Forget(i32),
    /// The call without some flags, and with others.
    Change(Flags, Flags),
    /// The call with these bits only.
    Mask(u64),
    /// What was asked for; where that is refused, as much of these flags as was asked for.
    Half(Flags),
    /// What was asked for, and where that is refused, all the rest: flag by flag, as far as it goes.
    Rest,
    /// These flags first, then what was asked for.
    First(Flags),
    /// The call twice; the second one tells.
    Twice,
    /// What was asked for, later.
    Later,
    /// Nothing, and never returns.
    Never,
    /// Nothing, and ends the caller by this signal.
    Kill(i32),
    /// What was asked for, and where that was a success something besides.
    AndThen(Act),
    /// What was asked for, and where that was refused something besides.
    OrElse(Act),
}

/// A fault's lie.
#[derive(Clone, Copy, Debug)]
pub struct Lie {
    /// All of these must hold.
    pub when: [When; 2],
    /// What is done then.
    pub what: What,
}

impl Lie {
    /// Answers a call that the filter has trapped; `before` is how many there were before it.
    pub(super) fn answer(&self, call: &mut Trapped, before: u32) -> i64 {
        // A task that is killed in a call stays counted: such a kernel does not recover either.
        call.ledger.under_way.fetch_add(1, Ordering::AcqRel);
        let applies = self.when.iter().all(|when| holds(*when, call, before));
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
        What::Answer(answer) => answer,
        What::DoAndAnswer(answer) => match call.issue(asked) {
            0 => answer,
            refused => refused,
        },
        What::Swap(from, to) => match call.issue(asked) {
            result if result == -i64::from(from) => -i64::from(to),
            result => result,
        },
        What::Forget(errno) => match call.issue(asked) {
            result if result == -i64::from(errno) => 0,
            result => result,
        },
        What::Change(without, with) => call.issue(asked & !without.0 | with.0),
        What::Mask(bits) => call.issue(asked & bits),
        What::Half(flags) => {
            let result = call.issue(asked);
            if result != 0 && asked & flags.0 != 0 {
                call.issue(asked & flags.0);
            }
            result
        }
        What::Rest => {
            let result = call.issue(asked);
            if result != 0 {
                for flag in Flags::KNOWN {
                    if asked & flag.0 != 0 {
                        call.issue(flag.0);
                    }
                }
            }
            result
        }
        What::First(flags) => {
            call.issue(flags.0);
            call.issue(asked)
        }
        What::Twice => {
            call.issue(asked);
            call.issue(asked)
        }
        What::Later => {
            sleep(500_000);
            call.issue(asked)
        }
        What::Never => loop {
            sleep(999_999_999);
        },
        What::Kill(signal) => {
            // SAFETY: takes numbers.
            unsafe {
                if let (Ok(process), Ok(thread)) = (syscall!(Sysno::getpid), syscall!(Sysno::gettid)) {
                    let _ = syscall!(Sysno::tgkill, process, thread, signal);
                }
            }
            call.issue(asked)
        }
        What::AndThen(act) => {
            let result = call.issue(asked);
            if result == 0 {
                act.perform(call);
            }
            result
        }
        What::OrElse(act) => {
            let result = call.issue(asked);
            if result != 0 {
                act.perform(call);
            }
            result
        }
    }
}

fn holds(when: When, call: &Trapped, before: u32) -> bool {
    let flags = Flags(call.flags);
    match when {
        When::Always => true,
        When::Any(of) => flags.intersects(of),
        When::All(of) => flags.contains(of),
        When::Without(of) => !flags.intersects(of),
        When::Exactly(these) => flags.0 == these,
        When::Several => (flags.0 & KNOWN).count_ones() > 1,
        When::Unknown => flags.0 & !KNOWN != 0,
        When::Ia32 => call.entry == Entry::Ia32,
        // These flags change nothing: they only look.
        When::InCompany => call.issue((Flags::VM).0) != 0,
        // SAFETY: no arguments.
        When::NotLeader => unsafe { syscall!(Sysno::getpid) != syscall!(Sysno::gettid) },
        When::Unprivileged => !has_sys_admin(),
        When::Privileged => has_sys_admin(),
        When::Chrooted => root_inode() != call.ledger.root.load(Ordering::Relaxed),
        When::After(calls) => before >= calls,
        When::BesideAnother => {
            // As long as a call that has much to copy.
            sleep(300_000);
            call.ledger.under_way.load(Ordering::Acquire) > 1
        }
    }
}

/// All flags that some kernel accepts.
pub(super) const KNOWN: u64 = {
    let (mut known, mut at) = (0, 0);
    while at < Flags::KNOWN.len() {
        known |= Flags::KNOWN[at].0;
        at += 1;
    }
    known
};

fn sleep(nanoseconds: i64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    // SAFETY: reads a live structure.
    let _ = unsafe { syscall!(Sysno::nanosleep, &raw const time, 0) };
}

fn has_sys_admin() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    const SYS_ADMIN: u32 = 21;
    let header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: both live through the call and have the sizes of this version.
    let asked = unsafe { syscall!(Sysno::capget, header.as_ptr(), sets.as_mut_ptr()) };
    asked.is_ok() && sets[0] & 1 << SYS_ADMIN != 0
}

/// The inode of the caller's root directory; 0 where it cannot be looked at.
pub(super) fn root_inode() -> u64 {
    // SAFETY: zeroes are valid; the structure lives through the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        match syscall!(Sysno::stat, c"/".as_ptr(), &raw mut stat) {
            Ok(_) => stat.st_ino,
            Err(_) => 0,
        }
    }
}
