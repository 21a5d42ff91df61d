//! Waiting to an absolute time of a clock that a time namespace shifts (section 3.11 of the behaviour catalogue): each
//! system call that takes one, by a child whose clocks are behind the caller's: a kernel that takes the child's time for
//! the caller's sees a time long past, and ends the wait at once. By one whose clocks are ahead, then: so does a kernel
//! that confuses the clocks.

use nix::sys::signal::Signal;
use rustix::io_uring::*;

use super::time_offsets::{unshare_time, within};
use crate::place::clock::{self, SHIFT, nanoseconds, put_back, write_offset};
use crate::prelude::*;
use crate::tasks::io_uring::{Queue, time_request};

const SOURCE: &str = "time_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

const MONOTONIC: &[i32] = &[libc::CLOCK_MONOTONIC];
const BOTH: &[i32] = &[libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME];
/// Real time is not shifted: a time of it is the same everywhere.
const REAL: &[i32] = &[libc::CLOCK_REALTIME];
const WITH_REAL: &[i32] = &[libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME];
const THREE: &[i32] = &[libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_REALTIME];
/// An alarm clock requires hardware that can wake the machine, and CAP_WAKE_ALARM.
const ALL: &[i32] = &[libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_BOOTTIME_ALARM, libc::CLOCK_REALTIME];

/// How long the child waits, and how long the control, in nanoseconds.
const NAP: i64 = 20_000_000;
const SHORT_NAP: i64 = 1_000_000;

/// What a task waits by, as text, and by which clocks.
type Way = (&'static str, &'static [i32], Wait);
/// Waits until a clock has this time.
type Wait = fn(i32, &Time) -> Result<(), Errno>;

/// The ways of each variant.
const WAYS: [(&str, &[Way]); 7] = [
    ("sleep", &[("clock_nanosleep(TIMER_ABSTIME)", ALL, sleep)]),
    ("timerfd", &[("timerfd_settime(TFD_TIMER_ABSTIME)", ALL, timer_descriptor)]),
    ("timer", &[("timer_settime(TIMER_ABSTIME)", ALL, timer)]),
    (
        "futex",
        &[
            ("futex(FUTEX_WAIT_BITSET)", WITH_REAL, |clock, until| {
                let real = if clock == libc::CLOCK_REALTIME { libc::FUTEX_CLOCK_REALTIME } else { 0 };
                futex(libc::FUTEX_WAIT_BITSET | real, until)
            }),
            ("futex(FUTEX_WAIT_REQUEUE_PI)", MONOTONIC, |_, until| futex(libc::FUTEX_WAIT_REQUEUE_PI, until)),
            ("futex(FUTEX_LOCK_PI2)", MONOTONIC, lock_futex),
            ("futex_waitv()", WITH_REAL, futex_waitv),
            ("futex_wait()", WITH_REAL, futex_wait),
        ],
    ),
    ("mqueue", &[("mq_timedreceive()", REAL, message)]),
    (
        "io_uring_timeout",
        &[
            ("IORING_OP_TIMEOUT by io_uring", THREE, timeout_request),
            ("IORING_OP_LINK_TIMEOUT by io_uring", THREE, linked_timeout),
            ("IORING_OP_TIMEOUT_REMOVE with IORING_TIMEOUT_UPDATE by io_uring", THREE, updated_timeout),
        ],
    ),
    ("io_uring_wait", &[("io_uring_enter(IORING_ENTER_ABS_TIMER)", BOTH, ring_wait)]),
];

fn variants() -> Vec<Variant> {
    let of_ring = |name: &str| if name.starts_with("io_uring") { NEEDS.with(feature::IO_URING) } else { NEEDS };
    WAYS.iter().enumerate().map(|(i, (name, _))| Variant::new(*name, i).needing(of_ring(name))).collect()
}

/// Waits by one of the ways of a variant for so long, and gives how much later it was then; in nanoseconds, with the
/// limit in milliseconds.
fn wait((variant, way, clock, nap, limit): (usize, usize, i32, i64, u64)) -> Result<i64, Errno> {
    let (_, _, wait) = WAYS[variant].1[way];
    let start = nanoseconds(clock)?;
    let until = Time::of(start + nap);
    within(limit, || wait(clock, &until))?;
    Ok(nanoseconds(clock)? - start)
}

/// The result of a wait that ends with an error when its time has come.
fn ended_with(expected: Errno, result: Result<usize, syscalls::Errno>) -> Result<(), Errno> {
    match result.map_err(fds::errno) {
        Err(errno) if errno == expected => Ok(()),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::EPROTO),
    }
}

fn sleep(clock: i32, until: &Time) -> Result<(), Errno> {
    call!(clock_nanosleep, clock, libc::TIMER_ABSTIME, std::ptr::from_ref(until), 0).map(drop).map_err(fds::errno)
}

fn timer_descriptor(clock: i32, until: &Time) -> Result<(), Errno> {
    let timer = clock::timer(clock, 0, libc::TFD_TIMER_ABSTIME, *until)?;
    nix::unistd::read(&timer, &mut [0; 8]).map(drop)
}

