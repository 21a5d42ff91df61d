//! `known-bugs` agrees with every kernel that was run (docs/atlas.json, which `ci/atlas` keeps).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

mod driver;

#[derive(Deserialize)]
struct Atlas {
    kernels: Vec<Kernel>,
    failures: Vec<Failure>,
    skips: Vec<Skip>,
    plans: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Kernel {
    release: String,
    /// None of a kernel that could not be run.
    linux: Option<String>,
    /// What was run: a plan, and more.
    plan: Option<String>,
    #[serde(default)]
    beyond: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Failure {
    case: String,
    status: String,
    requirements: Vec<String>,
    kernels: BTreeSet<String>,
    /// Where it did not fail again when it was run by itself.
    #[serde(default)]
    passed_alone: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Skip {
    cases: BTreeSet<String>,
    kernels: BTreeSet<String>,
}

/// What `known-bugs` says of a release.
#[derive(Deserialize)]
struct Listed {
    measured: String,
    bugs: Vec<Bug>,
}

#[derive(Deserialize)]
struct Bug {
    how: String,
    requirement: String,
    cases: Vec<String>,
    by_chance: BTreeSet<String>,
    excused: bool,
}

impl Bug {
    fn names(&self, case: &str) -> bool {
        self.cases.iter().any(|name| {
            let beginning = name.strip_suffix('*').or(name.ends_with('.').then_some(name));
            name == case || beginning.is_some_and(|beginning| case.starts_with(beginning))
        })
    }

    /// Whether this failure is what the entry is about. One that excuses nothing is about all requirements of its kind:
    /// the sweep cites others than the cases do.
    fn explains(&self, failure: &Failure) -> bool {
        let kind = |id: &str| id.rsplit_once('-').map_or(id, |(kind, _)| kind).to_owned();
        let is_own =
            |id: &String| if self.excused { *id == self.requirement } else { kind(id) == kind(&self.requirement) };
        (self.names(&failure.case) || self.by_chance.contains(&failure.case))
            && (!self.excused || failure.status == "fail")
            && failure.requirements.iter().any(is_own)
    }
}

impl Atlas {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/atlas.json");
        let text = std::fs::read_to_string(path).expect("docs/atlas.json is there");
        serde_json::from_str(&text).expect("it is as ci/atlas keeps it")
    }

    /// The kernels that were run, each with its version and its cases.
    fn run(&self) -> impl Iterator<Item = (&str, &str, BTreeSet<&String>)> {
        self.kernels.iter().filter_map(|kernel| {
            let plan = self.plans.get(kernel.plan.as_ref()?).expect("the plan is kept");
            Some((kernel.release.as_str(), kernel.linux.as_deref()?, plan.union(&kernel.beyond).collect()))
        })
    }

    /// The failures of a kernel that came again.
    fn failures_of<'a>(&'a self, kernel: &'a str) -> impl Iterator<Item = &'a Failure> {
        let failures = self.failures.iter();
        failures.filter(move |failure| failure.kernels.contains(kernel) && !failure.passed_alone.contains(kernel))
    }

    fn skipped(&self, kernel: &str, case: &str) -> bool {
        self.skips.iter().any(|skip| skip.kernels.contains(kernel) && skip.cases.contains(case))
    }
}

/// What `known-bugs` says of these releases.
fn known_bugs(releases: &BTreeSet<&str>) -> Vec<Listed> {
    let arguments: Vec<&str> = ["known-bugs", "--format", "json"].into_iter().chain(releases.iter().copied()).collect();
    let text = driver::text(&driver::exits(0, &arguments));
    serde_json::from_str(&text).expect("a list of kernels")
}

#[test]
fn known_bugs_agrees_with_every_run() {
    let atlas = Atlas::read();
    let versions: BTreeSet<&str> = atlas.run().map(|(_, version, _)| version).collect();
    assert!(versions.len() > 10, "{versions:?}");
    let listed: BTreeMap<&str, Listed> = versions.iter().copied().zip(known_bugs(&versions)).collect();
    let mut wrong = Vec::new();
    for (release, version, plan) in atlas.run() {
        let Listed { measured, bugs } = &listed[version];
        if measured != "itself" {
            wrong.push(format!("{version} was run, and `known-bugs` does not know: {measured}"));
        }
        for failure in atlas.failures_of(release) {
            if !bugs.iter().any(|bug| bug.explains(failure)) {
                wrong.push(format!("{release}: no entry explains {} ({:?})", failure.case, failure.requirements));
            }
        }
        for bug in bugs {
            let what = format!("{release}: {} of {:?}", bug.requirement, bug.cases);
            let has_it = atlas.failures_of(release).any(|failure| bug.explains(failure));
            let mut cases = plan.iter().filter(|case| bug.names(case));
            if has_it && bug.how != "measured" {
                wrong.push(format!("{what} was seen, and is {}", bug.how));
            }
            if !has_it && cases.any(|case| !atlas.skipped(release, case)) {
                wrong.push(format!("{what} is listed, and did not occur"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nci/atlas --check says more", wrong.join("\n"));
}
