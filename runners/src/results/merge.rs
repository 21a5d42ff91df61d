//! The shards of a run, combined into one report.

use super::read::{CaseResult, Results};
use crate::prelude::*;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance --shard 1/2 --output json=1.json        on one machine
  unshare-conformance --shard 2/2 --output json=2.json        on another
  unshare-conformance merge 1.json 2.json
  unshare-conformance merge *.json --format junit > all.xml
  unshare-conformance merge all.json --write-expectations engine.toml

Exit status: as of one run of all cases; 125 if nothing failed and a shard is missing.";

/// The arguments of `merge`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MergeArgs {
    /// Results of `--format json`, of one kernel
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    strict: StrictArgs,
    #[command(flatten)]
    expected: ExpectationFiles,
}

/// Combines them and reports.
pub fn run(args: &MergeArgs) -> Result<ExitStatus> {
    let parts = args.results.iter().map(|path| Results::read(path)).collect::<Result<Vec<_>, _>>()?;
    let mut merged = Merged::new(parts)?;
    let expected = Expected::of(&args.expected, suite::cases::all())?;
    merged.expect(&expected);
    let mut reports = Reports::of_old_run(&args.report)?;
    let mut follow = Follow::new(&args.strict, &expected);
    for event in merged.events() {
        follow.event(&event);
        reports.event(&event)?;
    }
    let last = follow.end()?;
    last.iter().try_for_each(|event| reports.event(event))?;
    reports.close()?;
    for missing in &merged.missing {
        eprintln!("unshare-conformance: {missing}");
    }
    Ok(match last.last() {
        Some(Event::BailedOut { .. }) => ExitStatus::DoesNotConform,
        _ => merged.exit_status(args.strict.strict),
    })
}

/// One run, of several parts.
#[derive(Debug)]
pub struct Merged {
    parts: Vec<Results>,
    /// Every case, in the order of a whole run's plan.
    cases: Vec<CaseResult>,
    /// The missing shards, in words.
    missing: Vec<String>,
}

impl Merged {
    /// Combines parts, which must be of one run.
    pub fn new(parts: Vec<Results>) -> Result<Self, WrongInput> {
        for part in &parts[1..] {
            fit(&parts[0], part)?;
        }
        let missing = missing(&parts)?;
        let mut seen = BTreeMap::new();
        for (path, case) in parts.iter().flat_map(|part| part.cases.iter().map(|case| (part.path.display(), case))) {
            let name = &case.case.name;
            if let Some(other) = seen.insert(name, path.to_string()) {
                let why = format!("{name} is in {other} and in {path}: each case may occur only once");
                return Err(WrongInput(why));
            }
        }
        let items = harness::case::items(suite::cases::all()).into_iter().enumerate();
        let places: BTreeMap<String, usize> = items.map(|(place, item)| (item.name, place)).collect();
        let mut cases: Vec<CaseResult> = parts.iter().flat_map(|part| part.cases.iter().cloned()).collect();
        cases.sort_by_key(|case| places.get(&case.case.name).copied().unwrap_or(usize::MAX));
        Ok(Self { parts, cases, missing })
    }

    /// Judges what nothing has explained in the runs by what is expected.
    fn expect(&mut self, expected: &Expected) {
        let version = self.parts[0].facts.in_order();
        for CaseResult { case, result } in &mut self.cases {
            if let Some((verdict, outcome)) = result {
                let now = expected.expectations.outcome(&case.name, &case.proves, version, verdict);
                if now.entry().is_some() {
                    *outcome = now;
                }
            }
        }
    }

    /// The events of one run of all cases.
    pub fn events(&self) -> Vec<Event> {
        let first = &self.parts[0];
        let mut events = vec![Event::RunStarted {
            program: first.program.clone(),
            facts: Box::new(first.facts.clone()),
            plan: self.cases.iter().map(|case| case.case.clone()).collect(),
            seed: first.seed,
            tier: first.tier,
            repeat: first.repeat,
            part: None,
        }];
        let remark = |text: String| Event::Remark { text };
        for part in &self.parts {
            let which = match part.part {
                Some(Part { shard, .. }) => format!("shard {shard}"),
                None => "results".to_owned(),
            };
            events.push(remark(format!(
                "{which} from {}: {} cases, seed {}, {:.1} s",
                part.path.display(),
                part.cases.len(),
                part.seed,
                part.milliseconds as f64 / 1000.0
            )));
            events.extend(part.remarks.iter().cloned().map(remark));
        }
        events.extend(self.missing.iter().cloned().map(remark));
        for (index, case) in self.cases.iter().enumerate() {
            let (verdict, outcome) = case.judged();
            events.push(Event::CaseFinished { index, verdict: Box::new(verdict), outcome });
        }
        events.push(Event::RunFinished {
            counts: self.counts(),
            interrupted: None,
            milliseconds: self.parts.iter().map(|part| part.milliseconds).sum(),
        });
        let given_up = self.given_up().into_iter().chain(self.missing.clone());
        events.extend(given_up.map(|why| Event::BailedOut { why }));
        events
    }

    fn given_up(&self) -> Vec<String> {
        let parts = self.parts.iter();
        parts.filter_map(|part| Some(format!("{}: {}", part.path.display(), part.given_up.as_ref()?))).collect()
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            let (verdict, outcome) = case.judged();
            counts.add(verdict.status, &outcome);
        }
        counts
    }

    /// As one run of all of it would have exited.
    pub fn exit_status(&self, strict: bool) -> ExitStatus {
        // The kernel reported a problem while no case ran: that run exited with 1.
        if !self.given_up().is_empty() {
            return ExitStatus::DoesNotConform;
        }
        match self.counts().exit_status(strict) {
            ExitStatus::Conforms if !self.missing.is_empty() => ExitStatus::NothingToSay,
            status => status,
        }
    }
}

fn fit(first: &Results, other: &Results) -> Result<(), WrongInput> {
    let differences = [
        ("kernel", first.kernel(), other.kernel()),
        ("program", first.program.clone(), other.program.clone()),
        ("tier", first.tier.name().to_owned(), other.tier.name().to_owned()),
    ];
    match differences.iter().find(|(_, first, other)| first != other) {
        Some((what, theirs, others)) => Err(WrongInput(format!(
            "{} and {} are not of one run, their {what} differs ({theirs}; {others}): use `compare` to see what changed",
            first.path.display(),
            other.path.display()
        ))),
        None => Ok(()),
    }
}

/// The missing shards, each in a sentence.
fn missing(parts: &[Results]) -> Result<Vec<String>, WrongInput> {
    let shards: Vec<Part> = parts.iter().filter_map(|part| part.part).collect();
    let Some(first) = shards.first() else {
        return Ok(Vec::new());
    };
    let same = |part: &Part| part.shard.of == first.shard.of && part.whole == first.whole;
    if shards.len() != parts.len() || !shards.iter().all(same) {
        return Err(WrongInput(
            "not the shards of one run: each must be I/N with the same N, of the same cases".to_owned(),
        ));
    }
    let there: BTreeSet<u32> = shards.iter().map(|part| part.shard.number).collect();
    let have: usize = parts.iter().map(|part| part.cases.len()).sum();
    let of = first.shard.of;
    let missing: Vec<String> =
        (1..=of).filter(|number| !there.contains(number)).map(|number| Shard { number, of }.to_string()).collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    let lost = (first.whole as usize).saturating_sub(have);
    let word = if missing.len() == 1 { "shard" } else { "shards" };
    Ok(vec![format!("{word} {} missing: {lost} of {} cases have no result", missing.join(", "), first.whole)])
}
