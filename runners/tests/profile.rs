//! Kernels that claim part of the call: `--profile`.

mod driver;

use driver::*;
use suite::spec::flags::Flags;

fn main() {
    conclude(
        trials![
            as_root an_unclaimed_flag_that_works_is_a_failure,
            as_root a_kernel_that_refuses_what_it_does_not_claim_conforms,
            as_root a_claimed_flag_that_is_refused_is_a_failure,
            anywhere what_needs_an_unclaimed_kind_is_skipped,
            anywhere a_wrong_profile_is_reported,
        ],
        true,
    );
}

/// A profile of all flags that Linux 6 has but one.
fn all_but(flag: Flags) -> String {
    let claimed = Flags::KNOWN.into_iter().filter(|known| ![flag, Flags::EMPTY].contains(known));
    claimed.map(Flags::slug).collect::<Vec<_>>().join(",")
}

const ONE: [&str; 4] = ["--format", "tap", "--exact", "flags.returns_once.newuts"];

fn an_unclaimed_flag_that_works_is_a_failure() {
    let profile = all_but(Flags::NEWUTS);
    let output = exits(1, &[&["--profile", &profile], &ONE[..]].concat());
    for line in [
        "  call: unshare(CLONE_NEWUTS)\n  expected: EINVAL\n  actual: 0",
        "CLONE_NEWUTS is not claimed by the profile, yet the call succeeds: claim it or refuse it",
    ] {
        assert!(text(&output).contains(line), "{}", text(&output));
    }
}

fn a_kernel_that_refuses_what_it_does_not_claim_conforms() {
    for flag in [Flags::NEWUTS, Flags::FS, Flags::NEWUSER] {
        let (profile, fault) = (all_but(flag), format!("refuses-{}", flag.slug()));
        let arguments = ["--tier", "quick", "--profile", &profile, "--fault", &fault];
        exits(0, &[&arguments[..], &["flags.", "separation.fs", "separation.user", "implied.", "sweep."]].concat());
    }
}

fn a_claimed_flag_that_is_refused_is_a_failure() {
    let arguments = ["--profile", &all_but(Flags::NEWIPC), "--fault", "refuses-newuts"];
    expect(&[&arguments[..], &ONE].concat(), 1, "  expected: success\n  actual: EINVAL");
}

fn what_needs_an_unclaimed_kind_is_skipped() {
    let arguments = ["--profile", "fs,files", "--exact", "separation.namespaces.links.newuts", "--format", "tap"];
    expect(&arguments, 125, "CLONE_NEWUTS is not claimed by the profile");
}

fn a_wrong_profile_is_reported() {
    expect(&["--profile", "fs,newtme"], 129, "\"newtme\" is no flag of unshare(2): there are newtime, vm, fs,");
    expect(&["--profile", "missing.toml"], 129, "missing.toml: No such file");
}
