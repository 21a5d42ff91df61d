//! What unshare(2) leaves alone, whatever its flags (section 8 of the behaviour catalogue).

use crate::prelude::*;

/// What no flag names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unrelated {
    personality: i64,
    nice: i64,
    scheduling: (i64, i64),
    processors: Vec<u8>,
    priority_of_io: i64,
    limits: Vec<(u64, u64)>,
    timer: (i64, i64),
    posix_timer: (i64, i64),
    pending: u64,
    stack: (usize, usize, i32),
    robust_list: (u64, u64),
    name: String,
    slack: i64,
    score: String,
    keyrings: [i64; 3],
    tasks: Vec<String>,
    label: Result<String, i32>,
}

const PENDING: c_int = libc::SIGUSR2;
const ALTERNATE_STACK: usize = 64 * 1024;

/// Gives the calling task values that differ from every default.
#[track_caller]
fn set_unrelated(t: &Test) -> Done<libc::timer_t> {
    let stack = Box::leak(vec![0u8; ALTERNATE_STACK].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: ALTERNATE_STACK };
    let hour = libc::timeval { tv_sec: 3600, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: hour, it_value: hour };
    let mut posix_timer: libc::timer_t = std::ptr::null_mut();
    let limit = libc::rlimit { rlim_cur: 300, rlim_max: 300 };
    let result = Errno::result::<c_int>;
    // SAFETY: the structures live through the calls; the alternate stack is leaked; the blocked signal stays pending.
    let results = unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut blocked);
        libc::sigaddset(&raw mut blocked, PENDING);
        [
            ("personality(ADDR_NO_RANDOMIZE)", result(libc::personality(0x0004_0000))),
            // The one value that every task may take, however nice it was started.
            ("setpriority(19)", result(libc::setpriority(libc::PRIO_PROCESS, 0, 19))),
            ("prctl(PR_SET_TIMERSLACK)", result(libc::prctl(libc::PR_SET_TIMERSLACK, 12345))),
            ("prctl(PR_SET_NAME)", result(libc::prctl(libc::PR_SET_NAME, c"unrelated".as_ptr()))),
            ("setrlimit(RLIMIT_NOFILE)", result(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))),
            (
                "setitimer(ITIMER_VIRTUAL)",
                result(libc::setitimer(libc::ITIMER_VIRTUAL, &raw const timer, std::ptr::null_mut())),
            ),
            (
                "timer_create()",
                result(libc::timer_create(libc::CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut posix_timer)),
            ),
            (
                "sigprocmask(SIGUSR2)",
                result(libc::sigprocmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut())),
            ),
            ("raise(SIGUSR2)", result(libc::raise(PENDING))),
            ("sigaltstack()", result(libc::sigaltstack(&raw const stack, std::ptr::null_mut()))),
        ]
    };
    for (text, result) in results {
        t.setup(Call::new(text, result))?;
    }
    let long = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec { tv_sec: 100_000, tv_nsec: 0 },
    };
    // SAFETY: as above.
    let armed = unsafe { libc::timer_settime(posix_timer, 0, &raw const long, std::ptr::null_mut()) };
    t.setup(Call::new("timer_settime()", Errno::result(armed)))?;
    // An empty list, whose head leads to itself: a forked task has none.
    let head = Box::leak(Box::new([0usize; 3]));
    head[0] = head.as_ptr() as usize;
    let listed = call!(set_robust_list, head.as_ptr(), size_of_val(head));
    t.setup(Call::new("set_robust_list()", listed.map(drop).map_err(|errno| Errno::from_raw(errno.into_raw()))))?;
    // Best effort, priority 6. A kernel without block devices knows none.
    let _ = call!(ioprio_set, 1, 0, 2 << 13 | 6);
    // SAFETY: keyctl(KEYCTL_JOIN_SESSION_KEYRING) without a name takes a null pointer. A kernel without keys knows
    // none.
    let _ = unsafe { syscall!(number::keyctl, 1, 0) };
    Ok(posix_timer)
}

