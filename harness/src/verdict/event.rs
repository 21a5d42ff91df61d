//! Events: the only interface between running and reporting.

use crate::case::group;
use crate::common::*;

/// A case as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseInfo {
    /// Its full name, unique in the plan.
    pub name: String,
    /// What it checks.
    pub about: Cow<'static, str>,
    /// The requirements it proves.
    pub proves: Vec<Cow<'static, str>>,
    /// Source of the requirements.
    pub source: Cow<'static, str>,
    /// Its [work](crate::case::Case::work) by tier.
    #[serde(skip)]
    pub work: [u32; 3],
}

impl CaseInfo {
    /// The first component of the name.
    pub fn group(&self) -> &str {
        group(&self.name)
    }
}

impl From<&Item> for CaseInfo {
    fn from(item: &Item) -> Self {
        Self {
            name: item.name.clone(),
            about: item.case.about.into(),
            proves: item.proves().iter().map(|&id| id.into()).collect(),
            source: item.case.source.into(),
            work: [Tier::Quick, Tier::Full, Tier::Exhaustive].map(item.case.work),
        }
    }
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event: what will run, where, and what reproduces it.
    RunStarted {
        /// Name and version of this program.
        program: String,
        /// Facts about the kernel and the place.
        facts: Box<Facts>,
        /// The cases, in the order of the plan.
        plan: Vec<CaseInfo>,
        /// Random seed.
        seed: u64,
        /// How much of large spaces is covered.
        tier: Tier,
        /// How often each case is run.
        repeat: u32,
        /// Which part of a larger run this is, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<Part>,
    },
    /// A case began to run.
    CaseStarted {
        /// Its place in the plan, from 0.
        index: usize,
    },
    /// A case has its verdict.
    CaseFinished {
        /// Its place in the plan, from 0.
        index: usize,
        /// The verdict.
        verdict: Box<Verdict>,
        /// The verdict compared with what was expected.
        outcome: Outcome,
    },
    /// Heartbeat, sent once a second to a runner that must tell a long case from a machine that hangs.
    Alive,
    /// Progress of a long case. Sent with heartbeats.
    Progress {
        /// Its place in the plan, from 0.
        index: usize,
        /// Which repetition, from 0.
        repetition: u32,
        /// How much is done.
        done: u32,
        /// Out of how much.
        total: u32,
    },
    /// A remark that belongs to no case.
    Remark {
        /// One line.
        text: String,
    },
    /// The run was given up.
    BailedOut {
        /// Why, in one sentence.
        why: String,
    },
    /// The last event.
    RunFinished {
        /// How many cases came out how.
        counts: Counts,
        /// The signal that cut the run short, if one did.
        interrupted: Option<i32>,
        /// Wall time in milliseconds.
        milliseconds: u64,
    },
}
