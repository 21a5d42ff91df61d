//! Runs cases under faults, one fault after the other, each with all processors.

use harness::verdict::expectation::Expectations;

use super::caught::{Caught, Row};
use super::document;
use super::witnesses::Witnesses;
use crate::prelude::*;
use crate::run::files::Draft;
use crate::run::progress::bar_of;
use crate::run::simulation::{check_place, under};

const EXAMPLES: &str = "\
Examples:
  unshare-conformance faults matrix                          all cases under all faults
  unshare-conformance faults matrix --fault drops-fs separation.fs
  unshare-conformance faults matrix --check --sufficient     what CI runs

Exit status:
  0    the matrix is complete; with --check, nothing is wrong
  1    with --check: no case notices a fault (checked if all cases were selected), a case notices
       no fault (checked if all faults were), or a harmless stand-in changed a verdict
  125  faults cannot be simulated here, or the disk is full
  129  wrong command line, or a file that cannot be created";

/// The arguments of `faults matrix`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FaultMatrixArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Only this fault; may be repeated [default: all]
    #[arg(long, value_name = "NAME", value_parser = parse_fault)]
    fault: Vec<&'static Fault>,
    /// Only cases of this tier; all of them run as in the quick one
    #[arg(long, value_enum, default_value = "full")]
    tier: TierArg,
    /// Exit with 1 unless every fault is noticed by some case (checked without FILTER and --skip) and
    /// every case notices some fault (checked without --fault)
    #[arg(long)]
    check: bool,
    /// Leave out pairs that prove nothing new: a case that has failed, under a fault that was noticed
    #[arg(long)]
    sufficient: bool,
    /// Deadline of each case; passing takes much less
    #[arg(long, value_name = "DURATION", default_value = "4s", value_parser = parse_duration)]
    timeout: Duration,
    /// Run this many cases in parallel [default: two per CPU]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: Option<u32>,
    /// Random seed
    #[arg(long, value_name = "S", default_value = "1")]
    seed: u64,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: SurveyFormat,
    /// Also write the Markdown document to a file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write everything known to a file, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the pairs that --sufficient starts with to a file
    #[arg(long, value_name = "FILE", conflicts_with = "sufficient")]
    witnesses: Option<PathBuf>,
}

impl FaultMatrixArgs {
    fn has_all_faults(&self) -> bool {
        self.fault.is_empty()
    }

    fn has_all_cases(&self) -> bool {
        self.selection.filter.is_empty() && self.selection.skip.is_empty()
    }
}

/// Runs the selected cases under the selected faults.
pub fn run(args: &FaultMatrixArgs) -> Result<ExitStatus> {
    let items = select(&args.selection, args.tier.into(), suite::cases::all())?;
    let faults: Vec<&'static Fault> = match args.fault.as_slice() {
        [] => table::all().iter().collect(),
        chosen => chosen.to_vec(),
    };
    if args.witnesses.is_some() && !(args.has_all_faults() && args.has_all_cases()) {
        return Err(Contradiction("--witnesses requires all faults and all cases".to_owned()).into());
    }
    // A file that cannot be written is reported now, not after minutes.
    let draft = |path: &Option<PathBuf>| path.as_deref().map(Draft::begin).transpose();
    let (markdown, json) = (draft(&args.markdown)?, draft(&args.json)?);
    let witnesses = draft(&args.witnesses)?;
    let start = Instant::now();
    let mut matrix = Matrix::begin(args, items, faults)?;
    if args.sufficient {
        matrix.run_sufficient()?;
    } else {
        matrix.run_complete()?;
    }
    let Matrix { mut caught, interrupted, bar, .. } = matrix;
    bar.finish_and_clear();
    if let Some(signal) = interrupted {
        return Ok(ExitStatus::Interrupted { signal });
    }
    caught.seconds = start.elapsed().as_secs();
    if let Some(file) = markdown {
        file.finish(&document::markdown(&caught))?;
    }
    if let Some(file) = json {
        file.finish(&serde_json::to_string(&caught)?)?;
    }
    if let Some(file) = witnesses {
        let pairs = toml::to_string(&Witnesses::of(&caught))?;
        file.finish(&format!("# Written by `faults matrix --witnesses`.\n{pairs}"))?;
    }
    stdout::print(match args.format {
        SurveyFormat::Text => document::text(&caught),
        SurveyFormat::Markdown => document::markdown(&caught),
        SurveyFormat::Json => serde_json::to_string(&caught)? + "\n",
    })?;
    let complaints = if args.check { caught.complaints() } else { Vec::new() };
    complaints.iter().for_each(|complaint| eprintln!("unshare-conformance: {complaint}"));
    Ok(if complaints.is_empty() { ExitStatus::Conforms } else { ExitStatus::DoesNotConform })
}

