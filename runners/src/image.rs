//! The guest's image as a file, for boards and for boot loaders that are not ours.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use harness::verdict::outcome::ExitStatus;
use vm::initramfs::Initramfs;
use vm::machine::one_word;
use vm::parameters::Parameters;

use crate::cli::{Format, HowArgs, SelectionArgs};
use crate::guest::{arguments, inside};
use crate::host::select;

const EXAMPLES: &str = "\
Examples:
  qemu-system-x86_64 -nographic -no-reboot -kernel bzImage -initrd guest.cpio \\
      -append \"$(unshare-conformance image -o guest.cpio)\"
  unshare-conformance image -o guest.cpio --console ttyAMA0 --tier full storm.

The kernel command line is printed to standard output. The last line that the suite writes is
\"unshare-conformance: end status N\", with N as in the exit statuses of `run`.";

/// The arguments of `image`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImageArgs {
    /// Which cases the suite is to run.
    #[command(flatten)]
    selection: SelectionArgs,
    /// The file to write, a cpio archive in the newc format
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The dialect that the suite reports in
    #[arg(long, value_enum, default_value = "ktap")]
    format: Format,
    /// The device that the kernel's console is on, with settings if it needs any (ttyS0,115200)
    #[arg(long, value_name = "DEVICE", default_value = "ttyS0", value_parser = one_word)]
    console: String,
    /// The device that the suite reports to, e.g. ttyS1 [default: the console]
    #[arg(long, value_name = "DEVICE", value_parser = one_word)]
    results: Option<String>,
    /// How cases are run.
    #[command(flatten)]
    how: HowArgs,
}

/// Writes the image, and the kernel command line that goes with it to standard output.
///
/// # Errors
/// No case matches, this program cannot be read, or the file cannot be written.
pub fn run(args: &ImageArgs) -> anyhow::Result<ExitStatus> {
    select(&args.selection, args.how.tier_in_guest(), suite::cases::all())?;
    Initramfs::new(inside::program()?).write_file(&args.output)?;
    writeln!(io::stdout(), "{}", command_line(args))?;
    Ok(ExitStatus::Conforms)
}

fn command_line(args: &ImageArgs) -> String {
    let how = args.how.clone().settled();
    let device = |name: &str| name.trim_start_matches("/dev/").to_owned();
    let parameters = Parameters {
        results: args.results.as_deref().map(device),
        arguments: arguments(&args.selection, &how, args.format, how.slowdown, how.jobs),
    };
    // A panic restarts the board at once. Of what the kernel prints, warnings and worse reach the
    // console, so that reports are not torn by the rest.
    format!("console={} loglevel=5 panic=-1 {}", device(&args.console), parameters.to_command_line())
}
