//! Which clocks of a new time namespace follow which offset, and the file of the offsets (section 3.18 of the behaviour
//! catalogue).

use crate::place::clock::{SHIFT, are_shifted, nanoseconds, offsets, seconds, write_offset};
use crate::prelude::*;

const SOURCE: &str = "time_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

const CAP_SYS_TIME: u64 = 1 << 25;

/// Skips without the capability that writing offsets takes.
#[track_caller]
fn must_set_offsets(t: &Test) -> Done {
    if t.facts().capabilities & CAP_SYS_TIME == 0 {
        return Err(t.skip("CAP_SYS_TIME is missing, which setting offsets takes: run as root outside containers"));
    }
    Ok(())
}

/// Clocks beside the two, and how often the shift each follows.
const CLOCKS: [(&str, (i32, i64)); 3] = [
    ("monotonic_coarse", (libc::CLOCK_MONOTONIC_COARSE, 1)),
    ("monotonic_raw", (libc::CLOCK_MONOTONIC_RAW, 1)),
    ("boottime_alarm", (libc::CLOCK_BOOTTIME_ALARM, 3)),
];

case!(Case {
    name: "separation.time.related_clocks",
    about: "In a child the coarse and raw monotonic clocks follow the monotonic offset, and the alarm clock of boot time \
            that of boot time; the caller's do not shift.",
    proves: &["EFF-CLOCK-01"],
    variants: || variants::named(&CLOCKS),
    run: |t| {
        let (clock, times): (i32, i64) = t.param();
        must_set_offsets(t)?;
        let here = Call::new("clock_gettime()", seconds(clock));
        if here.result() == Err(Failure::Errno(Errno::EINVAL)) {
            return Err(t.skip("this machine has no such clock: it takes a real-time clock that wakes it"));
        }
        let before = t.setup(here)?;
        t.unshare(Flags::NEWTIME).as_predicted()?;
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        t.setup(write_offset("boottime", 3 * SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        let shift = |call: Call<i64>, times: i64| {
            let expected = times * SHIFT;
            t.check(call.map(|now| now - before))
                .holds(&format!("{expected} and little more"), |passed| {
                    (expected..expected + SHIFT / 2).contains(passed)
                })
                .map(drop)
        };
        shift(child.call(t, "the clock in the child, since before the call", clock, seconds)?, times)?;
        shift(Call::new("the caller's clock, since before the call", seconds(clock)), 0)
    }
});

/// How far a timer is from going off that was set to an absolute time, in seconds.
fn left_of_timer((clock, ahead): (i32, i64)) -> Result<i64, Errno> {
    let now = seconds(clock)?;
    let mut timer: c_int = 0;
    // SAFETY: zeroes are valid.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_NONE;
    let mut time = Time { seconds: now + ahead, nanoseconds: 0 }.once();
    call!(timer_create, clock, &raw const event, &raw mut timer).map_err(fds::errno)?;
    call!(timer_settime, timer, libc::TIMER_ABSTIME, &raw const time, 0).map_err(fds::errno)?;
    call!(timer_gettime, timer, &raw mut time).map_err(fds::errno)?;
    call!(timer_delete, timer).map_err(fds::errno)?;
    Ok(time[1].seconds)
}

/// How long nanosleep(2) of 20 ms takes, in milliseconds of real time.
fn sleep((): ()) -> Result<i64, Errno> {
    let start = nanoseconds(libc::CLOCK_REALTIME)?;
    crate::spec::time::sleep(20_000_000).map_err(fds::errno)?;
    Ok((nanoseconds(libc::CLOCK_REALTIME)? - start) / 1_000_000)
}

case!(Case {
    name: "separation.time.timers",
    about: "In a child a timer set to a time of its shifted clock is as far off as that is, and nanosleep(2) sleeps as \
            long as asked.",
    proves: &["EFF-CLOCK-01"],
    run: |t| {
        const AHEAD: i64 = 100_000;
        must_set_offsets(t)?;
        t.unshare(Flags::NEWTIME).as_predicted()?;
        // Enough for a kernel that sleeps by the wrong clock not to wake up in time, or at once.
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        t.setup(write_offset("boottime", 3 * SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        for (name, clock) in [("CLOCK_MONOTONIC", libc::CLOCK_MONOTONIC), ("CLOCK_BOOTTIME", libc::CLOCK_BOOTTIME)] {
            let text = format!("timer_gettime({name}) of a timer set {AHEAD} seconds ahead, in the child");
            t.check(child.call(t, &text, (clock, AHEAD), left_of_timer)?)
                .holds(&format!("little less than {AHEAD}"), |left| (AHEAD - SHIFT / 100..=AHEAD).contains(left))?;
        }
        let slept = child.call(t, "nanosleep(20 ms) in the child, in milliseconds", (), sleep)?;
        t.check(slept).holds("at least 19", |slept| *slept >= 19).map(drop)
    }
});

case!(Case {
    name: "separation.time.offsets_file",
    about: "The file timens_offsets has a line for each clock, 0 in the initial namespace; clocks can be named by word or number, \
            seconds be negative, and several records be written at once. A child reads the same.",
    proves: &["EFF-CLOCK-02"],
    source: "time_namespaces(7), /proc/PID/timens_offsets and NOTES",
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        must_set_offsets(t)?;
        let lines =
            |monotonic: &str, boottime: &str| vec![format!("monotonic {monotonic}"), format!("boottime {boottime}")];
        let outside = t.setup(offsets())?;
        if are_shifted(&outside) {
            return Err(t.skip("this is not the initial time namespace"));
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWTIME).beside(&[&peer]).as_predicted()?;
        t.check(offsets()).is(lines("0 0", "0 0"))?;
        t.check(write_offset("1", SHIFT, 5)).succeeds()?;
        t.check(offsets()).is(lines(&format!("{SHIFT} 5"), "0 0"))?;
        t.check(write_offset("7", 2 * SHIFT, 999_999_999)).succeeds()?;
        t.check(offsets()).is(lines(&format!("{SHIFT} 5"), &format!("{} 999999999", 2 * SHIFT)))?;
        t.check(write_offset("monotonic", -1, 6)).succeeds()?;
        t.check(offsets()).is(lines("-1 6", &format!("{} 999999999", 2 * SHIFT)))?;
        let both = fs::write("/proc/self/timens_offsets", format!("boottime {SHIFT} 7\nmonotonic {SHIFT} 8\n"));
        t.check(Call::io("write(timens_offsets, two records)", both)).succeeds()?;
        let written = lines(&format!("{SHIFT} 8"), &format!("{SHIFT} 7"));
        t.check(offsets()).is(written.clone())?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        t.check(child.call(t, "read(timens_offsets) by the child", (), |()| offsets().answer())?).is(written)?;
        t.check(peer.call(t, "read(timens_offsets) by the peer", (), |()| offsets().answer())?).is(outside)
    }
});

case!(Case {
    name: "separation.time.entered",
    about: "setns(2) with the caller's own link time_for_children takes it into the new namespace: its clocks shift, and \
            the offsets are fixed (EACCES).",
    proves: &["EFF-CLOCK-03"],
    source: "time_namespaces(7), Description; setns(2)",
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        must_set_offsets(t)?;
        let observer = Observer::open(t)?;
        let before = t.setup(Call::new("clock_gettime(CLOCK_MONOTONIC)", seconds(libc::CLOCK_MONOTONIC)))?;
        t.unshare(Flags::NEWTIME).as_predicted()?;
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        let new = observer.namespace_inode(Ns::TimeForChildren);
        let link = t.setup(Call::new("open(ns/time_for_children)", open_link("thread-self", Ns::TimeForChildren)))?;
        t.check(Call::new("setns(time_for_children)", enter(&link))).succeeds()?;
        t.check(observer.namespace(Ns::Time)).is(new)?;
        t.check(observer.namespace(Ns::TimeForChildren)).is(new)?;
        let now = Call::new("clock_gettime(CLOCK_MONOTONIC), since before the call", seconds(libc::CLOCK_MONOTONIC));
        t.check(now.map(|now| now - before))
            .holds(&format!("{SHIFT} and little more"), |passed| (SHIFT..SHIFT + SHIFT / 2).contains(passed))?;
        t.check(write_offset("monotonic", 2 * SHIFT, 0)).fails_with(Errno::EACCES)
    }
});
