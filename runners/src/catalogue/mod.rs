//! What the suite has, shown without running a case.

pub mod coverage;
pub mod documents;
pub mod known_bugs;
pub mod list;
pub mod manual_pages;
pub mod measured;
