//! What each call of a history must do.

use crate::feature::{CAP_SETFCAP, CAP_SETGID, CAP_SETUID, CAP_SYS_RESOURCE};
use crate::spec::prelude::*;
use crate::spec::world::{
    Content, Descriptors, Dir, Extent, FULL, Id, Mount, NEW_IPC, NO_LIMITS, Op, Process, Space, TASKS, Task, World, bit,
};

const CAP_SETPCAP: u32 = 8;
const CAP_SYS_CHROOT: u32 = 18;

/// CLONE_VFORK: clone(2) returns when the child has ended, or executes a program.
pub const VFORK: Flags = Flags(libc::CLONE_VFORK as u64);

/// What must come of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Success, or the errno.
    pub result: Result<(), Errno>,
    /// The requirement that the result follows from.
    pub because: &'static str,
    /// Parts of the caller's state that may change beside those that the model has as values.
    pub may_change: Parts,
}

impl Outcome {
    pub(super) fn new(result: Result<(), Errno>, because: &'static str) -> Self {
        Self { result, because, may_change: Parts::NONE }
    }

    /// Success of a call that is not under test.
    pub(super) fn done() -> Self {
        Self::new(Ok(()), "EFF-GEN-01")
    }

    /// EPERM of one, unless it may.
    fn if_may(may: bool) -> Self {
        Self::new(if may { Ok(()) } else { Err(Errno::EPERM) }, "EFF-GEN-01")
    }
}

/// What clone(2) shares or makes; every other flag is none of a world's.
const SHARING: Flags =
    Flags(Flags::VM.0 | Flags::FS.0 | Flags::FILES.0 | Flags::SIGHAND.0 | Flags::THREAD.0 | Flags::SYSVSEM.0 | VFORK.0);

