//! Runs cases on the kernel at hand.

use harness::case::items;
use harness::place::filter::refused_randomness;
use harness::place::inherited::{go_on_with_own_proc, raise_limits};
use harness::run::plan::Selection;
use harness::verdict::expectation::Expectations;

use super::simulation;
use crate::prelude::*;

/// What is reported as the program's version.
pub const PROGRAM: &str = concat!("unshare-conformance ", env!("CARGO_PKG_VERSION"));

/// Cases that were asked for, in the order of the plan.
pub struct Selected {
    /// The cases.
    pub items: Vec<Item>,
    /// Which part of them it is, if it is not all.
    pub part: Option<Part>,
}

/// The cases of this tier that were asked for, or one part of them. Fails where [`select`] does, and when the part
/// is empty.
pub fn select_part(args: &SelectionArgs, shard: Option<Shard>, tier: Tier, cases: &'static [Case]) -> Result<Selected> {
    let items = select(args, tier, cases)?;
    let Some(shard) = shard else {
        return Ok(Selected { items, part: None });
    };
    let whole = items.len();
    let items = shard.of(items, tier);
    if items.is_empty() {
        return Err(anyhow!("shard {shard} is empty: {whole} cases were selected, so use fewer shards").into());
    }
    let whole = u32::try_from(whole).unwrap_or(u32::MAX);
    Ok(Selected { items, part: Some(Part { shard, whole }) })
}

/// The cases of this tier that were asked for, in the order of the plan. Fails when a filter matches none, and names
/// one that exists; or when all are skipped or of a higher tier.
pub fn select(args: &SelectionArgs, tier: Tier, cases: &'static [Case]) -> Result<Vec<Item>> {
    let selection = Selection { filters: args.filter.clone(), exact: args.exact, skip: args.skip.clone() };
    let mut selected = items(cases);
    // Each of them: a misspelt name beside a good one would be a hole in the proof.
    let idle: Vec<&String> =
        args.filter.iter().filter(|filter| !selected.iter().any(|item| selection.means(filter, &item.name))).collect();
    if !idle.is_empty() {
        let example = selected.first().map_or("", |item| item.name.as_str());
        return Err(
            anyhow!("no case matches {idle:?}; `unshare-conformance list` shows all cases, e.g. {example}").into()
        );
    }
    selected.retain(|item| selection.includes(&item.name));
    let Some(first) = selected.first().map(|item| item.from) else {
        return Err(anyhow!("--skip {:?} leaves none of the selected cases: skip fewer", args.skip).into());
    };
    selected.retain(|item| selection.reaches(&item.name, item.from, tier));
    if selected.is_empty() {
        let (asked, of, needed) = (&args.filter, tier.name(), first.name());
        return Err(anyhow!("{asked:?} is not part of --tier {of}: add --tier {needed}, or give a full name").into());
    }
    Ok(selected)
}

/// Runs the cases that were asked for on the kernel at hand, for its user.
pub fn run(args: &RunArgs, cases: &'static [Case]) -> Result<ExitStatus> {
    if let Some(call) = refused_randomness() {
        return Err(RunError::Filtered(call).into());
    }
    raise_limits();
    go_on_with_own_proc();
    let selected = select_part(&args.selection, args.how.shard, args.how.tier_on_host(), cases)?;
    let expected = Expected::of(&args.expected, cases)?;
    let reports = Reports::open(&args.report)?;
    let options = RunOptions {
        heartbeat: reports.are_watched(),
        own_kernel: args.own_kernel,
        ..options(&args.how, args.disturb_host)
    };
    let options = simulation::under(args.fault, options)?;
    run_items(selected, options, &args.strict, &expected, reports, &mut |_| Ok(()))
}

/// How many processors the program may use. Reads files.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, usize::from) as u32
}

/// The options of a run on this machine, or in this guest.
pub fn options(how: &HowArgs, may_disturb_host: bool) -> RunOptions {
    RunOptions {
        program: PROGRAM.to_owned(),
        seed: how.seed(),
        tier: how.tier_on_host(),
        steps: how.steps.map(|steps| steps as usize),
        repeat: how.repeat,
        duration: how.duration,
        until_failure: how.repeat_until_failure,
        fail_fast: how.fail_fast,
        rank: how.order.rank(),
        jobs: how.jobs.unwrap_or_else(|| usual_jobs(cpus())),
        timeout: how.timeout,
        slowdown: how.slowdown,
        may_disturb_host,
        own_kernel: false,
        suite: &suite::SUITE,
        expectations: Expectations::default(),
        facts: None,
        amend: how.profile.map(|profile| Amend(Arc::new(move |facts| profile.amend(facts)))),
        part: None,
        heartbeat: false,
        in_order: true,
        before_body: None,
        caveat: None,
        left_out: |_| None,
    }
}

/// Runs cases, reports them and what was expected of them, and calls `after` with each event once it is reported.
pub fn run_items(
    selected: Selected,
    options: RunOptions,
    strict: &StrictArgs,
    expected: &Expected,
    mut reports: Reports,
    after: &mut dyn FnMut(&Event) -> io::Result<()>,
) -> Result<ExitStatus> {
    let options = RunOptions { part: selected.part, expectations: expected.expectations.clone(), ..options };
    let mut follow = Follow::new(strict, expected);
    let mut sink = |event: &Event| {
        reports.event(event)?;
        follow.event(event);
        after(event)?;
        let Event::RunStarted { facts, .. } = event else {
            return Ok(());
        };
        let mut remarks = suite::feature::remarks(facts).into_iter().map(|text| Event::Remark { text });
        remarks.try_for_each(|remark| reports.event(&remark))
    };
    match harness::run::pool::run(selected.items, &options, &mut sink) {
        Ok(end) => {
            let status = match end.interrupted {
                Some(signal) => ExitStatus::Interrupted { signal },
                None => {
                    let last = follow.end()?;
                    last.iter().try_for_each(|event| reports.event(event))?;
                    match last.last() {
                        Some(Event::BailedOut { .. }) => ExitStatus::DoesNotConform,
                        _ => end.counts.exit_status(strict.strict),
                    }
                }
            };
            reports.close()?;
            Ok(status)
        }
        Err(error @ RunError::Report(_)) => Err(error.into()),
        Err(error) => {
            let why = error.to_string();
            let _ = reports.event(&Event::BailedOut { why }).and_then(|()| reports.close());
            Err(error.into())
        }
    }
}
