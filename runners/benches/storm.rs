//! What a round of the ten-task storm costs, as a ratio to the least that ten such tasks cost: made by
//! clone(2), let go at once by a futex, ended, reaped. `cargo bench -p runners --bench storm`, as root.
//!
//! Beside it, what the same ten cost that also execute, _exit and unshare as those of the storm do, and
//! look at nothing: so much of a round is the kernel's.

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::bench::{Bench, case, in_child, median};
use harness::case::Body;
use harness::case::call::Call;
use harness::case::check::Done;
use harness::case::test::{Test, Tier};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use suite::SUITE;
use suite::call::raw::unshare_raw;
use suite::engines::storm::{Action, Plan, TASKS, pool, process_storm, rounds, run_if_executed};
use suite::spec::flags::Flags;
use suite::tasks::vm::{Stack, start_on};
use syscalls::{Sysno, syscall};

/// Rounds of the storm for each bare round, at least.
const BAR: f64 = 0.5;
const MEASUREMENTS: usize = 5;

/// The word that bare tasks wait for.
static GO: AtomicU32 = AtomicU32::new(0);

extern "C" fn wait(_: *mut c_void) -> c_int {
    while GO.load(Ordering::Acquire) == 0 {
        // SAFETY: the word is static; no time-out.
        let _ = unsafe { syscall!(Sysno::futex, GO.as_ptr(), libc::FUTEX_WAIT, 0, 0) };
    }
    0
}

/// What a task does that only acts.
struct Act {
    action: Action,
    /// This program, open.
    program: i32,
}

/// The argument that tells the program that it was executed by such a task.
const EXECUTED: &CStr = c"--end-at-once";

extern "C" fn act(act: *mut c_void) -> c_int {
    wait(std::ptr::null_mut());
    // SAFETY: what it points to outlives every task of the round.
    let act = unsafe { &*act.cast::<Act>() };
    match act.action {
        Action::Exec => {
            let arguments = [c"storm".as_ptr(), EXECUTED.as_ptr(), std::ptr::null()];
            let environment = [std::ptr::null::<u8>()];
            // SAFETY: all of it lives through the call.
            let _ = unsafe {
                syscall!(
                    Sysno::execveat,
                    act.program,
                    c"".as_ptr(),
                    arguments.as_ptr(),
                    environment.as_ptr(),
                    libc::AT_EMPTY_PATH
                )
            };
            return 1;
        }
        Action::Unshare(flags) => {
            unshare_raw(flags);
        }
        _ => {}
    }
    0
}

/// Rounds of ten tasks that wait for the word and then do what `draw` says.
fn play(t: &Test, mut draw: impl FnMut() -> Plan) -> Done {
    let sharing = Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | Flags::SYSVSEM;
    let stacks: Vec<Stack> = (0..TASKS).map(|_| Stack::default()).collect();
    let program = std::fs::File::open("/proc/self/exe");
    let program = t.setup(Call::io("open(/proc/self/exe)", program))?;
    for _ in 0..rounds(t.tier()) {
        GO.store(0, Ordering::Release);
        let acts: Vec<Act> =
            draw().actions.into_iter().map(|action| Act { action, program: program.as_raw_fd() }).collect();
        let mut pids = Vec::new();
        for (stack, one) in stacks.iter().zip(&acts) {
            let one = std::ptr::from_ref(one).cast_mut().cast();
            // SAFETY: the stack is this task's alone; its body makes raw system calls only.
            pids.push(unsafe { start_on(t, sharing, stack, act, one) }?);
        }
        GO.store(1, Ordering::Release);
        // SAFETY: the word is static.
        let _ = unsafe { syscall!(Sysno::futex, GO.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        for pid in pids {
            let ending = waitpid(pid, Some(WaitPidFlag::__WALL));
            let ending = t.setup(Call::new("waitpid()", ending))?;
            assert!(matches!(ending, WaitStatus::Exited(_, 0)), "{ending:?}");
        }
    }
    t.check(Call::seen("bare rounds", ())).succeeds()
}

/// Nothing but clone, barrier and exit.
fn bare(t: &Test) -> Done {
    play(t, || Plan { actions: vec![Action::Exit; TASKS], spread: false })
}

/// What the storm's own tasks do, drawn from the same seed.
fn acting(t: &Test) -> Done {
    let pool = pool(t);
    let mut random = fastrand::Rng::with_seed(t.seed());
    play(t, || Plan::of_processes(&mut random, TASKS, &pool))
}

fn measure() -> String {
    let mut bench = Bench::start(&SUITE, 1);
    let bodies: [Body; 3] = [process_storm, bare, acting];
    let cases = bodies.map(|body| case("bench.storm", &["RACE-01"], body));
    // The same rounds every time, all kinds side by side in each measurement.
    let measured: Vec<[f64; 3]> = (0..MEASUREMENTS)
        .map(|_| [0, 1, 2].map(|at| f64::from(rounds(Tier::Full)) / bench.time(&cases[at]).as_secs_f64()))
        .collect();
    let ratio = |of: usize, to: usize| median(measured.iter().map(|all| all[of] / all[to]).collect());
    let [storm, bare, acting] = [0, 1, 2].map(|at| median(measured.iter().map(|all| all[at]).collect()));
    format!(
        "storm: rounds of ten tasks ÷ bare clone, barrier and exit of ten = {:.2} (at least {BAR})\n\
         storm: the same acts without looking ÷ bare = {:.2} (no bar)\n\
         storm: rounds ÷ the same acts without looking = {:.2} (no bar)\n\
         {storm:.0}, {bare:.0} and {acting:.0} rounds a second\n",
        ratio(0, 1),
        ratio(2, 1),
        ratio(0, 2)
    )
}

fn main() -> ExitCode {
    // The tasks of a storm execute the program they are made by: this one.
    if std::env::args_os().any(|argument| argument.as_encoded_bytes() == EXECUTED.to_bytes()) {
        return ExitCode::SUCCESS;
    }
    if let Some(status) = run_if_executed() {
        return status;
    }
    print!("{}", in_child(measure));
    ExitCode::SUCCESS
}
