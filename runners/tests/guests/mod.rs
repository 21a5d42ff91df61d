//! What tests need that boot guests. Where it is missing they fail and say what to run.

use std::path::PathBuf;
use std::process::{Command, Output};

use vm::cache::Cache;
use vm::library::Library;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// The image of a kernel that was fetched.
pub fn fetched(release: &str) -> PathBuf {
    let cache = Cache::of_user().expect("a place for kernels: set HOME");
    let entry = Library::new(cache).find(release);
    match entry.and_then(|entry| entry.image) {
        Some(image) => image,
        None => panic!(
            "this test boots kernel {release}, which is not here: run `unshare-conformance kernels fetch {release}`"
        ),
    }
}

/// That QEMU can be started.
pub fn need_qemu() {
    let started = Command::new("qemu-system-x86_64").arg("--version").output();
    assert!(
        started.is_ok_and(|output| output.status.success()),
        "this test boots guests: install QEMU (Debian: apt-get install qemu-system-x86)"
    );
}

/// What it wrote to standard output.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it wrote to standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
