//! Which step comes next: drawn, and drawn towards what the model has seen least of.

use super::maps::SHORT;
use crate::feature::CAP_SETUID;
use crate::spec::prelude::*;
use crate::spec::world::{
    Dir, FDS, MAPS, NEAR_FDS, NEXT_ID, OFFSETS, Object, Op, Options, Propagation, TASKS, Task, VALUES, VFORK, Visited,
    World,
};

/// What histories are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All there is.
    Everything,
    /// What tasks share, and threads.
    Sharing,
    /// Mounts and their propagation, root and current directory.
    Mounts,
    /// User namespaces, credentials and limits.
    Users,
}

impl Mix {
    /// All of them, by the name of their case.
    pub const ALL: [(Mix, &'static str); 4] =
        [(Mix::Everything, "everything"), (Mix::Sharing, "sharing"), (Mix::Mounts, "mounts"), (Mix::Users, "users")];

    /// How often each kind of step is drawn, by its number in [`Draw::any`].
    fn weights(self) -> [u32; 34] {
        match self {
            Mix::Everything => {
                [16, 8, 4, 6, 6, 3, 1, 2, 2, 1, 1, 1, 1, 4, 2, 4, 3, 3, 4, 2, 2, 2, 2, 4, 2, 1, 3, 1, 3, 1, 1, 2, 2, 1]
            }
            Mix::Sharing => [
                20, 14, 8, 10, 2, 4, 1, 4, 1, 0, 0, 0, 0, 0, 0, 8, 5, 5, 0, 0, 0, 0, 4, 2, 6, 2, 0, 0, 3, 1, 0, 0, 2, 1,
            ],
            Mix::Mounts => [
                20, 8, 4, 6, 8, 6, 2, 2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 12, 0, 10, 8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0,
            ],
            Mix::Users => {
                [20, 8, 4, 6, 8, 1, 1, 0, 4, 2, 1, 1, 1, 8, 6, 0, 0, 0, 0, 4, 0, 0, 3, 8, 0, 0, 12, 4, 2, 1, 2, 0, 5, 2]
            }
        }
    }

    /// The flags that it draws beside those of all mixes.
    fn flags(self) -> &'static [Flags] {
        match self {
            Mix::Everything | Mix::Users => &Flags::KNOWN,
            Mix::Sharing => &[
                Flags::FS,
                Flags::FILES,
                Flags::SYSVSEM,
                Flags::VM,
                Flags::SIGHAND,
                Flags::THREAD,
                Flags::NEWIPC,
                Flags::NEWNS,
                Flags::NEWPID,
                Flags::NEWUTS,
            ],
            Mix::Mounts => &[Flags::FS, Flags::NEWNS, Flags::NEWUSER, Flags::NEWPID, Flags::EMPTY, Flags::NEWUTS],
        }
    }
}

/// What a place lets tasks do that facts do not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offers {
    /// A program can be executed.
    pub programs: bool,
    /// setns(2) takes the descriptor of a process, and no other process is out of reach.
    pub pidfds: bool,
    /// The first user namespace has all IDs.
    pub all_ids: bool,
    /// Nothing is among the securebits.
    pub securebits: bool,
    /// A table can have descriptors beyond [`NEAR_FDS`].
    pub far_descriptors: bool,
    /// The settings of IPC namespaces can be written, by the machine's root.
    pub settings: bool,
    /// A signal can be queued, and there is room for many.
    pub signals: bool,
    /// Which kinds of objects IPC namespaces can have.
    pub objects: [bool; Object::ALL.len()],
    /// Allocations fail where a task asks for it, and histories are to be about that.
    pub starving: bool,
}

impl Offers {
    /// All there is, with enough memory for it.
    pub const ALL: Offers = Offers {
        programs: true,
        pidfds: true,
        all_ids: true,
        securebits: true,
        far_descriptors: true,
        settings: true,
        signals: true,
        objects: [true; Object::ALL.len()],
        starving: false,
    };
}

/// About as many allocations as a call makes that makes no network namespace (docs/allocations.md).
const ALLOCATIONS: u32 = 50;

/// Draws steps.
#[derive(Clone, Debug)]
pub struct Draw {
    mix: Mix,
    random: fastrand::Rng,
    /// Flags that the place does not let anybody use.
    without: Flags,
    /// How many bits an argument has.
    bits: u32,
    /// Whether there is another user to become.
    has_nobody: bool,
    /// Whether there are semaphores.
    has_semaphores: bool,
    /// Whether limits can be written.
    has_limits: bool,
    offers: Offers,
}

impl Draw {
    /// Begins with a seed, in a place of which facts and offers tell what it allows.
    pub fn new(mix: Mix, seed: u64, facts: &Facts, offers: Offers) -> Draw {
        let without = if facts.has(feature::CREATE_USER_NS) { Flags::NONE } else { Flags::NEWUSER };
        Draw {
            mix,
            random: fastrand::Rng::with_seed(seed),
            without,
            bits: if facts.has(feature::WIDE_ARGUMENT) { u64::BITS } else { u32::BITS },
            // Of another user's task, namespaces are opened by who may trace it.
            has_nobody: facts.has(feature::SECOND_USER) && facts.capabilities & (1 << feature::CAP_SYS_PTRACE) != 0,
            has_semaphores: facts.has(feature::SYSV_IPC),
            has_limits: facts.has(feature::NAMESPACE_LIMITS),
            offers,
        }
    }

