//! What runs, in which order, and what is skipped and why.

use crate::case::needs::Unmet;
use crate::common::*;

/// The cases that a user asked for.
///
/// ```
/// use harness::case::test::Tier;
/// use harness::run::plan::Selection;
/// let of_group = Selection { filters: vec!["flags.".into()], ..Selection::default() };
/// assert!(of_group.includes("flags.zero") && !of_group.includes("storm.ten"));
/// assert!(of_group.reaches("flags.zero", Tier::Full, Tier::Exhaustive));
/// assert!(!of_group.reaches("flags.zero", Tier::Full, Tier::Quick));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names must contain one of these; empty means all.
    pub filters: Vec<String>,
    /// Filters are whole names.
    pub exact: bool,
    /// Names must contain none of these.
    pub skip: Vec<String>,
}

impl Selection {
    /// Whether a case of this name was asked for.
    pub fn includes(&self, name: &str) -> bool {
        let wanted = self.filters.is_empty() || self.filters.iter().any(|filter| self.means(filter, name));
        wanted && !self.skip.iter().any(|pattern| name.contains(pattern.as_str()))
    }

    /// Whether one of the filters means a case of this name, skipped or not.
    pub fn means(&self, filter: &str, name: &str) -> bool {
        if self.exact { name == filter } else { name.contains(filter) }
    }

    /// Whether a case of this name, which belongs to the tiers from `from` on, runs in `tier`. A case given by its full
    /// name runs in every tier.
    pub fn reaches(&self, name: &str, from: Tier, tier: Tier) -> bool {
        from <= tier || self.filters.iter().any(|filter| name == filter)
    }
}

/// One entry of a plan.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What to run.
    pub item: Item,
    /// The verdict, if it is known without running: a need is not met.
    pub verdict: Option<Verdict>,
}

/// Decides for each item whether it can run here. If a feature is missing that the kernel's configuration promises, its
/// cases are broken rather than skipped: a skip that nobody expects is a hole in the proof.
pub fn plan(suite: &Suite, items: Vec<Item>, facts: &Facts, may_disturb_host: bool) -> Vec<Planned> {
    let planned = |item: Item| {
        let unmet = item.needs().unmet(suite, facts, may_disturb_host);
        let verdict = (!unmet.is_empty()).then(|| unmet_verdict(&unmet, &facts.configured));
        Planned { item, verdict }
    };
    items.into_iter().map(planned).collect()
}

fn unmet_verdict(unmet: &[Unmet], promised: &[String]) -> Verdict {
    let is_promised = |unmet: &&Unmet| unmet.feature.is_some_and(|feature| promised.iter().any(|name| name == feature));
    let reasons = |unmet: Vec<&Unmet>| unmet.iter().map(|unmet| &*unmet.reason).collect::<Vec<_>>().join("; ");
    let broken: Vec<_> = unmet.iter().filter(is_promised).collect();
    let verdict = match broken.is_empty() {
        true => Verdict::not_run(Status::Skip, reasons(unmet.iter().collect())),
        false => Verdict::not_run(Status::Broken, format!("promised but missing: {}", reasons(broken))),
    };
    let needs = unmet.iter().filter_map(|unmet| Some(unmet.feature?.to_owned())).collect();
    Verdict { needs, ..verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::case::needs::{Feature, Needs};

    #[test]
    fn filters_are_substrings_unless_exact() {
        let selection = |filters: &[&str], exact, skip: &[&str]| Selection {
            filters: filters.iter().map(|&f| f.to_owned()).collect(),
            exact,
            skip: skip.iter().map(|&s| s.to_owned()).collect(),
        };
        assert!(selection(&[], false, &[]).includes("a.b"));
        assert!(selection(&["x", "b"], false, &[]).includes("a.b"));
        assert!(!selection(&["x", "b"], true, &[]).includes("a.b"));
        assert!(selection(&["a.b"], true, &[]).includes("a.b"));
        assert!(!selection(&["a"], false, &[".b"]).includes("a.b"));
    }

    #[test]
    fn a_promise_that_is_not_kept_is_broken() {
        let mut case = Case::declared_at("x.rs", 1);
        case.name = "a.b";
        case.needs = Needs::NONE.with(Feature::SYSV_IPC);
        let status = |facts: &Facts| {
            let plan = plan(&Suite::PLAIN, case::items(Box::leak(Box::new([case]))), facts, false);
            plan[0].verdict.as_ref().map(|verdict| {
                assert_eq!(verdict.needs, ["sysv_ipc"]);
                verdict.status
            })
        };
        let mut facts = Facts::default();
        facts.absent.insert("sysv_ipc".to_owned(), "no IPC".to_owned());
        assert_eq!(status(&facts), Some(Status::Skip));
        facts.configured.push("sysv_ipc".to_owned());
        assert_eq!(status(&facts), Some(Status::Broken));
        facts.absent.clear();
        assert_eq!(status(&facts), None);
    }
}
