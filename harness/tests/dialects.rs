//! Reports of hostile text: whatever a kernel, a case or a user's machine put into it, a reader of the dialect finds
//! the same cases in the same order with the same results, and no others.
//!
//! The readers below take what the dialects' own parsers take, generously; `ci/consumers` has the real ones read real
//! runs.

mod readers;

use std::time::Duration;

use harness::case::test::Tier;
use harness::place::facts::Facts;
use harness::report::{Json, Junit, Kcidb, Ktap, Lava, Reporter, Submission, Tap, Tap14};
use harness::run::record::{At, FailedCheck};
use harness::verdict::event::{CaseInfo, Event};
use harness::verdict::judge::{Status, Verdict};
use harness::verdict::outcome::{Counts, Outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use readers::Read;

/// A dialect, as a column of [`KINDS`].
#[derive(Clone, Copy)]
enum Dialect {
    Tap,
    Ktap,
    Junit,
    Kcidb,
    Lava,
}

/// What can become of a case: its status, whether a bug is documented, and the words of TAP, KTAP, JUnit, KCIDB, LAVA.
#[derive(Debug)]
struct Kind(Status, bool, [&'static str; 5]);

const KINDS: [Kind; 7] = [
    Kind(Status::Pass, false, ["ok", "ok", "", "PASS", "pass"]),
    Kind(Status::Skip, false, ["ok SKIP", "ok SKIP", "skipped", "SKIP", "skip"]),
    Kind(Status::Fail, false, ["not ok", "not ok", "failure fail", "FAIL", "fail"]),
    Kind(Status::TimedOut, false, ["not ok", "not ok TIMEOUT", "failure timed out", "ERROR", "fail"]),
    Kind(Status::Broken, false, ["not ok", "not ok ERROR", "error broken", "ERROR", "unknown"]),
    Kind(Status::Fail, true, ["not ok TODO", "ok XFAIL", "skipped known kernel bug", "PASS known", "pass"]),
    Kind(Status::Pass, true, ["ok TODO", "ok", "", "PASS", "pass"]),
];

/// Characters that some reader takes for something else.
const CHARACTERS: [char; 14] =
    ['\n', '\r', '\t', ' ', '\0', '\u{85}', '\u{2028}', '\u{202e}', '\u{fffe}', '\u{1ffff}', '"', '\'', '\\', '#'];

/// The same of whole texts.
const SNIPPETS: [&str; 20] = [
    "\r\n",
    "\u{1b}[31m",
    " # SKIP it",
    " # TODO it",
    " # XFAIL",
    "ok 1 - a.b",
    "not ok 2 - c # SKIP",
    "1..0",
    "Bail out! no",
    "  ---\n",
    "  ...\n",
    "...",
    "TAP version 13",
    "Subtest: x",
    "]]></failure>",
    "&amp;<x>",
    "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=x RESULT=pass>",
    "Kernel panic - not syncing: VFS:",
    "reboot: System halted",
    "- a: b",
];

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(&CHARACTERS[..]).prop_map(String::from),
        select(&SNIPPETS[..]).prop_map(str::to_owned),
        ".{0,8}",
        vec(any::<u8>(), 0..8).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn failed(call: String, expected: String, actual: String, task: Option<String>) -> FailedCheck {
    let at = At { file: "suite/src/x.rs".to_owned(), line: 7 };
    FailedCheck { call, expected, actual, requirement: "EFF-01".to_owned(), task, at }
}

fn check() -> impl Strategy<Value = FailedCheck> {
    (hostile(), hostile(), hostile(), proptest::option::of(hostile()))
        .prop_map(|(call, expected, actual, task)| failed(call, expected, actual, task))
}

fn info(name: String, about: String, source: String) -> CaseInfo {
    CaseInfo { name, about: about.into(), proves: vec!["EFF-01".into()], source: source.into(), work: [1; 3] }
}

type Case = (CaseInfo, &'static Kind, Verdict, Outcome);

#[derive(Clone, Debug)]
struct Run {
    cases: Vec<Case>,
    remarks: Vec<String>,
    release: String,
}

fn result() -> impl Strategy<Value = Case> {
    let texts = (hostile(), hostile(), hostile(), hostile());
    let name = "[a-c][a-z0-9_-]{0,3}(\\.[a-z0-9_-]{1,4}){1,2}";
    (name, 0..KINDS.len(), texts, vec(check(), 0..3), vec(hostile(), 0..3)).prop_map(
        |(name, kind, (about, source, reason, bug), failed, notes)| {
            let kind @ &Kind(status, documented, _) = &KINDS[kind];
            let outcome = match (documented, status) {
                (false, _) => Outcome::AS_JUDGED,
                (true, Status::Pass) => Outcome::UnexpectedPass { bug, entry: None },
                (true, _) => Outcome::KnownBug { bug, entry: None },
            };
            let mut verdict = Verdict::not_run(status, reason);
            if status == Status::Fail {
                verdict.failed = failed;
            }
            verdict.notes = notes;
            verdict.duration = Duration::from_micros(1500);
            (info(name, about, source), kind, verdict, outcome)
        },
    )
}

prop_compose! {
    fn run()(
        mut cases in vec(result(), 1..8),
        remarks in vec(hostile(), 0..3),
        release in hostile(),
    ) -> Run {
        // A plan has each name once and groups in one piece.
        cases.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        cases.dedup_by(|a, b| a.0.name == b.0.name);
        cases.sort_by_key(|case| case.0.name.split('.').next().map(str::to_owned));
        Run { cases, remarks, release }
    }
}

impl Run {
    fn events(&self) -> Vec<Event> {
        let mut counts = Counts::default();
        let facts = Facts { release: self.release.clone(), ..Facts::default() };
        let mut events = vec![Event::RunStarted {
            program: "harness 0".to_owned(),
            facts: Box::new(facts),
            plan: self.cases.iter().map(|(case, ..)| case.clone()).collect(),
            seed: 1,
            tier: Tier::Quick,
            repeat: 1,
            part: None,
        }];
        for (index, (_, _, verdict, outcome)) in self.cases.iter().enumerate() {
            counts.add(verdict.status, outcome);
            events.push(Event::CaseFinished { index, verdict: Box::new(verdict.clone()), outcome: outcome.clone() });
        }
        let remarks = self.remarks.iter().cloned();
        events.extend(remarks.map(|text| Event::Remark { text }));
        events.push(Event::RunFinished { counts, interrupted: None, milliseconds: 12 });
        events
    }

    fn report(&self, mut reporter: impl Reporter) -> String {
        written(&self.events(), &mut reporter)
    }

    /// The names, each with what a dialect makes of its kind.
    fn expected(&self, dialect: Dialect) -> Vec<Read> {
        let cases = self.cases.iter();
        cases.map(|(case, kind, ..)| Read::new(&case.name, kind.2[dialect as usize])).collect()
    }
}

fn written(events: &[Event], reporter: &mut dyn Reporter) -> String {
    let mut out = Vec::new();
    for event in events {
        reporter.event(event, &mut out).expect("written");
    }
    reporter.close(&mut out).expect("written");
    String::from_utf8(out).expect("reports are UTF-8")
}

fn kcidb() -> Kcidb {
    Kcidb::new(Submission { root: "harness", origin: "local".to_owned(), build: None, start: None })
}

/// What a reader finds in a report: results and blocks of YAML.
type Found = (Vec<Read>, Vec<String>);

/// A run's report in every dialect with results, and what a reader finds there.
fn reports(run: &Run) -> [(Dialect, String, Found); 6] {
    let of = |dialect, report: String, read: fn(&str) -> Found| {
        let found = read(&report);
        (dialect, report, found)
    };
    [
        of(Dialect::Tap, run.report(Tap::default()), readers::tap),
        of(Dialect::Tap, run.report(Tap14::default()), readers::tap14),
        of(Dialect::Ktap, run.report(Ktap::default()), |report| (readers::ktap(report), Vec::new())),
        of(Dialect::Junit, run.report(Junit::new("harness")), |report| (readers::junit(report), Vec::new())),
        of(Dialect::Kcidb, run.report(kcidb()), |report| (readers::kcidb(report), Vec::new())),
        of(Dialect::Lava, run.report(Lava::default()), |report| (readers::lava(report), Vec::new())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_finds_the_results(run in run()) {
        for (dialect, report, (read, blocks)) in reports(&run) {
            prop_assert_eq!(read, run.expected(dialect), "{}", report);
            prop_assert!(readers::all_are_mappings(&blocks), "{}", report);
        }
    }

    #[test]
    fn failed_checks_survive_yaml(run in run()) {
        let report = run.report(Tap::default());
        let (_, blocks) = readers::tap(&report);
        let checks = run.cases.iter().filter_map(|(_, _, verdict, _)| verdict.failed.first());
        let actuals: Vec<_> = checks.map(|check| check.actual.clone()).collect();
        prop_assert_eq!(readers::fields(&blocks, "actual"), actuals, "{}", report);
    }

    #[test]
    fn json_says_all_and_comes_back(run in run()) {
        let report = run.report(Json::default());
        let lines = report.lines().skip(1);
        let read: Vec<Event> = lines.map(|line| serde_json::from_str(line).expect("an event")).collect();
        let mut events = run.events();
        // The work of a case is for estimates while it runs.
        if let Some(Event::RunStarted { plan, .. }) = events.first_mut() {
            plan.iter_mut().for_each(|case| case.work = [0; 3]);
        }
        prop_assert_eq!(read, events);
    }
}

/// A run whose only case has a megabyte to say.
fn verbose() -> Run {
    let long = "é# SKIP \"x\"\n".repeat(1 << 17);
    let mut verdict = Verdict::not_run(Status::Fail, long.clone());
    verdict.notes = vec![long.clone()];
    verdict.failed = vec![failed("f()".to_owned(), "0".to_owned(), long, None)];
    let case = info("a.b".to_owned(), "x".to_owned(), "y".to_owned());
    Run { cases: vec![(case, &KINDS[2], verdict, Outcome::AS_JUDGED)], remarks: Vec::new(), release: "6.1".to_owned() }
}

#[test]
fn a_megabyte_of_diagnostics_is_one_result() {
    let run = verbose();
    for (dialect, _, (read, blocks)) in reports(&run) {
        assert!(read == run.expected(dialect) && blocks.first().is_none_or(|block| block.len() > 1 << 20));
    }
    let report = run.report(kcidb());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let excerpt = report["tests"][0]["log_excerpt"].as_str().unwrap();
    assert_eq!(excerpt.chars().count(), 16384);
}

#[test]
fn results_that_never_came_are_no_success() {
    let mut run = verbose();
    run.cases[0].2 = Verdict::not_run(Status::Pass, "");
    run.cases[0].1 = &KINDS[0];
    let mut events = run.events();
    events.remove(1);
    assert_eq!(readers::junit(&written(&events, &mut Junit::new("harness"))), [Read::new("a.b", "error broken")]);
    assert_eq!(readers::kcidb(&written(&events, &mut kcidb())), [Read::new("a.b", "MISS")]);
    // The plan of TAP is not met.
    assert!(readers::lines_with(&written(&events, &mut Tap14::default()), "ok ").is_empty());
}
