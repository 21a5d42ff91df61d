//! From a guest to its runner: events as JSON, one per line.
//!
//! A serial port carries a few kilobytes in the time a case takes. So the plan, which the runner knows, is left out.

use super::*;

/// Writes events for a runner on the other side of a serial port.
#[derive(Debug, Default)]
pub struct Wire;

impl Reporter for Wire {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        // One write, so that other output on the port does not split the line.
        let mut line = match event {
            // Without cloning the plan, which would be most of the memory of a guest's suite.
            Event::RunStarted { program, facts, plan: _, seed, tier, repeat, part } => {
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
            event => serde_json::to_vec(event),
        }?;
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()
    }
}
