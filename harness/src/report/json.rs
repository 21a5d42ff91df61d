//! One event per line, complete: the input of comparisons and of other reports.

use super::*;

/// Version of the schema; raised when a reader of an older version would misread events.
pub const SCHEMA: u32 = 1;

/// Writes each event as a line of JSON. The first line names the schema's version.
#[derive(Debug, Default)]
pub struct Json {
    begun: bool,
}

impl Reporter for Json {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        if matches!(event, Event::Alive | Event::Progress { .. }) {
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            writeln!(out, "{{\"schema\":{SCHEMA}}}")?;
        }
        serde_json::to_writer(&mut *out, event)?;
        writeln!(out)?;
        out.flush()
    }
}
