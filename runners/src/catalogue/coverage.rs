//! Requirements × cases: which requirements are proved by which cases, and why the others are not.

use super::manual_pages;
use crate::prelude::*;

const EXAMPLES: &str = "\
Examples:
  unshare-conformance coverage                    every requirement, one line each
  unshare-conformance coverage EFF-MNT            one kind of requirement
  unshare-conformance coverage ORD-03 -v          with its claim, its source and all its cases
  unshare-conformance coverage --missing          requirements that no case proves, and why
  unshare-conformance coverage --manual-pages     manual pages: how many sentences are proved
  unshare-conformance coverage --manual-pages --missing     sentences that no case proves, and why
  unshare-conformance coverage --format markdown > coverage.md

Exit status:
  0    every requirement has a case, or a reason why it cannot be tested; every sentence of the
       manual pages is proved, or has a reason why not
  1    a requirement or a sentence has neither
  129  no such requirement";

/// The arguments of `coverage`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CoverageArgs {
    /// Show only requirements of this kind or with this ID, e.g. EFF-MNT or ORD-03
    id: Vec<String>,
    /// Show only requirements that no case proves
    #[arg(long)]
    missing: bool,
    /// Show the sentences of the manual pages instead, and which requirements prove them
    #[arg(long, conflicts_with = "id")]
    manual_pages: bool,
    /// Also show each claim, its source and all cases
    #[arg(short, long)]
    verbose: bool,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: SurveyFormat,
}

/// A requirement, and the cases that prove it.
#[derive(Serialize)]
struct Row<'c> {
    #[serde(flatten)]
    requirement: &'c Requirement,
    cases: Vec<Proof>,
}

/// A case, and in how many of its variants it proves the requirement.
#[derive(Serialize)]
struct Proof {
    name: &'static str,
    variants: usize,
}

/// Where a requirement stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Proved,
    Untestable,
    Missing,
}

impl Row<'_> {
    fn standing(&self) -> Standing {
        match (&self.cases[..], &self.requirement.untestable) {
            ([_, ..], _) => Standing::Proved,
            ([], Some(_)) => Standing::Untestable,
            ([], None) => Standing::Missing,
        }
    }

    /// The first of its cases, or why there are none.
    fn by(&self, names: usize) -> String {
        match self.standing() {
            Standing::Proved => {
                let shown = self.cases.iter().take(names).map(Proof::words);
                let more = self.cases.len().checked_sub(names).filter(|more| *more > 0);
                shown.chain(more.map(|more| format!("{more} more"))).collect::<Vec<_>>().join(", ")
            }
            Standing::Untestable => {
                let why = self.requirement.untestable.as_deref();
                format!("not testable: {}", why.unwrap_or_default())
            }
            Standing::Missing => "NO CASE".to_owned(),
        }
    }

    /// The releases its claim is limited to, in brackets.
    fn releases(&self) -> String {
        match (&self.requirement.since, &self.requirement.until) {
            (None, None) => String::new(),
            (Some(since), None) => format!(" (since {since})"),
            (None, Some(until)) => format!(" (before {until})"),
            (Some(since), Some(until)) => format!(" (since {since}, before {until})"),
        }
    }

    /// Whether an ID, or the beginning of one that ends with a whole word, means it.
    fn is_meant(&self, id: &str) -> bool {
        let rest = self.requirement.id.strip_prefix(id);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-') || id.ends_with('-'))
    }
}

/// The kind of a requirement: its ID without the number.
pub fn kind(requirement: &Requirement) -> &str {
    let id = requirement.id.as_str();
    id.rsplit_once('-').map_or(id, |(kind, _)| kind)
}

impl Proof {
    fn words(&self) -> String {
        match self.variants {
            1 => self.name.to_owned(),
            many => format!("{} ({many})", self.name),
        }
    }
}

/// Shows what is covered.
pub fn run(args: &CoverageArgs, cases: &'static [Case]) -> Result<ExitStatus> {
    let items = harness::case::items(cases);
    let mut rows = rows(requirements::all(), &items);
    let proofs = proofs(&rows);
    let pages_are_complete = manual_pages::is_complete(&proofs);
    if let Some(id) = args.id.iter().find(|id| !rows.iter().any(|row| row.is_meant(id))) {
        let why = format!("there is no requirement {id:?}: `unshare-conformance coverage` lists all of them");
        return Err(WrongInput(why).into());
    }
    rows.retain(|row| args.id.is_empty() || args.id.iter().any(|id| row.is_meant(id)));
    let text = match args.format {
        SurveyFormat::Text if args.manual_pages => manual_pages::text(&proofs, args.missing, args.verbose),
        SurveyFormat::Markdown if args.manual_pages => manual_pages::markdown(&proofs),
        SurveyFormat::Json if args.manual_pages => stdout::json(&manual_pages::json(&proofs)),
        SurveyFormat::Text if args.id.is_empty() => text(&rows, args) + &manual_pages::summary(&proofs) + "\n",
        SurveyFormat::Text => text(&rows, args),
        SurveyFormat::Markdown => markdown(&rows, args),
        SurveyFormat::Json => stdout::json(&shown(&rows, args).collect::<Vec<_>>()),
    };
    stdout::print(text)?;
    let lacks = rows.iter().any(|row| row.standing() == Standing::Missing) || !pages_are_complete;
    Ok(if lacks { ExitStatus::DoesNotConform } else { ExitStatus::Conforms })
}