/// Why a case shows nothing: it does not pass on this kernel even without a fault.
fn why_not_tried(verdict: &Verdict, outcome: Outcome) -> String {
    match outcome {
        Outcome::KnownBug { bug, .. } => bug,
        _ if verdict.reason.is_empty() => verdict.status.word().to_owned(),
        _ => format!("{}: {}", verdict.status.word(), one_line(&verdict.reason)),
    }
}

struct Matrix<'a> {
    args: &'a FaultMatrixArgs,
    facts: Facts,
    items: BTreeMap<String, Item>,
    caught: Caught,
    bar: ProgressBar,
    interrupted: Option<i32>,
}

impl<'a> Matrix<'a> {
    /// Runs the cases without any fault, and begins with those that pass.
    fn begin(args: &'a FaultMatrixArgs, items: Vec<Item>, faults: Vec<&'static Fault>) -> Result<Self> {
        let bar = bar_of(faults.len() as u64, "{pos:>4}/{len:<4} {bar:24} {eta} {wide_msg}");
        bar.set_message("no fault");
        // Refuses where faults cannot be simulated, before anything has run.
        check_place()?;
        let facts = harness::run::pool::facts(&suite::SUITE)?;
        let mut matrix = Self {
            args,
            items: items.into_iter().map(|item| (item.name.clone(), item)).collect(),
            caught: Caught {
                kernel: format!("{} {} {}", facts.system, facts.release, facts.machine),
                date: today(),
                complete: !args.sufficient,
                all_faults: args.has_all_faults(),
                all_cases: args.has_all_cases(),
                rows: faults.into_iter().map(Row::new).collect(),
                ..Caught::default()
            },
            facts,
            bar,
            interrupted: None,
        };
        let (documented, version) = (Expectations::new(Vec::new(), known_bugs::all), matrix.facts.in_order());
        let all: Vec<String> = matrix.items.keys().cloned().collect();
        for (name, verdict) in matrix.verdicts(None, &all)? {
            let why = match declared::left_out(&name) {
                Some(entry) => entry.reason.clone(),
                None if verdict.status == Status::Pass => {
                    matrix.caught.passing.insert(name);
                    continue;
                }
                None => {
                    let proves = matrix.items[&name].proves();
                    why_not_tried(&verdict, documented.outcome(&name, proves, version, &verdict))
                }
            };
            matrix.caught.not_passing.insert(name, why);
        }
        if matrix.caught.passing.is_empty() && matrix.interrupted.is_none() {
            return Err(anyhow!("none of these cases passes on this kernel without a fault: they show nothing").into());
        }
        Ok(matrix)
    }

    /// Every case under every fault.
    fn run_complete(&mut self) -> Result<()> {
        let passing: Vec<String> = self.caught.passing.iter().cloned().collect();
        for index in 0..self.caught.rows.len() {
            self.run_row(index, &passing)?;
            self.bar.inc(1);
        }
        Ok(())
    }

