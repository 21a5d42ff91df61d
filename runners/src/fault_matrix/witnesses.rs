//! Where a sufficient matrix starts: what a complete one has shown.

use super::caught::Caught;
use crate::prelude::*;

/// What a complete matrix has shown, and a sufficient one begins with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Witnesses {
    /// Faults that make every case fail that any makes fail, one after the other.
    pub cover: Vec<String>,
    /// A case for each fault that notices it.
    pub witness: BTreeMap<String, String>,
}

impl Witnesses {
    /// What is known of the suite.
    pub fn known() -> &'static Self {
        static KNOWN: OnceLock<Witnesses> = OnceLock::new();
        KNOWN.get_or_init(|| toml::from_str(include_str!("witnesses.toml")).unwrap_or_default())
    }

    /// For how many faults this case is the witness, as far as is known.
    pub fn faults_of(case: &str) -> u32 {
        static FAULTS: OnceLock<BTreeMap<&str, u32>> = OnceLock::new();
        let faults = FAULTS.get_or_init(|| {
            let mut faults = BTreeMap::new();
            Witnesses::known().witness.values().for_each(|case| *faults.entry(case.as_str()).or_default() += 1);
            faults
        });
        faults.get(case).copied().unwrap_or_default()
    }

    /// What a complete matrix shows.
    pub fn of(caught: &Caught) -> Self {
        // Of the cases that notice a fault the one that notices the fewest others says the most.
        let mut noticed: BTreeMap<&str, usize> = BTreeMap::new();
        for case in caught.rows.iter().flat_map(|row| row.caught_by.keys()) {
            *noticed.entry(case).or_default() += 1;
        }
        let witness = caught.rows.iter().filter(|row| !row.fault.harmless).filter_map(|row| {
            // Races are lost now and then, and random sets of flags change with the model.
            let unsteady = ["races.", "storm.", "flags.random"];
            let steady = |case: &&String| !unsteady.iter().any(|group| case.starts_with(group));
            let cases = || row.caught_by.keys();
            let case = cases().filter(steady).min_by_key(|case| noticed[case.as_str()]).or_else(|| cases().next())?;
            Some((row.fault.name.to_string(), case.clone()))
        });
        Self { cover: caught.cover().into_iter().map(str::to_owned).collect(), witness: witness.collect() }
    }
}

#[cfg(test)]
mod tests {
    use harness::case::Item;

    use super::*;

    fn items() -> (Vec<Item>, Vec<Item>) {
        harness::case::items(suite::cases::all()).into_iter().partition(|item| item.from == Tier::Quick)
    }

    #[test]
    fn the_quick_tier_notices_every_kind_of_fault() {
        let (quick, _) = items();
        let known = Witnesses::known();
        for (fault, case) in &known.witness {
            assert!(quick.iter().any(|item| item.name == *case), "{case}, which notices {fault}, is not quick");
        }
        assert!(known.witness.len() > 200);
    }

    #[test]
    fn the_quick_tier_proves_every_requirement_that_the_full_one_does() {
        let (quick, later) = items();
        let proved: BTreeSet<&str> = quick.iter().flat_map(Item::proves).copied().collect();
        let lost: BTreeSet<&str> = later
            .iter()
            .filter(|item| item.case.from == Tier::Quick)
            .flat_map(Item::proves)
            .copied()
            .filter(|requirement| !proved.contains(requirement))
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}
