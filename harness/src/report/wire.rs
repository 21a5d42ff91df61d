//! From a guest to its runner: events as JSON, one per line.
//!
//! A serial port carries a few kilobytes in the time a case takes, and an emulated one costs its machine a system call
//! for each byte. So the plan, which the runner knows, is left out, and the two events of a case that passes are numbers.

use super::*;

/// Writes events for a runner on the other side of a serial port.
#[derive(Debug, Default)]
pub struct Wire;

impl Reporter for Wire {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        // One write, so that other output on the port does not split the line.
        let mut line = match (Numbers::of(event), event) {
            (Some(numbers), _) => serde_json::to_vec(&numbers),
            // Without cloning the plan, which would be most of the memory of a guest's suite.
            (None, Event::RunStarted { program, facts, plan: _, seed, tier, repeat, part }) => {
                serde_json::to_vec(&Event::RunStarted {
                    program: program.clone(),
                    facts: facts.clone(),
                    plan: Vec::new(),
                    seed: *seed,
                    tier: *tier,
                    repeat: *repeat,
                    part: *part,
                })
            }
            (None, event) => serde_json::to_vec(event),
        }?;
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()
    }
}

/// An event that numbers tell: a case began (its place in the plan), or passed and there is nothing to say (its place, the
/// number of checks, microseconds).
#[derive(Serialize, Deserialize)]
struct Numbers {
    e: Vec<u64>,
}

impl Numbers {
    fn of(event: &Event) -> Option<Self> {
        let event = match event {
            Event::CaseStarted { index } => vec![*index as u64],
            Event::CaseFinished { index, verdict, outcome: Outcome::AsJudged { entry: None } }
                if **verdict == passed(verdict.checks, verdict.duration) =>
            {
                vec![*index as u64, verdict.checks.into(), verdict.duration.as_micros() as u64]
            }
            _ => return None,
        };
        Some(Self { e: event })
    }

    fn event(&self) -> Option<Event> {
        match self.e[..] {
            [index] => Some(Event::CaseStarted { index: index.try_into().ok()? }),
            [index, checks, microseconds] => Some(Event::CaseFinished {
                index: index.try_into().ok()?,
                verdict: Box::new(passed(checks.try_into().ok()?, Duration::from_micros(microseconds))),
                outcome: Outcome::AS_JUDGED,
            }),
            _ => None,
        }
    }
}

fn passed(checks: u32, duration: Duration) -> Verdict {
    Verdict { status: Status::Pass, checks, duration, ..Verdict::default() }
}

/// The event that a line tells, if it is one.
pub fn read(line: &str) -> Option<Event> {
    match serde_json::from_str::<Numbers>(line) {
        Ok(numbers) => numbers.event(),
        Err(_) => serde_json::from_str(line).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_micros(1500);

    #[test]
    fn what_is_written_is_read() {
        let finished =
            |verdict: Verdict, outcome| Event::CaseFinished { index: 7, verdict: Box::new(verdict), outcome };
        let noted = Verdict { notes: vec!["a note".to_owned()], ..passed(3, DURATION) };
        let bug = Outcome::UnexpectedPass { bug: "X".to_owned(), entry: None };
        for (event, expected) in [
            (Event::CaseStarted { index: 1553 }, Some("{\"e\":[1553]}\n")),
            (finished(passed(3, DURATION), Outcome::AS_JUDGED), Some("{\"e\":[7,3,1500]}\n")),
            (finished(noted, Outcome::AS_JUDGED), None),
            (finished(passed(3, DURATION), bug), None),
            (finished(Verdict::not_run(Status::Skip, "no time namespaces"), Outcome::AS_JUDGED), None),
            (Event::Alive, None),
        ] {
            let mut line = Vec::new();
            Wire.event(&event, &mut line).expect("memory");
            let line = String::from_utf8(line).expect("text");
            assert!(expected.is_none_or(|expected| line == expected), "{line}");
            assert_eq!(read(&line), Some(event));
        }
        for line in ["{\"e\":[]}", "{\"e\":[1,2]}", "{\"e\":[-1]}", "{\"e\":1}"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
