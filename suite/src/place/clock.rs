//! Clocks of a time namespace: reading them, and the offsets of the next one.

use crate::observe::fds;
use crate::spec::prelude::*;

/// How far cases shift clocks, in seconds: more than any may last, by far.
pub const SHIFT: i64 = 1_000_000;

/// The caller's offsets file, of the namespace that its children will be in.
const OFFSETS: &str = "/proc/self/timens_offsets";

/// A clock in nanoseconds, by the system call. Writes no errno.
///
/// # Errors
/// As clock_gettime(2).
pub fn nanoseconds(clock: i32) -> Result<i64, Errno> {
    let mut now = Time::default();
    call!(clock_gettime, clock, &raw mut now).map(|_| now.in_nanoseconds()).map_err(fds::errno)
}

/// A clock in nanoseconds, by the C library, which reads some of them in the vDSO, without entering the kernel.
///
/// # Errors
/// As clock_gettime(2).
pub fn nanoseconds_by_vdso(clock: i32) -> Result<i64, Errno> {
    let now = nix::time::clock_gettime(clock.into())?;
    Ok(Time { seconds: now.tv_sec() as i64, nanoseconds: now.tv_nsec() as i64 }.in_nanoseconds())
}

/// A clock in seconds, by the system call.
///
/// # Errors
/// As clock_gettime(2).
pub fn seconds(clock: i32) -> Result<i64, Errno> {
    nanoseconds(clock).map(|now| now / SECOND)
}

/// A timer descriptor (TFD_CLOEXEC and these flags) that goes off once: after this time, or at it, as `how` says (0, or
/// TFD_TIMER_ABSTIME).
///
/// # Errors
/// As timerfd_create(2) and timerfd_settime(2).
pub fn timer(clock: i32, flags: i32, how: i32, time: Time) -> Result<OwnedFd, Errno> {
    let value = time.once();
    let timer = call!(timerfd_create, clock, flags | libc::TFD_CLOEXEC).map_err(fds::errno)?;
    // SAFETY: the descriptor is new.
    let timer = unsafe { OwnedFd::from_raw_fd(timer as i32) };
    call!(timerfd_settime, timer.as_raw_fd(), how, &raw const value, 0).map_err(fds::errno)?;
    Ok(timer)
}

/// Writes offsets as one line: a clock, seconds and nanoseconds.
pub fn write_offset(clock: &str, seconds: i64, nanoseconds: i64) -> Call<()> {
    let text = format!("{clock} {seconds} {nanoseconds}\n");
    Call::io(format!("write({OFFSETS}, {text:?})"), fs::write(OFFSETS, &text))
}

/// The offsets of the namespace that the caller's children will be in: clock, seconds, nanoseconds.
pub fn offsets() -> Call<Vec<String>> {
    let text = fs::read_to_string(OFFSETS).map(|text| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect()
    });
    Call::io(format!("read({OFFSETS})"), text)
}

/// Whether these offsets are not 0: the caller is not in the initial time namespace. A file of another form, or an empty
/// one, is not for the place to answer for.
pub fn are_shifted(offsets: &[String]) -> bool {
    offsets.iter().any(|line| !line.ends_with(" 0 0"))
}

/// Puts the clocks of the namespace that the caller's children will be in behind the caller's: CLOCK_MONOTONIC by half
/// of what it shows, CLOCK_BOOTTIME by a quarter. A machine need not have run for long for that.
///
/// # Errors
/// The offsets cannot be read or written.
#[track_caller]
pub fn put_back(t: &Test) -> Done {
    let own = t.setup(offsets())?;
    for (clock, number, part) in [("monotonic", libc::CLOCK_MONOTONIC, 2), ("boottime", libc::CLOCK_BOOTTIME, 4)] {
        let line = own.iter().find_map(|line| {
            let mut words = line.split(' ').filter(|word| !word.is_empty()).skip_while(|word| *word != clock).skip(1);
            Some((words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?))
        });
        let (seconds, rest) = t.setup(Call::new(format!("{OFFSETS}, {clock}"), line.ok_or(Errno::EBADMSG)))?;
        let now = t.setup(Call::new(format!("clock_gettime({clock})"), nanoseconds(number)))?;
        let offset = seconds * SECOND + rest - now / part;
        t.setup(write_offset(clock, offset.div_euclid(SECOND), offset.rem_euclid(SECOND)))?;
    }
    Ok(())
}
