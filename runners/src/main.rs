//! `unshare-conformance`: decides whether a Linux kernel implements unshare(2) correctly.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Started by a kernel and nothing else: this never comes back.
    if let Some(code) = runners::guest::inside::run_if_init() {
        return code;
    }
    // A task of the storm that runs execve runs this very program.
    suite::engines::walk::run_if_executed();
    if let Some(code) = suite::engines::storm::run_if_executed() {
        return code;
    }
    ExitCode::from(runners::cli::main().code())
}
