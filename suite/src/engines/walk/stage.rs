//! A world that lives: real tasks, to which the steps of a history are given one by one, and which are looked at after
//! each.

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

use super::actor::{
    FIRST, Known, LOCKED, Order, SCENE, SOCKET, Scene, Script, Sight, Slot, can_be_made, now, open_program,
    queue_signals, remove_object, serve,
};
use super::*;
use crate::observe::kcmp::{Shared, shares};
use crate::observe::mounts::{self, MountLine, mounts_of};
use crate::observe::nsfd::{inode_of, maker_of, open_link, open_process, owner_of, parent_of};
use crate::place::lock::raw_lock;
use crate::place::privilege::{all_capabilities, set_capabilities};
use crate::place::refused::in_child;
use crate::spec::model::memory::without_memory;
use crate::spec::world::{
    CLOCKS, Caps, FDS, Guard, NEAR_FDS, NEXT_ID, Object, Offers, Op, SETTINGS, Setting, TASKS, VFORK, World,
};
use crate::tasks::shm::map_kept;
use harness::place::filter::has_filter;
use harness::place::rlimit::getrlimit;
use nix::mount::MsFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::Resource;

/// How long a task may take for a step on real hardware.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is the same for all histories of a case.
pub(super) struct Theatre {
    pub(super) script: &'static Script,
    pub(super) semaphore: Option<Semaphore>,
    /// Where the world's directories are: [`place_of`] each, and the mount they are on.
    pub(super) places: [Place; 3],
    pub(super) base: String,
    /// What each history begins with.
    pub(super) start: World,
    /// All capabilities that there are.
    pub(super) every: u64,
    /// What the place lets tasks do.
    pub(super) offers: Offers,
    /// A new user namespace needs a record of what its user has in it (ERR-40).
    users_record: bool,
    sender: OwnedFd,
}

impl Theatre {
    /// Makes it, in a mount namespace of the calling task's own. In a starving one allocations of calls fail.
    #[track_caller]
    pub(super) fn new(t: &Test, starving: bool) -> Done<Theatre> {
        let base = mounts::new_directory(t, "world")?;
        let none: Option<&str> = None;
        let mounted = nix::mount::mount(Some("world"), base.as_str(), Some("tmpfs"), MsFlags::empty(), none);
        t.setup(Call::new("mount(tmpfs)", mounted))?;
        let private = nix::mount::mount(none, base.as_str(), none, MsFlags::MS_PRIVATE, none);
        t.setup(Call::new("mount(MS_PRIVATE)", private))?;
        let paths = ["/".to_owned(), format!("{base}/a"), format!("{base}/b")];
        for path in &paths[1..] {
            t.setup(Call::io("mkdir(directory of the world)", fs::create_dir(path)))?;
        }
        let point = format!("{base}/m");
        t.setup(Call::io("mkdir(directory of the world)", fs::create_dir(&point)))?;
        let places = paths.each_ref().map(|path| place_of(&CString::new(path.as_str()).unwrap_or_default()));
        let [top, a, b] = paths;
        let mut known = [[0; 256]; 5];
        for (known, path) in known.iter_mut().zip([top, a, b, base.clone(), point]) {
            match known.get_mut(..path.len()).filter(|_| path.len() < 256) {
                Some(known) => known.copy_from_slice(path.as_bytes()),
                None => return Err(t.broken("path of the world's directory", format!("{path} is too long"))),
            }
        }
        t.setup(Call::new("chdir(/)", chdir("/")))?;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o22));
        let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
        let (sender, receiver) = t.setup(Call::new("socketpair()", pair))?;
        t.setup(Call::new("dup3(socket)", dup_to(receiver.as_raw_fd(), SOCKET, libc::O_CLOEXEC)))?;
        drop(receiver);
        let semaphore = Semaphore::where_there(t, crate::spec::world::SEMAPHORE)?;
        // SAFETY: zeroes are a valid scene, whose orders are read only once they are written.
        let scene: &'static Scene = unsafe { map_kept(t, c"walk", SCENE)? };
        let observer = Observer::of(t)?;
        let objects = object_kinds(t.facts());
        let semaphore_id = semaphore.as_ref().map_or(-1, Semaphore::id);
        // SAFETY: there are no tasks yet.
        unsafe { *scene.shared.get() = Known { paths: known, semaphore: semaphore_id, observer, objects } };
        open_program(t)?;
        let file = t.setup(Call::new("memfd_create()", memfd_create(c"walk", MFdFlags::empty())))?;
        t.setup(Call::new("dup3(file to lock)", dup_to(file.as_raw_fd(), LOCKED, 0)))?;
        // They are for programs that tasks execute, too.
        for fd in [observe::fds::OBSERVER, SOCKET] {
            let kept = call!(fcntl, fd, libc::F_SETFD, 0).map_err(observe::fds::errno);
            t.setup(Call::new("fcntl(F_SETFD, 0)", kept))?;
        }
        t.setup(Call::new("prctl(PR_SET_CHILD_SUBREAPER)", nix::sys::prctl::set_child_subreaper(true)))?;
        let state = observer.state();
        let [_, _, _, bounding, _] = state.capabilities;
        let effective = t.facts().capabilities;
        // A filter that traps calls has its handler in this program's memory, which execve(2) takes away. What that gives
        // to root is the model's only where nothing else restricts it.
        let is_root = state.uids == [0; 4] && state.no_new_privs == 0 && state.securebits == 0;
        // The stage opens the namespaces of who has gained capabilities by execve(2) only by CAP_SYS_PTRACE.
        let sees_all = effective & (1 << feature::CAP_SYS_PTRACE) != 0;
        let initial_root = t.facts().has(feature::INITIAL_ROOT);
        let mut start = World::new(Kernel::of(t.facts()), Caps { effective, bounding }, foreign());
        start.denies_setgroups = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
        let settings = initial_root && takes_settings(t.facts());
        if settings {
            start.rooted_settings = are_rooted();
            start.next_id = guard_of_next_id();
        }
        if let Some(offsets) = offsets_of("self") {
            start.set_first_offsets(offsets);
        }
        Ok(Theatre {
            script: Box::leak(Box::new(Script::of(scene))),
            semaphore,
            places,
            base,
            start,
            every: all_capabilities(t)?,
            offers: Offers {
                programs: is_root && sees_all && !has_filter(),
                pidfds: initial_root && takes_pidfds(),
                all_ids: initial_root,
                securebits: state.securebits == 0,
                far_descriptors: takes_far_descriptors(),
                settings,
                signals: has_room_for_signals() && queue_signals().is_ok(),
                objects,
                starving,
            },
            users_record: starving && observe::kernel::user_namespaces_count(t)?,
            sender,
        })
    }
}

