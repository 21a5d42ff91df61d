//! The cases. The first component of a name is the group, and the file is found by itself:
//! adding a case, or a file of cases, touches no other file.

automod::dir!("src/cases");

/// Every case of the suite, in no particular order.
pub fn all() -> &'static [harness::case::Case] {
    &harness::case::CASES
}
