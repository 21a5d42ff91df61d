//! The offsets of a new time namespace (section 3.11 of the behaviour catalogue): which are refused, what a further
//! call starts with, and which clocks follow them.

use crate::place::clock::{self, SHIFT, are_shifted, nanoseconds, nanoseconds_by_vdso, offsets, seconds, write_offset};
use crate::prelude::*;

const SOURCE: &str = "time_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

const CAP_SYS_TIME: u64 = 1 << 25;

/// Makes the new namespace; skips without the capability that writing offsets takes.
#[track_caller]
pub(super) fn unshare_time(t: &Test) -> Done {
    if t.facts().capabilities & CAP_SYS_TIME == 0 {
        return Err(t.skip("CAP_SYS_TIME is missing, which setting offsets takes: run as root outside containers"));
    }
    t.unshare(Flags::NEWTIME).as_predicted()
}

case!(Case {
    name: "separation.time.again",
    about: "A second call succeeds: the newer namespace starts with the last offsets, and the next child is in it.",
    proves: &["EFF-TIME-09"],
    run: |t| {
        let observer = Observer::open(t)?;
        let before = t.setup(Call::new("clock_gettime(CLOCK_MONOTONIC)", seconds(libc::CLOCK_MONOTONIC)))?;
        unshare_time(t)?;
        let first = observer.namespace_inode(Ns::TimeForChildren);
        t.setup(write_offset("monotonic", SHIFT, 5))?;
        t.setup(write_offset("boottime", 2 * SHIFT, 7))?;
        let written = t.setup(offsets())?;
        unshare_time(t)?;
        t.check(offsets()).is(written)?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        t.check(namespace_of(child.pid(), Ns::Time).called("the child's ns/time")).is_not(first)?;
        let now =
            child.call(t, "CLOCK_MONOTONIC of the child, since before the calls", libc::CLOCK_MONOTONIC, seconds)?;
        t.check(now.map(|now| now - before))
            .holds(&format!("{SHIFT} seconds and little more"), |passed| (SHIFT..SHIFT + SHIFT / 2).contains(passed))
            .map(drop)
    }
});

/// A clock in nanoseconds by system call, by the C library, which reads it in the vDSO, and by system call again.
fn readings(clock: i32) -> Result<[i64; 3], Errno> {
    let first = nanoseconds(clock)?;
    Ok([first, nanoseconds_by_vdso(clock)?, nanoseconds(clock)?])
}

case!(Case {
    name: "separation.time.nanoseconds",
    about: "An offset's nanoseconds count as well as its seconds: in a child, a reading of a clock in the vDSO lies \
            between two by system call, and the clock is ahead of the caller's by the whole offset.",
    proves: &["EFF-TIME-04"],
    source: "time_namespaces(7); vdso(7)",
    run: |t| {
        /// Of the offsets, which are no whole seconds, and differ by more than a child takes to answer.
        const PARTS: [(&str, i32, i64); 2] =
            [("monotonic", libc::CLOCK_MONOTONIC, 600_000_000), ("boottime", libc::CLOCK_BOOTTIME, 300_000_000)];
        /// What the two ways may be apart, as each rounds by itself.
        const APART: i64 = 1_000_000;
        unshare_time(t)?;
        let shifted = are_shifted(&t.setup(offsets())?);
        for (name, _, part) in PARTS {
            t.setup(write_offset(name, SHIFT, part))?;
        }
        let child = Peer::start(t, "child", Flags::NONE)?;
        for (name, clock, part) in PARTS {
            let shift = SHIFT * 1_000_000_000 + part;
            let clock_of = |side: Side| side.ask(t, &format!("{name} clock, thrice"), clock, readings);
            let before = t.setup(Call::new("clock_gettime()", nanoseconds(clock)))?;
            let seen = t
                .check(clock_of(Side::Peer(&child))?)
                .holds("the second, by vDSO, between the others", |[first, vdso, last]| {
                    (first - APART..=last + APART).contains(vdso)
                })?;
            if shifted {
                // Offsets are from the clocks of the initial namespace, which the caller does not see.
                continue;
            }
            let after = t.setup(Call::new("clock_gettime()", nanoseconds(clock)))?;
            let text = format!("{name} clock of the child, less the offset");
            t.check(Call::seen(text, seen[0] - shift))
                .holds(&format!("between {before} and {after}, when the caller looked"), |now| {
                    (before - APART..=after + APART).contains(now)
                })?;
        }
        Ok(())
    }
});

/// What is written, and how it is refused: beyond the greatest offset, or so far back that a clock would be negative,
/// a value is out of range.
const REFUSED: [(&str, i64, i64, Errno); 8] = [
    ("monotonic", 1, 1_000_000_000, Errno::EINVAL),
    ("boottime", 1, 1_000_000_000, Errno::EINVAL),
    ("realtime", 1, 0, Errno::EINVAL),
    ("11", 1, 0, Errno::EINVAL),
    ("monotonic", 9_000_000_000, 0, Errno::ERANGE),
    ("boottime", -4_000_000_000, 0, Errno::ERANGE),
    // More seconds than the kernel's times in nanoseconds hold.
    ("monotonic", 9_223_372_037, 0, Errno::ERANGE),
    ("boottime", i64::MIN, 0, Errno::ERANGE),
];

