//! Lists the cases without running any.

use std::io::{self, Write};

use harness::case::test::Tier;
use harness::verdict::outcome::ExitStatus;
use serde::Serialize;

use crate::cli::SelectionArgs;
use crate::host::select;

/// A case as a list shows it.
#[derive(Serialize)]
struct Listed<'i> {
    name: &'i str,
    about: &'i str,
    proves: &'i [&'i str],
    source: &'i str,
    /// The first tier it is part of.
    tier: Tier,
    file: &'i str,
    line: u32,
    /// Why it cannot run here; none when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    unmet: Option<Vec<String>>,
}

/// Names, one a line.
///
/// # Errors
/// No case matches, or standard output cannot be written.
pub fn text(args: &SelectionArgs) -> anyhow::Result<ExitStatus> {
    let mut out = io::stdout().lock();
    for item in select(args, Tier::Exhaustive, suite::cases::all())? {
        writeln!(out, "{}", item.name)?;
    }
    Ok(ExitStatus::Conforms)
}

/// All that is known of each case, and whether it can run on this machine.
///
/// # Errors
/// No case matches, the machine's facts cannot be gathered, or standard output cannot be written.
pub fn json(args: &SelectionArgs) -> anyhow::Result<ExitStatus> {
    let facts = harness::run::pool::facts()?;
    let items = select(args, Tier::Exhaustive, suite::cases::all())?;
    let listed: Vec<_> = items
        .iter()
        .map(|item| {
            let unmet: Vec<_> = item.needs().unmet(&facts, false).into_iter().map(|unmet| unmet.reason).collect();
            Listed {
                name: &item.name,
                about: item.case.about,
                proves: item.proves(),
                source: item.case.source,
                tier: item.case.from,
                file: item.case.file,
                line: item.case.line,
                unmet: (!unmet.is_empty()).then_some(unmet),
            }
        })
        .collect();
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &listed)?;
    writeln!(out)?;
    Ok(ExitStatus::Conforms)
}
