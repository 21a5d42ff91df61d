//! What a kernel, or the place the suite runs in, may lack: each feature with its probe. Also everything else that the
//! harness is told about this suite.
//!
//! In cases: `Needs::ROOT.with(feature::TIME_NS)`, `t.facts().has(feature::KCMP)`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use harness::abi;
use harness::case::needs::{Feature, Global, Needs, no_file};
use harness::case::task::fork_sharing;
use harness::place::facts::{Facts, Version, has_capability, in_initial_user_namespace, number_in, status_field};
use harness::place::filter::{REFUSALS, answer_in_child, has_filter};
use harness::place::rlimit::getrlimit;
use harness::place::sandbox::Sandbox;
use harness::suite::Suite;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::Resource;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::fchdir;
use syscalls::Sysno;

use crate::observe::{Ns, mounts, place_of, statx};

const CAP_KILL: u32 = 5;
pub(crate) const CAP_SETGID: u32 = 6;
pub(crate) const CAP_SETUID: u32 = 7;
pub(crate) const CAP_SYS_PTRACE: u32 = 19;
pub(crate) const CAP_SYS_ADMIN: u32 = 21;
pub(crate) const CAP_SETFCAP: u32 = 31;
pub(crate) const CAP_SYS_RESOURCE: u32 = 24;

/// The user and group that stand for an ordinary user when the suite runs as root.
pub const NOBODY: u32 = 65534;

/// This suite, as the harness runs it.
pub static SUITE: Suite = Suite {
    name: "unshare-conformance",
    kcidb_root: "unshare",
    features: FEATURES,
    globals: global::GLOBALS,
    every_case: Needs::NONE.with(UNFILTERED).with(Feature::OWN_PROC),
    task_names: &["unrelated"],
    signs,
    refused: crate::place::refused::refused,
    remove_stale: crate::place::cgroup::remove_stale,
    affair: crate::spec::requirements::affair,
    facts: &[
        (TAKES_ROOT, || number_in(global::USER_NS_SWITCH.path()) == Some(0)),
        (EMPTY_FOR_ALL, is_empty_mount_namespace_for_all),
    ],
};

const TAKES_ROOT: &str = "user_namespace_takes_root";

/// Whether Debian's `kernel.unprivileged_userns_clone` is 0: CLONE_NEWUSER requires CAP_SYS_ADMIN in the initial user
/// namespace (ERR-25).
pub fn user_namespace_takes_root(facts: &Facts) -> bool {
    facts.holds(TAKES_ROOT)
}

const EMPTY_FOR_ALL: &str = "empty_mnt_ns_for_all";

/// Whether an empty mount namespace takes no capability: proposed in 2026, and in no release up to 7.3 (section 10.3
/// of the behaviour catalogue).
pub fn empty_mount_namespace_is_for_all(facts: &Facts) -> bool {
    facts.holds(EMPTY_FOR_ALL)
}

/// What is judged otherwise on this kernel than on a released Linux, each in a sentence that the run begins with: what
/// the kernel does not show is not compared, and no case is skipped for it.
pub fn remarks(facts: &Facts) -> Vec<String> {
    let uncompared = [
        (NS_LINKS, "in which namespaces a task is"),
        (ALL_LINKS, "the kinds of namespaces that have no link"),
        (MOUNT_IDS, "on which mounts a task's root and current directory are"),
        (SHOWN_UMASK, "whether another task has the caller's umask"),
    ];
    let missing = uncompared.into_iter().filter_map(|(feature, what)| Some((what, facts.reason_without(feature)?)));
    let missing: Vec<_> = missing.map(|(what, why)| format!("{what} ({why})")).collect();
    let weaker = (!missing.is_empty()).then(|| format!("not compared in this run: {}", missing.join("; ")));
    let for_all = empty_mount_namespace_is_for_all(facts).then(|| {
        "this kernel gives an empty mount namespace to everybody, as clone3(2) by a task without capabilities shows: \
         no Linux up to 7.3 does, and UNSHARE_EMPTY_MNTNS is judged by it"
            .to_owned()
    });
    weaker.into_iter().chain(for_all).collect()
}

