//! What else tells the time, or a time, in a new time namespace (section 3.11 of the behaviour catalogue), and what it
//! does not shift.

use super::time_offsets::{unshare_time, within};
use crate::place::clock::{self, SHIFT, nanoseconds, nanoseconds_by_vdso, put_back, seconds, write_offset};
use crate::prelude::*;

const SOURCE: &str = "time_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

/// The clocks that a time namespace shifts, by which offset.
const SHIFTED: [(&str, i32, i64); 4] = [
    ("CLOCK_MONOTONIC_COARSE", libc::CLOCK_MONOTONIC_COARSE, SHIFT),
    ("CLOCK_MONOTONIC_RAW", libc::CLOCK_MONOTONIC_RAW, SHIFT),
    ("CLOCK_BOOTTIME", libc::CLOCK_BOOTTIME, 3 * SHIFT),
    ("CLOCK_BOOTTIME_ALARM", libc::CLOCK_BOOTTIME_ALARM, 3 * SHIFT),
];

/// And those that it does not.
const KEPT: [(&str, i32, i64); 3] = [
    ("CLOCK_REALTIME_COARSE", libc::CLOCK_REALTIME_COARSE, 0),
    ("CLOCK_REALTIME_ALARM", libc::CLOCK_REALTIME_ALARM, 0),
    ("CLOCK_PROCESS_CPUTIME_ID", libc::CLOCK_PROCESS_CPUTIME_ID, 0),
];

/// A clock in seconds, by the C library, which reads some of them without entering the kernel.
fn seconds_by_vdso(clock: i32) -> Result<i64, Errno> {
    nanoseconds_by_vdso(clock).map(|now| now / SECOND)
}

