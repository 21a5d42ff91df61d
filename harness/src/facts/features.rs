//! Which features are missing, and what a user can do about each.

use std::collections::BTreeMap;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};

use super::{Config, Facts, Version, in_initial_user_namespace, status_field};
use crate::needs::{Feature, Global};
use crate::sandbox::Sandbox;
use crate::task::fork_sharing;

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;

/// The user and group that stand for "an ordinary user" when the suite runs as root.
const NOBODY: u32 = 65534;

pub(super) fn absent(facts: &Facts) -> BTreeMap<Feature, String> {
    Feature::ALL.into_iter().filter_map(|feature| missing(feature, facts).map(|reason| (feature, reason))).collect()
}

/// The features that a kernel has if its configuration says so.
const OPTIONS: [(Feature, &str); 8] = [
    (Feature::SysvIpc, "SYSVIPC"),
    (Feature::PosixMqueue, "POSIX_MQUEUE"),
    (Feature::UtsNs, "UTS_NS"),
    (Feature::IpcNs, "IPC_NS"),
    (Feature::NetNs, "NET_NS"),
    (Feature::PidNs, "PID_NS"),
    (Feature::UserNs, "USER_NS"),
    (Feature::TimeNs, "TIME_NS"),
];

/// What the configuration, where it can be read, says is built in.
pub(super) fn configured(config: Option<&Config>) -> Vec<Feature> {
    OPTIONS
        .into_iter()
        .filter(|(_, option)| config.is_some_and(|config| config.is_set(option)))
        .map(|(feature, _)| feature)
        .collect()
}

fn has_capability(facts: &Facts, capability: u32) -> bool {
    facts.capabilities & (1 << capability) != 0
}

fn missing(feature: Feature, facts: &Facts) -> Option<String> {
    match feature {
        Feature::Unfiltered => filtered(),
        Feature::SysAdmin => (!has_capability(facts, CAP_SYS_ADMIN)).then(|| match &facts.sandbox {
            Sandbox::None { why } => {
                format!("needs CAP_SYS_ADMIN and there is no user namespace to have it in ({why}): run as root")
            }
            _ => "needs CAP_SYS_ADMIN: run as root".to_owned(),
        }),
        Feature::Sandbox => match &facts.sandbox {
            Sandbox::None { why } => {
                Some(format!("needs mount, IPC and UTS namespaces of its own ({why}): run as root"))
            }
            _ => None,
        },
        Feature::InitialRoot => (!(in_initial_user_namespace()
            && has_capability(facts, CAP_SYS_ADMIN)
            && has_capability(facts, CAP_SETUID)))
        .then(|| "needs root in the initial user namespace: run as root outside containers".to_owned()),
        Feature::SecondUser => second_user(facts),
        Feature::CreateUserNs => create_user_namespace(),
        Feature::Kcmp => kcmp(),
        Feature::SysvIpc => no_file("/proc/sysvipc/sem", "System V IPC", "SYSVIPC"),
        Feature::PosixMqueue => no_file("/proc/sys/fs/mqueue", "POSIX message queues", "POSIX_MQUEUE"),
        Feature::UtsNs => no_namespace("uts", "UTS_NS"),
        Feature::IpcNs => no_namespace("ipc", "IPC_NS"),
        Feature::NetNs => no_namespace("net", "NET_NS"),
        Feature::PidNs => no_namespace("pid", "PID_NS"),
        Feature::UserNs => no_namespace("user", "USER_NS"),
        Feature::CgroupNs => no_namespace("cgroup", "CGROUPS"),
        Feature::TimeNs => no_namespace("time", "TIME_NS"),
        Feature::EmptyMntNs => no_empty_mount_namespaces(facts),
        Feature::IoUring => io_uring(),
        Feature::Ia32 => ia32(),
        Feature::Cgroup2 => cgroup2(),
        Feature::UserNsSwitch => (!Path::new(Global::UserNsSwitch.path()).exists()).then(|| {
            "this kernel has no kernel.unprivileged_userns_clone, which is a patch of Debian's: \
             run one of Debian's kernels (kernels fetch)"
                .to_owned()
        }),
        Feature::FailNth => no_failing_allocations(),
        Feature::ObjectCounts => no_object_counts(),
        Feature::NamespaceLimits => {
            no_file("/proc/sys/user/max_uts_namespaces", "limits on namespaces (/proc/sys/user)", "SYSCTL and USER_NS")
                .or_else(|| {
                    (!has_capability(facts, CAP_SYS_RESOURCE) && facts.uid != 0)
                        .then(|| "needs to write /proc/sys/user of a user namespace of its own: run as root".to_owned())
                })
        }
    }
}

