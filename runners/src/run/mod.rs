//! Running cases on the kernel at hand, and reporting what came of them.

pub mod files;
pub mod host;
pub mod progress;
pub mod reports;
pub mod rerun;
pub mod simulation;
pub mod strict_needs;
