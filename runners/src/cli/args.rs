//! Arguments that several commands share. Those of one command stand beside it.

use harness::report::Submission;
use suite::fault::{find, table};
use suite::profile::Profile;

use crate::fault_matrix::witnesses::Witnesses;
use crate::prelude::*;
use crate::run::strict_needs::StrictArgs;

/// Which cases.
#[derive(Clone, Debug, Args)]
pub struct SelectionArgs {
    /// Select cases whose name contains one of these
    #[arg(value_parser = parse_pattern)]
    pub filter: Vec<String>,
    /// Match FILTER against whole names
    #[arg(long)]
    pub exact: bool,
    /// Leave out cases whose name contains PATTERN; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub skip: Vec<String>,
}

/// A whole run: which cases, where, how, and which reports.
#[derive(Debug, Parser)]
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
    /// Which reports to write.
    #[command(flatten)]
    pub report: ReportArgs,
    /// What counts as a failure.
    #[command(flatten)]
    pub strict: StrictArgs,
    /// What is expected of the kernel.
    #[command(flatten)]
    pub expected: ExpectationFiles,
    /// Also run cases that others on this machine may notice: they change its settings (fs.nr_open, fs.mount-max; the
    /// old values are restored), shrink its slab caches, make control groups, or attach a BPF program for a moment
    #[arg(long)]
    pub disturb_host: bool,
    /// The kernel is the suite's own, as in a guest: also run what may end the machine (for `ci/coverage`, whose guest
    /// has an init of its own)
    #[arg(long, hide = true)]
    pub own_kernel: bool,
    /// Simulate a broken kernel (for developers of the suite); `faults list` names the faults
    #[arg(long, value_name = "NAME", value_parser = parse_fault)]
    pub fault: Option<&'static Fault>,
}

/// How cases are run, on the host as in a guest.
#[derive(Clone, Debug, Parser)]
pub struct HowArgs {
    /// How much of the flag space to cover and how many storm rounds to run [default: full on the host,
    /// quick in a guest]
    #[arg(long, value_enum)]
    pub tier: Option<TierArg>,
    /// Steps of each walk, whatever the tier; a long one may need a --timeout [default: 120 in the quick tier, 12,000 in
    /// the full one, 1,000,000 in the exhaustive one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Run this many cases in parallel [default: two per CPU]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Run part I of N parts of about equal work, split the same way everywhere; `merge` combines their
    /// results
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Run each case N times
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Repeat the cases for this long, each time with the next seed, e.g. 90s or 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Repeat the cases, each time with the next seed, until one fails
    #[arg(long)]
    pub repeat_until_failure: bool,
    /// Stop after the first failure, or the Nth; the other cases are skipped, and exit statuses stay the same
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub fail_fast: Option<u32>,
    /// Which cases start first
    #[arg(long, value_enum, default_value = "found-most")]
    pub order: Order,
    /// Random seed; each repetition uses the next one [default: random, and reported]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Deadline of each case, e.g. 500ms or 2m [default: the case's own]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// What the kernel claims to implement: flags, e.g. fs,files,newuts, or none, or a TOML file with `claims =
    /// ["fs", …]`. Every other flag must be refused with EINVAL; a claimed one is taken to be there [default: what
    /// probes find]
    #[arg(long, value_name = "FLAGS|FILE")]
    pub profile: Option<Profile>,
    /// Multiply all deadlines by N, for slow machines (emulation is accounted for automatically)
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub slowdown: u32,
}

/// Which cases start first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Those that notice what no others do, of the faults that the suite knows
    FoundMost,
    /// As `list` shows them
    AsListed,
}

impl Order {
    /// The rank of a case: the lowest ones start first.
    pub fn rank(self) -> fn(&str) -> u32 {
        match self {
            Order::FoundMost => |name| u32::MAX - Witnesses::faults_of(name),
            Order::AsListed => |_| 0,
        }
    }
}

