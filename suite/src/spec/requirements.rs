//! The catalogue of requirements: one checkable claim each, by an ID that never changes.

use std::sync::OnceLock;

use harness::verdict::affair::Affair;
use serde::{Deserialize, Serialize};

/// One checkable claim about unshare(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Its ID.
    pub id: String,
    /// Whose affair a violation is: the gravest that may come of it, unless another requirement states that by itself.
    #[serde(default)]
    pub affair: Affair,
    /// The claim, in one sentence.
    pub claim: String,
    /// Where it comes from: manual page, section of the 2006 document, kernel file or measurement.
    pub source: String,
    /// The first mainline release it holds for, where not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The first mainline release it no longer holds for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why no case can prove it, where none can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untestable: Option<String>,
}

#[derive(Deserialize)]
struct Catalogue {
    requirement: Vec<Requirement>,
}

/// All requirements, in the order of the catalogue.
///
/// # Panics
/// The catalogue built into this program is not valid, which a test excludes.
pub fn all() -> &'static [Requirement] {
    static ALL: OnceLock<Vec<Requirement>> = OnceLock::new();
    ALL.get_or_init(|| {
        let catalogue: Catalogue =
            toml::from_str(include_str!("../../requirements.toml")).expect("the catalogue is valid TOML");
        catalogue.requirement
    })
}

/// The requirement with this ID.
pub fn find(id: &str) -> Option<&'static Requirement> {
    all().iter().find(|requirement| requirement.id == id)
}

/// Whose affair a violation of the requirement with this ID is.
pub fn affair(id: &str) -> Affair {
    find(id).map_or_else(Affair::default, |requirement| requirement.affair)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique() {
        let mut seen = BTreeSet::new();
        for requirement in all() {
            assert!(seen.insert(&requirement.id), "{} twice", requirement.id);
        }
    }

    #[test]
    fn which_error_wins_is_an_affair_of_the_errno_alone() {
        for requirement in all() {
            assert!(!requirement.id.starts_with("ORD-") || requirement.affair == Affair::Errno, "{}", requirement.id);
        }
        for (id, affair) in [("ERR-20", Affair::Security), ("EFF-FS-01", Affair::Programs), ("ORD-01", Affair::Errno)] {
            assert_eq!(super::affair(id), affair, "{id}");
        }
    }

    #[test]
    fn every_case_is_well_formed() {
        let items = harness::case::items(&harness::case::CASES);
        assert!(!items.is_empty());
        let mut names = BTreeSet::new();
        for item in &items {
            let name = item.name.as_str();
            assert!(names.insert(name.replace('.', "_")), "{name} twice");
            let valid = |part: &str| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
            };
            assert!(name.split('.').all(valid), "{name} is no valid name");
            assert!(!item.proves().is_empty(), "{name} proves nothing");
            assert!(!item.case.about.is_empty(), "{name} does not say what it checks");
            assert!(!item.case.source.is_empty(), "{name} does not say where its claim comes from");
            for id in item.proves() {
                assert!(find(id).is_some(), "{name} cites {id}, which the catalogue lacks");
            }
        }
    }
}
