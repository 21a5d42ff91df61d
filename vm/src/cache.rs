//! The directory where fetched, unpacked and built kernels are kept between runs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A directory of things that can be made again: it may be deleted at any time between runs.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither variable is set.
    #[error("there is no place for a cache: set XDG_CACHE_HOME or HOME")]
    NoPlace,
    /// The directory cannot be made.
    #[error("cannot make the cache directory {path} (free space there or set XDG_CACHE_HOME to another place)")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The files of a directory with this extension, but for the `kept` that were written last. Another run may remove
/// them first.
pub fn older_files(directory: &Path, extension: &str, kept: usize) -> Vec<PathBuf> {
    let mut files: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    let paths = files.into_iter().map(|(_, path)| path);
    paths.skip(kept).collect()
}

impl Cache {
    /// The user's cache: `$XDG_CACHE_HOME/unshare-conformance`, or `~/.cache/unshare-conformance` (XDG Base Directory
    /// Specification). Nothing is made yet.
    ///
    /// # Errors
    /// [`CacheError::NoPlace`] without XDG_CACHE_HOME and HOME.
    pub fn of_user() -> Result<Cache, CacheError> {
        // The specification tells to ignore relative paths.
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Ok(Cache { root: base.ok_or(CacheError::NoPlace)?.join("unshare-conformance") })
    }

    /// A cache at `root`, for tests and for a private one that vanishes.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into() }
    }

    /// Where the cache lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory `name` in the cache, made if it is missing.
    ///
    /// # Errors
    /// [`CacheError::Unusable`] when it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.root.join(name);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(CacheError::Unusable { path, source }),
        }
    }
}
