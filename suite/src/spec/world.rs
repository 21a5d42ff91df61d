//! A model of several tasks and of all that they share: what each system call of a history must do to every one of
//! them. Pure data and functions, no I/O.
//!
//! What unshare(2) itself must do stands in [`model`](crate::spec::model) alone: [`World::start`] reduces the world to
//! the start state of one caller, [`predict`] says what must come of the call, and [`World::step`] writes that down.
//! The other calls are modelled as far as they move what unshare(2) depends on.
//!
//! Objects have numbers that are never used again. That two tasks have the same number means that they share the
//! object; which inode or pointer the kernel has for it is for who compares to find out.

mod c;
mod calls;
mod caps;
mod draw;
mod maps;
mod mounts;
mod objects;
mod race;
mod setns;
mod settings;
mod step;
#[cfg(test)]
mod tests;
mod visited;
mod what;

use crate::spec::prelude::*;

pub use c::Reproducer;
pub use calls::{Dir, Op};
pub use caps::{Caps, FULL};
pub use draw::{Draw, Mix, Offers};
pub use maps::{Extent, MAPS};
pub use mounts::{Mount, Options, Propagation, Tree};
pub use objects::Object;
pub use settings::{CLOCKS, Guard, NEXT_ID, OFFSETS, SETTINGS, Setting, VALUES};
pub use step::{Outcome, VFORK};
pub use visited::Visited;
pub use what::{Mounted, Value, What, Where};

/// How many tasks a world has room for.
pub const TASKS: usize = 6;
/// The numbers of the descriptors that tasks of a world open and close.
pub const FDS: [u16; 8] = [20, 21, 22, 23, 24, 25, 70, 300];
/// The first of them, for which a small table is enough.
pub const NEAR_FDS: usize = 6;
/// What the semaphore starts with: more than a history can take.
pub const SEMAPHORE: i32 = 1000;

/// The number of an object.
pub type Id = u32;

/// The descriptors of a table: a bit each, by their places among [`FDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Those that are open.
    pub open: u32,
    /// Those of them that execve(2) closes.
    pub closing: u32,
}

impl Descriptors {
    /// Their numbers.
    pub fn told(self) -> String {
        let shown = |fd: &u16| match self.closing & bit(*fd) {
            0 => fd.to_string(),
            _ => format!("{fd} (closing on exec)"),
        };
        let open: Vec<String> = FDS.iter().filter(|fd| self.open & bit(**fd) != 0).map(shown).collect();
        if open.is_empty() { "none".to_owned() } else { open.join(", ") }
    }
}

/// The bit of a descriptor.
pub(crate) fn bit(fd: u16) -> u32 {
    FDS.iter().position(|known| *known == fd).map_or(0, |place| 1 << place)
}

/// Root, current directory and umask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fs {
    /// The root directory.
    pub root: Dir,
    /// The current directory.
    pub cwd: Dir,
    /// The umask.
    pub umask: u32,
}

/// A task that has not been reaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its process.
    pub process: Id,
    /// Whether it is the first thread of its process.
    pub leader: bool,
    /// It has ended: a zombie.
    pub ended: bool,
    /// Its root, current directory and umask.
    pub fs: Id,
    /// Its table of descriptors.
    pub files: Id,
    /// Its semaphore undo list; `None` before the first adjustment.
    pub undo: Option<Id>,
    /// Its memory.
    pub vm: Id,
    /// Its signal handlers.
    pub handlers: Id,
    /// Its namespaces, by link.
    pub links: [Id; 10],
    /// Its user and group, in the world's first user namespace.
    pub user: u32,
    /// Its capabilities.
    pub caps: Caps,
    /// The no_new_privs attribute.
    pub no_new_privs: bool,
    /// SECBIT_NOROOT: execve(2) gives nothing to root.
    pub no_root: bool,
    /// The task that it waits for in clone(CLONE_VFORK), until that has ended or executes a program.
    pub waits_for: Option<usize>,
}

impl Task {
    /// The namespace behind one of its links.
    pub fn space(&self, ns: Ns) -> Id {
        self.links[ns as usize]
    }
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process that made it, which reaps it. The first one's is not of the world.
    pub parent: Option<Id>,
    /// Whether it is process 1 of its PID namespace.
    pub init: bool,
}

/// A namespace of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The flag of its kind.
    pub kind: Flags,
    /// The user namespace that owns it, or [`OUTSIDE`]. Of a user namespace: its parent, itself for the first.
    pub owner: Id,
    /// The user that made it, to whose account it is put in its owner.
    pub maker: u32,
    /// The PID namespace it was made in; itself for the first, and for other kinds.
    pub parent: Id,
    /// What it holds.
    pub content: Content,
}

