//! Writes `src/cases.rs`, the list of the files of cases, when a file has come or gone. The list is checked in and not
//! found by a macro, so that rustfmt and every other tool that reads sources sees the cases as it sees all other code;
//! it is written here, so that adding a file of cases touches that file alone.

use std::fmt::Write as _;
use std::path::Path;

const LIST: &str = "src/cases.rs";
const HEAD: &str = "\
//! The cases, a folder for each group. The first component of a case's name is its group.
//!
//! Written by `build.rs` from the files below `src/cases/`: add a file there, and build.

/// Every case of the suite, in no particular order.
pub fn all() -> &'static [harness::case::Case] {
    &harness::case::CASES
}

";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=src/cases");
    let mut list = HEAD.to_owned();
    write_modules(Path::new("src/cases"), "", &mut list)?;
    if std::fs::read_to_string(LIST).ok().as_ref() != Some(&list) {
        std::fs::write(LIST, list)?;
    }
    Ok(())
}

fn write_modules(folder: &Path, indent: &str, list: &mut String) -> std::io::Result<()> {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for path in entries {
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            writeln!(list, "{indent}mod {name} {{").expect("a string takes all");
            write_modules(&path, &format!("{indent}    "), list)?;
            writeln!(list, "{indent}}}").expect("a string takes all");
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            writeln!(list, "{indent}mod {name};").expect("a string takes all");
        }
    }
    Ok(())
}
