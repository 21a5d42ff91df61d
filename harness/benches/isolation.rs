//! What isolating and judging a case costs, as a ratio to the bare system calls it cannot do
//! without, measured side by side in one process: `cargo bench -p harness`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use harness::call::Call;
use harness::case::{Case, items};
use harness::case_run::{Setting, Tier};
use harness::facts::Facts;
use harness::judge::{Status, judge};
use harness::record::RecordLog;
use harness::sandbox::Sandbox;
use harness::supervise::Supervisor;
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Measures in the process at hand, whose output the supervisor takes for itself.
fn measure() -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut case = Case::declared_at(file!(), line!());
    case.name = "bench.trivial";
    case.proves = &["FLAG-40"];
    case.run = |t| {
        t.check(Call::zero_on_success("unshare(0)", unshare_nothing()))
            .succeeds()
    };
    let item = items(Box::leak(Box::new([case]))).remove(0);
    let setting = Setting {
        facts: Facts::gather(Sandbox::default()),
        seed: 0,
        tier: Tier::Full,
        base: directory.path().to_owned(),
        slowdown: 1,
        before_body: None,
    };
    let log = RecordLog::map().expect("memory");
    let mut supervisor = Supervisor::start(setting, log, true).expect("a supervisor");
    let (mut bares, mut cases) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(timed(RUNS, bare));
        cases.push(timed(RUNS, || {
            let observation = supervisor.run(&item, 0, Duration::from_secs(10));
            assert_eq!(judge(&observation).status, Status::Pass, "{observation:?}");
        }));
    }
    let (bare, case) = (median(bares), median(cases));
    format!(
        "isolation: one isolated, judged case {case:?} ÷ bare fork+unshare(0)+_exit+waitpid {bare:?} = {:.2} (at most 2)\n",
        case.as_secs_f64() / bare.as_secs_f64()
    )
}

fn main() {
    let (mut reader, mut writer) = UnixStream::pair().expect("a socket pair");
    // SAFETY: the process is single-threaded.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            drop(reader);
            let text = measure();
            writer.write_all(text.as_bytes()).expect("written");
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("read");
            waitpid(child, None).expect("a child");
            print!("{text}");
            assert!(!text.is_empty(), "the measurement failed");
        }
    }
}
