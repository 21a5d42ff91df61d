//! Whether this place, and not the kernel, refused a step of a case.
//!
//! Asked by a supervisor once a step of a case has failed. An independent probe that does not use unshare(2) confirms
//! the refusal where one is possible; capabilities that are missing and low limits are only read. Where nothing explains
//! the error, the failure stands. One probe makes the call under test, beside an unknown bit and only where a filter is
//! attached: [`filtered::flags`].

use std::fs::File;
use std::path::Path;

use harness::case::task::fork_sharing;
use harness::place::facts::{Facts, has_capability, in_initial_user_namespace, number_in};
use harness::place::inherited::FILE_SIZE_LIMIT;
use harness::place::rlimit::getrlimit;
use harness::prelude::*;
use harness::suite::Wrong;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::Resource;
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use syscalls::Sysno;

use crate::call::raw::{FULL, MADE_USER, REFUSED};
use crate::feature;
use crate::observe::nsfd::owner_of;
use crate::place::privilege::NOBODY;
use crate::place::{filtered, lacks, lsm};
use crate::profile;
use crate::spec::flags::Flags;
use crate::spec::namespaces::{KINDS, Kind};

/// Why this place made a case go wrong; none if nothing here explains it.
pub fn refused(facts: &Facts, wrong: &Wrong) -> Option<String> {
    let named = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '<');
        words.filter_map(Flags::parse).fold(Flags::NONE, |all, flag| all | flag)
    };
    let step = wrong.step.and_then(|(call, actual)| Some((call, errno_named(actual)?)));
    let Some((call, errno)) = step else {
        // A check of something else than an error, after calls that the place may have refused.
        return no_room(Flags(wrong.aside[FULL])).or_else(|| filtered::flags(Flags(wrong.aside[REFUSED]), None));
    };
    let has_user_namespace = wrong.aside[MADE_USER] != 0;
    unclaimed(facts, errno, named(call))
        .or_else(|| missing_capability(facts, call, errno, wrong.is_setup))
        .or_else(|| locked_securebits(call, errno))
        .or_else(|| read_only(call, errno))
        .or_else(|| hidden(call, errno))
        .or_else(|| filtered::call(facts, call, errno, wrong.is_setup))
        .or_else(|| mount_refused(facts, call, errno))
        .or_else(|| has_user_namespace.then(|| withheld(facts, errno))?)
        .or_else(|| (errno == Errno::ENOSPC).then(|| no_room(named(call) | Flags(wrong.aside[FULL])))?)
        .or_else(|| filtered::flags(named(call) | Flags(wrong.aside[REFUSED]), Some(errno)))
        .or_else(|| limit(call, errno))
        .or_else(|| narrow_ioctl(call, errno))
        .or_else(|| wrong.is_setup.then(|| lacks::request(call, errno))?)
}

/// Whether the step was refused, as it must be, for a flag that the profile does not claim.
fn unclaimed(facts: &Facts, errno: Errno, flags: Flags) -> Option<String> {
    let unclaimed = flags & profile::unclaimed(facts);
    (errno == Errno::EINVAL && unclaimed != Flags::NONE).then(|| profile::not_claimed(unclaimed))
}

fn errno_named(name: &str) -> Option<Errno> {
    (1..=i32::from(u8::MAX)).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)
}

/// Capabilities that steps of cases take, by words of the step, and whether only set-up steps do. A kernel that refuses
/// what the capability allows fails wherever the capability is there.
const TAKEN: &[(&str, u32, bool, &[&str])] = &[
    ("CAP_CHOWN", 0, true, &["inheritable 0x1)", "PR_CAP_AMBIENT_RAISE", "chown("]),
    ("CAP_FOWNER", 3, true, &["chmod("]),
    ("CAP_SETGID", 6, true, &["write(maps)", "gid_map", "setgroups"]),
    ("CAP_SETPCAP", 8, true, &["PR_SET_SECUREBITS", "PR_CAPBSET_DROP"]),
    ("CAP_SETFCAP", 31, true, &["write(maps)", "uid_map"]),
    ("CAP_NET_ADMIN", 12, false, &["SIOCSIF", "adding a table", "netlink", "RTM_"]),
    ("CAP_IPC_OWNER", 15, false, &["with CAP_IPC_OWNER outside"]),
    ("CAP_SYS_CHROOT", 18, false, &["chroot", "caller's root", "beside, Places", "setns(ns/mnt)"]),
    ("CAP_SYS_PTRACE", 19, false, &["NS_GET_PARENT", "NS_GET_USERNS", "ptrace", "process_vm"]),
    ("CAP_SYS_PTRACE", 19, true, &["the caller's ns/user", "the caller's user namespace"]),
    ("CAP_SYS_RESOURCE", 24, false, &["prlimit", "setrlimit", "/proc/sys/user/"]),
    ("CAP_SYS_TIME", 25, false, &["timens_offsets", "clock_settime"]),
];

