//! What a faulty kernel changes besides what it was asked for, by the names that `table.toml` uses.
//!
//! All of this runs in a handler of SIGSYS: raw system calls only, with what [`call!`] allows as arguments.

use super::trapped::Trapped;
use crate::place::lock::raw_lock;
use crate::spec::prelude::*;

/// A change. One that the kernel does not let the caller make is left out.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Act(Change);

type Change = fn(&mut Trapped) -> Result;
type Result = std::result::Result<usize, syscalls::Errno>;

impl Act {
    /// Makes the change.
    pub(super) fn perform(self, call: &mut Trapped) {
        let _ = (self.0)(call);
    }
}

impl TryFrom<String> for Act {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        let act = ACTS.iter().find(|(known, _)| *known == name);
        act.map(|(_, act)| Act(*act)).ok_or_else(|| format!("suite/src/fault/act.rs has no {name:?}"))
    }
}

const NONE: usize = 0;
const KEPT: usize = usize::MAX;

const ACTS: &[(&str, Change)] = &[
    ("umask", |_| call!(umask, 0o123)),
    ("cwd", |_| call!(chdir, c"/".as_ptr())),
    ("root", |_| call!(chroot, c".".as_ptr())),
    ("host-name", |_| call!(sethostname, c"liar".as_ptr(), 4)),
    ("domain-name", |_| call!(setdomainname, c"liar".as_ptr(), 4)),
    ("securebits", |_| call!(prctl, libc::PR_SET_SECUREBITS, 1 << 4, 0, 0, 0)),
    ("capabilities", |_| drop_capability()),
    ("bounding-set", |_| call!(prctl, libc::PR_CAPBSET_DROP, 31, 0, 0, 0)),
    ("user", |_| call!(setresuid, KEPT, 65533, KEPT)),
    ("group", |_| call!(setresgid, KEPT, 65533, KEPT)),
    ("groups", |_| call!(setgroups, 1, [65533u32].as_ptr())),
    ("no-new-privs", |_| call!(prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
    ("dumpable", |_| {
        let dumpable = call!(prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
        call!(prctl, libc::PR_SET_DUMPABLE, usize::from(dumpable != Ok(1)), 0, 0, 0)
    }),
    ("death-signal", |_| call!(prctl, libc::PR_SET_PDEATHSIG, libc::SIGURG, 0, 0, 0)),
    ("subreaper", |_| call!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)),
    ("signal-mask", |call| {
        *call.mask ^= 1 << (libc::SIGURG - 1);
        Ok(0)
    }),
    ("ignored-signal", |_| call!(rt_sigaction, libc::SIGURG, [libc::SIG_IGN, 0, 0, 0].as_ptr(), NONE, 8)),
    ("process-group", |_| call!(setpgid, 0, 0)),
    ("child", |_| child(Flags::NONE, 0)),
    // A child that stays in the caller's namespaces while the case runs; one that also shares its resources.
    ("keeper", |_| child(Flags::NONE, 60)),
    ("sharing-keeper", |_| child(Flags::FS | Flags::FILES | Flags::SYSVSEM, 20)),
    ("descriptor-lost", |_| call!(close, last_descriptor())),
    ("descriptor-replaced", |_| call!(dup3, 0, last_descriptor(), 0)),
    ("descriptor-more", |_| call!(dup, 0)),
    ("close-on-exec-lost", |_| for_descriptors(|fd| call!(fcntl, fd, libc::F_SETFD, 0))),
    ("close-on-exec-set", |_| for_descriptors(|fd| call!(fcntl, fd, libc::F_SETFD, libc::FD_CLOEXEC))),
    ("locks-lost", |_| for_descriptors(|fd| raw_lock(fd as i32, libc::F_SETLK, libc::F_UNLCK).map(|_| 0))),
    ("semaphores", |_| raise_semaphores()),
    ("mounts-private", |_| call!(mount, NONE, c"/".as_ptr(), NONE, libc::MS_REC | libc::MS_PRIVATE, NONE)),
    ("mounts-shared", |_| call!(mount, NONE, c"/".as_ptr(), NONE, libc::MS_REC | libc::MS_SHARED, NONE)),
    ("mount-more", |_| call!(mount, c"tmpfs".as_ptr(), c".".as_ptr(), c"tmpfs".as_ptr(), 0, NONE)),
    ("mount-left-out", leave_mount_out),
    ("time-entered", |_| {
        let namespace = open(c"/proc/thread-self/ns/time_for_children", libc::O_RDONLY)?;
        let entered = call!(setns, namespace, Flags::NEWTIME.0);
        let _ = call!(close, namespace);
        entered
    }),
    ("user-map", |_| write(c"/proc/self/uid_map", b"0 0 1\n")),
    ("user-limits", |_| write(c"/proc/sys/user/max_uts_namespaces", b"77\n")),
    ("loopback", |_| raise_loopback()),
    ("time-offset", |_| write(c"/proc/self/timens_offsets", b"monotonic 7777 0\n")),
    ("nice", |_| call!(setpriority, libc::PRIO_PROCESS, 0, 11)),
    ("limit", |_| call!(prlimit64, 0, libc::RLIMIT_NOFILE, [250u64, 250].as_ptr(), NONE)),
    ("personality", |_| call!(personality, 0)),
    ("timer", |_| call!(setitimer, libc::ITIMER_VIRTUAL, [0i64; 4].as_ptr(), NONE)),
    ("name", |_| call!(prctl, libc::PR_SET_NAME, c"liar".as_ptr(), 0, 0, 0)),
    ("slack", |_| call!(prctl, libc::PR_SET_TIMERSLACK, 777, 0, 0, 0)),
    ("robust-list", |_| call!(set_robust_list, NONE, 24)),
    // Level 1 of the best-effort class.
    ("io-priority", |_| call!(ioprio_set, 1, 0, 2 << 13 | 1)),
    ("scheduling", |_| call!(sched_setscheduler, 0, libc::SCHED_BATCH, [0i32].as_ptr())),
    // A session keyring without a name.
    ("keyring", |_| call!(keyctl, 1, 0)),
    ("pending-lost", |_| {
        let (set, at_once) = (1u64 << (libc::SIGUSR2 - 1), [0i64; 2]);
        call!(rt_sigtimedwait, &raw const set, NONE, at_once.as_ptr(), 8)
    }),
];

/// Makes a child that shares this with the caller and exits after this many seconds.
fn child(sharing: Flags, seconds: i64) -> Result {
    // SAFETY: what is shared is neither memory nor thread-local storage; the child makes two raw calls, and ends.
    let child = unsafe { abi::fork(sharing.0 | libc::SIGCHLD as u64) };
    if child == Ok(0) {
        // Not for 0 seconds: timer slack would keep the child for a while.
        if seconds > 0 {
            let _ = sleep(seconds * SECOND);
        }
        let _ = call!(exit_group, 0);
    }
    child
}

/// Descriptors above this are not looked at.
const DESCRIPTORS: usize = 300;

fn for_descriptors(each: impl Fn(usize) -> Result) -> Result {
    for fd in 3..DESCRIPTORS {
        let _ = each(fd);
    }
    Ok(0)
}

fn last_descriptor() -> usize {
    (3..DESCRIPTORS).rev().find(|fd| call!(fcntl, *fd, libc::F_GETFD).is_ok()).unwrap_or(usize::MAX)
}

/// Gives up CAP_CHOWN.
fn drop_capability() -> Result {
    let (header, mut sets) = super::trapped::capabilities()?;
    sets[0] &= !1;
    call!(capset, header.as_ptr(), sets.as_ptr())
}

/// Raises every semaphore in the first 16 places of the kernel's table.
fn raise_semaphores() -> Result {
    for place in 0..16 {
        // SAFETY: zeroes are valid.
        let mut info: libc::semid_ds = unsafe { std::mem::zeroed() };
        if let Ok(id) = call!(semctl, place, 0, libc::SEM_STAT, &raw mut info) {
            let up = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: libc::IPC_NOWAIT as i16 };
            let _ = abi::semop(id, &mut [up]);
        }
    }
    Ok(0)
}

fn open(path: &CStr, flags: i32) -> Result {
    call!(openat, libc::AT_FDCWD, path.as_ptr(), flags)
}

fn write(path: &CStr, text: &[u8]) -> Result {
    let file = open(path, libc::O_WRONLY | libc::O_CLOEXEC)?;
    let written = call!(write, file, text.as_ptr(), text.len());
    let _ = call!(close, file);
    written
}

/// Makes a copy of the mounts that lacks the newest of those that the case made.
fn leave_mount_out(call: &mut Trapped) -> Result {
    // As the kernel lists them, the newest comes last, until they are copied.
    const MARK: &[u8] = b" tmpfs case ";
    let mut newest = Line::default();
    let mut line = Line::default();
    let file = open(c"/proc/thread-self/mountinfo", libc::O_RDONLY | libc::O_CLOEXEC)?;
    let mut part = [0u8; 512];
    while let Ok(length @ 1..) = call!(read, file, part.as_mut_ptr(), part.len()) {
        for byte in &part[..length] {
            match byte {
                b'\n' => {
                    if line.text().windows(MARK.len()).any(|window| window == MARK) {
                        newest = line;
                    }
                    line.length = 0;
                }
                byte => line.push(*byte),
            }
        }
    }
    let _ = call!(close, file);
    // The mount point is the fifth word.
    let start = newest.text().iter().enumerate().filter(|(_, byte)| **byte == b' ').nth(3).map(|(at, _)| at + 1);
    let start = start.ok_or(syscalls::Errno::ENOENT)?;
    let length = newest.text()[start..].iter().position(|byte| *byte == b' ').ok_or(syscalls::Errno::ENOENT)?;
    newest.bytes[start + length] = 0;
    if call.issue(Flags::NEWNS.0) != 0 {
        return Err(syscalls::Errno::EPERM);
    }
    call!(umount2, newest.bytes[start..].as_ptr(), libc::MNT_DETACH)
}

/// A line of a file, as far as there is room for it.
#[derive(Clone, Copy)]
struct Line {
    bytes: [u8; 1024],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 1024], length: 0 }
    }
}

impl Line {
    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}

fn raise_loopback() -> Result {
    let socket = call!(socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
    // SAFETY: zeroes are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as _;
    request.ifr_name[1] = b'o' as _;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    let raised = call!(ioctl, socket, libc::SIOCSIFFLAGS, &raw const request);
    let _ = call!(close, socket);
    raised
}
