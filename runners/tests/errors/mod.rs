//! What the program under test says of what is wrong.

use std::process::Output;

/// What it said on its standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
