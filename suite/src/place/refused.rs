//! Whether this place, and not the kernel, refused a step of a case.
//!
//! Asked by a supervisor once a step of a case has failed. Each answer rests on a control: a capability that is missing,
//! a limit, a read-only mount, a call that a filter answers, a namespace that clone(2) may not make either. Where no
//! control finds anything, the failure stands. One control makes the call under test, beside an unknown bit and only
//! where a filter is attached: [`filtered_flags`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use harness::case::task::fork_sharing;
use harness::place::facts::{Facts, has_capability, in_initial_user_namespace, number_in};
use harness::place::filter::{answer_to_nonsense, has_filter};
use harness::place::inherited::FILE_SIZE_LIMIT;
use harness::prelude::*;
use harness::suite::Wrong;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use syscalls::Sysno;

use crate::call::raw::{FULL, REFUSED, unshare};
use crate::feature;
use crate::place::lsm;
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
            .or_else(|| hidden(errno))
            .or_else(|| filtered_call(call, errno, wrong.is_setup))
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
    ("CAP_CHOWN", 0, &["inheritable 0x1", "PR_CAP_AMBIENT_RAISE"]),
    ("CAP_SETGID", 6, &["maps", "gid_map", "setgroups"]),
    ("CAP_SETPCAP", 8, &["PR_SET_SECUREBITS", "PR_CAPBSET_DROP"]),
    ("CAP_SETFCAP", 31, &["maps", "uid_map"]),
    ("CAP_NET_ADMIN", 12, &["SIOCSIF", "adding a table", "netlink", "RTM_"]),
    ("CAP_SYS_CHROOT", 18, &["chroot", "caller's root", "beside, Places", "setns"]),
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

/// Whether /proc shows processes only, without the settings that steps read and write.
fn hidden(errno: Errno) -> Option<String> {
    (errno == Errno::ENOENT && !Path::new("/proc/sys/kernel").exists())
        .then(|| "/proc shows processes only (subset=pid): mount a whole one".to_owned())
}

/// System calls behind words of steps that are not their names.
const MEANT: &[(&str, &[Sysno])] = &[
    ("umount", &[Sysno::umount2]),
    ("io_uring", &[Sysno::io_uring_setup]),
    ("uring", &[Sysno::io_uring_enter]),
    ("keyctl", &[Sysno::add_key]),
    ("pthread_create", &[Sysno::clone3]),
    ("seteuid", &[Sysno::setresuid]),
    ("NSpid of a child", &[Sysno::pipe2]),
    ("clock_nanosleep(", &[Sysno::setitimer]),
    ("IPC_STAT", &[Sysno::semctl, Sysno::shmctl, Sysno::msgctl]),
    ("spawn", &[Sysno::clone3]),
    // A storm's task names its new host; what its other tasks do.
    ("traces of", &[Sysno::sethostname]),
    ("beside, Places", &[Sysno::chdir, Sysno::chroot, Sysno::umask]),
    ("beside, Descriptors", &[Sysno::dup2, Sysno::close, Sysno::close_range]),
    ("beside, Mounts", &[Sysno::mount, Sysno::umount2]),
    ("beside, Semaphores", &[Sysno::semget, Sysno::semop, Sysno::semctl]),
    ("beside, Follower", &[Sysno::setns]),
    ("beside, Tracer", &[Sysno::ptrace]),
    ("beside, Signals", &[Sysno::tkill, Sysno::nanosleep]),
    ("beside, Reader", &[Sysno::readlink, Sysno::open]),
];

/// What set-up steps call whose words name no call.
const SET_UP_BY: &[Sysno] = &[
    Sysno::access,
    Sysno::bind,
    Sysno::capset,
    Sysno::chdir,
    Sysno::chroot,
    Sysno::close_range,
    Sysno::dup2,
    Sysno::dup3,
    Sysno::epoll_create1,
    Sysno::eventfd2,
    Sysno::fchdir,
    Sysno::getcwd,
    Sysno::inotify_init1,
    Sysno::kcmp,
    Sysno::kill,
    Sysno::memfd_create,
    Sysno::mkdir,
    Sysno::mknodat,
    Sysno::mount,
    Sysno::mq_open,
    Sysno::msgget,
    Sysno::open,
    Sysno::personality,
    Sysno::pipe2,
    Sysno::pivot_root,
    Sysno::prctl,
    Sysno::ptrace,
    Sysno::readlink,
    Sysno::rmdir,
    Sysno::sched_setscheduler,
    Sysno::seccomp,
    Sysno::semctl,
    Sysno::semget,
    Sysno::semop,
    Sysno::sendmsg,
    Sysno::setgroups,
    Sysno::setitimer,
    Sysno::sethostname,
    Sysno::setns,
    Sysno::setpriority,
    Sysno::setresgid,
    Sysno::setresuid,
    Sysno::shmget,
    Sysno::sigaltstack,
    Sysno::socket,
    Sysno::socketpair,
    Sysno::tgkill,
    Sysno::timer_create,
    Sysno::tkill,
    Sysno::umask,
    Sysno::umount2,
    Sysno::unlink,
    Sysno::unlinkat,
    Sysno::waitid,
];

/// Calls that are not made with nonsense: those that a filter answers by their flags ([`filtered_flags`] finds them),
/// that do not return, or that do something without arguments.
const NEVER_MADE: [Sysno; 8] = [
    Sysno::unshare,
    Sysno::exit,
    Sysno::exit_group,
    Sysno::fork,
    Sysno::vfork,
    Sysno::clone,
    Sysno::pause,
    Sysno::rt_sigreturn,
];