    /// A step of another task for the same time as this one; now and then, and where there is one.
    pub fn beside(&mut self, world: &World, step: (usize, &Op)) -> Option<(usize, Op)> {
        const TRIES: u32 = 6;
        if self.random.u32(..3) > 0 || world.alive().count() < 2 {
            return None;
        }
        let mut drawn = (0..TRIES).map(|_| self.any(world));
        drawn.find(|(at, op)| world.enabled(*at, op) && world.may_race(step, (*at, op)))
    }

    /// The next step: of a few that can be taken, the one the model has seen least of.
    pub fn next(&mut self, world: &World, visited: &Visited) -> (usize, Op) {
        const CHOICE: usize = 4;
        let mut best: Option<(u32, usize, Op)> = None;
        let mut found = 0;
        // Something can always be taken: the first task may unshare whatever its state.
        while found < CHOICE {
            let (at, op) = self.any(world);
            if !world.enabled(at, &op) {
                continue;
            }
            found += 1;
            let Some(task) = world.task(at) else { continue };
            let count = visited.count(world, task, &op);
            if best.is_none_or(|(least, ..)| count < least) {
                best = Some((count, at, op));
            }
        }
        best.map_or((0, Op::Unshare(Flags::NONE)), |(_, at, op)| (at, op))
    }