fn timer(clock: i32, until: &Time) -> Result<(), Errno> {
    let value = until.once();
    signals::block(Signal::SIGUSR1).answer()?;
    let mut waited = SigSet::empty();
    waited.add(Signal::SIGUSR1);
    // SAFETY: zeroes are a valid event, which names a signal here; all structures live through the calls.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, libc::SIGUSR1);
        let mut timer = 0i32;
        let made = syscall!(number::timer_create, clock, &raw const event, &raw mut timer);
        made.map_err(fds::errno)?;
        let set = syscall!(number::timer_settime, timer, libc::TIMER_ABSTIME, &raw const value, 0);
        let result = set.map_err(fds::errno).and_then(|_| waited.wait().map(drop));
        let _ = syscall!(number::timer_delete, timer);
        result
    }
}

/// Waits for a futex that nobody wakes.
fn futex(operation: i32, until: &Time) -> Result<(), Errno> {
    let (word, other) = (0u32, 0u32);
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let all = libc::FUTEX_BITSET_MATCH_ANY;
    let until = std::ptr::from_ref(until);
    ended_with(Errno::ETIMEDOUT, call!(futex, &raw const word, operation, 0, until, &raw const other, all))
}

/// Waits for a lock that another task has, which is asleep.
fn lock_futex(_: i32, until: &Time) -> Result<(), Errno> {
    const FUTEX_LOCK_PI2: i32 = 13;
    // A parent outlives the wait and knows nothing of the lock.
    let mut word = getppid().as_raw() as u32;
    if word == 0 {
        return Err(Errno::ENOSYS);
    }
    let operation = FUTEX_LOCK_PI2 | libc::FUTEX_PRIVATE_FLAG;
    ended_with(Errno::ETIMEDOUT, call!(futex, &raw mut word, operation, 0, std::ptr::from_ref(until), 0, 0))
}

/// Private futexes of 32 bits, as futex_waitv(2) and its kin have it.
const FUTEX2_PRIVATE_U32: u32 = 0x80 | 2;

fn futex_waitv(clock: i32, until: &Time) -> Result<(), Errno> {
    /// struct futex_waitv of linux/futex.h.
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    let word = 0u32;
    let waiter = Waiter { value: 0, address: &raw const word as u64, flags: FUTEX2_PRIVATE_U32, reserved: 0 };
    let until = std::ptr::from_ref(until);
    ended_with(Errno::ETIMEDOUT, call!(futex_waitv, &raw const waiter, 1, 0, until, clock))
}

fn futex_wait(clock: i32, until: &Time) -> Result<(), Errno> {
    let (word, until) = (0u32, std::ptr::from_ref(until));
    let all = u64::from(u32::MAX);
    ended_with(Errno::ETIMEDOUT, call!(futex_wait, &raw const word, 0, all, FUTEX2_PRIVATE_U32, until, clock))
}

/// Waits for a message that nobody sends.
fn message(_: i32, until: &Time) -> Result<(), Errno> {
    const NAME: &CStr = c"/unshare-conformance-time";
    // SAFETY: the name lives through the calls; the queue is the case's own, of the standard size.
    let queue = unsafe {
        let queue = libc::mq_open(NAME.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC, 0o600, 0usize);
        let queue = OwnedFd::from_raw_fd(Errno::result(queue)?);
        Errno::result(libc::mq_unlink(NAME.as_ptr()))?;
        queue
    };
    let mut buffer = [0u8; 8192];
    let (length, until) = (buffer.len(), std::ptr::from_ref(until));
    let queue = queue.as_raw_fd();
    ended_with(Errno::ETIMEDOUT, call!(mq_timedreceive, queue, buffer.as_mut_ptr(), length, 0, until))
}

fn flags_of(clock: i32) -> IoringTimeoutFlags {
    IoringTimeoutFlags::ABS
        | match clock {
            libc::CLOCK_BOOTTIME => IoringTimeoutFlags::BOOTTIME,
            libc::CLOCK_REALTIME => IoringTimeoutFlags::REALTIME,
            _ => IoringTimeoutFlags::empty(),
        }
}

fn timeout_request(clock: i32, until: &Time) -> Result<(), Errno> {
    let mut queue = Queue::new(1)?;
    let request = time_request(IoringOp::Timeout, until, flags_of(clock));
    queue.submit(&[request])?;
    let ended = queue.wait(1)?;
    if ended == [-libc::ETIME] { Ok(()) } else { Err(unexpected(&ended)) }
}

fn linked_timeout(clock: i32, until: &Time) -> Result<(), Errno> {
    let mut queue = Queue::new(2)?;
    // Nobody writes into the pipe.
    let (read, _write) = nix::unistd::pipe()?;
    let poll = io_uring_sqe {
        opcode: IoringOp::PollAdd,
        flags: IoringSqeFlags::IO_LINK,
        fd: read.as_raw_fd(),
        op_flags: op_flags_union { poll32_events: libc::POLLIN as u32 },
        ..io_uring_sqe::default()
    };
    queue.submit(&[poll, time_request(IoringOp::LinkTimeout, until, flags_of(clock))])?;
    let ended = queue.wait(2)?;
    if ended.contains(&-libc::ECANCELED) { Ok(()) } else { Err(unexpected(&ended)) }
}

