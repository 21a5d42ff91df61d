//! The signals that interrupt a run.

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::*;

/// The blocked signals, read from a descriptor.
pub(super) struct Signals {
    pub(super) fd: SignalFd,
    old: SigSet,
}

impl Signals {
    pub(super) fn block() -> io::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let mut old = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut old))?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd, old })
    }

    pub(super) fn pending(&self) -> Option<i32> {
        let signal = self.fd.read_signal().ok()??;
        Some(signal.ssi_signo as i32)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.old), None);
    }
}
