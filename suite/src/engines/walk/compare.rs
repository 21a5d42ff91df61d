//! Whether a stage is as its world: every task in all its parts, and what each pair of tasks shares.

use std::collections::HashMap;

use super::stage::{Lost, Seen, Stage};
use super::*;
use crate::observe::kcmp::Shared;
use crate::observe::mounts::MountLine;
use crate::spec::world::{
    CLOCKS, Content, Dir, Id, Mount, Mounted, Object, Op, Outcome, SETTINGS, TASKS, Task, Value, What, Where, World,
};

/// Something that is not as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Of what.
    pub(super) what: What,
    pub(super) expected: String,
    pub(super) actual: String,
    pub(super) requirement: &'static str,
}

impl Mismatch {
    pub(super) fn new(
        what: What,
        expected: impl fmt::Display,
        actual: impl fmt::Display,
        requirement: &'static str,
    ) -> Self {
        Self { what, expected: expected.to_string(), actual: actual.to_string(), requirement }
    }
}

/// A step that was taken, and what the model says of it.
pub(super) struct Taken {
    /// The world before it.
    pub(super) before: World,
    /// By whom.
    pub(super) at: usize,
    pub(super) op: Op,
    pub(super) outcome: Outcome,
}

impl Taken {
    /// Takes a step in the model; one that failed for want of memory, as that.
    pub(super) fn new(world: &mut World, at: usize, op: Op, starved: Option<Errno>) -> Taken {
        let before = world.clone();
        let outcome = match (op, starved) {
            (Op::Starved(flags, _), Some(errno)) => world.starve(at, flags, errno),
            _ => world.step(at, &op),
        };
        Taken { before, at, op, outcome }
    }

    /// How it differs that the step gave this, if it does.
    pub(super) fn differs(&self, result: Result<i64, Lost>) -> Option<Mismatch> {
        let Outcome { result: expected, because, .. } = self.outcome;
        let actual = match result {
            Err(Lost::Hangs) => "it does not return".to_owned(),
            Err(Lost::Ended) => "its task has ended".to_owned(),
            Ok(result) if result == expected.map_or_else(|errno| -(errno as i64), |()| 0) => return None,
            Ok(result) => match Call::zero_on_success("", result).result() {
                Ok(()) => "0".to_owned(),
                Err(failure) => format!("{failure:?}"),
            },
        };
        let expected = expected.map_or_else(|errno| format!("{errno:?}"), |()| "0".to_owned());
        Some(Mismatch::new(What::Result(self.at, self.op), expected, actual, because))
    }
}

/// What the kernel calls the objects of a world: found out as they appear, and held to.
#[derive(Clone, Default)]
struct Names<K> {
    names: HashMap<K, u64>,
    keys: HashMap<u64, K>,
}

impl<K: Copy + Eq + std::hash::Hash> Names<K> {
    /// Whether an object has this name: it has no other, and nothing else has it.
    fn fit(&mut self, key: K, name: u64) -> bool {
        *self.names.entry(key).or_insert(name) == name && *self.keys.entry(name).or_insert(key) == key
    }

    /// What an object is called that [does not fit](Self::fit) this name.
    fn told(&self, key: &K, name: u64) -> String {
        match self.names.get(key) {
            Some(known) if *known != name => format!("[{known}]"),
            _ => "a new one".to_owned(),
        }
    }

    /// Forgets what is no more, whose names may be given again.
    fn keep(&mut self, lives: impl Fn(&K) -> bool) {
        self.names.retain(|key, _| lives(key));
        self.keys.retain(|_, key| lives(key));
    }
}

/// Compares a history's stage with its world, step by step.
#[derive(Clone)]
pub(super) struct Comparer {
    initial: State,
    /// The world's directories.
    places: [Place; 3],
    /// All capabilities that there are.
    every: u64,
    last: [Option<State>; TASKS],
    spaces: Names<Id>,
    /// The mounts of roots and current directories: of a mount namespace, its top or the world's.
    mounts: Names<(Id, bool)>,
    groups: Names<Id>,
    /// The root directories of empty mount namespaces.
    roots: HashMap<Id, ((u32, u32), u64)>,
}

/// The first settings, or all, in words.
fn told_settings(settings: &[i32]) -> String {
    let each =
        SETTINGS.iter().zip(settings).map(|(setting, value)| format!("{} {value}", setting.file.to_string_lossy()));
    each.collect::<Vec<_>>().join(", ")
}

/// Parts whose values the model has.
const BY_VALUE: Parts = Parts::of(&[
    Part::Cwd,
    Part::Root,
    Part::CwdMount,
    Part::RootMount,
    Part::Umask,
    Part::Uids,
    Part::Gids,
    Part::HostName,
    Part::NoNewPrivs,
    Part::Descriptors,
]);