fn filtered_call(call: &str, errno: Errno, setup: bool) -> Option<String> {
    has_filter().then_some(())?;
    let words = call.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter_map(|word| word.parse().ok());
    let meant = MEANT.iter().filter(|(word, _)| call.contains(word)).flat_map(|(_, numbers)| *numbers).copied();
    let unnamed = SET_UP_BY.iter().filter(|_| setup).copied();
    let mut asked = named.chain(meant).chain(unnamed).filter(|number| !NEVER_MADE.contains(number));
    // In a child: what the call does to its caller, such as umask(2), does not matter there.
    let number = asked.find(|number| in_child(Flags::NONE, || answer_to_nonsense(*number)) == Err(errno))?;
    Some(format!("a seccomp filter refuses {number}(2): run with a profile that allows it"))
}

/// Flags that a filter answers by. It sees a flag whatever else is asked for; the kernel refuses the unknown bit beside
/// it, for which its answer is EINVAL to everybody (ERR-01).
fn filtered_flags(flags: Flags) -> Option<String> {
    const UNKNOWN: Flags = Flags(1 << 63);
    has_filter().then_some(())?;
    let filtered = flags.iter().find(|flag| unshare(*flag | UNKNOWN).answer() != Err(Errno::EINVAL))?;
    Some(format!("a seccomp filter refuses {filtered}: run outside the container, or allow it (RestrictNamespaces=)"))
}

/// Kinds of namespace of which an ancestor of this user namespace allows too few: clone(2) cannot make as many either.
/// In the initial user namespace there is no ancestor, and the limit can be read.
fn no_room(flags: Flags) -> Option<String> {
    // Found once, it holds for the whole run: to look for it costs as much as a case.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let full = |kind: &&Kind| {
        Flags(KNOWN.load(Ordering::Relaxed)).contains(kind.flag)
            || number_in(&format!("/proc/sys/user/{}", kind.limit)) == Some(0)
            || !in_initial_user_namespace() && !is_room_for(kind.flag)
    };
    let kind = KINDS.iter().filter(|kind| flags.contains(kind.flag)).find(full)?;
    KNOWN.fetch_or(kind.flag.0, Ordering::Relaxed);
    Some(format!(
        "this user namespace or an ancestor allows fewer than {ROOM} namespaces more by /proc/sys/user/{}: raise it there",
        kind.limit
    ))
}

/// As many namespaces of a kind as cases that run side by side have alive.
const ROOM: usize = 64;

/// Whether clone(2) can make so many namespaces of a kind, side by side: one within another meets the greatest depth.
fn is_room_for(flag: Flags) -> bool {
    let mut children = Vec::new();
    let mut made = Ok(());
    while made.is_ok() && children.len() < ROOM {
        // SAFETY: no CLONE_VM and no flag that takes a pointer; a supervisor is single-threaded.
        made = unsafe { fork_sharing(flag.0) }.map(|child| match child.as_raw() {
            // SAFETY: takes nothing; the parent ends the child.
            0 => loop {
                unsafe { libc::pause() };
            },
            _ => children.push(child),
        });
    }
    for child in children {
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, Some(WaitPidFlag::__WALL));
    }
    made != Err(Errno::ENOSPC)
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
/// AppArmor does where `apparmor_restrict_unprivileged_userns` is 1. Without a module that was told to, nothing is
/// excused.
fn withheld(errno: Errno) -> Option<String> {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let module = modules.trim().split(',').filter(|_| matches!(errno, Errno::EPERM | Errno::EACCES)).find(
        |module| match *module {
            "apparmor" => number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            "bpf" => lsm::is_any_loaded() != Some(false),
            "selinux" => number_in("/sys/fs/selinux/enforce") == Some(1),
            _ => false,
        },
    )?;
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
const ENOUGH: [(Errno, &[&str], Resource, u64, &str); 11] = [
    (Errno::EMFILE, &["mq_open"], Resource::RLIMIT_MSGQUEUE, 819_200, "RLIMIT_MSGQUEUE (ulimit -Hq)"),
    (Errno::EFBIG, &[], Resource::RLIMIT_FSIZE, FILE_SIZE_LIMIT, "RLIMIT_FSIZE (ulimit -Hf)"),
    (Errno::EMFILE, &[], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE (ulimit -Hn)"),
    // A number beyond the limit, as the target of a copy, gives what a closed descriptor gives.
    (Errno::EBADF, &["dup", "Descriptors", "F_DUPFD", "traces of"], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE"),
    (Errno::EPERM, &["RLIMIT_NOFILE"], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE (ulimit -Hn)"),
    (Errno::EINVAL, &["F_DUPFD"], Resource::RLIMIT_NOFILE, 4096, "RLIMIT_NOFILE (ulimit -Hn)"),
    (Errno::EAGAIN, &[], Resource::RLIMIT_NPROC, 1024, "RLIMIT_NPROC (ulimit -Hu)"),
    (Errno::EAGAIN, &[], Resource::RLIMIT_SIGPENDING, 1024, "RLIMIT_SIGPENDING (ulimit -Hi)"),
    (Errno::ENOMEM, &["io_uring"], Resource::RLIMIT_MEMLOCK, 8 << 20, "RLIMIT_MEMLOCK (ulimit -Hl)"),
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
