//! Faults of the call as a whole: what it returns, and whether it does anything.

use super::always;
use crate::fault::Fault;
use crate::fault::lie::{What, When};

const fn errno(errno: i32) -> What {
    What::Answer(-(errno as i64))
}

const fn done(errno: i32) -> What {
    What::DoAndAnswer(-(errno as i64))
}

pub(super) fn faults() -> Vec<Fault> {
    vec![
        always(
            "none",
            "The call is trapped and made as it was asked for.",
            "No bug: shows that the stand-in itself changes no verdict.",
            &[],
            What::Honest,
        )
        .harmless(),
        always(
            "later",
            "Every call is made half a millisecond late.",
            "No bug: a slow kernel, or a task that was preempted.",
            &[],
            What::Later,
        )
        .harmless(),
        always(
            "success-without-doing",
            "Success for whatever is asked, and nothing is done.",
            "A stub that returns 0, or a system call table with another call in this place.",
            &["RET-01", "EFF-FS-01", "ERR-01"],
            What::Answer(0),
        ),
        always(
            "not-implemented",
            "ENOSYS for whatever is asked.",
            "A kernel or sandbox without the call.",
            &["FLAG-50"],
            errno(libc::ENOSYS),
        )
        .blunt(),
        always(
            "no-memory",
            "ENOMEM without a reason.",
            "An allocation that fails on every call.",
            &["RET-01"],
            errno(libc::ENOMEM),
        )
        .blunt(),
        always(
            "interrupted",
            "EINTR without a signal.",
            "An interruptible wait on the way into a namespace, whose restart is lost.",
            &["RET-01"],
            errno(libc::EINTR),
        )
        .blunt(),
        always(
            "restart-leaks",
            "The kernel's internal code 512 (ERESTARTSYS) instead of a result.",
            "A restart code that reaches the caller.",
            &["RET-01"],
            errno(512),
        )
        .blunt(),
        always(
            "done-and-no-memory",
            "Everything is done, and ENOMEM returned.",
            "An error of a last step that is not undone.",
            &["ATOM-01", "RET-01"],
            done(libc::ENOMEM),
        ),
        always(
            "done-and-invalid",
            "Everything is done, and EINVAL returned.",
            "A check that comes after the switch.",
            &["ATOM-01", "RET-01"],
            done(libc::EINVAL),
        ),
        always(
            "done-and-no-permission",
            "Everything is done, and EPERM returned.",
            "A privilege check that comes after the switch.",
            &["ATOM-01", "RET-01"],
            done(libc::EPERM),
        ),
        always(
            "done-and-no-space",
            "Everything is done, and ENOSPC returned.",
            "A limit that is looked at after the namespace was made.",
            &["ATOM-01", "RET-01"],
            done(libc::ENOSPC),
        ),
        always(
            "returns-one",
            "Everything is done, and 1 returned.",
            "A helper's positive result that is handed through.",
            &["RET-01"],
            What::DoAndAnswer(1),
        ),
        always(
            "returns-high-half",
            "Everything is done, and a number returned whose lower 32 bits are 0.",
            "A result that is wider than an int.",
            &["RET-01"],
            What::DoAndAnswer(1 << 32),
        ),
        always(
            "second-call-fails",
            "The second call of a case and all further ones give ENOMEM.",
            "A reference that the first call loses.",
            &["RET-02", "RET-03"],
            errno(libc::ENOMEM),
        )
        .blunt()
        .when(When::After(1)),
        always(
            "second-call-does-nothing",
            "The second call of a case and all further ones give 0 and do nothing.",
            "A call that remembers wrongly that there is nothing to share any more.",
            &["RET-03"],
            What::Answer(0),
        )
        .when(When::After(1)),
        always(
            "made-twice",
            "Every call is made twice; the second one tells.",
            "A system call that is restarted after it was done.",
            &["ERR-08"],
            What::Twice,
        ),
        always("never-returns", "The call never returns.", "A deadlock.", &["RET-01"], What::Never)
            .blunt()
            .hanging()
            .tried_on(&["flags.root.0"]),
        always(
            "kills",
            "The caller is ended by SIGKILL.",
            "An oops on the way out, which ends the task.",
            &["RET-01"],
            What::Kill(libc::SIGKILL),
        )
        .blunt(),
        always(
            "ia32-refused",
            "The 32-bit entry gives EINVAL, the 64-bit one is right.",
            "A compat table with another call in this place.",
            &["FLAG-44"],
            errno(libc::EINVAL),
        )
        .when(When::Ia32),
        always(
            "ia32-does-nothing",
            "The 32-bit entry gives 0 and does nothing, the 64-bit one is right.",
            "A compat table with a stub in this place.",
            &["FLAG-44"],
            What::Answer(0),
        )
        .when(When::Ia32),
    ]
}
