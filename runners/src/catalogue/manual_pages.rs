//! Manual pages × requirements × cases: what becomes of each of their sentences.

use suite::spec::manual_pages::{self, Account, Page, Reason, Section, Sentence};

use crate::prelude::*;

/// The cases that prove each requirement.
pub type Proofs<'p> = BTreeMap<&'p str, Vec<String>>;

/// Where a sentence stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Proved,
    Untestable,
    OutOfScope,
    /// Cites a requirement that does not exist, or that no case proves.
    Unproved,
}

/// How many sentences stand where.
#[derive(Clone, Copy, Default, Serialize)]
struct Tally {
    sentences: usize,
    proved: usize,
    untestable: usize,
    out_of_scope: usize,
    unproved: usize,
}

impl Tally {
    fn add(&mut self, standing: Standing) {
        self.sentences += 1;
        *match standing {
            Standing::Proved => &mut self.proved,
            Standing::Untestable => &mut self.untestable,
            Standing::OutOfScope => &mut self.out_of_scope,
            Standing::Unproved => &mut self.unproved,
        } += 1;
    }

    /// Sentences that claim something about unshare(2) or what holds after it.
    fn claims(&self) -> usize {
        self.sentences - self.out_of_scope
    }

    /// How many of those are proved, in per cent; nothing where there are none.
    fn share(&self) -> String {
        match self.claims() {
            0 => String::new(),
            claims => format!("{:.1} %", 100.0 * self.proved as f64 / claims as f64),
        }
    }

    fn cells(&self) -> [String; 6] {
        let counts = [self.sentences, self.out_of_scope, self.claims(), self.proved, self.claims() - self.proved];
        let [a, b, c, d, e] = counts.map(|count| count.to_string());
        [a, b, c, d, e, self.share()]
    }
}

fn standing(sentence: &Sentence, proofs: &Proofs) -> Standing {
    match &sentence.account {
        Account::Requirements(ids) if ids.iter().all(|id| proofs.contains_key(id.as_str())) => Standing::Proved,
        Account::Requirements(_) => Standing::Unproved,
        Account::Untestable(_) => Standing::Untestable,
        Account::OutOfScope(_) => Standing::OutOfScope,
    }
}

fn sentences(page: &Page) -> impl Iterator<Item = (&Section, &Sentence)> {
    page.sections.iter().flat_map(|section| section.sentences.iter().map(move |sentence| (section, sentence)))
}

fn tally<'p>(pages: impl IntoIterator<Item = &'p Page>, proofs: &Proofs) -> Tally {
    let mut tally = Tally::default();
    for (_, sentence) in pages.into_iter().flat_map(sentences) {
        tally.add(standing(sentence, proofs));
    }
    tally
}

/// The figure, in one line.
pub fn summary(proofs: &Proofs) -> String {
    let tally = tally(manual_pages::all(), proofs);
    let mut text = format!(
        "{} sentences of {} manual pages: {} claim nothing about the call, {} do; of these {} proved ({}), {} not \
         testable",
        tally.sentences,
        manual_pages::all().len(),
        tally.out_of_scope,
        tally.claims(),
        tally.proved,
        tally.share(),
        tally.untestable,
    );
    if tally.unproved > 0 {
        let _ = write!(text, ", {} NOT PROVED", tally.unproved);
    }
    text + "."
}

/// Whether each sentence is out of scope, not testable, or has requirements that cases prove.
pub fn is_complete(proofs: &Proofs) -> bool {
    tally(manual_pages::all(), proofs).unproved == 0
}

/// A sentence by its first words.
fn words(sentence: &Sentence) -> String {
    match sentence.nth {
        1 => format!("{} …", sentence.begins),
        nth => format!("{} … ({nth})", sentence.begins),
    }
}

