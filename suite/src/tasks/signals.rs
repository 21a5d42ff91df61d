//! Signals that the calling process catches and counts.

use crate::spec::prelude::*;

static CAUGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    CAUGHT.fetch_add(1, Ordering::SeqCst);
}

/// Has a signal counted by a handler that restarts no system call.
pub fn catch(signal: Signal) -> Call<()> {
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only adds to an atomic.
    Call::new(format!("sigaction({signal})"), unsafe { sigaction(signal, &action) }.map(drop))
}

/// How many signals came so far.
pub fn caught() -> usize {
    CAUGHT.load(Ordering::SeqCst)
}

/// Has a SIGALRM come at this interval, or none any more if it is 0.
pub fn set_timer(microseconds: i64) -> Call<()> {
    let interval = libc::timeval { tv_sec: 0, tv_usec: microseconds as libc::suseconds_t };
    let value = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: the new value lives through the call, and the old one is not asked for.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const value, std::ptr::null_mut()) };
    Call::new(format!("setitimer(ITIMER_REAL, {microseconds} µs)"), Errno::result(set).map(drop))
}

/// Blocks a signal for the calling thread.
pub fn block(signal: Signal) -> Call<()> {
    let mut set = SigSet::empty();
    set.add(signal);
    Call::new(format!("sigprocmask({signal})"), set.thread_block())
}
