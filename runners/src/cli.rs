//! The command line.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use harness::case::test::Tier;
use harness::place::facts::Facts;
use harness::report::Submission;
use harness::run::shard::Shard;
use harness::verdict::outcome::ExitStatus;
use vm::build::BuildError;
use vm::initramfs::InitramfsError;
use vm::kernel::KernelError;
use vm::library::LibraryError;
use vm::machine::MachineError;
use vm::payload::PayloadError;

use crate::again;
use crate::compare::{self, CompareArgs};
use crate::coverage::{self, CoverageArgs, NoSuchRequirement};
use crate::faults::{self, FaultsArgs};
use crate::files::{Unwritable, is_wrong_path};
use crate::guest::NoSuchKernel;
use crate::guest::accelerator::AccelArg;
use crate::guest::fault::Fault;
use crate::image::{self, ImageArgs};
use crate::kernels::{self, KernelsArgs};
use crate::known_bugs::{KnownBugsArgs, NoSuchRelease};
use crate::matrix::{self, MatrixArgs};
use crate::merge::{self, MergeArgs};
use crate::results::WrongResults;
use crate::{documents, guest, host, known_bugs, list};

const EXAMPLES: &str = "\
Examples:
  unshare-conformance                       the whole suite on this machine's kernel
  unshare-conformance flags. implied.       two of its groups
  unshare-conformance --exact NAME -v       one case, with all there is to say
  unshare-conformance --kernel bzImage      a kernel of yours, in a guest
  unshare-conformance matrix --kernel 6.1 --kernel bzImage
  prove --exec 'unshare-conformance --format tap' flags. storm.
  unshare-conformance storm. --repeat 20 --seed 7
  unshare-conformance storm. --duration 1h --repeat-until-failure

Exit status:
  0    every case that ran passed (documented kernel bugs allowed, unless --strict)
  1    the kernel does not conform
  125  nothing can be said (git bisect run skips such a commit)
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
    /// List the cases, one a line
    List(ListArgs),
    /// Show which requirements are proved, by which cases, and which are not and why
    Coverage(CoverageArgs),
    /// Find, fetch and build kernels that a guest can boot
    Kernels(KernelsArgs),
    /// Run cases on many kernels and show one table
    Matrix(Box<MatrixArgs>),
    /// Simulate broken kernels, which shows that every check can fail (for developers of the suite)
    Faults(FaultsArgs),
    /// Show what changed between two runs, regressions first
    Compare(CompareArgs),
    /// Show which kernels have which documented bugs
    KnownBugs(KnownBugsArgs),
    /// Put the results of shards together and report them as one run
    Merge(Box<MergeArgs>),
    /// Write the guest's initramfs, for boards and other boot loaders
    Image(ImageArgs),
    /// Print the completions of a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command into a directory
    Man {
        /// The directory, e.g. /usr/local/share/man/man1
        directory: Option<PathBuf>,
    },
    /// Run the deliberately bad cases that test the harness
    #[command(hide = true)]
    Selftest(Box<RunArgs>),
}

/// Which cases.
#[derive(Clone, Debug, Args)]
pub struct SelectionArgs {
    /// Only cases whose name contains one of these
    #[arg(value_parser = parse_pattern)]
    pub filter: Vec<String>,
    /// FILTER is a whole name
    #[arg(long)]
    pub exact: bool,
    /// Leave out cases whose name contains this; may be given several times
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub skip: Vec<String>,
}

/// A whole run: which cases, where, how, and what is told of it.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which cases to run.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Where the kernel is and how its guest is made.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// How cases are run.
    #[command(flatten)]
    pub how: HowArgs,
    /// What is told of them.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Known kernel bugs and unmet needs count as failures
    #[arg(long)]
    pub strict: bool,
    /// Also run cases that change what every process of this machine sees (fs.nr_open, fs.mount-max);
    /// the old values are put back
    #[arg(long)]
    pub disturb_host: bool,
    /// Simulate a broken kernel, for developers of the suite: `faults list` names what there is
    #[arg(long, value_name = "NAME", value_parser = faults::parse)]
    pub fault: Option<&'static suite::fault::Fault>,
}

