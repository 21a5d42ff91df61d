//! What comparing a call with the model costs, as a ratio to the bare loop it cannot do without, and
//! what a second supervisor gains: `cargo bench -p runners --bench sweep`, as root.
//!
//! The kernel makes and clears away network and IPC namespaces one at a time, whoever asks: how much
//! a second loop gains that does nothing but make the calls is told beside it.

use std::process::{Command, Stdio};
use std::time::Instant;

use harness::bench::{Bench, Measurement, case, in_child, median};
use harness::case::Body;
use harness::case::check::Done;
use harness::case::task::fork_sharing;
use harness::case::test::Test;
use nix::sys::wait::waitpid;
use suite::SUITE;
use suite::call::raw::unshare_raw;
use suite::engines::sweep::sets::sets;
use suite::engines::sweep::states::Fixture;
use suite::engines::sweep::sweep;
use suite::observe::Observer;
use suite::spec::flags::Flags;
use suite::spec::model::Kernel;

const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// States that are prepared once, so that the bare loop has the same results.
type Prepare = fn(&Test) -> Done<Fixture>;

const STATES: [(&str, Prepare, [Body; 2]); 4] = [
    ("lone", lone, [|t| sweep(t, &lone(t)?), |t| bare(t, lone)]),
    (
        "unprivileged",
        Fixture::unprivileged,
        [|t| sweep(t, &Fixture::unprivileged(t)?), |t| bare(t, Fixture::unprivileged)],
    ),
    ("fs_sharer", sharer, [|t| sweep(t, &sharer(t)?), |t| bare(t, sharer)]),
    ("limit_0", limited, [|t| sweep(t, &limited(t)?), |t| bare(t, limited)]),
];

fn lone(t: &Test) -> Done<Fixture> {
    Ok(Fixture::lone(t))
}

fn sharer(t: &Test) -> Done<Fixture> {
    Ok(Fixture::sharer(t, Flags::FS, "a sharer"))
}

fn limited(t: &Test) -> Done<Fixture> {
    Fixture::limited(t, Flags::NEWUTS, 0)
}

/// fork, unshare, look, _exit, waitpid, for the same sets of flags.
fn bare(t: &Test, prepare: Prepare) -> Done {
    let fixture = prepare(t)?;
    let observer = Observer::open(t)?;
    let kernel = Kernel::of(t.facts());
    let sets = sets(t.tier(), t.seed(), &fixture.start, &kernel, fixture.needs_each_alone());
    for flags in sets {
        // SAFETY: no CLONE_VM; the process is single-threaded.
        let pid = unsafe { fork_sharing(fixture.sharing.made_with.0) }.expect("a child");
        if pid.as_raw() == 0 {
            unshare_raw(flags);
            std::hint::black_box(observer.state());
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
        waitpid(pid, None).expect("a child");
    }
    t.check(harness::case::call::Call::seen("the loop", ())).succeeds()
}

const ROUNDS: usize = 5;
const WORST: f64 = 1.5;
const GAIN: f64 = 1.8;

/// Ratios of one state, both loops side by side in each round.
fn ratio(bodies: [Body; 2]) -> f64 {
    let cases = bodies.map(|body| case("bench.sweep", &["FLAG-48"], body));
    let mut bench = Bench::start(&SUITE, 1);
    let mut timed = |at: usize| bench.time(&cases[at]).as_secs_f64();
    let ratios = (0..ROUNDS).map(|_| timed(0) / timed(1));
    median(ratios.collect())
}

/// The bare loops of all these states, `times` times in each of so many processes at once, in wall
/// time. What the kernel itself makes of a second processor.
fn bare_loops(processes: usize, times: usize) -> f64 {
    let start = Instant::now();
    let loops = || {
        let mut bench = Bench::start(&SUITE, 1);
        for (_, _, [_, bare]) in STATES {
            let case = case("bench.sweep", &["FLAG-48"], bare);
            for _ in 0..times {
                bench.time(&case);
            }
        }
        "done".to_owned()
    };
    let all: Vec<Measurement> = (0..processes).map(|_| Measurement::start(loops)).collect();
    for one in all {
        one.finish();
    }
    start.elapsed().as_secs_f64()
}

/// All states, in wall time.
fn all_states(jobs: &str) -> f64 {
    let start = Instant::now();
    let status = Command::new(PROGRAM)
        .args(["sweep.", "--tier", "full", "--seed", "1", "--jobs", jobs])
        .stdout(Stdio::null())
        .status()
        .expect("the program runs");
    assert!(status.success());
    start.elapsed().as_secs_f64()
}

fn main() {
    for (name, _, bodies) in STATES {
        let ratio = in_child(|| ratio(bodies).to_string());
        let ratio: f64 = ratio.parse().expect("the measurement succeeded");
        println!("sweep: {name}: one compared call ÷ the bare loop = {ratio:.2} (at most {WORST})");
    }
    let (ours, bare): (Vec<f64>, Vec<f64>) =
        (0..3).map(|_| (all_states("1") / all_states("2"), bare_loops(1, 2) / bare_loops(2, 1))).unzip();
    println!("sweep: one supervisor ÷ two, all states, full tier = {:.2} (at least {GAIN})", median(ours));
    println!("sweep: one bare loop ÷ two at once, each half as often = {:.2} (no bar)", median(bare));
}
