//! unshare(2) as tracers and profilers see it (section 8 of the behaviour catalogue).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::place::seccomp::was_trapped;
use crate::prelude::*;

/// struct ptrace_syscall_info of linux/ptrace.h, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct SyscallInfo {
    operation: u8,
    reserved: u8,
    flags: u16,
    architecture: u32,
    instruction: u64,
    stack: u64,
    /// On entry the number and six arguments; on exit the result and whether it is an error.
    words: [u64; 7],
}

const GET_SYSCALL_INFO: u32 = 0x420e;
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// What a tracer sees of its tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// On the way into unshare(2), with this argument.
    Entry(Flags),
    /// On the way out of it, with this result.
    Exit(i64),
    /// An event that PTRACE_O_TRACE options ask for.
    Event(i32),
    /// A signal.
    Signal(Signal),
}

fn syscall_info(pid: Pid) -> Result<SyscallInfo, Errno> {
    let mut info = SyscallInfo::default();
    // SAFETY: the structure has the size that is given, and lives through the call.
    let length = unsafe { libc::ptrace(GET_SYSCALL_INFO as _, pid.as_raw(), size_of::<SyscallInfo>(), &raw mut info) };
    Errno::result(length)?;
    Ok(info)
}

/// Follows a tracee until it stops by SIGSTOP, and gives what is seen of its unshare calls, and all events and other
/// signals.
fn follow(t: &Test, pid: Pid) -> Done<Vec<Stop>> {
    let mut stops = Vec::new();
    let mut inside = false;
    let mut deliver = None;
    loop {
        t.setup(Call::new("ptrace(PTRACE_SYSCALL)", ptrace::syscall(pid, deliver.take())))?;
        let status = t.setup(Call::new("waitpid()", waitpid(pid, Some(WaitPidFlag::__WALL))))?;
        match status {
            WaitStatus::PtraceSyscall(_) => {
                let info = t.setup(Call::new("ptrace(PTRACE_GET_SYSCALL_INFO)", syscall_info(pid)))?;
                if info.operation == ENTRY && info.words[0] == crate::call::raw::NUMBER as u64 {
                    inside = true;
                    stops.push(Stop::Entry(Flags(info.words[1])));
                } else if info.operation == EXIT && inside {
                    inside = false;
                    stops.push(Stop::Exit(info.words[0] as i64));
                }
            }
            WaitStatus::PtraceEvent(_, _, event) => stops.push(Stop::Event(event)),
            WaitStatus::Stopped(_, Signal::SIGSTOP) => return Ok(stops),
            // A filter that was here before has trapped the call, which ended without having been made. The tracee
            // makes it again when it gets the signal.
            WaitStatus::Stopped(_, Signal::SIGSYS) if was_trapped(pid) => {
                stops.truncate(stops.len().saturating_sub(2));
                deliver = Some(Signal::SIGSYS);
            }
            WaitStatus::Stopped(_, signal) => stops.push(Stop::Signal(signal)),
            other => return Err(t.broken("waitpid(tracee)", format!("{other:?}"))),
        }
    }
}

/// Every event there is, but that of the tracee's exit, which is not unshare's.
fn all_events() -> ptrace::Options {
    use ptrace::Options;
    Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEVFORKDONE
        | Options::PTRACE_O_TRACESECCOMP
}

fn traced_calls() -> Vec<Variant> {
    variants::each_flag()
        .into_iter()
        .chain([
            Variant::new("none", Flags::NONE),
            Variant::new("bit_40", Flags(1 << 40)),
            Variant::new("all_bits", Flags(u64::MAX)),
        ])
        .collect()
}

case!(Case {
    name: "interactions.ptrace",
    about: "A tracer stops its tracee on the way into unshare(2), where it sees all 64 bits of the argument, and on \
            the way out with the result; no event besides. It keeps its power over the tracee, also after \
            CLONE_NEWUSER: it reads and writes its memory, and ends it.",
    proves: &["INT-15"],
    source: "ptrace(2); kernel, kernel/fork.c",
    variants: traced_calls,
    run: |t| {
        let flags = t.param::<Flags>();
        let prediction = model::predict(&Start::of(t.facts()), flags, &model::Kernel::of(t.facts()));
        // In the tracee this is at the same address.
        let word = Box::new(AtomicU64::new(77));
        let address = std::ptr::from_ref::<AtomicU64>(&word).cast_mut().cast();
        let mut tracee = t.spawn("tracee", |t| {
            let traced = ptrace::traceme();
            if let Err(errno) = traced {
                return Err(t.skip(format!(
                    "ptrace(2) is refused here ({errno:?}): allow it in the container's seccomp \
                     profile, or set kernel.yama.ptrace_scope to 1"
                )));
            }
            t.setup(Call::new("raise(SIGSTOP)", raise(Signal::SIGSTOP)))?;
            let register = crate::call::raw::unshare_raw(flags);
            t.setup(Call::new("raise(SIGSTOP)", raise(Signal::SIGSTOP)))?;
            t.check(Call::zero_on_success(format!("unshare({flags}) by a tracee"), register))
                .gives(prediction.result)?;
            t.check(Call::seen("word that the tracer wrote", word.load(Ordering::Acquire))).is(78)
        })?;
        let pid = tracee.pid();
        match t.setup(Call::new("waitpid()", waitpid(pid, Some(WaitPidFlag::__WALL))))? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            _ => return tracee.join(t),
        }
        t.setup(Call::new("ptrace(PTRACE_SETOPTIONS)", ptrace::setoptions(pid, all_events())))?;
        match syscall_info(pid) {
            Err(errno @ (Errno::EIO | Errno::ENOSYS | Errno::EINVAL)) => {
                tracee.kill();
                return Err(
                    t.skip(format!("this kernel cannot tell of system calls (PTRACE_GET_SYSCALL_INFO: {errno:?})"))
                );
            }
            other => t.setup(Call::new("ptrace(PTRACE_GET_SYSCALL_INFO)", other))?,
        };
        let stops = follow(t, pid)?;
        let result = prediction.result.map_or_else(|errno| -(errno as i64), |()| 0);
        t.check(Call::seen("stops of the tracee", stops)).is(vec![Stop::Entry(flags), Stop::Exit(result)])?;
        t.check(Call::new("ptrace(PTRACE_PEEKDATA)", ptrace::read(pid, address))).is(77)?;
        t.check(Call::new("ptrace(PTRACE_POKEDATA)", ptrace::write(pid, address, 78))).succeeds()?;
        t.check(Call::new("ptrace(PTRACE_DETACH)", ptrace::detach(pid, None))).succeeds()?;
        t.check(Call::new("kill(SIGCONT)", kill(pid, Signal::SIGCONT))).succeeds()?;
        tracee.join(t)
    }
});

