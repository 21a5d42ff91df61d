//! Resource limits that become ceilings of a new user namespace (section 3.13 of the behaviour catalogue).

use super::ipc_mqueue::{MESSAGE, make_locked_segment, make_queue, page_size};
use crate::prelude::*;

/// What a limit counts by user.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Processes,
    Signals,
    Queues,
    LockedSegments,
}

/// What one message takes of the limit on queues; what else a queue takes is little beside it.
const QUEUE: u64 = MESSAGE as u64;

/// The real-time signal that is queued, and the set of it alone.
fn signal() -> (i32, libc::sigset_t) {
    let number = libc::SIGRTMIN() + 4;
    // SAFETY: zeroes are a valid set; it lives through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, number);
        (number, set)
    }
}

impl Counted {
    /// The limit, a low value and one with room for three, and how a call beyond it is refused.
    fn limit(self) -> (Resource, [u64; 2], Errno) {
        match self {
            // The caller is one process itself.
            Counted::Processes => (Resource::RLIMIT_NPROC, [2, 4], Errno::EAGAIN),
            Counted::Signals => (Resource::RLIMIT_SIGPENDING, [1, 3], Errno::EAGAIN),
            Counted::Queues => (Resource::RLIMIT_MSGQUEUE, [QUEUE * 3 / 2, QUEUE * 7 / 2], Errno::EMFILE),
            // The ceiling is in bytes, and what is held against it is pages, at least up to 6.18: this is a low one
            // in either unit.
            Counted::LockedSegments => (Resource::RLIMIT_MEMLOCK, [1, 3 * page_size()], Errno::ENOMEM),
        }
    }

    /// Sets the caller's limit. The hard limit is the greater of both.
    fn set(self, room_for_three: bool) -> Call<()> {
        let (resource, values, _) = self.limit();
        let limit = values[usize::from(room_for_three)];
        Call::new(format!("setrlimit({self:?}, {limit})"), setrlimit(resource, limit, values[1]))
    }

    /// Takes two, as far as the limit lets it; gives how many that was, and gives them back.
    fn take_two(self) -> Call<usize> {
        let mut taken = Vec::new();
        let mut refused = None;
        while taken.len() < 2 && refused.is_none() {
            match self.take(taken.len()) {
                Ok(one) => taken.push(one),
                Err(errno) => refused = Some(errno),
            }
        }
        let count = taken.len();
        taken.into_iter().for_each(|one| self.give_back(one));
        let result = match refused {
            Some(errno) if errno != self.limit().2 => Err(errno),
            _ => Ok(count),
        };
        Call::new(format!("taking two of {self:?}: how many there were"), result)
    }

    fn take(self, at: usize) -> Result<i32, Errno> {
        // SAFETY: a forked child sleeps until it is killed; the calls take numbers, or strings and structures that
        // live through them.
        unsafe {
            match self {
                Counted::Processes => match libc::fork() {
                    0 => loop {
                        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                        libc::pause();
                    },
                    pid => Errno::result(pid),
                },
                Counted::Signals => {
                    let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
                    Errno::result(libc::sigqueue(libc::getpid(), signal().0, value))
                }
                Counted::Queues => {
                    let fd = make_queue((queue(at).to_string_lossy().into_owned(), MESSAGE))?;
                    nix::unistd::close(fd).map(|()| at as i32)
                }
                Counted::LockedSegments => make_locked_segment(),
            }
        }
    }

    fn give_back(self, one: i32) {
        // SAFETY: as above; the pending signal is taken off its queue.
        unsafe {
            match self {
                Counted::Processes => {
                    libc::kill(one, libc::SIGKILL);
                    libc::waitpid(one, std::ptr::null_mut(), 0);
                }
                Counted::Signals => {
                    let (_, set) = signal();
                    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                    libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const at_once);
                }
                Counted::Queues => {
                    libc::syscall(libc::SYS_mq_unlink, queue(one as usize).as_ptr());
                }
                Counted::LockedSegments => {
                    libc::shmctl(one, libc::IPC_RMID, std::ptr::null_mut());
                }
            }
        }
    }
}

fn queue(at: usize) -> &'static CStr {
    [c"first", c"second"][at]
}

fn limits() -> Vec<Variant> {
    vec![
        Variant::new("nproc", Counted::Processes),
        Variant::new("sigpending", Counted::Signals),
        Variant::new("msgqueue", Counted::Queues).needing(Needs::NONE.with(feature::POSIX_MQUEUE)),
        Variant::new("memlock", Counted::LockedSegments).needing(Needs::NONE.with(feature::SYSV_IPC)),
    ]
}

