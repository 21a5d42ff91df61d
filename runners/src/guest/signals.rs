//! Tells every running guest that this process was told to end.
//!
//! A signal is taken by one reader only, so there is one for the whole process, however many guests
//! run at the same time or one after the other.

use std::sync::{Mutex, OnceLock, PoisonError};

use crossbeam::channel::Sender;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::session::Input;

/// The signals that end a program.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

#[derive(Default)]
struct Watch {
    received: Option<i32>,
    subscribers: Vec<Sender<Vec<Input>>>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { received: None, subscribers: Vec::new() });

fn watch() -> std::sync::MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, signals that would end this process are kept for [`received`] and subscribers. To
/// be called before threads are started that are to live on when one comes.
pub fn begin() -> nix::Result<()> {
    static BEGUN: OnceLock<nix::Result<()>> = OnceLock::new();
    let set = SigSet::from_iter(SIGNALS);
    // Each calling thread blocks them, and so do the threads that it starts.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    *BEGUN.get_or_init(|| {
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
        std::thread::spawn(move || {
            while let Ok(Some(signal)) = fd.read_signal() {
                let signal = signal.ssi_signo as i32;
                let subscribers = {
                    let mut watch = watch();
                    watch.received.get_or_insert(signal);
                    std::mem::take(&mut watch.subscribers)
                };
                // A guest with much unread is told behind that; those that have ended are gone.
                for subscriber in subscribers {
                    let _ = subscriber.send(vec![Input::Signal(signal)]);
                }
            }
        });
        Ok(())
    })
}

/// The first signal that came.
pub fn received() -> Option<i32> {
    watch().received
}

/// Has a guest told of the first signal, also when it has come already.
pub(super) fn subscribe(sender: Sender<Vec<Input>>) -> nix::Result<()> {
    begin()?;
    let mut watch = watch();
    match watch.received {
        Some(signal) => {
            let _ = sender.send(vec![Input::Signal(signal)]);
        }
        None => watch.subscribers.push(sender),
    }
    Ok(())
}
