//! The start states: how each is prepared, and what the model has to know of it.
//!
//! The process of the case is brought into the state once; its children, which make the calls, begin
//! in it. What cannot be inherited (threads, zombies, shared memory) is made for each call by
//! [`caller`](super::caller), as [`Making`] says.

use super::*;

/// How a calling process is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Making {
    /// A copy of the maker that shares what its fixture says.
    #[default]
    Fork,
    /// It shares the maker's memory, and its signal handlers if this says so.
    Memory {
        /// Nothing, or CLONE_SIGHAND.
        with: Flags,
    },
    /// As vfork(2) does it.
    Vfork,
    /// A copy in which a second thread does nothing.
    SecondThread,
    /// A copy whose first thread has ended; the second one calls.
    LeaderGone,
    /// A copy with a child that shared its memory, has ended and is not reaped.
    Zombie {
        /// What else the child shared: nothing, or CLONE_SIGHAND.
        with: Flags,
    },
}

/// A prepared state.
#[derive(Debug, Default)]
pub struct Fixture {
    /// Who calls, for diagnostics: "a task that …".
    pub by: String,
    /// The state as the model has it.
    pub start: Start,
    /// How callers are made.
    pub making: Making,
    /// Whom they share with.
    pub sharing: Sharing,
    /// A semaphore that undo lists remember adjustments of.
    pub semaphore: Option<Semaphore>,
    /// What looks at callers, where it can no longer be opened.
    pub observer: Option<Observer>,
    children_ns: Option<File>,
    _held: Option<Peer>,
    _init: Option<Task>,
}

impl Fixture {
    /// A copy of the process at hand, with the privilege that the place gives.
    pub fn lone(t: &Test) -> Self {
        Self::of(t, "a lone task with CAP_SYS_ADMIN", |_| ())
    }

    /// A copy of the process at hand, which `change` makes the model's idea of it.
    fn of(t: &Test, by: &str, change: impl FnOnce(&mut Start)) -> Self {
        let mut start = Start::of(t.facts());
        change(&mut start);
        Self { by: by.to_owned(), start, ..Self::default() }
    }

    /// Whether the state shows what flags imply, so that each has to be tried by itself, too.
    pub fn needs_each_alone(&self) -> bool {
        let shares = self.sharing.made_with != Flags::NONE || self.sharing.undo != Undo::None;
        shares || self.start == Start::default()
    }

