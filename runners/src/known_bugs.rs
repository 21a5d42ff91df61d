//! Documented bugs of released kernels. A case never weakens for a buggy kernel; the list says
//! what its failure means.

use harness::outcome::KnownBug;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    bug: Vec<KnownBug>,
}

/// The list that this program carries.
///
/// # Panics
/// The list is not valid, which a test excludes.
pub fn all() -> Vec<KnownBug> {
    let list: List =
        toml::from_str(include_str!("../known-bugs.toml")).expect("the list is valid TOML");
    list.bug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_names_real_cases_and_requirements() {
        let items = harness::case::items(suite::cases::all());
        for bug in all() {
            assert!(
                suite::requirements::find(&bug.requirement).is_some(),
                "{} is no requirement",
                bug.requirement
            );
            for name in &bug.cases {
                assert!(
                    items.iter().any(|item| item.name == *name),
                    "{name} is no case"
                );
            }
        }
    }
}
