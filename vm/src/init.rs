//! The guest's side: our binary as process 1.
//!
//! ```no_run
//! # fn run_suite(guest: &vm::init::Guest) -> u8 { 0 }
//! if vm::init::is_guest_init() {
//!     match vm::init::set_up(Vec::new, |_| ()) {
//!         Ok((guest, ..)) => guest.supervise(run_suite),
//!         Err(error) => vm::init::give_up(&vm::chain(&error)),
//!     }
//! }
//! ```
//!
//! Process 1 mounts, starts the suite in a child, reaps whatever is orphaned, writes the end record and powers off. It
//! never calls unshare(2) and never changes a namespace itself: a guest whose first process did would have nothing
//! left to compare with, and recent kernels warn about it.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{self, ControlFlags, SetArg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, sethostname, setsid};

use crate::boot::initramfs::MARKER;
use crate::boot::parameters::Parameters;
use crate::common::*;
use crate::lost_memory;

/// Nothing can be judged without such a mount.
const REQUIRED: bool = true;
/// Kernels are built without it; the cases that need it say so.
const OPTIONAL: bool = false;

struct Mount {
    /// The file system, which is its source as well: none of them has a device.
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    options: &'static str,
    required: bool,
}

impl Mount {
    fn failed(&self) -> impl FnOnce(Errno) -> InitError {
        |source| InitError::Mount(self.kind, self.target, source)
    }
}

const PLAIN: MsFlags = MsFlags::empty();
/// As every distribution mounts what holds no programs and no devices.
const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
const NO_DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

const fn row(kind: &'static str, target: &'static str, flags: MsFlags, options: &'static str, required: bool) -> Mount {
    Mount { kind, target, flags, options, required }
}

/// What is mounted in a guest, in this order.
#[rustfmt::skip]
const MOUNTS: [Mount; 13] = [
    row("proc",       "/proc",                SAFE,       "",                 REQUIRED),
    row("sysfs",      "/sys",                 SAFE,       "",                 OPTIONAL),
    row("devtmpfs",   "/dev",                 PLAIN,      "mode=0755",        OPTIONAL),
    row("devpts",     "/dev/pts",             PLAIN,      "mode=620,ptmxmode=666", OPTIONAL),
    row("tmpfs",      "/dev/shm",             NO_DEVICES, "mode=1777",        OPTIONAL),
    row("mqueue",     "/dev/mqueue",          SAFE,       "",                 OPTIONAL),
    row("tmpfs",      "/tmp",                 NO_DEVICES, "mode=1777",        REQUIRED),
    row("tmpfs",      "/run",                 NO_DEVICES, "mode=0755",        OPTIONAL),
    row("cgroup2",    "/sys/fs/cgroup",       SAFE,       "",                 OPTIONAL),
    row("securityfs", "/sys/kernel/security", SAFE,       "",                 OPTIONAL),
    row("debugfs",    "/sys/kernel/debug",    SAFE,       "",                 OPTIONAL),
    row("tracefs",    "/sys/kernel/tracing",  SAFE,       "",                 OPTIONAL),
    row("bpf",        "/sys/fs/bpf",          SAFE,       "",                 OPTIONAL),
];

/// Links that every user space makes in /dev and programs count on: link, target. A security module
/// may look up an executed descriptor by its name below /dev/fd (Tomoyo does in 5.10).
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Limits of process 1 that every process inherits: what, soft, hard. The kernel's own allow a thousand files, which
/// the storms outgrow, and core files, which would fill the guest's memory.
const LIMITS: [(Resource, rlim_t, rlim_t); 2] =
    [(Resource::RLIMIT_NOFILE, 1024, 1 << 19), (Resource::RLIMIT_CORE, 0, 0)];

/// How the last line on the results channel begins; the status of the suite follows, 0 to 255.
const END_RECORD: &str = "unshare-conformance: end status ";

/// How a line on the console begins that tells of memory which the guest's kernel has lost (`splat.rs` of the harness
/// knows it).
const LOST: &str = "unshare-conformance: the kernel lost memory: ";

/// Why a guest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A required mount failed. With the file system, its mount point and the kernel's error.
    #[error("cannot mount the guest's {0} on {1} (its kernel lacks it, see vm/kconfig/guest.config)")]
    Mount(&'static str, &'static str, #[source] Errno),
    /// The kernel command line could not be read.
    #[error("cannot read the guest's /proc/cmdline (its /proc does not work)")]
    CommandLine(#[source] io::Error),
    /// No channel at all: neither the device named on the command line nor the console, whose error follows.
    #[error(
        "the guest has no channel for its results, neither /dev/{0} nor /dev/console (its kernel has no driver for the \
         console, see `unshare-conformance kernels config`)"
    )]
    Results(String, #[source] io::Error),
}

/// A guest that is set up.
#[derive(Debug)]
pub struct Guest {
    parameters: Parameters,
    results: File,
}

