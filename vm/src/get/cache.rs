//! The directory where fetched, unpacked and built kernels are kept between runs.

use crate::common::*;

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
    /// A file or directory in the cache cannot be made, written or read.
    #[error("cannot use {0} (free space there or set XDG_CACHE_HOME to another place)")]
    Unusable(PathBuf, #[source] io::Error),
}

impl CacheError {
    /// The error for what the system says of `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        |source| CacheError::Unusable(path.to_owned(), source)
    }
}

/// Writes a file that is there whole or not at all, also when several runs write it at once.
pub(crate) fn write_whole(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), CacheError> {
    let written = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).and_then(|mut file| {
        fill(file.as_file_mut())?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(CacheError::at(path))
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
    files.into_iter().map(|(_, path)| path).skip(kept).collect()
}

impl Cache {
    /// The user's cache: `$XDG_CACHE_HOME/unshare-conformance`, or `~/.cache/unshare-conformance` (XDG Base Directory
    /// Specification). Nothing is made yet.
    ///
    /// # Errors
    /// [`CacheError::NoPlace`] without XDG_CACHE_HOME and HOME.
    pub fn of_user() -> Result<Cache, CacheError> {
        // The specification says to ignore relative paths.
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Ok(Cache { root: base.ok_or(CacheError::NoPlace)?.join("unshare-conformance") })
    }

    #[cfg(test)]
    pub(crate) fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory `name` in the cache, made if it is missing.
    ///
    /// # Errors
    /// [`CacheError::Unusable`] when it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.root.join(name);
        std::fs::create_dir_all(&path).map_err(CacheError::at(&path))?;
        Ok(path)
    }
}