impl Comparer {
    /// Begins with the first task of a world as it is.
    pub(super) fn new(initial: State, places: [Place; 3], every: u64) -> Self {
        Self {
            initial,
            places,
            every,
            last: [None; TASKS],
            spaces: Names::default(),
            mounts: Names::default(),
            groups: Names::default(),
            roots: HashMap::new(),
        }
    }

    /// Compares after these steps, or at the beginning.
    pub(super) fn compare(&mut self, stage: &Stage, world: &World, steps: &[Taken]) -> Result<(), Mismatch> {
        let before = steps.first().map_or(world, |first| &first.before);
        // What died in an earlier step may have left its names to what this one has made; what dies in this one has not:
        // the new is made before the old goes.
        for Taken { before, .. } in steps {
            self.spaces.keep(|id| before.lives(*id));
            self.mounts.keep(|(space, _)| before.lives(*space));
            self.groups.keep(|group| before.has_group(*group));
        }
        let settings = stage.theatre.offers.settings && steps.iter().any(|taken| taken.op.is_about_settings());
        let states = match stage.look(world, settings) {
            Ok(states) => states,
            Err((at, lost)) => {
                let what = What::End(at);
                return Err(Mismatch::new(what, "it goes on", format!("{lost:?}").to_lowercase(), "ATOM-S1"));
            }
        };
        for (at, task) in world.alive() {
            let Some(seen) = &states[at] else { continue };
            self.compare_task(world, at, task, seen)?;
            self.compare_rest(before, world, at, &seen.state, steps)?;
        }
        self.last = states.map(|seen| seen.map(|seen| seen.state));
        self.compare_pairs(stage, world)?;
        self.compare_mounts(stage, world)?;
        self.compare_semaphore(stage, world)?;
        let locked = world.lock.is_some();
        if stage.is_locked() != locked {
            let word = |locked: bool| if locked { "held" } else { "free" };
            return Err(Mismatch::new(What::Lock, word(locked), word(!locked), "EFF-FILES-07"));
        }
        for taken in steps.iter().filter(|taken| taken.outcome.result.is_ok()) {
            let changed = match taken.op {
                Op::Clone(_, to) | Op::Map(_, to) => to,
                _ => taken.at,
            };
            self.compare_relations(stage, before, world, changed)?;
            self.compare_offset(stage, world, changed)?;
            self.compare_maps(stage, world, changed)?;
        }
        Ok(())
    }