impl World {
    /// Whether a task can take this step. What is left out would end in a way that the model does not know, or that no
    /// history can go on from.
    pub fn enabled(&self, at: usize, op: &Op) -> bool {
        let Some(task) = self.task(at).filter(|task| task.waits_for.is_none()) else { return false };
        let own = task.space(Ns::User);
        let in_first = own == super::FIRST_USER;
        let has_all = |all: &[u32]| all.iter().all(|bit| task.caps.effective & (1 << bit) != 0);
        let in_view = self.fs_of(task).root == Dir::Top && self.tree(task.space(Ns::Mnt)).is_some();
        match *op {
            Op::Unshare(flags) | Op::Starved(flags, _) => self.is_certain(task, flags),
            Op::Umask(_) | Op::NoNewPrivs | Op::Lock | Op::Unlock | Op::Signals => true,
            Op::Clone(flags, to) => self.may_clone(task, flags, to),
            // It would end other threads. What it does with a time namespace for later depends on the release. TOMOYO of
            // some releases looks for the program in /dev/fd, below the task's root directory.
            Op::Exec => {
                let alone = task.leader && self.count(|other| other.process == task.process) == 1;
                in_view && alone && task.space(Ns::Time) == task.space(Ns::TimeForChildren)
            }
            Op::Exit => self.may_exit(at, task),
            Op::Reap(of) => self.tasks.get(of).and_then(Option::as_ref).is_some_and(|child| {
                let parent = self.processes[&child.process].parent;
                let ended = self.count(|other| other.process == child.process) == 0;
                child.leader && child.ended && ended && parent == Some(task.process)
            }),
            Op::Setns(ns, of) => {
                let kind = self.task(of).map(|other| self.spaces[&other.space(ns)].kind);
                let is_there = kind.is_some_and(|kind| self.kernel.effective.contains(kind));
                !matches!(ns, Ns::PidForChildren | Ns::TimeForChildren) && is_there
            }
            Op::Enter(flags, of) => self.may_enter_by_process(task, flags, of),
            Op::Chdir(_) => in_view,
            Op::Chroot(dir) => in_view && dir != Dir::Top,
            Op::HostName(_) => true,
            Op::DropSysAdmin | Op::DropAll => true,
            // Elsewhere the other user has no mapping.
            Op::BecomeNobody => in_first && has_all(&[CAP_SETUID, CAP_SETGID]) && task.user == 0,
            Op::MapSelf => {
                // What it writes is its user's ID in the parent. Root there can be mapped by who could have given a
                // program capabilities for it (user_namespaces(7), CAP_SETFCAP).
                let may = matches!(self.spaces[&own].content, Content::User { ref map, setfcap, .. }
                    if map.is_empty() && self.spaces[&own].maker == task.user && (setfcap || self.outer(task) != 0));
                // It writes to files of the process, which become root's when its first thread ends.
                !in_first
                    && may
                    && task.leader
                    && has_all(&[CAP_SETUID, CAP_SETGID, feature::CAP_SYS_ADMIN])
                    && self.is_mapped(task.user, self.spaces[&own].owner)
            }
            Op::Map(which, of) => self.may_map(task, which, of),
            // The file is the process's, and root's.
            Op::Setgroups(_) => !in_first && task.leader && task.user == 0,
            Op::NoRoot => true,
            Op::Make(object) | Op::Remove(object) => self.may_handle(task, object),
            Op::Limit(kind, _) => {
                !in_first
                    && has_all(&[CAP_SYS_RESOURCE])
                    && self.is_mapped(task.user, own)
                    && self.kernel.effective.contains(kind)
            }
            Op::Take => self.has_semaphore(task) && self.semaphore > 1,
            Op::Open(..) => true,
            Op::Close(fd) => self.files[&task.files].open & bit(fd) != 0,
            Op::Propagate(_) | Op::Remount(_) => in_view,
            Op::Set(which, _) => self.may_set(task, which),
            // What would be covered, or stay because it is locked there, is not of this world.
            Op::Mount => in_view && self.children(task).all(|child| child.is_none()),
            Op::Unmount => {
                let space = task.space(Ns::Mnt);
                let own = self.tree(space).and_then(|tree| tree.child);
                let others = self.recipients(space).into_iter().filter(|id| *id != space);
                let locked = |id| self.tree(id).and_then(|tree| tree.child).is_some_and(|child| child.locked);
                in_view && own.is_some() && !others.into_iter().any(locked)
            }
            // The file shows the first thread's.
            Op::Offset(_) => {
                let later = task.space(Ns::TimeForChildren);
                later != task.space(Ns::Time) && task.leader && self.count(|other| other.process == task.process) == 1
            }
        }
    }

    /// What is mounted on the world's mount wherever a task's mount would be seen.
    fn children(&self, task: &Task) -> impl Iterator<Item = Option<Mount>> {
        let recipients = self.recipients(task.space(Ns::Mnt));
        recipients.into_iter().map(|id| self.tree(id).and_then(|tree| tree.child))
    }

    /// Whether limits of namespaces, if there are any, let what a call makes be made or refuse it for certain.
    fn is_certain(&self, task: &Task, flags: Flags) -> bool {
        let (_, open) = self.exhausted(task.space(Ns::User), task.user);
        (with_implied(flags) & open) == Flags::NONE
    }

