//! What a task's state is, and how it is read: all that unshare(2) may or may not change
//! (section 5.1 of the behaviour catalogue).
//!
//! Reading allocates nothing and writes no errno, so that tasks which share their memory with
//! others can do it, too. It goes through a descriptor of /proc opened before the call under test:
//! the call may take every path away.

use crate::spec::prelude::*;

use super::fds;
use super::proc_file::{FdList, OwnDirectory, leader_has_ended};
use super::state::{State, place_of};

/// Reads the state of the task that uses it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Observer {
    proc: i32,
    /// Whether links name namespaces here. Where they do not, states have none.
    links: bool,
}

/// Whether the process at hand, or one that it was forked from, has opened an observer.
static OPENED: AtomicBool = AtomicBool::new(false);

impl Observer {
    /// Opens /proc for later. The descriptor stays open in the process and its children.
    #[track_caller]
    pub fn open(t: &Test) -> Done<Self> {
        use nix::fcntl::{OFlag, open};
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open("/proc", flags, nix::sys::stat::Mode::empty());
        let low = t.setup(Call::new("open(/proc, O_PATH)", opened))?;
        t.setup(Call::new("dup3(/proc)", fds::dup_to(low.as_raw_fd(), fds::OBSERVER, libc::O_CLOEXEC)))?;
        OPENED.store(true, Ordering::Release);
        Ok(Self::opened(t))
    }

    /// The observer of the process at hand, opened at the first use: a task that is started later has it, too.
    #[track_caller]
    pub fn of(t: &Test) -> Done<Self> {
        match OPENED.load(Ordering::Acquire) {
            true => Ok(Self::opened(t)),
            false => Self::open(t),
        }
    }

    fn opened(t: &Test) -> Self {
        Self { proc: fds::OBSERVER, links: t.facts().has(feature::NS_LINKS) }
    }

    /// Whether the calling task has the descriptor of /proc: one that was started before it was opened has not.
    pub fn sees_proc(&self) -> bool {
        OwnDirectory::open(self.proc).is_open()
    }

    /// The state of the calling task.
    pub fn state(&self) -> State {
        let (mut state, table) = self.look();
        state.descriptors = FdList::read(self.proc, table);
        state
    }

    /// The state of the calling task but for the list of its descriptors: for tasks that share
    /// their table with others which open and close files meanwhile.
    pub fn state_without_descriptors(&self) -> State {
        self.look().0
    }

    /// The state but for the descriptors, and how many their table has room for.
    fn look(&self) -> (State, u32) {
        let mut state = State::default();
        let own = OwnDirectory::open(self.proc);
        for ns in Ns::ALL.into_iter().filter(|_| self.links) {
            state.namespaces[ns as usize] = own.namespace_inode(ns);
        }
        state.cwd = place_of(c".");
        state.root = place_of(c"/");
        let table = state.read_status(&own);
        state.read_by_syscalls();
        (state, table)
    }

    /// The inode of one of the caller's namespace links; 0 when the link is missing or leads
    /// nowhere, as `pid_for_children` does before 7.1 until the first child (EFF-PID-03).
    pub fn namespace_inode(&self, ns: Ns) -> u64 {
        OwnDirectory::open(self.proc).namespace_inode(ns)
    }

    /// Whether the leader of the caller's thread group has ended.
    pub fn leader_has_ended(&self) -> bool {
        leader_has_ended(self.proc)
    }

    /// The inode of one of the caller's namespace links, as a call that can be judged.
    pub fn namespace(&self, ns: Ns) -> Call<u64> {
        Call::seen(format!("inode of /proc/thread-self/ns/{}", ns.link()), self.namespace_inode(ns))
    }
}

/// The inode of a namespace link of any task, by path: `stat` follows the link.
pub fn namespace_of(pid: impl fmt::Display, ns: Ns) -> Call<u64> {
    let path = format!("/proc/{pid}/ns/{}", ns.link());
    Call::io(format!("stat({path})"), fs::metadata(&path).map(|m| m.ino()))
}
