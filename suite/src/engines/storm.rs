//! The document's fourth test group: about ten tasks, started together by a futex in a shared
//! memory segment, run execve, _exit and unshare against each other, and afterwards every one of
//! them is in a state that its flags allow (RACE-01).

mod disturb;
mod exec_probe;
mod orders;
mod plan;
mod processes;
mod report;
mod rounds;
mod segment;
mod task;
mod threads;
mod verdicts;

pub use exec_probe::run_if_executed;
pub use plan::{Action, Plan, THEMES, Theme};
pub use processes::{deep_storm, process_storm};
pub use rounds::pool;
pub use threads::thread_storm;

use crate::prelude::*;
use disturb::{DISTURBED, SIGNAL};
use harness::run::patience::{Patience, Tasks};
use orders::Orders;
use plan::{Role, unsharers};
use report::Figures;
use rounds::{Fixture, PATIENCE, missing, play_rounds, wait_until};
use segment::{MOST_TASKS, Segment, Slot, Stage, View, Which};
use task::{EXECUTED, UNSHARED, exit_status};
use verdicts::{check_is, check_success, judge_one, judge_sharing};

/// How many tasks a storm has, as the document has it.
pub const TASKS: usize = 10;

/// How many rounds a tier has.
pub fn rounds(tier: Tier) -> u32 {
    match tier {
        Tier::Quick => 3,
        Tier::Full => 50,
        Tier::Exhaustive => 1000,
    }
}
