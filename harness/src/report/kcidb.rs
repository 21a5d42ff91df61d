//! KCIDB's submission format, schema 5.3: one object with a test for each case.
//!
//! KCIDB has no expected failures: a documented bug is PASS, with its reference in `misc`. A pass that
//! an entry of the user's does not expect is FAIL, as it fails the run. A case that was not run is
//! MISS; one that is broken or timed out is ERROR.

use serde_json::{Value, json};

use super::*;

/// Maximum length of a log excerpt in characters.
const EXCERPT: usize = 16384;

/// Who submits, and which build was tested.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The root of the tests in KCIDB's tree.
    pub root: &'static str,
    /// The name of the CI system, `[a-z0-9_]+`.
    pub origin: String,
    /// The ID of the submitted build; by default derived from the kernel's release.
    pub build: Option<String>,
    /// Start of the run in RFC 3339 format; none if a report is made from an older one.
    pub start: Option<String>,
}

/// Writes a KCIDB submission.
#[derive(Debug)]
pub struct Kcidb {
    document: Document,
    submission: Submission,
}

impl Kcidb {
    /// A reporter for that submitter.
    pub fn new(submission: Submission) -> Self {
        Self { document: Document::default(), submission }
    }

    fn tests(&self) -> Vec<Value> {
        let Some(Event::RunStarted { program, facts, seed, tier, .. }) = &self.document.started else {
            return Vec::new();
        };
        let Submission { root, origin, build, start } = &self.submission;
        let build =
            build.clone().unwrap_or_else(|| format!("{origin}:{}_{}", plain(&facts.release), plain(&facts.build)));
        let run = format!("{origin}:{}-{seed}", plain(start.as_ref().unwrap_or(&facts.release)));
        let environment = json!({
            "comment": one_line(&format!("{} {}", facts.release, facts.machine)),
            "misc": {
                "release": one_line(&facts.release),
                "build": one_line(&facts.build),
                "machine": one_line(&facts.machine),
                "program": program,
                "seed": seed,
                "tier": tier.name(),
            },
        });
        let groups = self.document.groups();
        let entries = groups.iter().flat_map(|(_, entries)| entries);
        entries
            .map(|entry| {
                let name = &entry.case.name;
                let mut test = json!({
                    "id": format!("{run}.{name}"),
                    "build_id": build,
                    "origin": origin,
                    "path": format!("{root}.{name}"),
                    "status": status(entry),
                    "comment": one_line(&entry.case.about),
                    "environment": environment,
                    "misc": misc(entry),
                });
                if let Some(start) = start {
                    test["start_time"] = json!(start);
                }
                if !entry.verdict.was_never_reached() {
                    test["duration"] = json!(entry.verdict.duration.as_secs_f64());
                }
                let excerpt = excerpt(entry);
                if !excerpt.is_empty() {
                    test["log_excerpt"] = json!(excerpt);
                }
                test
            })
            .collect()
    }
}

impl Reporter for Kcidb {
    fn event(&mut self, event: &Event, _: &mut dyn Write) -> io::Result<()> {
        self.document.event(event);
        Ok(())
    }

    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.document.complete();
        let submission = json!({ "version": { "major": 5, "minor": 3 }, "tests": self.tests() });
        serde_json::to_writer_pretty(&mut *out, &submission)?;
        writeln!(out)?;
        out.flush()
    }
}

fn status(entry: &Entry) -> &'static str {
    match (entry.outcome, entry.verdict.status) {
        (outcome, _) if outcome.refutes() => "FAIL",
        (Outcome::KnownBug { .. } | Outcome::UnexpectedPass { .. }, _) | (_, Status::Pass) => "PASS",
        _ if entry.verdict.was_never_reached() => "MISS",
        (_, Status::Skip) => "SKIP",
        (_, Status::Fail) => "FAIL",
        (_, Status::TimedOut | Status::Broken) => "ERROR",
    }
}

fn misc(entry: &Entry) -> Value {
    let mut misc = json!({
        "verdict": entry.verdict.status.word(),
        "requirements": entry.case.proves,
        "checks": entry.verdict.checks,
    });
    if !entry.verdict.reason.is_empty() {
        misc["reason"] = json!(one_line(&entry.verdict.reason));
    }
    match entry.outcome {
        Outcome::KnownBug { bug, .. } => misc["known_bug"] = json!(one_line(bug)),
        Outcome::UnexpectedPass { bug, .. } => misc["unexpected_pass"] = json!(one_line(bug)),
        Outcome::AsJudged { .. } => {}
    }
    misc
}

/// The beginning of the diagnostics, as much as fits.
fn excerpt(entry: &Entry) -> String {
    let mut text = diagnostics::yaml(entry).join("\n");
    if let Some((end, _)) = text.char_indices().nth(EXCERPT) {
        text.truncate(end);
    }
    text
}

/// Text for an ID, without characters that are special in paths or shells.
fn plain(text: &str) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = text.chars().map(|c| if usual(c) { c } else { '_' }).collect();
    plain.trim_matches('_').to_owned()
}
