//! Whether this place, and not the kernel, refused a step of a case.
//!
//! Asked by a supervisor once a step of a case has failed. Each answer rests on a control: a capability that is missing,
//! a limit, a read-only mount, a call that a filter answers, a namespace that clone(2) may not make either. Where no
//! control finds anything, the failure stands. One control makes the call under test, beside an unknown bit and only
//! where a filter is attached: [`filtered_flags`].

use std::path::Path;

use harness::place::facts::{Facts, has_capability, in_initial_user_namespace, number_in};
use harness::place::inherited::FILE_SIZE_LIMIT;
use harness::prelude::*;
use harness::suite::Wrong;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::WaitStatus;
use syscalls::Sysno;

use crate::call::raw::{FULL, REFUSED, unshare};
use crate::feature::{self, has_filter};
use crate::observe::fds;
use crate::place::privilege::NOBODY;
use crate::spec::flags::Flags;
use crate::spec::namespaces::{KINDS, Kind};

/// Why this place made a case go wrong; none if nothing here explains it.
pub fn refused(facts: &Facts, wrong: &Wrong) -> Option<String> {
    let named = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '<');
        words.filter_map(Flags::parse).fold(Flags::NONE, |all, flag| all | flag)
    };
    let step = wrong.step.and_then(|(call, actual)| Some((call, errno_named(actual)?)));
    let of_step = step.and_then(|(call, errno)| {
        missing_capability(facts, call, errno)
            .or_else(|| locked_securebits(call, errno))
            .or_else(|| read_only(call, errno))
            .or_else(|| filtered_call(call, errno))
            .or_else(|| mount_refused(call, errno))
            .or_else(|| withheld(errno))
            .or_else(|| (errno == Errno::ENOSPC).then(|| no_room(named(call)))?)
            .or_else(|| filtered_flags(named(call)))
            .or_else(|| limit(call, errno))
    });
    of_step.or_else(|| no_room(Flags(wrong.aside[FULL]))).or_else(|| filtered_flags(Flags(wrong.aside[REFUSED])))
}

fn errno_named(name: &str) -> Option<Errno> {
    (1..=i32::from(u8::MAX)).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)
}

/// Capabilities that steps of cases take, by words of the step. A kernel that refuses what the capability allows fails
/// wherever the capability is there.
const TAKEN: &[(&str, u32, &[&str])] = &[
    ("CAP_NET_ADMIN", 12, &["SIOCSIF", "adding a table", "netlink", "RTM_"]),
    ("CAP_SYS_PTRACE", 19, &["NS_GET_PARENT", "NS_GET_USERNS", "ptrace", "process_vm"]),
    ("CAP_SYS_RESOURCE", 24, &["prlimit", "setrlimit", "/proc/sys/user/"]),
    ("CAP_SYS_TIME", 25, &["timens_offsets", "clock_settime"]),
];

fn missing_capability(facts: &Facts, call: &str, errno: Errno) -> Option<String> {
    let refusal = matches!(errno, Errno::EPERM | Errno::EACCES);
    let (name, ..) = TAKEN
        .iter()
        .filter(|_| refusal)
        .find(|(_, number, words)| !has_capability(facts, *number) && words.iter().any(|word| call.contains(word)))?;
    Some(format!("{name} is missing: run as root, in a container with --cap-add"))
}

/// Securebits that are locked, and that children inherit.
fn locked_securebits(call: &str, errno: Errno) -> Option<String> {
    // SAFETY: takes numbers.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    (errno == Errno::EPERM && call.contains("SECUREBITS") && bits > 0)
        .then(|| format!("securebits are locked ({bits:#x}): unlock them"))
}

/// Whether a file that the step names is on a read-only mount.
fn read_only(call: &str, errno: Errno) -> Option<String> {
    if errno != Errno::EROFS {
        return None;
    }
    let paths = call.split([' ', '(', ')', ',', '"', ':']).filter(|word| word.starts_with('/')).map(Path::new);
    let path = paths
        .flat_map(Path::ancestors)
        .find(|path| statvfs(*path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY)))?;
    Some(format!("{} is mounted read-only", path.display()))
}

/// System calls behind words of steps that are not their names.
const MEANT: [(&str, Sysno); 5] = [
    ("umount", Sysno::umount2),
    ("io_uring", Sysno::io_uring_setup),
    ("uring", Sysno::io_uring_enter),
    ("keyctl", Sysno::add_key),
    // A storm's task names its new host.
    ("traces of", Sysno::sethostname),
];

/// Calls that are not made with nonsense: those that a filter answers by their flags ([`filtered_flags`] finds them),
/// that do not return, or that do something without arguments.
const NEVER_MADE: [Sysno; 9] = [
    Sysno::unshare,
    Sysno::clone3,
    Sysno::exit,
    Sysno::exit_group,
    Sysno::fork,
    Sysno::vfork,
    Sysno::clone,
    Sysno::pause,
    Sysno::rt_sigreturn,
];

fn filtered_call(call: &str, errno: Errno) -> Option<String> {
    has_filter().then_some(())?;
    let words = call.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let meant = MEANT.iter().filter(|(word, _)| call.contains(word)).map(|(_, number)| *number);
    let mut named =
        words.filter_map(|word| word.parse().ok()).chain(meant).filter(|number| !NEVER_MADE.contains(number));
    // In a child: what the call does to its caller, such as umask(2), does not matter there.
    let number = named.find(|number| in_child(Flags::NONE, || answer_to_nonsense(*number).map(drop)) == Err(errno))?;
    Some(format!("a seccomp filter refuses {number}(2): run with a profile that allows it"))
}

