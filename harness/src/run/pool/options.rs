//! Options of a run, its result, and its errors.

use super::*;
use crate::case::test::BeforeBody;
use crate::verdict::expectation::Expectations;

/// Default number of supervisors: two for each CPU, since making and leaving namespaces waits for RCU grace periods
/// half of the time.
pub fn usual_jobs(cpus: u32) -> u32 {
    cpus.saturating_mul(2)
}

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The suite that the cases belong to.
    pub suite: &'static Suite,
    /// Name and version of the program, for reports.
    pub program: String,
    /// Random seed.
    pub seed: u64,
    /// How much of large spaces to cover.
    pub tier: Tier,
    /// How many steps each walk has, instead of the tier's number.
    pub steps: Option<usize>,
    /// How often to run each case; at least once.
    pub repeat: u32,
    /// Repeat the cases for this long, beyond `repeat` times.
    pub duration: Option<Duration>,
    /// Repeat the cases until one fails.
    pub until_failure: bool,
    /// Stop after so many failures.
    pub fail_fast: Option<u32>,
    /// The rank of a case of this name: the lowest ones start first, those of one rank as they are planned.
    pub rank: fn(&str) -> u32,
    /// Number of supervisors; at least one.
    pub jobs: u32,
    /// The deadline of every case, instead of its own.
    pub timeout: Option<Duration>,
    /// Factor for the cases' own deadlines on a slow (emulated) machine.
    pub slowdown: u32,
    /// Cases may change global state of the machine.
    pub may_disturb_host: bool,
    /// The kernel runs nothing but this run, as in a guest of its own: whatever it reports counts. On a shared host only
    /// what it reports of the run's own tasks does.
    pub own_kernel: bool,
    /// What is expected of the kernel beside passes.
    pub expectations: Expectations,
    /// Result of an earlier [`facts`](super::facts).
    pub facts: Option<Facts>,
    /// What is to be changed in the facts before they decide anything.
    pub amend: Option<Amend>,
    /// Send a heartbeat and the progress of long cases once a second.
    pub heartbeat: bool,
    /// Report in the order of the plan; results are held back until their turn.
    pub in_order: bool,
    /// Runs in each case's child before the body, if set.
    pub before_body: Option<BeforeBody>,
    /// Why the results are no verdict on a kernel, if they are none. Heads every report.
    pub caveat: Option<String>,
    /// Why a case of this name is left out of the run, if it is.
    pub left_out: fn(&str) -> Option<String>,
    /// Which part of a larger run this is, if it is one.
    pub part: Option<Part>,
}

/// Changes facts.
#[derive(Clone)]
pub struct Amend(pub Arc<dyn Fn(&mut Facts)>);

impl fmt::Debug for Amend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Amend")
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// Number of cases by result.
    pub counts: Counts,
    /// The signal that cut it short, if one did.
    pub interrupted: Option<i32>,
}

/// Receives the events. An error (a report cannot be written) ends the run.
pub type Sink<'a> = dyn FnMut(&Event) -> io::Result<()> + 'a;

/// Why a run cannot start or continue, for reasons other than the kernel.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// /proc is not mounted.
    #[error("/proc is not mounted, and nothing can be observed without it: mount -t proc proc /proc")]
    NoProc,
    /// A seccomp filter refuses this call, which nothing runs without.
    #[error(
        "a seccomp filter refuses {0}(2), which the runner itself needs: run outside the container, or allow it in the profile"
    )]
    Filtered(syscalls::Sysno),
    /// Another run changes the settings of this machine.
    #[error("another run with --disturb-host changes this machine's settings: start this one when that one has ended")]
    Disturbed,
    /// No process can be forked or prepared.
    #[error("cannot start a supervisor: {0}")]
    Supervisor(String),
    /// A report cannot be written.
    #[error("cannot write the report")]
    Report(#[from] io::Error),
}
