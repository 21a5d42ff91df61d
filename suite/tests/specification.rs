//! The behaviour catalogue (`docs/behaviour.md`) agrees with `suite/requirements.toml`, and whatever
//! the project cites of it exists. `UPDATE=1` rewrites the document's tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use suite::spec::requirements::{self, Requirement};

const CATALOGUE: &str = "docs/behaviour.md";

/// Families of IDs that only the document defines: rules for whoever writes a case, past bugs and
/// observations of gVisor, none of which a case can prove.
const ONLY_IN_DOCUMENT: [&str; 3] = ["RULE", "HIST", "GV"];

/// What looks like a family of IDs and is none: the harness's own selftest, benchmark and examples, and made-up IDs of
/// tests.
const NO_FAMILIES: [&str; 6] = ["SELF", "BENCH", "DIR", "NEW", "EFF", "DEP"];

/// Documents whose sections are their own or those of the 2006 document.
const OTHER_SECTIONS: [&str; 1] = ["docs/2006-document.md"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A requirement's row in the document.
fn row(requirement: &Requirement) -> String {
    // Whose affair it is `coverage -v` shows.
    let Requirement { id, affair: _, claim, source, since, until, untestable } = requirement;
    let mut text = claim.clone();
    if let Some(reason) = untestable {
        text.push_str(&format!(" *No case:* {reason}"));
    }
    let releases = match (since, until) {
        (Some(since), Some(until)) => format!("{since}, before {until}"),
        (Some(since), None) => since.clone(),
        (None, Some(until)) => format!("before {until}"),
        (None, None) => String::new(),
    };
    let cells = [id, &text, &releases, source].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn family(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(family, _)| family)
}

/// The requirements from `first` to `last`, or to the end of their family: `FLAG-00..FLAG-38`, `FLAG-40..`.
fn range(range: &str) -> &'static [Requirement] {
    let all = requirements::all();
    let at = |id: &str| {
        all.iter().position(|requirement| requirement.id == id).unwrap_or_else(|| panic!("{range}: {id} is unknown"))
    };
    let (first, last) = range.split_once("..").unwrap_or_else(|| panic!("{range} is not FIRST..LAST or FIRST.."));
    let first = at(first);
    let end = if last.is_empty() {
        let next = all[first..].iter().position(|other| family(&other.id) != family(&all[first].id));
        next.map_or(all.len(), |length| first + length)
    } else {
        at(last) + 1
    };
    &all[first..end]
}

/// The document with each table of requirements as `suite/requirements.toml` has it.
fn generated(document: &str) -> String {
    const BEGIN: &str = "<!-- requirements ";
    const END: &str = "<!-- end -->";
    let mut parts = document.split_inclusive('\n');
    let mut text = String::new();
    while let Some(line) = parts.next() {
        text.push_str(line);
        let Some(marker) = line.trim_end().strip_prefix(BEGIN) else { continue };
        let marker = marker.strip_suffix(" -->").expect("a marker ends its line");
        text.push_str("| ID | a correct kernel | since | source |\n|---|---|---|---|\n");
        text.extend(range(marker).iter().map(row));
        let end = parts.find(|line| line.trim_end() == END);
        text.push_str(end.unwrap_or_else(|| panic!("{marker}: no {END} follows")));
    }
    text
}

/// Whether an ID's last part is a number: two digits, or `S` and digits (ATOM-S10).
fn is_number(part: &str) -> bool {
    let digits = part.strip_prefix('S').unwrap_or(part);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 2 || (digits.len() == 1 && part != digits))
}

/// All IDs that a text mentions.
fn ids(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .map(|word| word.trim_matches('-'))
        .filter(|word| {
            word.rsplit_once('-').is_some_and(|(family, number)| {
                family.len() >= 2 && family.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') && is_number(number)
            })
        })
        .collect()
}

