//! Debian's switch against user namespaces of ordinary users (PRIV-02, ERR-25 of the behaviour catalogue).

use crate::place::user_ns_switch::{NEEDS, SOURCE, as_caller, callers};
use crate::prelude::*;

case!(Case {
    name: "errors.eperm.debian_switch",
    about: "With kernel.unprivileged_userns_clone at 0 a caller without CAP_SYS_ADMIN in the initial user namespace \
            gets EPERM for CLONE_NEWUSER, root of a user namespace of its own included, and nothing changes; root \
            outside is not refused, nor is any other flag, and with the switch at 1 nobody is.",
    proves: &["ERR-25", "PRIV-02"],
    variants: callers,
    run: |t| {
        let sets =
            [Flags::NEWUSER, Flags::NEWUSER | Flags::NEWUTS | Flags::FS, Flags::FS | Flags::FILES | Flags::SYSVSEM];
        sets.into_iter().try_for_each(|flags| {
            as_caller(t, |t, start, kernel| t.unshare(flags).from(*start).on(kernel).proving("ERR-25").as_predicted())
        })
    }
});
