//! Lists the cases.

use crate::prelude::*;

/// The arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: ListFormat,
}

/// A case as JSON shows it.
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

/// Prints the names, one a line; or all that is known, and whether each case can run on this machine.
pub fn run(args: &ListArgs) -> Result<ExitStatus> {
    let items = select(&args.selection, Tier::Exhaustive, suite::cases::all())?;
    if args.format == ListFormat::Text {
        return stdout::print(items.iter().map(|item| item.name.clone() + "\n").collect::<String>());
    }
    let facts = harness::run::pool::facts(&suite::SUITE)?;
    let listed: Vec<_> = items
        .iter()
        .map(|item| {
            let unmet: Vec<_> =
                item.needs().unmet(&suite::SUITE, &facts, false).into_iter().map(|unmet| unmet.reason).collect();
            Listed {
                name: &item.name,
                about: item.case.about,
                proves: item.proves(),
                source: item.case.source,
                tier: item.from,
                file: item.case.file,
                line: item.case.line,
                unmet: (!unmet.is_empty()).then_some(unmet),
            }
        })
        .collect();
    stdout::print(stdout::json(&listed))
}