/// How cases are run, on the host as in a guest.
#[derive(Clone, Debug, Args)]
pub struct HowArgs {
    /// How much of the flag space, and how many storm rounds [default: full on the host, quick in a
    /// guest]
    #[arg(long, value_enum)]
    pub tier: Option<TierArg>,
    /// How many cases run at the same time [default: two for each CPU]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Run the I-th of N parts of about equal work, the same everywhere; `merge` puts them together
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// How often to run each case
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Run the cases again and again for so long, each time with the next seed, e.g. 90s or 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Run the cases again and again, each time with the next seed, until one fails
    #[arg(long)]
    pub repeat_until_failure: bool,
    /// What random draws start from; each repetition takes the next [default: drawn, and reported]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How long a case may take, e.g. 500ms or 2m [default: what the case says]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// What deadlines are multiplied with, for a slow machine (emulation is allowed for by itself)
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub slowdown: u32,
}

/// What is told of a run, and where to.
#[derive(Debug, Default, Args)]
pub struct ReportArgs {
    /// What to write to standard output [default: pretty on a terminal, tap elsewhere]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// One more report beside the one on standard output; may be given several times
    #[arg(long, value_name = "FORMAT=FILE", value_parser = parse_output)]
    pub output: Vec<(Format, PathBuf)>,
    /// Tell of each case (pretty only)
    #[arg(long, short, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Tell of failures only (pretty only)
    #[arg(long, short)]
    pub quiet: bool,
    /// The name of the CI system that submits (kcidb only) [default: local]
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    pub kcidb_origin: Option<String>,
    /// The ID of the build under test, ORIGIN:ID (kcidb only) [default: made from the release]
    #[arg(long, value_name = "ID", value_parser = parse_build)]
    pub kcidb_build: Option<String>,
    /// What begins the command by which the reader runs one case again in the same place.
    #[arg(skip)]
    pub again: Option<String>,
}

impl ReportArgs {
    /// Who submits, for KCIDB. `start` is when the run began, if it begins now.
    pub fn submission(&self, start: Option<SystemTime>) -> Submission {
        Submission {
            origin: self.kcidb_origin.clone().unwrap_or("local".to_owned()),
            build: self.kcidb_build.clone(),
            start: start.map(|time| humantime::format_rfc3339_seconds(time).to_string()),
        }
    }
}

impl HowArgs {
    /// Draws what was left to chance, once.
    pub fn settled(mut self) -> Self {
        self.seed.get_or_insert_with(|| fastrand::u64(..1 << 32));
        self
    }

    /// What random draws start from.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// How much to look at on the host.
    pub fn tier_on_host(&self) -> Tier {
        self.tier.unwrap_or(TierArg::Full).into()
    }

    /// How much to look at in a guest, which usually is emulated.
    pub fn tier_in_guest(&self) -> Tier {
        self.tier.unwrap_or(TierArg::Quick).into()
    }
}

impl RunArgs {
    /// Draws what was left to chance, and keeps how a case of this run is run again.
    fn settled(mut self, subcommand: Option<&str>) -> Self {
        self.report.again = Some(again::command(subcommand, &self));
        let how = self.how.settled();
        Self { how, ..self }
    }
}

/// Where the kernel under test is, and how a guest with it is made.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Guest")]
pub struct GuestArgs {
    /// Where to run [default: host; a guest when --kernel is given]
    #[arg(long, value_enum)]
    pub on: Option<Place>,
    /// A kernel to boot in a guest: a bzImage, vmlinux, linux.uml, kernel build tree, or a release
    /// known to `kernels list`
    #[arg(long, value_name = "PATH|RELEASE")]
    pub kernel: Vec<String>,
    /// What executes the guest
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: AccelArg,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: u32,
    /// Processors of the guest [default: 2 where this machine has them and there is work for both]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: Option<u32>,
    /// A further word for the guest's kernel command line; may be given several times
    #[arg(long, value_name = "WORD")]
    pub kernel_arg: Vec<String>,
    /// The file to keep the guest's console in [default: one below the user's cache]
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
    /// What a kernel that never reaches the suite is
    #[arg(long, value_enum, default_value = "skip")]
    pub boot_failure: BootFailure,
    /// How long a guest may take from its start to the suite
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = parse_duration)]
    pub boot_patience: Duration,
    /// How long a guest, which gives a sign once a second, may be silent before it counts as hanging
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub silence: Duration,
    /// Give the guest one serial port for both console and results
    #[arg(long)]
    pub single_serial: bool,
    /// Have the guest misbehave once its second case runs: how the runner itself is tested
    #[arg(long, value_enum, hide = true)]
    pub guest_fault: Option<Fault>,
}

