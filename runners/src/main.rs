//! `unshare-conformance`: decides whether a Linux kernel implements unshare(2) correctly.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A task of the storm that runs execve runs this very program.
    if let Some(code) = suite::storm::run_if_executed() {
        return code;
    }
    ExitCode::from(runners::cli::main().code())
}