    fn may_clone(&self, task: &Task, flags: Flags, to: usize) -> bool {
        let has = |flag| flags.contains(flag);
        let makes = flags & !SHARING;
        let elsewhere = task.space(Ns::Pid) != task.space(Ns::PidForChildren);
        let later = task.space(Ns::Time) != task.space(Ns::TimeForChildren);
        let over = matches!(self.spaces[&task.space(Ns::PidForChildren)].content, Content::Pid { over: true, .. });
        let free = (1..TASKS).contains(&to) && self.tasks[to].is_none();
        let first = matches!(self.spaces[&task.space(Ns::PidForChildren)].content, Content::Pid { begun: false, .. });
        let sound = (!has(Flags::SIGHAND) || has(Flags::VM))
            && (!has(Flags::THREAD) || has(Flags::SIGHAND))
            && !(has(Flags::FS) && (has(Flags::NEWNS) || has(Flags::NEWUSER)))
            && !(has(Flags::THREAD) && (makes != Flags::NONE || elsewhere))
            && !has(Flags::NEWTIME)
            && !has(Flags::EMPTY);
        // Releases differ in what they do with the undo list and the time namespace then, also where the PID namespace
        // takes nobody any more. Process 1 of a PID
        // namespace has SIGCHLD ignored at its end, also by who shares its handlers (kernel/pid_namespace.c).
        let agreed = !(has(Flags::VM) && later)
            && !(has(Flags::SYSVSEM) && (makes != Flags::NONE || over))
            && !(has(Flags::SIGHAND) && (first || has(Flags::NEWPID)))
            && !(later && over);
        free && sound && agreed && (makes - self.kernel.effective) == Flags::NONE && self.is_certain(task, makes)
    }

    /// Whoever leaves children would have them inherited; whoever is process 1 takes all others along.
    fn may_exit(&self, at: usize, task: &Task) -> bool {
        let last = self.count(|other| other.process == task.process) == 1;
        let process = &self.processes[&task.process];
        let children = self.processes.values().any(|other| other.parent == Some(task.process));
        let space = task.space(Ns::Pid);
        let in_space = |other: &Task| self.pid_above(other.space(Ns::Pid)).any(|above| above == space);
        let alone = self.tasks.iter().flatten().filter(|other| in_space(other) && other.process != task.process);
        // The first task of all stays.
        at != 0 && (!last || (!children && (!process.init || alone.count() == 0)))
    }

