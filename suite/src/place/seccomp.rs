//! seccomp(2) filters on unshare(2)'s argument, as classic BPF programs.

use crate::spec::prelude::*;

/// What a filter says instead of letting the call through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This errno.
    Errno(Errno),
    /// SIGSYS.
    Trap,
    /// What the holder of the listener says.
    Notify,
}

/// Which half of the argument a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 0 to 31.
    Low,
    /// Bits 32 to 63.
    High,
}

/// Where struct seccomp_data has the number of the call and its first argument.
const NUMBER: u32 = 0;
const ARGUMENT: u32 = 16;

/// An instruction of a filter.
pub(crate) fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Loads a word of struct seccomp_data.
pub(crate) fn load(at: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

/// Jumps over `then` instructions if what is loaded is `k`, else over `otherwise`.
pub(crate) fn if_equal(k: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { jt: then, jf: otherwise, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) }
}

/// Ends the filter with this verdict.
pub(crate) fn give(verdict: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, verdict)
}

/// Installs a filter for the calling task: seccomp(2) with these flags.
pub(crate) fn set_filter(program: &mut [libc::sock_filter], flags: libc::c_ulong) -> Result<i32, Errno> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program lives through the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) }).map(|fd| fd as i32)
}

/// Installs a filter for the calling task: unshare(2) with this value in this half of its argument
/// gets the verdict. Gives the listener of [`Verdict::Notify`].
///
/// # Errors
/// As seccomp(2).
pub fn install(half: Half, value: u32, verdict: Verdict) -> Result<Option<OwnedFd>, Errno> {
    let [low, high] = abi::layout::HALVES;
    let verdict_value = match verdict {
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        Verdict::Trap => libc::SECCOMP_RET_TRAP,
        Verdict::Notify => libc::SECCOMP_RET_USER_NOTIF,
    };
    let mut program = [
        load(NUMBER),
        if_equal(libc::SYS_unshare as u32, 0, 3),
        load(ARGUMENT + if half == Half::High { high } else { low }),
        if_equal(value, 0, 1),
        give(verdict_value),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let flags = if verdict == Verdict::Notify { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    let fd = set_filter(&mut program, flags)?;
    // SAFETY: with this flag the result is a new descriptor, nobody else's.
    Ok((verdict == Verdict::Notify).then(|| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Gives up, for good, privilege through execve(2): without CAP_SYS_ADMIN a filter takes that.
pub fn set_no_new_privs() -> Call<()> {
    Call::new("prctl(PR_SET_NO_NEW_PRIVS)", nix::sys::prctl::set_no_new_privs())
}

/// What a listener hears of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The call's number.
    pub number: i64,
    /// The whole argument.
    pub argument: Flags,
}

/// Waits for the next call that a listener hears of, and answers it with this errno.
///
/// # Errors
/// As ioctl(2) with SECCOMP_IOCTL_NOTIF_RECV and SECCOMP_IOCTL_NOTIF_SEND.
pub fn answer(listener: i32, errno: Errno) -> Result<Heard, Errno> {
    // SAFETY: zeroes are valid, and asked for; both structures live through the calls.
    unsafe {
        let mut heard: libc::seccomp_notif = std::mem::zeroed();
        Errno::result(libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut heard))?;
        let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
        answer.id = heard.id;
        answer.error = -(errno as i32);
        Errno::result(libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer))?;
        Ok(Heard { number: heard.data.nr.into(), argument: Flags(heard.data.args[0]) })
    }
}

/// Whether the SIGSYS that a tracee has stopped for is a filter's. That is not the tracer's: what
/// put a filter around the suite has a handler for it.
pub fn was_trapped(pid: Pid) -> bool {
    const SYS_SECCOMP: i32 = 1;
    nix::sys::ptrace::getsiginfo(pid).is_ok_and(|info| info.si_signo == libc::SIGSYS && info.si_code == SYS_SECCOMP)
}

/// Waits until a tracee of the caller's stops for something else than a filter around the suite, or
/// ends; in either case without reaping it.
///
/// # Errors
/// As waitid(2) and ptrace(2).
pub fn wait_for_stop(pid: Pid) -> Result<WaitStatus, Errno> {
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    loop {
        match waitid(Id::Pid(pid), flags)? {
            // nix calls every stop of a tracee an event.
            WaitStatus::Stopped(_, Signal::SIGSYS) | WaitStatus::PtraceEvent(_, Signal::SIGSYS, 0)
                if was_trapped(pid) =>
            {
                nix::sys::ptrace::cont(pid, Signal::SIGSYS)?;
            }
            status => return Ok(status),
        }
    }
}

/// Whether this kernel has filters, as something to skip for.
///
/// # Errors
/// It has none: the case is skipped.
pub fn expect_filters(t: &Test) -> Done {
    // SAFETY: PR_GET_SECCOMP takes nothing.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP) } < 0 {
        return Err(t.skip("this kernel has no seccomp(2): CONFIG_SECCOMP_FILTER"));
    }
    Ok(())
}