/// What the suite in a guest understands: of `run`, what does not concern places and files.
#[derive(Debug, Args)]
pub struct InGuestArgs {
    /// Which cases.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How they are run.
    #[command(flatten)]
    pub how: HowArgs,
    /// The dialect of the results channel.
    #[arg(long, value_enum, default_value = "ktap")]
    pub format: Format,
    /// Known kernel bugs and unmet needs count as failures.
    #[arg(long)]
    pub strict: bool,
    /// Also run cases that change what every process of this machine sees.
    #[arg(long)]
    pub disturb_host: bool,
    /// Have the guest misbehave.
    #[arg(long, value_enum)]
    pub guest_fault: Option<Fault>,
}

#[cfg(test)]
impl Default for GuestArgs {
    fn default() -> Self {
        use clap::FromArgMatches;
        let command = GuestArgs::augment_args(clap::Command::new("test"));
        let matches = command.get_matches_from(["test"]);
        GuestArgs::from_arg_matches(&matches).expect("defaults are valid")
    }
}

/// Where cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// This machine's kernel
    Host,
    /// A guest made by QEMU
    Qemu,
    /// User-mode Linux
    Uml,
}

/// What a kernel that never reaches the suite is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BootFailure {
    /// Nothing can be said of it (125)
    Skip,
    /// It does not conform (1)
    Fail,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// How to list them
    #[arg(long, value_enum, default_value = "text")]
    format: ListFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// Names, one a line
    Text,
    /// All that is known of each case, as one JSON array
    Json,
}

/// The dialects of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Pretty,
    /// TAP version 13
    Tap,
    /// TAP version 14: a subtest for each group
    Tap14,
    /// KTAP version 1, the kernel's dialect
    Ktap,
    /// JUnit's XML, for GitLab, GitHub and Jenkins
    Junit,
    /// One event a line, complete: what `compare` and `merge` read
    Json,
    /// A submission to KCIDB, schema 5.3
    Kcidb,
    /// LAVA's test case signals
    Lava,
    /// Events for the runner outside of a guest
    #[value(hide = true)]
    Wire,
}

/// The tiers, as options.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TierArg {
    /// Seconds, even under emulation
    Quick,
    /// What a developer waits for
    Full,
    /// Everything there is
    Exhaustive,
}

impl From<TierArg> for Tier {
    fn from(tier: TierArg) -> Self {
        match tier {
            TierArg::Quick => Tier::Quick,
            TierArg::Full => Tier::Full,
            TierArg::Exhaustive => Tier::Exhaustive,
        }
    }
}

fn is_origin(text: &str) -> bool {
    let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.chars().all(usual)
}

fn parse_origin(text: &str) -> Result<String, String> {
    match is_origin(text) {
        true => Ok(text.to_owned()),
        false => Err("KCIDB takes lowercase letters, digits and _".to_owned()),
    }
}

fn parse_build(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((origin, id)) if is_origin(origin) && !id.is_empty() => Ok(text.to_owned()),
        _ => Err("give it as ORIGIN:ID, as it is in KCIDB".to_owned()),
    }
}