/// Whether a table takes all of [`FDS`].
fn takes_far_descriptors() -> bool {
    let far = FDS[NEAR_FDS..].iter().map(|fd| i32::from(*fd));
    let mut taken = far.map(|fd| dup_to(0, fd, 0).inspect(|_| observe::fds::close(fd)));
    taken.all(|taken| taken.is_ok())
}

/// The file of a setting.
fn path_of(setting: &Setting) -> PathBuf {
    Path::new("/proc").join(setting.file.to_string_lossy().as_ref())
}

/// Whether the settings of IPC namespaces are there and can be written, as those of user namespaces can.
fn takes_settings(facts: &Facts) -> bool {
    facts.has(feature::NAMESPACE_LIMITS) && SETTINGS[..NEXT_ID].iter().all(|setting| path_of(setting).exists())
}

/// Opens a setting for writing, and writes nothing.
fn open_for_writing(setting: &Setting) -> Result<(), Errno> {
    File::options().write(true).open(path_of(setting)).map(drop).map_err(errno_of)
}

/// Becomes an ordinary user, whose files below /proc are its own.
fn become_nobody() -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(feature::NOBODY), Gid::from_raw(feature::NOBODY));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    nix::sys::prctl::set_dumpable(true)
}

/// Whether the settings of an IPC namespace belong to root of the user namespace that owns it (so in Linux 6.12), or to
/// the machine's (6.1): an ordinary user makes both by clone(2), and is root there. `None` where it may not.
fn are_rooted() -> Option<bool> {
    let opened = in_child(Flags::NONE, || {
        become_nobody()?;
        in_child(Flags::NEWUSER | Flags::NEWIPC, || {
            fs::write("/proc/self/uid_map", format!("0 {} 1", feature::NOBODY)).map_err(errno_of)?;
            match open_for_writing(&SETTINGS[0]) {
                // Not to be taken for that of another step.
                Err(Errno::EACCES) => Err(Errno::ENOTSUP),
                opened => opened,
            }
        })
        .unwrap_or(Err(Errno::ECHILD))
    });
    match opened? {
        Ok(()) => Some(true),
        Err(Errno::ENOTSUP) => Some(false),
        Err(_) => None,
    }
}

