//! JUnit's XML, as GitLab, GitHub actions and Jenkins read it: a suite for each group of cases.
//!
//! A documented bug is `skipped` with its reference, as pytest writes an expected failure; a case that is broken or was
//! not run is an `error`.

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::*;

/// Writes JUnit's XML.
#[derive(Debug)]
pub struct Junit {
    name: &'static str,
    document: Document,
}

impl Reporter for Junit {
    fn event(&mut self, event: &Event, _: &mut dyn Write) -> io::Result<()> {
        self.document.event(event);
        Ok(())
    }

    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.document.complete();
        let text = self.report().to_string().map_err(io::Error::other)?;
        out.write_all(as_jenkins_has_it(text).as_bytes())?;
        out.flush()
    }
}

/// Removes the total of skipped cases at the root: Jenkins' schema has it for suites only.
fn as_jenkins_has_it(xml: String) -> String {
    let root = xml.split_once("<testsuites ").and_then(|(before, rest)| Some((before, rest.split_once('>')?)));
    let Some((before, (root, after))) = root else { return xml };
    let kept: Vec<_> = root.split(' ').filter(|attribute| !attribute.starts_with("skipped=")).collect();
    format!("{before}<testsuites {}>{after}", kept.join(" "))
}

impl Junit {
    /// A reporter whose reports have this name.
    pub fn new(name: &'static str) -> Self {
        Self { name, document: Document::default() }
    }

    fn report(&self) -> Report {
        let document = &self.document;
        let mut report = Report::new(self.name);
        report.set_time(Duration::from_millis(document.milliseconds));
        let properties = properties(document.started.as_ref());
        for (name, entries) in document.groups() {
            let mut suite = TestSuite::new(name.as_str());
            suite.add_properties(properties.iter().cloned());
            suite.set_time(entries.iter().map(|entry| entry.verdict.duration).sum());
            suite.add_test_cases(entries.iter().map(|entry| test_case(&name, entry)));
            report.add_test_suite(suite);
        }
        // What belongs to no case, and a run that says nothing of any.
        if document.given_up.is_some() || !document.remarks.is_empty() {
            let mut suite = TestSuite::new("run");
            if let Some(why) = &document.given_up {
                let mut case = TestCase::new("run", failure(NonSuccessKind::Error, "given up", why));
                case.set_classname("run");
                suite.add_test_case(case);
            }
            let told: Vec<_> = document.remarks.iter().map(|text| one_line(text)).collect();
            suite.set_system_out(told.join("\n"));
            report.add_test_suite(suite);
        }
        report
    }
}

fn properties(started: Option<&Event>) -> Vec<Property> {
    let property = |line: String| {
        let (name, value) = line.split_once(": ").unwrap_or(("run", &line));
        Property::new(one_line(name), one_line(value))
    };
    started.into_iter().flat_map(head).map(property).collect()
}

fn test_case(group: &str, entry: &Entry) -> TestCase {
    let verdict = entry.verdict;
    let mut case = TestCase::new(entry.case.name.as_str(), status(entry));
    case.set_classname(group);
    case.set_time(verdict.duration);
    case.set_system_out(system_out(entry));
    case
}

/// The schemas of Jenkins and GitLab have no properties of cases.
fn system_out(entry: &Entry) -> String {
    let mut lines = vec![format!("requirements: {}", entry.case.proves.join(", "))];
    if entry.verdict.status == Status::Pass {
        lines.extend(entry.verdict.notes.iter().flat_map(|note| note_lines(note)));
    }
    lines.join("\n")
}

fn status(entry: &Entry) -> TestCaseStatus {
    let &Entry { verdict, outcome, .. } = entry;
    let mut status = match (outcome, verdict.status) {
        (Outcome::KnownBug { bug, .. }, _) => told(TestCaseStatus::skipped(), "known kernel bug", bug),
        (Outcome::UnexpectedPass { bug, entry: Some(_) }, _) => {
            failure(NonSuccessKind::Failure, "unexpected pass", bug)
        }
        (Outcome::UnexpectedPass { .. }, _) => TestCaseStatus::success(),
        (_, Status::Pass) => return TestCaseStatus::success(),
        (_, Status::Skip) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(one_line(&verdict.reason));
            return status;
        }
        (_, Status::Fail | Status::TimedOut) => {
            failure(NonSuccessKind::Failure, verdict.status.word(), &verdict.reason)
        }
        (_, Status::Broken) => failure(NonSuccessKind::Error, verdict.status.word(), &verdict.reason),
    };
    status.set_description(diagnostics::yaml(entry).join("\n"));
    status
}

fn failure(kind: NonSuccessKind, what: &str, why: &str) -> TestCaseStatus {
    told(TestCaseStatus::non_success(kind), what, why)
}

fn told(mut status: TestCaseStatus, what: &str, why: &str) -> TestCaseStatus {
    status.set_type(what).set_message(one_line(why));
    status
}
