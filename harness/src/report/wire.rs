//! The wire between a guest and its runner: events as JSON, one a line.
//!
//! A serial port carries a few kilobytes in the time a case takes, so what the other side knows is
//! left out: the plan, which it has drawn up itself.

use std::io::{self, Write};

use super::Reporter;
use crate::verdict::event::Event;

/// Writes events for a runner on the other side of a serial port.
#[derive(Debug, Default)]
pub struct Wire;

impl Reporter for Wire {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        // One write: a line is not torn by what else is printed on the same port.
        let mut line = match event {
            // Its own, without the plan: a copy of that would be most of the memory of a guest's suite.
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
