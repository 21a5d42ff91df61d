//! What packages install beside the program: completions and manual pages, made from its command line.

use std::io::{self, Write};
use std::path::Path;

use clap_complete::Shell;
use harness::verdict::outcome::ExitStatus;

use crate::cli;
use crate::files::Unwritable;

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(shell: Shell) -> anyhow::Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "unshare-conformance", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(ExitStatus::Conforms)
}

/// Prints the manual page, or writes one for each command into a directory.
///
/// # Errors
/// A page cannot be written.
pub fn man(directory: Option<&Path>) -> anyhow::Result<ExitStatus> {
    match directory {
        Some(directory) => {
            // No more than the last of its path: the rest was misspelt if it is not there.
            let made = match std::fs::create_dir(directory) {
                Err(_) if directory.is_dir() => Ok(()),
                made => made,
            };
            made.and_then(|()| clap_mangen::generate_to(cli::command(), directory))
                .map_err(Unwritable::new("the directory", directory))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(cli::command()).render(&mut page)?;
            let mut out = io::stdout().lock();
            out.write_all(&page)?;
            out.flush()?;
        }
    }
    Ok(ExitStatus::Conforms)
}
