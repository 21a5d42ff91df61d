//! How a conformance case is run, isolated, judged and reported.
//!
//! All data flows one way: case → isolated child → records → verdict → event → report.
//!
//! | module | answers |
//! |---|---|
//! | [`case`], [`needs`], [`call`], [`check`] | what a case is made of and what it can say |
//! | [`facts`], [`plan`] | what is known of the place, and so what runs |
//! | [`sandbox`], [`supervise`], [`leaks`], [`pool`] | the process that risks and the ones that watch |
//! | [`record`], [`judge`], [`outcome`] | from what was written down to a verdict |
//! | [`event`], [`report`] | what is told, and in which dialect |
//! | [`splat`], [`kernel_log`] | how a kernel sounds when it is unwell |
//! | [`bench`] | what benchmarks of cases share |

pub mod bench;
pub mod call;
pub mod case;
pub mod case_run;
pub mod check;
pub mod event;
pub mod facts;
pub mod judge;
pub mod kernel_log;
pub mod leaks;
pub mod needs;
pub mod outcome;
pub mod plan;
pub mod pool;
mod proc_stat;
pub mod record;
pub mod report;
pub mod sandbox;
pub mod selftest;
pub mod shard;
pub mod splat;
pub mod starvation;
pub mod supervise;
pub mod task;

/// What a file of cases needs: `use harness::prelude::*;`.
pub mod prelude {
    pub use crate::call::{Call, Failure, errno_of};
    pub use crate::case::Variant;
    pub use crate::case_run::{Test, Tier};
    pub use crate::check::{Done, Stop, all};
    pub use crate::facts::{Facts, Version};
    pub use crate::needs::{Feature, Global, Needs};
    pub use crate::task::Task;
    pub use crate::{case, selftest_case};
    pub use nix::errno::Errno;
}

#[doc(hidden)]
pub use linkme;
