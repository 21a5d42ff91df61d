//! unshare(2) as a tracer sees it (section 8 of the behaviour catalogue).

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
                if info.operation == ENTRY && info.words[0] == crate::call::raw::number() as u64 {
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

case!(Case {
    name: "interactions.ptrace",
    about: "A tracer stops its tracee on entry to unshare(2), where it sees all 64 bits of the argument, and on exit \
            with the result; no other event comes. It keeps its power over the tracee, also after CLONE_NEWUSER: it \
            reads and writes its memory, and ends it.",
    proves: &["INT-15"],
    source: "ptrace(2); kernel, kernel/fork.c",
    quick: one_in(2, 1),
    variants: || {
        let mut variants = variants::each_flag();
        variants.extend(variants::of_flags([Flags::NONE, Flags(1 << 40)]));
        variants.push(Variant::new("all_bits", Flags::ARGUMENT));
        variants
    },
    run: |t| {
        let flags = t.param::<Flags>();
        let prediction = predict(&Start::of(t.facts()), flags, &Kernel::of(t.facts()));
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
            let register = unshare_raw(flags);
            t.setup(Call::new("raise(SIGSTOP)", raise(Signal::SIGSTOP)))?;
            t.check(Call::zero_on_success(format!("unshare({flags}) by a tracee"), register))
                .gives(prediction.result)?;
            t.check(Call::seen("word that the tracer wrote", word.load(Ordering::Acquire))).is(78)
        })?;
        let pid = tracee.pid();
        // Left to be waited for: a tracee that is none has ended.
        let look = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
        if matches!(
            t.setup(Call::new("waitid()", waitid(Id::Pid(pid), look)))?,
            WaitStatus::Exited(..) | WaitStatus::Signaled(..)
        ) {
            return tracee.join(t);
        }
        let stopped = t.setup(Call::new("waitpid()", waitpid(pid, Some(WaitPidFlag::__WALL))))?;
        if !matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)) {
            tracee.kill();
            return Err(t.broken("the tracee", format!("{stopped:?}")));
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