fn parse_pattern(text: &str) -> Result<String, String> {
    match text {
        // What an empty variable of a script leaves.
        "" => Err("every name contains it: give a part of a name, or leave it out".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Reads how long something may take. No time at all would fail every kernel.
///
/// # Errors
/// It is no duration, or none at all.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("give more than zero, e.g. 500ms or 2m".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_output(text: &str) -> Result<(Format, PathBuf), String> {
    let (format, file) =
        text.split_once('=').ok_or_else(|| "give it as FORMAT=FILE, e.g. json=results.json".to_owned())?;
    if file.is_empty() {
        return Err("name the file after the =, e.g. json=results.json".to_owned());
    }
    Ok((Format::from_str(format, false)?, PathBuf::from(file)))
}

/// Reads the arguments of a guest's suite, `run` and its options, and chooses its cases.
///
/// # Errors
/// They are not valid, or no case matches.
pub fn prepare_in_guest(arguments: &[String]) -> anyhow::Result<host::InGuest> {
    // Only this one command: to describe all of them takes an emulated guest as long as many cases.
    let command = InGuestArgs::augment_args(clap::Command::new("run"));
    let matches = command.try_get_matches_from(arguments)?;
    let mut args = InGuestArgs::from_arg_matches(&matches)?;
    args.how = args.how.settled();
    host::InGuest::prepare(args)
}

/// Runs the suite of a guest as it was prepared, and gives the exit status.
pub fn in_guest(prepared: anyhow::Result<host::InGuest>, facts: Option<Facts>, results: File) -> ExitStatus {
    told(prepared.and_then(|prepared| prepared.run(facts, results)))
}

/// A value as the command line calls it.
///
/// # Panics
/// The value has no name there, which no type of ours has.
pub fn name_of(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("every value has a name");
    value.get_name().to_owned()
}

/// A command line whose options are valid each by itself and contradict each other.
pub fn contradiction(why: impl std::fmt::Display) -> anyhow::Error {
    Cli::command().error(clap::error::ErrorKind::ArgumentConflict, why).into()
}

fn run(args: RunArgs) -> anyhow::Result<ExitStatus> {
    let args = args.settled(None);
    match (args.guest.on, args.guest.kernel.as_slice()) {
        (None | Some(Place::Host), []) => host::run(&args, suite::cases::all()),
        (Some(Place::Qemu | Place::Uml), []) => {
            Err(contradiction("a guest needs a kernel: give --kernel PATH or --kernel RELEASE"))
        }
        _ if args.fault.is_some() => {
            Err(contradiction("--fault stands between the suite and this machine's kernel: it goes with no guest"))
        }
        (Some(Place::Host), _) => Err(contradiction("--kernel boots a guest and --on host does not: give one of them")),
        (_, [kernel]) => guest::run(&args, kernel),
        (_, _) => Err(contradiction("`run` takes one --kernel; `matrix` takes several")),
    }
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
        Command::Selftest(args) => host::run(&args.settled(Some("selftest")), &harness::case::SELFTEST_CASES),
        Command::List(args) => match args.format {
            ListFormat::Text => list::text(&args.selection),
            ListFormat::Json => list::json(&args.selection),
        },
        Command::Coverage(args) => coverage::run(&args, suite::cases::all()),
        Command::Kernels(args) => kernels::run(&args),
        Command::Matrix(args) => matrix::run(*args),
        Command::Faults(args) => faults::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::KnownBugs(args) => known_bugs::run(&args),
        Command::Completions { shell } => documents::completions(shell),
        Command::Man { directory } => documents::man(directory.as_deref()),
        Command::Image(args) => image::run(&args),
    };
    told(result)
}

/// The exit status; an error is told on standard error.
fn told(result: anyhow::Result<ExitStatus>) -> ExitStatus {
    result.unwrap_or_else(|error| {
        if let Some(wrong) = error.downcast_ref::<clap::Error>() {
            let _ = wrong.print();
            return ExitStatus::Usage;
        }
        let broken_pipe = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
        let _ = if broken_pipe {
            writeln!(
                io::stderr(),
                "unshare-conformance: standard output was closed before all was written: have its reader read all \
                 of it, or write a file"
            )
        } else {
            writeln!(io::stderr(), "unshare-conformance: {error:#}")
        };
        if is_wrong_input(&error) {
            return ExitStatus::Usage;
        }
        ExitStatus::NothingToSay
    })
}

/// Whether what the user gave cannot be used, whatever kernel is under test: a bisection is to stop
/// there. What this machine lacks, a disk, memory, QEMU, lets it go on.
pub fn is_wrong_input(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_payload = cause
            .downcast_ref::<PayloadError>()
            .is_some_and(|error| !matches!(error, PayloadError::Cache(_) | PayloadError::Unwritable { .. }));
        let of_machine = cause.downcast_ref::<MachineError>().is_some_and(|error| {
            !matches!(error, MachineError::NotInstalled { .. } | MachineError::Description { .. })
        });
        let of_build = cause.downcast_ref::<BuildError>().is_some_and(|error| {
            matches!(error, BuildError::NotATree(_) | BuildError::ConfiguredInPlace(_) | BuildError::NoFragment { .. })
        });
        let of_library = matches!(cause.downcast_ref(), Some(LibraryError::Unknown(_)));
        let of_image = matches!(
            cause.downcast_ref(),
            Some(InitramfsError::Unwritable { source, .. }) if is_wrong_path(source)
        );
        let of_file = cause.downcast_ref::<Unwritable>().is_some_and(Unwritable::is_wrong_path);
        of_payload
            || of_machine
            || of_build
            || of_library
            || of_image
            || of_file
            || cause.is::<KernelError>()
            || cause.is::<NoSuchKernel>()
            || cause.is::<NoSuchRelease>()
            || cause.is::<WrongResults>()
            || cause.is::<NoSuchRequirement>()
    })
}

/// The command line's definition, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The dialect of standard output when none was asked for.
pub fn default_format() -> Format {
    if io::stdout().is_terminal() { Format::Pretty } else { Format::Tap }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
