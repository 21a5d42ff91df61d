//! What packages install beside the program: completions and manual pages, made from its command line.

use clap::Command;
use clap_complete::Shell;

use crate::prelude::*;

/// Prints the completions of a shell.
pub fn completions(shell: Shell, mut command: Command) -> Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "unshare-conformance", &mut script);
    stdout::print(script)
}

/// Prints the manual page, or writes one for each command into a directory.
pub fn man(directory: Option<&Path>, command: Command) -> Result<ExitStatus> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return stdout::print(page);
    };
    // Only the last part of the path is made: a missing parent was probably misspelt.
    let made = match std::fs::create_dir(directory) {
        Err(_) if directory.is_dir() => Ok(()),
        made => made,
    };
    made.and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(Unwritable::new("the directory", directory))?;
    Ok(ExitStatus::Conforms)
}