/// Who may write [`NEXT_ID`]: nobody without the capability can open it (so in Linux 6.1), or all can, and what they write
/// is refused, or it is root's (5.10).
fn guard_of_next_id() -> Option<Guard> {
    let setting = &SETTINGS[NEXT_ID];
    let opens = |before: fn() -> Result<(), Errno>| {
        in_child(Flags::NONE, || {
            before()?;
            open_for_writing(setting)
        })
    };
    let (root, nobody) = (opens(|| set_capabilities(0, 0).answer()), opens(become_nobody));
    match (root?, nobody?) {
        (Err(Errno::EACCES), Err(Errno::EACCES)) => Some(Guard::Capability(Errno::EACCES)),
        (Ok(()), Ok(())) => Some(Guard::Capability(Errno::EPERM)),
        (Ok(()), Err(Errno::EACCES)) => Some(Guard::Root),
        // It is not there, or it takes more.
        _ => None,
    }
}

/// Whether far more signals can be queued than all of a user's tasks queue at a time.
fn has_room_for_signals() -> bool {
    const ROOM: u64 = 1000;
    getrlimit(Resource::RLIMIT_SIGPENDING).is_ok_and(|(soft, _)| soft >= ROOM)
}

/// Which kinds of objects IPC namespaces can have. None is made to find out: other walks may look at the same namespace.
fn object_kinds(facts: &Facts) -> [bool; Object::ALL.len()] {
    // What the small queues of all namespaces together may take of RLIMIT_MSGQUEUE.
    const ROOM: u64 = 1 << 16;
    let has_namespaces = Kernel::of(facts).effective.contains(Flags::NEWIPC);
    let has_room = getrlimit(Resource::RLIMIT_MSGQUEUE).is_ok_and(|(soft, _)| soft >= ROOM);
    Object::ALL.map(|object| {
        let is_there = if object == Object::Queue { has_room } else { facts.has(feature::SYSV_IPC) };
        has_namespaces && is_there && can_be_made(object)
    })
}

/// Whether setns(2) takes the descriptor of a process (Linux 5.8): it joins the host name that it sees already.
pub(crate) fn takes_pidfds() -> bool {
    open_process(Pid::this()).is_ok_and(|own| call!(setns, own.as_raw_fd(), Flags::NEWUTS.0).is_ok())
}

/// The kinds of namespace of the calling task that its own user namespace does not own.
fn foreign() -> Flags {
    let link = |ns| open_link("thread-self", ns);
    let own = link(Ns::User).and_then(|file| inode_of(&file)).ok();
    let is_foreign = |kind: &Kind| match link(kind.link).map(|file| owner_of(&file)) {
        // What lies above is none of the caller's business.
        Ok(Err(Errno::EPERM)) => true,
        Ok(Ok(owner)) => Some(owner) != own,
        _ => false,
    };
    KINDS.into_iter().filter(|kind| kind.flag != Flags::NEWUSER && is_foreign(kind)).map(|kind| kind.flag).collect()
}

/// What a task sees of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) sight: Sight,
    /// By how many seconds its clocks differ from the stage's, each by system call and by the vDSO; nothing where the task
    /// took too long.
    pub(super) clocks: [[Option<i64>; 2]; CLOCKS],
}

/// By how many whole seconds a clock differs from that of the stage, which showed the others before and after; nothing
/// if that is not certain.
fn seconds_beside(clock: i64, [before, after]: [i64; 2]) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    let nearest = |difference: i64| (difference + SECOND / 2).div_euclid(SECOND);
    let (least, most) = (nearest(clock - after), nearest(clock - before));
    (least == most).then_some(least)
}

/// One history on the stage. Its tasks are killed and reaped when it is dropped.
pub(super) struct Stage<'t> {
    t: &'t Test,
    pub(super) theatre: &'t Theatre,
}

/// Why a history cannot go on: a call did not return, or its task is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It did not report in time.
    Hangs,
    /// It ended.
    Ended,
}