impl HowArgs {
    /// Each case once, with this seed.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::parse_from([""]) }
    }

    /// Draws the seed, if none was given.
    pub fn settled(mut self) -> Self {
        self.seed.get_or_insert_with(|| fastrand::u64(..1 << 32));
        self
    }

    /// The random seed.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// The tier on the host.
    pub fn tier_on_host(&self) -> Tier {
        self.tier.unwrap_or(TierArg::Full).into()
    }

    /// The tier in a guest, which usually is emulated.
    pub fn tier_in_guest(&self) -> Tier {
        self.tier.unwrap_or(TierArg::Quick).into()
    }
}

/// Which reports of a run to write, and where to.
#[derive(Debug, Default, Args)]
pub struct ReportArgs {
    /// Format of the report on standard output [default: pretty on a terminal, tap otherwise]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write a further report to a file; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = parse_output)]
    pub output: Vec<(Format, PathBuf)>,
    /// Show every case (pretty only)
    #[arg(long, short, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Show failures only (pretty only)
    #[arg(long, short)]
    pub quiet: bool,
    /// Name of the submitting CI system (kcidb only) [default: local]
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    pub kcidb_origin: Option<String>,
    /// ID of the build under test, ORIGIN:ID (kcidb only) [default: derived from the release]
    #[arg(long, value_name = "ID", value_parser = parse_build)]
    pub kcidb_build: Option<String>,
    /// The beginning of the command that runs one case again in the same place.
    #[arg(skip)]
    pub rerun: Option<String>,
}

impl ReportArgs {
    /// Who submits, for KCIDB. `start` is when the run began, if it begins now.
    pub fn submission(&self, start: Option<SystemTime>) -> Submission {
        Submission {
            root: suite::SUITE.kcidb_root,
            origin: self.kcidb_origin.clone().unwrap_or("local".to_owned()),
            build: self.kcidb_build.clone(),
            start: start.map(|time| humantime::format_rfc3339_seconds(time).to_string()),
        }
    }
}

/// Where the kernel under test is, and how a guest with it is made.
#[derive(Clone, Debug, Parser)]
#[command(next_help_heading = "Guest")]
pub struct GuestArgs {
    /// Where to run [default: host, or a guest if --kernel is given]
    #[arg(long, value_enum)]
    pub on: Option<Place>,
    /// Kernel to boot in a guest: a bzImage, Image, vmlinux, linux.uml, kernel build tree, or a release that
    /// `kernels list` shows, of another architecture with its name behind: 6.12:arm64
    #[arg(long, value_name = "PATH|RELEASE")]
    pub kernel: Vec<String>,
    /// Program to run as the guest's init: this one as built for the kernel's architecture, or for one that such a
    /// kernel also runs [default: the one beside this program, see `ci/cross`]
    #[arg(long, value_name = "PATH")]
    pub init: Option<PathBuf>,
    /// Run the cases by this program as built for another ABI that the kernel also runs: i386 on x86-64, armhf on arm64
    /// [default: the kernel's own]
    #[arg(long, value_name = "ABI", conflicts_with = "init", help_heading = "Options")]
    pub abi: Option<Abi>,
    /// Accelerator for the guest
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: AccelArg,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: u32,
    /// CPUs of the guest [default: 2 if this machine has them and the cases need them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: Option<u32>,
    /// Extra kernel command-line parameter for the guest; may be repeated
    #[arg(long, value_name = "PARAMETER")]
    pub kernel_arg: Vec<String>,
    /// File for the guest's console output [default: one in the user's cache]
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
    /// How to treat a kernel that never reaches the suite
    #[arg(long, value_enum, default_value = "skip")]
    pub boot_failure: BootFailure,
    /// How long the guest may take to reach the suite
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = parse_duration)]
    pub boot_patience: Duration,
    /// Treat the guest as hung after this long without a heartbeat (sent every second)
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub silence: Duration,
    /// Use one serial port for both console and results
    #[arg(long)]
    pub single_serial: bool,
    /// Have the guest misbehave once its second case runs, to test the runner
    #[cfg(feature = "guest-faults")]
    #[arg(long, value_enum, hide = true)]
    pub guest_fault: Option<crate::guest_faults::GuestFault>,
}

