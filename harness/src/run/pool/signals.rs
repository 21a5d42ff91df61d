//! The signals that interrupt a run.

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::*;

/// The blocked signals, read from a descriptor; where the kernel has no signalfd(2), looked for.
pub(super) struct Signals {
    pub(super) fd: Option<SignalFd>,
    set: SigSet,
    old: SigSet,
}

impl Signals {
    pub(super) fn block() -> io::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let mut old = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut old))?;
        let fd = match SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) {
            Err(Errno::ENOSYS) => None,
            fd => Some(fd?),
        };
        Ok(Self { fd, set, old })
    }

    pub(super) fn pending(&self) -> Option<i32> {
        let Some(fd) = &self.fd else {
            let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the set and the time live through the call; nothing is written.
            let signal = unsafe { libc::sigtimedwait(self.set.as_ref(), std::ptr::null_mut(), &raw const none) };
            return (signal > 0).then_some(signal);
        };
        let signal = fd.read_signal().ok()??;
        Some(signal.ssi_signo as i32)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.old), None);
    }
}