fn missing_capability(facts: &Facts, call: &str, errno: Errno, is_setup: bool) -> Option<String> {
    let refusal = matches!(errno, Errno::EPERM | Errno::EACCES);
    let (name, ..) = TAKEN.iter().filter(|_| refusal).find(|(_, number, of_setup, words)| {
        (is_setup || !of_setup) && !has_capability(facts, *number) && words.iter().any(|word| call.contains(word))
    })?;
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
    let path = paths(call)
        .filter_map(|path| path.ancestors().find(|path| path.exists()))
        .find(|path| statvfs(*path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY)))?;
    Some(format!("{} is mounted read-only", path.display()))
}

/// Whether files of namespaces take no ioctl(2) from 32-bit programs, as before nsfs had a `compat_ioctl` (6.1 has none,
/// 6.12 does; fs/nsfs.c). Those of 64-bit programs they always took.
fn narrow_ioctl(call: &str, errno: Errno) -> Option<String> {
    if usize::BITS != 32 || errno != Errno::ENOTTY || !call.contains("NS_GET_") {
        return None;
    }
    let refused = owner_of(&File::open("/proc/self/ns/uts").ok()?).err() == Some(Errno::ENOTTY);
    refused
        .then(|| "this kernel's files of namespaces take no ioctl(2) of 32-bit programs: run the 64-bit one".to_owned())
}

/// The absolute paths that a step names.
fn paths(call: &str) -> impl Iterator<Item = &Path> {
    call.split([' ', '(', ')', ',', '"', ':']).filter(|word| word.starts_with('/')).map(Path::new)
}

/// Whether a file that the step names is not there because /proc shows processes only.
fn hidden(call: &str, errno: Errno) -> Option<String> {
    let is_hidden = errno == Errno::ENOENT
        && !Path::new("/proc/sys/kernel").exists()
        && paths(call).any(|path| {
            ["/proc/sys", "/proc/uptime", "/proc/stat", "/proc/filesystems", "/proc/thread-self/net"]
                .iter()
                .any(|hidden| path.starts_with(hidden))
        });
    is_hidden.then(|| "/proc shows processes only (subset=pid): mount a whole one".to_owned())
}

/// Kinds of namespace of which this user namespace or an ancestor allows too few: in the initial one the limit can be
/// read; in others clone(2) cannot make as many either.
fn no_room(flags: Flags) -> Option<String> {
    let full = |kind: &&Kind| {
        number_in(&format!("/proc/sys/user/{}", kind.limit)).is_some_and(|most| most < ROOM as u64)
            || !in_initial_user_namespace() && !is_room_for(kind.flag)
    };
    let kind = KINDS.iter().filter(|kind| flags.contains(kind.flag)).find(full)?;
    Some(format!(
        "fewer than {ROOM} more namespaces fit under /proc/sys/user/{} of this user namespace or an ancestor: raise that \
         limit",
        kind.limit
    ))
}

/// As many namespaces of a kind as cases that run side by side have alive.
const ROOM: usize = 32;

/// Whether clone(2) can make so many namespaces of a kind, side by side: one within another meets the greatest depth.
fn is_room_for(flag: Flags) -> bool {
    let mut children = Vec::new();
    let mut made = Ok(());
    while made.is_ok() && children.len() < ROOM {
        // SAFETY: no CLONE_VM and no flag that takes a pointer; a supervisor is single-threaded.
        made = unsafe { fork_sharing(flag.0) }.map(|child| match child.as_raw() {
            0 => {
                let _ = set_pdeathsig(Signal::SIGKILL);
                loop {
                    // SAFETY: takes nothing; the parent ends the child.
                    unsafe { libc::pause() };
                }
            }
            _ => children.push(child),
        });
    }
    for child in children {
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, Some(WaitPidFlag::__WALL));
    }
    made != Err(Errno::ENOSPC)
}

