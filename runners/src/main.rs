//! `unshare-conformance`: decides whether a Linux kernel implements unshare(2) correctly.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(runners::cli::main().code())
}