/// What a namespace holds, as far as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A network or cgroup namespace.
    Plain,
    /// An IPC namespace. The semaphore is in the first one.
    Ipc {
        /// Who made each object that is there, by [`Object`].
        objects: [Option<u32>; Object::ALL.len()],
        /// Its [settings](SETTINGS).
        settings: [i32; SETTINGS.len()],
    },
    /// The host name; `None` for what the machine has.
    Uts(Option<u8>),
    /// The world's mounts; `None` in an empty mount namespace.
    Mnt(Option<Tree>),
    /// Whether it has had a process 1, and whether that has ended.
    Pid {
        /// There has been one.
        begun: bool,
        /// It has ended: nothing can be made here any more.
        over: bool,
    },
    /// The offsets of its clocks, and whether they can be changed no more.
    Time {
        /// The offsets of [both clocks](CLOCKS) in seconds.
        offsets: [i64; CLOCKS],
        /// A task has entered.
        frozen: bool,
    },
    /// A user namespace.
    User {
        /// The map of users, which is that of groups, too; of the first, none: it has all.
        map: Vec<Extent>,
        /// Its maker had CAP_SETFCAP.
        setfcap: bool,
        /// Whether setgroups(2) is denied for ever; `None` for what the machine has.
        denied: Option<bool>,
        /// How many namespaces of each of [`KINDS`] it allows each user.
        limits: [u32; KINDS.len()],
    },
}

/// All tasks and what they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// What the kernel offers.
    pub kernel: Kernel,
    /// The tasks, by their place.
    pub tasks: [Option<Task>; TASKS],
    /// Processes that are not reaped.
    pub processes: BTreeMap<Id, Process>,
    /// Root, cwd and umask objects.
    pub fs: BTreeMap<Id, Fs>,
    /// Tables of descriptors.
    pub files: BTreeMap<Id, Descriptors>,
    /// Undo lists: what each gives back.
    pub undo: BTreeMap<Id, i32>,
    /// Namespaces; also those that nobody is in.
    pub spaces: BTreeMap<Id, Space>,
    /// The semaphore's value.
    pub semaphore: i32,
    /// The table of descriptors through which the record lock was taken.
    pub lock: Option<Id>,
    /// Whether the first user namespace denies setgroups(2).
    pub denies_setgroups: bool,
    /// Whether the settings of an IPC namespace belong to root of the user namespace that owns it, or to the machine's;
    /// `None` where that was not found out.
    pub rooted_settings: Option<bool>,
    /// Who may write [`NEXT_ID`]; `None` in kernels without it.
    pub next_id: Option<Guard>,
    /// Calls that failed, and may have made namespaces before: in which user namespace, by whom, of which kinds.
    failed: Vec<(Id, u32, Flags)>,
    next: Id,
}

/// The first user namespace, which comes first of all.
const FIRST_USER: Id = 0;
/// The limits of a new user namespace.
const NO_LIMITS: [u32; KINDS.len()] = [u32::MAX; KINDS.len()];
/// A new IPC namespace.
const NEW_IPC: Content = {
    let mut settings = [0; SETTINGS.len()];
    let mut which = 0;
    while which < settings.len() {
        settings[which] = SETTINGS[which].default;
        which += 1;
    }
    Content::Ipc { objects: [None; Object::ALL.len()], settings }
};
/// A user namespace above the first, over which no task has any capability.
pub const OUTSIDE: Id = Id::MAX;

impl World {
    /// One task, alone, as root of the first user namespace, with these capabilities. Its namespaces of the kinds in
    /// `foreign` are owned by a user namespace above that.
    pub fn new(kernel: Kernel, caps: Caps, foreign: Flags) -> World {
        let mut world = World {
            kernel,
            tasks: [const { None }; TASKS],
            processes: BTreeMap::new(),
            fs: BTreeMap::new(),
            files: BTreeMap::new(),
            undo: BTreeMap::new(),
            spaces: BTreeMap::new(),
            semaphore: SEMAPHORE,
            lock: None,
            denies_setgroups: false,
            rooted_settings: Some(true),
            next_id: Some(Guard::Capability(Errno::EACCES)),
            failed: Vec::new(),
            next: 0,
        };
        let mut links = [0; 10];
        for kind in KINDS {
            let content = match kind.flag {
                Flags::NEWUSER => Content::User { map: Vec::new(), setfcap: true, denied: None, limits: NO_LIMITS },
                Flags::NEWUTS => Content::Uts(None),
                Flags::NEWIPC => NEW_IPC,
                Flags::NEWNS => Content::Mnt(Some(Tree::default())),
                Flags::NEWPID => Content::Pid { begun: true, over: false },
                Flags::NEWTIME => Content::Time { offsets: [0; CLOCKS], frozen: true },
                _ => Content::Plain,
            };
            let id = world.id();
            let owner = if foreign.contains(kind.flag) { OUTSIDE } else { FIRST_USER };
            world.spaces.insert(id, Space { kind: kind.flag, owner, maker: 0, parent: id, content });
            links[kind.link as usize] = id;
        }
        links[Ns::Pid as usize] = links[Ns::PidForChildren as usize];
        links[Ns::Time as usize] = links[Ns::TimeForChildren as usize];
        let (process, fs, files, vm, handlers) = (world.id(), world.id(), world.id(), world.id(), world.id());
        world.processes.insert(process, Process { parent: None, init: false });
        world.fs.insert(fs, Fs { root: Dir::Top, cwd: Dir::Top, umask: 0o22 });
        world.files.insert(files, Descriptors::default());
        world.tasks[0] = Some(Task {
            process,
            leader: true,
            ended: false,
            fs,
            files,
            undo: None,
            vm,
            handlers,
            links,
            user: 0,
            caps,
            no_new_privs: false,
            no_root: false,
            waits_for: None,
        });
        world
    }

