//! Standard output, written whole and flushed, so that a reader who has gone is noticed.

use crate::prelude::*;

/// Prints a text. The exit status is that of a command which has nothing else to do.
pub fn print(text: impl AsRef<[u8]>) -> Result<ExitStatus> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())?;
    out.flush()?;
    Ok(ExitStatus::Conforms)
}

/// A value as indented JSON, with a line end.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("every key is text") + "\n"
}

/// Whether standard output is a terminal whose user wants colours.
pub fn is_coloured() -> bool {
    io::stdout().is_terminal() && anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}