/// What the call gives for arguments that no kernel accepts.
fn answer_to_nonsense(number: Sysno) -> Result<usize, Errno> {
    const NONSENSE: usize = usize::MAX;
    // SAFETY: no address is valid, and no number or descriptor either.
    let result = unsafe { syscalls::syscall!(number, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE) };
    result.map_err(fds::errno)
}

/// Flags that a filter answers by. It sees a flag whatever else is asked for; the kernel refuses the unknown bit beside
/// it, for which its answer is EINVAL to everybody (ERR-01).
fn filtered_flags(flags: Flags) -> Option<String> {
    const UNKNOWN: Flags = Flags(1 << 63);
    has_filter().then_some(())?;
    let filtered = flags.iter().find(|flag| unshare(*flag | UNKNOWN).answer() != Err(Errno::EINVAL))?;
    Some(format!("a seccomp filter refuses {filtered}: run outside the container, or allow it (RestrictNamespaces=)"))
}

/// Kinds of namespace of which an ancestor of this user namespace allows no more: clone(2) cannot make one either. In
/// the initial user namespace there is no ancestor, and the limit can be read.
fn no_room(flags: Flags) -> Option<String> {
    let full = |kind: &&Kind| {
        number_in(&format!("/proc/sys/user/{}", kind.limit)) == Some(0)
            || !in_initial_user_namespace() && in_child(kind.flag, || Ok(())) == Err(Errno::ENOSPC)
    };
    let kind = KINDS.iter().filter(|kind| flags.contains(kind.flag)).find(full)?;
    Some(format!("this user namespace or an ancestor has reached /proc/sys/user/{}: raise it there", kind.limit))
}

/// What a step gives in a child that clone(2) makes with these flags.
fn in_child(flags: Flags, step: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    match feature::in_child(flags.0, || step().err().map_or(0, |errno| errno as i32))? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
        _ => Err(Errno::EINTR),
    }
}

/// Whether this type of file system cannot be mounted in a mount namespace made by clone(2) either.
fn mount_refused(call: &str, errno: Errno) -> Option<String> {
    const NONE: Option<&str> = None;
    let (_, rest) = call.split_once("mount(")?;
    let kind = rest.split([',', ')']).next()?;
    let tried = in_child(Flags::NEWNS, || mount(NONE, ".", Some(kind), MsFlags::empty(), NONE));
    (tried == Err(errno)).then(|| format!("a {kind} cannot be mounted here: run as root outside containers"))
}

/// Whether a security module withholds capabilities in the user namespace that an ordinary user makes by clone(2), as
/// AppArmor does where `apparmor_restrict_unprivileged_userns` is 1. Without such a module nothing is excused.
fn withheld(errno: Errno) -> Option<String> {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let module =
        modules.trim().split(',').find(|module| ["apparmor", "bpf", "selinux", "smack", "tomoyo"].contains(module));
    let module = module.filter(|_| matches!(errno, Errno::EPERM | Errno::EACCES))?;
    let by_user = in_child(Flags::NONE, || {
        if nix::unistd::geteuid().is_root() {
            nix::unistd::setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into())?;
        }
        in_child(Flags::NEWUSER | Flags::NEWUTS, || nix::unistd::sethostname("control"))
    });
    matches!(by_user, Err(Errno::EPERM | Errno::EACCES)).then(|| {
        format!(
            "a security module ({module}) withholds the capabilities of an ordinary user's namespace: \
                 sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile that allows userns"
        )
    })
}

/// Limits low enough to be why a step had none left, since cases need less than these: what they make a step give, and
/// words of the steps that are meant, if not all are.
const ENOUGH: [(Errno, &[&str], Resource, u64, &str); 10] = [
    (Errno::EMFILE, &["mq_open"], Resource::RLIMIT_MSGQUEUE, 819_200, "RLIMIT_MSGQUEUE (ulimit -Hq)"),
    (Errno::EFBIG, &[], Resource::RLIMIT_FSIZE, FILE_SIZE_LIMIT, "RLIMIT_FSIZE (ulimit -Hf)"),
    (Errno::EMFILE, &[], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE (ulimit -Hn)"),
    // A number beyond the limit, as the target of a copy, gives what a closed descriptor gives.
    (Errno::EBADF, &["dup", "Descriptors", "F_DUPFD", "traces of"], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE"),
    (Errno::EPERM, &["RLIMIT_NOFILE"], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE (ulimit -Hn)"),
    (Errno::EINVAL, &["F_DUPFD"], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE (ulimit -Hn)"),
    (Errno::EAGAIN, &[], Resource::RLIMIT_NPROC, 1024, "RLIMIT_NPROC (ulimit -Hu)"),
    (Errno::EAGAIN, &[], Resource::RLIMIT_SIGPENDING, 1024, "RLIMIT_SIGPENDING (ulimit -Hi)"),
    (Errno::ENOMEM, &[], Resource::RLIMIT_AS, 1 << 40, "RLIMIT_AS (ulimit -Hv)"),
    (Errno::ENOMEM, &[], Resource::RLIMIT_DATA, 1 << 40, "RLIMIT_DATA (ulimit -Hd)"),
];

fn limit(call: &str, errno: Errno) -> Option<String> {
    let (.., enough, name) = ENOUGH.iter().find(|(gives, words, resource, enough, _)| {
        *gives == errno
            && (words.is_empty() || words.iter().any(|word| call.contains(word)))
            && getrlimit(*resource).is_ok_and(|(_, hard)| hard < *enough)
    })?;
    Some(format!("{name} is below {enough}: raise it"))
}
