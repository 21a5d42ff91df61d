//! Deliberate faults of a guest, which test its runner: `--guest-fault NAME`, in builds with the feature
//! `guest-faults`. The shipped program has none of this.
//!
//! For developers of the suite. The suite in the guest behaves until the first case has its result and
//! another one is announced as running; then the fault happens. Faults of the kernel are real ones where
//! the machine gives a way to have them: QEMU's fw_cfg device writes to any physical address that root
//! asks it to, so kernel code can be replaced by what stops, oopses or warns ([`patch`]). Elsewhere, as
//! in user-mode Linux, the kernel's log is given the text and the rest does not happen. The runner outside reads that on
//! the console; the suite in the guest knows that the kernel did not say it.

#[cfg(target_arch = "x86_64")]
mod patch;

use harness::report::{Reporter, Wire};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::prelude::*;

/// What goes wrong in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GuestFault {
    /// The kernel panics
    Panic,
    /// A task faults in kernel mode; the kernel goes on
    Oops,
    /// The kernel warns and goes on
    Warn,
    /// A real-time task takes the processor for good; interrupts are served
    Hang,
    /// The processor stops with interrupts off
    HangIrqsOff,
    /// The suite stops and says nothing; the kernel is well
    Silence,
    /// The machine restarts at once
    Reboot,
    /// The machine is switched off
    PowerOff,
    /// Process 1 exits
    InitExit,
    /// The suite exits without its last event
    SuiteExit,
    /// The terminal of the results channel hangs up
    ResultsHangUp,
    /// The results channel leads nowhere any more, and the suite goes on
    ResultsLost,
    /// The machine is switched off in the middle of a record
    HalfRecord,
    /// 100 MB on the console, then the suite goes on
    Flood,
    /// The suite takes all memory
    OutOfMemory,
    /// Not a fault: a BPF LSM denies capabilities in user namespaces owned by ordinary users
    WithholdCapabilities,
}

/// How much a flood is.
const FLOOD: usize = 100 * 1000 * 1000;

/// Waits for the moment of a fault.
#[derive(Default)]
pub struct Trigger {
    fault: Option<GuestFault>,
    results: Option<File>,
    started: usize,
    finished: usize,
}

impl Trigger {
    /// A fault, or none, that may spoil this channel for results.
    pub fn new(fault: Option<GuestFault>, results: &File) -> Self {
        Self { fault, results: fault.and_then(|_| results.try_clone().ok()), started: 0, finished: 0 }
    }

    /// Has the fault happen if an event that was just reported is the moment.
    pub fn after(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::CaseStarted { .. } => self.started += 1,
            Event::CaseFinished { .. } => self.finished += 1,
            _ => return Ok(()),
        }
        if self.finished == 0 || self.started <= self.finished {
            return Ok(());
        }
        match self.fault.take() {
            Some(fault) => happen(fault, self.results.take()),
            None => Ok(()),
        }
    }
}

