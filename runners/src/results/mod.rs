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

use compare::Comparison;
use read::Results;

use crate::prelude::*;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance --kernel old/bzImage --format json > old.json
  unshare-conformance --kernel new/bzImage --format json > new.json
  unshare-conformance compare old.json new.json
  unshare-conformance compare old.json new.json --format markdown >> \"$GITHUB_STEP_SUMMARY\"

Exit status:
  0    nothing got worse
  1    a regression: a case fails or times out that did not before, or a new case does
  125  no regression, but cases became inconclusive (broken, not run), or the runs share no case
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mutation::{config, mutated};
    use crate::run::reports::reporter;

    /// Two shards of a run, with every kind of result.
    fn valid(shard: u32) -> String {
        let started = read::tests::STARTED
            .replace("\"repeat\":1}", &format!("\"repeat\":1,\"part\":{{\"number\":{shard},\"of\":2,\"whole\":2}}}}"));
        let started = started.replace("a.b", &format!("a.b{shard}"));
        let remark = r#"{"event":"remark","text":"console: a"}"#;
        let case = r#"{"event":"case_finished","index":0,"verdict":{"status":"fail","reason":"r","failed":[{"call":"c","expected":"e","actual":"a","requirement":"FLAG-09","at":{"file":"x.rs","line":1}}],"notes":["n"],"repetition":3,"checks":1,"duration":{"secs":1,"nanos":5}},"outcome":{"outcome":"as_judged"}}"#;
        ["{\"schema\":1}", &started, remark, case, read::tests::FINISHED, ""].join("\n")
    }

    #[test]
    fn the_valid_text_is_valid() {
        let parts = [1, 2].map(|shard| Results::parse(Path::new("x"), &valid(shard)).expect("valid"));
        assert!(merge::Merged::new(parts.into()).expect("of one run").exit_status(false) == ExitStatus::DoesNotConform);
    }

    proptest! {
        #![proptest_config(config(500))]

        /// Whatever the files hold: an error, or a comparison and a merged run that every format can show.
        #[test]
        fn any_files_can_be_compared_and_merged(old in mutated(valid(1)), new in mutated(valid(2))) {
            let parse = |text: &str| Results::parse(Path::new("x"), text);
            if let (Ok(old), Ok(new)) = (parse(&old), parse(&new)) {
                let comparison = Comparison::new(old.clone(), new.clone());
                render::pretty(&comparison, true);
                render::json(&comparison, true);
                render::markdown(&comparison);
                if let Ok(merged) = merge::Merged::new(vec![old, new]) {
                    merged.exit_status(true);
                    show(&merged.events());
                }
            }
        }
    }

    fn show(events: &[Event]) {
        let args = ReportArgs { verbose: true, ..ReportArgs::default() };
        for &format in Format::value_variants() {
            let mut reporter = reporter(format, true, &args, &args.submission(None));
            let mut out = Vec::new();
            events.iter().for_each(|event| reporter.event(event, &mut out).expect("memory takes it"));
            reporter.close(&mut out).expect("memory takes it");
        }
    }
}
