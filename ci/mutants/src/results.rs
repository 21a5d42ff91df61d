//! What was found of each mutant, as data: one line of JSON for each run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Which cases were to notice it: the suite's tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// `--tier quick`
    Quick,
    /// `--tier full`
    Full,
}

impl Tier {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Quick => "quick",
            Tier::Full => "full",
        }
    }
}

/// What the suite said of a kernel with one mutant switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does not conform: exit status 1.
    Killed,
    /// It conforms: exit status 0.
    Survived,
    /// Inconclusive: exit status 125.
    Unsure,
}

/// One run of one mutant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The mutant's key.
    pub key: String,
    /// The tier.
    pub tier: Tier,
    /// The verdict.
    pub verdict: Verdict,
    /// What noticed it: the first case that failed, or how the guest ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Of one that survived: whether the code was reached in its scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<bool>,
    /// Milliseconds from the start of the guest to its end.
    pub milliseconds: u64,
}

/// Runs by mutant and tier; a later one replaces an earlier one.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<(String, Tier), Run>);

impl Results {
    /// Reads a file; one that does not exist has no runs. A last line that was cut off is none.
    ///
    /// # Errors
    /// The file cannot be read, or has something else in it.
    pub fn read(path: &Path) -> Result<Results> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut results = Results::default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let run: Run = serde_json::from_str(line)
                .with_context(|| format!("{}: no run of a mutant: {line}", path.display()))?;
            results.0.insert((run.key.clone(), run.tier), run);
        }
        Ok(results)
    }

    /// The run of a mutant in a tier.
    pub fn get(&self, key: &str, tier: Tier) -> Option<&Run> {
        self.0.get(&(key.to_owned(), tier))
    }

    /// All mutants that were run.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|(key, _)| key.as_str())
    }

    /// Whether no run of a mutant noticed it, and one was inconclusive.
    pub fn is_unsure(&self, key: &str) -> bool {
        [Tier::Quick, Tier::Full].iter().any(|tier| self.verdict(key, *tier) == Some(Verdict::Unsure))
    }

    /// Whether the suite notices a mutant in a tier: what the quick tier notices, the full one does.
    pub fn verdict(&self, key: &str, tier: Tier) -> Option<Verdict> {
        let quick = self.get(key, Tier::Quick).map(|run| run.verdict);
        match (tier, quick) {
            (Tier::Quick, _) | (Tier::Full, Some(Verdict::Killed)) => quick,
            (Tier::Full, _) => self.get(key, Tier::Full).map(|run| run.verdict),
        }
    }

    /// Writes all runs, in the order of their keys.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for run in self.0.values() {
            writeln!(text, "{}", serde_json::to_string(run).context("a run as JSON")?).context("a string takes all")?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Opens a file to which runs are added as they end.
///
/// # Errors
/// It cannot be opened.
pub fn appended(path: &Path) -> Result<File> {
    let open = OpenOptions::new().append(true).create(true).open(path);
    open.with_context(|| format!("cannot write {}", path.display()))
}

/// Adds a run.
///
/// # Errors
/// The file cannot be written.
pub fn append(file: &mut File, run: &Run) -> Result<()> {
    let line = serde_json::to_string(run).context("a run as JSON")? + "\n";
    file.write_all(line.as_bytes()).context("cannot write a result")
}
