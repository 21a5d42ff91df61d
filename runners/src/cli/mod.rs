//! The command line: every command by name, and which function runs it.
//!
//! This file knows every command and no command knows it. What commands need of the command line
//! stands in [`args`], [`exit`] and [`stdout`].

pub mod args;
pub mod exit;
pub mod stdout;

use clap::{CommandFactory, Parser};

use crate::catalogue::{coverage, documents, list};
use crate::kernels::{self, image};
use crate::prelude::*;
use crate::program;
use crate::results::{self, merge};
use crate::run::{host, rerun};
use crate::{fault_matrix, guest, matrix};
use args::{Place, RunArgs};
use exit::{Contradiction, Result};

const EXAMPLES: &str = "\
Examples:
  unshare-conformance                       the whole suite on this machine's kernel
  unshare-conformance flags. implied.       two of its groups
  unshare-conformance --exact NAME -v       one case, in full detail
  unshare-conformance --kernel bzImage      a kernel of yours, in a guest
  unshare-conformance matrix --kernel 6.1 --kernel bzImage
  prove --exec 'unshare-conformance --format tap' flags. storm.
  unshare-conformance storm. --repeat 20 --seed 7
  unshare-conformance storm. --duration 1h --repeat-until-failure
  unshare-conformance --write-expectations engine.toml
  unshare-conformance --expectations engine.toml

Exit status:
  0    every case that ran passed (documented kernel bugs allowed, unless --strict), or came out as
       --expectations says
  1    the kernel does not conform, or a case passed that --expectations says does not
  125  inconclusive (git bisect run skips such a commit)
  129  wrong command line or unreadable input
  130, 143  interrupted";

const COMPLETIONS: &str = "\
Examples:
  unshare-conformance completions bash > /etc/bash_completion.d/unshare-conformance
  unshare-conformance completions zsh > ~/.zfunc/_unshare-conformance
  unshare-conformance completions fish > ~/.config/fish/completions/unshare-conformance.fish";

/// Decides whether a Linux kernel implements unshare(2) correctly.
#[derive(Debug, Parser)]
#[command(name = "unshare-conformance", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases (the default)
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArgs>),
    /// List the cases
    List(list::ListArgs),
    /// Show which cases prove each requirement, or why none does
    Coverage(coverage::CoverageArgs),
    /// Find, fetch and build kernels that a guest can boot
    Kernels(kernels::KernelsArgs),
    /// Run cases on many kernels and show one table
    Matrix(Box<matrix::MatrixArgs>),
    /// Simulate broken kernels, to show that every check can fail (for developers of the suite)
    Faults(fault_matrix::FaultsArgs),
    /// Show what changed between two runs, regressions first
    Compare(results::CompareArgs),
    /// List the documented bugs of kernels, without running anything
    KnownBugs(known_bugs::KnownBugsArgs),
    /// Combine the results of shards and report them as one run
    Merge(Box<merge::MergeArgs>),
    /// Write the guest's initramfs, for boards and third-party boot loaders
    Image(image::ImageArgs),
    /// Print shell completions
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command to a directory
    Man {
        /// The directory, e.g. /usr/local/share/man/man1
        directory: Option<PathBuf>,
    },
    /// Run the deliberately bad cases that test the harness
    #[command(hide = true)]
    Selftest(Box<RunArgs>),
}

/// Draws what was left to chance, and keeps how a case of this run is run again.
fn settled(mut args: RunArgs, subcommand: Option<&str>) -> RunArgs {
    args.report.rerun = Some(rerun::command(subcommand, &args));
    RunArgs { how: args.how.settled(), ..args }
}

fn run(args: RunArgs) -> Result<ExitStatus> {
    let args = settled(args, None);
    let why = match (args.guest.on, args.guest.kernel.as_slice()) {
        (None | Some(Place::Host), []) => {
            args.guest.abi.map_or(Ok(()), program::go_on_as)?;
            return host::run(&args, suite::cases::all());
        }
        (Some(Place::Qemu | Place::Uml), []) => "a guest requires a kernel: give --kernel PATH or --kernel RELEASE",
        (Some(Place::Host), _) => "--kernel boots a guest and --on host does not: give one of them",
        (_, [kernel]) => return guest::run(&args, kernel),
        (_, _) => "`run` accepts one --kernel; use `matrix` for several",
    };
    Err(Contradiction(why.to_owned()).into())
}

/// Runs the program and gives its exit status.
pub fn main() -> ExitStatus {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Conforms };
        }
    };
    let result = match cli.command.unwrap_or(Command::Run(Box::new(cli.run))) {
        Command::Run(args) => run(*args),
        Command::Selftest(args) => host::run(&settled(*args, Some("selftest")), harness::selftest::CASES),
        Command::List(args) => list::run(&args),
        Command::Coverage(args) => coverage::run(&args, suite::cases::all()),
        Command::Kernels(args) => kernels::run(&args),
        Command::Matrix(args) => matrix::run(*args),
        Command::Faults(args) => fault_matrix::run(&args),
        Command::Compare(args) => results::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::KnownBugs(args) => known_bugs::run(&args),
        Command::Completions { shell } => documents::completions(shell, command()),
        Command::Man { directory } => documents::man(directory.as_deref(), command()),
        Command::Image(args) => image::run(&args),
    };
    result.unwrap_or_else(|failure| match failure.error.downcast_ref::<Contradiction>() {
        // With the usage, as clap reports the contradictions that it finds itself.
        Some(contradiction) => {
            let _ = command().error(clap::error::ErrorKind::ArgumentConflict, contradiction).print();
            ExitStatus::Usage
        }
        None => failure.report(),
    })
}

/// The command line's definition, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
