//! The program under test, run as a user runs it.

use std::process::{Command, Output};

/// Its file.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// What it said on its standard error.
// Each test of its own takes what it needs of this.
#[allow(dead_code)]
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
