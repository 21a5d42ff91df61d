//! Stand-ins for broken kernels: what proves that every check can fail.
//!
//! A fault is a named way in which a kernel gets unshare(2) wrong. While one is active, a seccomp filter traps every
//! call that a case makes, and a handler of SIGSYS answers as a kernel with that fault would.
//!
//! | module | answers |
//! |---|---|
//! | [`table`] | which faults there are: `table.toml` |
//! | [`lie`] | what one does instead of the call |
//! | `act` | what one changes besides |
//! | `trapped` | the call that was taken from the kernel, and how it is made after all |
//! | [`stand_in`] | how it is taken |
//! | [`declared`] | what cannot be simulated, and what covers it instead |

mod act;
pub mod declared;
pub mod lie;
pub mod stand_in;
pub mod table;
mod trapped;

pub use lie::Fault;
pub use table::find;
