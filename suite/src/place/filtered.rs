//! Whether a seccomp filter, and not the kernel, refused a step of a case.

use harness::place::facts::{Facts, has_capability};
use harness::place::filter::{REFUSALS, answer_in_child, has_filter};
use harness::prelude::*;
use syscalls::Sysno;

use crate::call::raw::unshare;
use crate::feature::{CAP_SETGID, CAP_SYS_ADMIN};
use crate::spec::flags::Flags;

/// System calls behind words of steps that are not their names. By name: an architecture may lack some.
const MEANT: &[(&str, &[&str])] = &[
    ("umount", &["umount2"]),
    ("io_uring", &["io_uring_setup"]),
    ("uring", &["io_uring_enter"]),
    ("keyctl", &["add_key"]),
    ("pthread_create", &["clone3"]),
    ("seteuid", &["setresuid"]),
    ("by the second user", &["capset", "setresuid", "setgroups"]),
    ("NSpid of a child", &["pipe2"]),
    ("clock_nanosleep(", &["setitimer"]),
    ("timer_gettime", &["timer_create", "timer_settime"]),
    ("IPC_STAT", &["semctl", "shmctl", "msgctl"]),
    ("spawn", &["clone3"]),
    // A storm's task names its new host; what its other tasks do.
    ("traces of", &["sethostname"]),
    ("beside, Places", &["chdir", "chroot", "umask"]),
    ("beside, Descriptors", &["dup2", "dup3", "close", "close_range"]),
    ("beside, Mounts", &["mount", "umount2"]),
    ("beside, Semaphores", &["semget", "semop", "semtimedop", "semctl"]),
    ("beside, Follower", &["setns"]),
    ("beside, Tracer", &["ptrace"]),
    ("beside, Signals", &["tkill", "nanosleep"]),
    ("beside, Reader", &["readlink", "readlinkat", "open", "openat"]),
];

/// What set-up steps call that their words do not name.
const SET_UP_BY: &str = "access faccessat bind capset chdir chroot close_range dup2 dup3 epoll_create1 eventfd2 fchdir \
     getcwd inotify_init1 kcmp kill memfd_create mkdir mkdirat mknodat mount mq_open msgget open openat personality \
     pipe2 pivot_root prctl ptrace readlink readlinkat rmdir sched_setscheduler seccomp semctl semget semop sendmsg \
     setgroups setitimer sethostname setns setpriority setresgid setresuid shmget sigaltstack socket socketpair tgkill \
     timer_create tkill umask umount2 unlink unlinkat waitid";

/// Calls that are not made with nonsense: those that a filter answers by their flags ([`flags`] finds them), that do not
/// return, or that do something without arguments.
const NEVER_MADE: [&str; 8] = ["unshare", "exit", "exit_group", "fork", "vfork", "clone", "pause", "rt_sigreturn"];

/// Whether a filter refuses a call that this step makes, with the error that it gave.
pub(super) fn call(facts: &Facts, step: &str, errno: Errno, is_setup: bool) -> Option<String> {
    (has_filter() && REFUSALS.contains(&errno)).then_some(())?;
    let mut calls = named(step);
    if is_setup && !step.contains("unshare") {
        // It makes more calls than it names: a socket before it is bound.
        calls.extend(SET_UP_BY.split_whitespace().filter_map(|name| name.parse::<Sysno>().ok()));
    }
    let number = calls.into_iter().find(|number| is_refused(facts, *number, errno))?;
    Some(format!("a seccomp filter refuses {number}(2): run with a profile that allows it"))
}

/// The calls that a step names, by their own names or by other words. The C library makes the newer forms of some.
fn named(step: &str) -> Vec<Sysno> {
    let words = step.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let meant = MEANT.iter().filter(|(word, _)| step.contains(word)).flat_map(|(_, names)| *names).copied();
    let forms = |name| ["", "1", "2", "3", "4", "at"].map(|form| format!("{name}{form}"));
    words.chain(meant).flat_map(forms).filter_map(|name| name.parse().ok()).collect()
}

/// Whether a filter gives this error for the call.
pub(super) fn is_refused(facts: &Facts, number: Sysno, errno: Errno) -> bool {
    // The kernel looks at the caller's privilege before it looks at the arguments of these: its EPERM says nothing of a
    // filter then, other errors do.
    let tells = errno != Errno::EPERM;
    let may_ask = match number.name() {
        "sethostname" | "setdomainname" | "pivot_root" => tells || has_capability(facts, CAP_SYS_ADMIN),
        "setgroups" => {
            let denied = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
            tells || has_capability(facts, CAP_SETGID) && !denied
        }
        name => !NEVER_MADE.contains(&name),
    };
    has_filter() && may_ask && answer_in_child(number) == Err(errno)
}

/// Whether a filter refuses one of these flags with this error, or with any if none is known. It sees a flag whatever
/// else is asked for; the kernel refuses the unknown bit beside it, for which its answer is EINVAL to everybody (ERR-01).
pub(super) fn flags(flags: Flags, errno: Option<Errno>) -> Option<String> {
    const UNKNOWN: Flags = Flags::TOP;
    has_filter().then_some(())?;
    let filtered = flags.iter().find(|flag| match (unshare(*flag | UNKNOWN).answer(), errno) {
        (answer, Some(errno)) => answer == Err(errno) && errno != Errno::EINVAL,
        (answer, None) => answer != Err(Errno::EINVAL),
    })?;
    Some(format!("a seccomp filter refuses {filtered}: run outside the container, or allow it (RestrictNamespaces=)"))
}