/// The IDs that the document defines: those in the first column of a table.
fn defined(document: &str) -> Vec<&str> {
    document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .map(|(cell, _)| cell)
        .filter(|cell| ids(cell).contains(cell))
        .collect()
}

/// The numbers of the document's headings.
fn headings(document: &str) -> BTreeSet<&str> {
    let headings = document.lines().filter(|line| line.starts_with("##"));
    headings
        .filter_map(|line| line.trim_start_matches('#').split_whitespace().next()?.strip_suffix('.'))
        .chain(
            document.lines().filter(|line| line.starts_with("###")).filter_map(|line| line.split_whitespace().nth(1)),
        )
        .collect()
}

/// All sources and documents of the project.
fn sources() -> Vec<PathBuf> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|kind| ["rs", "toml", "md"].iter().any(|known| kind == *known)) {
                found.push(path);
            }
        }
    }
    let mut found: Vec<_> = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "Cargo.toml", "deny.toml"]
        .map(|name| root().join(name))
        .into();
    for directory in ["suite", "harness", "runners", "vm", "docs", "ci"] {
        collect(&root().join(directory), &mut found);
    }
    // Has made-up IDs and sections.
    found.retain(|path| !path.ends_with(file!().rsplit('/').next().unwrap_or_default()));
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A text on one line, without what makes its lines comments.
fn joined(text: &str) -> String {
    let words = text.lines().flat_map(|line| {
        let line = line.trim_start();
        let comment = ["//!", "///", "//", "#"].iter().find_map(|start| line.strip_prefix(start));
        comment.unwrap_or(line).split_whitespace().filter(|word| *word != "\\")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A citation of sections: their numbers, and whose they are.
#[derive(Debug, PartialEq)]
struct Citation<'a> {
    numbers: Vec<&'a str>,
    of: Option<Document>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Document {
    Behaviour,
    Of2006,
}

/// The sections that a text, on one line, cites by number.
fn citations(text: &str) -> Vec<Citation<'_>> {
    /// How far from the number the document may be named, in characters.
    const NEAR: usize = 60;
    let mut found = Vec::new();
    for (at, word) in text.match_indices("ection") {
        let rest = text[at + word.len()..].trim_start_matches('s');
        let mut words = rest.strip_prefix(' ').unwrap_or_default().split(' ');
        let mut numbers = Vec::new();
        while let Some(word) = words.next() {
            let number = word.trim_end_matches(|c: char| !c.is_ascii_digit());
            if !number.starts_with(|c: char| c.is_ascii_digit()) {
                break;
            }
            numbers.push(number);
            let more = word == number && matches!(words.clone().next(), Some("and" | "to"));
            if more {
                words.next();
            } else if !word.ends_with(',') {
                break;
            }
        }
        if numbers.is_empty() {
            continue;
        }
        let before: String = text[..at].chars().rev().take(NEAR).collect::<Vec<_>>().into_iter().rev().collect();
        let after: String = rest.chars().take(NEAR).collect();
        let of = if before.contains("behaviour catalogue") || after.contains("behaviour catalogue") {
            Some(Document::Behaviour)
        } else if before.contains("2006") || after.contains("2006") {
            Some(Document::Of2006)
        } else {
            None
        };
        found.push(Citation { numbers, of });
    }
    found
}

#[test]
fn tables_are_those_of_requirements_toml() {
    let path = root().join(CATALOGUE);
    let document = read(&path);
    let generated = generated(&document);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &generated).expect("the document can be written");
        return;
    }
    for (number, (is, should)) in document.lines().zip(generated.lines()).enumerate() {
        assert_eq!(is, should, "{CATALOGUE}:{}: run `UPDATE=1 cargo test -p suite --test specification`", number + 1);
    }
    assert_eq!(document.len(), generated.len(), "{CATALOGUE} ends elsewhere");
}

