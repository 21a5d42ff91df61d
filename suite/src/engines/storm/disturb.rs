//! What tasks of a storm do beside those that unshare: what races with them for the same locks and
//! counts (section 7 of the behaviour catalogue), again and again until the calls have returned.
//!
//! Nothing of it can be seen when it is over, in whatever order it came: so the unsharers are judged as
//! exactly as without it. Raw system calls alone, with what [`call!`] allows: these
//! tasks share memory, and with it errno.

use std::io::Write;
use syscalls::Errno;

use super::*;

/// What a task that disturbs ends with.
pub const DISTURBED: i32 = 43;

/// The descriptors that a task may use: far from the traces of others.
fn own_descriptor(number: usize) -> i32 {
    fds::STORM_OWN + fds::STORM_OWN_EACH * number as i32
}

/// A signal that nobody notices who does not catch it, as an executed program does not.
pub const SIGNAL: i32 = libc::SIGURG;

/// A path below `/proc/TID`, ended by a zero and made without allocating.
fn of_task(tid: u32, rest: &str) -> [u8; 64] {
    let mut path = [0; 64];
    // It fits: a number has ten digits, and the rest is one of those below.
    let _ = write!(&mut path[..63], "/proc/{tid}{rest}");
    path
}

/// What is not an error: a task that is gone, or going.
const GONE: [Errno; 3] = [Errno::ENOENT, Errno::ESRCH, Errno::EACCES];

