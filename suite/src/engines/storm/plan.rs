//! Which task does what in a round: drawn from a seed, so that a failure can be repeated.

use super::*;
use Action::Disturb;

/// What a task does when the round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// execve of the suite's own program.
    Exec,
    /// _exit: the whole process, and so its thread group, ends.
    Exit,
    /// exit of the calling thread alone.
    ExitThread,
    /// unshare with these flags.
    Unshare(Flags),
    /// Disturbs those that do.
    Disturb(Role),
}

/// What disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// chdir, chroot and umask to what they are: CLONE_FS and CLONE_NEWNS copy them.
    Places,
    /// clone(CLONE_FS) and exit: a sharer more, and the last one gone. EAGAIN is allowed, while a sharer
    /// executes a program.
    Sharer,
    /// dup2, close and close_range: CLONE_FILES copies the table.
    Descriptors,
    /// mount and umount in the mount namespace that CLONE_NEWNS copies.
    Mounts,
    /// semop with SEM_UNDO on a set of its own, and its removal, while others leave the undo list.
    Semaphores,
    /// setns into namespaces that the others have just made.
    Follower,
    /// ptrace: seizes those that unshare, stops them and lets go.
    Tracer,
    /// Signals with a handler and without SA_RESTART.
    Signals,
    /// Reads links, status, mounts and descriptors of all tasks in /proc.
    Reader,
}

/// The actions of a round's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One action for each task.
    pub actions: Vec<Action>,
    /// Whether the tasks are dealt out to the CPUs in turn and stay there, so that calls meet on different
    /// CPUs; else they run where the scheduler likes.
    pub spread: bool,
}

/// How many tasks call unshare.
pub fn unsharers(actions: &[Action]) -> u32 {
    let calls = |action: &&Action| matches!(action, Action::Unshare(_));
    actions.iter().filter(calls).count() as u32
}

/// How many of a round's tasks run execve, and how many _exit: "a couple" each.
const COUPLE: usize = 2;

impl Plan {
    /// Draws a round for tasks that are processes: two execve, two _exit, the rest unshare.
    pub fn of_processes(random: &mut fastrand::Rng, tasks: usize, pool: &[Flags]) -> Plan {
        let fates = [Action::Exec, Action::Exec, Action::Exit, Action::Exit];
        Plan::draw(random, tasks, pool, &fates)
    }

    /// Draws a round for the threads of one process. execve and _exit end all of them, so there
    /// are rounds with neither, in which all that unshare can be looked at, and rounds with either
    /// or both.
    pub fn of_threads(random: &mut fastrand::Rng, tasks: usize, pool: &[Flags]) -> Plan {
        let mut fates = vec![Action::ExitThread; COUPLE];
        let choice = random.u32(..4);
        if choice & 1 != 0 {
            fates.extend([Action::Exec; COUPLE]);
        }
        if choice & 2 != 0 {
            fates.extend([Action::Exit; COUPLE]);
        }
        Plan::draw(random, tasks, pool, &fates)
    }

    fn draw(random: &mut fastrand::Rng, tasks: usize, pool: &[Flags], fates: &[Action]) -> Plan {
        let mut actions = fates.to_vec();
        while actions.len() < tasks {
            actions.push(Action::Unshare(draw_flags(random, pool)));
        }
        actions.truncate(tasks);
        random.shuffle(&mut actions);
        Plan { actions, spread: draw_spread(random) }
    }

    /// Draws a round of 2 to 64 tasks, most of them few: about a half unshare, mostly what the theme is
    /// about; the others race with that.
    pub fn of_theme(theme: Theme, random: &mut fastrand::Rng, pool: &[Flags]) -> Plan {
        let most = [4, 8, 16, 32, 64][random.usize(..5)];
        let tasks = random.usize(2..=most);
        let subject: Vec<Flags> = theme.flags.iter().filter(|flag| pool.contains(flag)).copied().collect();
        let mut actions = vec![Action::Unshare(draw_flags(random, pool))];
        while actions.len() < tasks {
            actions.push(match random.u32(..20) {
                0..7 if !subject.is_empty() => {
                    let flag = subject[random.usize(..subject.len())];
                    let more = if random.bool() { draw_flags(random, pool) } else { Flags::NONE };
                    Action::Unshare(flag | more)
                }
                0..9 => Action::Unshare(draw_flags(random, pool)),
                9..17 => theme.roles[random.usize(..theme.roles.len())],
                17 => Action::Exec,
                18 => Action::Exit,
                _ => ROLES[random.usize(..ROLES.len())],
            });
        }
        random.shuffle(&mut actions);
        Plan { actions, spread: draw_spread(random) }
    }

