//! What the manual pages say of unshare(2), sentence by sentence, and which requirements prove it.
//!
//! `suite/manual-pages/` has a file for each page. `ci/manual-pages` checks that each sentence of the pages has a row,
//! and each row a sentence.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Debian's version of the packages `manpages` and `manpages-dev` that the rows are of.
pub fn version() -> &'static str {
    include_str!("../../manual-pages/version").trim()
}

/// A page, or the parts of it that are read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Its name and section, such as `unshare(2)`.
    #[serde(rename = "page")]
    pub name: String,
    /// The sections that are read, with all below them. Empty: the whole page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Its sections, in the order of the page. One that a list interrupts is there more than once.
    #[serde(rename = "section")]
    pub sections: Vec<Section>,
}

/// A section of a page, without what is below it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The headings that lead to it and the tags of lists: `DESCRIPTION, CLONE_FILES`.
    pub name: String,
    /// Its sentences, in the order of the page.
    pub sentences: Vec<Sentence>,
}

/// A sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Row")]
pub struct Sentence {
    /// Its first words.
    pub begins: String,
    /// Which it is, from 1, of those in its section that begin alike.
    pub nth: usize,
    /// What it comes to.
    #[serde(flatten)]
    pub account: Account,
}

/// What a sentence comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// The IDs of the requirements that prove what it says, or that say where the kernel does otherwise.
    Requirements(Vec<String>),
    /// It claims something that no case can show: why.
    Untestable(String),
    /// It claims nothing about unshare(2) or what holds after it.
    OutOfScope(Reason),
}

/// Why a sentence claims nothing that the suite could check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Names the page, or introduces a list.
    Heading,
    /// Refers to another page.
    Reference,
    /// Tells what older releases did.
    History,
    /// Says what a word or a notation means.
    Definition,
    /// Says what something is for.
    Rationale,
    /// Tells the steps of an example.
    Example,
    /// Is about another call or a program.
    Other,
}

impl Reason {
    /// The reason, after "it".
    pub fn text(self) -> &'static str {
        match self {
            Reason::Heading => "names the page or its library, or introduces a list or a table",
            Reason::Reference => "refers to another page",
            Reason::History => "tells when something was added, or what releases before 5.10 did",
            Reason::Definition => "says what a word or a notation means",
            Reason::Rationale => "says what something is for, or why it is as it is",
            Reason::Example => "tells the steps of an example",
            Reason::Other => "says what another call or a program does, whether or not unshare(2) was called",
        }
    }
}

/// A sentence as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    begins: String,
    #[serde(default = "first")]
    nth: usize,
    requirements: Option<Vec<String>>,
    untestable: Option<String>,
    out_of_scope: Option<Reason>,
}

fn first() -> usize {
    1
}

impl TryFrom<Row> for Sentence {
    type Error = String;

    fn try_from(row: Row) -> Result<Self, String> {
        let account = match (row.requirements, row.untestable, row.out_of_scope) {
            (Some(ids), None, None) if !ids.is_empty() => Account::Requirements(ids),
            (None, Some(why), None) => Account::Untestable(why),
            (None, None, Some(reason)) => Account::OutOfScope(reason),
            _ => return Err(format!("{:?} has not exactly one of requirements, untestable, out_of_scope", row.begins)),
        };
        Ok(Self { begins: row.begins, nth: row.nth, account })
    }
}

/// The files, in the order in which the pages are shown.
macro_rules! files {
    ($($name:literal),* $(,)?) => { [$(include_str!(concat!("../../manual-pages/", $name, ".toml"))),*] };
}

/// All pages.
///
/// # Panics
/// A file built into this program is not valid, which a test excludes.
pub fn all() -> &'static [Page] {
    static ALL: OnceLock<Vec<Page>> = OnceLock::new();
    ALL.get_or_init(|| {
        let files = files![
            "unshare.2",
            "namespaces.7",
            "mount_namespaces.7",
            "user_namespaces.7",
            "pid_namespaces.7",
            "network_namespaces.7",
            "ipc_namespaces.7",
            "uts_namespaces.7",
            "time_namespaces.7",
            "cgroup_namespaces.7",
            "clone.2",
            "setns.2",
            "capabilities.7",
            "credentials.7",
            "proc.5",
        ];
        files.map(|text| toml::from_str(text).unwrap_or_else(|error| panic!("a manual page: {error}"))).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many words a row may have of a sentence, whose licence is not ours.
    const MOST_WORDS: usize = 6;

    #[test]
    fn rows_name_sentences_and_do_not_quote_them() {
        for sentence in all().iter().flat_map(|page| &page.sections).flat_map(|section| &section.sentences) {
            assert!(sentence.begins.split_whitespace().count() <= MOST_WORDS, "{:?}", sentence.begins);
        }
    }

    #[test]
    fn every_file_is_a_page() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manual-pages");
        let names = std::fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
        let files = names.filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
        assert_eq!(files.count(), all().len(), "list the file in all()");
    }

    #[test]
    fn a_row_says_one_thing() {
        let read = |text: &str| toml::from_str::<Sentence>(text).map(|sentence| sentence.account);
        assert_eq!(read("begins = \"a\"\nout_of_scope = \"history\""), Ok(Account::OutOfScope(Reason::History)));
        assert!(read("begins = \"a\"").is_err());
        assert!(read("begins = \"a\"\nrequirements = []").is_err());
        assert!(read("begins = \"a\"\nuntestable = \"why\"\nout_of_scope = \"history\"").is_err());
    }
}
