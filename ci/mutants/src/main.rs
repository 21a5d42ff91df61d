//! A kernel with switchable faults, and whether the suite notices each. See README.md beside this crate.

mod explained;
mod functions;
mod instrument;
mod operators;
mod report;
mod results;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::explained::Explained;
use crate::instrument::{LIST, Mutant};
use crate::results::{Results, Tier, Verdict};
use crate::run::Runner;

const EXAMPLES: &str = "\
Examples:
  mutants instrument linux-7.3                          put the mutants into a tree
  unshare-conformance kernels build linux-7.3 --with fault-injection,kmemleak -o DIRECTORY
  mutants run DIRECTORY --results new.jsonl             run what has no result yet, hours
  mutants run DIRECTORY --results new.jsonl --tier full those that the quick tier does not notice
  mutants run DIRECTORY --results new.jsonl --again     those that nothing has noticed yet, once more
  mutants check DIRECTORY --sample 30                   thirty against the recorded results, minutes
  mutants report > docs/mutants.md

Exit status: 0 all as it should be, 1 not, 2 wrong arguments.";

/// Puts faults into a kernel, and shows which of them the suite notices
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put all mutants into a kernel's source tree, in place
    Instrument {
        /// The tree: a copy that may be changed
        tree: PathBuf,
    },
    /// Find out which cases reach which mutants, so that each mutant is run with these alone
    Reach {
        #[command(flatten)]
        how: How,
    },
    /// Run the suite on each mutant, and keep the results
    Run {
        #[command(flatten)]
        how: How,
        /// Where results are kept; mutants that have one are not run again
        #[arg(long, value_name = "FILE")]
        results: PathBuf,
        /// How many mutants are drawn [default: all]
        #[arg(long, value_name = "N")]
        sample: Option<usize>,
        /// Run again what survived, and nothing else
        #[arg(long)]
        again: bool,
        /// Run mutants whose key contains one of these, whether they have a result or not
        #[arg(long, value_name = "KEY")]
        only: Vec<String>,
    },
    /// Run a sample again, and compare with the recorded results
    Check {
        #[command(flatten)]
        how: How,
        /// How many mutants
        #[arg(long, value_name = "N", default_value_t = 30)]
        sample: usize,
    },
    /// Print docs/mutants.md
    Report,
}

#[derive(Args)]
struct How {
    /// What `kernels build -o` has written: the image, and beside it `mutants.json` from the tree
    kernel: PathBuf,
    /// The suite's tier
    #[arg(long, value_enum, default_value = "quick")]
    tier: Tier,
    /// Run this many guests in parallel
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// CPUs of a guest: one suffices for most mutants, and leaves the machine's others to other guests
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Random seed of the draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The suite [default: the release build]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Run only cases whose name contains one of these
    #[arg(long = "case", value_name = "FILTER")]
    cases: Vec<String>,
}

impl How {
    fn runner(&self) -> Result<Runner> {
        let built =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/x86_64-unknown-linux-gnu/release/unshare-conformance");
        let program = self.program.clone().unwrap_or_else(|| built.into());
        ensure!(program.exists(), "{} does not exist: run cargo build --release, or give --program", program.display());
        let reach = match fs::read_to_string(self.reach()) {
            Ok(text) if self.cases.is_empty() => Some(serde_json::from_str(&text).context("reach-*.json is damaged")?),
            _ => None,
        };
        Ok(Runner {
            program,
            kernel: self.image()?,
            tier: self.tier,
            cpus: self.cpus,
            cases: self.cases.clone(),
            reach,
        })
    }

    /// Where it is kept which cases reach which mutants.
    fn reach(&self) -> PathBuf {
        self.kernel.join(format!("reach-{}.json", self.tier.name()))
    }

    /// The kernel's image in the directory.
    fn image(&self) -> Result<PathBuf> {
        let entries = fs::read_dir(&self.kernel).with_context(|| format!("cannot read {}", self.kernel.display()))?;
        let images = entries.flatten().map(|entry| entry.path());
        images
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
            .max()
            .with_context(|| format!("{} has no vmlinuz-RELEASE", self.kernel.display()))
    }

