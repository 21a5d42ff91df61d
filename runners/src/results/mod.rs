//! Results that were kept, and the command that compares two of them.
//!
//! | module | answers |
//! |---|---|
//! | [`read`] | what a file of `--format json` holds |
//! | [`merge`] | what the shards of a run come to |
//! | [`compare`] | which change between two runs is what, and what it means for an exit status |
//! | [`render`] | how a comparison is shown: to people, to programs, in a mail |
//! | [`markdown`] | the one writer of Markdown |

pub mod compare;
pub mod markdown;
pub mod merge;
pub mod read;
pub mod render;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use harness::outcome::ExitStatus;

use crate::cli::exit::Result;
use crate::cli::stdout;
use compare::Comparison;
use read::Results;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance --kernel old/bzImage --format json > old.json
  unshare-conformance --kernel new/bzImage --format json > new.json
  unshare-conformance compare old.json new.json
  unshare-conformance compare old.json new.json --format markdown >> \"$GITHUB_STEP_SUMMARY\"

Exit status:
  0    nothing got worse
  1    a regression: a case fails or times out that did not before, or a new case does
  125  no regression, but cases became inconclusive (broken, not run), or the runs have no case in common
  129  a file cannot be read";

/// The arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// Results of `--format json` before the change
    old: PathBuf,
    /// Results after it
    new: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value = "pretty")]
    format: ComparisonFormat,
    /// Count newly seen documented bugs, and cases that are now skipped or gone, as regressions
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ComparisonFormat {
    /// Human-readable
    Pretty,
    /// One JSON object, complete
    Json,
    /// For a mail or a pull request
    Markdown,
}

/// Reads two files of results, compares them, and prints what changed.
pub fn run(args: &CompareArgs) -> Result<ExitStatus> {
    let comparison = Comparison::new(Results::read(&args.old)?, Results::read(&args.new)?);
    let text = match args.format {
        ComparisonFormat::Pretty => render::pretty(&comparison, stdout::is_coloured()),
        ComparisonFormat::Json => render::json(&comparison, args.strict),
        ComparisonFormat::Markdown => render::markdown(&comparison),
    };
    stdout::print(text)?;
    Ok(comparison.exit_status(args.strict))
}
