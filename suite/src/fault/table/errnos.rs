//! Faults of the reason: one errno for another, and checks that are missing or too strict.

use super::always;
use crate::fault::Fault;
use crate::fault::lie::{What, When};
use crate::spec::flags::Flags;

const NAMESPACES: Flags = Flags(Flags::PRIVILEGED.0 | Flags::NEWUSER.0);

/// What is told, as what, and a requirement that says otherwise.
const SWAPPED: [(&str, i32, &str, i32, &[&str]); 14] = [
    ("einval", libc::EINVAL, "eperm", libc::EPERM, &["ERR-01", "ORD-01"]),
    ("eperm", libc::EPERM, "einval", libc::EINVAL, &["ERR-20"]),
    ("eperm", libc::EPERM, "eacces", libc::EACCES, &["ERR-20"]),
    ("eperm", libc::EPERM, "enospc", libc::ENOSPC, &["ERR-20"]),
    ("enospc", libc::ENOSPC, "eusers", libc::EUSERS, &["ERR-30", "ERR-33"]),
    ("enospc", libc::ENOSPC, "enomem", libc::ENOMEM, &["ERR-30"]),
    ("enospc", libc::ENOSPC, "einval", libc::EINVAL, &["ERR-33", "ERR-34"]),
    ("enospc", libc::ENOSPC, "eperm", libc::EPERM, &["ERR-30"]),
    ("enospc", libc::ENOSPC, "eagain", libc::EAGAIN, &["ERR-30"]),
    ("einval", libc::EINVAL, "enosys", libc::ENOSYS, &["ERR-01"]),
    ("einval", libc::EINVAL, "enospc", libc::ENOSPC, &["ERR-08"]),
    ("einval", libc::EINVAL, "enomem", libc::ENOMEM, &["ERR-08"]),
    ("emfile", libc::EMFILE, "enomem", libc::ENOMEM, &["ERR-36"]),
    ("emfile", libc::EMFILE, "einval", libc::EINVAL, &["ERR-36"]),
];

pub(super) fn faults() -> Vec<Fault> {
    let swapped = SWAPPED.into_iter().map(|(from, from_errno, to, to_errno, breaks)| {
        always(
            format!("{from}-as-{to}"),
            format!("{} is told as {}.", from.to_uppercase(), to.to_uppercase()),
            "Checks in another order, or an errno that a helper changes.",
            breaks,
            What::Swap(from_errno, to_errno),
        )
    });
    swapped.chain(missing()).chain(too_strict()).collect()
}

/// Checks that are missing. The call cannot be made with privilege that the caller has not, so the
/// result is a success and nothing is done.
fn missing() -> Vec<Fault> {
    let forgets = |errno| What::Forget(errno);
    vec![
        always(
            "privilege-not-checked",
            "Where EPERM is due the call gives 0.",
            "A missing capability check, as far as its result shows.",
            &["ERR-20", "PRIV-03"],
            forgets(libc::EPERM),
        ),
        always(
            "privilege-by-user-namespace",
            "Without CAP_SYS_ADMIN every call makes a user namespace, too, and is privileged in it.",
            "CLONE_NEWUSER implied where it is needed.",
            &["ERR-20", "PRIV-04"],
            What::Change(Flags::NONE, Flags::NEWUSER),
        )
        .when(When::Any(Flags::PRIVILEGED))
        .when(When::Unprivileged),
        always(
            "chroot-not-checked",
            "CLONE_NEWUSER gives 0 in a chroot, where it is to be refused.",
            "A missing check of the root directory, as far as its result shows.",
            &["ERR-21"],
            forgets(libc::EPERM),
        )
        .when(When::Any(Flags::NEWUSER))
        .when(When::Chrooted),
        always(
            "limits-not-checked",
            "Where ENOSPC is due the call gives 0.",
            "A missing check of a limit or of the depth of nesting, as far as its result shows.",
            &["ERR-30", "ERR-33"],
            forgets(libc::ENOSPC),
        ),
        always(
            "descriptor-limit-not-checked",
            "Where EMFILE is due the call gives 0.",
            "A missing check of fs.nr_open, as far as its result shows.",
            &["ERR-36"],
            forgets(libc::EMFILE),
        ),
        always(
            "state-not-checked",
            "Where EINVAL is due for known flags the call gives 0.",
            "A missing check of threads, sharers or PID namespaces, as far as its result shows.",
            &["ERR-03", "ERR-08"],
            forgets(libc::EINVAL),
        )
        .when(When::Any(Flags(crate::fault::lie::KNOWN))),
        always(
            "threads-not-checked",
            "Where EINVAL is due because of threads or sharers the call gives 0.",
            "A check of the thread group that is missing, or looks at the wrong count.",
            &["ERR-03"],
            forgets(libc::EINVAL),
        )
        .when(When::InCompany),
    ]
}

fn too_strict() -> Vec<Fault> {
    let eperm = What::Answer(-(libc::EPERM as i64));
    let einval = What::Answer(-(libc::EINVAL as i64));
    vec![
        always(
            "privilege-for-everything",
            "Without CAP_SYS_ADMIN every call gives EPERM.",
            "A capability check that comes first and for all flags.",
            &["PRIV-01", "ORD-01"],
            eperm,
        )
        .when(When::Unprivileged),
        always(
            "user-namespace-takes-privilege",
            "Without CAP_SYS_ADMIN CLONE_NEWUSER gives EPERM.",
            "Kernels before 3.8, or a distribution's switch that nobody has set.",
            &["PRIV-02"],
            eperm,
        )
        .when(When::Any(Flags::NEWUSER))
        .when(When::Unprivileged),
        always(
            "privilege-before-user-namespace",
            "Without CAP_SYS_ADMIN CLONE_NEWUSER does not help the other namespaces: EPERM.",
            "Privilege that is looked at in the old user namespace.",
            &["PRIV-04"],
            eperm,
        )
        .when(When::Unprivileged)
        .when(When::All(Flags::NEWUSER)),
        always(
            "privilege-before-flags",
            "Without CAP_SYS_ADMIN unknown bits give EPERM.",
            "Checks in another order.",
            &["ORD-01"],
            eperm,
        )
        .when(When::Unknown)
        .when(When::Unprivileged),
        always(
            "threads-refuse-everything",
            "In company every call gives EINVAL.",
            "A check of the thread group that is made for all flags.",
            &["MT-02", "MT-06"],
            einval,
        )
        .when(When::InCompany),
        always(
            "threads-other-than-the-leader-refused",
            "A thread that is not its process's leader gets EINVAL.",
            "A check of the caller's process ID instead of its thread ID.",
            &["MT-02"],
            einval,
        )
        .when(When::NotLeader),
        always(
            "several-refused",
            "More than one flag gives EINVAL.",
            "A switch over the whole argument instead of its bits.",
            &["EFF-GEN-01"],
            einval,
        )
        .when(When::Several),
        always(
            "chroot-refuses-namespaces",
            "In a chroot every namespace gives EPERM.",
            "A check of the root directory that is made for all flags.",
            &["ERR-21"],
            eperm,
        )
        .when(When::Any(NAMESPACES))
        .when(When::Chrooted),
        always(
            "nothing-refused",
            "No flag at all gives EINVAL.",
            "An empty argument that is taken for a mistake.",
            &["FLAG-40"],
            einval,
        )
        .when(When::Exactly(0)),
    ]
}
