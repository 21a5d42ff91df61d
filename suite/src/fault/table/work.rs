//! Faults of unknown bits, and of work that is done by a call that fails.

use super::always;
use crate::fault::Fault;
use crate::fault::lie::{KNOWN, What, When};
use crate::spec::flags::Flags;

const SEPARABLE: Flags = Flags(Flags::FS.0 | Flags::FILES.0 | Flags::SYSVSEM.0);

pub(super) fn faults() -> Vec<Fault> {
    vec![
        always(
            "truncated-to-32-bits",
            "Only the lower 32 bits of the argument are looked at.",
            "An argument that is declared as int, as the 2006 document had it.",
            &["FLAG-42", "FLAG-43"],
            What::Mask(0xffff_ffff),
        ),
        always(
            "truncated-to-31-bits",
            "Bit 31 and those above are not looked at.",
            "An argument that is shifted or compared as a signed int.",
            &["FLAG-43"],
            What::Mask(0x7fff_ffff),
        ),
        always(
            "signal-number-accepted",
            "The lower 7 bits are not looked at.",
            "The exit signal of clone(2), which shares the argument's format, cut off.",
            &["FLAG-45"],
            What::Mask(!0x7f),
        ),
        always(
            "unknown-bits-accepted",
            "Bits that mean nothing are ignored.",
            "A missing check of the mask of known flags.",
            &["ERR-01"],
            What::Mask(KNOWN),
        ),
        always(
            "known-flags-of-unknown-set-done",
            "An unknown bit gives EINVAL, but what the known flags ask for is done.",
            "A check of the mask that comes after the work.",
            &["ERR-01", "ATOM-19"],
            What::Rest,
        )
        .when(When::Unknown),
        always(
            "partly-done",
            "A call that is refused has done all that it could by single flags.",
            "No undoing: each resource is switched as soon as it is copied.",
            &["ATOM-01"],
            What::Rest,
        ),
        always(
            "files-first",
            "The descriptors are separated by every call, also by one that is refused.",
            "A table that is copied and switched before the flags are looked at.",
            &["ATOM-01"],
            What::First(Flags::FILES),
        ),
        always(
            "fs-first",
            "Root, cwd and umask are separated by every call, also by one that is refused.",
            "A structure that is copied and switched before the flags are looked at.",
            &["ATOM-01"],
            What::First(Flags::FS),
        ),
        always(
            "undo-list-first",
            "The semaphore undo list is left by every call, also by one that is refused.",
            "The undo list is dropped before the flags are looked at.",
            &["ATOM-01"],
            What::First(Flags::SYSVSEM),
        ),
        always(
            "mounts-first",
            "The mounts are separated by every call that names a namespace, also by one that is refused.",
            "Debian's 5.10.223: a mount namespace that is switched to before the rest can fail.",
            &["ATOM-01"],
            What::First(Flags::NEWNS),
        )
        .when(When::Any(Flags::PRIVILEGED)),
        always(
            "only-one-of-several",
            "Of several separable resources only root and cwd are separated.",
            "An else too many between the resources.",
            &["EFF-FILES-01"],
            What::Change(Flags(SEPARABLE.0 & !Flags::FS.0), Flags::NONE),
        )
        .when(When::All(Flags(Flags::FS.0 | Flags::FILES.0))),
    ]
}
