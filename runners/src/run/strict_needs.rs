//! `--strict-needs`: needs that a run must not lack, so that CI gets what it promises.

use harness::case::needs::PLACE;

use crate::prelude::*;

/// The name that stands for every need.
const ALL: &str = "all";

/// Reads the name of a need: that of a feature, `place` or `all`.
pub fn parse(name: &str) -> Result<String, String> {
    let mut names: Vec<&str> = suite::SUITE.features().map(|feature| feature.name).collect();
    names.sort_unstable();
    names.extend([PLACE, ALL]);
    match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("needs are {}", names.join(", "))),
    }
}

/// What counts as a failure, beside a kernel that fails.
#[derive(Args, Debug, Clone, Default)]
pub struct StrictArgs {
    /// Count known kernel bugs and skipped cases as failures, except what an entry of --expectations expects
    #[arg(long)]
    pub strict: bool,
    /// Fail if a case cannot run for want of one of these needs: names as in `absent` of JSON results, `place` for
    /// steps that the place refuses, or `all`. What a case alone finds missing counts under --strict only
    #[arg(long, value_name = "NEED,…", value_delimiter = ',', value_parser = parse)]
    pub strict_needs: Vec<String>,
}

/// Counts the cases that the want of a demanded need cost.
#[derive(Debug)]
pub struct StrictNeeds {
    demanded: Vec<String>,
    /// How many cases each missing need cost.
    cost: BTreeMap<String, u32>,
}

impl StrictNeeds {
    /// Demands these needs, by their names as [`parse`] takes them.
    pub fn new(demanded: &[String]) -> Self {
        Self { demanded: demanded.to_vec(), cost: BTreeMap::new() }
    }

    /// Follows a run.
    pub fn event(&mut self, event: &Event) {
        let Event::CaseFinished { verdict, .. } = event else {
            return;
        };
        for need in &verdict.needs {
            if self.demanded.iter().any(|demanded| demanded == need || demanded == ALL) {
                *self.cost.entry(need.clone()).or_default() += 1;
            }
        }
    }

    /// The needs that were missing and how many cases each cost, in one sentence; none if none was.
    pub fn missing(&self) -> Option<String> {
        let cost: Vec<_> = self.cost.iter().map(|(need, cost)| format!("{need} cost {}", counted(*cost))).collect();
        (!cost.is_empty()).then(|| format!("needs are missing that --strict-needs demands: {}", cost.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::finished;

    fn missing(demanded: &[&str], cases: &[&[&str]]) -> Option<String> {
        let demanded: Vec<_> = demanded.iter().map(|need| parse(need).unwrap()).collect();
        let mut needs = StrictNeeds::new(&demanded);
        for (index, case) in cases.iter().enumerate() {
            let mut verdict = Verdict::not_run(Status::Skip, "");
            verdict.needs = case.iter().map(|need| (*need).to_owned()).collect();
            needs.event(&finished(index, verdict));
        }
        needs.missing()
    }

    #[test]
    fn demanded_needs_that_cost_cases_are_named() {
        let cases: &[&[&str]] = &[&["sandbox", "sys_admin"], &["sys_admin"], &["place"], &[]];
        let told = |cost: &str| Some(format!("needs are missing that --strict-needs demands: {cost}"));
        for (demanded, expected) in [
            (&[][..], None),
            (&["sysv_ipc"], None),
            (&["sys_admin", "sysv_ipc"], told("sys_admin cost 2 cases")),
            (&["place"], told("place cost 1 case")),
            (&["all"], told("place cost 1 case, sandbox cost 1 case, sys_admin cost 2 cases")),
        ] {
            assert_eq!(missing(demanded, cases), expected);
        }
    }

    #[test]
    fn an_unknown_need_is_answered_with_the_names() {
        let error = parse("root").unwrap_err();
        assert!(error.contains("sys_admin") && error.ends_with("place, all"), "{error}");
    }
}
