//! Which task does what in a round: drawn from a seed, so that a failure can be repeated.

use crate::flags::Flags;

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
}

/// The actions of a round's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One action for each task.
    pub actions: Vec<Action>,
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
        Plan { actions }
    }

    /// How many tasks call unshare.
    pub fn unsharers(&self) -> u32 {
        let calls = |action: &&Action| matches!(action, Action::Unshare(_));
        self.actions.iter().filter(calls).count() as u32
    }

    /// Whether a task of the plan ends the whole process it belongs to.
    pub fn ends_the_process(&self) -> bool {
        self.actions
            .iter()
            .any(|action| matches!(action, Action::Exec | Action::Exit))
    }
}

/// One to four flags. A network namespace takes as long as all others together, so it comes up
/// less often.
fn draw_flags(random: &mut fastrand::Rng, pool: &[Flags]) -> Flags {
    let mut flags = Flags::NONE;
    for _ in 0..random.usize(1..=4) {
        let flag = pool[random.usize(..pool.len())];
        if flag != Flags::NEWNET || random.u32(..4) == 0 {
            flags = flags | flag;
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan() {
        let plan =
            |seed| Plan::of_processes(&mut fastrand::Rng::with_seed(seed), 10, &Flags::KNOWN);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn a_couple_execve_a_couple_exit_the_rest_unshare() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let plan = Plan::of_processes(&mut random, 10, &Flags::KNOWN);
            let count =
                |wanted: fn(&Action) -> bool| plan.actions.iter().filter(|a| wanted(a)).count();
            assert_eq!(count(|a| *a == Action::Exec), 2);
            assert_eq!(count(|a| *a == Action::Exit), 2);
            assert_eq!(count(|a| matches!(a, Action::Unshare(_))), 6);
        }
    }

    #[test]
    fn thread_rounds_come_in_all_kinds() {
        let kinds: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| {
                let mut random = fastrand::Rng::with_seed(seed);
                let plan = Plan::of_threads(&mut random, 10, &Flags::KNOWN);
                (
                    plan.actions.contains(&Action::Exec),
                    plan.actions.contains(&Action::Exit),
                )
            })
            .collect();
        assert_eq!(kinds.len(), 4);
    }
}
