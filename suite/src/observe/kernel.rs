//! What the kernel at hand can do, where releases differ: named facts, each found when it is asked for, and none by
//! the release that the kernel calls itself. Distributions backport features without changing the number.
//!
//! No fact calls unshare(2), so that a bug of the call cannot decide what is expected of it. Each costs one child at
//! most. What no other call shows is left to the cases: whether `pid_for_children` can be opened before the first
//! child (since 7.1, EFF-PID-03) depends on a state that only unshare(2) makes, so they accept both behaviours, and
//! require that one kernel shows one of them throughout.
//!
//! Whether UNSHARE_EMPTY_MNTNS exists is asked of clone3(2) once per run: [`feature::EMPTY_MNT_NS`].

use harness::place::facts::status_field;

use crate::spec::prelude::*;

/// What `look` gives in a child made by clone(2) with these flags; none where there can be no such child.
fn in_child(flags: Flags, look: impl FnOnce() -> Option<bool>) -> Option<bool> {
    const NO_ANSWER: i32 = 255;
    match feature::in_child(flags.0, || look().map_or(NO_ANSWER, i32::from)) {
        Ok(WaitStatus::Exited(_, answer @ 0..=1)) => Some(answer == 1),
        _ => None,
    }
}

#[track_caller]
fn known<A>(t: &Test, answer: Option<A>, question: &str, asked: &str) -> Done<A> {
    answer.ok_or_else(|| t.skip(format!("cannot find out {question}: {asked} gives no answer here; run as root")))
}

/// Whether this kernel lacks the system call of this number (ENOSYS). The call is made with arguments that no kernel
/// accepts: zeroes.
pub fn lacks_call(number: libc::c_long) -> bool {
    // SAFETY: null pointers and zeroes; whatever the call is, it refuses them.
    Errno::result(unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) }) == Err(Errno::ENOSYS)
}

/// Whether execve(2) enters the time namespace of the caller's children, and until then a task may share memory with
/// others although its children will be elsewhere (Linux 6.2; EFF-TIME-05 to EFF-TIME-08).
///
/// Asked of clone3(CLONE_NEWTIME|CLONE_VM): such a child stays in the old time namespace until it executes a program
/// where this is so, and is in the new one at once where it is not.
///
/// # Errors
/// clone3(2) is refused: the case is skipped.
#[track_caller]
pub fn exec_enters_time_namespace(t: &Test) -> Done<bool> {
    let answer = sleeper_that_shares_memory(Flags::NEWTIME).ok().and_then(|child| {
        let inode = |link: &str| fs::metadata(format!("/proc/{child}/ns/{link}")).ok().map(|file| file.ino());
        let links = inode("time").zip(inode("time_for_children"));
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, Some(WaitPidFlag::__WALL));
        links.map(|(own, children)| own != children)
    });
    known(t, answer, "whether execve(2) enters a time namespace", "clone3(CLONE_NEWTIME|CLONE_VM)")
}

/// A process made by clone3(2) that shares the caller's memory and sleeps until it is killed.
fn sleeper_that_shares_memory(flags: Flags) -> Result<Pid, Errno> {
    // struct clone_args of linux/sched.h: flags, three unused words, the exit signal, three more.
    match abi::sleeping_child(&[(flags | Flags::VM).0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0]) {
        pid @ 1.. => Ok(Pid::from_raw(pid as i32)),
        errno => Err(Errno::from_raw(-errno as i32)),
    }
}

/// Whether a user namespace counts what its users have (processes, pending signals, locked memory, message queues) in
/// records of its own below the ceilings of the one around it (Linux 5.14; INT-26, EFF-USER-13, ERR-40).
///
/// Asked of clone(CLONE_NEWUSER): while the caller has a signal pending, `SigQ` of its child in a new user namespace
/// is 0 where this is so, and counts the caller's signal where it is not.
///
/// # Errors
/// No user namespace can be made: the case is skipped.
#[track_caller]
pub fn user_namespaces_count(t: &Test) -> Done<bool> {
    // SAFETY: the sets are initialized by the calls, and live through them; the signal is blocked when it is sent.
    let counts = unsafe {
        let mut set = std::mem::zeroed();
        let mut old = std::mem::zeroed();
        let signal = libc::SIGRTMIN() + 5;
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut old);
        let sent = libc::sigqueue(libc::getpid(), signal, libc::sigval { sival_ptr: std::ptr::null_mut() });
        let answer = (sent == 0).then(|| in_child(Flags::NEWUSER, no_signals_pending)).flatten();
        if sent == 0 {
            let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const none);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
        answer
    };
    known(t, counts, "whether a user namespace counts for itself", "clone(CLONE_NEWUSER)")
}

/// Whether the first number of `SigQ` of proc_pid_status(5) is 0.
fn no_signals_pending() -> Option<bool> {
    let queued = status_field("SigQ")?;
    let (pending, _) = queued.split_once('/')?;
    Some(pending.parse::<u64>().ok()? == 0)
}

/// Whether a mapping of the parent namespace's user 0 requires CAP_SETFCAP of who made the namespace (Linux 5.12;
/// EFF-USER-18).
///
/// Where there is mount_setattr(2), of the same release, it has to. Elsewhere it is asked of clone(CLONE_NEWUSER) by the
/// caller, who must be user 0 and have dropped CAP_SETFCAP: whether the child is refused its own `uid_map`.
///
/// # Errors
/// No user namespace can be made: the case is skipped.
#[track_caller]
pub fn map_of_root_requires_setfcap(t: &Test) -> Done<bool> {
    let refused = in_child(Flags::NEWUSER, || match fs::write("/proc/self/uid_map", "0 0 1") {
        Ok(()) => Some(false),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Some(true),
        Err(_) => None,
    });
    let refused = known(t, refused, "whether a mapping of user 0 requires CAP_SETFCAP", "clone(CLONE_NEWUSER)")?;
    // The structure is too short.
    let same_release = call!(mount_setattr, libc::AT_FDCWD, c"".as_ptr(), 0, std::ptr::null::<u8>(), 0)
        == Err(syscalls::Errno::EINVAL);
    Ok(refused || same_release)
}

/// Whether `kernel.pid_max` is a setting of each PID namespace (Linux 6.14; EFF-PID-16).
///
/// Asked of clone(CLONE_NEWPID): whether its child finds another file there than the caller, who keeps it open.
/// Nothing is written, since it would be the machine's setting where this is not so.
///
/// # Errors
/// No PID namespace can be made: the case is skipped.
#[track_caller]
pub fn pid_max_is_a_namespaces(t: &Test) -> Done<bool> {
    const PATH: &str = "/proc/sys/kernel/pid_max";
    let file = t.setup(Call::io(format!("open({PATH})"), File::open(PATH)))?;
    let own = t.setup(Call::io(format!("fstat({PATH})"), file.metadata()))?.ino();
    let another = in_child(Flags::NEWPID, || Some(fs::metadata(PATH).ok()?.ino() != own));
    known(t, another, "whether pid_max is a namespace's", "clone(CLONE_NEWPID)")
}