    /// Gives the first time namespace these offsets of its clocks.
    pub fn set_first_offsets(&mut self, offsets: [i64; CLOCKS]) {
        self.set(self.first(Flags::NEWTIME), Content::Time { offsets, frozen: true });
    }

    /// The offsets of a time namespace.
    fn offsets(&self, space: Id) -> [i64; CLOCKS] {
        match self.spaces.get(&space).map(|space| &space.content) {
            Some(Content::Time { offsets, .. }) => *offsets,
            _ => [0; CLOCKS],
        }
    }

    /// The namespace of a kind that the world begins with.
    fn first(&self, kind: Flags) -> Id {
        // They got their numbers in the order of KINDS.
        KINDS.iter().position(|known| known.flag == kind).unwrap_or_default() as Id
    }

    fn id(&mut self) -> Id {
        self.next += 1;
        self.next - 1
    }

    /// The task that waits for the one at a place in clone(CLONE_VFORK).
    pub fn waits_for(&self, at: usize) -> Option<usize> {
        self.alive().find(|(_, task)| task.waits_for == Some(at)).map(|(waiting, _)| waiting)
    }

    /// The task at a place, if it is alive.
    pub fn task(&self, at: usize) -> Option<&Task> {
        self.tasks.get(at)?.as_ref().filter(|task| !task.ended)
    }

    /// All that are alive, with their places.
    pub fn alive(&self) -> impl Iterator<Item = (usize, &Task)> {
        (0..TASKS).filter_map(|at| Some((at, self.task(at)?)))
    }

    /// How many live tasks this holds for.
    fn count(&self, holds: impl Fn(&Task) -> bool) -> usize {
        self.alive().filter(|(_, task)| holds(task)).count()
    }

    /// A task's root, cwd and umask.
    pub fn fs_of(&self, task: &Task) -> Fs {
        self.fs[&task.fs]
    }

    /// The first IPC namespace, where the semaphore is.
    pub fn has_semaphore(&self, task: &Task) -> bool {
        task.space(Ns::Ipc) == self.first(Flags::NEWIPC)
    }

    /// A user namespace and all above it in the world.
    fn above(&self, user: Id) -> impl Iterator<Item = (Id, &Space)> {
        let space = |id: Id| self.spaces.get(&id).map(|space| (id, space));
        let next = move |(id, here): &(Id, &Space)| if *id == FIRST_USER { None } else { space(here.owner) };
        std::iter::successors(space(user), next)
    }

    /// The accounts to which a namespace is put that a user makes in a user namespace: the user's own there, and that of
    /// the maker of each user namespace in the one above it (namespaces(7), kernel/ucount.c).
    fn accounts(&self, user: Id, maker: u32) -> impl Iterator<Item = (Id, u32)> {
        let makers = self.above(user).map(|(_, space)| space.maker);
        self.above(user).map(|(id, _)| id).zip(std::iter::once(maker).chain(makers))
    }