/// struct perf_event_attr of linux/perf_event.h in its first form, which is enough.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    address: u64,
}

const SOFTWARE: u32 = 1;
const DUMMY: u64 = 9;
/// The bit `namespaces` of the attributes' flags.
const NAMESPACES: u64 = 1 << 28;
const RECORD_NAMESPACES: u32 = 16;
/// Where the first page of the ring has the position that the kernel has written to.
const DATA_HEAD: usize = 1024;

/// The kinds of link in a record, in its order.
const RECORDED: [Ns; 7] = [Ns::Net, Ns::Uts, Ns::Ipc, Ns::Pid, Ns::User, Ns::Mnt, Ns::Cgroup];

/// Records of namespaces of the calling task.
struct Recorder {
    _event: OwnedFd,
    ring: *mut u8,
    page: usize,
    read: usize,
}

impl Recorder {
    #[track_caller]
    fn start(t: &Test) -> Done<Self> {
        let attributes = Attributes {
            kind: SOFTWARE,
            size: size_of::<Attributes>() as u32,
            config: DUMMY,
            flags: NAMESPACES,
            ..Attributes::default()
        };
        // SAFETY: the attributes live through the call; it takes numbers besides.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, 0, -1, -1, 0) };
        let event = match Errno::result(fd) {
            // SAFETY: the descriptor is new.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
            Err(errno @ (Errno::ENOSYS | Errno::EACCES | Errno::EPERM)) => {
                return Err(t.skip(format!(
                    "perf_event_open(2) does not record namespaces here ({errno:?}): it takes \
                     CONFIG_PERF_EVENTS, and CAP_PERFMON in the initial user namespace"
                )));
            }
            Err(errno) => return t.setup(Call::new("perf_event_open()", Err(errno))),
        };
        // SAFETY: takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        // SAFETY: a fresh mapping of a descriptor of ours: one page of figures, eight of records.
        let ring = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                9 * page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        t.setup(Call::new("mmap(perf event)", if ring == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }))?;
        Ok(Self { _event: event, ring: ring.cast(), page, read: 0 })
    }

    fn word(&self, at: usize) -> u32 {
        let at = self.page + at % (8 * self.page);
        // SAFETY: within the mapping; records and their fields are aligned to 8 and 4 bytes.
        unsafe { self.ring.add(at).cast::<u32>().read_volatile() }
    }

    /// The inodes of the links in each record of namespaces since the last look.
    fn new_records(&mut self) -> Vec<[u64; RECORDED.len()]> {
        // SAFETY: within the mapping, and aligned.
        let head = unsafe { &*self.ring.add(DATA_HEAD).cast::<AtomicU64>() };
        let end = head.load(Ordering::Acquire) as usize;
        let mut records = Vec::new();
        while self.read < end {
            let (kind, size) = (self.word(self.read), (self.word(self.read + 4) >> 16) as usize);
            if kind == RECORD_NAMESPACES {
                // Header, process and thread ID, number of links; then device and inode of each.
                let links = self.read + 24;
                records.push(std::array::from_fn(|link| {
                    let at = links + 16 * link + 8;
                    u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
                }));
            }
            self.read += size.max(8);
        }
        records
    }
}

case!(Case {
    name: "interactions.perf",
    about: "A profiler that asks for namespaces gets one record for each successful unshare(2), also for one that \
            did nothing, with the links as they are afterwards; and none for one that failed.",
    proves: &["INT-16"],
    source: "perf_event_open(2), PERF_RECORD_NAMESPACES; kernel, kernel/fork.c",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::UTS_NS),
    variants: || variants::of_flags([
        Flags::NONE,
        Flags::FS,
        Flags::NEWUTS,
        Flags::NEWUTS | Flags::NEWNS | Flags::FILES,
        Flags(1 << 63),
        Flags::NEWUTS | Flags(1 << 40),
    ]),
    run: |t| {
        let flags = t.param::<Flags>();
        let observer = Observer::open(t)?;
        let mut recorder = Recorder::start(t)?;
        let _before = recorder.new_records();
        let prediction = t.unshare(flags).prediction()?;
        let records = recorder.new_records();
        let state = observer.state();
        let expected = if prediction.result.is_ok() { vec![RECORDED.map(|ns| state.namespace(ns))] } else { vec![] };
        t.check(Call::seen(format!("records of namespaces (links {RECORDED:?}) during unshare({flags})"), records))
            .is(expected)
    }
});