/// What a sentence comes to, as two columns: requirements and cases, or why there are none.
fn account(sentence: &Sentence, proofs: &Proofs, names: usize) -> [String; 2] {
    let ids = match &sentence.account {
        Account::Requirements(ids) => ids,
        Account::Untestable(why) => return ["not testable".to_owned(), why.clone()],
        Account::OutOfScope(reason) => return ["out of scope".to_owned(), format!("it {}", reason.text())],
    };
    let mut cases: Vec<&str> = Vec::new();
    let mut lacking = Vec::new();
    for id in ids {
        match proofs.get(id.as_str()) {
            Some(names) => {
                cases.extend(names.iter().map(String::as_str).filter(|name| !cases.contains(name)).collect::<Vec<_>>())
            }
            None if requirements::find(id).is_some() => lacking.push(format!("NO CASE for {id}")),
            None => lacking.push(format!("{id} DOES NOT EXIST")),
        }
    }
    let more = cases.len().checked_sub(names).filter(|more| *more > 0).map(|more| format!("{more} more"));
    let shown = cases.into_iter().take(names).map(str::to_owned);
    [ids.join(", "), lacking.into_iter().chain(shown).chain(more).collect::<Vec<_>>().join(", ")]
}

/// For terminals: numbers page by page; `missing` shows the sentences without proof, `verbose` all of them.
pub fn text(proofs: &Proofs, missing: bool, verbose: bool) -> String {
    let pages = manual_pages::all();
    let mut text = String::new();
    let width = pages.iter().map(|page| page.name.len()).max().unwrap_or(0);
    let headings = ["sentences", "out of scope", "claims", "proved", "not proved", ""];
    let row = |text: &mut String, name: &str, cells: [String; 6]| {
        let _ = write!(text, "{name:width$}");
        for (cell, heading) in cells.iter().zip(headings) {
            let _ = write!(text, "  {cell:>width$}", width = heading.len().max(7));
        }
        let _ = writeln!(text);
    };
    row(&mut text, "", headings.map(str::to_owned));
    for page in pages {
        row(&mut text, &page.name, tally([page], proofs).cells());
    }
    row(&mut text, "all", tally(pages, proofs).cells());
    for page in pages {
        for (section, sentence) in sentences(page) {
            let shown = match standing(sentence, proofs) {
                Standing::Untestable | Standing::Unproved => missing || verbose,
                Standing::Proved | Standing::OutOfScope => verbose,
            };
            if shown {
                let [standing, why] = account(sentence, proofs, 3);
                let _ = writeln!(text, "\n{} {}: {}\n    {standing}: {why}", page.name, section.name, words(sentence));
            }
        }
    }
    let _ = writeln!(text, "\n{}", summary(proofs));
    text
}

/// The pages with all rows, and where each stands.
pub fn json(proofs: &Proofs) -> serde_json::Value {
    let pages = manual_pages::all().iter().map(|page| {
        let rows = sentences(page).map(|(section, sentence)| {
            let mut row = serde_json::json!(sentence);
            row["section"] = serde_json::json!(section.name);
            if let Account::Requirements(ids) = &sentence.account {
                let cases: BTreeSet<_> = ids.iter().filter_map(|id| proofs.get(id.as_str())).flatten().collect();
                row["cases"] = serde_json::json!(cases);
            }
            row
        });
        let mut entry = serde_json::json!(tally([page], proofs));
        entry["page"] = serde_json::json!(page.name);
        entry["parts"] = serde_json::json!(page.parts);
        entry["rows"] = rows.collect();
        entry
    });
    serde_json::json!({
        "version": manual_pages::version(),
        "all": tally(manual_pages::all(), proofs),
        "pages": pages.collect::<Vec<_>>(),
    })
}