/// Whether a limit of the place, or a seccomp filter, answers unshare(2) instead of the kernel, as
/// container runtimes have it. This is the one fact that takes a try of the call under test; it is only tried where /proc
/// says that there is a filter, and unshare(0) is a call that no kernel refuses (FLAG-40), so that
/// no broken kernel can hide behind it.
fn filtered() -> Option<String> {
    // A place that forbids a kind of namespace gives ENOSPC where cases expect one. That of user
    // namespaces is common, and a need of its own.
    let forbidden = ["mnt", "uts", "ipc", "pid", "cgroup", "net", "time"]
        .into_iter()
        .map(|kind| format!("/proc/sys/user/max_{kind}_namespaces"))
        .find(|path| super::number_in(path) == Some(0));
    if let Some(path) = forbidden {
        return Some(format!("{path} is 0, so unshare(2) is restricted here: raise it"));
    }
    if status_field("Seccomp").as_deref() != Some("2") {
        return None;
    }
    // SAFETY: unshare(2) takes a number, and 0 changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_unshare, 0u64) };
    let errno = Errno::result(result).err()?;
    Some(format!(
        "a seccomp filter answers unshare(2) in the kernel's place (unshare(0): {errno:?}): \
         run outside the container, or with a profile that allows unshare"
    ))
}

/// Whether a task can have the nth allocation of its next system call fail.
fn no_failing_allocations() -> Option<String> {
    const FAIL_NTH: &str = "/proc/thread-self/fail-nth";
    let settings = [Global::SparedAllocations, Global::FailedAllocationsLog].map(Global::path);
    let missing = std::iter::once(FAIL_NTH)
        .chain(settings)
        .find(|path| std::fs::File::options().write(true).open(path).is_err())?;
    Some(format!(
        "this kernel's allocations cannot be made to fail ({missing} cannot be written): it takes root, debugfs \
         mounted on /sys/kernel/debug, and a kernel with CONFIG_FAULT_INJECTION, CONFIG_FAILSLAB and \
         CONFIG_FAULT_INJECTION_DEBUG_FS (kernels build TREE --with fault-injection, then --kernel)"
    ))
}

/// Whether the kernel's own objects can be counted.
fn no_object_counts() -> Option<String> {
    // Whatever else is merged with it, this one exists.
    let shrink = "/sys/kernel/slab/nsproxy/shrink";
    let missing = if std::fs::read("/proc/slabinfo").is_err() {
        "/proc/slabinfo cannot be read"
    } else if std::fs::File::options().write(true).open(shrink).is_err() {
        "/sys/kernel/slab/nsproxy/shrink cannot be written"
    } else {
        return None;
    };
    Some(format!(
        "the kernel's own objects cannot be counted ({missing}): it takes root, sysfs mounted for writing on /sys, \
         and a kernel with CONFIG_SLUB_DEBUG and without CONFIG_SLUB_TINY"
    ))
}

fn no_file(path: &str, what: &str, options: &str) -> Option<String> {
    (!Path::new(path).exists()).then(|| format!("this kernel has no {what} ({path} is missing): CONFIG_{options}"))
}

fn no_namespace(link: &str, option: &str) -> Option<String> {
    let path = format!("/proc/self/ns/{link}");
    // A link that exists always resolves: it is magic, not a path.
    (std::fs::symlink_metadata(&path).is_err())
        .then(|| format!("this kernel has no {link} namespaces ({path} is missing): CONFIG_{option}"))
}

fn second_user(facts: &Facts) -> Option<String> {
    let mapped = |map: &str| {
        std::fs::read_to_string(map).is_ok_and(|text| {
            text.lines().any(|line| {
                let mut fields = line.split_whitespace().map(|n| n.parse::<u32>().unwrap_or(0));
                let (inside, _, length) = (fields.next(), fields.next(), fields.next());
                matches!((inside, length), (Some(first), Some(length))
                    if first <= NOBODY && NOBODY - first < length)
            })
        })
    };
    let able = has_capability(facts, CAP_SETUID) && has_capability(facts, CAP_SETGID);
    (!(able && mapped("/proc/self/uid_map") && mapped("/proc/self/gid_map")))
        .then(|| "needs a second user (65534) to become: run as root".to_owned())
}