    /// Takes a step, which must be [enabled](Self::enabled).
    pub fn step(&mut self, at: usize, op: &Op) -> Outcome {
        let Some(task) = self.task(at).cloned() else { return Outcome::done() };
        let own = task.space(Ns::User);
        let outcome = match *op {
            Op::Unshare(flags) | Op::Starved(flags, _) => self.unshare(at, &task, flags),
            Op::Clone(flags, to) => self.clone_task(at, &task, flags, to),
            Op::Exec => self.execute(at, &task),
            Op::Exit => self.exit(at, &task),
            Op::Reap(of) => {
                if let Some(child) = self.tasks[of].take() {
                    self.processes.remove(&child.process);
                }
                Outcome::done()
            }
            Op::Setns(ns, of) => self.setns(at, &task, ns, of),
            Op::Enter(flags, of) => self.enter_process(at, &task, flags, of),
            Op::Chdir(dir) => {
                self.fs.entry(task.fs).and_modify(|fs| fs.cwd = dir);
                Outcome::done()
            }
            Op::Chroot(dir) => {
                // The directory was changed before the capability is asked for.
                let outcome = Outcome::if_may(self.capable(&task, CAP_SYS_CHROOT, own));
                let root = outcome.result.is_ok().then_some(dir);
                self.fs.entry(task.fs).and_modify(|fs| (fs.cwd, fs.root) = (dir, root.unwrap_or(fs.root)));
                outcome
            }
            Op::Umask(mask) => {
                self.fs.entry(task.fs).and_modify(|fs| fs.umask = mask);
                Outcome::done()
            }
            Op::HostName(name) => {
                let space = task.space(Ns::Uts);
                let owner = self.spaces[&space].owner;
                let outcome = Outcome::if_may(self.capable(&task, feature::CAP_SYS_ADMIN, owner));
                if outcome.result.is_ok() {
                    self.set(space, Content::Uts(Some(name)));
                }
                outcome
            }
            Op::DropSysAdmin => self.change(at, |task| task.caps = task.caps.without_sys_admin()),
            Op::DropAll => self.change(at, |task| task.caps = task.caps.given_up()),
            Op::BecomeNobody => {
                let outcome = self.change(at, |task| (task.caps, task.user) = (task.caps.given_up(), feature::NOBODY));
                let may_change = Parts::of(&[Part::Groups, Part::ProcessAttributes, Part::Gids, Part::Uids]);
                Outcome { may_change, ..outcome }
            }
            Op::NoNewPrivs => self.change(at, |task| task.no_new_privs = true),
            Op::MapSelf => {
                if let Some(Space { content: Content::User { map, denied, .. }, .. }) = self.spaces.get_mut(&own) {
                    *map = vec![Extent { inside: 0, outside: task.user, count: 1 }];
                    *denied = Some(true);
                }
                Outcome::done()
            }
            Op::Map(which, of) => {
                let result = self.map(&task, which, of);
                let space = self.task(of).map_or(own, |other| other.space(Ns::User));
                if let (Ok(new), Some(Space { content: Content::User { map, .. }, .. })) =
                    (&result, self.spaces.get_mut(&space))
                {
                    map.clone_from(new);
                }
                Outcome::new(result.map(drop), "EFF-USER-02")
            }
            Op::Setgroups(allow) => {
                let has_map = !self.map_of(own).is_empty();
                let result = match (self.capable(&task, feature::CAP_SYS_ADMIN, own), allow) {
                    (false, _) => Err(Errno::EACCES),
                    (true, true) if self.denies_setgroups(own) => Err(Errno::EPERM),
                    (true, false) if has_map => Err(Errno::EPERM),
                    (true, _) => Ok(()),
                };
                if let (Ok(()), false, Some(Space { content: Content::User { denied, .. }, .. })) =
                    (result, allow, self.spaces.get_mut(&own))
                {
                    *denied = Some(true);
                }
                Outcome::new(result, "EFF-USER-07")
            }
            Op::NoRoot => {
                let outcome = Outcome::if_may(self.capable(&task, CAP_SETPCAP, own));
                if outcome.result.is_ok() {
                    self.change(at, |task| task.no_root = true);
                }
                outcome
            }
            Op::Make(object) => Outcome::new(self.make_object(&task, object), "EFF-IPC-04"),
            Op::Remove(object) => Outcome::new(self.remove_object(&task, object), "EFF-IPC-04"),
            Op::Limit(kind, limit) => {
                if let Some(Space { content: Content::User { limits, .. }, .. }) = self.spaces.get_mut(&own) {
                    let all = KINDS.into_iter().zip(limits);
                    all.filter(|(here, _)| here.flag == kind).for_each(|(_, here)| *here = limit);
                }
                Outcome::done()
            }
            Op::Take => {
                self.semaphore -= 1;
                let undo = self.undo_list(at, &task);
                *self.undo.entry(undo).or_default() += 1;
                Outcome::done()
            }
            Op::Open(fd, closes) => {
                let table = self.files.entry(task.files).or_default();
                table.open |= bit(fd);
                table.closing = (table.closing & !bit(fd)) | if closes { bit(fd) } else { 0 };
                Outcome::done()
            }
            Op::Close(fd) => {
                let table = self.files.entry(task.files).or_default();
                (table.open, table.closing) = (table.open & !bit(fd), table.closing & !bit(fd));
                Outcome::done()
            }
            // It belongs to the table of descriptors, not to the process that shows as its owner.
            Op::Lock => match self.lock {
                Some(holder) if holder != task.files => Outcome::new(Err(Errno::EAGAIN), "EFF-FILES-07"),
                _ => {
                    self.lock = Some(task.files);
                    Outcome::new(Ok(()), "EFF-FILES-07")
                }
            },
            Op::Unlock => {
                self.lock = self.lock.filter(|holder| *holder != task.files);
                Outcome::done()
            }
            Op::Propagate(to) => {
                let owner = self.spaces[&task.space(Ns::Mnt)].owner;
                let outcome = Outcome::if_may(self.capable(&task, feature::CAP_SYS_ADMIN, owner));
                if outcome.result.is_ok() {
                    self.propagate(task.space(Ns::Mnt), to);
                }
                outcome
            }
            Op::Mount => {
                let owner = self.spaces[&task.space(Ns::Mnt)].owner;
                let admin = |over| self.capable(&task, feature::CAP_SYS_ADMIN, over);
                let outcome = Outcome::if_may(admin(owner) && admin(own));
                if outcome.result.is_ok() {
                    self.mount(task.space(Ns::Mnt));
                }
                outcome
            }
            Op::Unmount => {
                let space = task.space(Ns::Mnt);
                let may = self.capable(&task, feature::CAP_SYS_ADMIN, self.spaces[&space].owner);
                let locked = self.tree(space).and_then(|tree| tree.child).is_some_and(|child| child.locked);
                let result = match (may, locked) {
                    (false, _) => Err(Errno::EPERM),
                    (true, true) => Err(Errno::EINVAL),
                    (true, false) => Ok(()),
                };
                if result.is_ok() {
                    self.unmount(space);
                }
                Outcome::new(result, "EFF-MNT-12")
            }
            Op::Remount(options) => {
                let space = task.space(Ns::Mnt);
                let may = self.capable(&task, feature::CAP_SYS_ADMIN, self.spaces[&space].owner);
                let result = if may { self.remount(space, options) } else { Err(Errno::EPERM) };
                Outcome::new(result, "EFF-MNT-13")
            }
            Op::Offset(which) => {
                let new = self.offset(&task, which);
                if let Ok(offsets) = new {
                    // Nobody is in it: else it would be frozen.
                    self.set(task.space(Ns::TimeForChildren), Content::Time { offsets, frozen: false });
                }
                Outcome::new(new.map(drop), "EFF-TIME-03")
            }
            // A new user namespace has room for as much as who made it (RLIMIT_SIGPENDING).
            Op::Signals => Outcome::new(Ok(()), "EFF-USER-28"),
            Op::Set(which, value) => {
                let result = self.is_setting_writable(&task, which);
                if result.is_ok() {
                    self.set_setting(&task, which, value);
                }
                Outcome::new(result, "EFF-IPC-13")
            }
        };
        self.forget_mounts();
        // Whoever leaves a table last takes its lock along.
        self.lock = self.lock.filter(|holder| self.count(|other| other.files == *holder) > 0);
        if outcome.result.is_err()
            && let Op::Unshare(flags) | Op::Starved(flags, _) | Op::Clone(flags, _) = *op
        {
            self.note_failure(&task, flags);
        }
        outcome
    }

