//! `git bisect run` with this program, over a repository whose commits choose the kernel.

mod driver;

use std::path::Path;
use std::process::Command;

use driver::{PROGRAM, errors, fetched, need_qemu, text};

/// Fails on 5.10.223, where a call that fails late leaves traces, and passes on 6.1.
const CASE: &str = "atomicity.newns.refused_pid";

/// What a commit holds: the kernel, and a word for its command line.
struct Commit {
    kernel: String,
    parameter: &'static str,
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(repository)
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
        .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"])
        .args(arguments)
        .output()
        .expect("git is installed (Debian: apt-get install git)");
    assert!(output.status.success(), "git {arguments:?}: {}{}", text(&output), errors(&output));
    text(&output)
}

#[test]
fn a_bisection_ends_at_the_commit_that_broke_it() {
    need_qemu();
    let good = fetched("6.1");
    let bad = fetched("5.10");
    let directory = tempfile::tempdir().expect("a directory");
    let repository = directory.path().join("linux");
    std::fs::create_dir(&repository).expect("a directory");

    let commit = |kernel: &Path, parameter| Commit { kernel: kernel.to_str().expect("UTF-8").to_owned(), parameter };
    let works = "nothing.special";
    let commits = [
        commit(&good, works),
        commit(&good, works),
        commit(&good, works),
        // Kernels that find no init, and panic.
        commit(&good, "rdinit=/nowhere"),
        commit(&good, "rdinit=/elsewhere"),
        commit(&good, works),
        commit(&bad, works),
        commit(&bad, works),
        commit(&bad, works),
    ];
    let first_bad = 6;
    let unbootable = [3, 4];

    git(&repository, &["init", "-q"]);
    let mut hashes = Vec::new();
    for (index, Commit { kernel, parameter }) in commits.iter().enumerate() {
        for (name, content) in [("kernel", kernel.as_str()), ("parameter", parameter), ("number", &index.to_string())] {
            std::fs::write(repository.join(name), content).expect("written");
        }
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "-qm", &format!("commit {index}")]);
        hashes.push(git(&repository, &["rev-parse", "HEAD"]).trim().to_owned());
    }

    git(&repository, &["bisect", "start", "HEAD", &hashes[0]]);
    let script = format!(
        "exec '{PROGRAM}' --kernel \"$(cat kernel)\" --kernel-arg \"$(cat parameter)\" --strict --exact {CASE}"
    );
    let said = git(&repository, &["bisect", "run", "sh", "-c", &script]);
    assert!(said.contains(&format!("{} is the first bad commit", hashes[first_bad])), "{said}");
    let log = git(&repository, &["bisect", "log"]);
    let skipped: Vec<&String> = hashes.iter().filter(|hash| log.contains(&format!("git bisect skip {hash}"))).collect();
    assert!(!skipped.is_empty(), "none that does not boot was tried: {log}");
    assert!(skipped.iter().all(|hash| unbootable.iter().any(|&index| hashes[index] == **hash)), "{log}");
}
