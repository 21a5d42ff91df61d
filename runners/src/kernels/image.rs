//! The guest's image as a file, for boards and third-party boot loaders.

use vm::machine::one_word;
use vm::parameters::Parameters;

use crate::guest::{arguments, inside};
use crate::prelude::*;
use crate::program;

const EXAMPLES: &str = "\
Examples:
  qemu-system-x86_64 -nographic -no-reboot -kernel bzImage -initrd guest.cpio \\
      -append \"$(unshare-conformance image -o guest.cpio)\"
  unshare-conformance image -o guest.cpio --arch arm64 --console ttyAMA0 --tier full storm.

The kernel command line is printed on standard output. The last line that the suite writes is
\"unshare-conformance: end status N\", where N is the exit status as of `run`.";

/// The arguments of `image`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImageArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// File to write, a cpio archive in newc format
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Report format of the suite
    #[arg(long, value_enum, default_value = "ktap")]
    format: Format,
    /// Device of the kernel's console, with settings if it needs any (ttyS0,115200)
    #[arg(long, value_name = "DEVICE", default_value = "ttyS0", value_parser = one_word)]
    console: String,
    /// Device that the suite reports to, e.g. ttyS1 [default: the console]
    #[arg(long, value_name = "DEVICE", value_parser = one_word)]
    results: Option<String>,
    /// Architecture of the kernel that is to boot it [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<Architecture>,
    /// Program to use as init: this one as built for that architecture, or for one that its kernels also run
    /// [default: the one beside this program, see `ci/cross`]
    #[arg(long, value_name = "PATH")]
    init: Option<PathBuf>,
    #[command(flatten)]
    how: HowArgs,
}

/// Writes the image, and prints the kernel command line that goes with it.
pub fn run(args: &ImageArgs) -> Result<ExitStatus> {
    select(&args.selection, args.how.tier_in_guest(), suite::cases::all())?;
    let architecture = args.arch.unwrap_or_else(Architecture::host);
    let init = program::init(args.init.as_deref(), None, architecture)?;
    Initramfs::new(inside::stripped(&init)?).write_file(&args.output)?;
    stdout::print(command_line(args) + "\n")
}

fn command_line(args: &ImageArgs) -> String {
    let how = args.how.clone().settled();
    let device = |name: &str| name.trim_start_matches("/dev/").to_owned();
    let parameters = Parameters {
        results: args.results.as_deref().map(device),
        plan: None,
        arguments: arguments(&args.selection, &how, args.format, how.slowdown, how.jobs),
    };
    // A panic restarts the board at once. Of what the kernel prints, warnings and worse reach the
    // console, so that reports are not torn by the rest.
    format!("console={} loglevel=5 panic=-1 {}", device(&args.console), parameters.to_command_line())
}