fn unless(allowed: &[Errno], result: Result<usize, Errno>) -> Result<Option<usize>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(errno) if allowed.contains(&errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Calls it again where a signal came between, as with SA_RESTART it would be.
fn patiently(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

impl Orders {
    /// Disturbs until the calls of the round have returned. Gives the exit status; what a call failed
    /// with that must not fail is left in the slot.
    pub(super) fn disturb(&self, role: Role) -> i32 {
        let slot = self.slot();
        let mut turn = 0;
        loop {
            if let Err(errno) = self.disturb_once(role, turn) {
                slot.result.store(-i64::from(errno.into_raw()), Ordering::Release);
                break;
            }
            turn += 1;
            if self.segment.settle.get() != 0 {
                break;
            }
        }
        slot.threads.store(turn as u32, Ordering::Release);
        DISTURBED
    }

    fn disturb_once(&self, role: Role, turn: usize) -> Result<(), Errno> {
        match role {
            Role::Places => self.set_places(),
            Role::Sharer => share_and_exit(),
            Role::Descriptors => self.change_descriptors(),
            Role::Mounts => self.change_mounts(),
            Role::Semaphores => use_semaphores(),
            Role::Follower => self.follow(turn),
            Role::Tracer => self.trace(turn),
            Role::Signals => self.signal(turn),
            Role::Reader => self.read(turn),
        }
    }

    fn set_places(&self) -> Result<(), Errno> {
        // To what they are already.
        call!(chdir, c".".as_ptr())?;
        call!(chroot, c"/".as_ptr())?;
        call!(umask, self.umask)?;
        Ok(())
    }

    fn change_descriptors(&self) -> Result<(), Errno> {
        let own = own_descriptor(self.number);
        call!(dup3, 0, own, 0)?;
        call!(dup3, own, own + 1, 0)?;
        call!(dup3, own + 1, own + 2, 0)?;
        call!(close, own)?;
        call!(close_range, own, own + 3, 0)?;
        Ok(())
    }

    fn change_mounts(&self) -> Result<(), Errno> {
        let (kind, directory, none) = (c"tmpfs".as_ptr(), self.disturbed.as_ptr(), std::ptr::null::<u8>());
        patiently(|| call!(mount, kind, directory, kind, 0, none))?;
        patiently(|| call!(umount2, directory, libc::MNT_DETACH))?;
        Ok(())
    }

    /// The next task that unshares. Not one that traces: of two that trace each other, neither would go on.
    fn unsharer(&self, turn: usize) -> Option<u32> {
        self.target(turn, |action| matches!(action, Action::Unshare(_)))
    }

    fn follow(&self, turn: usize) -> Result<(), Errno> {
        // Not those that share root and cwd, or handlers, with others: into these nobody may go.
        const LINKS: [&str; 4] = ["/ns/uts", "/ns/ipc", "/ns/net", "/ns/cgroup"];
        let Some(tid) = self.unsharer(turn) else {
            return Ok(());
        };
        if let Some(fd) = open_of_task(&GONE, tid, LINKS[turn % LINKS.len()])? {
            let entered = patiently(|| call!(setns, fd, 0));
            call!(close, fd)?;
            entered?;
        }
        Ok(())
    }

    fn trace(&self, turn: usize) -> Result<(), Errno> {
        let Some(tid) = self.unsharer(turn) else {
            return Ok(());
        };
        let mut status = 0i32;
        // Somebody else traces it, or it is gone.
        if unless(&[Errno::EPERM, Errno::ESRCH], call!(ptrace, libc::PTRACE_SEIZE, tid, 0, 0))?.is_none() {
            return Ok(());
        }
        unless(&GONE, call!(ptrace, libc::PTRACE_INTERRUPT, tid, 0, 0))?;
        patiently(|| call!(wait4, tid, &raw mut status, libc::__WALL, 0))?;
        if libc::WIFSTOPPED(status) {
            // Stopped for a signal, which is its own.
            let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
            unless(&GONE, call!(ptrace, libc::PTRACE_DETACH, tid, 0, signal))?;
        }
        Ok(())
    }

    fn signal(&self, turn: usize) -> Result<(), Errno> {
        let pause = 1_000_000 / self.actions.len().max(1) as i64;
        if let Some(tid) = self.target(turn, |_| true) {
            unless(&GONE, call!(tkill, tid, SIGNAL))?;
        }
        unless(&[Errno::EINTR], sleep(pause))?;
        Ok(())
    }

    fn read(&self, turn: usize) -> Result<(), Errno> {
        const LINKS: [&str; 4] = ["/ns/mnt", "/ns/uts", "/cwd", "/root"];
        const FILES: [&str; 4] = ["/status", "/mountinfo", "/cgroup", "/fdinfo"];
        let Some(tid) = self.target(turn, |_| true) else {
            return Ok(());
        };
        let mut read = [0u8; 1024];
        for link in LINKS {
            let path = of_task(tid, link);
            unless(&GONE, call!(readlinkat, libc::AT_FDCWD, path.as_ptr(), read.as_mut_ptr(), read.len()))?;
        }
        for file in FILES {
            // It has no mount namespace or no root any more.
            let allowed = [GONE[0], GONE[1], GONE[2], Errno::EINVAL];
            let Some(fd) = open_of_task(&allowed, tid, file)? else {
                continue;
            };
            let result = patiently(|| match file {
                "/fdinfo" => call!(getdents64, fd, read.as_mut_ptr(), read.len()),
                _ => call!(read, fd, read.as_mut_ptr(), read.len()),
            });
            call!(close, fd)?;
            unless(&GONE, result)?;
        }
        Ok(())
    }
}

/// A descriptor of a file below `/proc/TID`, unless that cannot be opened for one of these errors.
fn open_of_task(allowed: &[Errno], tid: u32, rest: &str) -> Result<Option<usize>, Errno> {
    let path = of_task(tid, rest);
    unless(allowed, call!(openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC))
}

/// Makes a task that shares root and cwd, which exits at once.
fn share_and_exit() -> Result<(), Errno> {
    let mut status = 0i32;
    // SAFETY: the child has a copy of the memory, and ends.
    let forked = unsafe { abi::fork((libc::CLONE_FS | libc::SIGCHLD) as u64) };
    match unless(&[Errno::EAGAIN], forked)? {
        Some(0) => call!(exit_group, 0).map(drop),
        Some(child) => patiently(|| call!(wait4, child, &raw mut status, libc::__WALL, 0)).map(drop),
        None => Ok(()),
    }
}

/// Takes from a set of its own, to be undone, and removes the set.
fn use_semaphores() -> Result<(), Errno> {
    // Not built in, or as many as may be are there.
    let Some(set) = unless(&[Errno::ENOSYS, Errno::ENOSPC], call!(semget, libc::IPC_PRIVATE, 1, 0o600))? else {
        return Ok(());
    };
    let operation =
        |number| libc::sembuf { sem_num: 0, sem_op: number, sem_flg: (libc::SEM_UNDO | libc::IPC_NOWAIT) as i16 };
    let mut operations = [operation(2), operation(-1)];
    let done = abi::semop(set, &mut operations);
    call!(semctl, set, 0, libc::IPC_RMID, 0)?;
    done.map(drop)
}
