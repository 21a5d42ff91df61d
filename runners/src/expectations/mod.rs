//! `--expectations`: what a user expects of a kernel that does not pass everything.
//!
//! | module | answers |
//! |---|---|
//! | [`file`](mod@file) | what a file of entries says, and whether what it names exists |
//! | [`follow`] | what a run makes of the entries |
//! | [`write`] | the entries that a run calls for, as a file |

pub mod file;
pub mod follow;
pub mod write;

use harness::verdict::expectation::{Expectation, Expectations};

use crate::prelude::*;
use crate::run::files::Draft;
use file::{Known, read};
use write::Written;

/// Which files say what is expected.
#[derive(Args, Clone, Debug, Default)]
pub struct ExpectationArgs {
    /// File of cases that are expected to fail, break, time out or be skipped, and why (TOML; see the README); may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    pub expectations: Vec<PathBuf>,
}

/// The same, and whether to write such a file.
#[derive(Args, Clone, Debug, Default)]
pub struct ExpectationFiles {
    /// Which files say what is expected.
    #[command(flatten)]
    pub args: ExpectationArgs,
    /// Write such a file from this run, to be looked at. A file that exists is replaced only if it is given to
    /// --expectations, too: entries that still hold keep their reason and link
    #[arg(long, value_name = "FILE")]
    pub write_expectations: Option<PathBuf>,
}

/// What is expected of a run, from all files.
#[derive(Debug, Default)]
pub struct Expected {
    /// The entries that excuse something, and the documented bugs.
    pub expectations: Expectations,
    /// Whether the user gave a file: what did not pass then should be in one.
    given: bool,
    /// A sentence on each entry that has expired.
    expired: Vec<String>,
    /// The file to be written.
    write: Option<Written>,
    /// Whether another process follows the run and says what it makes of the entries.
    told_outside: bool,
}

impl Expected {
    /// Reads the files. `cases` are all there are.
    pub fn read(args: &ExpectationArgs, cases: &'static [Case]) -> Result<Self> {
        Self::of(&ExpectationFiles { args: args.clone(), write_expectations: None }, cases)
    }

    /// Reads the files, and makes sure that the one to be written can be. `cases` are all there are.
    pub fn of(files: &ExpectationFiles, cases: &'static [Case]) -> Result<Self> {
        let known = Known::of(cases);
        let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        let target = files.write_expectations.as_deref();
        let is_target = |path: &Path| target.is_some_and(|target| same(path, target));
        let (mut entries, mut old) = (Vec::new(), Vec::new());
        for path in &files.args.expectations {
            let read = read(path)?;
            if is_target(path) {
                // Names that no longer exist are dropped.
                old.extend(read.iter().cloned());
            } else {
                known.check(&read)?;
            }
            entries.extend(read);
        }
        let write = match target {
            None => None,
            Some(path) if path.is_file() && !files.args.expectations.iter().any(|read| same(read, path)) => {
                return Err(WrongInput(format!(
                    "{0} exists: give --expectations {0}, too, to keep what still holds of it, or another name",
                    path.display()
                ))
                .into());
            }
            Some(path) => Some(Written::new(path, Draft::begin(path)?, old, known)),
        };
        let today = today();
        let (own, expired): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.until.as_ref().is_none_or(|until| today <= *until));
        Ok(Self {
            expectations: Expectations::new(own, known_bugs::all),
            given: !files.args.expectations.is_empty(),
            expired: expired.iter().map(expired_sentence).collect(),
            write,
            told_outside: false,
        })
    }
}

/// Entries on their way into a guest, each with its place in the user's file.
type Carried = Vec<(Option<String>, Expectation)>;

impl Expected {
    /// The user's entries for a guest, which has to know what is no news; none if there are none. The day is the
    /// runner's: what has expired is not among them.
    pub fn for_guest(&self) -> Result<Option<Vec<u8>>> {
        let entries: Carried = self.expectations.own.iter().map(|entry| (entry.at.clone(), entry.clone())).collect();
        Ok(if entries.is_empty() { None } else { Some(serde_json::to_vec(&entries)?) })
    }

    /// What a guest is told, in a file of its image. A runner outside says what becomes of the entries.
    pub fn in_guest(path: Option<&Path>, for_runner: bool) -> Result<Self> {
        let carried: Carried = match path {
            Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
            None => Vec::new(),
        };
        let own = carried.into_iter().map(|(at, entry)| Expectation { at, ..entry }).collect();
        let expectations = Expectations::new(own, known_bugs::all);
        Ok(Self { expectations, told_outside: for_runner, ..Self::default() })
    }
}

fn expired_sentence(entry: &Expectation) -> String {
    let (at, until) = (entry.at.as_deref().unwrap_or_default(), entry.until.as_deref().unwrap_or_default());
    format!("{at} has expired on {until} and excuses nothing: {}", entry.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_what_is_expected() {
        let text =
            "[[expect]]\ncases = \"flags.\"\nreason = \"x\"\nlink = \"y\"\naffected = [[[6, 1, 0], [6, 7, 0]]]\n";
        let own = file::parse("f.toml", text).expect("it is valid");
        let outside = Expected { expectations: Expectations::new(own, Vec::new), ..Expected::default() };
        let carried = outside.for_guest().expect("it can be written").expect("there are entries");
        let image = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(image.path(), carried).expect("written");
        let inside = Expected::in_guest(Some(image.path()), true).expect("it is read");
        assert_eq!(inside.expectations.own, outside.expectations.own);
        assert_eq!(inside.expectations.own[0].at.as_deref(), Some("f.toml:1"));
        assert_eq!(
            Expected::in_guest(None, true).expect("nothing to read").for_guest().expect("nothing to write"),
            None
        );
    }
}
