//! What isolating and judging a case costs, as a ratio to the bare system calls it cannot do without, measured side by
//! side in one process: `cargo bench -p harness --features bench`.

use std::time::{Duration, Instant};

use harness::bench::{Bench, case, in_child, median};
use harness::case::call::Call;
use harness::suite::Suite;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

const ROUNDS: usize = 40;
const RUNS: u32 = 50;

fn yield_cpu() -> i64 {
    // SAFETY: sched_yield(2) has no arguments.
    unsafe { libc::syscall(libc::SYS_sched_yield) }
}

/// fork, sched_yield(), _exit, waitpid, as a C program would write it.
fn bare() {
    // SAFETY: the process is single-threaded.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let result = yield_cpu();
            // SAFETY: ends the child.
            unsafe { libc::_exit(result as i32) }
        }
        Ok(ForkResult::Parent { child }) => {
            waitpid(child, None).expect("a child");
        }
        Err(errno) => panic!("fork: {errno:?}"),
    }
}

fn timed(runs: u32, mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        run();
    }
    start.elapsed() / runs
}

/// Measures in the process at hand, whose output the supervisor takes for itself.
fn measure() -> String {
    let item = case("bench.trivial", &["BENCH-01"], |t| {
        t.check(Call::zero_on_success("sched_yield()", yield_cpu())).succeeds()
    });
    let mut bench = Bench::start(&Suite::PLAIN, 0);
    let (mut bares, mut cases) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(timed(RUNS, bare));
        cases.push(timed(RUNS, || {
            bench.time(&item);
        }));
    }
    let (bare, case) = (median(bares), median(cases));
    format!(
        "isolation: one isolated, judged case {case:?} ÷ bare fork+sched_yield()+_exit+waitpid {bare:?} = {:.2} (at most 2)\n",
        case.as_secs_f64() / bare.as_secs_f64()
    )
}

fn main() {
    print!("{}", in_child(measure));
}
