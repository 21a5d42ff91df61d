//! Things that a faulty kernel changes besides what it was asked for.
//!
//! As all of a lie, this runs in a handler of SIGSYS: raw system calls only.

use std::ffi::CStr;

use syscalls::{Sysno, syscall};

use super::stand_in::Trapped;
use crate::spec::flags::Flags;

/// One thing that is changed. A step that the caller may not do is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Another umask.
    Umask,
    /// The root directory as cwd.
    Cwd,
    /// The cwd as root directory.
    Root,
    /// Another host name.
    HostName,
    /// Another NIS domain name.
    DomainName,
    /// Another securebit.
    Securebits,
    /// Fewer effective capabilities.
    Capabilities,
    /// A smaller bounding set.
    BoundingSet,
    /// Another effective user.
    User,
    /// Another effective group.
    Group,
    /// Other supplementary groups.
    Groups,
    /// no_new_privs.
    NoNewPrivs,
    /// Another "dumpable".
    Dumpable,
    /// Another parent-death signal.
    DeathSignal,
    /// A subreaper.
    Subreaper,
    /// One signal more that is blocked, or one less.
    SignalMask,
    /// A signal that is ignored.
    IgnoredSignal,
    /// A process group of its own.
    ProcessGroup,
    /// A child that ends at once.
    Child,
    /// A child that stays in the caller's namespaces for a while, and shares so much with the caller.
    Keeper(Flags),
    /// The last descriptor is closed.
    DescriptorLost,
    /// The last descriptor leads elsewhere.
    DescriptorReplaced,
    /// One descriptor more.
    DescriptorMore,
    /// No descriptor closes on exec.
    CloseOnExecLost,
    /// Every descriptor closes on exec.
    CloseOnExecSet,
    /// No record locks.
    LocksLost,
    /// Every semaphore of the IPC namespace has a value higher by one.
    Semaphores,
    /// Every message queue and shared memory segment of the IPC namespace is removed.
    IpcObjectsLost,
    /// Every mount is private.
    MountsPrivate,
    /// Every mount is shared.
    MountsShared,
    /// A further mount on the cwd.
    MountMore,
    /// A map of user IDs that nobody has written.
    UserMap,
    /// Lower limits on namespaces.
    UserLimits,
    /// The loopback device is up.
    Loopback,
    /// Another monotonic clock.
    TimeOffset,
    /// Another nice value.
    Nice,
    /// A lower limit of descriptors.
    Limit,
    /// Another personality.
    Personality,
    /// No interval timer.
    Timer,
    /// Another name.
    Name,
    /// Another slack of timers.
    Slack,
    /// No robust list.
    RobustList,
    /// Another I/O priority.
    IoPriority,
    /// Another scheduling policy.
    Scheduling,
    /// A session keyring of its own.
    Keyring,
    /// No signal is pending.
    PendingLost,
}