    /// Notes a call that failed, and may have made namespaces before.
    fn note_failure(&mut self, task: &Task, flags: Flags) {
        self.failed.push((task.space(Ns::User), task.user, with_implied(flags)));
    }

    /// Takes a call that failed because one of its allocations did: nothing has changed.
    pub fn starve(&mut self, at: usize, flags: Flags, errno: Errno) -> Outcome {
        if let Some(task) = self.task(at).cloned() {
            self.note_failure(&task, flags);
        }
        Outcome::new(Err(errno), "FI-12")
    }

    pub(super) fn set(&mut self, space: Id, content: Content) {
        self.spaces.entry(space).and_modify(|there| there.content = content);
    }

    pub(super) fn change(&mut self, at: usize, change: impl FnOnce(&mut Task)) -> Outcome {
        if let Some(task) = &mut self.tasks[at] {
            change(task);
        }
        Outcome::done()
    }

    /// The undo list of a task, made when it has none.
    fn undo_list(&mut self, at: usize, task: &Task) -> Id {
        let undo = task.undo.unwrap_or_else(|| self.id());
        self.change(at, |task| task.undo = Some(undo));
        undo
    }

    /// Leaves the undo list; the last one out applies it.
    pub(super) fn leave_undo(&mut self, at: usize) {
        let Some(undo) = self.tasks[at].as_mut().and_then(|task| task.undo.take()) else { return };
        if self.count(|other| other.undo == Some(undo)) == 0 {
            self.semaphore += self.undo.remove(&undo).unwrap_or(0);
        }
    }