/// Whether this process is the init of a guest that [`crate::initramfs`] made: the first process, run as `/init`, with
/// the image's marker still there. The first process of a container is not.
pub fn is_guest_init() -> bool {
    getpid().as_raw() == 1
        && std::env::args_os().next().is_some_and(|name| name == "/init")
        && Path::new("/").join(MARKER).exists()
}

/// Turns the bare kernel into a guest: mounts, host name, limits, the results channel. To be called once, by a process
/// for which [`is_guest_init`] holds, before it starts threads.
///
/// Runs two functions on the way, in parallel where there are two processors: `scout` in a child process, once
/// everything is mounted, and `meanwhile` in this process with the runner's parameters, while only /proc is. Returns
/// their results; if the child process fails, that of `scout` is empty.
///
/// # Errors
/// The guest lacks something it cannot do without; the caller should [`give_up`].
pub fn set_up<T>(
    scout: impl FnOnce() -> Vec<u8>,
    meanwhile: impl FnOnce(&Parameters) -> T,
) -> Result<(Guest, Vec<u8>, T), InitError> {
    // The first processes of the suite's own PID namespaces are not a guest's init.
    let _ = std::fs::remove_file(Path::new("/").join(MARKER));

    let [first, others @ ..] = &MOUNTS;
    mount_one(first).map_err(first.failed())?;
    let command_line = std::fs::read("/proc/cmdline").map_err(InitError::CommandLine)?;
    let parameters = Parameters::parse(&String::from_utf8_lossy(&command_line));

    let answer = in_child(|| [&mount_all(others)[..], &scout()].concat());
    let prepared = meanwhile(&parameters);
    let mut errors = Vec::new();
    let read = answer.and_then(|mut answer| answer.read_to_end(&mut errors));
    let scouted = errors.split_off(errors.len().min(others.len()));
    // A child that could not be started mounted nothing, for want of memory.
    let unmounted = read.err().and_then(|error| error.raw_os_error()).unwrap_or(libc::ENOMEM);
    for (index, row) in others.iter().enumerate().filter(|(_, row)| row.required) {
        match errors.get(index).map_or(unmounted, |errno| i32::from(*errno)) {
            0 => {}
            errno => return Err(row.failed()(Errno::from_raw(errno))),
        }
    }
    let _ = sethostname("guest");
    for (resource, soft, hard) in LIMITS {
        let _ = setrlimit(resource, soft, hard);
    }
    if let Ok(null) = File::open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(null);
    }

    let name = parameters.results.clone().unwrap_or_else(|| "console".to_owned());
    // A kernel with fewer serial ports than the machine has: better mixed with the console than not at all.
    let results = open_channel(&name).or_else(|_| open_channel("console"));
    let results = results.map_err(|source| InitError::Results(name, source))?;
    Ok((Guest { parameters, results }, scouted, prepared))
}

/// Does `work` in a child process, which writes its result to the pipe. The child is reaped later, with all others.
fn in_child(work: impl FnOnce() -> Vec<u8>) -> io::Result<io::PipeReader> {
    let (answer, mut writer) = io::pipe()?;
    // SAFETY: this process is single-threaded, as `set_up` asks, so the child may do anything.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(answer);
            let done = writer.write_all(&work());
            // Whoever reads need not wait until this process is taken apart.
            drop(writer);
            std::process::exit(done.is_err().into());
        }
        ForkResult::Parent { .. } => Ok(answer),
    }
}

/// Makes the mounts of these rows and the links. Returns the errno of each mount, 0 for success.
fn mount_all(rows: &[Mount]) -> Vec<u8> {
    // Linux's error numbers end at 133.
    let errors = rows.iter().map(|row| mount_one(row).map_or_else(|errno| errno as u8, |()| 0)).collect();
    // The suite can run without these, and each case that relies on one checks for it.
    for (link, target) in LINKS {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    errors
}

fn mount_one(entry: &Mount) -> nix::Result<()> {
    // Below /sys the kernel makes the directory itself where it has the file system.
    let made = std::fs::create_dir_all(entry.target);
    let options = Some(entry.options).filter(|options| !options.is_empty());
    mount(Some(entry.kind), entry.target, Some(entry.kind), entry.flags, options).map_err(|errno| match (errno, made) {
        // The file system is unknown rather than the directory missing.
        (Errno::ENOENT, Err(_)) => Errno::ENODEV,
        _ => errno,
    })
}

/// Opens a terminal for records: bytes go through as they are, and nothing is echoed.
fn open_channel(name: &str) -> io::Result<File> {
    // Without O_NONBLOCK the open could wait for a carrier.
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(Path::new("/dev").join(name))?;
    if name != "console" {
        let mut settings = termios::tcgetattr(&file)?;
        termios::cfmakeraw(&mut settings);
        settings.control_flags |= ControlFlags::CLOCAL;
        // Nothing is slower for it on an emulated port; draining waits for the time that characters would take.
        termios::tcsetattr(&file, SetArg::TCSANOW, &settings)?;
    }
    let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFL)?;
    let blocking = nix::fcntl::OFlag::from_bits_retain(flags) - nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(blocking))?;
    Ok(file)
}