/// Whether clone(2), not the call under test, may make a user namespace here.
fn create_user_namespace() -> Option<String> {
    if let Some(reason) = no_namespace("user", "USER_NS") {
        return Some(reason);
    }
    // SAFETY: no CLONE_VM; the process is single-threaded; the child ends at once.
    let errno = match unsafe { fork_sharing(libc::CLONE_NEWUSER as u64) } {
        Ok(pid) if pid.as_raw() == 0 => {
            // SAFETY: ends the probe.
            unsafe { libc::_exit(0) }
        }
        Ok(pid) => {
            let _ = waitpid(pid, None);
            return None;
        }
        Err(errno) => errno,
    };
    Some(format!(
        "no user namespace can be made here (clone(CLONE_NEWUSER): {errno:?}): {}",
        match errno {
            Errno::ENOSPC => "raise /proc/sys/user/max_user_namespaces",
            Errno::EPERM =>
                "run outside the container or chroot, or allow it \
                 (kernel.unprivileged_userns_clone, seccomp profile)",
            _ => "a security module forbids it",
        }
    ))
}

/// Whether clone3(2), not the call under test, knows the flag that UNSHARE_EMPTY_MNTNS came with (FLAG-20): where it does
/// not, it is an unknown bit (EINVAL), whoever asks.
fn no_empty_mount_namespaces(facts: &Facts) -> Option<String> {
    const CLONE_EMPTY_MNTNS: u64 = 1 << 37;
    const NO_FLAG: u64 = 1 << 63;
    /// Only for a place whose filter answers clone3(2), where nothing else tells.
    const SINCE: Version = Version(7, 1, 0);
    let clone3 = |flags: u64| {
        // struct clone_args of linux/sched.h: flags, three unused words, the exit signal, three more.
        let arguments = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
        // SAFETY: the arguments live through the call and have the size given; without CLONE_VM a null stack means a
        // copy of the caller's; the child ends at once.
        match Errno::result(unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) }) {
            // SAFETY: ends the probe.
            Ok(0) => unsafe { libc::_exit(0) },
            Ok(pid) => waitpid(nix::unistd::Pid::from_raw(pid as i32), None).map(drop),
            Err(errno) => Err(errno),
        }
    };
    let missing = match clone3(NO_FLAG) {
        Err(Errno::EINVAL) => clone3(CLONE_EMPTY_MNTNS) == Err(Errno::EINVAL),
        _ => facts.version < SINCE,
    };
    missing.then(|| "this kernel has no UNSHARE_EMPTY_MNTNS (Linux 7.1)".to_owned())
}

fn kcmp() -> Option<String> {
    const KCMP_FS: u64 = 3;
    let pid = std::process::id();
    // SAFETY: kcmp(2) on two process IDs takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FS, 0u64, 0u64) };
    match Errno::result(result) {
        Ok(_) => None,
        Err(Errno::ENOSYS) => Some("this kernel has no kcmp(2): CONFIG_KCMP (or CONFIG_CHECKPOINT_RESTORE)".to_owned()),
        Err(errno) => Some(format!("kcmp(2) is refused here ({errno:?}): allow it in the container's seccomp profile")),
    }
}

fn io_uring() -> Option<String> {
    // SAFETY: no entries and no parameters: the kernel refuses before it touches memory.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0u64, 0u64) };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => Some("this kernel has no io_uring: CONFIG_IO_URING".to_owned()),
        Err(Errno::EPERM) => {
            Some("io_uring is refused here (EPERM): kernel.io_uring_disabled or a seccomp profile".to_owned())
        }
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn ia32() -> Option<String> {
    // A kernel without the entry delivers SIGSEGV, so a child tries it.
    // SAFETY: no CLONE_VM; the process is single-threaded.
    match unsafe { fork_sharing(0) } {
        Ok(pid) if pid.as_raw() == 0 => {
            const GETPID: i32 = 20;
            let result: i32;
            // SAFETY: getpid through the 32-bit entry touches no memory; r8–r11 may be clobbered.
            unsafe {
                std::arch::asm!("int 0x80", inlateout("eax") GETPID => result,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                libc::_exit(i32::from(result <= 0));
            }
        }
        Ok(pid) => match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, 0)) => None,
            _ => Some(
                "this kernel has no 32-bit entry (int 0x80): CONFIG_IA32_EMULATION, or ia32_emulation=on".to_owned(),
            ),
        },
        Err(errno) => Some(format!("fork: {errno:?}")),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn ia32() -> Option<String> {
    Some("the 32-bit entry under test is x86's".to_owned())
}

fn cgroup2() -> Option<String> {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return Some("/proc/self/mountinfo is not readable".to_owned());
    };
    let writable = mounts
        .lines()
        .filter_map(|line| line.split_once(" - cgroup2 ").map(|(mount, _)| mount))
        .filter_map(|mount| mount.split(' ').nth(4))
        .any(|path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok());
    (!writable).then(|| {
        "needs a cgroup2 hierarchy mounted where it may create groups: run as root, or delegate one".to_owned()
    })
}
