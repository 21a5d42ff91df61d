//! The document's fourth test group: concurrent execution (RACE-01, DIFF-14).

use crate::engines::storm::{THEMES, deep_storm, process_storm, thread_storm};
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 8 (4)";

/// Beside another case the tasks of a round get a CPU one after the other, and few calls meet.
const NEEDS: Needs = Needs::ROOT.alone();
/// The storms watch their own rounds, and say what hangs; this is only the last resort.
const DEADLINE: Duration = Duration::from_secs(900);

case!(Case {
    name: "storm.processes",
    about: "Ten processes that share memory, root and cwd, descriptors, signal handlers and the semaphore undo list \
            start together; two run execve, two _exit, six unshare flags drawn from the seed. Each ends in a state \
            its flags allow, and the starter is untouched.",
    proves: &["RACE-01", "EFF-SEM-03", "EFF-SEM-04", "DIFF-14"],
    run: process_storm,
});

case!(Case {
    name: "storm.threads",
    about: "Ten threads of one process start together and run unshare, exit, and in three rounds of four also execve \
            or _exit, which end all others. What unshared is in a state its flags allow, the rest of the process is \
            untouched, and the process ends as one of them said.",
    proves: &["RACE-01", "RACE-02", "DIFF-14"],
    run: thread_storm,
});

case!(Case {
    name: "storm.deep",
    about: "Two to 64 processes that share memory, root and cwd, descriptors, signal handlers and undo list: some \
            unshare, some execve and _exit, the others do again and again what races with that. Each that unshared \
            ends in a state its flags allow, what the others do succeeds, and the starter is untouched.",
    proves: &["RACE-01"],
    source: "2006 design document, 8 (4); kernel, kernel/fork.c",
    // Some follow others into namespaces that the initial user namespace owns (INT-07).
    needs: NEEDS.with(feature::INITIAL_ROOT),
    work: |tier| if tier == Tier::Quick { 10 } else { 200 },
    quick: one_in(5, 1),
    variants: || THEMES.map(|theme| Variant::new(theme.name, theme)).into(),
    run: |t| deep_storm(t, t.param()),
});
