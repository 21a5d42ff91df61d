//! What a round of the ten-task storm costs, as a ratio to the least that ten such tasks cost: made by
//! clone(2), let go at once by a futex, ended, reaped. `cargo bench -p runners --bench storm`, as root.

use std::ffi::{c_int, c_void};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::bench::{Bench, case, in_child};
use harness::call::Call;
use harness::case::Body;
use harness::case_run::{Test, Tier};
use harness::check::Done;
use nix::sys::wait::{WaitPidFlag, waitpid};
use suite::flags::Flags;
use suite::storm::{TASKS, process_storm, rounds, run_if_executed};
use suite::vm_task::{Stack, start_on};
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

fn bare(t: &Test) -> Done {
    let sharing = Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | Flags::SYSVSEM;
    let stacks: Vec<Stack> = (0..TASKS).map(|_| Stack::new()).collect();
    for _ in 0..rounds(t.tier()) {
        GO.store(0, Ordering::Release);
        let mut pids = Vec::new();
        for stack in &stacks {
            // SAFETY: the stack is this task's alone; its body makes raw system calls only.
            pids.push(unsafe { start_on(t, sharing, stack, wait, std::ptr::null_mut()) }?);
        }
        GO.store(1, Ordering::Release);
        // SAFETY: the word is static.
        let _ = unsafe { syscall!(Sysno::futex, GO.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        for pid in pids {
            t.setup(Call::new(
                "waitpid()",
                waitpid(pid, Some(WaitPidFlag::__WALL)),
            ))?;
        }
    }
    t.check(Call::seen("bare rounds", ())).succeeds()
}

fn measure() -> String {
    let mut bench = Bench::start(1);
    let cases = [process_storm as Body, bare].map(|body| case("bench.storm", &["RACE-01"], body));
    // The same rounds every time, both kinds side by side in each measurement.
    let mut per_second =
        |at: usize| f64::from(rounds(Tier::Full)) / bench.time(&cases[at]).as_secs_f64();
    let mut measured: Vec<(f64, f64)> = (0..MEASUREMENTS)
        .map(|_| (per_second(0), per_second(1)))
        .collect();
    measured.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    let (storm, bare) = measured[MEASUREMENTS / 2];
    format!(
        "storm: rounds of ten tasks ÷ bare clone, barrier and exit of ten = {:.2} (at least {BAR}); \
         {storm:.0} and {bare:.0} rounds a second\n",
        storm / bare
    )
}

fn main() -> ExitCode {
    // The tasks of a storm execute the program they are made by: this one.
    if let Some(status) = run_if_executed() {
        return status;
    }
    print!("{}", in_child(measure));
    ExitCode::SUCCESS
}
