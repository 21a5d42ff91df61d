//! Builds a guest kernel from a source tree and prints where it is and which options did not take.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(tree) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err("give a kernel source tree".into());
    };
    let cache = vm::cache::Cache::of_user()?;
    let mut progress = |line: &str| eprintln!("{line}");
    let built = vm::build::build(&tree, &[], &[], &cache, &mut progress)?;
    println!("{} ({})", built.kernel.path().display(), built.kernel.release().unwrap_or("no release"));
    for option in built.unmet {
        println!("did not take: {option}");
    }
    Ok(())
}
