//! `git bisect run` with this program, over a repository whose commits choose the kernel.

mod driver;

use driver::*;

/// Fails on [`OLD`], where a call that fails late leaves traces, and passes on 6.1.
const CASE: &str = "atomicity.newns.refused_pid";

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
    let bad = fetched(OLD);
    let place = Place::new();
    let repository = PathBuf::from(place.file("."));

    // What a commit holds: the kernel, and a word for its command line.
    let works = "nothing.special";
    let mut commits = [(&good, works); 9];
    let first_bad = 6;
    commits[first_bad..].fill((&bad, works));
    // Kernels that find no init, and panic.
    let unbootable = [3, 4];
    (commits[3].1, commits[4].1) = ("rdinit=/nowhere", "rdinit=/elsewhere");

    git(&repository, &["init", "-q"]);
    let mut hashes = Vec::new();
    for (index, (kernel, parameter)) in commits.iter().enumerate() {
        place.write("kernel", kernel.display().to_string());
        place.write("parameter", parameter);
        place.write("number", index.to_string());
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
