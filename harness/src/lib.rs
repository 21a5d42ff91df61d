//! How a conformance case is run, isolated, judged and reported. Nothing here knows which system call is under test.
//!
//! All data flows one way: case → isolated child → records → verdict → event → report.
//!
//! `case`, `place` and `suite` import each other, and nothing else does: the probe of a feature reads the facts, the
//! facts say which features are absent, and `Test`, whose verbs stand in `check` and `task`, gives a case both.

/// What a case consists of and what its body can do.
pub mod case {
    pub mod call;
    pub mod check;
    mod definition;
    pub mod needs;
    pub mod task;
    pub mod test;

    pub use definition::*;
}

/// What is known about the kernel and the surroundings.
pub mod place {
    pub mod config;
    pub mod facts;
    pub mod filter;
    pub mod inherited;
    pub mod sandbox;
}

/// The processes that run cases, and those that watch them.
pub mod run {
    pub mod kernel_log;
    pub mod leftovers;
    pub mod patience;
    pub mod plan;
    pub mod pool;
    mod proc_stat;
    pub mod record;
    mod settings;
    pub mod shard;
    pub mod splat;
    pub mod supervise;
}

/// From what was recorded to a verdict, and the events that carry it.
pub mod verdict {
    pub mod affair;
    pub mod event;
    pub mod expectation;
    pub mod judge;
    pub mod outcome;
}

pub mod report;
pub mod suite;

#[cfg(feature = "bench")]
pub mod bench;
pub mod selftest;

/// What most files of this crate use.
mod common {
    pub(crate) use std::borrow::Cow;
    pub(crate) use std::collections::{BTreeMap, VecDeque};
    pub(crate) use std::fmt;
    pub(crate) use std::fs::{self, File};
    pub(crate) use std::io::{self, Read, Seek, Write};
    pub(crate) use std::os::fd::AsFd;
    pub(crate) use std::os::unix::net::UnixStream;
    pub(crate) use std::panic::Location;
    pub(crate) use std::path::{Path, PathBuf};
    pub(crate) use std::sync::{Arc, LazyLock};
    pub(crate) use std::time::{Duration, Instant};

    pub(crate) use nix::mount::{MsFlags, mount};
    pub(crate) use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    pub(crate) use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
    pub(crate) use nix::sys::resource::{Resource, getrlimit, setrlimit};
    pub(crate) use nix::sys::signal::{Signal, kill, killpg};
    pub(crate) use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    pub(crate) use nix::unistd::{ForkResult, Pid, fork};
    pub(crate) use serde::{Deserialize, Serialize};

    pub(crate) use crate::case::needs::{Feature, Global, PLACE};
    pub(crate) use crate::case::task::{exit_now, fork_sharing, wait_for};
    pub(crate) use crate::case::test::{Setting, die_with_parent};
    pub(crate) use crate::case::{Body, Case, Item};
    pub(crate) use crate::place::sandbox::Sandbox;
    pub(crate) use crate::prelude::*;
    pub(crate) use crate::run::kernel_log::News;
    pub(crate) use crate::run::record::{FailedCheck, Record, RecordLog};
    pub(crate) use crate::run::shard::Part;
    pub(crate) use crate::run::splat::{SplatKind, recognise};
    pub(crate) use crate::run::supervise::{Ending, Observation, Supervisor};
    pub(crate) use crate::suite::Suite;
    pub(crate) use crate::verdict::affair::Affair;
    pub(crate) use crate::verdict::event::{CaseInfo, Event};
    pub(crate) use crate::verdict::judge::{Status, Verdict, judge};
    pub(crate) use crate::verdict::outcome::{Counts, Outcome};
}

/// What a file of cases needs: `use harness::prelude::*;`.
pub mod prelude {
    pub use crate::case;
    pub use crate::case::call::{Call, Failure, errno_of};
    pub use crate::case::check::{Check, Done, Stop, all};
    pub use crate::case::needs::Needs;
    pub use crate::case::task::Task;
    pub use crate::case::test::{Test, Tier};
    pub use crate::case::{Variant, one_in};
    pub use crate::place::facts::{Facts, Version};
    pub use crate::run::patience::TimeLimit;
    pub use nix::errno::Errno;
}

#[doc(hidden)]
pub use linkme;
