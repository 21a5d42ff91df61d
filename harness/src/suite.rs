//! What the harness is told about the suite that it runs.

use crate::common::*;

/// A suite of cases: its name, and what its cases may need of a machine.
#[derive(Debug)]
pub struct Suite {
    /// Name of the program. It heads messages and JUnit reports, and names temporary directories.
    pub name: &'static str,
    /// Root of the paths of its tests in KCIDB.
    pub kcidb_root: &'static str,
    /// Every feature its cases may need, except the harness's own. The index of each is its position.
    pub features: &'static [Feature],
    /// All global state its cases may change. The index of each is its position.
    pub globals: &'static [Global],
    /// What every case needs.
    pub every_case: Needs,
    /// Names, besides the program's, that cases give to their tasks.
    pub task_names: &'static [&'static str],
    /// Finds signs of a sandbox or of local policy that changes results, each as one line.
    pub signs: fn(&Facts) -> Vec<String>,
    /// Why this place, and not the kernel, made a case go wrong, as controls show that do not depend on the call under
    /// test; none if nothing here explains it.
    pub refused: fn(&Facts, &Wrong) -> Option<String>,
    /// Removes what an earlier run left on the machine because all of it was killed. Runs before the first case and
    /// after the last.
    pub remove_stale: fn(),
    /// Whose affair the violation of a requirement is, by its ID.
    pub affair: fn(&str) -> Affair,
    /// Further facts that results carry.
    pub facts: &'static [FurtherFact],
}

/// How a case went wrong.
#[derive(Debug)]
pub struct Wrong<'a> {
    /// Its first step that did: as written in C, and what it gave.
    pub step: Option<(&'a str, &'a str)>,
    /// Whether that step only prepared what is judged.
    pub is_setup: bool,
    /// What its tasks [set aside](crate::run::record::set_aside).
    pub aside: [u64; 3],
}

/// The name of a fact in results, and its probe.
pub type FurtherFact = (&'static str, fn() -> bool);

impl Suite {
    /// A suite whose cases need nothing but what the harness itself knows.
    pub const PLAIN: Suite = Suite {
        name: "harness",
        kcidb_root: "harness",
        features: &[],
        globals: &[],
        every_case: Needs::NONE,
        task_names: &[],
        signs: |_| Vec::new(),
        refused: |_, _| None,
        remove_stale: || (),
        affair: |_| Affair::default(),
        facts: &[],
    };

    /// Every feature: the harness's own, then the suite's.
    pub fn features(&self) -> impl Iterator<Item = Feature> {
        Feature::OWN.into_iter().chain(self.features.iter().copied())
    }
}
