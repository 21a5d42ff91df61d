//! Runs the suite in guests, each with one mutant switched on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Instant;
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use harness::verdict::event::Event;
use harness::verdict::judge::Status;

use crate::instrument::Mutant;
use crate::results::{self, Run, Tier, Verdict};

/// How a mutant is run.
#[derive(Debug)]
pub struct Runner {
    /// The suite.
    pub program: PathBuf,
    /// The kernel with the mutants.
    pub kernel: PathBuf,
    /// The tier.
    pub tier: Tier,
    /// How many CPUs a guest has.
    pub cpus: u32,
    /// Filters of cases; none means all.
    pub cases: Vec<String>,
    /// Which mutants each family of cases reaches; what reaches none of them is not run.
    pub reach: Option<Reach>,
}

/// The mutants that cases reach, by the first two components of the cases' names.
pub type Reach = BTreeMap<String, BTreeSet<usize>>;

/// Groups that take a third of the time and look for what happens now and then: unless cases are named, a mutant's
/// verdict does not wait for them.
const LEFT_OUT: [&str; 2] = ["races.", "storm."];

/// A guest that says nothing for this long hangs: it has a heartbeat every second, and many mutants hang.
const SILENCE: &str = "20s";

/// The deadline of each case of the quick tier, ten times as long under emulation: none of those that are run comes near it.
const DEADLINE: &str = "5s";

/// How many bytes of filters a kernel's command line has room for.
const FILTERS_LIMIT: usize = 1400;

/// The kernel's line at the end of a guest: numbers from here, as a bitmap of comma-separated words of 32 bits, the
/// highest first.
const REACHED: &str = "mutants: reached from ";

impl Runner {
    /// Runs one mutant; number 0 is none.
    ///
    /// # Errors
    /// The suite could not be run, or did not say what it saw.
    pub fn run(&self, key: &str, id: usize) -> Result<Run> {
        let cases = self.reaching(id);
        if id != 0 && self.reach.is_some() && cases.is_empty() {
            return Ok(Run {
                key: key.to_owned(),
                tier: self.tier,
                verdict: Verdict::Survived,
                by: None,
                reached: Some(false),
                milliseconds: 0,
            });
        }
        let directory = tempfile::tempdir().context("no directory for temporary files")?;
        let console = directory.path().join("console");
        let started = Instant::now();
        let mut command = self.in_guest(&console);
        // A kernel that oopses is noticed either way, and one that goes on after it often hangs.
        command.args(["--fail-fast", "--kernel-arg", "oops=panic", "--kernel-arg"]).arg(format!("mutant={id}"));
        if self.cases.is_empty() {
            command.args(LEFT_OUT.iter().flat_map(|group| ["--skip", group]));
        }
        command.args(cases);
        let output = self.output(command)?;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let verdict = match output.status.code() {
            Some(0) => Verdict::Survived,
            Some(1) => Verdict::Killed,
            Some(125) => Verdict::Unsure,
            _ => bail!("{key}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        };
        let reached = (verdict == Verdict::Survived).then(|| {
            let console = fs::read(&console).unwrap_or_default();
            reached(&String::from_utf8_lossy(&console), id)
        });
        let by = noticed_by(&String::from_utf8_lossy(&output.stdout), verdict).map(|(case, _)| case);
        Ok(Run { key: key.to_owned(), tier: self.tier, verdict, by, reached: reached.flatten(), milliseconds })
    }

    /// Filters of the cases that reach a mutant, as far as that is known.
    fn reaching(&self, id: usize) -> Vec<String> {
        let Some(reach) = self.reach.as_ref().filter(|_| id != 0) else { return self.cases.clone() };
        let families: Vec<_> =
            reach.iter().filter(|(_, ids)| ids.contains(&id)).map(|(family, _)| family.clone()).collect();
        if families.iter().map(|family| family.len() + 1).sum::<usize>() < FILTERS_LIMIT {
            return families;
        }
        let groups: BTreeSet<_> =
            families.iter().map(|family| format!("{}.", family.split('.').next().unwrap_or(family))).collect();
        groups.into_iter().collect()
    }

    /// Finds out which mutants each family of cases reaches.
    ///
    /// # Errors
    /// The suite could not be run, or the kernel does not conform without a mutant.
    pub fn find_reach(&self, jobs: usize) -> Result<Reach> {
        let found = in_parallel(jobs, self.families()?, |family| {
            let directory = tempfile::tempdir().context("no directory for temporary files")?;
            let console = directory.path().join("console");
            let mut command = self.in_guest(&console);
            // The search for lost memory at the end takes longer than most families.
            command.args(["--kernel-arg", "kmemleak=off"]).arg(&family);
            let output = self.output(command)?;
            // 125: all skipped here.
            if !matches!(output.status.code(), Some(0 | 125)) {
                let (case, why) =
                    noticed_by(&String::from_utf8_lossy(&output.stdout), Verdict::Killed).unwrap_or_default();
                bail!("the kernel does not conform with no mutant switched on: {}: {case}: {why}", output.status);
            }
            // No console: the tier has none of these cases.
            let console = fs::read(&console).unwrap_or_default();
            let ids = all_reached(&String::from_utf8_lossy(&console));
            eprintln!("{family}: {}", ids.len());
            Ok((family, ids))
        })?;
        Ok(found.into_iter().collect())
    }

    /// The suite in a guest with this kernel, whose console is kept in a file.
    fn in_guest(&self, console: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["run", "--format", "json", "--seed", "1", "--tier", self.tier.name()]);
        command.args(["--cpus", &self.cpus.to_string(), "--silence", SILENCE]);
        if self.tier == Tier::Quick {
            command.args(["--timeout", DEADLINE]);
        }
        // It boots without a mutant: a mutant is to blame if not.
        command.args(["--boot-failure", "fail", "--kernel"]);
        command.arg(&self.kernel).arg("--console").arg(console).stdin(Stdio::null());
        command
    }

    fn output(&self, mut command: Command) -> Result<Output> {
        command.output().with_context(|| format!("cannot run {}", self.program.display()))
    }

    /// The families of all cases that are run. Those of a higher tier are left out: a case whose whole name is given is run
    /// in any tier.
    fn families(&self) -> Result<BTreeSet<String>> {
        let output =
            Command::new(&self.program).args(["list", "--format", "json"]).output().context("cannot list the cases")?;
        let cases: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).context("a list of cases")?;
        let tiers = [Tier::Quick, Tier::Full].map(Tier::name);
        let tiers = &tiers[..=usize::from(self.tier == Tier::Full)];
        let cases = cases.iter().filter(|case| case["tier"].as_str().is_some_and(|tier| tiers.contains(&tier)));
        let names = cases.filter_map(|case| case["name"].as_str());
        let ours = names.filter(|name| !LEFT_OUT.iter().any(|group| name.starts_with(group)));
        Ok(ours.map(|name| name.split('.').take(2).collect::<Vec<_>>().join(".")).collect())
    }