    fn any(&mut self, world: &World) -> (usize, Op) {
        let alive: Vec<usize> = world.alive().map(|(at, _)| at).collect();
        let at = alive[self.random.usize(..alive.len())];
        let weights = self.mix.weights();
        let mut left = self.random.u32(..weights.iter().sum::<u32>());
        let kind = weights.iter().position(|weight| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let dirs = [Dir::Top, Dir::A, Dir::B];
        let unshare = |this: &mut Self| Op::Unshare(this.flags());
        let op = match kind.unwrap_or(0) {
            1 => Op::Clone(self.shared(), self.random.usize(1..TASKS)),
            2 => Op::Exit,
            3 => Op::Reap(self.random.usize(1..TASKS)),
            4 => Op::Setns(Ns::ALL[self.random.usize(..Ns::ALL.len())], self.random.usize(..TASKS)),
            5 => Op::Chdir(dirs[self.random.usize(..3)]),
            6 => Op::Chroot(dirs[self.random.usize(1..3)]),
            7 => Op::Umask([0, 0o22, 0o77, 0o27][self.random.usize(..4)]),
            8 => Op::HostName(self.random.u8(..10)),
            9 => Op::DropSysAdmin,
            10 => Op::DropAll,
            11 if self.has_nobody => Op::BecomeNobody,
            12 => Op::NoNewPrivs,
            13 => {
                let unmapped = self.task_where(world, |task| world.is_unmapped(task.space(Ns::User)));
                return (unmapped.unwrap_or(at), Op::MapSelf);
            }
            14 if self.has_limits => {
                Op::Limit(KINDS[self.random.usize(..KINDS.len())].flag, [0, 0, 1, 2, 3][self.random.usize(..5)])
            }
            15 if self.has_semaphores => Op::Take,
            16 => Op::Open(self.descriptor(), self.random.u32(..3) == 0),
            17 => Op::Close(self.descriptor()),
            18 => Op::Propagate(Propagation::ALL[self.random.usize(..4)]),
            19 => Op::Offset(self.random.usize(..OFFSETS.len())),
            20 => Op::Mount,
            21 => Op::Unmount,
            22 if self.offers.programs => Op::Exec,
            23 if self.offers.pidfds => Op::Enter(self.joined(), self.random.usize(..TASKS)),
            24 => Op::Lock,
            25 => Op::Unlock,
            26 if self.offers.all_ids => {
                let of = self.task_to_map(world);
                if self.random.u32(..4) == 0 {
                    return (at, Op::Map(self.map(), of));
                }
                match self.task_above(world, of) {
                    Some(writer) => return (writer, Op::Map(self.map(), of)),
                    // There will be one.
                    None => {
                        let more = self.shared() & (Flags::FILES | Flags::VM | Flags::PRIVILEGED);
                        let ipc = if self.random.bool() { Flags::NEWIPC } else { Flags::NONE };
                        Op::Clone(Flags::NEWUSER | more | ipc, self.random.usize(1..TASKS))
                    }
                }
            }
            27 => Op::Setgroups(self.random.bool()),
            28 => self.object().map_or_else(|| unshare(self), Op::Make),
            29 => self.object().map_or_else(|| unshare(self), Op::Remove),
            30 if self.offers.securebits => Op::NoRoot,
            31 => Op::Remount(self.options()),
            32 if self.offers.settings => {
                let which = if self.random.u32(..4) == 0 { NEXT_ID } else { self.random.usize(..NEXT_ID) };
                let may = |task: &Task| world.may_set(task, which);
                let is_refused = |task: &Task| may(task) && world.is_setting_writable(task, which).is_err();
                let refused = if self.random.bool() { self.task_where(world, is_refused) } else { None };
                let at = refused.or_else(|| self.task_where(world, may)).unwrap_or(at);
                return (at, Op::Set(which, self.random.i32(VALUES)));
            }
            33 if self.offers.signals => Op::Signals,
            _ => unshare(self),
        };
        if self.offers.starving && self.random.bool() {
            // Most calls make few.
            let most = self.random.u32(1..=ALLOCATIONS);
            return (at, Op::Starved(self.flags(), self.random.u32(1..=most)));
        }
        (at, op)
    }

    /// A set of flags for unshare(2): one, some, many; now and then with a bit that it does not take.
    fn flags(&mut self) -> Flags {
        let known = self.mix.flags();
        let one = |random: &mut fastrand::Rng| known[random.usize(..known.len())];
        let set = match self.random.u32(..20) {
            0..8 => one(&mut self.random),
            8..13 => one(&mut self.random) | one(&mut self.random),
            13..16 => one(&mut self.random) | one(&mut self.random) | one(&mut self.random),
            16..19 => known.iter().filter(|_| self.random.bool()).copied().collect(),
            _ => one(&mut self.random) | Flags(1 << self.random.u32(..self.bits)),
        };
        // A network namespace takes long to make: now and then is enough.
        let rare = if self.random.u32(..8) == 0 { Flags::NONE } else { Flags::NEWNET };
        set & !(self.without | rare)
    }

    /// One of [`MAPS`]: two of three are taken, every third one is long.
    fn map(&mut self) -> usize {
        // Those that are taken come first, the long ones of them last.
        let taken = MAPS.iter().filter(|(_, lines)| !lines.is_empty()).count();
        let short = MAPS.iter().filter(|(_, lines)| (1..=SHORT).contains(&lines.len())).count();
        let among = [0..MAPS.len(), 0..short, short..taken][self.random.usize(..3)].clone();
        self.random.usize(among)
    }

    /// One of the live tasks for which this holds, if there is one.
    fn task_where(&mut self, world: &World, holds: impl Fn(&Task) -> bool) -> Option<usize> {
        let there: Vec<usize> = world.alive().filter(|(_, task)| holds(task)).map(|(at, _)| at).collect();
        self.random.choice(there)
    }

    /// Mostly a task whose user namespace has no map yet, if there is one.
    fn task_to_map(&mut self, world: &World) -> usize {
        let unmapped = self.task_where(world, |task| world.is_unmapped(task.space(Ns::User)));
        unmapped.filter(|_| self.random.u32(..4) > 0).unwrap_or_else(|| self.random.usize(..TASKS))
    }

    /// A task above the user namespace of another one that has no map yet, which may give it any.
    fn task_above(&mut self, world: &World, of: usize) -> Option<usize> {
        let space = world.task(of)?.space(Ns::User);
        let above = world.spaces.get(&space).filter(|_| world.is_unmapped(space))?.owner;
        self.task_where(world, |task| task.space(Ns::User) == above && world.capable(task, CAP_SETUID, above))
    }

    fn descriptor(&mut self) -> u16 {
        FDS[self.random.usize(..if self.offers.far_descriptors { FDS.len() } else { NEAR_FDS })]
    }

    /// One option, several, or none.
    fn options(&mut self) -> Options {
        let drawn = Options::ALL.into_iter().filter(|_| self.random.u32(..3) == 0);
        Options(drawn.fold(0, |all, (option, ..)| all | option.0))
    }

    /// A kind of object that there can be.
    fn object(&mut self) -> Option<Object> {
        let object = Object::ALL[self.random.usize(..Object::ALL.len())];
        self.offers.objects[object as usize].then_some(object)
    }

    /// A set of kinds of namespace for setns(2).
    fn joined(&mut self) -> Flags {
        self.flags() & ((Flags::PRIVILEGED | Flags::NEWUSER) - Flags::EMPTY)
    }

    /// A set of flags for clone(2).
    fn shared(&mut self) -> Flags {
        let sharing = [Flags::FS, Flags::FILES, Flags::SYSVSEM, Flags::VM];
        let mut set: Flags = sharing.into_iter().filter(|_| self.random.bool()).collect();
        if set.contains(Flags::VM) && self.random.bool() {
            set |= Flags::SIGHAND;
            if self.random.bool() {
                set |= Flags::THREAD;
            }
        }
        if self.mix != Mix::Sharing && self.random.u32(..3) == 0 {
            set |= self.flags() & (Flags::PRIVILEGED | Flags::NEWUSER);
            set &= !(Flags::NEWTIME | Flags::EMPTY | Flags::THREAD);
        }
        if !set.contains(Flags::THREAD) && self.random.u32(..8) == 0 {
            set |= VFORK;
        }
        set & !self.without
    }
}