/// What a case of them needs.
const CEILINGS: Needs = Needs::ROOT
    .with(feature::CREATE_USER_NS)
    .with(feature::INITIAL_ROOT)
    .with(feature::SECOND_USER)
    .with(feature::IPC_NS);

/// Blocks the signal that is queued.
fn block_signal() -> Result<(), Errno> {
    let (_, set) = signal();
    // SAFETY: the set lives through the call.
    Errno::result(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) }).map(drop)
}

/// Becomes a user of whom nothing is counted yet, where limits are ceilings.
#[track_caller]
fn become_uncounted(t: &Test) -> Done {
    if !kernel::user_namespaces_count(t)? {
        return Err(t.skip("on this kernel limits are no ceilings of user namespaces (Linux 5.14)"));
    }
    become_somebody_else(t, 0).map(drop)
}

/// Becomes a user of whom nothing is counted yet, and shows how the limit works where it is no ceiling. Gives how many
/// the low one lets the user have.
#[track_caller]
fn prepare(t: &Test, counted: Counted) -> Done<usize> {
    become_uncounted(t)?;
    t.setup(Call::new("sigprocmask()", block_signal()))?;
    // How the limits work where they are no ceilings: the low one on locked memory is less than a page.
    let with_low = usize::from(!matches!(counted, Counted::LockedSegments));
    for (room_for_three, expected) in [(false, with_low), (true, 2)] {
        t.setup(counted.set(room_for_three))?;
        let taken = t.setup(counted.take_two())?;
        if taken != expected {
            let seen = format!("{taken} instead of {expected}");
            return Err(t.broken(format!("taking two of {counted:?} before the call"), seen));
        }
    }
    Ok(with_low)
}

case!(Case {
    name: "separation.user.ceilings",
    about: "The caller's limits on processes, pending signals, message queues and locked memory at the call are \
            ceilings of the new namespace (Linux 5.14): raising a soft limit afterwards gives nothing more, and what a \
            ceiling refuses is not counted against it.",
    proves: &["EFF-USER-13", "EFF-USER-21"],
    source: "getrlimit(2); kernel, kernel/user_namespace.c and kernel/ucount.c",
    needs: CEILINGS,
    variants: limits,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let counted: Counted = t.param();
        let with_low = prepare(t, counted)?;
        t.setup(counted.set(false))?;
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        t.setup(counted.set(true))?;
        // What is refused must not use up the room of what comes later.
        ["EFF-USER-13", "EFF-USER-21", "EFF-USER-21"].into_iter().try_for_each(|id| {
            let taken = t.check(counted.take_two()).proves(id);
            taken.holds(&format!("{with_low} to 1"), |taken| (with_low..=1).contains(taken)).map(drop)
        })
    })
});

case!(Case {
    name: "separation.user.below_ceilings",
    about: "What the caller's limits on processes, pending signals, message queues and locked memory have room for \
            before the call they have room for in the new namespace.",
    proves: &["EFF-USER-28"],
    source: "getrlimit(2); kernel, kernel/user_namespace.c (create_user_ns)",
    needs: CEILINGS,
    variants: limits,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let counted: Counted = t.param();
        prepare(t, counted)?;
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        t.check(counted.take_two()).is(2)
    })
});

/// Sets the limit on queues that counts, below a hard limit with room for three.
fn limit_queues(soft: u64) -> Result<(), Errno> {
    let (resource, [_, hard], _) = Counted::Queues.limit();
    setrlimit(resource, soft, hard)
}