impl<'t> Stage<'t> {
    /// Makes the first task, in a mount namespace of its own: the next history finds the mounts as they were.
    #[track_caller]
    pub(super) fn new(t: &'t Test, theatre: &'t Theatre) -> Done<Stage<'t>> {
        if let Some(semaphore) = &theatre.semaphore {
            t.setup(Call::new("semctl(SETVAL)", undo::set(semaphore.id(), crate::spec::world::SEMAPHORE)))?;
        }
        let stage = Stage { t, theatre };
        stage.clear(0);
        stage.slot(0).stack.store(0, Ordering::Release);
        // SAFETY: the case has one thread; the child keeps to raw calls.
        let made = unsafe { fork_sharing(Flags::NEWNS.0) };
        match t.setup(Call::new("fork()", made))?.as_raw() {
            0 => serve(theatre.script, 0, FIRST),
            _ => stage.wait(0, 0).map(|()| stage).map_err(|lost| t.broken("first task of a walk", format!("{lost:?}"))),
        }
    }

    fn slot(&self, at: usize) -> &'static Slot {
        &self.theatre.script.scene.slots[at]
    }

    /// Makes a place as new.
    fn clear(&self, at: usize) {
        let slot = self.slot(at);
        slot.report.reset(0);
        slot.order.reset(1);
    }

    /// Process and thread ID of a task.
    pub(super) fn ids(&self, at: usize) -> [i32; 2] {
        [0, 1].map(|which: usize| self.slot(at).ids[which].load(Ordering::Acquire))
    }

    /// A task's directory below /proc.
    pub(super) fn directory(&self, at: usize) -> String {
        let [pid, tid] = self.ids(at);
        format!("{pid}/task/{tid}")
    }

    /// Waits until a task has reported more than `seen`.
    fn wait(&self, at: usize, seen: u32) -> Result<(), Lost> {
        let slot = self.slot(at);
        let mut limit = self.t.time_limit(PATIENCE);
        while slot.report.wait_for(seen, Duration::from_millis(50)) == seen {
            let [_, tid] = self.ids(at);
            if seen > 0 && self.has_ended(tid) {
                return Err(Lost::Ended);
            }
            if !limit.pause(Duration::from_millis(1)) {
                return Err(Lost::Hangs);
            }
        }
        Ok(())
    }

    /// Whether a thread is a zombie, or gone.
    fn has_ended(&self, tid: i32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, Some(state) if state != 'Z' && state != 'X')
    }

    /// The stack for a new task: its maker's, of which it has a copy, or one that nobody runs on in the memory they
    /// share.
    fn stack_for(&self, world: &World, at: usize, flags: Flags) -> usize {
        let stack = |at: usize| self.slot(at).stack.load(Ordering::Acquire);
        if !flags.contains(Flags::VM) {
            return stack(at);
        }
        let memory = world.task(at).map(|task| task.vm);
        let beside = world.alive().filter(|(_, task)| Some(task.vm) == memory);
        let used: BTreeSet<usize> = beside.map(|(at, _)| stack(at)).collect();
        (1..=TASKS).find(|stack| !used.contains(stack)).unwrap_or(TASKS)
    }

    fn order(&self, at: usize, order: Order) -> u32 {
        let slot = self.slot(at);
        let seen = slot.report.get();
        // SAFETY: the task waits for this very order.
        unsafe { *slot.order_given.get() = order };
        slot.order.set(seen + 1);
        seen
    }

    /// Has a task take a step; gives 0 or −errno.
    ///
    /// # Errors
    /// The case is broken where the stage itself cannot do its part; else what came instead of a result.
    #[track_caller]
    pub(super) fn take(&self, world: &World, at: usize, op: &Op) -> Done<Result<i64, Lost>> {
        self.prepare(world, at, op)?;
        let seen = self.order(at, Order::Take(*op));
        let outcome = self.outcome(at, op, seen);
        // Whoever waited for its end goes on.
        Ok(match world.waits_for(at).filter(|_| matches!(op, Op::Exit | Op::Exec) && outcome == Ok(0)) {
            Some(waiting) => {
                let slot = self.slot(waiting);
                self.wait(waiting, slot.order.get() - 1).map(|()| slot.result.load(Ordering::Acquire))
            }
            None => outcome,
        })
    }

    /// Has two tasks take a step each at the same time; gives 0 or −errno of each.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[track_caller]
    pub(super) fn take_both(&self, world: &World, both: [(usize, &Op); 2]) -> Done<[Result<i64, Lost>; 2]> {
        for (at, op) in both {
            self.prepare(world, at, op)?;
        }
        self.theatre.script.scene.gate.store(0, Ordering::Release);
        let seen = both.map(|(at, op)| self.order(at, Order::Beside(*op)));
        let [(a, first), (b, second)] = both;
        Ok([self.outcome(a, first, seen[0]), self.outcome(b, second, seen[1])])
    }

    /// The error that a step gave because one of its allocations failed, which that may give.
    pub(super) fn starved(&self, at: usize, op: &Op, result: Result<i64, Lost>) -> Option<Errno> {
        let (Op::Starved(flags, _), Ok(register @ ..0)) = (*op, result) else { return None };
        let errno = Errno::from_raw(i32::try_from(-register).unwrap_or_default());
        let allowed = without_memory(flags, self.theatre.users_record);
        let may = allowed.is_none_or(|allowed| allowed.contains(&errno));
        (self.slot(at).starved.load(Ordering::Acquire) && may).then_some(errno)
    }

    /// Does the stage's own part of a step.
    #[track_caller]
    fn prepare(&self, world: &World, at: usize, op: &Op) -> Done {
        match *op {
            Op::Clone(flags, to) => {
                self.clear(to);
                self.slot(to).stack.store(self.stack_for(world, at, flags), Ordering::Release);
            }
            Op::Setns(ns, of) => {
                let link = self.t.setup(Call::new("open(/proc/…/ns/…)", open_link(self.directory(of), ns)))?;
                self.hand_over(link.as_raw_fd())?;
            }
            Op::Enter(_, of) => {
                let [pid, _] = self.ids(of);
                let process = self.t.setup(Call::new("pidfd_open()", open_process(Pid::from_raw(pid))))?;
                self.hand_over(process.as_raw_fd())?;
            }
            Op::MapSelf => {
                let outer = world.task(at).map_or(0, |task| world.outer(task));
                self.theatre.script.scene.outer.store(outer, Ordering::Release);
            }
            // It begins on a stack that the kernel makes.
            Op::Exec => self.slot(at).stack.store(0, Ordering::Release),
            _ => {}
        }
        Ok(())
    }

    /// Hands a descriptor to the task that takes the next step.
    #[track_caller]
    fn hand_over(&self, fd: RawFd) -> Done {
        let rights = [fd];
        let (byte, message) = ([io::IoSlice::new(b"n")], [ControlMessage::ScmRights(&rights)]);
        let sent = sendmsg::<()>(self.theatre.sender.as_raw_fd(), &byte, &message, MsgFlags::empty(), None);
        self.t.setup(Call::new("sendmsg(SCM_RIGHTS)", sent)).map(drop)
    }

    /// What comes of a step that a task was ordered to take when it had reported `seen`.
    fn outcome(&self, at: usize, op: &Op, seen: u32) -> Result<i64, Lost> {
        if let Op::Clone(flags, to) = *op
            && flags.contains(VFORK)
        {
            return self.outcome_of_vfork(at, to, seen);
        }
        let waited = self.wait(at, seen);
        if waited.is_ok()
            && let Op::Clone(_, to) = *op
            && self.slot(at).result.load(Ordering::Acquire) == 0
            && let Err(lost) = self.wait(to, 0)
        {
            return Err(lost);
        }
        if *op == Op::Exit {
            let [_, tid] = self.ids(at);
            let ended = self.t.wait_until(PATIENCE, || self.has_ended(tid));
            return if ended { Ok(0) } else { Err(Lost::Hangs) };
        }
        waited.map(|()| self.slot(at).result.load(Ordering::Acquire))
    }

    /// What comes of a clone(CLONE_VFORK): a child that is there, for which its maker waits, or an error.
    fn outcome_of_vfork(&self, at: usize, to: usize, seen: u32) -> Result<i64, Lost> {
        let slot = self.slot(at);
        let mut limit = self.t.time_limit(PATIENCE);
        loop {
            if self.slot(to).report.wait_for(0, Duration::from_millis(1)) > 0 {
                return Ok(0);
            }
            if slot.report.get() > seen {
                return Ok(slot.result.load(Ordering::Acquire));
            }
            if !limit.pause(Duration::from_micros(50)) {
                return Err(Lost::Hangs);
            }
        }
    }

    /// What each live task of a world sees of itself, with its settings or without; nothing of those that wait for a child.
    ///
    /// # Errors
    /// Which one did not answer, and why.
    pub(super) fn look(&self, world: &World, settings: bool) -> Result<[Option<Seen>; TASKS], (usize, Lost)> {
        let mut states = [None; TASKS];
        let began = now();
        let able = world.alive().filter(|(_, task)| task.waits_for.is_none());
        let asked: Vec<(usize, u32)> = able.map(|(at, _)| (at, self.order(at, Order::Look { settings }))).collect();
        for (at, seen) in asked {
            self.wait(at, seen).map_err(|lost| (at, lost))?;
            let slot = self.slot(at);
            let ended = now();
            // SAFETY: the task has reported, and waits.
            let sight = unsafe { *slot.sight.get() };
            states[at] = Some(Seen {
                // SAFETY: the task has reported, and waits.
                state: unsafe { *slot.state.get() },
                sight,
                clocks: [0, 1].map(|clock: usize| {
                    let [began, ended] = [began[clock][0], ended[clock][0]];
                    sight.clocks[clock].map(|seen| seconds_beside(seen, [began, ended]))
                }),
            });
        }
        Ok(states)
    }

    /// Whether two tasks share something; nothing where that cannot be asked.
    pub(super) fn shares(&self, what: Shared, a: usize, b: usize) -> Option<bool> {
        let [_, a] = self.ids(a);
        let [_, b] = self.ids(b);
        shares(what, a, b).ok()
    }

    /// The semaphore's value.
    pub(super) fn semaphore(&self) -> Option<i32> {
        self.theatre.semaphore.as_ref().and_then(|semaphore| undo::value(semaphore.id()).ok())
    }

    /// Whether somebody has locked the file that tasks lock.
    pub(super) fn is_locked(&self) -> bool {
        raw_lock(LOCKED, libc::F_GETLK, libc::F_WRLCK).is_ok_and(|kind| kind != libc::F_UNLCK)
    }

    /// The world's mount and what is mounted on it, as a task sees them.
    pub(super) fn mounts(&self, at: usize) -> [Option<MountLine>; 2] {
        let lines = mounts_of(self.directory(at)).unwrap_or_default();
        let points = [self.theatre.base.clone(), format!("{}/m", self.theatre.base)];
        points.map(|point| lines.iter().rfind(|line| line.point() == point).cloned())
    }

    /// The inodes of a namespace's owner and, of a PID or user namespace, its parent.
    pub(super) fn relations(&self, at: usize, ns: Ns) -> Option<(u64, Option<u64>)> {
        let file = open_link(self.directory(at), ns).ok()?;
        let parent = matches!(ns, Ns::Pid | Ns::PidForChildren | Ns::User).then(|| parent_of(&file).ok());
        Some((owner_of(&file).ok()?, parent.flatten()))
    }

    /// A file of a task's user namespace below /proc, its fields with one blank between.
    pub(super) fn of_user_space(&self, at: usize, name: &str) -> Option<String> {
        let [pid, _] = self.ids(at);
        let text = fs::read_to_string(format!("/proc/{pid}/{name}")).ok()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The user who owns a task's user namespace.
    pub(super) fn owner_uid(&self, at: usize) -> Option<u32> {
        maker_of(&open_link(self.directory(at), Ns::User).ok()?).ok()
    }

    /// The offsets that the clocks of a process's children will have.
    pub(super) fn offsets(&self, at: usize) -> Option<[i64; CLOCKS]> {
        offsets_of(&self.ids(at)[0].to_string())
    }
}