impl Act {
    /// Changes it.
    pub(super) fn perform(self, call: &mut Trapped) {
        const NONE: usize = 0;
        // SAFETY: the calls take numbers and constant strings, or read and write structures on this
        // stack that live through the call. A child ends at once and touches no memory.
        let _ = unsafe {
            match self {
                Act::Umask => syscall!(Sysno::umask, 0o123),
                Act::Cwd => syscall!(Sysno::chdir, c"/".as_ptr()),
                Act::Root => syscall!(Sysno::chroot, c".".as_ptr()),
                Act::HostName => syscall!(Sysno::sethostname, c"liar".as_ptr(), 4),
                Act::DomainName => syscall!(Sysno::setdomainname, c"liar".as_ptr(), 4),
                Act::Securebits => syscall!(Sysno::prctl, libc::PR_SET_SECUREBITS, 1 << 4, 0, 0, 0),
                Act::Capabilities => drop_capability(),
                Act::BoundingSet => syscall!(Sysno::prctl, libc::PR_CAPBSET_DROP, 31, 0, 0, 0),
                Act::User => syscall!(Sysno::setresuid, usize::MAX, 65533, usize::MAX),
                Act::Group => syscall!(Sysno::setresgid, usize::MAX, 65533, usize::MAX),
                Act::Groups => syscall!(Sysno::setgroups, 1, [65533u32].as_ptr()),
                Act::NoNewPrivs => syscall!(Sysno::prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                Act::Dumpable => {
                    let dumpable = syscall!(Sysno::prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
                    let other = usize::from(dumpable != Ok(1));
                    syscall!(Sysno::prctl, libc::PR_SET_DUMPABLE, other, 0, 0, 0)
                }
                Act::DeathSignal => {
                    syscall!(Sysno::prctl, libc::PR_SET_PDEATHSIG, libc::SIGURG, 0, 0, 0)
                }
                Act::Subreaper => syscall!(Sysno::prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
                Act::SignalMask => {
                    *call.mask ^= 1 << (libc::SIGURG - 1);
                    Ok(0)
                }
                Act::IgnoredSignal => {
                    let ignore = [libc::SIG_IGN, 0, 0, 0];
                    syscall!(Sysno::rt_sigaction, libc::SIGURG, ignore.as_ptr(), NONE, 8)
                }
                Act::ProcessGroup => syscall!(Sysno::setpgid, 0, 0),
                Act::Child => {
                    let child = syscall!(Sysno::clone, libc::SIGCHLD, 0, 0, 0, 0);
                    if child == Ok(0) {
                        let _ = syscall!(Sysno::exit_group, 0);
                    }
                    child
                }
                Act::Keeper(sharing) => {
                    let flags = sharing.0 | libc::SIGCHLD as u64;
                    let child = syscall!(Sysno::clone, flags, 0, 0, 0, 0);
                    if child == Ok(0) {
                        let while_tests_last = [20i64, 0];
                        let _ = syscall!(Sysno::nanosleep, while_tests_last.as_ptr(), NONE);
                        let _ = syscall!(Sysno::exit_group, 0);
                    }
                    child
                }
                Act::DescriptorLost => syscall!(Sysno::close, last_descriptor()),
                Act::DescriptorReplaced => syscall!(Sysno::dup2, 0, last_descriptor()),
                Act::DescriptorMore => syscall!(Sysno::dup, 0),
                Act::CloseOnExecLost => for_descriptors(|fd| {
                    let _ = syscall!(Sysno::fcntl, fd, libc::F_SETFD, 0);
                }),
                Act::CloseOnExecSet => for_descriptors(|fd| {
                    let _ = syscall!(Sysno::fcntl, fd, libc::F_SETFD, libc::FD_CLOEXEC);
                }),
                Act::LocksLost => for_descriptors(|fd| {
                    let mut whole: libc::flock = std::mem::zeroed();
                    whole.l_type = libc::F_UNLCK as i16;
                    let _ = syscall!(Sysno::fcntl, fd, libc::F_SETLK, &raw const whole);
                }),
                Act::Semaphores => raise_semaphores(),
                Act::IpcObjectsLost => remove_ipc_objects(),
                Act::MountsPrivate => mount_flags(libc::MS_REC | libc::MS_PRIVATE),
                Act::MountsShared => mount_flags(libc::MS_REC | libc::MS_SHARED),
                Act::MountMore => {
                    let (what, at) = (c"tmpfs".as_ptr(), c".".as_ptr());
                    syscall!(Sysno::mount, what, at, what, 0, 0)
                }
                Act::UserMap => write(c"/proc/self/uid_map", b"0 0 1\n"),
                Act::UserLimits => write(c"/proc/sys/user/max_uts_namespaces", b"77\n"),
                Act::Loopback => raise_loopback(),
                Act::TimeOffset => write(c"/proc/self/timens_offsets", b"monotonic 7777 0\n"),
                Act::Nice => syscall!(Sysno::setpriority, libc::PRIO_PROCESS, 0, 11),
                Act::Limit => {
                    let limit = [250u64, 250];
                    syscall!(Sysno::prlimit64, 0, libc::RLIMIT_NOFILE, limit.as_ptr(), NONE)
                }
                Act::Personality => syscall!(Sysno::personality, 0),
                Act::Timer => {
                    let off = [0i64; 4];
                    syscall!(Sysno::setitimer, libc::ITIMER_VIRTUAL, off.as_ptr(), NONE)
                }
                Act::Name => syscall!(Sysno::prctl, libc::PR_SET_NAME, c"liar".as_ptr(), 0, 0, 0),
                Act::Slack => syscall!(Sysno::prctl, libc::PR_SET_TIMERSLACK, 777, 0, 0, 0),
                Act::RobustList => syscall!(Sysno::set_robust_list, NONE, 24),
                Act::IoPriority => syscall!(Sysno::ioprio_set, 1, 0, 2 << 13 | 1),
                Act::Scheduling => {
                    syscall!(Sysno::sched_setscheduler, 0, libc::SCHED_BATCH, [0i32].as_ptr())
                }
                Act::Keyring => syscall!(Sysno::keyctl, 1, 0),
                Act::PendingLost => {
                    let (set, none) = (1u64 << (libc::SIGUSR2 - 1), [0i64; 2]);
                    syscall!(Sysno::rt_sigtimedwait, &raw const set, NONE, none.as_ptr(), 8)
                }
            }
        };
    }
}

type Result = std::result::Result<usize, syscalls::Errno>;

/// As far as descriptors are looked at.
const DESCRIPTORS: usize = 300;

fn for_descriptors(mut each: impl FnMut(usize)) -> Result {
    for fd in 3..DESCRIPTORS {
        each(fd);
    }
    Ok(0)
}

fn last_descriptor() -> usize {
    (3..DESCRIPTORS)
        .rev()
        // SAFETY: takes numbers.
        .find(|fd| unsafe { syscall!(Sysno::fcntl, *fd, libc::F_GETFD) }.is_ok())
        .unwrap_or(usize::MAX)
}

/// Gives up CAP_CHOWN.
fn drop_capability() -> Result {
    let header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    // SAFETY: header and sets have the sizes of this version.
    unsafe {
        syscall!(Sysno::capget, header.as_ptr(), sets.as_mut_ptr())?;
        sets[0] &= !1;
        syscall!(Sysno::capset, header.as_ptr(), sets.as_ptr())
    }
}

/// shmctl(2)'s command, which libc has no name for.
const SHM_STAT: usize = 13;

/// Semaphore sets, segments and queues, by their places in the kernel's tables.
const IPC_PLACES: usize = 16;

fn raise_semaphores() -> Result {
    for place in 0..IPC_PLACES {
        // SAFETY: the structures live through the calls; zeroes are valid.
        unsafe {
            let mut info: libc::semid_ds = std::mem::zeroed();
            if let Ok(id) = syscall!(Sysno::semctl, place, 0, libc::SEM_STAT, &raw mut info) {
                let up = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: libc::IPC_NOWAIT as i16 };
                let _ = syscall!(Sysno::semop, id, &raw const up, 1);
            }
        }
    }
    Ok(0)
}

fn remove_ipc_objects() -> Result {
    for place in 0..IPC_PLACES {
        // SAFETY: as above.
        unsafe {
            let mut segment: libc::shmid_ds = std::mem::zeroed();
            if let Ok(id) = syscall!(Sysno::shmctl, place, SHM_STAT, &raw mut segment) {
                let _ = syscall!(Sysno::shmctl, id, libc::IPC_RMID, 0);
            }
            let mut queue: libc::msqid_ds = std::mem::zeroed();
            if let Ok(id) = syscall!(Sysno::msgctl, place, libc::MSG_STAT, &raw mut queue) {
                let _ = syscall!(Sysno::msgctl, id, libc::IPC_RMID, 0);
            }
        }
    }
    Ok(0)
}

fn mount_flags(flags: u64) -> Result {
    // SAFETY: takes a constant string and numbers.
    unsafe { syscall!(Sysno::mount, 0, c"/".as_ptr(), 0, flags, 0) }
}

fn write(path: &CStr, text: &[u8]) -> Result {
    // SAFETY: the strings live through the calls; the descriptor is closed again.
    unsafe {
        let file = syscall!(Sysno::open, path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC)?;
        let written = syscall!(Sysno::write, file, text.as_ptr(), text.len());
        let _ = syscall!(Sysno::close, file);
        written
    }
}

fn raise_loopback() -> Result {
    // SAFETY: zeroes are a valid request, which lives through the call.
    unsafe {
        let socket = syscall!(Sysno::socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as _;
        request.ifr_name[1] = b'o' as _;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        let raised = syscall!(Sysno::ioctl, socket, libc::SIOCSIFFLAGS, &raw const request);
        let _ = syscall!(Sysno::close, socket);
        raised
    }
}
