//! Events: the only door between running and reporting.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::case::Item;
use crate::case::test::Tier;
use crate::place::facts::Facts;
use crate::run::shard::Part;
use crate::verdict::judge::Verdict;
use crate::verdict::outcome::{Counts, Outcome};

/// What is said of a case before it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseInfo {
    /// Its full name, unique in the plan.
    pub name: String,
    /// What it checks.
    pub about: Cow<'static, str>,
    /// The requirements it proves.
    pub proves: Vec<Cow<'static, str>>,
    /// Where they come from.
    pub source: Cow<'static, str>,
    /// How much work it is, by tier, as [`Case::work`](crate::case::Case::work) has it.
    #[serde(skip)]
    pub work: [u32; 3],
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

/// Something that happened in a run, in the order it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event: what will be run, where, and what reproduces it.
    RunStarted {
        /// Version of this program.
        program: String,
        /// What is known of the kernel and the place.
        facts: Box<Facts>,
        /// The cases, in the order of the plan.
        plan: Vec<CaseInfo>,
        /// What random draws start from.
        seed: u64,
        /// How much of large spaces is looked at.
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
        /// The verdict in the light of what is known.
        outcome: Outcome,
    },
    /// The run goes on. Sent once a second where somebody must be able to tell a long case from a
    /// machine that hangs.
    Alive,
    /// How far a long case has come. Sent when somebody watches.
    Progress {
        /// Its place in the plan, from 0.
        index: usize,
        /// How many times it had been run before.
        repetition: u32,
        /// How much of it is done.
        done: u32,
        /// … and of how much.
        total: u32,
    },
    /// Something to tell that belongs to no case.
    Remark {
        /// One line.
        text: String,
    },
    /// Nothing more can be said.
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