/// `docs/manual-pages.md`.
pub fn markdown(proofs: &Proofs) -> String {
    let pages = manual_pages::all();
    let mut document = Document::default();
    document.heading(1, "The manual pages, sentence by sentence");
    document.paragraph(format!(
        "What the manual pages promise of unshare(2) and of what holds after it, and which cases prove it. The pages \
         are Debian's `manpages` and `manpages-dev` {}. A row names a sentence by its section and first words; \
         headings, tags of lists, code and output of commands are no sentences. `suite/manual-pages/` has the rows; \
         `ci/manual-pages --check` finds a sentence without a row, and `unshare-conformance coverage --manual-pages \
         --format markdown` writes this document.",
        manual_pages::version()
    ));
    document.paragraph(format!("**{}**", summary(proofs)));
    let link = |page: &Page| format!("[{}](#{})", page.name, page.name.replace(['(', ')'], ""));
    let rows = pages.iter().map(|page| (link(page), tally([page], proofs)));
    let rows = rows.chain([("all".to_owned(), tally(pages, proofs))]);
    document.table(
        ["page", "sentences:", "out of scope:", "claims:", "proved:", "not proved:", "proved of claims:"],
        rows.map(|(name, tally)| std::iter::once(name).chain(tally.cells()).collect::<Vec<_>>()),
    );
    document.paragraph(
        "A claim is proved if cases prove each requirement of its row; [behaviour.md](behaviour.md) says what those \
         are. Where the kernel does otherwise than the page says, the requirement says so (DOC rows, and those that \
         are \"contrary to the manual page\").",
    );
    let untestable: Vec<_> = pages
        .iter()
        .flat_map(|page| sentences(page).map(move |(section, sentence)| (page, section, sentence)))
        .filter(|(_, _, sentence)| standing(sentence, proofs) == Standing::Untestable)
        .map(|(page, section, sentence)| {
            let [_, why] = account(sentence, proofs, 3);
            [page.name.clone(), cell(&section.name), cell(&words(sentence)), cell(&why)]
        })
        .collect();
    if !untestable.is_empty() {
        document.heading(2, "Claims that are not proved").table(["page", "section", "sentence", "why"], untestable);
    }
    document
        .heading(2, "Out of scope")
        .paragraph("Sentences that claim nothing about the call, by what each of them does.");
    document.table(["reason", "it …", "sentences:"], out_of_scope(pages));
    for page in pages {
        document.heading(2, &page.name);
        if !page.parts.is_empty() {
            document.paragraph("Of this page are read:").list(page.parts.iter().map(|part| cell(part)));
        }
        let claims: Vec<_> = sentences(page)
            .filter(|(_, sentence)| !matches!(sentence.account, Account::OutOfScope(_)))
            .map(|(section, sentence)| {
                let [standing, why] = account(sentence, proofs, 3);
                [cell(&section.name), cell(&words(sentence)), standing, cell(&why)]
            })
            .collect();
        if claims.is_empty() {
            document.paragraph("It claims nothing about the call.");
        } else {
            document.table(["section", "sentence", "requirements", "cases"], claims);
        }
    }
    document.finish()
}

/// How many sentences are out of scope for which reason.
fn out_of_scope(pages: &[Page]) -> Vec<[String; 3]> {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for (_, sentence) in pages.iter().flat_map(sentences) {
        if let Account::OutOfScope(reason) = sentence.account {
            *counts.entry(reason).or_default() += 1;
        }
    }
    let name = |reason: Reason| serde_json::json!(reason).as_str().unwrap_or_default().to_owned();
    counts.into_iter().map(|(reason, count)| [name(reason), reason.text().to_owned(), count.to_string()]).collect()
}

/// Text in a cell: only what would end the cell, begin a tag or become emphasis is escaped.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*").replace('[', "\\[")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(ids: &[&str]) -> Sentence {
        let account = Account::Requirements(ids.iter().map(|id| (*id).to_owned()).collect());
        Sentence { begins: "If flags is".to_owned(), nth: 1, account }
    }

    #[test]
    fn a_claim_is_proved_if_all_its_requirements_are() {
        let proofs = Proofs::from([("FLAG-40", vec!["flags.none".to_owned()])]);
        assert!(standing(&sentence(&["FLAG-40"]), &proofs) == Standing::Proved);
        assert!(standing(&sentence(&["FLAG-40", "FLAG-41"]), &proofs) == Standing::Unproved);
        let [ids, cases] = account(&sentence(&["FLAG-40", "FLAG-41", "NEW-99"]), &proofs, 3);
        assert_eq!(ids, "FLAG-40, FLAG-41, NEW-99");
        assert_eq!(cases, "NO CASE for FLAG-41, NEW-99 DOES NOT EXIST, flags.none");
    }

    #[test]
    fn what_is_out_of_scope_is_no_claim() {
        let mut tally = Tally::default();
        [Standing::Proved, Standing::OutOfScope, Standing::Untestable].into_iter().for_each(|one| tally.add(one));
        assert_eq!(tally.cells(), ["3", "1", "2", "1", "1", "50.0 %"].map(str::to_owned));
    }
}
