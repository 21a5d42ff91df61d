//! Where the suite runs, and the command line.

mod again;
pub mod cli;
pub mod compare;
pub mod coverage;
pub mod documents;
pub mod draft;
pub mod faults;
mod files;
pub mod guest;
pub mod host;
pub mod image;
pub mod kernels;
pub mod known_bugs;
pub mod list;
pub mod matrix;
pub mod merge;
pub mod progress;
pub mod reports;
pub mod results;