    /// The kinds of namespace that a user can make none of in a user namespace, and those of which it depends on whether
    /// the kernel has let go of some that nobody is in, which it does when it gets to it.
    fn exhausted(&self, user: Id, maker: u32) -> (Flags, Flags) {
        let (mut none, mut open) = (Flags::NONE, Flags::NONE);
        for (place, who) in self.accounts(user, maker) {
            let Content::User { limits, .. } = self.spaces[&place].content else { continue };
            for (kind, limit) in KINDS.into_iter().zip(limits).filter(|(_, limit)| *limit != u32::MAX) {
                let is_here = |(owner, maker)| self.accounts(owner, maker).any(|account| account == (place, who));
                let made = self.spaces.iter().filter(|(id, space)| {
                    space.kind == kind.flag && !self.is_from_start(**id) && is_here((space.owner, space.maker))
                });
                let (alive, gone): (Vec<_>, Vec<_>) = made.partition(|(id, _)| self.lives(**id));
                let failed = self
                    .failed
                    .iter()
                    .filter(|(owner, maker, kinds)| kinds.contains(kind.flag) && is_here((*owner, *maker)));
                if alive.len() >= limit as usize {
                    none |= kind.flag;
                } else if alive.len() + gone.len() + failed.count() >= limit as usize {
                    open |= kind.flag;
                }
            }
        }
        (none, open - none)
    }

    /// Whether the world begins with a namespace.
    pub fn is_from_start(&self, space: Id) -> bool {
        (space as usize) < KINDS.len()
    }

    /// Whether a user namespace, or one above it, limits anything.
    fn is_limited(&self, user: Id) -> bool {
        self.above(user).any(|(_, space)| matches!(space.content, Content::User { limits, .. } if limits != NO_LIMITS))
    }

    /// Whether a task has a capability in a user namespace (`ns_capable`, security/commoncap.c).
    pub fn capable(&self, task: &Task, capability: u32, over: Id) -> bool {
        let own = task.space(Ns::User);
        for (id, space) in self.above(over) {
            if id == own {
                return task.caps.effective & (1 << capability) != 0;
            }
            // Who made a user namespace, and is in its parent, may do everything in it.
            if space.owner == own && id != FIRST_USER && space.maker == task.user {
                return true;
            }
        }
        false
    }

    /// The start state of a call by this task.
    pub fn start(&self, task: &Task) -> Start {
        let threads = self.count(|other| other.process == task.process);
        let own = task.space(Ns::User);
        Start {
            threads: match (threads, task.leader) {
                (1, true) => Threads::Alone,
                (1, false) => Threads::LeaderGone,
                _ => Threads::Others,
            },
            handlers_shared: self.shares_handlers(task),
            memory_shared: self.count(|other| other.vm == task.vm && other.process != task.process) > 0,
            sys_admin: self.capable(task, feature::CAP_SYS_ADMIN, own),
            initial_admin: self.capable(task, feature::CAP_SYS_ADMIN, FIRST_USER),
            chrooted: self.fs_of(task).root != Dir::Top,
            cwd_detached: false,
            ids_mapped: self.is_mapped(task.user, own),
            children_elsewhere: task.space(Ns::Pid) != task.space(Ns::PidForChildren),
            beyond_nr_open: false,
            exhausted: self.exhausted(own, task.user).0,
            too_deep: Flags::NONE,
            pid_ns_foreign: self.pid_space_is_foreign(task),
            module_refuses: None,
        }
    }

    /// Whether signal handlers are shared with another process, alive or not reaped.
    fn shares_handlers(&self, task: &Task) -> bool {
        let all = self.tasks.iter().flatten();
        all.filter(|other| other.handlers == task.handlers && other.process != task.process).count() > 0
    }

    /// Whether the PID namespace of a task's children is owned by a user namespace that is neither its own nor above it.
    fn pid_space_is_foreign(&self, task: &Task) -> bool {
        let owner = self.spaces[&task.space(Ns::PidForChildren)].owner;
        owner != OUTSIDE && self.above(task.space(Ns::User)).all(|(id, _)| id != owner)
    }

    /// A PID namespace and all above it.
    fn pid_above(&self, space: Id) -> impl Iterator<Item = Id> {
        let next = |id: &Id| Some(self.spaces[id].parent).filter(|parent| parent != id);
        std::iter::successors(Some(space), next)
    }

    /// Whether a namespace is in use: a task is in it, or it is above one in which a task is, or owns one.
    pub fn lives(&self, space: Id) -> bool {
        self.alive().any(|(_, task)| {
            task.links.iter().any(|link| {
                let owner = self.spaces[link].owner;
                *link == space
                    || self.above(owner).any(|(id, _)| id == space)
                    || self.pid_above(*link).any(|id| id == space)
            })
        })
    }

    /// Whether it is the user namespace that the world begins with.
    pub fn is_first_user(&self, space: Id) -> bool {
        space == FIRST_USER
    }

    /// Whether it is the time namespace that the world begins with.
    pub fn is_first_time(&self, space: Id) -> bool {
        space == self.first(Flags::NEWTIME)
    }

    /// The host name that a task sees; `None` for what the machine has.
    pub fn host_name(&self, task: &Task) -> Option<u8> {
        match self.spaces[&task.space(Ns::Uts)].content {
            Content::Uts(name) => name,
            _ => None,
        }
    }
}