/// What a step gives in a child that clone(2) makes with these flags; nothing if it makes none, or the child is killed.
pub fn in_child(flags: Flags, step: impl FnOnce() -> Result<(), Errno>) -> Option<Result<(), Errno>> {
    match feature::in_child(flags.0, || step().err().map_or(0, |errno| errno as i32)).ok()? {
        WaitStatus::Exited(_, 0) => Some(Ok(())),
        WaitStatus::Exited(_, errno) => Some(Err(Errno::from_raw(errno))),
        _ => None,
    }
}

/// Whether this type of file system cannot be mounted in a mount namespace made by clone(2) either.
fn mount_refused(facts: &Facts, call: &str, errno: Errno) -> Option<String> {
    const NONE: Option<&str> = None;
    let (_, rest) = call.split_once("mount(")?;
    let kind = rest.split([',', ')']).next()?;
    let user = if has_capability(facts, feature::CAP_SYS_ADMIN) { Flags::NONE } else { Flags::NEWUSER };
    let tried = in_child(Flags::NEWNS | user, || mount(NONE, ".", Some(kind), MsFlags::empty(), NONE));
    (tried == Some(Err(errno))).then(|| format!("a {kind} cannot be mounted here: run as root outside containers"))
}

/// Whether a security module withholds capabilities in the user namespace that an ordinary user makes by clone(2), as
/// AppArmor does where `apparmor_restrict_unprivileged_userns` is 1. Without a module that was told to, nothing is
/// excused.
fn withheld(facts: &Facts, errno: Errno) -> Option<String> {
    (matches!(errno, Errno::EPERM | Errno::EACCES) && !filtered::is_refused(facts, Sysno::sethostname, errno))
        .then_some(())?;
    const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let (module, what) = if number_in(APPARMOR) == Some(1) {
        ("AppArmor", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile that allows userns")
    } else if number_in("/sys/fs/selinux/enforce") == Some(1) {
        ("SELinux", "see ausearch -m avc")
    } else if lsm::is_any_hooked() == Some(true) {
        ("a BPF program", "see bpftool prog")
    } else {
        return None;
    };
    // No errno of a capability that is missing: the control was not made.
    const NOT_MADE: Errno = Errno::EXFULL;
    let by_user = in_child(Flags::NONE, || {
        if nix::unistd::geteuid().is_root() {
            nix::unistd::setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into()).map_err(|_| NOT_MADE)?;
        }
        in_child(Flags::NEWUSER | Flags::NEWUTS, || nix::unistd::sethostname("control")).unwrap_or(Err(NOT_MADE))
    });
    matches!(by_user, Some(Err(Errno::EPERM | Errno::EACCES)))
        .then(|| format!("{module} withholds the capabilities of an ordinary user's namespace: {what}"))
}

/// Limits low enough to be why a step had none left, since cases need less than these: what they make a step give, and
/// words of the steps that are meant, if not all are.
const ENOUGH: [(Errno, &[&str], Resource, u64, &str); 13] = [
    (Errno::EMFILE, &["mq_"], Resource::RLIMIT_MSGQUEUE, 819_200, "RLIMIT_MSGQUEUE (ulimit -Hq)"),
    (Errno::EPERM, &["RLIMIT_MSGQUEUE"], Resource::RLIMIT_MSGQUEUE, 819_200, "RLIMIT_MSGQUEUE (ulimit -Hq)"),
    // A soft limit above the hard one.
    (Errno::EINVAL, &["RLIMIT_SIGPENDING"], Resource::RLIMIT_SIGPENDING, 1024, "RLIMIT_SIGPENDING (ulimit -Hi)"),
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
    // The call under test is held to none of them.
    (!call.starts_with("unshare(")).then_some(())?;
    let (.., enough, name) = ENOUGH.iter().find(|(gives, words, resource, enough, _)| {
        *gives == errno
            && (words.is_empty() || words.iter().any(|word| call.contains(word)))
            && getrlimit(*resource).is_ok_and(|(_, hard)| hard < *enough)
    })?;
    Some(format!("{name} is below {enough}: raise it"))
}
