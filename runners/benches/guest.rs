//! What a guest costs, as ratios measured side by side: `cargo bench -p runners --bench guest`.
//!
//! Compared with the same kernel on the same machine booting an init that only powers off, and
//! with virtme-ng running `true` in it. Each round measures all of them, one after the other, so
//! that a load on this machine meets them alike; medians are told.
//!
//! | ratio | bar |
//! |---|---|
//! | start to first verdict ÷ trivial init, under TCG and as user-mode Linux | 1.15 |
//! | start to first verdict ÷ trivial init of the bzImage as it is | 1 |
//! | quick tier of the document's groups, boot included ÷ virtme-ng running `true` | 1 |
//!
//! The first verdict may be a skip, known without running anything, so the first case that ran is told
//! beside it. The whole quick tier, which has many groups more, is measured beside it for orientation.
//!
//! Environment: `BENCH_KERNEL` and `BENCH_UML` (releases or paths; 6.1 and uml-6.1), `BENCH_ROUNDS`
//! (5), and `BENCH_VNG`, a command that boots that kernel with virtme-ng and runs `true`; without
//! it that ratio is left out. What works for Debian's kernels, with the package unpacked in DIR so
//! that virtme-ng finds its modules: `vng -r DIR/boot/vmlinuz-… --disable-kvm --disable-microvm --
//! true`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::bench::median;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runners::guest::open_kernel;
use runners::guest::process::{Machine, in_memory};
use vm::cache::Cache;
use vm::initramfs::Initramfs;
use vm::kernel::Kernel;
use vm::machine::Options;

const PROGRAM: &str = env!("CARGO_BIN_EXE_unshare-conformance");

/// The groups that the 2006 design document asks for, with its storm of ten tasks; atomicity is its
/// central claim.
const DOCUMENT: [&str; 6] = ["flags.", "implied.", "separation.", "atomicity.", "storm.processes", "storm.threads"];

const TRIVIAL_INIT: &str = "#include <sys/reboot.h>\nint main(void) { return reboot(RB_POWER_OFF); }\n";

/// A static program that switches its machine off and does nothing else, as the init of an image.
fn trivial_image() -> OwnedFd {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("init.c");
    let program = directory.path().join("init");
    fs::write(&source, TRIVIAL_INIT).expect("written");
    let compiled = Command::new("cc")
        .args(["-static", "-Os", "-s", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .expect("a C compiler is installed (Debian: gcc, libc6-dev)");
    assert!(compiled.success());
    let image = Initramfs::new(fs::read(&program).expect("compiled"));
    in_memory(&image).expect("memory")
}

/// From the start of the machine to its end, with a trivial init.
fn trivial(kernel: &Kernel, image: &OwnedFd, options: &Options) -> Duration {
    let start = Instant::now();
    let machine = Machine::start(kernel, image, options).expect("the machine starts");
    // The process itself is waited for: what it said is looked for in turns, which take longer.
    // SAFETY: the call takes two numbers and gives a descriptor, which is ours alone.
    let process = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, machine.pid(), 0);
        OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor"))
    };
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(120_000).expect("it fits");
    assert_eq!(poll(&mut ended, patience), Ok(1), "the trivial guest does not end");
    start.elapsed()
}

