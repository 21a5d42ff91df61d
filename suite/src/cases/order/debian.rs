//! Debian's switch against user namespaces of ordinary users comes before all other checks (ORD-10, ORD-11 of the
//! behaviour catalogue).

use crate::place::user_ns_switch::{NEEDS, SOURCE, as_caller, callers};
use crate::prelude::*;

case!(Case {
    name: "order.debian_switch_before_flags",
    about: "Debian's switch at 0 is checked before unknown bits: CLONE_NEWUSER with one gives EPERM to the callers \
            that the switch refuses, and EINVAL to root outside and with the switch at 1.",
    proves: &["ORD-10"],
    variants: callers,
    run: |t| as_caller(t, |t, start, kernel| {
        for invalid in [Flags(1), Flags(1 << 31), Flags::TOP] {
            t.unshare(Flags::NEWUSER | invalid).from(*start).on(kernel).as_predicted()?;
            // The switch applies to CLONE_NEWUSER alone.
            t.unshare(invalid).from(*start).on(kernel).as_predicted()?;
        }
        Ok(())
    })
});

case!(Case {
    name: "order.debian_switch_before_threads",
    about: "Debian's switch at 0 is checked before threads: beside a second thread CLONE_NEWUSER gives EPERM to the \
            callers that the switch refuses, and EINVAL to root outside and with the switch at 1.",
    proves: &["ORD-11"],
    variants: callers,
    run: |t| as_caller(t, |t, start, kernel| {
        let second = IdleThread::start(t)?;
        let threaded = Start { threads: Threads::Others, ..*start };
        for flags in [Flags::NEWUSER, Flags::NEWUSER | Flags::VM] {
            t.unshare(flags).from(threaded).on(kernel).as_predicted()?;
        }
        second.end();
        Ok(())
    })
});
