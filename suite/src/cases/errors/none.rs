//! What is no error (ERR-37, RET-04 of the behaviour catalogue): a limit on descriptors below one that is open, and
//! signals, however many.

use crate::prelude::*;

/// A descriptor beyond the limit that is set.
const HIGH: i32 = fds::HIGH;

case!(Case {
    name: "errors.none.rlimit_nofile",
    about: "An RLIMIT_NOFILE below an open descriptor does not concern CLONE_FILES: the shared table is copied with \
            the descriptor beyond the limit, which each side then has of its own.",
    proves: &["ERR-37"],
    source: "getrlimit(2), RLIMIT_NOFILE; kernel, fs/file.c",
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        t.setup(Call::new(format!("dup2({HIGH})"), dup_to(0, HIGH, libc::O_CLOEXEC)))?;
        let (_, hard) = t.setup(Call::new("getrlimit(NOFILE)", getrlimit(Resource::RLIMIT_NOFILE)))?;
        t.setup(Call::new("setrlimit(NOFILE, 16)", setrlimit(Resource::RLIMIT_NOFILE, 16, hard)))?;
        let beyond = call!(fcntl, libc::STDIN_FILENO, libc::F_DUPFD, 16).map_err(fds::errno);
        t.check(Call::new("fcntl(F_DUPFD, 16) beyond the limit", beyond)).fails_with(Errno::EINVAL)?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        check_kcmp(t, &peer, Shared::Files, false, "ERR-37")?;
        nix::unistd::close(HIGH).ok();
        t.check(peer.call(t, "whether the peer still has descriptor 200", HIGH, |fd| Ok(fds::is_open(fd)))?).is(true)
    }
});

/// Waits until another signal has come. One that comes before the pause is no loss: the timer sends the next.
fn wait_for_signal() {
    let before = signals::caught();
    while signals::caught() == before {
        nix::unistd::pause();
    }
}

/// Calls `times` times under the timer's signals, from a signal on, and judges each.
fn call_under_signals(t: &Test, flags: Flags, times: usize) -> Done {
    let kernel = Kernel::of(t.facts());
    let mut start = Start::of(t.facts());
    t.setup(signals::set_timer(500))?;
    let mut done = Ok(());
    for number in 1..=times {
        wait_for_signal();
        let expected = predict(&start, flags, &kernel);
        let call = unshare(flags);
        start.children_elsewhere |= expected.must_change.contains(Part::PidForChildrenNs);
        let text = format!("{}, call {number} under a timer's signals", call.text());
        done = t.check(call.called(text)).gives(expected.result);
        if done.is_err() {
            break;
        }
    }
    t.setup(signals::set_timer(0))?;
    done
}

case!(Case {
    name: "errors.none.eintr",
    about: "Signals do not disturb the call: under a timer that sends two thousand a second, with a handler that \
            restarts nothing, every call gives what it gives without, and none EINTR.",
    proves: &["RET-04", "RET-05"],
    source: "signal(7), Interruption of system calls; unshare(2), ERRORS (no EINTR)",
    quick: one_in(3, 0),
    variants: || variants::succeeding([Flags::NONE].into_iter().chain(Flags::KNOWN)),
    run: |t| {
        let times = if t.tier() == Tier::Quick { 10 } else { 30 };
        let flag = t.param::<Flags>();
        t.setup(signals::catch(Signal::SIGALRM))?;
        if ![Flags::NEWUSER, Flags::NEWPID].contains(&flag) {
            return call_under_signals(t, flag, times);
        }
        // Of these two the first call is the one that does something.
        for _ in 0..times {
            t.in_child(|t| call_under_signals(t, flag, 1))?;
        }
        Ok(())
    }
});
