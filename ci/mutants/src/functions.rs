//! Which functions get mutants, and where these are in effect.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Where a mutant is in effect: `enum mutant_scope` of `kernel/mutants.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In the task that is inside unshare(2), until it returns.
    Call,
    /// In tasks that have called unshare(2), and in those they started afterwards.
    Task,
    /// In every task.
    Any,
}

impl Scope {
    /// Its name in C.
    pub fn in_c(self) -> &'static str {
        match self {
            Scope::Call => "MUTANT_CALL",
            Scope::Task => "MUTANT_TASK",
            Scope::Any => "MUTANT_ANY",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    call: Vec<String>,
    #[serde(default)]
    task: Vec<String>,
    #[serde(default)]
    any: Vec<String>,
}

/// The functions of each file, by the file's path in the kernel's source tree.
pub type Functions = BTreeMap<String, BTreeMap<String, Scope>>;

/// The list in `functions.toml`.
///
/// # Errors
/// The list is not valid, or names a function twice.
pub fn all() -> Result<Functions> {
    let rows: BTreeMap<String, Row> =
        toml::from_str(include_str!("../functions.toml")).context("functions.toml is not valid")?;
    let mut all = Functions::new();
    for (file, row) in rows {
        let mut functions = BTreeMap::new();
        for (names, scope) in [(row.call, Scope::Call), (row.task, Scope::Task), (row.any, Scope::Any)] {
            for name in names {
                anyhow::ensure!(functions.insert(name.clone(), scope).is_none(), "functions.toml names {name} twice");
            }
        }
        all.insert(file, functions);
    }
    Ok(all)
}
