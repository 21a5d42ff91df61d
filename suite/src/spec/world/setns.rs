//! setns(2), with the file of a namespace or a descriptor of a process (kernel/nsproxy.c).

use crate::feature::CAP_SYS_PTRACE;
use crate::spec::prelude::*;
use crate::spec::world::{Dir, FIRST_USER, FULL, Fs, Id, Outcome, Task, World};

const CAP_SYS_CHROOT: u32 = 18;

impl World {
    /// Whether a task may look into a process, and setns(2) does with a descriptor of it what the manual page says.
    pub(super) fn may_enter_by_process(&self, task: &Task, flags: Flags, of: usize) -> bool {
        let Some(other) = self.task(of).filter(|other| other.leader) else { return false };
        let may_look = other.process == task.process || self.capable(task, CAP_SYS_PTRACE, FIRST_USER);
        // With CLONE_NEWNS alone it is refused to who shares root and cwd. With another flag beside it it is not, and
        // moves those of all who share them (docs/found/setns-of-shared-root.c).
        let sound =
            !flags.contains(Flags::NEWNS) || flags == Flags::NEWNS || self.count(|other| other.fs == task.fs) == 1;
        flags != Flags::NONE && (flags - self.kernel.effective) == Flags::NONE && may_look && sound
    }

    /// setns(2) (kernel/nsproxy.c, and `install` of each kind).
    pub(super) fn setns(&mut self, at: usize, task: &Task, ns: Ns, of: usize) -> Outcome {
        let Some(other) = self.task(of) else { return Outcome::done() };
        let target = other.space(ns);
        match self.may_enter(task, ns, target, task.space(Ns::User)) {
            Some(errno) => Outcome::new(Err(errno), "EFF-GEN-01"),
            None => self.enter(at, ns, target),
        }
    }

    /// setns(2) with a descriptor of a process: to all of its namespaces of these kinds, or to none.
    pub(super) fn enter_process(&mut self, at: usize, task: &Task, flags: Flags, of: usize) -> Outcome {
        // The order in which they are looked at (`validate_nsset`, kernel/nsproxy.c).
        const ORDER: [Ns; 8] = [Ns::User, Ns::Mnt, Ns::Uts, Ns::Ipc, Ns::Pid, Ns::Cgroup, Ns::Net, Ns::Time];
        let Some(other) = self.task(of).cloned() else { return Outcome::done() };
        let targets = ORDER.map(|ns| (ns, other.space(ns)));
        let targets = targets.into_iter().filter(|(_, target)| flags.contains(self.spaces[target].kind));
        let targets: Vec<(Ns, Id)> = targets.collect();
        // It is asked for capabilities in the user namespace that it will be in.
        let mut user = task.space(Ns::User);
        for (ns, target) in &targets {
            if let Some(errno) = self.may_enter(task, *ns, *target, user) {
                return Outcome::new(Err(errno), "EFF-GEN-01");
            }
            if *ns == Ns::User {
                user = *target;
            }
        }
        let mut outcome = Outcome::done();
        for (ns, target) in targets {
            outcome.may_change = outcome.may_change | self.enter(at, ns, target).may_change;
        }
        outcome
    }

    /// Why a task that is or will be in this user namespace cannot join another one; nothing if it can.
    fn may_enter(&self, task: &Task, ns: Ns, target: Id, user: Id) -> Option<Errno> {
        let (own, owner) = (task.space(Ns::User), self.spaces[&target].owner);
        let admin = |over| self.capable(task, feature::CAP_SYS_ADMIN, over);
        let alone = self.count(|other| other.fs == task.fs) == 1;
        let threads = self.tasks.iter().flatten().filter(|other| other.process == task.process).count();
        match ns {
            Ns::User if target == own || threads > 1 || !alone => Some(Errno::EINVAL),
            Ns::User => (!admin(target)).then_some(Errno::EPERM),
            Ns::Time if self.is_in_company(task) => Some(Errno::EUSERS),
            _ if !admin(owner) || !admin(user) => Some(Errno::EPERM),
            Ns::Mnt if !self.capable(task, CAP_SYS_CHROOT, user) => Some(Errno::EPERM),
            Ns::Mnt if !alone => Some(Errno::EINVAL),
            Ns::Pid if self.pid_above(target).all(|above| above != task.space(Ns::Pid)) => Some(Errno::EINVAL),
            _ => None,
        }
    }

    /// Joins a namespace.
    fn enter(&mut self, at: usize, ns: Ns, target: Id) -> Outcome {
        let mut outcome = Outcome::done();
        match ns {
            Ns::User => {
                self.change(at, |task| {
                    (task.links[ns as usize], task.caps, task.no_root) = (target, FULL, false);
                });
                outcome.may_change = Parts::of(&[Part::Groups, Part::Securebits, Part::ProcessAttributes]);
            }
            Ns::Mnt => {
                self.change(at, |task| task.links[ns as usize] = target);
                if let Some(fs) = self.tasks[at].as_ref().map(|task| task.fs) {
                    self.fs.entry(fs).and_modify(|fs| *fs = Fs { root: Dir::Top, cwd: Dir::Top, ..*fs });
                }
            }
            Ns::Ipc => {
                self.leave_undo(at);
                self.change(at, |task| task.links[ns as usize] = target);
            }
            Ns::Pid => {
                self.change(at, |task| task.links[Ns::PidForChildren as usize] = target);
            }
            Ns::Time => {
                self.change(at, |task| {
                    task.links[Ns::Time as usize] = target;
                    task.links[Ns::TimeForChildren as usize] = target;
                });
            }
            _ => {
                self.change(at, |task| task.links[ns as usize] = target);
            }
        }
        outcome
    }

    /// Whether it has other threads, or shares its memory (`current_is_single_threaded`, lib/is_single_threaded.c).
    fn is_in_company(&self, task: &Task) -> bool {
        self.count(|other| other.process == task.process || other.vm == task.vm) > 1
    }
}