    /// As few pairs as show that every case notices a fault and every fault is noticed.
    fn run_sufficient(&mut self) -> Result<()> {
        let known = Witnesses::known();
        let row_of = |matrix: &Self, name: &str| matrix.caught.rows.iter().position(|row| row.fault.name == name);
        // Every case: under the faults that are known to make most of them fail first.
        let cover: Vec<usize> = known.cover.iter().filter_map(|name| row_of(self, name)).collect();
        for index in cover {
            let silent = self.caught.undeclared_silent_cases();
            self.run_row(index, &silent)?;
        }
        // Every fault: on its witness, then on all cases.
        let passing: Vec<String> = self.caught.passing.iter().cloned().collect();
        for index in 0..self.caught.rows.len() {
            let fault = self.caught.rows[index].fault;
            let tried = self.caught.rows[index].tried > 0;
            if fault.harmless {
                self.run_row(index, &passing)?;
            }
            let unnoticed = |matrix: &Self| matrix.caught.rows[index].is_unnoticed();
            let witness = known.witness.get(fault.name.as_str());
            if let Some(case) = witness.filter(|case| unnoticed(self) && self.caught.passing.contains(*case)) {
                self.run_row(index, std::slice::from_ref(case))?;
            }
            if unnoticed(self) && !tried {
                self.run_row(index, &passing)?;
            }
            self.bar.inc(1);
        }
        // Cases that are still silent: under all other faults.
        for index in 0..self.caught.rows.len() {
            let silent = self.caught.undeclared_silent_cases();
            if silent.is_empty() {
                break;
            }
            if !known.cover.iter().any(|name| *name == self.caught.rows[index].fault.name) {
                self.run_row(index, &silent)?;
            }
        }
        Ok(())
    }

    fn run_row(&mut self, index: usize, cases: &[String]) -> Result<()> {
        let fault = self.caught.rows[index].fault;
        self.bar.set_message(fault.name.to_string());
        let cases: Vec<String> = cases.iter().filter(|case| fault.is_tried_on(case)).cloned().collect();
        for (case, verdict) in self.verdicts(Some(fault), &cases)? {
            self.caught.rows[index].add(&case, &verdict);
        }
        Ok(())
    }

    /// Runs cases under a fault, or under none.
    fn verdicts(&mut self, fault: Option<&'static Fault>, cases: &[String]) -> Result<Vec<(String, Verdict)>> {
        let mut verdicts: Vec<(usize, Verdict)> = Vec::new();
        if cases.is_empty() || self.interrupted.is_some() {
            return Ok(Vec::new());
        }
        let options = RunOptions {
            tier: Tier::Quick,
            jobs: self.args.jobs.unwrap_or_else(|| usual_jobs(cpus())),
            // A case that passes may take its own time.
            timeout: fault
                .filter(|fault| !fault.harmless && (fault.hangs || fault.tried_on.is_empty()))
                .map(|_| self.args.timeout),
            expectations: Expectations::default(),
            facts: Some(self.facts.clone()),
            heartbeat: io::stderr().is_terminal(),
            in_order: false,
            ..options(&HowArgs::of_seed(self.args.seed), false)
        };
        let options = under(fault, options)?;
        let items = cases.iter().map(|case| self.items[case].clone()).collect();
        let bar = &self.bar;
        let mut finished = 0;
        let mut sink = |event: &Event| {
            match event {
                Event::CaseFinished { index, verdict, .. } => {
                    finished += 1;
                    verdicts.push((*index, Verdict::clone(verdict)));
                }
                Event::Alive => {
                    let name = fault.map_or("no fault", |fault| fault.name.as_str());
                    bar.set_message(format!("{name} {finished}/{}", cases.len()));
                }
                _ => {}
            }
            Ok(())
        };
        let end = harness::run::pool::run(items, &options, &mut sink)?;
        self.interrupted = self.interrupted.or(end.interrupted);
        // The plan has the items as they were given.
        Ok(verdicts.into_iter().map(|(index, verdict)| (cases[index].clone(), verdict)).collect())
    }
}
