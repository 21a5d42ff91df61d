//! unshare(0): asked for nothing, it succeeds in any state and does nothing (FLAG-40). States with threads, and with
//! sharers of memory and handlers, have a variant `none` in `flags.second_thread` and its neighbours.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 and 8 (1); unshare(2), \"If flags is specified as zero\"";

case!(Case {
    name: "flags.zero.shared",
    about: "unshare(0) beside a task that shares root, cwd, umask, descriptors and undo list succeeds and leaves all \
            of it shared.",
    proves: &["FLAG-40"],
    run: |t| {
        let sibling = Sibling::start(t, SHARED)?;
        t.unshare(Flags::NONE).as_predicted()?;
        sibling.check(t, Flags::NONE, "FLAG-40")
    }
});

case!(Case {
    name: "flags.zero.unprivileged",
    about: "unshare(0) needs no capability.",
    proves: &["FLAG-40"],
    run: |t| {
        become_unprivileged(t)?;
        t.unshare(Flags::NONE).from(Start::unprivileged()).as_predicted()
    }
});

case!(Case {
    name: "flags.zero.chrooted",
    about: "unshare(0) succeeds below another root directory and leaves it.",
    proves: &["FLAG-40"],
    needs: Needs::ROOT,
    run: |t| {
        let start = enter_chroot(t, t.directory()?)?;
        t.setup(Call::new("chdir(/)", chdir("/")))?;
        t.unshare(Flags::NONE).from(start).as_predicted()
    }
});