    fn unshare(&mut self, at: usize, task: &Task, flags: Flags) -> Outcome {
        let prediction = predict(&self.start(task), flags, &self.kernel);
        let outcome = Outcome::new(prediction.result, prediction.because);
        if prediction.result.is_err() {
            return outcome;
        }
        let done = with_implied(flags) & self.kernel.effective;
        // Who has it alone keeps it.
        if prediction.separated.contains(Flags::FS) && self.count(|other| other.fs == task.fs) > 1 {
            let copy = self.copy_fs(task.fs);
            self.change(at, |task| task.fs = copy);
        }
        if prediction.separated.contains(Flags::FILES) && self.count(|other| other.files == task.files) > 1 {
            let copy = self.copy_files(task.files);
            self.change(at, |task| task.files = copy);
        }
        if prediction.separated.contains(Flags::SYSVSEM) {
            self.leave_undo(at);
        }
        self.make_spaces(at, done);
        // A new user namespace has its own securebits and groups; what the others see of the caller is not theirs.
        let may_change = if done.contains(Flags::NEWUSER) {
            Parts::of(&[Part::Groups, Part::Securebits, Part::ProcessAttributes])
        } else {
            Parts::NONE
        };
        Outcome { may_change, ..outcome }
    }

    fn copy_fs(&mut self, from: Id) -> Id {
        let (id, copy) = (self.id(), self.fs[&from]);
        self.fs.insert(id, copy);
        id
    }

    fn copy_files(&mut self, from: Id) -> Id {
        let (id, copy) = (self.id(), self.files[&from]);
        self.files.insert(id, copy);
        id
    }

    /// Makes namespaces for a task. What is made with a user namespace is owned by that one.
    fn make_spaces(&mut self, at: usize, done: Flags) {
        for kind in KINDS.into_iter().filter(|kind| done.contains(kind.flag)) {
            let Some(task) = self.tasks[at].clone() else { return };
            let owner = task.space(Ns::User);
            let before = &self.spaces[&task.space(kind.link)];
            let content = match &before.content {
                Content::User { denied, .. } => {
                    let setfcap = task.caps.effective & (1 << CAP_SETFCAP) != 0;
                    Content::User { map: Vec::new(), setfcap, denied: *denied, limits: NO_LIMITS }
                }
                Content::Mnt(_) if done.contains(Flags::EMPTY) => Content::Mnt(None),
                Content::Mnt(tree) => Content::Mnt(tree.map(|tree| tree.copy(before.owner != owner))),
                Content::Ipc { .. } => NEW_IPC,
                Content::Pid { .. } => Content::Pid { begun: false, over: false },
                // It begins with what the caller's children would have had.
                Content::Time { offsets, .. } => Content::Time { offsets: *offsets, frozen: false },
                other => other.clone(),
            };
            let id = self.id();
            let parent = if kind.flag == Flags::NEWPID { task.space(Ns::Pid) } else { id };
            self.spaces.insert(id, Space { kind: kind.flag, owner, maker: task.user, parent, content });
            self.change(at, |task| {
                task.links[kind.link as usize] = id;
                if kind.flag == Flags::NEWUSER {
                    (task.caps, task.no_root) = (FULL, false);
                }
            });
            if kind.flag == Flags::NEWNS && done.contains(Flags::EMPTY) {
                self.fs.entry(task.fs).and_modify(|fs| (fs.root, fs.cwd) = (Dir::Top, Dir::Top));
            }
        }
    }