fn rows<'c>(catalogue: &'c [Requirement], items: &[Item]) -> Vec<Row<'c>> {
    let mut proofs: BTreeMap<&str, Vec<Proof>> = BTreeMap::new();
    for item in items {
        for id in item.proves() {
            let proofs = proofs.entry(id).or_default();
            // The variants of a case follow each other.
            match proofs.last_mut() {
                Some(proof) if proof.name == item.case.name => proof.variants += 1,
                _ => proofs.push(Proof { name: item.case.name, variants: 1 }),
            }
        }
    }
    catalogue
        .iter()
        .map(|requirement| Row { requirement, cases: proofs.remove(requirement.id.as_str()).unwrap_or_default() })
        .collect()
}

/// The names of the cases that prove each requirement that one proves.
fn proofs<'c>(rows: &[Row<'c>]) -> manual_pages::Proofs<'c> {
    let proved = rows.iter().filter(|row| row.standing() == Standing::Proved);
    proved.map(|row| (row.requirement.id.as_str(), row.cases.iter().map(Proof::words).collect())).collect()
}

fn shown<'r, 'c>(rows: &'r [Row<'c>], args: &CoverageArgs) -> impl Iterator<Item = &'r Row<'c>> {
    let missing = args.missing;
    rows.iter().filter(move |row| !missing || row.standing() != Standing::Proved)
}

/// How many cases are named.
fn names(args: &CoverageArgs) -> usize {
    if args.verbose { usize::MAX } else { 3 }
}

fn text(rows: &[Row], args: &CoverageArgs) -> String {
    let mut text = String::new();
    let ids = rows.iter().map(|row| row.requirement.id.len());
    let width = ids.max().unwrap_or(0);
    for row in shown(rows, args) {
        let mut lines = vec![row.by(names(args))];
        if args.verbose || args.missing {
            lines.push(row.requirement.claim.clone());
        }
        if args.verbose {
            lines.push(row.requirement.source.clone() + &row.releases());
            lines.push(format!("a violation concerns: {}", row.requirement.affair.words()));
        }
        let id = std::iter::once(row.requirement.id.as_str()).chain(std::iter::repeat(""));
        for (id, line) in id.zip(lines) {
            let _ = writeln!(text, "{id:width$}  {line}");
        }
    }
    let _ = writeln!(text, "\n{}", summary(rows));
    text
}

fn markdown(rows: &[Row], args: &CoverageArgs) -> String {
    let mut document = Document::default();
    document.heading(1, "Requirements and cases").paragraph(summary(rows));
    let shown: Vec<&Row> = shown(rows, args).collect();
    for rows in shown.chunk_by(|one, next| kind(one.requirement) == kind(next.requirement)) {
        let lines = rows.iter().map(|row| {
            let claim = cell(&row.requirement.claim) + &row.releases();
            [row.requirement.id.clone(), claim, cell(&row.by(names(args)))]
        });
        document.heading(2, kind(rows[0].requirement)).table(["ID", "Claim", "Cases"], lines);
    }
    document.finish()
}

/// Text in a cell. Claims use Markdown's code spans, so only what would end the cell or begin a tag is escaped.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn summary(rows: &[Row]) -> String {
    let count = |standing| rows.iter().filter(|row| row.standing() == standing).count();
    let proved = count(Standing::Proved);
    let share = 100.0 * proved as f64 / rows.len().max(1) as f64;
    format!(
        "{} requirements: {proved} proved by cases ({share:.1} %), {} not testable, {} without a case.",
        rows.len(),
        count(Standing::Untestable),
        count(Standing::Missing)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(id: &str, untestable: Option<&str>) -> Requirement {
        Requirement {
            id: id.to_owned(),
            affair: Default::default(),
            claim: "a | b".to_owned(),
            source: "unshare(2)".to_owned(),
            since: Some("5.6".to_owned()),
            until: None,
            untestable: untestable.map(str::to_owned),
        }
    }

    #[test]
    fn rows_say_where_they_stand() {
        let catalogue = [
            requirement("FLAG-09", None),
            requirement("ERR-29", Some("nothing reaches it")),
            requirement("NEW-01", None),
        ];
        let items = harness::case::items(suite::cases::all());
        let rows = rows(&catalogue, &items);
        assert!(rows[0].by(1).contains("flags."), "{}", rows[0].by(1));
        assert_eq!(rows[1].by(3), "not testable: nothing reaches it");
        assert_eq!(rows[2].by(3), "NO CASE");
        let expected = "3 requirements: 1 proved by cases (33.3 %), 1 not testable, 1 without a case.";
        assert_eq!(summary(&rows), expected);
    }

    #[test]
    fn a_kind_is_whole() {
        let catalogue = [requirement("EFF-MNT-01", None)];
        let row = &rows(&catalogue, &[])[0];
        for (id, meant) in
            [("EFF", true), ("EFF-MNT", true), ("EFF-MNT-01", true), ("EFF-M", false), ("EFF-MNT-0", false)]
        {
            assert_eq!(row.is_meant(id), meant, "{id}");
        }
    }

    #[test]
    fn a_table_keeps_its_columns() {
        let catalogue = [requirement("NEW-01", None)];
        let args = CoverageArgs {
            id: Vec::new(),
            missing: false,
            manual_pages: false,
            verbose: false,
            format: SurveyFormat::Markdown,
        };
        let text = markdown(&rows(&catalogue, &[]), &args);
        let line = "| NEW-01 | a \\| b (since 5.6) | NO CASE |";
        assert!(text.contains(line), "{text}");
    }
}
