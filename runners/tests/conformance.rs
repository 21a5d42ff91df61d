//! The cases as `cargo test` and `cargo nextest run` see them: each Trial runs its case in a process
//! of its own, skips are shown as ignored with their reason. The quick tier: ci/test runs the full one
//! once, in one process, after this.

mod driver;

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

#[derive(Deserialize)]
struct Listed {
    name: String,
    unmet: Option<Vec<String>>,
}

fn main() {
    let arguments = Arguments::from_args();
    // nextest starts this program once for each case; only a listing has to know what can run.
    let single = arguments.exact && !arguments.list && arguments.filter.is_some();
    let listed = if single {
        let name = arguments.filter.clone().unwrap_or_default();
        vec![Listed { name, unmet: None }]
    } else {
        list()
    };
    let trials = listed.into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn list() -> Vec<Listed> {
    serde_json::from_slice(&driver::run(&["list", "--format", "json"]).stdout).expect("the list is JSON")
}

fn trial(listed: Listed) -> Trial {
    let Listed { name, unmet } = listed;
    let ignored = unmet.is_some();
    let kind = unmet.unwrap_or_default().join("; ");
    Trial::test(name.clone(), move || run(&name)).with_ignored_flag(ignored).with_kind(kind)
}

fn run(name: &str) -> Result<(), Failed> {
    let output = driver::run(&["run", "--exact", name, "--format", "tap", "--jobs", "1", "--tier", "quick"]);
    let text = driver::text(&output);
    match output.status.code() {
        Some(0) => Ok(()),
        // A skip that only the case itself can decide is not a failure, and libtest has no word for it.
        Some(125) if text.contains("# SKIP ") => Ok(()),
        _ => Err((text + &driver::errors(&output)).into()),
    }
}
