//! What a process inherits from whoever started it, brought to one known state before any case runs.
//!
//! Each step is best effort: what a place refuses to change stays, and shows in what the cases find.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction, signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::getpid;

use crate::common::*;

/// Size in bytes that the stack gets by default on most systems. A larger one may change how memory is laid out.
const STACK: u64 = 8 * 1024 * 1024;

/// Size limit in bytes for each file a case writes, including its output. SIGXFSZ kills a case that exceeds it.
pub const FILE_SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// Limits that are raised as far as the hard ones allow.
const RAISED: [Resource; 8] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_SIGPENDING,
];

/// Raises the soft limits of this process as far as the hard ones allow: it may have inherited more descriptors than the
/// soft limit allows.
pub fn raise_limits() {
    for resource in RAISED {
        let _ = getrlimit(resource).map(|(_, hard)| setrlimit(resource, hard, hard));
    }
}

/// Has this process, and all that it forks, start from: umask 022, no core files, soft limits as high as the hard ones,
/// all signals at their defaults, the ordinary scheduling policy, nice 0, no securebits. The signals that are blocked
/// stay so, since a supervisor leaves those that interrupt a run to the process that reports; a case's child unblocks
/// them all.
pub(crate) fn normalise() {
    umask(Mode::from_bits_truncate(0o022));
    raise_limits();
    let _ = getrlimit(Resource::RLIMIT_CORE).map(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard));
    let _ = getrlimit(Resource::RLIMIT_STACK).map(|(_, hard)| setrlimit(Resource::RLIMIT_STACK, STACK.min(hard), hard));
    // SAFETY: these calls take numbers, and a structure that lives through the call.
    unsafe {
        let ordinary = libc::sched_param { sched_priority: 0 };
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0);
    }
    // Besides what is inherited: Rust's start-up ignores SIGPIPE, and catches SIGSEGV and SIGBUS to report stack overflows.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for number in Signal::iterator().filter(|number| ![Signal::SIGKILL, Signal::SIGSTOP].contains(number)) {
        // SAFETY: installs the default action.
        let _ = unsafe { sigaction(number, &default) };
    }
    // A write beyond a limit that cannot be raised gives EFBIG, which tells more than a task that is gone.
    if getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(_, hard)| hard < FILE_SIZE_LIMIT) {
        // SAFETY: ignores a signal.
        let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    }
}

/// Whether /proc is the one of this process's PID namespace.
pub fn proc_is_ours() -> bool {
    fs::read_link("/proc/self").is_ok_and(|link| link == Path::new(&std::process::id().to_string()))
}

/// Whether /proc shows and allows all that it can: other users' processes, /proc/sys, and that for writing.
fn proc_is_whole() -> bool {
    // Mounted with subset=pid, it has no such file.
    let settings = "/proc/sys/kernel/ostype";
    let read_only = nix::sys::statvfs::statvfs(settings)
        .map_or(true, |fs| fs.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
    let restricted = fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.contains(" /proc ") && line.contains("hidepid=")));
    !read_only && !restricted
}

/// Mounts a /proc of this process's PID namespace over one that is another's, or that is restricted. The process has a
/// mount namespace of its own.
///
/// # Errors
/// As mount(2): EPERM in a user namespace that does not own the PID namespace.
pub(crate) fn mount_own_proc() -> Result<(), Errno> {
    if proc_is_ours() && proc_is_whole() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
}

/// Goes on in a child whose /proc is that of its PID namespace, if this process has another's, as in
/// `unshare --pid --fork` without `--mount-proc`. The process that called passes signals on and ends as the child does.
/// Where no such /proc can be mounted nothing is changed, and the facts tell.
pub fn go_on_with_own_proc() {
    if proc_is_ours() {
        return;
    }
    let own = getpid();
    // SAFETY: no CLONE_VM; called before any thread is started.
    let Ok(child) = (unsafe { fork_sharing(libc::CLONE_NEWNS as u64) }) else {
        return;
    };
    if child.as_raw() == 0 {
        die_with_parent(own);
        let private = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
        let _ = private.and_then(|()| mount_own_proc());
        return;
    }
    CHILD.store(child.as_raw(), Ordering::Relaxed);
    for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let pass_on = SigAction::new(SigHandler::Handler(pass_on), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler makes one call that is safe in handlers.
        let _ = unsafe { sigaction(number, &pass_on) };
    }
    std::process::exit(match wait_for(child) {
        Ok(WaitStatus::Exited(_, status)) => status,
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        _ => 125,
    })
}

static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: i32) {
    // SAFETY: kill(2) takes numbers.
    unsafe { libc::kill(CHILD.load(Ordering::Relaxed), signal) };
}
