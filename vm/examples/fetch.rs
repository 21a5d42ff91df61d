//! Fetches kernels by release through apt and prints where each is: `fetch 5.10.223 6.12`. Without a release, lists
//! them all.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let library = vm::library::Library::new(vm::cache::Cache::of_user()?);
    let mut progress = |line: &str| eprintln!("{line}");
    let releases: Vec<String> = std::env::args().skip(1).collect();
    for release in &releases {
        let entry = library.fetch(release, &mut progress)?;
        println!("{} {} {:?}", entry.release, entry.version, entry.image);
    }
    if releases.is_empty() {
        for entry in library.list(&mut progress)? {
            println!("{} {} {:?}", entry.release, entry.version, entry.image);
        }
    }
    Ok(())
}
