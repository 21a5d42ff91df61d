//! The files of cases are found by a macro, which cargo does not see through.

fn main() {
    println!("cargo::rerun-if-changed=src/cases");
}