    fn clone_task(&mut self, at: usize, task: &Task, flags: Flags, to: usize) -> Outcome {
        let makes = flags & !SHARING;
        // The same rules as for unshare(2) but for those of its company, which a new process has not.
        let start = Start { threads: Threads::Alone, handlers_shared: false, memory_shared: false, ..self.start(task) };
        let prediction = predict(&start, makes, &self.kernel);
        let place = self.spaces[&task.space(Ns::PidForChildren)].content.clone();
        let result = match (prediction.result, place) {
            (Ok(()), Content::Pid { over: true, .. }) if !makes.contains(Flags::NEWPID) => Err(Errno::ENOMEM),
            (result, _) => result,
        };
        if result.is_err() {
            return Outcome::new(result, prediction.because);
        }
        let thread = flags.contains(Flags::THREAD);
        let process = if thread { task.process } else { self.id() };
        let shared = |flag| flags.contains(flag);
        let undo = shared(Flags::SYSVSEM).then(|| self.undo_list(at, task));
        let child = Task {
            process,
            leader: !thread,
            ended: false,
            fs: if shared(Flags::FS) { task.fs } else { self.copy_fs(task.fs) },
            files: if shared(Flags::FILES) { task.files } else { self.copy_files(task.files) },
            undo,
            vm: if shared(Flags::VM) { task.vm } else { self.id() },
            handlers: if shared(Flags::SIGHAND) { task.handlers } else { self.id() },
            ..task.clone()
        };
        self.tasks[to] = Some(child);
        self.make_spaces(to, makes);
        let [pid, time] = [Ns::PidForChildren, Ns::TimeForChildren]
            .map(|ns| self.tasks[to].as_ref().map_or(0, |task| task.space(ns)));
        self.change(to, |task| {
            task.links[Ns::Pid as usize] = pid;
            task.links[Ns::Time as usize] = time;
        });
        let mut init = false;
        if let Some(Space { content: Content::Pid { begun, .. }, .. }) = self.spaces.get_mut(&pid) {
            init = !std::mem::replace(begun, true);
        }
        if let Some(Space { content: Content::Time { frozen, .. }, .. }) = self.spaces.get_mut(&time) {
            *frozen |= task.space(Ns::Time) != time;
        }
        if !thread {
            self.processes.insert(process, Process { parent: Some(task.process), init });
        }
        if shared(VFORK) {
            self.change(at, |task| task.waits_for = Some(to));
        }
        Outcome::done()
    }

    /// execve(2): memory and handlers are new, a shared table of descriptors is copied, all else stays shared.
    fn execute(&mut self, at: usize, task: &Task) -> Outcome {
        let (vm, handlers) = (self.id(), self.id());
        let files =
            if self.count(|other| other.files == task.files) > 1 { self.copy_files(task.files) } else { task.files };
        // Who shares root and cwd with it could change them under a program that has gained privilege.
        let may_gain = !task.no_new_privs && self.count(|other| other.fs == task.fs) == 1;
        let is_root = self.seen(task.user, task.space(Ns::User)) == 0 && !task.no_root;
        self.release(at);
        let outcome = self.change(at, |task| {
            (task.vm, task.handlers, task.files) = (vm, handlers, files);
            task.caps = task.caps.executed(is_root, may_gain);
        });
        let table = self.files.entry(files).or_default();
        *table = Descriptors { open: table.open & !table.closing, closing: 0 };
        let may_change = Parts::of(&[Part::Signals, Part::ProcessAttributes, Part::Capabilities]);
        Outcome { may_change, ..outcome }
    }

    /// Has the task go on that waits for this one in clone(CLONE_VFORK).
    fn release(&mut self, at: usize) {
        if let Some(waiting) = self.waits_for(at) {
            self.change(waiting, |task| task.waits_for = None);
        }
    }

    fn exit(&mut self, at: usize, task: &Task) -> Outcome {
        self.release(at);
        self.leave_undo(at);
        self.change(at, |task| task.ended = true);
        if !task.leader {
            self.tasks[at] = None;
        }
        if self.processes[&task.process].init && self.count(|other| other.process == task.process) == 0 {
            self.set(task.space(Ns::Pid), Content::Pid { begun: true, over: true });
        }
        Outcome::done()
    }

    /// The worlds' mount as a caller sees it.
    pub fn sees_base(&self, task: &Task) -> bool {
        self.fs_of(task).root == Dir::Top && self.tree(task.space(Ns::Mnt)).is_some()
    }
}
