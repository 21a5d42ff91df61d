//! What a task's state is, and how it is read: all that unshare(2) may or may not change
//! (section 5.1 of the behaviour catalogue).
//!
//! Reading allocates nothing and writes no errno, so that tasks which share their memory with
//! others can do it, too. It goes through a descriptor of /proc opened before the call under test:
//! the call may take every path away.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use syscalls::{Sysno, syscall};

use super::proc_file::{FdList, Status, read_link_inode};
use super::state::{self, Place, State};
use harness::prelude::*;

use crate::spec::namespaces::Ns;

/// What two tasks can share, by its number for kcmp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Shared {
    /// The address space.
    Vm = 1,
    /// The table of file descriptors.
    Files = 2,
    /// Root, current directory and umask.
    Fs = 3,
    /// Signal handlers.
    Sighand = 4,
    /// The I/O context.
    Io = 5,
    /// The System V semaphore undo list.
    Sysvsem = 6,
}

impl Shared {
    /// All six.
    pub const ALL: [Shared; 6] = [Shared::Vm, Shared::Files, Shared::Fs, Shared::Sighand, Shared::Io, Shared::Sysvsem];

    /// The flag of clone(2) that shares it.
    pub fn clone_flag(self) -> &'static str {
        match self {
            Shared::Vm => "CLONE_VM",
            Shared::Files => "CLONE_FILES",
            Shared::Fs => "CLONE_FS",
            Shared::Sighand => "CLONE_SIGHAND",
            Shared::Io => "CLONE_IO",
            Shared::Sysvsem => "CLONE_SYSVSEM",
        }
    }
}

/// Whether two tasks share this resource, by kcmp(2). Both must be alive, and the caller must be
/// allowed to trace both.
///
/// # Errors
/// As kcmp(2).
pub fn shares(what: Shared, a: i32, b: i32) -> Result<bool, Errno> {
    // SAFETY: kcmp(2) on two process IDs takes no pointers.
    unsafe { syscall!(Sysno::kcmp, a, b, what as u8, 0, 0) }
        .map(|order| order == 0)
        .map_err(|errno| Errno::from_raw(errno.into_raw()))
}

/// Whether two tasks share this resource, as a call that can be judged.
pub fn sharing(what: Shared, a: i32, b: i32) -> Call<bool> {
    Call::new(format!("shared({}, {a}, {b}) by kcmp", what.clone_flag()), shares(what, a, b))
}

/// Reads the state of the task that uses it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Observer {
    proc: i32,
}

/// Whether the process at hand, or one that it was forked from, has opened [`OBSERVER_FD`].
static OPENED: AtomicBool = AtomicBool::new(false);

/// Where an observer keeps its descriptor: high enough to be out of the way of a case's own, low
/// enough for the smallest table.
const OBSERVER_FD: i32 = 63;

impl Observer {
    /// Opens /proc for later. The descriptor stays open in the process and its children.
    ///
    /// # Errors
    /// /proc cannot be opened: the case is broken.
    #[track_caller]
    pub fn open(t: &Test) -> Done<Self> {
        use nix::fcntl::{OFlag, open};
        use nix::sys::stat::Mode;
        use std::os::fd::IntoRawFd;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open("/proc", flags, Mode::empty()).map(IntoRawFd::into_raw_fd);
        let low = t.setup(Call::new("open(/proc, O_PATH)", opened))?;
        // SAFETY: dup3 of a descriptor just opened onto one that nothing of ours uses.
        let proc = unsafe { libc::dup3(low, OBSERVER_FD, libc::O_CLOEXEC) };
        // SAFETY: closes the descriptor opened above.
        unsafe { libc::close(low) };
        let proc = t.setup(Call::new("dup3(/proc)", Errno::result(proc)))?;
        OPENED.store(true, Ordering::Release);
        Ok(Self { proc })
    }

    /// The observer of the process at hand, opened at the first use: a task that is started later has it, too.
    ///
    /// # Errors
    /// /proc cannot be opened: the case is broken.
    #[track_caller]
    pub fn of(t: &Test) -> Done<Self> {
        match OPENED.load(Ordering::Acquire) {
            true => Ok(Self { proc: OBSERVER_FD }),
            false => Self::open(t),
        }
    }

    /// The state of the calling task.
    pub fn state(&self) -> State {
        let mut state = self.state_without_descriptors();
        state.descriptors = FdList::read(self.proc, &[self.proc]);
        state
    }

    /// The state of the calling task but for the list of its descriptors: for tasks that share
    /// their table with others which open and close files meanwhile.
    pub fn state_without_descriptors(&self) -> State {
        let mut state = State::default();
        for ns in Ns::ALL {
            state.namespaces[ns as usize] = self.namespace_inode(ns);
        }
        state.cwd = Place::of(c".");
        state.root = Place::of(c"/");
        if let Some(status) = Status::read(self.proc) {
            state.umask = status.umask;
            state.uids = status.uids;
            state.gids = status.gids;
            state.groups = status.groups;
            state.capabilities = status.capabilities;
            state.no_new_privs = status.no_new_privs;
            state.signals = status.signals;
        }
        state.read_by_syscalls();
        state
    }

    /// The inode of one of the caller's namespace links; 0 when the link is missing or leads
    /// nowhere, as `pid_for_children` does before 7.1 until the first child (EFF-PID-03).
    pub fn namespace_inode(&self, ns: Ns) -> u64 {
        read_link_inode(self.proc, ns)
    }

    /// The caller's process ID, thread ID and process group, as [`State::ids`] has them.
    pub fn ids() -> [i32; 3] {
        state::ids()
    }

    /// Whether the leader of the caller's thread group has ended.
    pub fn leader_has_ended(&self) -> bool {
        super::proc_file::leader_has_ended(self.proc)
    }

    /// The inode of one of the caller's namespace links, as a call that can be judged.
    pub fn namespace(&self, ns: Ns) -> Call<u64> {
        Call::seen(format!("inode of /proc/thread-self/ns/{}", ns.link()), self.namespace_inode(ns))
    }
}

/// What a path leads to, and through which mount. Allocates nothing and writes no errno.
pub fn place_of(path: &std::ffi::CStr) -> Place {
    Place::of(path)
}

/// The inode of a namespace link of any task, by path: `stat` follows the link.
pub fn namespace_of(pid: impl std::fmt::Display, ns: Ns) -> Call<u64> {
    use std::os::unix::fs::MetadataExt;
    let path = format!("/proc/{pid}/ns/{}", ns.link());
    Call::io(format!("stat({path})"), std::fs::metadata(&path).map(|m| m.ino()))
}
