//! The command that runs one case again in the same place.

use crate::cli::args::{AccelArg, RunArgs, name_of};

/// The options of a run that decide what a case meets: the kernel, its guest, the tier. Whoever prints the
/// command adds the case and the seed.
pub fn command(subcommand: Option<&str>, args: &RunArgs) -> String {
    let mut words = vec!["unshare-conformance".to_owned()];
    words.extend(subcommand.map(str::to_owned));
    let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    let guest = &args.guest;
    for kernel in &guest.kernel {
        option("--kernel", kernel);
    }
    if !guest.kernel.is_empty() {
        if guest.accel != AccelArg::Auto {
            option("--accel", &name_of(&guest.accel));
        }
        if let Some(cpus) = guest.cpus {
            option("--cpus", &cpus.to_string());
        }
        option("--memory", &guest.memory.to_string());
        for word in &guest.kernel_arg {
            option("--kernel-arg", word);
        }
    }
    if let Some(fault) = args.fault {
        option("--fault", &fault.name);
    }
    if let Some(tier) = args.how.tier {
        option("--tier", &name_of(&tier));
    }
    if args.disturb_host {
        words.push("--disturb-host".to_owned());
    }
    // No argument that a process was started with has a NUL, which is all that cannot be quoted.
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn of(line: &[&str]) -> String {
        let matches = <RunArgs as clap::Args>::augment_args(clap::Command::new("run"));
        let matches = matches.get_matches_from(line);
        command(None, &RunArgs::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn what_a_case_meets_is_kept_and_nothing_else() {
        assert_eq!(of(&["run", "flags.", "-v"]), "unshare-conformance");
        assert_eq!(
            of(&["run", "--kernel", "a b/bzImage", "--cpus", "4", "--tier", "full", "--repeat", "9", "storm."]),
            "unshare-conformance --kernel 'a b/bzImage' --cpus 4 --memory 512 --tier full"
        );
        assert_eq!(of(&["run", "--disturb-host", "--seed", "3"]), "unshare-conformance --disturb-host");
    }
}
