//! Files and directories that the user named, to be written.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// One that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{what} {} cannot be written ({})", path.display(), self.advice())]
pub struct Unwritable {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Unwritable {
    /// Makes it of what the system said.
    pub fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { what, path, source }
    }

    /// Whether the path is wrong, rather than the disk full or broken.
    pub fn is_wrong_path(&self) -> bool {
        is_wrong_path(&self.source)
    }

    fn advice(&self) -> &'static str {
        if self.is_wrong_path() { "give another path" } else { "free space there or give another path" }
    }
}

/// Whether the system refused a path that no free space makes good.
pub fn is_wrong_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename
            | ErrorKind::ExecutableFileBusy
    )
}
