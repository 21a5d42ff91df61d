//! Runs cases on the kernel at hand.

use anyhow::bail;
use harness::case::{Case, Item, items};
use harness::event::Event;
use harness::outcome::ExitStatus;
use harness::plan::Selection;
use harness::pool::{RunError, RunOptions};

use crate::cli::{RunArgs, SelectionArgs};
use crate::known_bugs;
use crate::reports::Reports;

/// What is reported as the program's version.
pub const PROGRAM: &str = concat!("unshare-conformance ", env!("CARGO_PKG_VERSION"));

/// The cases that were asked for, in the order of the plan.
///
/// # Errors
/// None of that name exists; the text names some that do.
pub fn select(args: &SelectionArgs, cases: &[Case]) -> anyhow::Result<Vec<Item>> {
    let selection = Selection {
        filters: args.filter.clone(),
        exact: args.exact,
        skip: args.skip.clone(),
    };
    let mut selected = items(cases);
    let example = selected.first().map(|item| item.name.clone());
    selected.retain(|item| selection.includes(&item.name));
    if selected.is_empty() {
        bail!(
            "no case matches {:?}; `unshare-conformance list` shows all of them, e.g. {}",
            args.filter,
            example.unwrap_or_default()
        );
    }
    Ok(selected)
}

/// Runs the cases that were asked for on the kernel at hand.
///
/// # Errors
/// Nothing can be said: no case matches, a report cannot be written, or no process be started.
pub fn run(args: &RunArgs, cases: &[Case]) -> anyhow::Result<ExitStatus> {
    let items = select(&args.selection, cases)?;
    let mut reports = Reports::open(args)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let options = RunOptions {
        program: PROGRAM.to_owned(),
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
        tier: args.tier.into(),
        repeat: args.repeat,
        jobs: args.jobs.unwrap_or(cpus),
        timeout: args.timeout,
        slowdown: 1,
        may_disturb_host: args.disturb_host,
        promised: Vec::new(),
        known_bugs: known_bugs::all(),
        in_order: true,
    };
    match harness::pool::run(items, &options, &mut |event| reports.event(event)) {
        Ok(end) => Ok(match end.interrupted {
            Some(signal) => ExitStatus::Interrupted { signal },
            None => end.counts.exit_status(args.strict),
        }),
        Err(error @ RunError::Report(_)) => Err(error.into()),
        Err(error) => {
            let why = error.to_string();
            let _ = reports.event(&Event::BailedOut { why });
            Err(error.into())
        }
    }
}
