//! A file of `--format json`, read back.

use harness::report::SCHEMA;

use crate::prelude::*;

/// A case and its result.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case.
    pub case: CaseInfo,
    /// The verdict; none if the run was cut short before.
    pub result: Option<Judged>,
}

/// A verdict, and whether it is a documented one.
pub type Judged = (Verdict, Outcome);

impl CaseResult {
    /// The verdict, also on a case that the run never came to.
    pub fn judged(&self) -> Judged {
        let never_run = || (Verdict::never_reached("the run was cut short"), Outcome::AS_JUDGED);
        self.result.clone().unwrap_or_else(never_run)
    }
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Results {
    /// The file it was read from.
    pub path: PathBuf,
    /// What ran it.
    pub program: String,
    /// Where.
    pub facts: Facts,
    /// What reproduces it.
    pub seed: u64,
    /// How much was looked at.
    pub tier: Tier,
    /// How often.
    pub repeat: u32,
    /// Which part of a larger run it is.
    pub part: Option<Part>,
    /// The cases, in the order of the plan.
    pub cases: Vec<CaseResult>,
    /// Remarks that belong to no case.
    pub remarks: Vec<String>,
    /// Why the run was given up.
    pub given_up: Option<String>,
    /// Wall time.
    pub milliseconds: u64,
}

impl Results {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Results, WrongInput> {
        let bytes =
            std::fs::read(path).map_err(|error| WrongInput(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(path, &String::from_utf8_lossy(&bytes))
    }

    /// Reads the text of a file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Results, WrongInput> {
        let name = path.display();
        let wrong = |line: usize, what: &str| {
            Err(WrongInput(format!("{name} is not a `--format json` report: line {line} is {what}")))
        };
        let count = text.lines().count();
        let mut lines = text.lines().enumerate();
        let Some((_, head)) = lines.next() else {
            return wrong(1, "missing, the file is empty");
        };
        let head: serde_json::Value = serde_json::from_str(head).unwrap_or_default();
        let Some(found) = head["schema"].as_u64() else {
            return wrong(1, "not {\"schema\":…}");
        };
        if found != u64::from(SCHEMA) {
            return Err(WrongInput(format!(
                "{name} has schema {found}, this program reads schema {SCHEMA}: use the version that wrote it"
            )));
        }
        let mut results: Option<Results> = None;
        let mut is_over = false;
        for (at, line) in lines {
            let last = at + 1 == count && !text.ends_with('\n');
            let event: Event = match serde_json::from_str(line) {
                Ok(event) => event,
                Err(_) if last => break,
                Err(error) => return wrong(at + 1, &format!("not an event ({error})")),
            };
            match (event, &mut results) {
                (Event::RunStarted { program, facts, plan, seed, tier, repeat, part }, None) => {
                    if let Some(Part { shard, .. }) = part
                        && shard.to_string().parse() != Ok(shard)
                    {
                        return wrong(at + 1, &format!("the start of shard {shard}, which cannot exist"));
                    }
                    results = Some(Results {
                        path: path.to_owned(),
                        program,
                        facts: *facts,
                        seed,
                        tier,
                        repeat,
                        part,
                        cases: plan.into_iter().map(|case| CaseResult { case, result: None }).collect(),
                        remarks: Vec::new(),
                        given_up: None,
                        milliseconds: 0,
                    });
                }
                (Event::RunStarted { .. }, Some(_)) => return wrong(at + 1, "the start of a second run"),
                (Event::BailedOut { why }, None) => {
                    return Err(WrongInput(format!("{name} has no results: {why}")));
                }
                // Remarks from before a guest's suite began.
                (Event::Remark { .. }, None) => {}
                (_, None) => return wrong(at + 1, "before the start of a run"),
                (Event::CaseFinished { index, mut verdict, outcome }, Some(results)) => {
                    bounded(&mut verdict);
                    match results.cases.get_mut(index) {
                        Some(case) => case.result = Some((*verdict, outcome)),
                        None => return wrong(at + 1, &format!("for case {index}, which is not in the plan")),
                    }
                }
                (Event::Remark { text }, Some(results)) => results.remarks.push(text),
                (Event::BailedOut { why }, Some(results)) => {
                    results.given_up = Some(why);
                    is_over = true;
                }
                (Event::RunFinished { milliseconds, .. }, Some(results)) => {
                    results.milliseconds = milliseconds.min(LONGEST.as_millis() as u64);
                    is_over = true;
                }
                (Event::CaseStarted { .. } | Event::Alive | Event::Progress { .. }, _) => {}
            }
        }
        match results {
            Some(results) if is_over => Ok(results),
            _ => Err(WrongInput(format!(
                "{name} is incomplete: it ends after line {count}, before the end of the run (was the run killed, or is \
                 it still going on?)"
            ))),
        }
    }

    /// The kernel in a few words.
    pub fn kernel(&self) -> String {
        let facts = &self.facts;
        format!("{} {} {}", facts.release, facts.build, facts.machine)
    }
}

/// The longest time that a result is believed to have taken: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Bounds the duration of a verdict that came from outside, so that durations can be summed up.
pub fn bounded(verdict: &mut Verdict) {
    verdict.duration = verdict.duration.min(LONGEST);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const STARTED: &str = r#"{"event":"run_started","program":"p","facts":{"system":"Linux","release":"6.1","build":"b","machine":"x","version":[6,1,0],"config":null,"sandbox":"privileged","user_namespace_takes_root":false,"uid":0,"uid_outside":0,"capabilities":0,"restrictions":[],"taint":0,"configured":[],"absent":{}},"plan":[{"name":"a.b","about":"","proves":[],"source":""}],"seed":1,"tier":"quick","repeat":1}"#;
    pub const FINISHED: &str = r#"{"event":"run_finished","counts":{"passed":0,"failed":0,"timed_out":0,"known_bugs":0,"unexpected_passes":0,"broken":0,"skipped":0},"interrupted":null,"milliseconds":5}"#;

    fn read(lines: &[&str]) -> Result<Results, String> {
        let text = lines.join("\n");
        Results::parse(Path::new("x.json"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_run_comes_back() {
        let results = read(&["{\"schema\":1}", STARTED, FINISHED, ""]).unwrap();
        assert_eq!(results.cases.len(), 1);
        assert_eq!(results.milliseconds, 5);
    }

    #[test]
    fn what_is_wrong_is_told_in_one_sentence() {
        let finished = r#"{"event":"case_finished","index":7,"verdict":{"status":"pass","checks":1,"duration":{"secs":0,"nanos":0}},"outcome":{"outcome":"as_judged"}}"#;
        let of_guest = r#"{"event":"bailed_out","why":"it never booted"}"#;
        for (lines, expected) in [
            (&[][..], "line 1 is missing, the file is empty"),
            (&["TAP version 13"], "line 1 is not {\"schema\":…}"),
            (&["{\"schema\":2}"], "schema 2"),
            (&["{\"schema\":1}"], "ends after line 1"),
            (&["{\"schema\":1}", STARTED], "ends after line 2"),
            (&["{\"schema\":1}", STARTED, "{\"event\":\"ca"], "ends after line 3"),
            (&["{\"schema\":1}", "{}", ""], "line 2 is not an event"),
            (&["{\"schema\":1}", FINISHED, ""], "line 2 is before the start"),
            (&["{\"schema\":1}", STARTED, STARTED, ""], "line 3 is the start of a second"),
            (&["{\"schema\":1}", STARTED, finished, ""], "line 3 is for case 7"),
            (&["{\"schema\":1}", of_guest, ""], "has no results: it never booted"),
        ] {
            let error = read(lines).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