    /// The parts of a task that the model has as values.
    fn compare_task(
        &mut self,
        world: &World,
        at: usize,
        task: &Task,
        Seen { state, sight, clocks }: &Seen,
    ) -> Result<(), Mismatch> {
        let seen = |part: Part| !world.kernel.unseen.contains(part);
        for ns in Ns::ALL.into_iter().filter(|ns| seen(Part::ALL[*ns as usize])) {
            let (id, inode) = (task.space(ns), state.namespace(ns));
            // Before 7.1 such a link leads nowhere until there is a process 1 (EFF-PID-03).
            let empty = matches!(
                world.spaces[&id].content,
                Content::Pid { begun: false, .. } | Content::Pid { over: true, .. }
            );
            let missing = matches!(world.spaces[&id].kind, kind if !world.kernel.effective.contains(kind));
            if inode == 0 && ((ns == Ns::PidForChildren && empty) || missing) {
                continue;
            }
            if !self.spaces.fit(id, inode) {
                let what = What::Link(ns, at);
                return Err(Mismatch::new(what, self.spaces.told(&id, inode), format!("[{inode}]"), "EFF-GEN-01"));
            }
        }
        let fs = world.fs_of(task);
        let space = task.space(Ns::Mnt);
        for (link, dir, place, part) in
            [(Where::Cwd, fs.cwd, state.cwd, Part::CwdMount), (Where::Root, fs.root, state.root, Part::RootMount)]
        {
            let is_empty = world.tree(space).is_none();
            let known = match (dir, is_empty) {
                (Dir::Top, true) => *self.roots.entry(space).or_insert((place.device, place.inode)),
                _ => (self.places[dir as usize].device, self.places[dir as usize].inode),
            };
            if (place.device, place.inode) != known {
                let what = What::Place(link, at);
                return Err(Mismatch::new(
                    what,
                    observe::place(known),
                    observe::place((place.device, place.inode)),
                    "EFF-MNT-08",
                ));
            }
            if seen(part) && !self.mounts.fit((space, dir != Dir::Top), place.mount) {
                let what = What::Mount(link, at);
                let expected = self.mounts.told(&(space, dir != Dir::Top), place.mount);
                return Err(Mismatch::new(what, expected, format!("[{}]", place.mount), "EFF-MNT-08"));
            }
        }
        let own = task.space(Ns::User);
        let first = world.is_first_user(own);
        let ids = |initial: [u32; 4]| match world.seen(task.user, own) {
            0 if first => initial,
            id => [id; 4],
        };
        let host = world.host_name(task).map_or(self.initial.host_name, |name| {
            let mut text = [0; 32];
            text[..5].copy_from_slice(&[b'w', b'a', b'l', b'k', b'0' + name]);
            text
        });
        let caps = task.caps.effective & self.every;
        let nnp = u32::from(task.no_new_privs) | self.initial.no_new_privs;
        let hex = |bits: u64| format!("{bits:#x}");
        let list = |ids: [u32; 4]| format!("{ids:?}");
        let made = world.objects(task).into_iter().enumerate().filter(|(_, maker)| maker.is_some());
        let made = Object::told(made.fold(0, |all, (object, _)| all | 1 << object));
        let is_init = world.processes[&task.process].init;
        // Where there were none at first, there is only what tasks have set.
        let securebits = if self.initial.securebits == 0 { u32::from(task.no_root) } else { state.securebits };
        // Whoever is in the first PID namespace may be process 1 of a container.
        let init = if world.is_from_start(task.space(Ns::Pid)) { is_init } else { state.ids[0] == 1 };
        let clock = |clock: usize, way: usize| {
            let expected = world.clocks(task)[clock];
            (expected.to_string(), clocks[clock][way].unwrap_or(expected).to_string())
        };
        let [(mono, mono_seen), (mono_too, mono_vdso), (boot, boot_seen), (boot_too, boot_vdso)] =
            [clock(0, 0), clock(0, 1), clock(1, 0), clock(1, 1)];
        let [settings, settings_seen] = match (world.settings(task), sight.settings) {
            (Some(settings), Some(seen)) => [told_settings(settings), told_settings(&seen[..settings.len()])],
            _ => Default::default(),
        };
        for (value, expected, actual, requirement) in [
            (Value::Uids, list(ids(self.initial.uids)), list(state.uids), "EFF-USER-02"),
            (Value::Gids, list(ids(self.initial.gids)), list(state.gids), "EFF-USER-02"),
            (Value::Effective, hex(caps), hex(state.capabilities[2]), "EFF-USER-03"),
            (Value::Permitted, hex(caps), hex(state.capabilities[1]), "EFF-USER-03"),
            (Value::Umask, format!("{:04o}", fs.umask), format!("{:04o}", state.umask), "EFF-FS-01"),
            (Value::NoNewPrivs, nnp.to_string(), state.no_new_privs.to_string(), "ATOM-S4"),
            (Value::HostName, observe::text(host), observe::text(state.host_name), "EFF-UTS-01"),
            (Value::Securebits, hex(securebits.into()), hex(state.securebits.into()), "EFF-USER-04"),
            (Value::ProcessOne, is_init.to_string(), init.to_string(), "EFF-PID-02"),
            (Value::Objects, made, Object::told(sight.objects), "EFF-IPC-04"),
            (Value::Settings, settings, settings_seen, "EFF-IPC-05"),
            (Value::Clock, mono, mono_seen, "EFF-TIME-04"),
            (Value::Clock, mono_too, mono_vdso, "EFF-TIME-04"),
            (Value::BootClock, boot, boot_seen, "EFF-TIME-04"),
            (Value::BootClock, boot_too, boot_vdso, "EFF-TIME-04"),
            (Value::Descriptors, world.files[&task.files].told(), sight.descriptors.told(), "EFF-FILES-01"),
        ] {
            if expected != actual {
                return Err(Mismatch::new(What::Value(value, at), expected, actual, requirement));
            }
        }
        Ok(())
    }

