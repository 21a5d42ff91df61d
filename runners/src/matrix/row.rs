//! The results of one kernel: its events counted, its failures kept.

use crate::guest::Boot;
use crate::prelude::*;
use crate::results::read::Judged;

/// A group of cases, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How many cases have which result.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long they took together.
    pub milliseconds: u64,
}

impl Group {
    /// How long they took together, in words.
    pub fn seconds(&self) -> String {
        format!("{:.1} s", self.milliseconds as f64 / 1000.0)
    }
}

/// A case that did not come out as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The case.
    pub case: String,
    /// What it is, in a word or two.
    pub status: &'static str,
    /// The first thing that went wrong, in one line.
    pub what: String,
    /// The requirements that are not met, or not decided.
    pub requirement: String,
    /// Where the check stands; empty when it is no check that failed.
    pub at: String,
}

/// One kernel of a matrix.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// What the user calls it.
    pub kernel: String,
    /// Its release, once known.
    pub release: Option<String>,
    /// What executed its guest.
    pub accelerator: Option<&'static str>,
    /// Each group of cases, by name.
    pub groups: BTreeMap<String, Group>,
    /// The cases that did not come out as they should, in the order they came.
    pub failures: Vec<Failure>,
    /// Known bugs that were seen, each with how many cases found it.
    pub known_bugs: BTreeMap<String, u32>,
    /// Why the run was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The exit status of a run of this kernel alone; none if it could not even be tried.
    #[serde(skip)]
    pub status: Option<ExitStatus>,
    /// From its opening to its guest's end.
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// The file that keeps its console, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<PathBuf>,
    /// Its reports.
    pub reports: Vec<PathBuf>,
    /// The cases that were to run.
    #[serde(skip)]
    pub plan: Vec<CaseInfo>,
    /// Their results, as far as they were reported.
    #[serde(skip)]
    pub results: Vec<Option<Judged>>,
}

fn milliseconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(elapsed.as_millis())
}

/// The verdict on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    Conforms,
    ConformsButForKnownBugs,
    DoesNotConform,
    NothingToSay,
    Interrupted,
}

impl Conclusion {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Conclusion::Conforms => "conforms",
            Conclusion::ConformsButForKnownBugs => "conforms but for known bugs",
            Conclusion::DoesNotConform => "does not conform",
            Conclusion::NothingToSay => "inconclusive",
            Conclusion::Interrupted => "interrupted",
        }
    }
}

impl Row {
    /// A kernel of which nothing is known yet.
    pub fn new(kernel: &str) -> Self {
        Self { kernel: kernel.to_owned(), ..Self::default() }
    }

    /// Takes what is known of a kernel before its guest is started.
    pub fn booted(&mut self, boot: &Boot) {
        self.release = boot.kernel.release().map(str::to_owned);
        self.accelerator = Some(boot.accelerator());
        self.console = Some(boot.console.clone());
    }

    /// Takes an event of its run.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { plan, facts, .. } => {
                self.plan.clone_from(plan);
                self.results = vec![None; plan.len()];
                self.release = Some(facts.release.clone());
            }
            Event::CaseFinished { index, verdict, outcome } => self.finished(*index, verdict, outcome),
            Event::BailedOut { why } => self.why = Some(one_line(why)),
            _ => {}
        }
    }

    fn finished(&mut self, index: usize, verdict: &Verdict, outcome: &Outcome) {
        let Some(case) = self.plan.get(index) else {
            return;
        };
        self.results[index] = Some((verdict.clone(), outcome.clone()));
        let group = case.name.split('.').next().unwrap_or_default().to_owned();
        let group = self.groups.entry(group).or_default();
        group.counts.add(verdict.status, outcome);
        group.milliseconds += u64::try_from(verdict.duration.as_millis()).unwrap_or(u64::MAX);
        match (outcome, verdict.status) {
            (Outcome::KnownBug { bug, .. }, _) => *self.known_bugs.entry(one_line(bug)).or_default() += 1,
            (Outcome::UnexpectedPass { bug, entry }, _) => {
                let listed = if entry.is_some() { "" } else { "this kernel is listed with the bug: " };
                let what = format!("passed, although {listed}{}", one_line(bug));
                self.failures.push(Failure { status: "unexpected pass", what, ..failure(case, verdict) });
            }
            (Outcome::AsJudged { .. }, Status::Pass | Status::Skip) => {}
            (Outcome::AsJudged { .. }, _) => self.failures.push(failure(case, verdict)),
        }
    }

    /// Its cases that have a result, each with its place in the plan.
    pub fn judged(&self) -> impl Iterator<Item = (usize, &CaseInfo, &Judged)> {
        let cases = self.plan.iter().zip(&self.results).enumerate();
        cases.filter_map(|(index, (case, result))| Some((index, case, result.as_ref()?)))
    }

    /// All groups together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.judged().for_each(|(.., (verdict, outcome))| total.add(verdict.status, outcome));
        total
    }

    /// The exit status of a run of this kernel alone.
    pub fn exit_status(&self) -> ExitStatus {
        self.status.unwrap_or(ExitStatus::NothingToSay)
    }

    /// The verdict on this kernel.
    pub fn conclusion(&self) -> Conclusion {
        match self.exit_status() {
            ExitStatus::Conforms if self.known_bugs.is_empty() => Conclusion::Conforms,
            ExitStatus::Conforms => Conclusion::ConformsButForKnownBugs,
            ExitStatus::DoesNotConform => Conclusion::DoesNotConform,
            ExitStatus::NothingToSay | ExitStatus::Usage => Conclusion::NothingToSay,
            ExitStatus::Interrupted { .. } => Conclusion::Interrupted,
        }
    }
}

fn failure(case: &CaseInfo, verdict: &Verdict) -> Failure {
    let (requirement, at) = match verdict.failed.first() {
        Some(check) => (check.requirement.clone(), check.at.to_string()),
        None => (case.proves.join(", "), String::new()),
    };
    let what = one_line(&verdict.cause());
    Failure { case: case.name.clone(), status: verdict.status.word(), what, requirement, at }
}
