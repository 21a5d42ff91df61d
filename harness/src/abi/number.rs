//! The numbers of system calls, by name.
//!
//! On 32-bit architectures some plain names are those of calls from before 64-bit times and file sizes, or from before
//! 32-bit user IDs. Here they stand for the calls that took their place.

pub use syscalls::Sysno::*;
#[cfg(target_pointer_width = "32")]
pub use syscalls::Sysno::{
    chown32 as chown, clock_gettime64 as clock_gettime, clock_nanosleep_time64 as clock_nanosleep, fcntl64 as fcntl,
    futex_time64 as futex, getegid32 as getegid, geteuid32 as geteuid, getgid32 as getgid, getgroups32 as getgroups,
    getuid32 as getuid, mmap2 as mmap, mq_timedreceive_time64 as mq_timedreceive, mq_timedsend_time64 as mq_timedsend,
    ppoll_time64 as ppoll, rt_sigtimedwait_time64 as rt_sigtimedwait, semtimedop_time64 as semtimedop,
    setfsgid32 as setfsgid, setfsuid32 as setfsuid, setgid32 as setgid, setgroups32 as setgroups,
    setregid32 as setregid, setresgid32 as setresgid, setresuid32 as setresuid, setreuid32 as setreuid,
    setuid32 as setuid, timer_gettime64 as timer_gettime, timer_settime64 as timer_settime,
    timerfd_gettime64 as timerfd_gettime, timerfd_settime64 as timerfd_settime,
};
