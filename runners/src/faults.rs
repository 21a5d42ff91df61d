//! Simulates broken kernels, for developers of the suite: which there are, and which case notices
//! which.
//!
//! | module | answers |
//! |---|---|
//! | [`matrix`] | runs cases under faults, one fault after the other |
//! | [`caught`] | what came of it, and whether it proves what it is to prove |
//! | [`witnesses`] | where a matrix begins that leaves out what proves nothing new |
//! | [`document`] | the same as Markdown and JSON |

pub mod caught;
pub mod document;
pub mod matrix;
pub mod witnesses;

use std::io::{self, Write};

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use harness::run::pool::RunOptions;
use harness::verdict::outcome::ExitStatus;
use suite::fault::{Fault, declared, find, stand_in, table};

/// The arguments of `faults`.
#[derive(Debug, Args)]
pub struct FaultsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the faults
    List {
        /// How to list them
        #[arg(long, value_enum, default_value = "text")]
        format: ListFormat,
    },
    /// Run cases under faults, and show which case notices which
    Matrix(Box<matrix::FaultMatrixArgs>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// Names and what they do
    Text,
    /// All that is known of each fault, as one JSON array
    Json,
}

/// Does what the arguments of `faults` say.
///
/// # Errors
/// Faults cannot be simulated here, no case matches, or something cannot be written.
pub fn run(args: &FaultsArgs) -> anyhow::Result<ExitStatus> {
    match &args.command {
        Command::List { format } => list(*format),
        Command::Matrix(args) => matrix::run(args),
    }
}

fn list(format: ListFormat) -> anyhow::Result<ExitStatus> {
    let mut out = io::stdout().lock();
    let faults = table::all();
    match format {
        ListFormat::Text => {
            for fault in faults {
                writeln!(out, "{}\n    {}\n    as: {}", fault.name, fault.about, fault.imitates)?;
            }
        }
        ListFormat::Json => {
            serde_json::to_writer_pretty(&mut out, faults)?;
            writeln!(out)?;
        }
    }
    Ok(ExitStatus::Conforms)
}

/// Reads the name of a fault.
///
/// # Errors
/// There is none of this name; the text names some that sound like it.
pub fn parse(name: &str) -> Result<&'static Fault, String> {
    find(name).ok_or_else(|| {
        let alike: Vec<_> = table::all()
            .iter()
            .map(|fault| fault.name.as_ref())
            .filter(|other| other.split('-').any(|word| name.split('-').any(|part| part == word)))
            .take(5)
            .collect();
        match alike.as_slice() {
            [] => "`unshare-conformance faults list` names what there is".to_owned(),
            alike => format!("there is {}; `unshare-conformance faults list` names all", alike.join(", ")),
        }
    })
}

/// A run in which a fault is simulated, if one is.
///
/// # Errors
/// The caller is an ordinary user, or this machine has another processor.
pub fn under(fault: Option<&'static Fault>, options: RunOptions) -> anyhow::Result<RunOptions> {
    let Some(fault) = fault else {
        return Ok(options);
    };
    check_place()?;
    stand_in::choose(fault);
    let about = fault.about.trim_end_matches('.');
    Ok(RunOptions {
        before_body: Some(stand_in::install),
        // Heads every report, so that none is taken for a verdict.
        caveat: Some(format!("no verdict on this kernel: the fault \"{}\" is simulated ({about})", fault.name)),
        left_out: declared::impossible,
        ..options
    })
}

/// Whether faults can be simulated here.
///
/// # Errors
/// The caller is an ordinary user, or this machine has another processor.
fn check_place() -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("faults can be simulated on x86-64 only");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "faults can be simulated by root only: an ordinary user's seccomp filter takes \
             no_new_privs, which changes what cases see"
        );
    }
    Ok(())
}
