//! How a run is to be done, how it ended, and what makes one impossible.

use std::io;
use std::time::Duration;

use crate::case::test::{BeforeBody, Tier};
use crate::place::facts::Facts;
use crate::run::shard::Part;
use crate::suite::Suite;
use crate::verdict::event::Event;
use crate::verdict::outcome::{Counts, KnownBug};

/// How many cases run at the same time where nobody says so: two for each CPU, since making and
/// leaving namespaces is waiting for the kernel's grace periods half of the time.
pub fn usual_jobs(cpus: u32) -> u32 {
    cpus.saturating_mul(2)
}

/// How a run is to be done.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The suite that the cases belong to.
    pub suite: &'static Suite,
    /// What is reported as the program's version.
    pub program: String,
    /// What random draws start from.
    pub seed: u64,
    /// How much of large spaces to look at.
    pub tier: Tier,
    /// How often to run each case; at least once.
    pub repeat: u32,
    /// Run the cases again and again for so long, beyond `repeat` times.
    pub duration: Option<Duration>,
    /// Run the cases again and again until one fails.
    pub until_failure: bool,
    /// How many supervisors; at least one.
    pub jobs: u32,
    /// The deadline of every case, instead of its own.
    pub timeout: Option<Duration>,
    /// What the cases' own deadlines are multiplied with on a slow (emulated) machine.
    pub slowdown: u32,
    /// Cases may change what every process of the machine sees.
    pub may_disturb_host: bool,
    /// Documented kernel bugs; asked for when the first case has run.
    pub known_bugs: fn() -> Vec<KnownBug>,
    /// What [`facts`] found, when that was asked before.
    pub facts: Option<Facts>,
    /// Tell once a second that the run goes on, and how far long cases have come.
    pub heartbeat: bool,
    /// Report in the order of the plan, which holds results back until their turn.
    pub in_order: bool,
    /// What each case's child does before the body, if anything.
    pub before_body: Option<BeforeBody>,
    /// Why what comes of this run is no verdict on a kernel, where it is none. Heads every report.
    pub caveat: Option<String>,
    /// Why a case of this name is left out of this run, where it is.
    pub left_out: fn(&str) -> Option<String>,
    /// Which part of a larger run this is, if it is one.
    pub part: Option<Part>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// How many cases came out how.
    pub counts: Counts,
    /// The signal that cut it short, if one did.
    pub interrupted: Option<i32>,
}

/// Where events go. An error (a report that cannot be written) ends the run.
pub type Sink<'a> = dyn FnMut(&Event) -> io::Result<()> + 'a;

/// What makes a run impossible, or cuts it short for a reason that is not the kernel's.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no /proc to observe tasks through.
    #[error("/proc is not mounted, and nothing can be observed without it: mount -t proc proc /proc")]
    NoProc,
    /// No process can be forked, or one cannot be prepared.
    #[error("cannot start a supervisor: {0}")]
    Supervisor(String),
    /// A report cannot be written.
    #[error("cannot write the report")]
    Report(#[from] io::Error),
}
