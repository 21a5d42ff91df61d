//! Tells every running guest that a signal asked this process to end.
//!
//! Only one reader gets a signal, so there is one for the whole process, however many guests run.

use crossbeam::channel::Sender;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::session::Input;
use crate::prelude::*;

/// The signals that end a program.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

#[derive(Default)]
struct Watch {
    received: Option<i32>,
    subscribers: Vec<Sender<Vec<Input>>>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { received: None, subscribers: Vec::new() });

/// From now on, signals that would end this process are kept for [`received`] and subscribers. Call it
/// before starting threads that must survive one.
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
                    let mut watch = locked(&WATCH);
                    watch.received.get_or_insert(signal);
                    std::mem::take(&mut watch.subscribers)
                };
                // Sent behind whatever a guest has not read yet; subscribers that have ended are gone.
                for subscriber in subscribers {
                    let _ = subscriber.send(vec![Input::Signal(signal)]);
                }
            }
        });
        Ok(())
    })
}

/// The first signal received.
pub fn received() -> Option<i32> {
    locked(&WATCH).received
}

/// Sends the first signal to a guest, even if it has already come.
pub(super) fn subscribe(sender: Sender<Vec<Input>>) -> nix::Result<()> {
    begin()?;
    let mut watch = locked(&WATCH);
    match watch.received {
        Some(signal) => {
            let _ = sender.send(vec![Input::Signal(signal)]);
        }
        None => watch.subscribers.push(sender),
    }
    Ok(())
}