/// The values at hand. `posix_timer` is one that runs for long.
fn look_at_unrelated(posix_timer: libc::timer_t) -> Unrelated {
    let or_errno = |result: Result<usize, syscalls::Errno>| {
        result.map_or_else(|errno| -i64::from(errno.into_raw()), |value| value as isize as i64)
    };
    let file = |path: &str| fs::read_to_string(path).map_err(|error| error.raw_os_error().unwrap_or(0));
    // SAFETY: all structures live through the calls that fill them in; the rest takes numbers. The identifiers of
    // keyrings are asked for without making any.
    unsafe {
        let mut processors = vec![0u8; 128];
        let _ = syscall!(number::sched_getaffinity, 0, processors.len(), processors.as_mut_ptr());
        let limits = (0..16)
            .map(|which| {
                let mut limit = [0u64; 2];
                let _ = syscall!(number::prlimit64, 0, which, 0, limit.as_mut_ptr());
                (limit[0], limit[1])
            })
            .collect();
        let mut timer: libc::itimerval = std::mem::zeroed();
        libc::getitimer(libc::ITIMER_VIRTUAL, &raw mut timer);
        let mut long: libc::itimerspec = std::mem::zeroed();
        let known = libc::timer_gettime(posix_timer, &raw mut long);
        let mut pending = 0u64;
        let _ = syscall!(number::rt_sigpending, &raw mut pending, 8);
        let mut stack: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(std::ptr::null(), &raw mut stack);
        let mut robust = [0u64; 2];
        let _ = syscall!(number::get_robust_list, 0, &raw mut robust[0], &raw mut robust[1]);
        let mut name = [0u8; 16];
        libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr());
        let mut parameter = 0i32;
        let policy = or_errno(syscall!(number::sched_getscheduler, 0));
        let _ = syscall!(number::sched_getparam, 0, &raw mut parameter);
        Unrelated {
            personality: or_errno(syscall!(number::personality, u32::MAX)),
            nice: or_errno(syscall!(number::getpriority, libc::PRIO_PROCESS, 0)),
            scheduling: (policy, parameter.into()),
            processors,
            priority_of_io: or_errno(syscall!(number::ioprio_get, 1, 0)),
            limits,
            // Hours: they run, but not for so long.
            timer: ((timer.it_value.tv_sec as i64 + 1800) / 3600, timer.it_interval.tv_sec as i64),
            posix_timer: (known.into(), (long.it_value.tv_sec as i64 + 50_000) / 100_000),
            pending,
            stack: (stack.ss_sp as usize, stack.ss_size, stack.ss_flags),
            robust_list: (robust[0], robust[1]),
            name: String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned(),
            slack: libc::prctl(libc::PR_GET_TIMERSLACK).into(),
            score: file("/proc/self/oom_score_adj").unwrap_or_default(),
            // Thread, process and session keyring.
            keyrings: [-1i32, -2, -3].map(|id| or_errno(syscall!(number::keyctl, 0, id, 0))),
            tasks: fs::read_dir("/proc/self/task").map_or_else(
                |_| Vec::new(),
                |tasks| tasks.flatten().filter_map(|task| task.file_name().into_string().ok()).collect(),
            ),
            label: file("/proc/thread-self/attr/current"),
        }
    }
}

/// What differs, by the names of the fields.
fn changes(before: &Unrelated, after: &Unrelated) -> String {
    let lines = |unrelated: &Unrelated| format!("{unrelated:#?}");
    let (before, after) = (lines(before), lines(after));
    let changed: Vec<_> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, after)| format!("{} became {}", before.trim(), after.trim()))
        .collect();
    changed.join("; ")
}

case!(Case {
    name: "interactions.unrelated",
    about: "No flag touches keyrings, personality, nice value, scheduling, processors, I/O priority, resource \
            limits, timers, pending signals, alternate stack, robust futex list, name, or the security label of the \
            caller; no task starts or ends.",
    proves: &["INT-28", "INT-29", "INT-20"],
    source: "kernel, kernel/fork.c",
    quick: one_in(3, 0),
    variants: || variants::each_flag()
        .into_iter()
        .map(|variant| match variant.param::<Flags>() {
            // Nothing can be looked at there, by path.
            Flags::EMPTY => variant.proving(["INT-28"]),
            _ => variant,
        })
        .collect(),
    run: |t| t.in_child(|t| {
        let flags = t.param::<Flags>();
        let timer = set_unrelated(t)?;
        let mut before = look_at_unrelated(timer);
        t.unshare(flags).proving("INT-28").as_predicted()?;
        let after = look_at_unrelated(timer);
        if flags == Flags::EMPTY {
            before = Unrelated {
                score: after.score.clone(),
                tasks: after.tasks.clone(),
                label: after.label.clone(),
                ..before
            };
        }
        let text = format!("what unshare({flags}) changed of what it does not name");
        t.check(Call::seen(text, changes(&before, &after))).proves("INT-28").is(String::new())
    })
});
