//! The program under test, run as a user runs it.

use std::process::{Command, Output};

/// Its file.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program runs")
}
