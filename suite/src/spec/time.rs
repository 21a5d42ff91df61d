//! Times as system calls take them.

use crate::spec::prelude::*;

/// A second in nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

/// A time: struct __kernel_timespec of linux/time_types.h, which has 64 bits on every architecture. The C library's
/// has 32 on some.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: i64,
}

impl Time {
    /// So many nanoseconds.
    pub const fn of(nanoseconds: i64) -> Self {
        Self { seconds: nanoseconds / SECOND, nanoseconds: nanoseconds % SECOND }
    }

    /// In nanoseconds.
    pub const fn in_nanoseconds(self) -> i64 {
        self.seconds * SECOND + self.nanoseconds
    }

    /// What a timer is set to that goes off once, at this time or after it (struct __kernel_itimerspec): the interval,
    /// and the time.
    pub const fn once(self) -> [Time; 2] {
        [Time { seconds: 0, nanoseconds: 0 }, self]
    }
}

/// nanosleep(2) for so many nanoseconds. It takes longs, which no time needs that a case sleeps. Writes no errno.
///
/// # Errors
/// As nanosleep(2).
pub fn sleep(nanoseconds: i64) -> Result<usize, syscalls::Errno> {
    let time = [nanoseconds / SECOND, nanoseconds % SECOND].map(|part| part as isize);
    call!(nanosleep, time.as_ptr(), 0)
}