    fn mutants(&self) -> Result<Vec<Mutant>> {
        list(&self.kernel.join(LIST))
    }
}

/// The list of mutants in a file.
fn list(path: &Path) -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no list of mutants", path.display()))
}

/// All mutants, in an order drawn by a seed: any beginning of it is a fair sample.
fn in_turn(mutants: &[Mutant], seed: u64) -> Vec<&Mutant> {
    let mut drawn: Vec<_> = mutants.iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut drawn);
    drawn
}

/// The recorded results.
fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results.jsonl")
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> Result<bool> {
        match self {
            Command::Instrument { tree } => {
                println!("{} mutants", instrument::instrument(&tree)?.len());
                Ok(true)
            }
            Command::Reach { how } => {
                let reach = how.runner()?.find_reach(how.jobs)?;
                let text = serde_json::to_string(&reach).context("what is reached as JSON")?;
                let path = how.reach();
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(true)
            }
            Command::Run { how, results, sample, again, only } => {
                let (runner, mutants) = (how.runner()?, how.mutants()?);
                let (known, explained) = (Results::read(&results)?, Explained::read()?);
                let equivalent: BTreeSet<_> = explained.equivalent().collect();
                let mut drawn = in_turn(&mutants, how.seed);
                if only.is_empty() {
                    drawn.truncate(sample.unwrap_or(usize::MAX));
                    drawn.retain(|mutant| match known.verdict(&mutant.key, how.tier) {
                        None => !again && (how.tier == Tier::Quick || known.get(&mutant.key, Tier::Quick).is_some()),
                        Some(verdict) => again && verdict == Verdict::Survived,
                    });
                    if again || how.tier == Tier::Full {
                        drawn.retain(|mutant| !equivalent.contains(mutant.key.as_str()));
                    }
                } else {
                    drawn.retain(|mutant| only.iter().any(|key| mutant.key.contains(key)));
                }
                run::check_unmutated(&runner)?;
                let runs = runner.run_all(&drawn, how.jobs, &results)?;
                let count = |verdict| runs.iter().filter(|run| run.verdict == verdict).count();
                println!(
                    "{} killed, {} survived, {} unsure",
                    count(Verdict::Killed),
                    count(Verdict::Survived),
                    count(Verdict::Unsure)
                );
                Results::read(&results)?.write(&results)?;
                Ok(count(Verdict::Unsure) == 0)
            }
            Command::Check { how, sample } => check(&how, sample),
            Command::Report => {
                print!("{}", report::text()?);
                Ok(true)
            }
        }
    }
}

/// Runs a sample again: what was killed must be, and nothing may be unsure. A mutant that was noticed by none and is now
/// is good news: it is said, and no failure.
fn check(how: &How, sample: usize) -> Result<bool> {
    let (runner, mutants, known) = (how.runner()?, how.mutants()?, Results::read(&recorded())?);
    let mut drawn = in_turn(&mutants, how.seed);
    drawn.retain(|mutant| known.get(&mutant.key, how.tier).is_some());
    drawn.truncate(sample);
    ensure!(!drawn.is_empty(), "none of the kernel's mutants has a recorded result: another release's list?");
    run::check_unmutated(&runner)?;
    let kept = tempfile::NamedTempFile::new().context("no temporary file")?;
    let runs = runner.run_all(&drawn, how.jobs, kept.path())?;
    let mut good = true;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for run in &runs {
        let before = known.verdict(&run.key, how.tier);
        let word = match (before, run.verdict) {
            (Some(before), now) if before == now => "as recorded",
            (_, Verdict::Killed) => "noticed now",
            _ => {
                println!("{}: {:?}, recorded as {before:?}", run.key, run.verdict);
                good = false;
                "worse"
            }
        };
        *counts.entry(word).or_default() += 1;
    }
    let words: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    println!("{} mutants: {}", runs.len(), words.join(", "));
    Ok(good)
}