fn updated_timeout(clock: i32, until: &Time) -> Result<(), Errno> {
    const NAME: u64 = 7;
    let mut queue = Queue::new(2)?;
    let late = Time::of(3600 * SECOND);
    let clock_flag = flags_of(clock) - IoringTimeoutFlags::ABS;
    let mut timeout = time_request(IoringOp::Timeout, &late, clock_flag);
    timeout.user_data = io_uring_user_data::from_u64(NAME);
    let update = io_uring_sqe {
        opcode: IoringOp::TimeoutRemove,
        addr_or_splice_off_in: addr_or_splice_off_in_union { user_data: io_uring_user_data::from_u64(NAME) },
        off_or_addr2: off_or_addr2_union { addr2: io_uring_ptr::new(std::ptr::from_ref(until).cast_mut().cast()) },
        // A clock is chosen when the timeout is made.
        op_flags: op_flags_union { timeout_flags: IoringTimeoutFlags::UPDATE | IoringTimeoutFlags::ABS },
        ..io_uring_sqe::default()
    };
    queue.submit(&[timeout, update])?;
    let mut ended = queue.wait(2)?;
    ended.sort();
    if ended == [-libc::ETIME, 0] { Ok(()) } else { Err(unexpected(&ended)) }
}

/// The error that a request ended with which should not have; EPROTO where it was none.
fn unexpected(results: &[i32]) -> Errno {
    results.iter().find(|result| **result < 0).map_or(Errno::EPROTO, |result| Errno::from_raw(-result))
}

fn ring_wait(clock: i32, until: &Time) -> Result<(), Errno> {
    let queue = Queue::new(1)?;
    queue.set_clock(clock)?;
    queue.wait_until(until)
}

case!(Case {
    name: "separation.time.absolute",
    about: "A child in the new namespace, whose clocks are behind the caller's, or ahead of them, can wait until an \
            absolute time of its own clocks, or of real time: it wakes when they have it and no earlier.",
    proves: &["EFF-TIME-14"],
    // Where no wait ends, each takes its limit, and that is the verdict.
    deadline: Duration::from_secs(60),
    variants: variants,
    run: |t| {
        let variant: usize = t.param();
        let limit = t.patience(Duration::from_secs(3)).as_millis() as u64;
        let ways = WAYS[variant].1.iter().enumerate();
        let mut there = Vec::new();
        for (way, clock) in ways.flat_map(|(way, (_, clocks, _))| clocks.iter().map(move |clock| (way, *clock))) {
            // What this kernel and place do not have is told by a control, which is not in the new namespace.
            match wait((variant, way, clock, SHORT_NAP, limit)) {
                Err(errno) if LACKING.contains(&errno) => {}
                result => {
                    t.setup(Call::new(text_of(variant, way, clock), result))?;
                    there.push((way, clock));
                }
            }
        }
        if there.is_empty() {
            let text = WAYS[variant].1[0].0;
            return Err(t.skip(format!("neither this kernel nor this place has {text}, or the like")));
        }
        let check_child = |where_: &str| {
            let child = Peer::start(t, "child", Flags::NONE)?;
            all(there.iter().map(|&(way, clock)| {
                let text = format!("{} in the child, whose clocks are {where_}", text_of(variant, way, clock));
                let waited = child.call(t, &text, (variant, way, clock, NAP, limit), wait)?;
                t.check(waited).holds("an end after 20 ms or more", |passed| *passed >= NAP).map(drop)
            }))
        };
        unshare_time(t)?;
        put_back(t)?;
        check_child("behind")?;
        // A time of boot time or of real time that is taken for one of the monotonic clock is long past here.
        unshare_time(t)?;
        t.setup(write_offset("monotonic", 3 * SHIFT, 0))?;
        t.setup(write_offset("boottime", SHIFT, 0))?;
        check_child("ahead")
    }
});

/// How a wait is refused that the kernel, or the place, does not have.
const LACKING: [Errno; 6] =
    [Errno::ENOSYS, Errno::EINVAL, Errno::EOPNOTSUPP, Errno::EPERM, Errno::EACCES, Errno::ENOMEM];

fn text_of(variant: usize, way: usize, clock: i32) -> String {
    let name = CLOCKS.iter().find(|(number, _)| *number == clock).map_or("?", |(_, name)| name);
    format!("{} until a time of {name}", WAYS[variant].1[way].0)
}

const CLOCKS: [(i32, &str); 4] = [
    (libc::CLOCK_REALTIME, "CLOCK_REALTIME"),
    (libc::CLOCK_MONOTONIC, "CLOCK_MONOTONIC"),
    (libc::CLOCK_BOOTTIME, "CLOCK_BOOTTIME"),
    (libc::CLOCK_BOOTTIME_ALARM, "CLOCK_BOOTTIME_ALARM"),
];