case!(Case {
    name: "separation.time.refused_offsets",
    about: "Offsets with nanoseconds above 999999999 or of another clock (EINVAL), too great or making a clock \
            negative (ERANGE), or without CAP_SYS_TIME (EPERM) are refused and keep what was written before.",
    proves: &["EFF-TIME-12"],
    source: "time_namespaces(7), /proc/pid/timens_offsets",
    run: |t| {
        unshare_time(t)?;
        t.check(write_offset("monotonic", 1, 999_999_999)).succeeds()?;
        let written = t.setup(offsets())?;
        for (clock, seconds, nanoseconds, errno) in REFUSED {
            t.check(write_offset(clock, seconds, nanoseconds)).fails_with(errno)?;
        }
        let less = t.facts().capabilities & !CAP_SYS_TIME;
        t.setup(set_capabilities(less, less))?;
        t.check(write_offset("monotonic", 2, 0).called("write(timens_offsets) without CAP_SYS_TIME"))
            .fails_with(Errno::EPERM)?;
        t.check(offsets()).is(written)
    }
});

/// The latest second that an offset may take a clock to: half of what a time in nanoseconds holds.
const LATEST: i64 = i64::MAX / 1_000_000_000 / 2;

case!(Case {
    name: "separation.time.outermost_offsets",
    about: "An offset can take a clock back to its first second, and ahead to the last that it may have.",
    proves: &["EFF-TIME-19"],
    source: "time_namespaces(7), /proc/pid/timens_offsets",
    run: |t| {
        unshare_time(t)?;
        // The kernel adds to the clock of the initial namespace.
        if are_shifted(&t.setup(offsets())?) {
            return Err(t.skip("this place has shifted clocks: run it in the initial time namespace"));
        }
        for (name, clock) in [("monotonic", libc::CLOCK_MONOTONIC), ("boottime", libc::CLOCK_BOOTTIME)] {
            let now = || t.setup(Call::new("clock_gettime()", seconds(clock)));
            let before = now()?;
            t.check(write_offset(name, -before, 0)).succeeds()?;
            // What is in range at the beginning of a second is so until its end.
            let mut written = None;
            t.wait_until(Duration::from_secs(5), || {
                let Ok(before) = seconds(clock) else { return false };
                let call = write_offset(name, LATEST - before, 0);
                written = (seconds(clock) == Ok(before)).then_some(call);
                written.is_some()
            });
            match written {
                Some(call) => t.check(call).succeeds()?,
                None => return Err(t.broken("write(timens_offsets) within a second of the clock", "none was")),
            }
            t.setup(write_offset(name, 0, 0))?;
        }
        Ok(())
    }
});

/// sysinfo(2)'s uptime.
fn uptime_by_sysinfo((): ()) -> Result<i64, Errno> {
    nix::sys::sysinfo::sysinfo().map(|info| info.uptime().as_secs() as i64)
}

/// /proc/uptime, the first number.
fn uptime_by_proc((): ()) -> Result<i64, Errno> {
    let text = fs::read_to_string("/proc/uptime")
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    text.split('.').next().and_then(|whole| whole.parse().ok()).ok_or(Errno::EINVAL)
}

/// How often a system call that sleeps too long is interrupted to count the time.
const ROUND: Duration = Duration::from_millis(250);

/// Repeats a system call that sleeps to an absolute time, and may be interrupted: within the limit, in milliseconds.
pub(super) fn within<V>(limit: u64, mut sleep: impl FnMut() -> Result<V, Errno>) -> Result<V, Errno> {
    let mut limit = TimeLimit::new(Duration::from_millis(limit));
    signals::catch(Signal::SIGALRM).answer()?;
    signals::set_timer(ROUND.as_micros() as i64).answer()?;
    let result = loop {
        match sleep() {
            Err(Errno::EINTR) if limit.spend(ROUND) => {}
            result => break result,
        }
    };
    signals::set_timer(0).answer()?;
    result
}

/// How long the tasks sleep.
const NAP: i64 = 20_000_000;

/// Sleeps to an absolute time of the task's own clock (clock_nanosleep) and gives how long that was.
fn sleep_until((clock, limit): (i32, u64)) -> Result<i64, Errno> {
    let start = nanoseconds(clock)?;
    let until = Time::of(start + NAP);
    within(limit, || call!(clock_nanosleep, clock, libc::TIMER_ABSTIME, &raw const until, 0).map_err(fds::errno))?;
    Ok(nanoseconds(clock)? - start)
}

/// The same by a timer descriptor.
fn wait_for_timer((clock, limit): (i32, u64)) -> Result<i64, Errno> {
    let start = nanoseconds(clock)?;
    let timer = clock::timer(clock, 0, libc::TFD_TIMER_ABSTIME, Time::of(start + NAP))?;
    within(limit, || nix::unistd::read(&timer, &mut [0; 8]))?;
    Ok(nanoseconds(clock)? - start)
}

