//! Runs cases on the kernel at hand.

use std::fs::File;

use anyhow::bail;
use harness::case::test::Tier;
use harness::case::{Case, Item, items};
use harness::place::facts::Facts;
use harness::run::plan::Selection;
use harness::run::pool::{RunError, RunOptions, usual_jobs};
use harness::run::shard::{Part, Shard};
use harness::verdict::event::Event;
use harness::verdict::outcome::ExitStatus;

use crate::cli::{Format, HowArgs, InGuestArgs, RunArgs, SelectionArgs};
use crate::faults;
use crate::guest::fault::Trigger;
use crate::known_bugs;
use crate::reports::Reports;

/// What is reported as the program's version.
pub const PROGRAM: &str = concat!("unshare-conformance ", env!("CARGO_PKG_VERSION"));

/// Cases that were asked for, in the order of the plan.
pub struct Selected {
    /// The cases.
    pub items: Vec<Item>,
    /// Which part of them it is, if it is not all.
    pub part: Option<Part>,
}

/// The cases of this tier that were asked for, or one part of them.
///
/// # Errors
/// As [`select`]; or this part of them is empty.
pub fn select_part(
    args: &SelectionArgs,
    shard: Option<Shard>,
    tier: Tier,
    cases: &'static [Case],
) -> anyhow::Result<Selected> {
    let items = select(args, tier, cases)?;
    let Some(shard) = shard else {
        return Ok(Selected { items, part: None });
    };
    let whole = items.len();
    let items = shard.of(items, tier);
    if items.is_empty() {
        bail!("shard {shard} has no case: only {whole} were asked for, so use fewer shards");
    }
    let whole = u32::try_from(whole).unwrap_or(u32::MAX);
    Ok(Selected { items, part: Some(Part { shard, whole }) })
}

/// The cases of this tier that were asked for, in the order of the plan.
///
/// # Errors
/// A filter matches none, and the text names one that exists; or all are skipped or of a higher tier.
pub fn select(args: &SelectionArgs, tier: Tier, cases: &'static [Case]) -> anyhow::Result<Vec<Item>> {
    let selection = Selection { filters: args.filter.clone(), exact: args.exact, skip: args.skip.clone() };
    let mut selected = items(cases);
    // Each of them: a name that was misspelt beside one that was not would be a hole in the proof.
    let idle: Vec<&String> =
        args.filter.iter().filter(|filter| !selected.iter().any(|item| selection.means(filter, &item.name))).collect();
    if !idle.is_empty() {
        let example = selected.first().map(|item| item.name.clone());
        bail!(
            "no case matches {idle:?}; `unshare-conformance list` shows all of them, e.g. {}",
            example.unwrap_or_default()
        );
    }
    selected.retain(|item| selection.includes(&item.name));
    if selected.is_empty() {
        bail!("--skip {:?} leaves none of the cases that were asked for: skip fewer", args.skip);
    }
    let first = selected[0].case.from;
    selected.retain(|item| selection.reaches(&item.name, item.case.from, tier));
    if selected.is_empty() {
        bail!(
            "{:?} is not part of --tier {}: add --tier {}, or name a case in whole",
            args.filter,
            tier.name(),
            first.name()
        );
    }
    Ok(selected)
}

/// Runs the cases that were asked for on the kernel at hand, for its user.
///
/// # Errors
/// Nothing can be said: no case matches, a report cannot be written, or no process be started.
pub fn run(args: &RunArgs, cases: &'static [Case]) -> anyhow::Result<ExitStatus> {
    let selected = select_part(&args.selection, args.how.shard, args.how.tier_on_host(), cases)?;
    let reports = Reports::open(&args.report)?;
    let options = RunOptions { heartbeat: reports.are_watched(), ..options(&args.how, args.disturb_host) };
    let options = faults::under(args.fault, options)?;
    run_items(selected, options, args.strict, reports, Trigger::default())
}

/// The suite of a guest, ready to run.
pub struct InGuest {
    args: InGuestArgs,
    selected: Selected,
}

impl InGuest {
    /// Chooses the cases.
    ///
    /// # Errors
    /// No case matches.
    pub fn prepare(args: InGuestArgs) -> anyhow::Result<Self> {
        let tier = args.how.tier_in_guest();
        Ok(Self { selected: select_part(&args.selection, args.how.shard, tier, suite::cases::all())?, args })
    }

    /// Runs them: for the runner outside when it asks for events, else for whoever reads the guest's
    /// console. What is known of the kernel already may be given.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(self, facts: Option<Facts>, results: File) -> anyhow::Result<ExitStatus> {
        let args = &self.args;
        let trigger = Trigger::new(args.guest_fault, &results);
        let reports = Reports::to_channel(args.format, results);
        let for_runner = args.format == Format::Wire;
        let options = RunOptions {
            facts,
            heartbeat: for_runner,
            // A runner must know at once what is done and what is not: the guest may die.
            in_order: !for_runner,
            ..options(&args.how, args.disturb_host)
        };
        run_items(self.selected, options, args.strict, reports, trigger)
    }
}

/// How many processors this machine lets the program use. It takes reading files.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, usize::from) as u32
}

/// How a run is done.
fn options(how: &HowArgs, may_disturb_host: bool) -> RunOptions {
    // Not asked where it is told: it takes reading files.
    RunOptions {
        program: PROGRAM.to_owned(),
        seed: how.seed(),
        tier: how.tier_on_host(),
        repeat: how.repeat,
        duration: how.duration,
        until_failure: how.repeat_until_failure,
        jobs: how.jobs.unwrap_or_else(|| usual_jobs(cpus())),
        timeout: how.timeout,
        slowdown: how.slowdown,
        may_disturb_host,
        promised: Vec::new(),
        known_bugs: known_bugs::all,
        facts: None,
        part: None,
        heartbeat: false,
        in_order: true,
        before_body: None,
        caveat: None,
        left_out: |_| None,
    }
}

fn run_items(
    selected: Selected,
    options: RunOptions,
    strict: bool,
    mut reports: Reports,
    mut trigger: Trigger,
) -> anyhow::Result<ExitStatus> {
    let options = RunOptions { part: selected.part, ..options };
    let mut sink = |event: &Event| {
        reports.event(event)?;
        trigger.after(event)
    };
    match harness::run::pool::run(selected.items, &options, &mut sink) {
        Ok(end) => {
            reports.close()?;
            Ok(match end.interrupted {
                Some(signal) => ExitStatus::Interrupted { signal },
                None => end.counts.exit_status(strict),
            })
        }
        Err(error @ RunError::Report(_)) => Err(error.into()),
        Err(error) => {
            let why = error.to_string();
            let _ = reports.event(&Event::BailedOut { why }).and_then(|()| reports.close());
            Err(error.into())
        }
    }
}