    /// All other parts are as they were.
    fn compare_rest(
        &self,
        before: &World,
        world: &World,
        at: usize,
        state: &State,
        steps: &[Taken],
    ) -> Result<(), Mismatch> {
        let Some(last) = &self.last[at] else { return Ok(()) };
        let (Some(task), Some(earlier)) = (world.task(at), before.task(at)) else { return Ok(()) };
        let mut may = BY_VALUE;
        for ns in Ns::ALL {
            may = may.with(Part::ALL[ns as usize]);
        }
        if (earlier.caps, earlier.space(Ns::User)) != (task.caps, task.space(Ns::User)) {
            may = may.with(Part::Capabilities);
        }
        for Taken { at: caller, op, outcome, .. } in steps {
            if at == *caller {
                may = may | outcome.may_change;
            }
            if at == *caller && matches!(op, Op::DropSysAdmin | Op::DropAll) {
                may = may.with(Part::Capabilities);
            }
            let of_memory = world.task(*caller).is_some_and(|actor| actor.vm == task.vm);
            if of_memory && outcome.may_change.contains(Part::ProcessAttributes) {
                may = may.with(Part::ProcessAttributes);
            }
            let mapped = match op {
                Op::MapSelf => world.task(*caller),
                Op::Map(_, of) => world.task(*of),
                _ => None,
            };
            if mapped.is_some_and(|mapped| mapped.space(Ns::User) == task.space(Ns::User)) {
                may = may.with(Part::Groups);
            }
        }
        if self.initial.securebits == 0 {
            may = may.with(Part::Securebits);
        }
        let changed = last.changed_parts(state) - may;
        match observe::differences(last, state).into_iter().find(|difference| changed.contains(difference.part)) {
            Some(difference) => {
                let what = What::Other(difference.part, at);
                Err(Mismatch::new(what, difference.before, difference.after, "ATOM-S4"))
            }
            None => Ok(()),
        }
    }

    /// What each pair of tasks shares.
    fn compare_pairs(&self, stage: &Stage, world: &World) -> Result<(), Mismatch> {
        let alive: Vec<(usize, &Task)> = world.alive().collect();
        for (first, (a, one)) in alive.iter().enumerate() {
            for (b, other) in &alive[first + 1..] {
                for (what, expected, requirement) in [
                    (Shared::Vm, one.vm == other.vm, "EFF-VM-02"),
                    (Shared::Fs, one.fs == other.fs, "EFF-FS-06"),
                    (Shared::Files, one.files == other.files, "EFF-FILES-06"),
                    (Shared::Sighand, one.handlers == other.handlers, "EFF-VM-02"),
                    (Shared::Sysvsem, one.undo == other.undo, "EFF-SEM-05"),
                ] {
                    let asked = what != Shared::Sysvsem || stage.theatre.semaphore.is_some();
                    let Some(actual) = stage.shares(what, *a, *b).filter(|_| asked) else { continue };
                    if actual != expected {
                        let word = |shared: bool| if shared { "shared" } else { "apart" };
                        let what = What::Shared(what.clone_flag(), *a, *b);
                        return Err(Mismatch::new(what, word(expected), word(actual), requirement));
                    }
                }
            }
        }
        Ok(())
    }

    /// The world's mounts and their propagation in each mount namespace.
    fn compare_mounts(&mut self, stage: &Stage, world: &World) -> Result<(), Mismatch> {
        for (space, tree) in world.trees() {
            let Some((at, _)) = world.alive().find(|(_, task)| task.space(Ns::Mnt) == space && world.sees_base(task))
            else {
                continue;
            };
            let seen = stage.mounts(at);
            if let Some(line) = &seen[0] {
                let shown = tree.base.options.told();
                let [.., options] = &line.place;
                let kept: Vec<&str> = options.split(',').filter(|option| *option != "relatime").collect();
                if kept.join(",") != shown {
                    return Err(Mismatch::new(What::Options(at), shown, kept.join(","), "EFF-MNT-02"));
                }
            }
            for ((mounted, expected), actual) in Mounted::ALL.into_iter().zip([Some(tree.base), tree.child]).zip(seen) {
                self.compare_mount((mounted, at), expected, actual)?;
            }
        }
        Ok(())
    }

    fn compare_mount(
        &mut self,
        (mounted, at): (Mounted, usize),
        expected: Option<Mount>,
        actual: Option<MountLine>,
    ) -> Result<(), Mismatch> {
        let (mount, line) = match (expected, actual) {
            (Some(mount), Some(line)) => (mount, line),
            (None, None) => return Ok(()),
            (expected, _) => {
                let word = |there: bool| if there { "there" } else { "not there" };
                let (expected, actual) = (word(expected.is_some()), word(expected.is_none()));
                return Err(Mismatch::new(What::There(mounted, at), expected, actual, "EFF-MNT-02"));
            }
        };
        let told = |Mount { group, master, unbindable, .. }: Mount| {
            let word = |group: Option<Id>, name| group.map_or(String::new(), |group| format!("{name} {group} "));
            let text = word(group, "shared in group") + &word(master, "slave of group");
            let text = if unbindable { text + "unbindable" } else { text };
            if text.is_empty() { "private".to_owned() } else { text.trim_end().to_owned() }
        };
        let kinds =
            [(mount.group, line.group("shared"), "EFF-MNT-04"), (mount.master, line.group("master"), "EFF-MNT-05")];
        let wrong = kinds.into_iter().find_map(|(id, group, requirement)| {
            let fits = match (id, group) {
                (None, None) => true,
                (Some(id), Some(group)) => self.groups.fit(id, group),
                _ => false,
            };
            (!fits).then_some(requirement)
        });
        let unbindable = line.propagation.iter().any(|field| field == "unbindable");
        let wrong = wrong.or((unbindable != mount.unbindable).then_some("EFF-MNT-07"));
        match wrong {
            Some(requirement) => {
                let fields = line.propagation.join(" ");
                let actual = if fields.is_empty() { "private".to_owned() } else { fields };
                Err(Mismatch::new(What::Propagation(mounted, at), told(mount), actual, requirement))
            }
            None => Ok(()),
        }
    }