/// Prepares process 1 for a fault of its own; to be called there before the suite is started.
pub fn prepare(arguments: &[String]) {
    if !arguments.iter().any(|word| word == "--guest-fault") {
        return;
    }
    if arguments.iter().any(|word| word == "withhold-capabilities") {
        match suite::place::lsm::Hooked::withhold_capabilities() {
            // As long as process 1 lives.
            Ok(hooked) => std::mem::forget(hooked),
            Err(without) => eprintln!("guest fault: {without}"),
        }
    }
    extern "C" fn exit(_: i32) {
        // SAFETY: _exit may be called in a signal handler.
        unsafe { libc::_exit(0) }
    }
    let action = SigAction::new(SigHandler::Handler(exit), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing but end the process.
    let _ = unsafe { sigaction(Signal::SIGUSR1, &action) };
}

fn happen(fault: GuestFault, results: Option<File>) -> io::Result<()> {
    let mut results = results.ok_or_else(|| io::Error::other("no results channel to spoil"))?;
    match fault {
        GuestFault::Panic => sysrq(b"c"),
        GuestFault::Oops => patched(Patch::Oops, "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
        GuestFault::Warn => patched(Patch::Warn, "WARNING: CPU: 0 PID: 1 at guest-fault:1 guest_fault+0x0/0x1"),
        GuestFault::HangIrqsOff => {
            #[cfg(target_arch = "x86_64")]
            patch::execute(Patch::Stop)?;
            wait_for_ever()
        }
        GuestFault::Hang => spin(),
        GuestFault::Silence => wait_for_ever(),
        GuestFault::Reboot => sysrq(b"b"),
        GuestFault::PowerOff => off(),
        GuestFault::InitExit => {
            kill(Pid::from_raw(1), Signal::SIGUSR1)?;
            wait_for_ever()
        }
        GuestFault::SuiteExit => std::process::exit(0),
        GuestFault::ResultsHangUp => {
            // TIOCVHANGUP of asm-generic/ioctls.h, which neither crate has.
            const HANG_UP: libc::Ioctl = 0x5437;
            // SAFETY: this request takes no argument.
            Errno::result(unsafe { libc::ioctl(results.as_raw_fd(), HANG_UP) })?;
            Ok(())
        }
        GuestFault::ResultsLost => lose(&results),
        GuestFault::HalfRecord => {
            results.write_all(b"{\"event\":\"case_finished\",\"index\":1,\"verdict\":{\"sta")?;
            let _ = nix::sys::termios::tcdrain(&results);
            off()
        }
        GuestFault::Flood => flood(&mut results),
        GuestFault::WithholdCapabilities => Ok(()),
        GuestFault::OutOfMemory => {
            let mut taken = Vec::new();
            loop {
                taken.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&taken);
            }
        }
    }
}

/// What kernel code is replaced by.
#[derive(Clone, Copy)]
enum Patch {
    /// Writes to address 0.
    Oops,
    /// Warns, as WARN_ON does.
    Warn,
    /// Switches interrupts off and never returns.
    Stop,
}

/// Has a process execute a patch, or else gives the kernel's log the text of what it would say.
fn patched(patch: Patch, text: &str) -> io::Result<()> {
    let child = in_child(|| {
        #[cfg(target_arch = "x86_64")]
        let executed = patch::execute(patch);
        #[cfg(not(target_arch = "x86_64"))]
        let executed: io::Result<()> = {
            let (Patch::Oops | Patch::Warn | Patch::Stop) = patch;
            Err(io::Error::other("no patches for this architecture"))
        };
        if let Err(error) = executed {
            eprintln!("guest fault: only its text ({error})");
            let _ = std::fs::write("/dev/kmsg", format!("<4>{text}\n"));
        }
    })?;
    let _ = waitpid(child, None);
    Ok(())
}

/// Has a process of its own do this.
fn in_child(work: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: the suite's process is single-threaded.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        return Ok(child);
    }
    work();
    // SAFETY: ends the child without the parent's exit handlers.
    unsafe { libc::_exit(0) }
}

/// Floods the console while the suite gives signs of life, as it does while a case runs.
fn flood(results: &mut File) -> io::Result<()> {
    let child = in_child(|| {
        let block = format!("{}\n", "flood ".repeat(13)).repeat(100);
        if let Ok(mut console) = File::options().write(true).open("/dev/console") {
            let _ = (0..FLOOD / block.len()).try_for_each(|_| console.write_all(block.as_bytes()));
        }
    })?;
    while let WaitStatus::StillAlive = waitpid(child, Some(WaitPidFlag::WNOHANG))? {
        Wire.event(&Event::Alive, results)?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn sysrq(command: &[u8]) -> io::Result<()> {
    std::fs::write("/proc/sysrq-trigger", command)?;
    wait_for_ever()
}

fn off() -> io::Result<()> {
    let _ = reboot(RebootMode::RB_POWER_OFF);
    // A PC without ACPI halts instead, and a restart ends the machine, too.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    wait_for_ever()
}

fn wait_for_ever() -> io::Result<()> {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Takes every processor with the highest real-time priority.
fn spin() -> io::Result<()> {
    // Else the kernel leaves a twentieth of each second to the others. Kernels without real-time groups
    // or with a server for fair tasks have no such file or take no such value, and do it all the same.
    let _ = std::fs::write("/proc/sys/kernel/sched_rt_runtime_us", "-1");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..cpus {
        // SAFETY: the suite's process is single-threaded.
        if let ForkResult::Child = unsafe { fork() }? {
            break;
        }
    }
    let highest = libc::sched_param { sched_priority: 99 };
    // SAFETY: the parameter outlives the call.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &highest) })?;
    loop {
        std::hint::spin_loop();
    }
}

/// Points every descriptor of this process for the same terminal at nothing.
fn lose(results: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let device = results.metadata()?.rdev();
    let null = File::options().write(true).open("/dev/null")?;
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if std::fs::metadata(entry.path()).is_ok_and(|there| there.rdev() == device) {
            // SAFETY: the descriptor stays open and its owner's; only what it leads to changes.
            Errno::result(unsafe { libc::dup2(null.as_raw_fd(), fd) })?;
        }
    }
    Ok(())
}
