//! What the rooms above `spec` have in common: `use crate::spec::prelude::*;`.

pub use crate::feature;
pub use crate::spec::flags::Flags;
pub use crate::spec::model::{Kernel, Prediction, Start, predict};
pub use harness::prelude::*;
pub use nix::unistd::Pid;
pub use syscalls::{Sysno, syscall};