    /// The descriptor of the PID namespace that children are to be in, or −1.
    pub fn children_ns(&self) -> i32 {
        self.children_ns.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// A task that shares one thing of FS and FILES with its maker.
    pub fn sharer(t: &Test, made_with: Flags, by: &str) -> Self {
        Self { sharing: sharing(t, made_with), ..Self::of(t, by, |_| ()) }
    }

    /// A task that shares its undo list, with pending adjustments, with its maker.
    pub fn undo_sharer(t: &Test) -> Done<Self> {
        let sharer = Self::sharer(t, Flags::SYSVSEM, "a task that shares its semaphore undo list with another");
        sharer.with_undo(t, Undo::Shared)
    }

    /// A task that has pending adjustments in an undo list of its own.
    pub fn undo_pending(t: &Test) -> Done<Self> {
        Self::of(t, "a task with pending semaphore adjustments", |_| ()).with_undo(t, Undo::Own)
    }

    fn with_undo(self, t: &Test, undo: Undo) -> Done<Self> {
        let semaphore = Some(Semaphore::new(t, SEMAPHORE)?);
        Ok(Self { sharing: Sharing { undo, ..self.sharing }, semaphore, ..self })
    }

    /// A task that shares its memory with its maker, and its signal handlers if `with` says so.
    pub fn memory_sharer(t: &Test, with: Flags) -> Self {
        let by = format!("a task that shares {} with a living process", memory_and(with));
        let shares = (true, with.contains(Flags::SIGHAND));
        Self {
            making: Making::Memory { with },
            sharing: sharing(t, with | Flags::VM),
            ..Self::of(t, &by, |start| (start.memory_shared, start.handlers_shared) = shares)
        }
    }

    /// A vfork child.
    pub fn vfork_child(t: &Test) -> Self {
        Self {
            making: Making::Vfork,
            sharing: Sharing { made_with: Flags::VM, ..Sharing::default() },
            ..Self::of(t, "a vfork child", |start| start.memory_shared = true)
        }
    }

    /// A task whose child shared its memory, and more, and is a zombie.
    pub fn beside_zombie(t: &Test, with: Flags) -> Self {
        let by = format!("a task that shared {} with a zombie", memory_and(with));
        let making = Making::Zombie { with };
        Self { making, ..Self::of(t, &by, |start| start.handlers_shared = with.contains(Flags::SIGHAND)) }
    }

    /// The leader of a process with a second thread.
    pub fn second_thread(t: &Test) -> Self {
        let by = "a thread that is not alone in its process";
        Self {
            making: Making::SecondThread,
            sharing: Sharing { traceable: Flags::NONE, ..sharing(t, THREADS_SHARE) },
            ..Self::of(t, by, |start| start.threads = Threads::Others)
        }
    }

    /// The last thread of a process whose leader has ended.
    pub fn dead_leader(t: &Test) -> Self {
        let by = "the last thread of a process whose leader has ended";
        Self { making: Making::LeaderGone, ..Self::of(t, by, |start| start.threads = Threads::LeaderGone) }
    }

    /// A task without any capability.
    pub fn unprivileged(t: &Test) -> Done<Self> {
        become_unprivileged(t)?;
        Ok(Self::of(t, "a task without any capability", |start| *start = Start::unprivileged()))
    }

    /// A task with CAP_SYS_ADMIN and no other capability.
    pub fn only_sys_admin(t: &Test) -> Done<Self> {
        t.setup(set_capabilities(CAP_SYS_ADMIN, CAP_SYS_ADMIN))?;
        Ok(Self::of(t, "a task with CAP_SYS_ADMIN and no other capability", |_| ()))
    }

    /// A task with all capabilities but CAP_SYS_ADMIN.
    pub fn all_but_sys_admin(t: &Test) -> Done<Self> {
        let rest = t.facts().capabilities & !CAP_SYS_ADMIN;
        t.setup(set_capabilities(rest, rest))?;
        let by = "a task with all capabilities but CAP_SYS_ADMIN";
        Ok(Self::of(t, by, |start| *start = Start::unprivileged()))
    }

    /// Root of a user namespace of its own, with its IDs mapped.
    pub fn user_namespace(t: &Test) -> Done<Self> {
        limits::enter_own_user_namespace(t)?;
        Ok(Self::of(t, "root of a user namespace", |start| start.initial_admin = false))
    }

    /// The same without CAP_SYS_ADMIN.
    pub fn without_sys_admin(mut self, t: &Test) -> Done<Self> {
        // In a new user namespace the sets are full.
        t.setup(set_capabilities(!CAP_SYS_ADMIN, !CAP_SYS_ADMIN))?;
        self.by += ", without CAP_SYS_ADMIN";
        self.start.sys_admin = false;
        Ok(self)
    }

    /// A task in a user namespace without mapped IDs.
    pub fn unmapped(t: &Test) -> Done<Self> {
        t.setup(unshare(Flags::NEWUSER))?;
        let by = "a task in a user namespace that maps no IDs";
        Ok(Self::of(t, by, |start| (start.initial_admin, start.ids_mapped) = (false, false)))
    }

    /// A task in a chroot.
    pub fn chrooted(t: &Test) -> Done<Self> {
        let observer = Observer::open(t)?;
        let directory = t.directory()?;
        t.setup(Call::new("chdir()", chdir(directory)))?;
        t.setup(Call::new("chroot(.)", chroot(".")))?;
        Ok(Self { observer: Some(observer), ..Self::of(t, "a task in a chroot", |start| start.chrooted = true) })
    }

    /// A task whose children go to another PID namespace than its own.
    pub fn children_elsewhere(t: &Test) -> Done<Self> {
        let init = t.spawn_sharing("init of a PID namespace", Flags::NEWPID.0, |_| {
            loop {
                nix::unistd::pause();
            }
        })?;
        let link = t.setup(Call::new("open(/proc/PID/ns/pid)", open_link(init.pid(), Ns::Pid)))?;
        let by = "a task whose children go to another PID namespace";
        Ok(Self {
            children_ns: Some(link),
            _init: Some(init),
            ..Self::of(t, by, |start| start.children_elsewhere = true)
        })
    }

    /// A task that shares a table of descriptors with one beyond fs.nr_open.
    pub fn beyond_nr_open(t: &Test) -> Done<Self> {
        let high = dup_to(libc::STDIN_FILENO, fds::HIGH, libc::O_CLOEXEC);
        t.setup(Call::new("dup3(0, 200)", high))?;
        let path = global::NR_OPEN.path();
        t.setup(Call::io(format!("write(64) to {path}"), fs::write(path, "64")))?;
        let by = "a task that shares descriptors, one of them beyond fs.nr_open";
        let mut fixture = Self::sharer(t, Flags::FILES, by);
        fixture.start.beyond_nr_open = true;
        Ok(fixture)
    }

    /// Root of a user namespace that may have no namespace of a kind, or has as many as it may.
    pub fn limited(t: &Test, kind: Flags, limit: u32) -> Done<Self> {
        let mut fixture = Self::user_namespace(t)?;
        // The mount namespace that came with the user namespace counts already.
        if limit == 1 && kind != Flags::NEWNS {
            let peer = Peer::start(t, "holder", Flags::NONE)?;
            peer.setup(t, "unshare()", kind.0, |kind| unshare(Flags(kind)).answer())?;
            fixture._held = Some(peer);
        }
        limits::set(t, kind, limit)?;
        fixture.by = match limit {
            0 => format!("a task that may have no namespace of the kind {kind}"),
            _ => format!("a task that has as many namespaces of the kind {kind} as it may"),
        };
        fixture.start.exhausted = kind;
        Ok(fixture)
    }
}

/// The memory and what else is shared with it, in words.
fn memory_and(with: Flags) -> &'static str {
    if with.contains(Flags::SIGHAND) { "memory and signal handlers" } else { "its memory" }
}

/// What a task that was made to share this shares, and how that is looked at.
fn sharing(t: &Test, made_with: Flags) -> Sharing {
    Sharing { made_with, asked: askable(t, made_with), traceable: Flags::FS | Flags::FILES, undo: Undo::None }
}