    fn compare_semaphore(&self, stage: &Stage, world: &World) -> Result<(), Mismatch> {
        match stage.semaphore() {
            Some(value) if value != world.semaphore => {
                Err(Mismatch::new(What::Semaphore, world.semaphore, value, "EFF-SEM-01"))
            }
            _ => Ok(()),
        }
    }

    /// Owner and parent of namespaces that a task has just been given.
    fn compare_relations(&mut self, stage: &Stage, before: &World, world: &World, at: usize) -> Result<(), Mismatch> {
        let Some(task) = world.task(at) else { return Ok(()) };
        for ns in Ns::ALL {
            let id = task.space(ns);
            let space = &world.spaces[&id];
            if before.spaces.contains_key(&id) || !self.spaces.names.contains_key(&id) {
                continue;
            }
            let Some((owner, parent)) = stage.relations(at, ns) else { continue };
            let known = |id: Id| self.spaces.names.get(&id).copied();
            let expected_parent =
                if ns == Ns::User { Some(space.owner) } else { (space.parent != id).then_some(space.parent) };
            let pairs = [
                (What::Owner(ns, at), (ns != Ns::User).then_some(space.owner), Some(owner), "EFF-GEN-07"),
                (What::Parent(ns, at), expected_parent, parent, "EFF-GEN-07"),
            ];
            for (what, expected, actual, requirement) in pairs {
                let (Some(expected), Some(actual)) = (expected.and_then(known), actual) else { continue };
                if expected != actual {
                    return Err(Mismatch::new(what, format!("[{expected}]"), format!("[{actual}]"), requirement));
                }
            }
        }
        Ok(())
    }

    /// What a user namespace that is not the first one shows of itself.
    fn compare_maps(&self, stage: &Stage, world: &World, at: usize) -> Result<(), Mismatch> {
        let Some(task) = world.task(at).filter(|task| task.leader) else { return Ok(()) };
        let own = task.space(Ns::User);
        if world.is_first_user(own) {
            return Ok(());
        }
        let maker = match world.spaces[&own].maker {
            0 => self.initial.uids[1],
            other => other,
        };
        let setgroups = if world.denies_setgroups(own) { "deny" } else { "allow" }.to_owned();
        let map = World::shown_map(world.map_of(own));
        for (expected, actual, requirement) in [
            (map.clone(), stage.of_user_space(at, "uid_map"), "EFF-USER-02"),
            (map, stage.of_user_space(at, "gid_map"), "EFF-USER-02"),
            (setgroups, stage.of_user_space(at, "setgroups"), "EFF-USER-07"),
            (maker.to_string(), stage.owner_uid(at).map(|uid| uid.to_string()), "EFF-USER-01"),
        ] {
            if let Some(actual) = actual.filter(|actual| *actual != expected) {
                return Err(Mismatch::new(What::Maps(at), expected, actual, requirement));
            }
        }
        Ok(())
    }

    fn compare_offset(&self, stage: &Stage, world: &World, at: usize) -> Result<(), Mismatch> {
        let Some(task) = world.task(at).filter(|task| task.leader) else { return Ok(()) };
        let later = task.space(Ns::TimeForChildren);
        let Content::Time { offsets, .. } = world.spaces[&later].content else { return Ok(()) };
        // What the first one has is the machine's.
        if world.is_first_time(later) {
            return Ok(());
        }
        match stage.offsets(at) {
            Some(actual) if actual != offsets => {
                let told = |[monotonic, boottime]: [i64; CLOCKS]| format!("monotonic {monotonic}, boottime {boottime}");
                Err(Mismatch::new(What::Offset(at), told(offsets), told(actual), "EFF-TIME-09"))
            }
            _ => Ok(()),
        }
    }
}
