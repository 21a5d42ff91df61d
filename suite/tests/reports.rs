//! Bugs that users met (`suite/reports.toml`) name cases that exist, and `docs/reports.md` shows them. `UPDATE=1`
//! rewrites that page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

const PAGE: &str = "docs/reports.md";

const HEAD: &str = "\
# Bugs that users met, and which case would notice them

Generated from `suite/reports.toml`, which holds more of each: `UPDATE=1 cargo test -p suite --test reports`. A test
fails when page and file differ or when a case named here does not exist.

These are bugs of the kernel in unshare(2), or in what its namespaces, copies, limits and counts promise after the call.
They were collected from CVEs, changelogs of stable releases, mailing lists, issue trackers and tests of other
projects, not from what the suite checks. Each has one of three verdicts:

- **noticed**: the cases named give another verdict on a kernel that has the bug.
- **not yet**: no case notices it; the last column says what one would do.
- **out of reach**: no case of unshare(2) can notice it; the last column says why.

A release is a mainline release, or a stable one if it has three numbers. *Affected* and *fixed* are as the source says
or as measured.

";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    report: Vec<Report>,
}

/// A bug, as it was reported.
#[derive(Deserialize)]
struct Report {
    id: String,
    /// When it became known.
    year: u16,
    title: String,
    effect: String,
    affected: String,
    fixed: String,
    source: String,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Deserialize)]
#[serde(tag = "verdict", deny_unknown_fields)]
enum Verdict {
    #[serde(rename = "noticed")]
    Noticed {
        /// Names of cases, or of all their variants.
        by: Vec<String>,
        /// What these check.
        check: String,
    },
    #[serde(rename = "not yet")]
    NotYet {
        sketch: String,
        needs: String,
        /// On what the case can be seen to fail.
        shows: String,
        /// Cases that are close to it.
        near: Vec<String>,
    },
    #[serde(rename = "out of reach")]
    OutOfReach { why: String },
}

const NAMES: [&str; 3] = ["noticed", "not yet", "out of reach"];

impl Verdict {
    /// Which of [`NAMES`] it has.
    fn at(&self) -> usize {
        match self {
            Verdict::Noticed { .. } => 0,
            Verdict::NotYet { .. } => 1,
            Verdict::OutOfReach { .. } => 2,
        }
    }

    /// The last column.
    fn text(&self) -> String {
        match self {
            Verdict::Noticed { by, check } => {
                let names = by.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                format!("{names}: {check}")
            }
            Verdict::NotYet { sketch, .. } => sketch.clone(),
            Verdict::OutOfReach { why } => why.clone(),
        }
    }

    /// The cases that it names.
    fn cases(&self) -> &[String] {
        match self {
            Verdict::Noticed { by, .. } => by,
            Verdict::NotYet { near, .. } => near,
            Verdict::OutOfReach { .. } => &[],
        }
    }

    fn texts(&self) -> Vec<&String> {
        match self {
            Verdict::Noticed { check, .. } => vec![check],
            Verdict::NotYet { sketch, needs, shows, .. } => vec![sketch, needs, shows],
            Verdict::OutOfReach { why } => vec![why],
        }
    }
}

fn read(path: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All reports, the oldest first.
fn reports() -> Vec<Report> {
    let file: File = toml::from_str(&read("suite/reports.toml")).expect("suite/reports.toml is valid");
    let mut reports = file.report;
    reports.sort_by(|one, other| (one.year, &one.id).cmp(&(other.year, &other.id)));
    reports
}

fn page(reports: &[Report]) -> String {
    const ADDRESS: [&str; 2] = ["https://", "http://"];
    let of = |verdict: usize| reports.iter().filter(move |report| report.verdict.at() == verdict);
    let mut page = HEAD.to_owned();
    page.push_str("| verdict | bugs |\n|---|---|\n");
    for (at, name) in NAMES.iter().enumerate() {
        writeln!(page, "| {name} | {} |", of(at).count()).expect("a string takes all");
    }
    writeln!(page, "| all | {} |", reports.len()).expect("a string takes all");
    let columns = ["cases, and what they check", "what a case would do", "why"];
    for (at, (name, column)) in NAMES.iter().zip(columns).enumerate() {
        let title = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        write!(page, "\n## {title}\n\n| bug | year | what went wrong | affected | fixed | source | {column} |\n")
            .expect("a string takes all");
        page.push_str("|---|---|---|---|---|---|---|\n");
        for report in of(at) {
            let Report { id, year, title, effect, affected, fixed, source, verdict } = report;
            let linked: Vec<_> = source
                .split(' ')
                .map(|word| {
                    let bare = word.trim_end_matches([';', ',']);
                    let rest = &word[bare.len()..];
                    let linked = ADDRESS.iter().any(|start| bare.starts_with(start));
                    if linked { format!("<{bare}>{rest}") } else { word.to_owned() }
                })
                .collect();
            let wrong = format!("**{title}.** {effect}");
            let cells = [id, &year.to_string(), &wrong, affected, fixed, &linked.join(" "), &verdict.text()]
                .map(|cell| cell.replace('|', "\\|"));
            writeln!(page, "| {} |", cells.join(" | ")).expect("a string takes all");
        }
    }
    page
}

#[test]
fn the_page_is_that_of_reports_toml() {
    let page = page(&reports());
    if std::env::var_os("UPDATE").is_some() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(PAGE);
        fs::write(path, &page).expect("the page can be written");
        return;
    }
    for (number, (is, should)) in read(PAGE).lines().zip(page.lines()).enumerate() {
        assert_eq!(is, should, "{PAGE}:{}: run `UPDATE=1 cargo test -p suite --test reports`", number + 1);
    }
    assert_eq!(read(PAGE).len(), page.len(), "{PAGE} ends elsewhere");
}

#[test]
fn every_report_has_an_id_of_its_own_and_all_texts() {
    let mut seen = BTreeSet::new();
    let reports = reports();
    assert!(reports.len() > 90, "only {}", reports.len());
    for Report { id, year, title, effect, affected, fixed, source, verdict } in &reports {
        assert!(seen.insert(id), "{id} twice");
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(!id.is_empty() && id.bytes().all(valid), "{id:?}");
        // Namespaces came with 2.4.19, time goes on.
        assert!((2002..2100).contains(year), "{id}: {year}");
        for text in [title, effect, affected, fixed, source].into_iter().chain(verdict.texts()) {
            assert!(!text.is_empty() && text.trim() == text && !text.contains('\n'), "{id}: {text:?}");
        }
        assert!(effect.ends_with('.') && !title.ends_with('.'), "{id}: a title has no full stop, a sentence has one");
    }
}

#[test]
fn every_case_named_exists() {
    let items = harness::case::items(suite::cases::all());
    let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
    for Report { id, verdict, .. } in reports() {
        if let Verdict::Noticed { by, .. } = &verdict {
            assert!(!by.is_empty(), "{id} is noticed by nothing");
        }
        for case in verdict.cases() {
            let variants = format!("{case}.");
            assert!(
                names.iter().any(|name| name == case || name.starts_with(&variants)),
                "{id} names {case}, which no case is called"
            );
        }
    }
}
