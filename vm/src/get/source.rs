//! What can list kernels and fetch their files.

use crate::common::*;

/// A kernel that a source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its release as `uname -r` says it, or `uml-` and the package's version.
    pub release: String,
    /// The package's version, which has the upstream version where the release has not.
    pub version: String,
    /// What to fetch for it, in this order; the image comes last. Only the source reads these.
    pub parts: Vec<String>,
}

/// An archive of kernels.
pub trait Source {
    /// The kernels it has, in no particular order.
    ///
    /// # Errors
    /// The source cannot be asked.
    fn kernels(&self, progress: Progress<'_>) -> Result<Vec<Offer>, SourceError>;

    /// Fetches `offer` and writes those of its files for which `place` gives a path, each whole or not at all.
    ///
    /// # Errors
    /// A part cannot be fetched, or a file cannot be written.
    fn fetch(&self, offer: &Offer, place: Place<'_>, progress: Progress<'_>) -> Result<(), SourceError>;
}

/// Gives the destination for a file of a package, by its path in there; `None` for files that are not needed.
pub type Place<'p> = &'p dyn Fn(&Path) -> Option<PathBuf>;

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A tool of Debian's is missing.
    #[error(
        "{0} is not installed: kernels are fetched with Debian's tools; on other systems give --kernel a kernel image or a build tree"
    )]
    NotInstalled(&'static str),
    /// No Debian mirror is configured.
    #[error(
        "this machine's apt has no Debian mirror among its sources: add one, or give --kernel a kernel image or a build tree"
    )]
    NoMirror,
    /// A tool failed. With its name and the reason it gave.
    #[error("{0} failed ({1}): check the network and this machine's apt sources")]
    Failed(String, String),
    /// A package is listed, and the archive has it no longer, or not yet.
    #[error("the archive lists {0} and does not have it: try again later, or choose another release")]
    Gone(String),
    /// Lists and packages cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
