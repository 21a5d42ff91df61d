//! Deadlines of a child in a time namespace that the kernel must not shift as others (section 3.11 of the behaviour
//! catalogue). One at the end of time must not wrap around where the child's clocks are behind: as the kernel's own
//! clock it is later by as much. One of real time must not be shifted at all.

use nix::sys::signal::Signal;

use super::time_offsets::unshare_time;
use crate::place::clock::{self, SHIFT, nanoseconds, seconds, write_offset};
use crate::prelude::*;

const SOURCE: &str = "time_namespaces(7); kernel, kernel/time/namespace.c";
const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

/// The last second that the kernel tells from never.
const LAST_SECOND: i64 = i64::MAX / 1_000_000_000;

/// How long the tasks wait for that second before they look whether it has come.
const WAIT: Duration = Duration::from_millis(50);

/// Waits for the last second by a sleep, until a signal ends it, and by a timer descriptor meanwhile. Gives which of
/// them had their time come.
fn wait_for_the_end(clock: i32) -> Result<[bool; 2], Errno> {
    let last = Time { seconds: LAST_SECOND, nanoseconds: 0 };
    let timer = clock::timer(clock, libc::TFD_NONBLOCK, libc::TFD_TIMER_ABSTIME, last)?;
    signals::catch(Signal::SIGALRM).answer()?;
    signals::set_timer(WAIT.as_micros() as i64).answer()?;
    let slept = call!(clock_nanosleep, clock, libc::TIMER_ABSTIME, &raw const last, 0).map_err(fds::errno);
    signals::set_timer(0).answer()?;
    let woken = match slept {
        Ok(_) => true,
        Err(Errno::EINTR) => false,
        Err(errno) => return Err(errno),
    };
    let expired = match nix::unistd::read(&timer, &mut [0; 8]) {
        Ok(_) => true,
        Err(Errno::EAGAIN) => false,
        Err(errno) => return Err(errno),
    };
    Ok([woken, expired])
}

case!(Case {
    name: "separation.time.far_deadlines",
    about: "A child whose clocks are a second behind the caller's can wait for the last second of time: neither \
            clock_nanosleep(2) nor timerfd_settime(2) takes it for one that has passed.",
    proves: &["EFF-TIME-17"],
    // A kernel that gets it wrong puts such a timer behind all others of its clock, and looks at it when there is none.
    needs: NEEDS.alone(),
    run: |t| {
        const CLOCKS: [(&str, &str, i32); 2] = [
            ("CLOCK_MONOTONIC", "monotonic", libc::CLOCK_MONOTONIC),
            ("CLOCK_BOOTTIME", "boottime", libc::CLOCK_BOOTTIME),
        ];
        let text = |who: &str, name: &str| {
            format!("whether {who} had the last second of {name} come, asleep and by a timer descriptor")
        };
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        for (name, _, clock) in CLOCKS {
            if outside.setup(t, &text("a task outside", name), clock, wait_for_the_end)? != [false; 2] {
                return Err(t.skip(format!("this kernel cannot wait for the last second of {name} in any namespace")));
            }
        }
        unshare_time(t)?;
        for (name, offset, clock) in CLOCKS {
            // No clock can be before 0.
            if !t.wait_until(Duration::from_secs(10), || seconds(clock).is_ok_and(|now| now >= 2)) {
                return Err(t.broken(name, "the machine runs for less than two seconds"));
            }
            t.setup(write_offset(offset, -1, 0))?;
        }
        let child = Peer::start(t, "child", Flags::NONE)?;
        all(CLOCKS.map(|(name, _, clock)| {
            t.check(child.call(t, &text("the child", name), clock, wait_for_the_end)?).is([false; 2])
        }))
    }
});

/// How long the child waits for the lock, in nanoseconds.
const NAP: i64 = 20_000_000;

/// Waits by FUTEX_LOCK_PI for a lock that another task has, and gives how long that was, in nanoseconds of real time.
fn wait_for_lock((): ()) -> Result<i64, Errno> {
    // Shared, as the other task has memory of its own. A parent outlives the wait and knows nothing of the lock.
    // SAFETY: zeroes are a valid number.
    let word = unsafe { map_zeroed::<AtomicU32>() }.map_err(errno_of)?;
    word.store(getppid().as_raw() as u32, Ordering::Release);
    let start = nanoseconds(libc::CLOCK_REALTIME)?;
    let until = Time::of(start + NAP);
    let locked = call!(futex, word.as_ptr(), libc::FUTEX_LOCK_PI, 0, &raw const until, 0, 0).map_err(fds::errno);
    match locked {
        Err(Errno::ETIMEDOUT) => Ok(nanoseconds(libc::CLOCK_REALTIME)? - start),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::EPROTO),
    }
}

case!(Case {
    name: "separation.time.lock_in_real_time",
    about: "A child whose clocks are ahead of the caller's can wait for a lock by FUTEX_LOCK_PI, whose timeout is real \
            time: it waits until then.",
    proves: &["EFF-TIME-18"],
    source: "futex(2), FUTEX_LOCK_PI",
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        match outside.call(t, "futex(FUTEX_LOCK_PI) by a task outside", (), wait_for_lock)? {
            call if call.result() == Err(Failure::Errno(Errno::ENOSYS)) => {
                return Err(t.skip("this kernel has no FUTEX_LOCK_PI: CONFIG_FUTEX_PI"));
            }
            call => t.setup(call)?,
        };
        unshare_time(t)?;
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        t.setup(write_offset("boottime", SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        t.check(child.call(t, "futex(FUTEX_LOCK_PI) by the child until 20 ms later", (), wait_for_lock)?)
            .holds("20 ms and more", |passed| *passed >= NAP)
            .map(drop)
    }
});
