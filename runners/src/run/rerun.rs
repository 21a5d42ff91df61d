//! The command that runs one case again in the same place.

use crate::prelude::*;

/// The options of a run that decide what a case meets: the kernel, its guest, what it claims, the tier, the steps of
/// walks. Whoever prints the command adds the case and the seed.
pub fn command(subcommand: Option<&str>, args: &RunArgs) -> String {
    let guest = &args.guest;
    let mut words = Words(vec!["unshare-conformance".to_owned()]);
    words.0.extend(subcommand.map(str::to_owned));
    words.options("--abi", guest.abi);
    words.options("--kernel", &guest.kernel);
    if !guest.kernel.is_empty() {
        words.options("--init", guest.init.iter().map(|path| path.display()));
        words.options("--accel", (guest.accel != AccelArg::Auto).then(|| name_of(&guest.accel)));
        words.options("--cpus", guest.cpus);
        words.options("--memory", [guest.memory]);
        words.options("--kernel-arg", &guest.kernel_arg);
    }
    words.options("--fault", args.fault.map(|fault| &fault.name));
    words.options("--tier", args.how.tier.map(|tier| name_of(&tier)));
    words.options("--steps", args.how.steps);
    words.options("--profile", args.how.profile);
    words.flag("--disturb-host", args.disturb_host);
    // No argument that a process was started with has a NUL, which is all that cannot be quoted.
    shlex::try_join(words.0.iter().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn what_a_case_meets_is_kept_and_nothing_else() {
        let of = |line: &[&str]| command(None, &RunArgs::parse_from(line));
        assert_eq!(of(&["run", "flags.", "-v"]), "unshare-conformance");
        assert_eq!(
            of(&["run", "--kernel", "a b/bzImage", "--cpus", "4", "--tier", "full", "--repeat", "9", "storm."]),
            "unshare-conformance --kernel 'a b/bzImage' --cpus 4 --memory 512 --tier full"
        );
        assert_eq!(of(&["run", "--abi", "i386"]), "unshare-conformance --abi i386");
        assert_eq!(of(&["run", "--profile", "newuts,fs"]), "unshare-conformance --profile 'fs,newuts'");
        assert_eq!(of(&["run", "--steps", "50", "walks."]), "unshare-conformance --steps 50");
        assert_eq!(of(&["run", "--disturb-host", "--seed", "3"]), "unshare-conformance --disturb-host");
    }
}
