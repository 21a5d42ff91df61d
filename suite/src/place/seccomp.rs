//! seccomp(2) filters on unshare(2)'s argument, as classic BPF programs.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

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

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRAP: u32 = 0x0003_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const SET_MODE_FILTER: libc::c_ulong = 1;
const NEW_LISTENER: libc::c_ulong = 1 << 3;

/// Where struct seccomp_data has the number of the call, and the argument's halves on a
/// little-endian machine.
const NUMBER: u32 = 0;
const ARGUMENT: u32 = 16;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Jumps over `otherwise` instructions if what is loaded is not `k`.
fn unless_equal(k: u32, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: otherwise, k }
}

/// Installs a filter for the calling task: unshare(2) with this value in this half of its argument
/// gets the verdict. Gives the listener of [`Verdict::Notify`].
///
/// # Errors
/// As seccomp(2).
pub fn install(half: Half, value: u32, verdict: Verdict) -> Result<Option<OwnedFd>, Errno> {
    let high = (half == Half::High) ^ cfg!(target_endian = "big");
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let verdict_value = match verdict {
        Verdict::Errno(errno) => RET_ERRNO | errno as u32,
        Verdict::Trap => RET_TRAP,
        Verdict::Notify => RET_NOTIFY,
    };
    let mut program = [
        statement(load, NUMBER),
        unless_equal(libc::SYS_unshare as u32, 3),
        statement(load, ARGUMENT + 4 * u32::from(high)),
        unless_equal(value, 1),
        statement(libc::BPF_RET | libc::BPF_K, verdict_value),
        statement(libc::BPF_RET | libc::BPF_K, RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let flags = if verdict == Verdict::Notify { NEW_LISTENER } else { 0 };
    // SAFETY: the program lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) };
    let fd = Errno::result(result)? as i32;
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
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    // SAFETY: zeroes are valid, and asked for; both structures live through the calls.
    unsafe {
        let mut heard: libc::seccomp_notif = std::mem::zeroed();
        Errno::result(libc::ioctl(listener, RECEIVE, &raw mut heard))?;
        let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
        answer.id = heard.id;
        answer.error = -(errno as i32);
        Errno::result(libc::ioctl(listener, SEND, &raw mut answer))?;
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
