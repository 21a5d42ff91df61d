//! From an error to an exit status.
//!
//! Every error type answers, through [`Blame`], whether the user's input is wrong or this machine lacks
//! something. An error that does not answer cannot become a [`Failure`], which is what `?` makes of it.

use vm::build::BuildError;
use vm::cache::CacheError;
use vm::initramfs::InitramfsError;
use vm::kernel::KernelError;
use vm::library::LibraryError;

use crate::prelude::*;

/// What to say of a reader of standard output who has gone.
const CLOSED: &str = "standard output was closed before all was written: let its reader read to the end, or write to a \
                      file";

/// An error that knows what is to blame.
pub trait Blame: std::error::Error + Send + Sync + 'static {
    /// [`ExitStatus::Usage`] if the command line or an input file is, whatever kernel is under test: a bisection must
    /// stop. [`ExitStatus::NothingToSay`] if this machine is (disk, memory, QEMU): a bisection may go on.
    fn blame(&self) -> ExitStatus;
}

/// Why a command gave up. Shown with its causes.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Failure {
    /// The exit status, which says what is to blame.
    pub status: ExitStatus,
    /// What went wrong.
    pub error: anyhow::Error,
}

/// What commands return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl<E: Blame> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { status: error.blame(), error: error.into() }
    }
}

/// Messages made on the spot, by `anyhow!` and `context`, are about this machine.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { status: ExitStatus::NothingToSay, error }
    }
}

impl Failure {
    /// Prints it on standard error and gives the exit status.
    pub fn report(&self) -> ExitStatus {
        let mut system = self.error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        let is_closed_pipe = system.any(|error| error.kind() == ErrorKind::BrokenPipe);
        let _ = match self.error.downcast_ref::<clap::Error>() {
            Some(error) => error.print(),
            None if is_closed_pipe => writeln!(io::stderr(), "unshare-conformance: {CLOSED}"),
            None => writeln!(io::stderr(), "unshare-conformance: {self}"),
        };
        self.status
    }
}

/// Options that are valid by themselves and contradict each other.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub String);

/// A file or a name that the user gave and that is none, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongInput(pub String);

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

/// Implements [`Blame`] by whether an error means wrong usage.
macro_rules! blame {
    ($($($error:ty),+ => |$this:pat_param| $is_usage:expr;)*) => {
        $($(impl Blame for $error {
            fn blame(&self) -> ExitStatus {
                let $this = self;
                if $is_usage { ExitStatus::Usage } else { ExitStatus::NothingToSay }
            }
        })+)*
    };
}

// Most are errors of other crates, which can only answer here.
blame! {
    io::Error, Errno, serde_json::Error, toml::ser::Error, RunError, CacheError => |_| false;
    Contradiction, WrongInput, clap::Error, KernelError => |_| true;
    Unwritable => |error| is_wrong_path(&error.source);
    PayloadError => |error| !matches!(error, PayloadError::Cache(_));
    MachineError => |error| !matches!(error, MachineError::NotInstalled { .. });
    BuildError => |error| {
        use BuildError::{ConfiguredInPlace, NoFragment, NotATree};
        matches!(error, NotATree(_) | ConfiguredInPlace(_) | NoFragment { .. })
    };
    LibraryError => |error| matches!(error, LibraryError::Unknown(..));
    InitramfsError => |error| matches!(error, InitramfsError { source, .. } if is_wrong_path(source));
}