/// Where cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// This machine's kernel
    Host,
    /// A QEMU guest
    Qemu,
    /// User-mode Linux
    Uml,
}

/// What executes a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AccelArg {
    /// KVM if a trial guest boots under it, otherwise TCG
    #[default]
    Auto,
    /// Hardware virtualisation through /dev/kvm
    Kvm,
    /// Emulation by QEMU
    Tcg,
}

/// How to treat a kernel that never reaches the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BootFailure {
    /// Inconclusive (exit status 125)
    Skip,
    /// Does not conform (exit status 1)
    Fail,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Human-readable
    Text,
    /// Everything known, as one JSON array
    Json,
}

/// How a survey of the whole suite is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SurveyFormat {
    /// One line per entry and a summary
    Text,
    /// A Markdown document
    Markdown,
    /// Everything known, as JSON
    Json,
}

/// The formats of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable
    Pretty,
    /// TAP version 13
    Tap,
    /// TAP version 14, one subtest per group
    Tap14,
    /// KTAP version 1, the kernel's TAP
    Ktap,
    /// JUnit XML, for GitLab, GitHub and Jenkins
    Junit,
    /// Complete, one event per line; `compare` and `merge` read it
    Json,
    /// KCIDB submission, schema 5.3
    Kcidb,
    /// LAVA test case signals
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
    /// For development: thorough, in a time worth waiting for
    Full,
    /// Everything
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

/// A value as the command line calls it.
///
/// # Panics
/// The value has no name there; every type of ours has one.
pub fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().expect("every value has a name").get_name().to_owned()
}

/// A command line of this program that grows.
pub struct Words(pub Vec<String>);

impl Words {
    /// Adds an option once for each of its values.
    pub fn options(&mut self, name: &str, values: impl IntoIterator<Item: ToString>) {
        self.0.extend(values.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
    }

    /// Adds a word if it is meant.
    pub fn flag(&mut self, name: &str, meant: bool) {
        self.0.extend(meant.then(|| name.to_owned()));
    }
}

/// Reads a duration. Zero would fail every kernel.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than zero, e.g. 500ms or 2m".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Finds a fault by its name.
pub fn parse_fault(name: &str) -> Result<&'static Fault, String> {
    find(name).ok_or_else(|| {
        let names = table::all().iter().map(|fault| fault.name.as_str());
        let alike = names.filter(|other| other.split('-').any(|word| name.split('-').any(|part| part == word)));
        let see = "see `unshare-conformance faults list`".to_owned();
        match alike.take(5).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => see,
            alike => format!("similar: {alike}; {see}"),
        }
    })
}

fn is_origin(text: &str) -> bool {
    let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.chars().all(usual)
}

fn parse_origin(text: &str) -> Result<String, String> {
    let wrong = "KCIDB allows only lowercase letters, digits and _";
    is_origin(text).then(|| text.to_owned()).ok_or_else(|| wrong.to_owned())
}

fn parse_build(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((origin, id)) if is_origin(origin) && !id.is_empty() => Ok(text.to_owned()),
        _ => Err("must be ORIGIN:ID, as in KCIDB".to_owned()),
    }
}

fn parse_pattern(text: &str) -> Result<String, String> {
    match text {
        // What an empty variable of a script leaves.
        "" => Err("the empty string is part of every name: give part of a name, or leave it out".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn parse_output(text: &str) -> Result<(Format, PathBuf), String> {
    match text.split_once('=') {
        None => Err("must be FORMAT=FILE, e.g. json=results.json".to_owned()),
        Some((_, "")) => Err("no file after the =, e.g. json=results.json".to_owned()),
        Some((format, file)) => Ok((Format::from_str(format, false)?, PathBuf::from(file))),
    }
}
