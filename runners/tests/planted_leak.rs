//! A leak that is planted is found. Alone in its file, since no other test may run beside it: what is
//! counted are the kernel's own objects, which all processes make and leave.

mod program;

use program::run;

#[test]
fn a_planted_leak_is_found() {
    if !(cfg!(target_arch = "x86_64") && nix::unistd::geteuid().is_root()) {
        return;
    }
    let case = "leaks.success.newuts";
    let report = |fault| {
        let output = run(&["run", "--fault", fault, "--exact", case, "--format", "tap"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let good = report("none");
    assert!(
        good.contains("ok 1 -") && !good.contains("not ok"),
        "{good}"
    );
    if good.contains("# SKIP") {
        eprintln!("nothing can be shown here:\n{good}");
        return;
    }
    let leaking = report("namespaces-are-kept");
    assert!(leaking.contains("not ok 1 -"), "{leaking}");
    // Where other processes were busy it skips itself, and is broken by what the stand-in leaves.
    if !leaking.contains("left per call of unshare(CLONE_NEWUTS)") {
        eprintln!("found to be broken only, beside busy processes:\n{leaking}");
    }
}
