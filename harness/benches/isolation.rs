//! What isolating and judging a case costs, as a ratio to the bare system calls it cannot do
//! without, measured side by side in one process: `cargo bench -p harness --features bench`.

use std::time::{Duration, Instant};

use harness::bench::{Bench, case, in_child, median};
use harness::case::call::Call;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

const ROUNDS: usize = 40;
const RUNS: u32 = 50;

fn unshare_nothing() -> i64 {
    // SAFETY: unshare(0) changes nothing.
    unsafe { libc::syscall(libc::SYS_unshare, 0u64) }
}

/// fork, unshare(0), _exit, waitpid, as a C program would write it.
fn bare() {
    // SAFETY: the process is single-threaded.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let result = unshare_nothing();
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
    let item = case("bench.trivial", &["FLAG-40"], |t| {
        t.check(Call::zero_on_success("unshare(0)", unshare_nothing())).succeeds()
    });
    let mut bench = Bench::start(0);
    let (mut bares, mut cases) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(timed(RUNS, bare));
        cases.push(timed(RUNS, || {
            bench.time(&item);
        }));
    }
    let (bare, case) = (median(bares), median(cases));
    format!(
        "isolation: one isolated, judged case {case:?} ÷ bare fork+unshare(0)+_exit+waitpid {bare:?} = {:.2} (at most 2)\n",
        case.as_secs_f64() / bare.as_secs_f64()
    )
}

fn main() {
    print!("{}", in_child(measure));
}
