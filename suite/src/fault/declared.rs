//! What cannot be simulated, and what covers it instead: the data in `faults.toml`.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Cases that are not part of the matrix of faults and cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Their names begin so.
    pub cases: String,
    /// Why.
    pub reason: String,
    /// What shows instead that they can fail.
    pub instead: String,
    /// Whether they can be run under one fault, where nothing else runs: `run --fault`.
    #[serde(default)]
    pub runs_alone: bool,
}

/// Cases that no fault of the table makes fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uncaught {
    /// Their names begin so.
    pub cases: String,
    /// Why.
    pub reason: String,
    /// What shows instead that they can fail.
    pub instead: String,
}

/// A fault that no case notices on the kernels at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unnoticed {
    /// Its name.
    pub fault: String,
    /// Why.
    pub reason: String,
}

/// A fault that a stand-in outside of the kernel cannot imitate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impossible {
    /// The fault.
    pub fault: String,
    /// Why it cannot be simulated.
    pub reason: String,
    /// What covers it instead.
    pub instead: String,
}

/// Runs on kernels that are known to be good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoodRuns {
    /// The kernel.
    pub kernel: String,
    /// Where it ran.
    pub place: String,
    /// How many cases ran in all runs together.
    pub cases: u64,
    /// How many of these failed.
    pub failed: u64,
}

/// All that is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declared {
    /// Cases that are not part of the matrix.
    pub left_out: Vec<LeftOut>,
    /// Cases that fail under none.
    pub uncaught: Vec<Uncaught>,
    /// Faults that no case notices.
    pub unnoticed: Vec<Unnoticed>,
    /// Faults that there are none of.
    pub impossible: Vec<Impossible>,
    /// Runs on good kernels.
    pub good_runs: Vec<GoodRuns>,
}

/// What is declared.
///
/// # Panics
/// The data built into this program is not valid, which a test excludes.
pub fn all() -> &'static Declared {
    static ALL: OnceLock<Declared> = OnceLock::new();
    ALL.get_or_init(|| toml::from_str(include_str!("../../faults.toml")).expect("the data is valid TOML"))
}

/// Why a case of this name is left out of the matrix, where it is.
pub fn left_out(name: &str) -> Option<&'static LeftOut> {
    let mut entries = all().left_out.iter();
    entries.find(|entry| name.starts_with(&entry.cases))
}

/// Why a case of this name is left out of every run under a fault, where it is.
pub fn impossible(name: &str) -> Option<String> {
    let entry = left_out(name).filter(|entry| !entry.runs_alone)?;
    Some(format!("no fault can be simulated under it: {}", entry.reason))
}

/// What says that no fault makes a case of this name fail, where something does.
pub fn uncaught(name: &str) -> Option<&'static Uncaught> {
    all().uncaught.iter().find(|entry| name.starts_with(&entry.cases))
}

/// Whether it is declared that no case notices this fault.
pub fn unnoticed(fault: &str) -> bool {
    all().unnoticed.iter().any(|entry| entry.fault == fault)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_data_is_valid_and_names_cases() {
        let declared = super::all();
        let items = harness::case::items(crate::cases::all());
        let there = |prefix: &str| items.iter().any(|item| item.name.starts_with(prefix));
        let cases = declared.left_out.iter().map(|entry| &entry.cases);
        for cases in cases.chain(declared.uncaught.iter().map(|entry| &entry.cases)) {
            assert!(there(cases), "{cases} is no case");
        }
        for entry in &declared.unnoticed {
            assert!(crate::fault::find(&entry.fault).is_some(), "{} is no fault", entry.fault);
        }
    }
}
