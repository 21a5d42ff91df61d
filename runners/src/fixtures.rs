//! Events that tests feed to what reads them.

use crate::prelude::*;

/// The start of a run of these cases.
pub fn run_started(release: &str, tier: Tier, plan: Vec<CaseInfo>) -> Event {
    Event::RunStarted {
        program: "p".to_owned(),
        facts: Box::new(Facts { release: release.to_owned(), ..Facts::default() }),
        plan,
        seed: 1,
        tier,
        repeat: 1,
        part: None,
    }
}

/// The end of a case whose verdict is no documented bug.
pub fn finished(index: usize, verdict: Verdict) -> Event {
    Event::CaseFinished { index, verdict: Box::new(verdict), outcome: Outcome::AS_JUDGED }
}

/// A case, as a plan has it.
pub fn case(name: &str, about: &'static str, proves: &[&'static str], work: [u32; 3]) -> CaseInfo {
    let proves = proves.iter().map(|&id| id.into()).collect();
    CaseInfo { name: name.to_owned(), about: about.into(), proves, source: "unshare(2)".into(), work }
}