    /// Plans of fewer of its tasks, those with the fewest first: to find which it takes.
    pub fn smaller(&self) -> Vec<Plan> {
        let count = self.actions.len();
        let mut plans = Vec::new();
        let mut part = count / 2;
        while part > 0 {
            for from in (0..count).step_by(part) {
                let left = |at: &usize| !(from..from + part).contains(at);
                let actions: Vec<Action> = (0..count).filter(left).map(|at| self.actions[at]).collect();
                let plan = Plan { actions, spread: self.spread };
                if plan.unsharers() > 0 {
                    plans.push(plan);
                }
            }
            part /= 2;
        }
        plans
    }

    /// How many tasks call unshare.
    pub fn unsharers(&self) -> u32 {
        unsharers(&self.actions)
    }

    /// Whether a task of the plan ends the whole process it belongs to.
    pub fn ends_the_process(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Exec | Action::Exit))
    }
}

/// What the tasks of a storm quarrel about.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// What cases call it.
    pub name: &'static str,
    flags: &'static [Flags],
    roles: &'static [Action],
}

const fn theme(name: &'static str, flags: &'static [Flags], roles: &'static [Action]) -> Theme {
    Theme { name, flags, roles }
}

/// Every theme.
pub const THEMES: [Theme; 7] = [
    // With execve: who shares them last.
    theme("places", &[Flags::FS], &[Disturb(Role::Places), Disturb(Role::Sharer), Action::Exec]),
    theme("descriptors", &[Flags::FILES], &[Disturb(Role::Descriptors)]),
    theme("mounts", &[Flags::NEWNS, Flags::EMPTY], &[Disturb(Role::Mounts), Disturb(Role::Places)]),
    theme("semaphores", &[Flags::SYSVSEM, Flags::NEWIPC], &[Disturb(Role::Semaphores), Action::Exit]),
    // Others enter them.
    theme("namespaces", &[Flags::NEWUTS, Flags::NEWIPC, Flags::NEWCGROUP, Flags::NEWNET], &[Disturb(Role::Follower)]),
    // Who is looked at, stopped and interrupted.
    theme("watched", &[], &[Disturb(Role::Tracer), Disturb(Role::Signals), Disturb(Role::Reader)]),
    theme("all", &[], &ROLES),
];

const ROLES: [Action; 9] = [
    Disturb(Role::Places),
    Disturb(Role::Sharer),
    Disturb(Role::Descriptors),
    Disturb(Role::Mounts),
    Disturb(Role::Semaphores),
    Disturb(Role::Follower),
    Disturb(Role::Tracer),
    Disturb(Role::Signals),
    Disturb(Role::Reader),
];

/// In three rounds of four calls are made to meet; in the fourth tasks move from CPU to CPU.
fn draw_spread(random: &mut fastrand::Rng) -> bool {
    random.u32(..4) != 0
}

/// One to four flags. A network namespace takes as long as all others together, so it comes up
/// less often.
fn draw_flags(random: &mut fastrand::Rng, pool: &[Flags]) -> Flags {
    let mut flags = Flags::NONE;
    for _ in 0..random.usize(1..=4) {
        let flag = pool[random.usize(..pool.len())];
        if flag != Flags::NEWNET || random.u32(..4) == 0 {
            flags |= flag;
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan() {
        let plan = |seed| Plan::of_processes(&mut fastrand::Rng::with_seed(seed), 10, &Flags::KNOWN);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn a_couple_execve_a_couple_exit_the_rest_unshare() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let plan = Plan::of_processes(&mut random, 10, &Flags::KNOWN);
            let count = |wanted: fn(&Action) -> bool| plan.actions.iter().filter(|a| wanted(a)).count();
            assert_eq!(count(|a| *a == Action::Exec), 2);
            assert_eq!(count(|a| *a == Action::Exit), 2);
            assert_eq!(count(|a| matches!(a, Action::Unshare(_))), 6);
        }
    }

    #[test]
    fn themes_have_2_to_64_tasks_and_plans_shrink_to_one() {
        let mut random = fastrand::Rng::with_seed(1);
        for theme in THEMES {
            for _ in 0..100 {
                let plan = Plan::of_theme(theme, &mut random, &Flags::KNOWN);
                assert!((2..=64).contains(&plan.actions.len()) && plan.unsharers() > 0);
                assert!(plan.smaller().iter().all(|smaller| smaller.actions.len() < plan.actions.len()));
                assert!(plan.smaller().iter().all(|smaller| smaller.unsharers() > 0));
            }
        }
    }

    #[test]
    fn thread_rounds_come_in_all_kinds() {
        let kinds: BTreeSet<_> = (0..100)
            .map(|seed| {
                let mut random = fastrand::Rng::with_seed(seed);
                let plan = Plan::of_threads(&mut random, 10, &Flags::KNOWN);
                (plan.actions.contains(&Action::Exec), plan.actions.contains(&Action::Exit))
            })
            .collect();
        assert_eq!(kinds.len(), 4);
    }
}
