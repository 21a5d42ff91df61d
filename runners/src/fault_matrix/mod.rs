//! Simulated broken kernels, for developers of the suite: which faults there are, and which case notices which.
//!
//! | module | answers |
//! |---|---|
//! | [`pairs`] | runs cases under faults, one fault after the other |
//! | [`caught`] | the results, and whether they prove what they should |
//! | [`witnesses`] | where a matrix begins that leaves out pairs which prove nothing new |
//! | [`document`] | the results as text and Markdown |

pub mod caught;
pub mod document;
pub mod pairs;
pub mod witnesses;

use crate::prelude::*;

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
        /// Output format
        #[arg(long, value_enum, default_value = "text")]
        format: ListFormat,
    },
    /// Run cases under faults and show which case notices which fault
    Matrix(Box<pairs::FaultMatrixArgs>),
}

/// Runs a command of `faults`.
pub fn run(args: &FaultsArgs) -> Result<ExitStatus> {
    let faults = table::all();
    match &args.command {
        Command::List { format: ListFormat::Text } => stdout::print(
            faults
                .iter()
                .map(|fault| format!("{}\n    {}\n    as: {}\n", fault.name, fault.about, fault.imitates))
                .collect::<String>(),
        ),
        Command::List { format: ListFormat::Json } => stdout::print(stdout::json(&faults)),
        Command::Matrix(args) => pairs::run(args),
    }
}
