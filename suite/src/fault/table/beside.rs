//! Faults that only show when two calls are made at the same time.

use super::always;
use crate::fault::Fault;
use crate::fault::lie::{What, When};
use crate::spec::flags::Flags;

/// Where calls meet: a case of single calls notices nothing.
const MEETINGS: &[&str] = &["storm.", "races."];

pub(super) fn faults() -> Vec<Fault> {
    vec![
        always(
            "not-done-beside-another",
            "A call that is made while another one is under way succeeds and does nothing.",
            "A flag that says that somebody is at it, taken for one's own.",
            &["RACE-01"],
            What::Answer(0),
        )
        .when(When::BesideAnother)
        .tried_on(MEETINGS),
        always(
            "files-kept-beside-another",
            "A call that is made while another one is under way separates no descriptors.",
            "A count of sharers that is read before and used after somebody else has changed it.",
            &["RACE-01", "RACE-03"],
            What::Change(Flags::FILES, Flags::NONE),
        )
        .when(When::Any(Flags::FILES))
        .when(When::BesideAnother)
        .tried_on(MEETINGS),
    ]
}