case!(Case {
    name: "separation.time.other_clocks",
    about: "In a child uptime (sysinfo(2), /proc) follows the boot-time offset, absolute sleeps and timer descriptors \
            their clock's; real time and international atomic time are the caller's.",
    proves: &["EFF-TIME-11"],
    source: "time_namespaces(7), Description and Notes",
    run: |t| {
        unshare_time(t)?;
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        t.setup(write_offset("boottime", 3 * SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        for (name, clock) in [("CLOCK_REALTIME", libc::CLOCK_REALTIME), ("CLOCK_TAI", libc::CLOCK_TAI)] {
            let here = t.setup(Call::new(name, seconds(clock)))?;
            let there = child.call(t, &format!("{name} of the child, less the caller's"), clock, seconds)?;
            t.check(there.map(|there| there - here)).holds("about 0", |apart| apart.abs() < SHIFT / 2)?;
        }
        let here = t.setup(Call::new("sysinfo()", uptime_by_sysinfo(())))?;
        let by_sysinfo = child.call(t, "uptime of sysinfo() in the child, less the caller's", (), uptime_by_sysinfo)?;
        let by_proc = child.call(t, "/proc/uptime in the child, less the caller's", (), uptime_by_proc)?;
        for call in [by_sysinfo, by_proc] {
            t.check(call.map(|there| there - here))
                .holds(&format!("about {}", 3 * SHIFT), |apart| (apart - 3 * SHIFT).abs() < SHIFT / 2)?;
        }
        let limit = t.patience(Duration::from_secs(3)).as_millis() as u64;
        for (name, clock) in [("CLOCK_MONOTONIC", libc::CLOCK_MONOTONIC), ("CLOCK_BOOTTIME", libc::CLOCK_BOOTTIME)] {
            let (sleep, timer) =
                (format!("clock_nanosleep({name}, TIMER_ABSTIME)"), format!("timerfd({name}, TFD_TIMER_ABSTIME)"));
            let slept = child.call(t, &format!("{sleep} in the child"), (clock, limit), sleep_until)?;
            t.check(slept).holds("at least 20 ms", |passed| *passed >= NAP)?;
            let waited = child.call(t, &format!("{timer} in the child"), (clock, limit), wait_for_timer)?;
            t.check(waited).holds("at least 20 ms", |passed| *passed >= NAP)?;
        }
        Ok(())
    }
});

/// Sleeps to an absolute time of a clock, in seconds, and gives how long that was by the monotonic clock.
fn sleep_to((clock, until, limit): (i32, i64, u64)) -> Result<i64, Errno> {
    let start = nanoseconds(libc::CLOCK_MONOTONIC)?;
    let until = Time { seconds: until, nanoseconds: 0 };
    within(limit, || call!(clock_nanosleep, clock, libc::TIMER_ABSTIME, &raw const until, 0).map_err(fds::errno))?;
    Ok(nanoseconds(libc::CLOCK_MONOTONIC)? - start)
}

/// Sets a timer descriptor of the monotonic clock to the latest time there is, and gives the seconds left.
fn latest_timer((): ()) -> Result<i64, Errno> {
    let latest = Time { seconds: i64::MAX, nanoseconds: 0 };
    let timer = clock::timer(libc::CLOCK_MONOTONIC, 0, libc::TFD_TIMER_ABSTIME, latest)?;
    let mut left = Time::default().once();
    call!(timerfd_gettime, timer.as_raw_fd(), &raw mut left).map_err(fds::errno)?;
    Ok(left[1].seconds)
}

case!(Case {
    name: "separation.time.past_and_far",
    about: "In a child an absolute time before its clock's offset, or at it, has passed, in real time the same as \
            outside, and the latest time there is does not come because of an offset below 0.",
    proves: &["EFF-TIME-11"],
    source: "kernel, kernel/time/namespace.c",
    run: |t| {
        unshare_time(t)?;
        t.setup(write_offset("monotonic", -1, 0))?;
        t.setup(write_offset("boottime", SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        let limit = t.patience(Duration::from_secs(3)).as_millis() as u64;
        // Before the offset, right before it, and at it.
        let boot = [1, SHIFT - 1, SHIFT].map(|until| ("CLOCK_BOOTTIME", libc::CLOCK_BOOTTIME, until));
        for (name, clock, until) in boot.into_iter().chain([("CLOCK_REALTIME", libc::CLOCK_REALTIME, 1)]) {
            let text = format!("clock_nanosleep({name}, TIMER_ABSTIME, {until} s) in the child");
            t.check(child.call(t, &text, (clock, until, limit), sleep_to)?).succeeds()?;
        }
        let left = child.call(t, "seconds left of a timer of the latest time, in the child", (), latest_timer)?;
        t.check(left).holds("more than a year", |left| *left > 31_536_000).map(drop)
    }
});