/// The offsets that the clocks of a process's children will have; nothing where there are no time namespaces.
fn offsets_of(process: &str) -> Option<[i64; CLOCKS]> {
    let text = fs::read_to_string(format!("/proc/{process}/timens_offsets")).ok()?;
    let of =
        |clock: &str| text.lines().find_map(|line| line.strip_prefix(clock)?.split_whitespace().next()?.parse().ok());
    Some([of("monotonic")?, of("boottime")?])
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for at in 0..TASKS {
            let [pid, _] = self.ids(at);
            if pid > 0 && self.slot(at).report.get() > 0 {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            self.clear(at);
        }
        // Who has lost its parent comes here.
        while !matches!(waitpid(None, Some(WaitPidFlag::__WALL)), Err(errno) if errno != Errno::EINTR) {}
        // What a kernel without the new namespaces that were asked for has got in this one.
        for object in Object::ALL.into_iter().filter(|object| self.theatre.offers.objects[*object as usize]) {
            let _ = remove_object(object);
        }
        // A descriptor that nobody took, of a call that did not come to it.
        let mut byte = [0u8; 8];
        while call!(recvfrom, SOCKET, byte.as_mut_ptr(), byte.len(), libc::MSG_DONTWAIT, 0, 0).is_ok() {}
    }
}