    /// Runs many in parallel, and adds each result to a file as it comes.
    ///
    /// # Errors
    /// One could not be run; those that were are in the file.
    pub fn run_all(&self, mutants: &[&Mutant], jobs: usize, file: &Path) -> Result<Vec<Run>> {
        let kept = Mutex::new((results::appended(file)?, 0));
        in_parallel(jobs, mutants.iter().copied(), |mutant| {
            let run = self.run(&mutant.key, mutant.id)?;
            let (file, done) = &mut *kept.lock().map_err(|_| anyhow!("another job panicked"))?;
            results::append(file, &run)?;
            *done += 1;
            let by = run.by.as_deref().unwrap_or_default();
            eprintln!("{done}/{} {:?} {} {by}", mutants.len(), run.verdict, run.key);
            Ok(run)
        })
    }
}

/// Does the same with each of many things, so many at a time. The results are in no order. The first error of a
/// job ends that job; the others do what is left.
fn in_parallel<T: Send, R: Send>(
    jobs: usize,
    things: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let queue: Mutex<VecDeque<T>> = Mutex::new(things.into_iter().collect());
    let next = || queue.lock().map_err(|_| anyhow!("another job panicked")).map(|mut queue| queue.pop_front());
    let job = || -> Result<Vec<R>> {
        let mut done = Vec::new();
        while let Some(thing) = next()? {
            done.push(work(thing)?);
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|_| scope.spawn(job)).collect();
        let ended = jobs.into_iter().map(|job| job.join().map_err(|_| anyhow!("a job panicked"))?);
        ended.collect::<Result<Vec<_>>>().map(|done| done.into_iter().flatten().collect())
    })
}

/// Whether the kernel says at the end that a mutant was reached; nothing if it says nothing.
fn reached(console: &str, id: usize) -> Option<bool> {
    console.contains(REACHED).then(|| all_reached(console).contains(&id))
}

/// The mutants of which the kernel says at the end that they were reached.
fn all_reached(console: &str) -> BTreeSet<usize> {
    let rows = console.lines().filter_map(|line| line.split_once(REACHED)).filter_map(|(_, rest)| rest.split_once(' '));
    let rows = rows.filter_map(|(from, bits)| Some((from.parse::<usize>().ok()?, bits)));
    rows.flat_map(|(from, bits)| {
        let words = bits.trim().rsplit(',').map(|word| u32::from_str_radix(word, 16).unwrap_or_default());
        let words: Vec<u32> = words.collect();
        (0..32 * words.len())
            .filter(|bit| words[bit / 32] >> (bit % 32) & 1 == 1)
            .map(|bit| from + bit)
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The first case that did not pass and its reason, or how the guest ended.
fn noticed_by(events: &str, verdict: Verdict) -> Option<(String, String)> {
    if verdict == Verdict::Survived {
        return None;
    }
    let mut plan = Vec::new();
    let (mut failed, mut broken, mut remark) = (None, None, None);
    for line in events.lines() {
        match serde_json::from_str(line) {
            Ok(Event::RunStarted { plan: cases, .. }) => plan = cases,
            Ok(Event::CaseFinished { index, verdict, .. }) => {
                let name = || plan.get(index).map(|case| (case.name.clone(), verdict.reason.clone()));
                match verdict.status {
                    Status::Fail | Status::TimedOut if failed.is_none() => failed = name(),
                    Status::Broken if broken.is_none() => broken = name(),
                    _ => {}
                }
            }
            Ok(Event::BailedOut { why }) => remark = Some(("the guest's end".to_owned(), why)),
            _ => {}
        }
    }
    failed.or(remark).or(broken)
}

/// Checks that the kernel is the one of the list, and conforms with no mutant switched on.
///
/// # Errors
/// It does not.
pub fn check_unmutated(runner: &Runner) -> Result<Run> {
    let run = runner.run("none", 0)?;
    ensure!(
        run.verdict == Verdict::Survived,
        "{} does not conform with no mutant switched on: {}",
        runner.kernel.display(),
        run.by.as_deref().unwrap_or("see its console")
    );
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_are_read_as_the_kernel_writes_them() {
        let console = "[    1.0] mutants: reached from 0 00000000,00000000,00000000,00000000,00000000,00000000,00000001,00000006\r\n\
                       [    1.1] mutants: reached from 256 4\r\n";
        assert_eq!(all_reached(console), BTreeSet::from([1, 2, 32, 258]));
        assert_eq!(reached(console, 3), Some(false));
        assert_eq!(reached("Kernel panic", 3), None);
    }
}