/// Makes a queue, and removes it: whether the limits allow it.
fn queue_fits() -> Result<bool, Errno> {
    match Counted::Queues.take(0) {
        Ok(one) => {
            Counted::Queues.give_back(one);
            Ok(true)
        }
        Err(Errno::EMFILE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The least limit that allows a queue: the message, and what else of it the kernel counts.
fn least_for_a_queue() -> Result<u64, Errno> {
    let [mut refused, mut allowed] = [0, 2 * QUEUE];
    while allowed - refused > 1 {
        let between = refused.midpoint(allowed);
        limit_queues(between)?;
        if queue_fits()? { allowed = between } else { refused = between }
    }
    Ok(allowed)
}

case!(Case {
    name: "separation.user.ceiling_to_the_byte",
    about: "A ceiling holds to the byte: where the limit on message queues was just enough for one, one can be made in the \
            new namespace, and where it was a byte less, none, although the soft limit is raised afterwards.",
    proves: &["EFF-USER-13"],
    source: "getrlimit(2), RLIMIT_MSGQUEUE; kernel, kernel/ucount.c",
    needs: CEILINGS.with(feature::POSIX_MQUEUE),
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        become_uncounted(t)?;
        let least = t.setup(Call::new("the least RLIMIT_MSGQUEUE for a queue", least_for_a_queue()))?;
        for (ceiling, expected) in [(least, true), (least - 1, false)] {
            t.in_child(|t| {
                t.setup(Call::new(format!("setrlimit(RLIMIT_MSGQUEUE, {ceiling})"), limit_queues(ceiling)))?;
                t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
                t.setup(Call::new("setrlimit(RLIMIT_MSGQUEUE)", limit_queues(2 * least)))?;
                t.check(Call::new(format!("whether a queue fits below {ceiling} bytes"), queue_fits())).is(expected)
            })?;
        }
        Ok(())
    })
});

/// The page that cannot be accessed, and where its access fault said it was: code and address.
static PAGE: AtomicUsize = AtomicUsize::new(0);
static FAULT: (AtomicI32, AtomicUsize) = (AtomicI32::new(0), AtomicUsize::new(0));

/// Notes what the kernel says of a fault, and lets the access happen.
extern "C" fn note_fault(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes the details of the signal; the page is the case's own.
    unsafe {
        FAULT.0.store((*info).si_code, Ordering::SeqCst);
        FAULT.1.store((*info).si_addr() as usize, Ordering::SeqCst);
        let page = PAGE.load(Ordering::SeqCst);
        let _ = syscall!(Sysno::mprotect, page, 1, libc::PROT_READ | libc::PROT_WRITE);
    }
}

/// Writes into the page while it cannot be accessed; gives the code of the fault, and how far into the page it was.
fn fault(at: usize) -> Result<(i32, isize), Errno> {
    let page = PAGE.load(Ordering::SeqCst);
    FAULT.0.store(0, Ordering::SeqCst);
    FAULT.1.store(0, Ordering::SeqCst);
    call!(mprotect, page, 1, libc::PROT_NONE).map_err(fds::errno)?;
    // SAFETY: the handler lets the access to the page happen.
    unsafe { std::ptr::write_volatile((page + at) as *mut u8, 1) };
    Ok((FAULT.0.load(Ordering::SeqCst), FAULT.1.load(Ordering::SeqCst).wrapping_sub(page) as isize))
}

/// Maps the page, and has the handler called for faults.
fn catch_faults() -> Result<(), Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of its own.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 1, libc::PROT_NONE, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    PAGE.store(page as usize, Ordering::SeqCst);
    let action = SigAction::new(SigHandler::SigAction(note_fault), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: the handler stores numbers and makes one system call.
    unsafe { sigaction(Signal::SIGSEGV, &action) }.map(drop)
}

case!(Case {
    name: "separation.user.ceilings_and_faults",
    about: "The signal of a memory fault has its code and address also where the ceiling on pending signals of the new \
            namespace leaves no room for another signal.",
    proves: &["EFF-USER-20"],
    source: "getrlimit(2), RLIMIT_SIGPENDING; sigaction(2), si_addr; CVE-2024-50271",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT).with(feature::SECOND_USER),
    run: |t| {
        const AT: usize = 100;
        t.setup(Call::new("mmap(), sigaction(SIGSEGV)", catch_faults()))?;
        t.setup(Call::new("sigprocmask()", block_signal()))?;
        become_somebody_else(t, 0)?;
        t.setup(Call::new("setrlimit(RLIMIT_SIGPENDING, 1)", setrlimit(Resource::RLIMIT_SIGPENDING, 1, 1)))?;
        let text = "code and place of a memory fault";
        let before = t.setup(Call::new(text, fault(AT)))?;
        // s390 tells the page alone.
        if before.0 != SEGV_ACCERR || ![0, AT as isize].contains(&before.1) {
            return Err(t.broken(format!("{text} before the call"), format!("{before:?}")));
        }
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        t.check(Call::new("sigqueue(a blocked signal)", Counted::Signals.take(0).map(drop))).succeeds()?;
        t.check(Call::new("sigqueue(another one)", Counted::Signals.take(1).map(drop))).fails_with(Errno::EAGAIN)?;
        // As often as a count that is lost might take to show.
        (0..3).try_for_each(|_| t.check(Call::new(text, fault(AT))).is(before))
    }
});

/// The code of a fault on a page that may not be accessed (sigaction(2)).
const SEGV_ACCERR: i32 = 2;