#[test]
fn each_id_is_defined_once_and_in_both() {
    let document = generated(&read(&root().join(CATALOGUE)));
    let mut seen = BTreeSet::new();
    for id in defined(&document) {
        assert!(seen.insert(id), "{CATALOGUE} defines {id} twice");
    }
    let here: BTreeSet<_> = seen.into_iter().filter(|id| !ONLY_IN_DOCUMENT.contains(&family(id))).collect();
    let there: BTreeSet<_> = requirements::all().iter().map(|requirement| requirement.id.as_str()).collect();
    let missing: Vec<_> = there.difference(&here).collect();
    assert!(missing.is_empty(), "{CATALOGUE} has no table with {missing:?}: add a marker or extend one");
    let unknown: Vec<_> = here.difference(&there).collect();
    assert!(unknown.is_empty(), "suite/requirements.toml lacks {unknown:?}, which {CATALOGUE} defines");
}

#[test]
fn every_cited_id_exists() {
    let document = generated(&read(&root().join(CATALOGUE)));
    let defined: BTreeSet<_> = defined(&document).into_iter().collect();
    let mut cited = 0;
    let mut wrong = Vec::new();
    for path in sources() {
        let text = read(&path);
        for id in ids(&text).into_iter().filter(|id| !NO_FAMILIES.contains(&family(id))) {
            cited += 1;
            if !defined.contains(id) {
                wrong.push(format!("{}: {id}", shown(&path)));
            }
        }
    }
    assert!(cited > 1000, "only {cited} found");
    assert!(wrong.is_empty(), "{CATALOGUE} does not define:\n{}", wrong.join("\n"));
}

#[test]
fn every_cited_section_exists() {
    let document = read(&root().join(CATALOGUE));
    let headings = headings(&document);
    let mut cited = 0;
    let mut wrong = Vec::new();
    for path in sources() {
        let name = shown(&path);
        if OTHER_SECTIONS.contains(&name.as_str()) {
            continue;
        }
        let text = joined(&read(&path));
        for Citation { numbers, of } in citations(&text) {
            match of {
                Some(Document::Of2006) => {}
                // It speaks of itself where it names no other.
                None if name != CATALOGUE => {
                    wrong.push(format!("{name}: section {numbers:?} of what? Write \"of the behaviour catalogue\""));
                }
                Some(Document::Behaviour) | None => {
                    cited += 1;
                    let missing: Vec<_> = numbers.iter().filter(|number| !headings.contains(*number)).collect();
                    if !missing.is_empty() {
                        wrong.push(format!("{name}: {CATALOGUE} has no section {missing:?}"));
                    }
                }
            }
        }
    }
    assert!(cited > 40, "only {cited} found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn citations_are_recognised() {
    assert_eq!(
        ids("(RULE-05); EFF-MNT-07, ATOM-S10 and ATOM-S1, but UTF-8, x86-64, CVE-2013-1956, EFF-MNT-0 or A_B-01"),
        ["RULE-05", "EFF-MNT-07", "ATOM-S10", "ATOM-S1"].into()
    );
    let one = |text, numbers: &[&'static str], of| {
        assert_eq!(citations(text), [Citation { numbers: numbers.to_vec(), of }], "{text}");
    };
    one("(section 3.12 of the behaviour catalogue)", &["3.12"], Some(Document::Behaviour));
    one("(rows MT-06 to MT-10 of the behaviour catalogue, section 6).", &["6"], Some(Document::Behaviour));
    one("sections 1 and 10.2 of the behaviour catalogue", &["1", "10.2"], Some(Document::Behaviour));
    one("2006 document section 8 (3)", &["8"], Some(Document::Of2006));
    one("the steps (section 2.5).", &["2.5"], None);
    assert_eq!(citations("a section of its own, one of 3 sections"), []);
    assert_eq!(joined("    /// (section\n    /// 5.1)"), "(section 5.1)");
    let parts = headings("## 2. Errors\n### 2.1 Success\n# x");
    assert_eq!(parts, ["2", "2.1"].into());
}