/// Whether a task without any capability gets an empty mount namespace by clone3(2), not by the call under test.
fn is_empty_mount_namespace_for_all() -> bool {
    // Unknown to most kernels, which need no child to be asked.
    if clone3(CLONE_EMPTY_MNTNS) == Err(Errno::EINVAL) {
        return false;
    }
    let asked = in_child(0, || {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        let given_up = rustix::thread::set_capabilities(None, sets).is_ok();
        i32::from(!(given_up && clone3(CLONE_EMPTY_MNTNS).is_ok()))
    });
    matches!(asked, Ok(WaitStatus::Exited(_, 0)))
}

/// Declares a constant for each row, whose index is the row's position, and the table of all rows.
macro_rules! table {
    ($type:ident in $table:ident:
     $($(#[$doc:meta])* $constant:ident($($argument:expr),*) $(built in by $option:literal)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Index { $($constant),* }
        $(
            $(#[$doc])*
            pub const $constant: $type = $type::new(Index::$constant as u8, $($argument),*)$(.built_in_by($option))?;
        )*
        pub(super) const $table: &[$type] = &[$($constant),*];
    };
}

/// CAP_SYS_ADMIN, effective in the current user namespace.
pub const SYS_ADMIN: Feature = Feature::SYS_ADMIN;
/// Mount, IPC and UTS namespaces of the supervisor's own.
pub const SANDBOX: Feature = Feature::SANDBOX;
/// System V semaphores, shared memory and message queues.
pub const SYSV_IPC: Feature = Feature::SYSV_IPC;

table! { Feature in FEATURES:
    /// unshare(2) reaches the kernel: no seccomp filter or limit of the place answers instead. Every
    /// case needs it.
    UNFILTERED("unfiltered", |_| filtered());
    /// No seccomp filter is attached.
    NO_FILTER("no_filter", |_| a_filter());
    /// The initial user namespace, with the real root's powers.
    INITIAL_ROOT("initial_root", no_initial_root);
    /// A second user and group ID (65534) that the caller may become.
    SECOND_USER("second_user", second_user);
    /// IDs of the caller may be mapped in another's user namespace.
    MAP_IDS("map_ids", may_not_map_ids);
    /// A new user namespace may be created here.
    CREATE_USER_NS("create_user_ns", |_| create_user_namespace());
    /// kcmp(2), which tells whether two tasks share a resource.
    KCMP("kcmp", |_| kcmp());
    /// POSIX message queues.
    POSIX_MQUEUE("posix_mqueue", |_| no_file("/proc/sys/fs/mqueue", "POSIX message queues", "POSIX_MQUEUE"))
        built in by "POSIX_MQUEUE";
    /// UTS namespaces.
    UTS_NS("uts_ns", |_| no_namespace("uts", "UTS_NS").filter(|_| !clone_separates_host_names())) built in by "UTS_NS";
    /// IPC namespaces.
    IPC_NS("ipc_ns", |_| no_namespace("ipc", "IPC_NS").filter(|_| !clone_separates_segments())) built in by "IPC_NS";
    /// Network namespaces.
    NET_NS("net_ns", |_| no_namespace("net", "NET_NS")) built in by "NET_NS";
    /// PID namespaces.
    PID_NS("pid_ns", |_| no_namespace("pid", "PID_NS")) built in by "PID_NS";
    /// User namespaces.
    USER_NS("user_ns", |_| no_namespace("user", "USER_NS")) built in by "USER_NS";
    /// Cgroup namespaces.
    CGROUP_NS("cgroup_ns", |_| no_namespace("cgroup", "CGROUPS"));
    /// Time namespaces.
    TIME_NS("time_ns", |_| no_namespace("time", "TIME_NS")) built in by "TIME_NS";
    /// UNSHARE_EMPTY_MNTNS (Linux 7.1).
    EMPTY_MNT_NS("empty_mnt_ns", no_empty_mount_namespace);
    /// io_uring with a kernel-side polling thread.
    IO_URING("io_uring", |_| io_uring());
    /// The 32-bit system call entry of x86 (int 0x80) usable from a 64-bit process.
    IA32("ia32", |_| ia32());
    /// The x32 entry of x86-64: a 64-bit program may try it, and the kernel itself says whether it is there.
    X32("x32", |_| no_word_of_x32());
    /// An argument of 64 bits, which a program has on a 64-bit architecture.
    WIDE_ARGUMENT("wide_argument", |_| narrow_argument());
    /// The root directory of the mount namespace sees the mount that the caller's own is on.
    ROOT_IN_SIGHT("root_in_sight", |_| root_out_of_sight());
    /// A cgroup2 hierarchy in which the caller may create groups.
    CGROUP2("cgroup2", |_| cgroup2());
    /// `/proc/sys/user/max_*_namespaces` of a fresh user namespace.
    NAMESPACE_LIMITS("namespace_limits", no_namespace_limits);
    /// Debian's switch against user namespaces of ordinary users.
    USER_NS_SWITCH("user_ns_switch", |_| no_switch());
    /// Allocations of the kernel that fail on request: fail-nth and failslab of its fault injection.
    FAIL_NTH("fail_nth", |_| no_failing_allocations());
    /// The kernel's exact count of its own objects: `/proc/slabinfo`, and `/sys/kernel/slab/…/shrink`, which makes it
    /// free cached objects first.
    OBJECT_COUNTS("object_counts", |_| no_object_counts());
    /// The links of /proc/self/ns name namespaces: their inodes are the same from look to look. Where they are not,
    /// the state of a task is compared without them.
    NS_LINKS("ns_links", |_| links_without_identity());
    /// /proc/self/ns has a link for each kind of namespace that the kernel has.
    ALL_LINKS("all_links", |_| kinds_without_links());
    /// statx(2) gives IDs of mounts (STATX_MNT_ID). Where it does not, the state is compared without them.
    MOUNT_IDS("mount_ids", |_| no_mount_ids());
    /// `/proc/PID/status` shows the umask of another task.
    SHOWN_UMASK("shown_umask", |_| no_shown_umask());
}

/// Kernel state outside any namespace that cases change.
pub mod global {
    use harness::case::needs::Change::{Passing, Value};

    use super::Global;

    table! { Global in GLOBALS:
        /// `fs.nr_open`, the ceiling of file descriptor numbers.
        NR_OPEN("/proc/sys/fs/nr_open", Value);
        /// `fs.mount-max`, the number of mounts that a mount namespace may hold.
        MOUNT_MAX("/proc/sys/fs/mount-max", Value);
        /// `kernel.unprivileged_userns_clone`, Debian's switch against user namespaces of ordinary users.
        USER_NS_SWITCH("/proc/sys/kernel/unprivileged_userns_clone", Value);
        /// Whether fault injection spares allocations that may sleep, as nearly all do.
        SPARED_ALLOCATIONS("/sys/kernel/debug/failslab/ignore-gfp-wait", Value);
        /// How much fault injection writes to the kernel's log.
        FAILED_ALLOCATIONS_LOG("/sys/kernel/debug/failslab/verbose", Value);
        /// The hook before a new user namespace: a program there is called for every process, until it is taken off.
        USER_NS_HOOK("the security hook bpf_lsm_userns_create", Passing);
        /// The kernel's caches of objects: on every processor they give back what they keep at hand.
        SLAB_CACHES("the slab caches (/sys/kernel/slab/*/shrink)", Passing);
        /// The hierarchy of control groups, in which everybody sees a case's own.
        CONTROL_GROUPS("the cgroup2 hierarchy", Passing);
        /// Settings of the network that every network namespace has of its own, on a kernel that is right.
        NETWORK_SETTINGS("the initial network namespace's settings (/proc/sys/net)", Passing);
    }
}

fn no_initial_root(facts: &Facts) -> Option<String> {
    let there =
        in_initial_user_namespace() && has_capability(facts, CAP_SYS_ADMIN) && has_capability(facts, CAP_SETUID);
    (!there).then(|| "needs root in the initial user namespace: run as root outside containers".to_owned())
}

/// Whether clone3(2), not the call under test, knows the flag that UNSHARE_EMPTY_MNTNS came with (FLAG-20): where it does
/// not, it is an unknown bit (EINVAL), whoever asks.
fn no_empty_mount_namespace(facts: &Facts) -> Option<String> {
    const NO_FLAG: u64 = 1 << 63;
    /// Only for a place whose filter answers clone3(2), where nothing else tells.
    const SINCE: Version = Version(7, 1, 0);
    let missing = match clone3(NO_FLAG) {
        Err(Errno::EINVAL) => clone3(CLONE_EMPTY_MNTNS) == Err(Errno::EINVAL),
        _ => facts.version < SINCE,
    };
    missing.then(|| "this kernel has no UNSHARE_EMPTY_MNTNS (Linux 7.1)".to_owned())
}

/// The flag of clone3(2) that UNSHARE_EMPTY_MNTNS came with.
const CLONE_EMPTY_MNTNS: u64 = 1 << 37;

/// What clone3(2) says to these flags. The child ends at once.
fn clone3(flags: u64) -> Result<(), Errno> {
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
}

fn no_namespace_limits(facts: &Facts) -> Option<String> {
    let no_files =
        no_file("/proc/sys/user/max_uts_namespaces", "limits on namespaces (/proc/sys/user)", "SYSCTL and USER_NS");
    no_files.or_else(|| {
        (!has_capability(facts, CAP_SYS_RESOURCE) && facts.uid != 0)
            .then(|| "needs to write /proc/sys/user of a user namespace of its own: run as root".to_owned())
    })
}

fn no_switch() -> Option<String> {
    (!Path::new(global::USER_NS_SWITCH.path()).exists()).then(|| {
        "this kernel has no kernel.unprivileged_userns_clone, which is a patch of Debian's: run one of Debian's \
         kernels (kernels fetch)"
            .to_owned()
    })
}

/// Signs of a sandbox or local policy (RULE-08), in words.
fn signs(facts: &Facts) -> Vec<String> {
    let mut signs = Vec::new();
    if has_filter() {
        signs.push("a seccomp filter is active and may refuse system calls (container runtime?)".to_owned());
    }
    if status_field("NoNewPrivs").as_deref() == Some("1") {
        signs.push("no_new_privs is set: set-user-id programs do not raise privilege".to_owned());
    }
    if !in_initial_user_namespace() && facts.sandbox != Sandbox::UserNamespace {
        signs.push("this is not the initial user namespace".to_owned());
    }
    for (path, harmless, meaning) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", 1, "Debian's switch against user namespaces of ordinary users"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            0,
            "Ubuntu's AppArmor restriction of user namespaces",
        ),
        ("/proc/sys/kernel/io_uring_disabled", 0, "io_uring is switched off"),
    ] {
        if let Some(value) = number_in(path).filter(|value| *value != harmless) {
            signs.push(format!("{path} is {value} ({meaning})"));
        }
    }
    signs.extend(forbidden_namespaces().map(|path| format!("{path} is 0: no such namespace can be made")));
    if let Ok(modules) = std::fs::read_to_string("/sys/kernel/security/lsm") {
        let strict: Vec<_> =
            modules.trim().split(',').filter(|lsm| ["selinux", "apparmor", "smack", "tomoyo"].contains(lsm)).collect();
        if !strict.is_empty() {
            signs.push(format!("security modules: {}", strict.join(", ")));
        }
    }
    signs
}

/// The limits of this place that forbid a kind of namespace.
fn forbidden_namespaces() -> impl Iterator<Item = String> {
    ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"]
        .into_iter()
        .map(|kind| format!("/proc/sys/user/max_{kind}_namespaces"))
        .filter(|path| number_in(path) == Some(0))
}

/// Whether a seccomp filter answers unshare(2) instead of the kernel, as container runtimes have it. This is the one
/// fact that requires a try of the call under test. It is tried only if /proc says that there is a filter, and
/// unshare(0) is a call that no kernel refuses (FLAG-40), so that no broken kernel can hide behind it.
fn filtered() -> Option<String> {
    has_filter().then_some(())?;
    // SAFETY: unshare(2) takes a number, and 0 changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_unshare, 0usize) };
    if let Err(errno) = Errno::result(result) {
        return Some(format!(
            "a seccomp filter answers unshare(2) in the kernel's place (unshare(0): {errno:?}): \
             run outside the container, or with a profile that allows unshare"
        ));
    }
    // What cases mount could not be taken away again.
    let errno = answer_in_child(Sysno::umount2).err().filter(|errno| REFUSALS.contains(errno))?;
    Some(format!("a seccomp filter refuses umount2(2) ({errno:?}): run with a profile that allows it"))
}

fn a_filter() -> Option<String> {
    has_filter().then(|| {
        "a seccomp filter is attached, beside which strict mode cannot be entered: run outside containers".to_owned()
    })
}

/// Whether a task can have the nth allocation of its next system call fail.
fn no_failing_allocations() -> Option<String> {
    const FAIL_NTH: &str = "/proc/thread-self/fail-nth";
    let settings = [global::SPARED_ALLOCATIONS, global::FAILED_ALLOCATIONS_LOG].map(Global::path);
    let missing = std::iter::once(FAIL_NTH)
        .chain(settings)
        .find(|path| std::fs::File::options().write(true).open(path).is_err())?;
    Some(format!(
        "this kernel's allocations cannot be made to fail ({missing} cannot be written): requires root, debugfs \
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
    } else if nix::unistd::access(shrink, nix::unistd::AccessFlags::W_OK).is_err() {
        "/sys/kernel/slab/nsproxy/shrink cannot be written"
    } else {
        return None;
    };
    Some(format!(
        "the kernel's own objects cannot be counted ({missing}): requires root, sysfs mounted for writing on /sys, \
         and a kernel with CONFIG_SLUB_DEBUG and without CONFIG_SLUB_TINY"
    ))
}

fn no_namespace(link: &str, option: &str) -> Option<String> {
    let path = format!("/proc/self/ns/{link}");
    // A link that exists always resolves: it is magic, not a path.
    (std::fs::symlink_metadata(&path).is_err())
        .then(|| format!("this kernel has no {link} namespaces ({path} is missing): CONFIG_{option}"))
}

/// Whether a UTS namespace that clone(2) makes has a host name of its own: how a kernel shows that it has them whose
/// /proc has no link for them.
fn clone_separates_host_names() -> bool {
    let before = nix::unistd::gethostname();
    let renamed = in_child(libc::CLONE_NEWUTS as u64, || {
        const NAME: &str = "another-name";
        let read = nix::unistd::sethostname(NAME).and_then(|()| nix::unistd::gethostname());
        i32::from(read.map_or(true, |name| name != NAME))
    });
    matches!(renamed, Ok(WaitStatus::Exited(_, 0))) && before.is_ok() && nix::unistd::gethostname() == before
}

/// The same for IPC namespaces: whether the child of clone(2) does not find a segment of its maker.
fn clone_separates_segments() -> bool {
    let key = std::process::id() as i32;
    // SAFETY: the calls take numbers; nothing is attached.
    unsafe {
        let segment = libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
        let looked =
            (segment != -1).then(|| in_child(libc::CLONE_NEWIPC as u64, || i32::from(libc::shmget(key, 0, 0) != -1)));
        libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut());
        matches!(looked, Some(Ok(WaitStatus::Exited(_, 0))))
    }
}

fn links_without_identity() -> Option<String> {
    let inode = |ns: Ns| std::fs::metadata(format!("/proc/self/ns/{}", ns.link())).ok().map(|file| file.ino());
    let unsteady = Ns::ALL.into_iter().find(|ns| inode(*ns) != inode(*ns))?;
    Some(format!(
        "the links of /proc/self/ns name no namespaces: two looks at {} give two inodes (namespaces(7) has one)",
        unsteady.link()
    ))
}

fn kinds_without_links() -> Option<String> {
    let unlinked = unlinked().find(|ns| match ns {
        Ns::Mnt => true,
        Ns::Uts => clone_separates_host_names(),
        Ns::Ipc => clone_separates_segments(),
        // Whatever has no other sign than its link is not there.
        _ => false,
    })?;
    Some(format!("/proc/self/ns has no link {}", unlinked.link()))
}

/// The namespaces that /proc/self/ns has no link for.
pub(crate) fn unlinked() -> impl Iterator<Item = Ns> {
    Ns::ALL.into_iter().filter(|ns| std::fs::symlink_metadata(format!("/proc/self/ns/{}", ns.link())).is_err())
}

fn no_mount_ids() -> Option<String> {
    let mask = statx(libc::AT_FDCWD, c"/", libc::STATX_MNT_ID).map_or(0, |stat| stat.stx_mask);
    (mask & libc::STATX_MNT_ID == 0).then(|| "this kernel's statx(2) gives no IDs of mounts (Linux 5.8)".to_owned())
}

fn no_shown_umask() -> Option<String> {
    status_field("Umask").is_none().then(|| "this kernel's /proc/PID/status shows no umask (Linux 4.7)".to_owned())
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
    // SAFETY: takes numbers.
    let securebits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    if securebits > 0 {
        return Some(format!(
            "securebits are locked ({securebits:#x}), so a change of user is none of capabilities: unlock them"
        ));
    }
    // Nor could what ran as that user be ended, without CAP_KILL.
    let able = [CAP_KILL, CAP_SETGID, CAP_SETUID].into_iter().all(|capability| has_capability(facts, capability));
    (!(able && mapped("/proc/self/uid_map") && mapped("/proc/self/gid_map")))
        .then(|| "needs a second user (65534) to become (CAP_SETUID, CAP_SETGID, CAP_KILL): run as root".to_owned())
}

fn may_not_map_ids(facts: &Facts) -> Option<String> {
    let able = [CAP_SETGID, CAP_SETUID, CAP_SETFCAP].into_iter().all(|capability| has_capability(facts, capability));
    (!able).then(|| "lacks CAP_SETUID, CAP_SETGID or CAP_SETFCAP to write ID maps: run as root".to_owned())
}

/// How a child made by clone(2) with these flags ends, which exits with what `look` gives.
pub(crate) fn in_child(flags: u64, look: impl FnOnce() -> i32) -> Result<WaitStatus, Errno> {
    // SAFETY: no CLONE_VM and no flag that takes a pointer; the process is single-threaded.
    match unsafe { fork_sharing(flags) }? {
        // SAFETY: ends the child without destructors.
        pid if pid.as_raw() == 0 => unsafe { libc::_exit(look()) },
        pid => waitpid(pid, Some(WaitPidFlag::__WALL)),
    }
}

/// Whether clone(2), not the call under test, may make a user namespace here.
fn create_user_namespace() -> Option<String> {
    if let Some(reason) = no_namespace("user", "USER_NS") {
        return Some(reason);
    }
    let errno = in_child(libc::CLONE_NEWUSER as u64, || 0).err()?;
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

fn kcmp() -> Option<String> {
    // Variadic: 64-bit arguments would take two places each on 32-bit architectures.
    const KCMP_FS: usize = 3;
    let pid = std::process::id() as usize;
    // SAFETY: kcmp(2) on two process IDs takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FS, 0usize, 0usize) };
    match Errno::result(result) {
        Ok(_) => None,
        Err(Errno::ENOSYS) => Some("this kernel has no kcmp(2): CONFIG_KCMP (or CONFIG_CHECKPOINT_RESTORE)".to_owned()),
        Err(errno) => Some(format!("kcmp(2) is refused here ({errno:?}): allow it in the container's seccomp profile")),
    }
}

fn io_uring() -> Option<String> {
    const ENOUGH: u64 = 64;
    // The kernel counts its workers as the user's processes, and starts them later if it cannot now.
    if getrlimit(Resource::RLIMIT_NPROC).is_ok_and(|(_, hard)| hard < ENOUGH) {
        return Some(format!("RLIMIT_NPROC is below {ENOUGH}, so workers of io_uring may not start: raise it"));
    }
    // SAFETY: no entries and no parameters: the kernel refuses before it touches memory.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0usize, 0usize) };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => Some("this kernel has no io_uring: CONFIG_IO_URING".to_owned()),
        Err(Errno::EPERM) => {
            Some("io_uring is refused here (EPERM): kernel.io_uring_disabled or a seccomp profile".to_owned())
        }
        _ => None,
    }
}

fn ia32() -> Option<String> {
    let Some(compat) = abi::COMPAT else { return Some("the 32-bit entry under test is x86's".to_owned()) };
    // A kernel without the entry delivers SIGSEGV, so a child tries it.
    // SAFETY: getpid(2) takes nothing and touches no memory.
    match in_child(0, || i32::from(unsafe { (compat.call)(compat.getpid, 0, 0) } <= 0)) {
        Ok(WaitStatus::Exited(_, 0)) => None,
        Ok(_) => Some(format!(
            "this kernel has no 32-bit entry ({}): CONFIG_IA32_EMULATION, or ia32_emulation=on",
            compat.name
        )),
        Err(errno) => Some(format!("fork: {errno:?}")),
    }
}

/// What getpid(2) by the x32 entry gives: the caller's process ID, or −ENOSYS where the kernel has no such entry.
pub fn getpid_by_x32() -> i64 {
    // SAFETY: takes nothing.
    unsafe { abi::raw::syscall0(!abi::NUMBER_MASK as usize | Sysno::getpid as usize) as isize as i64 }
}

fn no_word_of_x32() -> Option<String> {
    if abi::NUMBER_MASK == !0 {
        return Some("the x32 entry is x86-64's, for its 64-bit programs to try".to_owned());
    }
    const ENOSYS: i32 = Errno::ENOSYS as i32;
    // A filter may end who tries it, or give an error. Whatever else comes is the kernel's answer, to be judged.
    let tried = in_child(0, || i32::try_from(-getpid_by_x32()).map_or(0, |errno| errno.max(0)));
    let answer = match tried {
        Ok(WaitStatus::Exited(_, 0 | ENOSYS)) => return None,
        Ok(WaitStatus::Exited(_, errno)) => format!("getpid: {:?}", Errno::from_raw(errno)),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("getpid ends the caller by {signal}"),
        Ok(end) => format!("{end:?}"),
        Err(errno) => return Some(format!("fork: {errno:?}")),
    };
    Some(format!(
        "calls by the x32 entry are refused, by a seccomp filter or by the kernel ({answer}): run outside containers"
    ))
}

fn narrow_argument() -> Option<String> {
    (usize::BITS == 32).then(|| "the argument of a 32-bit program has 32 bits: run the 64-bit program".to_owned())
}

/// A task that enters a mount namespace, its own included, gets the topmost root, and its mountinfo lists what can be
/// reached from there.
fn root_out_of_sight() -> Option<String> {
    let mount = place_of(c"/").mount;
    let own = std::fs::File::open("/proc/self/ns/mnt").ok()?;
    // What is mounted over the root need not have a /proc.
    let proc = std::fs::File::open("/proc").ok()?;
    let listed = || {
        setns(&own, CloneFlags::CLONE_NEWNS)?;
        fchdir(&proc)?;
        std::fs::read_to_string("self/mountinfo").map_err(|_| Errno::EIO)
    };
    let unseen = in_child(0, || {
        i32::from(listed().is_ok_and(|lines| mounts::parse(&lines).iter().all(|line| line.id != mount)))
    });
    matches!(unseen, Ok(WaitStatus::Exited(_, 1))).then(|| {
        "another file system is mounted over this process's root directory: run it where the root is that of the \
         mount namespace, as nsenter -m does"
            .to_owned()
    })
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

/// Whether the caller may trace tasks of other users, and look at what only those who may trace them see.
pub fn may_trace(facts: &Facts) -> bool {
    has_capability(facts, CAP_SYS_PTRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_features_are_unique() {
        let names: std::collections::BTreeSet<&str> = SUITE.features().map(|feature| feature.name).collect();
        assert_eq!(names.len(), SUITE.features().count());
    }

    #[test]
    fn a_run_begins_with_what_it_does_not_compare() {
        let mut facts = Facts::default();
        assert_eq!(remarks(&facts), [""; 0]);
        for feature in [MOUNT_IDS, SHOWN_UMASK, TIME_NS] {
            facts.absent.insert(feature.name.to_owned(), format!("no {}", feature.name));
        }
        facts.further.insert(EMPTY_FOR_ALL.to_owned(), true.into());
        let told = remarks(&facts);
        assert_eq!(
            told[0],
            "not compared in this run: on which mounts a task's root and current directory are (no mount_ids); whether \
             another task has the caller's umask (no shown_umask)"
        );
        assert!(told.len() == 2 && told[1].starts_with("this kernel gives an empty mount namespace to everybody"));
    }

    /// Files of results written before features were data have these names.
    #[test]
    fn facts_read_back_as_they_were_written() {
        let mut facts = Facts::gather(Sandbox::default(), &SUITE);
        // Its options stay behind.
        facts.config = None;
        let json = serde_json::to_value(&facts).expect("plain data");
        assert!(json[TAKES_ROOT].is_boolean(), "{json}");
        assert_eq!(json["absent"]["sandbox"].as_str(), facts.reason_without(SANDBOX).map(String::as_str));
        assert_eq!(serde_json::from_value::<Facts>(json).expect("facts"), facts);
    }
}
