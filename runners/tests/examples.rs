//! What the documents tell a reader to type is understood, and what costs little is tried.

mod driver;

use driver::{Path, PathBuf, fs};

/// A command of a document: where it stands, and its words.
struct Example {
    place: String,
    words: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All documents of the project that a user reads, each with its text.
fn documents() -> impl Iterator<Item = (PathBuf, String)> {
    let mut found: Vec<_> = ["", "docs", "ci/engines"].into_iter().flat_map(entries).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.sort();
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("readable")))
}

/// What a directory of the project has.
fn entries(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).expect("a directory of the project");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

/// The words of our program's calls in a line of shell: without comments, redirections and whatever it
/// is piped into.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    line.split([';', '|', '&'])
        .filter_map(|command| {
            let mut words = command.split_whitespace();
            words.find(|word| word.trim_matches(['\'', '"']) == "unshare-conformance")?;
            let words = words
                .take_while(|word| !word.starts_with('>') && !word.starts_with('<'))
                .map(|word| word.trim_matches(['\'', '"', ')']).to_owned());
            Some(words.collect())
        })
        .collect()
}

fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    for (path, text) in documents() {
        let mut in_shell = false;
        for (number, line) in text.lines().enumerate() {
            match line.trim() {
                "```sh" => in_shell = true,
                "```" => in_shell = false,
                line if in_shell => {
                    let place = format!("{}:{}", path.display(), number + 1);
                    examples.extend(calls(line).into_iter().map(|words| Example { place: place.clone(), words }));
                }
                _ => {}
            }
        }
    }
    examples
}

#[test]
fn every_example_is_understood() {
    let examples = examples();
    assert!(examples.len() > 20, "only {}", examples.len());
    for Example { place, words } in &examples {
        let line = [&["unshare-conformance".to_owned()], words.as_slice()].concat();
        if let Err(error) = runners::cli::command().try_get_matches_from(&line) {
            panic!("{place}: {}\n{error}", words.join(" "));
        }
    }
}

/// Whether it takes neither a guest, nor long, nor files that the reader has.
fn is_cheap(words: &[String]) -> bool {
    match words.first().map(String::as_str) {
        Some("list" | "coverage" | "known-bugs" | "completions") => true,
        Some("faults") => words.iter().any(|word| word == "list"),
        Some(first) => {
            (first.starts_with("flags") || first.starts_with("implied"))
                && !words.iter().any(|word| word.starts_with("--"))
        }
        None => false,
    }
}

#[test]
fn cheap_examples_work() {
    let cheap: Vec<_> = examples().into_iter().filter(|example| is_cheap(&example.words)).collect();
    assert!(cheap.len() > 4, "only {}", cheap.len());
    for Example { place, words } in cheap {
        // As it stands, placeholders and all.
        let words: Vec<_> = words.into_iter().filter(|word| !word.starts_with('[')).collect();
        let output = driver::exited(0, driver::run(&words), (&place, &words));
        assert!(!output.stdout.is_empty(), "{place}: {words:?}");
    }
}

/// Where a document shows what a case said, the case still says it there.
#[test]
fn places_in_documents_are_of_checks() {
    for (path, text) in documents() {
        for place in text.lines().filter_map(|line| line.trim().strip_prefix("at: ")) {
            let (file, line) = place.split_once(':').expect("a line");
            let source = fs::read_to_string(root().join(file)).expect("a file of the project");
            let line = line.parse::<usize>().expect("a number");
            let code = source.lines().nth(line - 1).unwrap_or_default();
            let is_check = code.contains("check") || code.contains(".as_predicted()");
            assert!(is_check, "{}: {place} is {code:?}", path.display());
        }
    }
}

/// What a document shows of the suite's own code is in it, word for word.
#[test]
fn cases_in_documents_are_real() {
    let groups = entries("suite/src/cases").into_iter();
    let files = groups.flat_map(|path| if path.is_dir() { entries(path) } else { vec![path] });
    let sources: Vec<String> = files.map(|path| fs::read_to_string(path).expect("readable")).collect();
    let mut shown = 0;
    for (path, text) in documents() {
        for block in text.split("```rust\n").skip(1) {
            let code = block.split("```").next().unwrap_or_default();
            assert!(
                sources.iter().any(|source| source.contains(code)),
                "{}: no file of suite/src/cases has this:\n{code}",
                path.display()
            );
            shown += 1;
        }
    }
    assert!(shown > 0, "no document shows a case");
}
