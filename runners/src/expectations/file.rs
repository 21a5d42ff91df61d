//! A file of expectations: its form, and whether what it names exists. The documented bugs are one, too.

use harness::verdict::expectation::Expectation;
use toml::Spanned;

use crate::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    expect: Vec<Spanned<Expectation>>,
}

/// Reads a file of the user's.
pub fn read(path: &Path) -> Result<Vec<Expectation>, WrongInput> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| WrongInput(format!("cannot read {}: {error}", path.display())))?;
    let entries = parse(&path.display().to_string(), &text)?;
    match entries.iter().find(|entry| entry.status.is_empty()) {
        // Of this program's own list alone such an entry says something.
        Some(entry) => {
            Err(WrongInput(format!("{}: the entry lists no status", entry.at.as_deref().unwrap_or_default())))
        }
        None => Ok(entries),
    }
}

/// Reads the text of a file of this name. What it names need not exist: see [`Known::check`].
pub fn parse(name: &str, text: &str) -> Result<Vec<Expectation>, WrongInput> {
    let place = |offset: usize| {
        let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        format!("{name}:{line}")
    };
    let list: List = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(name.to_owned(), |span| place(span.start));
        WrongInput(format!("{at}: {}", one_line(error.message())))
    })?;
    let entries = list.expect.into_iter().map(|entry| {
        let at = place(entry.span().start);
        let entry = entry.into_inner();
        match wrong(&entry) {
            Some(why) => Err(WrongInput(format!("{at}: {why}"))),
            None => Ok(Expectation { at: Some(at), ..entry }),
        }
    });
    entries.collect()
}

/// What is wrong with an entry by itself.
pub fn wrong(entry: &Expectation) -> Option<String> {
    let date = |text: &String| text.parse::<toml::value::Datetime>().ok().filter(|date| date.time.is_none());
    match &entry.until {
        _ if entry.cases.is_empty() && entry.requirements.is_empty() => {
            Some("an entry must name cases, a requirement, or both".to_owned())
        }
        _ if entry.reason.trim().is_empty() => Some("an entry must give a reason".to_owned()),
        Some(until) if date(until).is_none() => Some(format!("until {until:?} is no date such as \"2027-06-01\"")),
        _ => None,
    }
}

/// What entries may name.
#[derive(Debug)]
pub struct Known {
    cases: BTreeSet<String>,
    requirements: BTreeSet<&'static str>,
}

impl Known {
    /// These cases, their requirements, and those of the suite.
    pub fn of(cases: &'static [Case]) -> Self {
        let items = harness::case::items(cases);
        let proven = items.iter().flat_map(|item| item.proves().to_vec());
        let listed = requirements::all().iter().map(|requirement| requirement.id.as_str());
        Self {
            requirements: proven.chain(listed).collect(),
            cases: items.iter().map(|item| item.name.clone()).collect(),
        }
    }

    /// The cases that a name means.
    pub fn meant(&self, name: &str) -> impl Iterator<Item = &String> {
        self.cases.iter().filter(move |case| Expectation::means(name, case))
    }

    /// Whether there is this requirement.
    pub fn has_requirement(&self, id: &str) -> bool {
        self.requirements.contains(id)
    }

    /// Refuses entries of the user's that name what does not exist, or nothing that could come out so: such an entry
    /// would excuse nothing for ever, and nobody would know.
    pub fn check(&self, entries: &[Expectation]) -> Result<(), WrongInput> {
        for entry in entries {
            let at = entry.at.as_deref().unwrap_or_default();
            let stale = entry.cases.iter().find(|name| self.meant(name).next().is_none());
            let unknown = entry.requirements.iter().find(|id| !self.has_requirement(id));
            let why = match (stale, unknown) {
                (Some(name), _) => {
                    let hint = self.hint(name);
                    format!("{name:?} names no case of this version{hint}")
                }
                (None, Some(id)) => format!("{id:?} is no requirement of this version; docs/behaviour.md has them"),
                (None, None) => continue,
            };
            return Err(WrongInput(format!("{at}: {why}")));
        }
        Ok(())
    }

    /// What may have been meant by a name that means nothing.
    fn hint(&self, name: &str) -> String {
        let begins = |beginning: &str| self.cases.iter().any(|case| case.starts_with(beginning));
        let group = format!("{name}.");
        if begins(&group) {
            format!(": end it in a dot ({group}) for the cases below it")
        } else if begins(name) {
            format!(": end it in an asterisk ({name}*) for the cases that begin so")
        } else {
            "; `unshare-conformance list` shows them".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let parsed = parse("f.toml", text);
        parsed.and_then(|entries| Known::of(suite::cases::all()).check(&entries)).unwrap_err().to_string()
    }

    #[test]
    fn an_entry_knows_its_line() {
        let text = "# A comment.\n\n[[expect]]\ncases = \"flags.\"\nreason = \"x\"\n[[expect]]\nrequirement = [\"FLAG-09\"]\n\
                    status = [\"fail\", \"timed_out\"]\nreason = \"y\"\nlink = \"z\"\nuntil = \"2027-06-01\"\n";
        let entries = parse("f.toml", text).unwrap();
        let [first, second] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((first.at.as_deref(), second.at.as_deref()), (Some("f.toml:3"), Some("f.toml:6")));
        assert_eq!(
            (first.cases.as_slice(), first.status.as_slice()),
            (&["flags.".to_owned()][..], &[Status::Fail][..])
        );
        assert_eq!(second.status, [Status::Fail, Status::TimedOut]);
        assert_eq!((second.link.as_deref(), second.until.as_deref()), (Some("z"), Some("2027-06-01")));
        Known::of(suite::cases::all()).check(&entries).unwrap();
        assert_eq!(parse("f.toml", "").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let entry = |rest: &str| format!("\n[[expect]]\n{rest}\n");
        for (text, expected) in [
            ("x", "f.toml:1: "),
            ("[[bug]]\n", "f.toml:1: unknown field `bug`"),
            (&entry("cases = \"flags.\""), "f.toml:2: missing field `reason`"),
            (&entry("cases = \"flags.\"\nreason = \" \""), "f.toml:2: an entry must give a reason"),
            (&entry("reason = \"x\""), "f.toml:2: an entry must name cases"),
            (&entry("case = \"flags.\"\nreason = \"x\""), "f.toml:3: unknown field `case`"),
            (&entry("cases = \"flags.\"\nreason = \"x\"\nstatus = \"failed\""), "f.toml:5: unknown variant `failed`"),
            (&entry("cases = 3\nreason = \"x\""), "a string or a list of strings"),
            (&entry("cases = \"flags.\"\nreason = \"x\"\nuntil = \"next year\""), "f.toml:2: until \"next year\""),
            (&entry("cases = \"flags.\"\nreason = \"x\"\nuntil = \"2027-13-01\""), "f.toml:2: until \"2027-13-01\""),
            (&entry("cases = [\"flags.\", \"no.such\"]\nreason = \"x\""), "f.toml:2: \"no.such\" names no case"),
            (&entry("cases = \"flags\"\nreason = \"x\""), "end it in a dot (flags.)"),
            (&entry("cases = \"flags.ro\"\nreason = \"x\""), "end it in an asterisk (flags.ro*)"),
            (&entry("requirement = \"EFF-99\"\nreason = \"x\""), "f.toml:2: \"EFF-99\" is no requirement"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
