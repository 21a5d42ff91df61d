//! Files and directories that the user named, to be written: errors that name them, and files that are
//! written at the end of a long run and tried before it begins.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::NamedTempFile;

use crate::cli::exit::is_wrong_path;
use crate::prelude::*;

/// One that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{what} {} cannot be written ({})", path.display(), self.advice())]
pub struct Unwritable {
    what: &'static str,
    path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Unwritable {
    /// Makes it of the system's error.
    pub fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { what, path, source }
    }

    fn advice(&self) -> &'static str {
        if is_wrong_path(&self.source) { "give another path" } else { "free space there or give another path" }
    }
}

/// A file that will be written; the old file of its name stays until then.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A file beside the one that it is to replace.
    Beside { draft: NamedTempFile, target: PathBuf },
    /// A pipe, a terminal, a device: nothing that could be replaced.
    Open(File),
}

impl Draft {
    /// Makes sure that `path` can be written.
    pub fn begin(path: &Path) -> Result<Self, Unwritable> {
        Ok(Self { path: path.to_owned(), place: Place::of(path).map_err(Unwritable::new(WHAT, path))? })
    }

    /// Writes the file. If that fails, the old one is still there.
    pub fn finish(self, text: &str) -> Result<(), Unwritable> {
        let written = self.place.write(text.as_bytes());
        written.map_err(Unwritable::new(WHAT, &self.path))
    }
}

/// What errors call it.
const WHAT: &str = "the file";

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let old = match std::fs::metadata(path) {
            Ok(old) if !old.is_file() => return File::options().write(true).open(path).map(Self::Open),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            old => old.ok(),
        };
        let target = match old {
            // Behind a symbolic link, which stays. What may not be written is not replaced, either.
            Some(_) => {
                File::options().write(true).open(path)?;
                path.canonicalize()?
            }
            None => path.to_owned(),
        };
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let draft = tempfile::Builder::new()
            // As for any new file: the umask is applied.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory.unwrap_or(Path::new(".")))?;
        if let Some(old) = old {
            draft.as_file().set_permissions(old.permissions())?;
        }
        Ok(Self::Beside { draft, target })
    }

    fn write(self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(mut file) => file.write_all(text),
            Self::Beside { mut draft, target } => {
                draft.as_file_mut().write_all(text)?;
                draft.persist(target).map(drop).map_err(|error| error.error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Blame;

    #[test]
    fn an_old_file_stays_until_there_is_a_new_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("faults.md");
        std::fs::write(&path, "old").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        drop(Draft::begin(&path).expect("it can be written"));
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "old");
        let draft = Draft::begin(&path).expect("it can be written");
        draft.finish("new").expect("there is space");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "new");
        let metadata = std::fs::metadata(&path).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        let files = std::fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(files.count(), 1, "no draft is left");
    }

    #[test]
    fn an_unwritable_file_is_reported_once() {
        for path in ["/nonexistent/x", "/dev/null/x", "/"] {
            let error = Draft::begin(Path::new(path)).expect_err("it cannot be");
            assert_eq!(error.blame(), ExitStatus::Usage, "{error}");
            let message = format!("{:#}", anyhow::Error::from(error));
            assert_eq!(message.matches("os error").count(), 1, "{message}");
        }
        let draft = Draft::begin(Path::new("/dev/full")).expect("it can be opened");
        let error = draft.finish("text").expect_err("it is full");
        assert_eq!(error.blame(), ExitStatus::NothingToSay, "{error}");
    }
}