case!(Case {
    name: "separation.time.all_clocks",
    about: "In a child the coarse and the raw monotonic clock have the monotonic offset, by system call and vDSO, the \
            alarm clock of boot time has that of boot time; real-time clocks and CPU time have none.",
    proves: &["EFF-TIME-15"],
    source: "time_namespaces(7), Description; kernel, kernel/time/posix-timers.c",
    run: |t| {
        let clocks = SHIFTED.into_iter().chain(KEPT);
        let mut before = Vec::new();
        for (name, clock, shift) in clocks {
            match seconds(clock) {
                // An alarm clock requires hardware that can wake the machine.
                Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {}
                now => before.push((name, clock, shift, t.setup(Call::new(format!("clock_gettime({name})"), now))?)),
            }
        }
        unshare_time(t)?;
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        t.setup(write_offset("boottime", 3 * SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        all(before.into_iter().map(|(name, clock, shift, before)| {
            let expected = format!("about {shift}");
            let is_right = |since: &i64| (since - shift).abs() < SHIFT / 2;
            let text = format!("{name} of the child, less the caller's before the call");
            let now = child.call(t, &format!("{text}, by system call"), clock, seconds)?;
            t.check(now.map(|now| now - before)).holds(&expected, is_right)?;
            let now = child.call(t, &format!("{text}, by the C library"), clock, seconds_by_vdso)?;
            t.check(now.map(|now| now - before)).holds(&expected, is_right).map(drop)
        }))
    }
});

/// `btime` of /proc/stat.
fn boot_in_real_time((): ()) -> Result<i64, Errno> {
    let text = sysctl::read("/proc/stat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|line| line.trim().parse().ok()).ok_or(Errno::EBADMSG)
}

/// When a task began, in seconds, by its stat file.
fn start_of(task: String) -> Result<i64, Errno> {
    let text = sysctl::read(&format!("/proc/{task}/stat"))?;
    let (_, fields) = text.rsplit_once(')').ok_or(Errno::EBADMSG)?;
    // The start is field 22, and field 3 the first behind the name.
    let ticks: i64 = fields.split_whitespace().nth(19).and_then(|field| field.parse().ok()).ok_or(Errno::EBADMSG)?;
    // SAFETY: takes and gives numbers.
    Ok(ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as i64)
}

case!(Case {
    name: "separation.time.times_of_proc",
    about: "In /proc a task's start is a time of the reader's own boot-time clock, and btime the real time at which \
            that clock was 0; the caller reads what it read before.",
    proves: &["EFF-TIME-15"],
    source: "kernel, fs/proc/array.c and fs/proc/stat.c; proc_pid_stat(5)",
    run: |t| {
        let boot = t.setup(Call::new("btime of /proc/stat", boot_in_real_time(())))?;
        unshare_time(t)?;
        t.setup(write_offset("monotonic", SHIFT, 0))?;
        t.setup(write_offset("boottime", 3 * SHIFT, 0))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&child));
        let pid = child.pid().to_string();
        let ages = [caller, other].map(|side| {
            let age =
                side.ask(t, "age of the child by /proc/PID/stat and CLOCK_BOOTTIME, as read", pid.clone(), |pid| {
                    Ok(seconds(libc::CLOCK_BOOTTIME)? - start_of(pid)?)
                })?;
            t.check(age).holds("about 0", |age| age.abs() < SHIFT / 2).map(drop)
        });
        let boots = [(caller, 0), (other, -3 * SHIFT)].map(|(side, shift)| {
            let btime =
                side.ask(t, "btime of /proc/stat, less that before the call, as read", (), boot_in_real_time)?;
            let expected = format!("about {shift}");
            t.check(btime.map(|now| now - boot)).holds(&expected, |since| (since - shift).abs() < SHIFT / 2).map(drop)
        });
        all(ages.into_iter().chain(boots))
    }
});

/// How long relative waits are, in nanoseconds.
const NAP: i64 = 20_000_000;

/// Waits for a time, not until one.
type Wait = fn(&Time) -> Result<(), Errno>;

/// The result of a wait that ends with EAGAIN when its time is over.
fn ended_in_time(result: Result<usize, syscalls::Errno>) -> Result<(), Errno> {
    match result {
        Err(syscalls::Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(fds::errno(errno)),
        Ok(_) => Err(Errno::EPROTO),
    }
}

/// Ways to do so, which the caller's clocks have no part in, and whether the kernel itself goes on with the wait after
/// the task was stopped.
const RELATIVE: [(&str, bool, Wait); 8] = [
    ("nanosleep()", true, |time| sleep(time.in_nanoseconds()).map(drop).map_err(fds::errno)),
    ("clock_nanosleep(CLOCK_BOOTTIME)", true, |time| {
        call!(clock_nanosleep, libc::CLOCK_BOOTTIME, 0, std::ptr::from_ref(time), 0).map(drop).map_err(fds::errno)
    }),
    ("poll()", true, |_| {
        // SAFETY: no descriptors are given.
        Errno::result(unsafe { libc::poll(std::ptr::null_mut(), 0, (NAP / 1_000_000) as c_int) }).map(drop)
    }),
    ("futex(FUTEX_WAIT)", true, |time| {
        let word = 0u32;
        match call!(futex, &raw const word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, std::ptr::from_ref(time)) {
            Err(syscalls::Errno::ETIMEDOUT) => Ok(()),
            Err(errno) => Err(fds::errno(errno)),
            Ok(_) => Err(Errno::EPROTO),
        }
    }),
    ("epoll_wait()", false, |_| {
        let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut events = [nix::sys::epoll::EpollEvent::empty()];
        epoll.wait(&mut events, (NAP / 1_000_000) as u16).map(drop)
    }),
    ("rt_sigtimedwait()", false, |time| {
        let set = 0u64;
        ended_in_time(call!(rt_sigtimedwait, &raw const set, 0, std::ptr::from_ref(time), size_of_val(&set)))
    }),
    ("semtimedop()", false, |time| {
        let down = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
        let semaphore = call!(semget, libc::IPC_PRIVATE, 1, 0o600).map_err(fds::errno)?;
        let waited = call!(semtimedop, semaphore, &raw const down, 1, std::ptr::from_ref(time));
        let _ = call!(semctl, semaphore, 0, libc::IPC_RMID);
        ended_in_time(waited)
    }),
    ("timerfd_settime()", false, |time| {
        let timer = clock::timer(libc::CLOCK_BOOTTIME, 0, 0, *time)?;
        nix::unistd::read(&timer, &mut [0; 8]).map(drop)
    }),
];

/// Waits one way, and gives how long that was in nanoseconds.
fn wait_for((way, limit): (usize, u64)) -> Result<i64, Errno> {
    let start = nanoseconds(libc::CLOCK_MONOTONIC)?;
    within(limit, || (RELATIVE[way].2)(&Time::of(NAP)))?;
    Ok(nanoseconds(libc::CLOCK_MONOTONIC)? - start)
}

/// The same while another task stops the waiting one for a moment, so that the kernel begins the wait once more.
fn wait_and_be_stopped((way, limit): (usize, u64)) -> Result<i64, Errno> {
    let waiting = getpid();
    // SAFETY: the child makes system calls alone.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            for signal in [libc::SIGSTOP, libc::SIGCONT] {
                let _ = sleep(NAP / 4);
                let _ = call!(kill, waiting.as_raw(), signal);
            }
            let _ = call!(exit_group, 0);
            unreachable!("exit_group() does not return")
        }
    };
    let passed = wait_for((way, limit));
    waitpid(child, None)?;
    passed
}

case!(Case {
    name: "separation.time.relative",
    about: "A wait for a time, not until one, lasts as long in a child whose clocks are behind as anywhere, and also \
            when the child is stopped in between, after which the kernel begins the wait again.",
    proves: &["EFF-TIME-16"],
    source: "time_namespaces(7); restart_syscall(2)",
    run: |t| {
        unshare_time(t)?;
        put_back(t)?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        // The control is not in the new namespace.
        let limit = t.patience(Duration::from_secs(3)).as_millis() as u64;
        t.setup(Call::new("fork() and kill() around nanosleep()", wait_and_be_stopped((0, limit))))?;
        all(RELATIVE.iter().enumerate().map(|(way, (text, restarts, _))| {
            // What this kernel and place do not have is told by a control.
            match wait_for((way, limit)) {
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => return Ok(()),
                result => t.setup(Call::new(*text, result))?,
            };
            let is_long_enough = |passed: &i64| *passed >= NAP;
            let waited = child.call(t, &format!("{text} for 20 ms in the child"), (way, limit), wait_for)?;
            t.check(waited).holds("20 ms or more", is_long_enough)?;
            if !restarts {
                return Ok(());
            }
            let text = format!("{text} for 20 ms in the child, stopped (SIGSTOP) and continued");
            let waited = child.call(t, &text, (way, limit), wait_and_be_stopped)?;
            t.check(waited).holds("20 ms or more", is_long_enough).map(drop)
        }))
    }
});
