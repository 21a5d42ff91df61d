//! Finding and running other programs of this machine.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

/// Receives progress messages, one line at a time.
pub type Progress<'p> = &'p mut dyn FnMut(&str);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    NotStarted(#[from] io::Error),
    /// It failed. With the line that is most likely the reason.
    #[error("{0}")]
    Failed(String),
}

/// The executable file `program` in PATH.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file())
}

/// Runs a command and passes every line it prints to `progress`. If it fails, the reason is the first line for which
/// `is_reason` holds, else the last line.
pub(crate) fn run(
    mut command: Command,
    is_reason: impl Fn(&str) -> bool,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the write ends of the pipe.
    drop(command);
    let (mut reason, mut last) = (None, None);
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        progress(&line);
        if reason.is_none() && is_reason(&line) {
            reason = Some(line.trim().to_owned());
        }
        last = Some(line).filter(|line| !line.is_empty()).or(last);
    }
    judge(child.wait()?, reason.or(last))
}

/// Runs a command and returns its standard output, unless that is redirected. If it fails, the reason is the last line
/// of its standard error.
pub(crate) fn output(mut command: Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    judge(output.status, errors.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn judge(status: ExitStatus, reason: Option<String>) -> Result<(), Failure> {
    if status.success() { Ok(()) } else { Err(Failure::Failed(reason.unwrap_or_else(|| status.to_string()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_path() {
        assert!(in_path("sh").is_some());
        assert!(in_path("no-such-program-anywhere").is_none());
    }
}
