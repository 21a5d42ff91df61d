//! Where the suite runs, and the command line.
//!
//! | room | is for |
//! |---|---|
//! | [`cli`] | the command line: shared arguments, dispatch, exit statuses |
//! | `run` | running cases on the kernel at hand, and reporting |
//! | [`guest`] | running cases in a guest |
//! | `matrix` | running cases on many kernels |
//! | `fault_matrix` | running cases under simulated faults |
//! | `results` | results that were kept: compared, merged |
//! | `expectations` | what a user expects of a kernel that does not pass everything |
//! | `catalogue` | what the suite has: cases, requirements, known bugs, manual pages |
//! | `kernels` | kernels that a guest can boot, and the guest's image |
//! | `program` | this program, built for other architectures |

mod catalogue;
pub mod cli;
mod expectations;
mod fault_matrix;
#[cfg(test)]
mod fixtures;
pub mod guest;
#[cfg(feature = "guest-faults")]
mod guest_faults;
mod kernels;
mod matrix;
#[cfg(test)]
mod mutation;
mod program;
mod results;
mod run;

/// What most rooms need: the words of the harness, of guests and of the command line.
mod prelude {
    pub use std::collections::{BTreeMap, BTreeSet, VecDeque};
    pub use std::fmt::Write as _;
    pub use std::fs::File;
    pub use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, IsTerminal, Read, Write};
    pub use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    pub use std::os::unix::net::UnixStream;
    pub use std::path::{Path, PathBuf};
    pub use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
    pub use std::time::{Duration, Instant, SystemTime};

    pub use anyhow::{Context, anyhow};
    pub use clap::{Args, Parser, Subcommand, ValueEnum};
    pub use harness::case::test::Tier;
    pub use harness::case::{Case, Item};
    pub use harness::place::facts::Facts;
    pub use harness::report::one_line;
    pub use harness::run::patience::{Patience, Tasks};
    pub use harness::run::pool::{Amend, RunError, RunOptions, usual_jobs};
    pub use harness::run::shard::{Part, Shard};
    pub use harness::verdict::event::{CaseInfo, Event};
    pub use harness::verdict::judge::{Status, Verdict};
    pub use harness::verdict::outcome::{Counts, ExitStatus, Outcome};
    pub use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
    pub use nix::errno::Errno;
    pub use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
    pub use nix::unistd::Pid;
    pub use serde::{Deserialize, Serialize};
    pub use suite::fault::{Fault, declared, table};
    pub use suite::spec::flags::Flags;
    pub use suite::spec::requirements::{self, Requirement};
    pub use vm::architecture::Abi;
    pub use vm::architecture::Architecture;
    pub use vm::cache::Cache;
    pub use vm::initramfs::Initramfs;
    pub use vm::kernel::{Kernel, Kind};
    pub use vm::library::Library;
    pub use vm::machine::{Accelerator, MachineError, Options, Role};
    pub use vm::payload::PayloadError;

    pub use crate::catalogue::known_bugs;
    pub use crate::cli::args::*;
    pub use crate::cli::exit::{Contradiction, Result, WrongInput};
    pub use crate::cli::stdout;
    pub use crate::expectations::follow::Follow;
    pub use crate::expectations::{ExpectationArgs, ExpectationFiles, Expected};
    pub use crate::results::markdown::{Document, code, escaped};
    pub use crate::results::read::Judged;
    pub use crate::run::files::Unwritable;
    pub use crate::run::host::{cpus, options, select, select_part};
    pub use crate::run::reports::Reports;
    pub use crate::run::strict_needs::{StrictArgs, StrictNeeds};

    /// So many cases, in words.
    pub fn counted(cases: u32) -> String {
        if cases == 1 { "1 case".to_owned() } else { format!("{cases} cases") }
    }

    /// The day in UTC, as ISO 8601 has it.
    pub fn today() -> String {
        let mut day = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        day.truncate("YYYY-MM-DD".len());
        day
    }

    /// What a mutex keeps, whoever has panicked while it had it.
    pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
