//! What a round of the ten-task storm costs, as a ratio to the least that ten such tasks cost: made by
//! clone(2), let go at once by a futex, ended, reaped. `cargo bench -p runners --bench storm`, as root.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::call::Call;
use harness::case::{Body, Case, items};
use harness::case_run::{Setting, Test, Tier};
use harness::check::Done;
use harness::facts::Facts;
use harness::judge::{Status, judge};
use harness::record::RecordLog;
use harness::sandbox::Sandbox;
use harness::supervise::Supervisor;
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

fn main() -> ExitCode {
    // The tasks of a storm execute the program they are made by: this one.
    if let Some(status) = run_if_executed() {
        return status;
    }
    // A supervisor takes over standard output.
    let out = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .expect("standard output");
    let directory = tempfile::tempdir().expect("a directory");
    let setting = Setting {
        facts: Facts::gather(Sandbox::default()),
        seed: 1,
        tier: Tier::Full,
        base: directory.path().to_owned(),
        slowdown: 1,
        before_body: None,
    };
    let log = RecordLog::map().expect("memory");
    let mut supervisor = Supervisor::start(setting, log, true).expect("a supervisor");
    let mut case = Case::declared_at(file!(), line!());
    case.name = "bench.storm";
    case.proves = &["RACE-01"];
    // The same rounds every time, both kinds side by side in each measurement.
    let mut per_second = |body: Body| {
        case.run = body;
        let item = items(Box::leak(Box::new([case]))).remove(0);
        let start = Instant::now();
        let observation = supervisor.run(&item, 0, Duration::from_secs(600));
        let verdict = judge(&observation);
        assert_eq!(verdict.status, Status::Pass, "{verdict:?}");
        f64::from(rounds(Tier::Full)) / start.elapsed().as_secs_f64()
    };
    let mut measured: Vec<(f64, f64)> = (0..MEASUREMENTS)
        .map(|_| (per_second(process_storm), per_second(bare)))
        .collect();
    measured.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    let (storm, bare) = measured[MEASUREMENTS / 2];
    let text = format!(
        "storm: rounds of ten tasks ÷ bare clone, barrier and exit of ten = {:.2} (at least {BAR}); \
         {storm:.0} and {bare:.0} rounds a second\n",
        storm / bare
    );
    File::from(out).write_all(text.as_bytes()).expect("written");
    ExitCode::SUCCESS
}
