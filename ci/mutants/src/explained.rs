//! Why mutants are not noticed, by those who looked: `explained.toml`.

use anyhow::{Context, Result};
use serde::Deserialize;

/// The file's content.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// No program can tell the mutant from the kernel.
    #[serde(default)]
    pub equivalent: Vec<Explanation>,
    /// A program could, and the suite does not.
    #[serde(default)]
    pub survived: Vec<Explanation>,
}

/// One reason, and the mutants that it is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// Their keys.
    pub mutants: Vec<String>,
    /// The reason, in sentences.
    pub reason: String,
}

impl Explained {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not valid.
    pub fn read() -> Result<Explained> {
        toml::from_str(include_str!("../explained.toml")).context("explained.toml is not valid")
    }

    /// The mutants that no program can tell from the kernel.
    pub fn equivalent(&self) -> impl Iterator<Item = &str> {
        self.equivalent.iter().flat_map(|row| &row.mutants).map(String::as_str)
    }
}