/// This program on that kernel, as a user starts it.
fn suite(kernel: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["--kernel", kernel, "--accel", "tcg", "--tier", "quick"])
        .args(["--format", "tap", "--seed", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// From the start of this program to the first verdict on its standard output, and to the first
/// that is no skip: cases that this kernel cannot run come before any that it can.
fn first_verdicts(kernel: &str, whats: [&'static str; 2], keep: &mut impl FnMut(&'static str, Duration)) {
    let start = Instant::now();
    let mut child = suite(kernel).spawn().expect("the program starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut verdicts =
        output.lines().map_while(Result::ok).filter(|line| line.starts_with("ok ") || line.starts_with("not ok "));
    verdicts.next().expect("the suite gives a verdict");
    keep(whats[0], start.elapsed());
    verdicts.find(|line| !line.contains("# SKIP")).expect("a case runs");
    keep(whats[1], start.elapsed());
    // Told to end, it waits until its guest is gone, which would disturb the next measurement.
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process ID"));
    kill(pid, Signal::SIGTERM).expect("it runs");
    drop(verdicts);
    let _ = child.wait();
}

/// From the start of this program to its end, with the quick tier of these groups; none means all.
fn quick_tier(kernel: &str, groups: &[&str]) -> Duration {
    let start = Instant::now();
    let output = suite(kernel).args(groups).output().expect("the program starts");
    let elapsed = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Bail out!"), "{text}");
    elapsed
}

/// From the start of virtme-ng to its end. It wants a terminal, which `script` gives it.
fn virtme_ng(command: &str) -> Duration {
    let start = Instant::now();
    let status = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("script is installed (Debian: bsdutils)");
    assert!(status.success(), "{command}: {status}");
    start.elapsed()
}

/// Times by what was measured.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// What was measured ÷ what, and how much that may be.
const RATIOS: [(&str, &str, Option<f64>); 7] = [
    ("first verdict", "trivial init, unpacked", Some(1.15)),
    ("first case that ran", "trivial init, unpacked", None),
    ("first verdict, user-mode", "trivial init, user-mode", Some(1.15)),
    ("first case that ran, user-mode", "trivial init, user-mode", None),
    ("first verdict", "trivial init, bzImage", Some(1.0)),
    ("quick tier of the document", "virtme-ng, true", Some(1.0)),
    ("quick tier", "virtme-ng, true", None),
];

fn environment(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn main() {
    let cache = Cache::of_user().expect("a place for kernels: set HOME");
    let (name, uml_name) = (environment("BENCH_KERNEL", "6.1"), environment("BENCH_UML", "uml-6.1"));
    let rounds: usize = environment("BENCH_ROUNDS", "5").parse().expect("a number");
    let open = |name: &str| open_kernel(name, &cache).unwrap_or_else(|error| panic!("{error}"));
    let (as_is, uml) = (open(&name), open(&uml_name));
    let unpacked = vm::payload::unpack(&as_is, &cache).expect("the kernel can be unpacked");
    let image = trivial_image();
    // As the suite's guests have them when all cases run.
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(2)) as u32;
    let options = |cpus| Options { cpus, ..Options::default() };

    let mut times = Times::new();
    for round in 0..=rounds {
        let mut keep = |what: &'static str, time: Duration| {
            // The first round fills caches.
            if round > 0 {
                times.entry(what).or_default().push(time);
            }
        };
        keep("trivial init, unpacked", trivial(&unpacked, &image, &options(cpus)));
        first_verdicts(&name, ["first verdict", "first case that ran"], &mut keep);
        if unpacked.path() != as_is.path() {
            keep("trivial init, bzImage", trivial(&as_is, &image, &options(cpus)));
        }
        keep("trivial init, user-mode", trivial(&uml, &image, &options(1)));
        let whats = ["first verdict, user-mode", "first case that ran, user-mode"];
        first_verdicts(&uml_name, whats, &mut keep);
        if let Ok(vng) = std::env::var("BENCH_VNG") {
            keep("quick tier of the document", quick_tier(&name, &DOCUMENT));
            keep("quick tier", quick_tier(&name, &[]));
            keep("virtme-ng, true", virtme_ng(&vng));
        }
    }

    let release = |kernel: &Kernel| kernel.release().unwrap_or("unknown").to_owned();
    println!("{} and {}, medians of {rounds} rounds", release(&as_is), release(&uml));
    let middle = |what: &str| times.get(what).map(|times| median(times.clone()).as_secs_f64());
    for (what, times) in &times {
        let seconds: Vec<String> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
        println!("{what:32} {:6.2} s  ({})", middle(what).unwrap_or_default(), seconds.join(" "));
    }
    println!();
    for (of, to, bar) in RATIOS {
        let Some((of_time, to_time)) = middle(of).zip(middle(to)) else {
            println!("{of} ÷ {to}: not measured");
            continue;
        };
        let ratio = of_time / to_time;
        let bar = match bar {
            None => "no bar".to_owned(),
            Some(bar) if ratio <= bar => format!("at most {bar}: met"),
            Some(bar) => format!("at most {bar}: MISSED"),
        };
        println!("{:56} {ratio:5.2}  ({bar})", format!("{of} ÷ {to}"));
    }
}