impl Guest {
    /// The arguments that the runner gave our binary, without its name.
    pub fn arguments(&self) -> &[String] {
        &self.parameters.arguments
    }

    /// The channel for results, open for reading and writing; a descriptor of the caller's own.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn results(&self) -> io::Result<File> {
        self.results.try_clone()
    }

    /// Runs `suite` in a child process, which leads a session of its own, and reaps everything until it ends. Then
    /// kills what is left, writes the end record with the child's status (128 and the signal, when one killed it) and
    /// powers off.
    pub fn supervise(self, suite: impl FnOnce(&Guest) -> u8) -> ! {
        // SAFETY: this process is single-threaded, as `set_up` asks, so the child may do anything.
        let status = match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let _ = setsid();
                let status = suite(&self);
                let _ = io::stdout().flush();
                std::process::exit(status.into());
            }
            Ok(ForkResult::Parent { child }) => reap_until(child),
            Err(errno) => {
                eprintln!("unshare-conformance: the guest cannot start its suite ({errno}): give it more memory");
                125
            }
        };
        // The suite finds and judges its leaks itself; this is only so that nothing writes behind the end record.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        for lost in lost_memory::search() {
            println!("{LOST}{lost}");
        }
        self.power_off(status)
    }

    /// Writes the end record with `status`, waits until both channels have sent everything, and powers off.
    fn power_off(mut self, status: u8) -> ! {
        // On a line of its own, also when the suite was killed in the middle of one. A channel that is gone, the
        // runner notices.
        let _ = write!(self.results, "\n{END_RECORD}{status}\n");
        let _ = termios::tcdrain(&self.results);
        end()
    }
}

/// Prints on the console why the guest cannot be used, and powers off without an end record.
pub fn give_up(why: &str) -> ! {
    eprintln!("unshare-conformance: {why}");
    end()
}

/// The status in a line of the results channel, when it is the end record.
pub fn parse_end_record(line: &str) -> Option<u8> {
    line.trim().strip_prefix(END_RECORD)?.parse().ok()
}

/// Whether a text can be where the end record begins, cut off anywhere.
pub fn begins_end_record(text: &str) -> bool {
    let digits = text.strip_prefix(END_RECORD);
    END_RECORD.starts_with(text) || digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reaps every child that ends until `child` does; its status as a shell would give it.
fn reap_until(child: Pid) -> u8 {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return u8::try_from(code).unwrap_or(u8::MAX),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return 128_u8.saturating_add(signal as i32 as u8);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // The child was there and cannot be any more.
            Err(_) => return u8::MAX,
        }
    }
}

fn end() -> ! {
    let _ = io::stdout().flush();
    for stream in [io::stdout().as_fd(), io::stderr().as_fd()] {
        let _ = termios::tcdrain(stream);
    }
    nix::unistd::sync();
    // A PC without ACPI cannot switch itself off: the kernel would halt and leave the machine running. A restart ends
    // it too (`-no-reboot`), on every machine. User-mode Linux restarts into itself, and needs nothing to power off.
    let user_mode = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("User Mode Linux"));
    let first = if user_mode || Path::new("/sys/firmware/acpi").exists() {
        RebootMode::RB_POWER_OFF
    } else {
        RebootMode::RB_AUTOBOOT
    };
    for mode in [first, RebootMode::RB_AUTOBOOT, RebootMode::RB_HALT_SYSTEM] {
        let _ = reboot(mode);
    }
    // Ending makes the kernel panic, which ends the machine as well.
    std::process::exit(125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_process_is_no_guest() {
        assert!(!is_guest_init());
    }

    #[test]
    fn mounts_come_after_what_they_are_mounted_on() {
        for (index, inner) in MOUNTS.iter().enumerate() {
            assert!(inner.target.starts_with('/'));
            for outer in &MOUNTS[index + 1..] {
                let hidden = inner.target.starts_with(&format!("{}/", outer.target));
                assert!(!hidden, "{} hides {}", outer.target, inner.target);
            }
        }
        assert!(MOUNTS.iter().any(|entry| entry.kind == "proc" && entry.required));
    }

    #[test]
    fn the_end_record_is_read_back() {
        assert_eq!(parse_end_record(&format!("{END_RECORD}0\r\n")), Some(0));
        assert_eq!(parse_end_record(&format!("{END_RECORD}137")), Some(137));
        for other in ["", "ok 1 a", "unshare-conformance: end status", "unshare-conformance: end status 1000"] {
            assert_eq!(parse_end_record(other), None);
        }
    }
}
