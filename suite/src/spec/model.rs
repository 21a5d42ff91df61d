//! What unshare(2) must do: a pure function from a start state, a set of flags and a kernel to a
//! result and the parts of the task's state that change. It reads as the specification of the
//! call, and is the only place where an expectation is computed.
//!
//! The order of the steps in [`predict`] is the kernel's (`ksys_unshare` in kernel/fork.c): where
//! several errors apply, the first step that refuses decides (ORD rows).

#[cfg(test)]
mod bits;
pub mod memory;
mod parts;
#[cfg(test)]
mod properties;
pub mod rows;

use crate::feature;
use harness::place::facts::Facts;
use nix::errno::Errno;

pub use parts::{Part, Parts};

use crate::spec::flags::Flags;
use crate::spec::namespaces::KINDS;

/// What the kernel at hand offers, as far as unshare(2) depends on it (sections 1 and 10.2 of the
/// behaviour catalogue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The bits it accepts at all (FLAG-51). A namespace flag whose support is not built in is
    /// accepted here and refused later, after the privilege check (ERR-07).
    pub accepted: Flags,
    /// The flags that really do something.
    pub effective: Flags,
    /// A user namespace takes CAP_SYS_ADMIN in the initial one (Debian's switch, ERR-25).
    pub user_takes_root: bool,
    /// Parts of a task's state that it does not show: that they change is not looked for.
    pub unseen: Parts,
    /// An empty mount namespace takes no capability: proposed in 2026, and in no release up to 7.3 (section 10.3 of the
    /// behaviour catalogue).
    pub empty_for_all: bool,
}

impl Kernel {
    /// One that offers all there is (7.1 and later).
    #[cfg(test)]
    pub(crate) const FULL: Kernel = Kernel {
        accepted: Flags(0x7e17_0f80),
        effective: Flags(0x7e17_0f80),
        user_takes_root: false,
        unseen: Parts::NONE,
        empty_for_all: false,
    };

    /// What the facts say of the running kernel.
    pub fn of(facts: &Facts) -> Kernel {
        let every: Flags = Flags::KNOWN.into_iter().collect();
        let accepted = if facts.has(feature::EMPTY_MNT_NS) { every } else { every & !Flags::EMPTY };
        let missing: Flags = KINDS
            .into_iter()
            .filter_map(|kind| kind.feature.map(|feature| (feature, kind.flag)))
            .chain([(feature::SYSV_IPC, Flags::SYSVSEM)])
            .filter_map(|(feature, flag)| (!facts.has(feature)).then_some(flag))
            .collect();
        Kernel {
            accepted: accepted & !crate::profile::unclaimed(facts),
            // A claimed flag implies others, claimed or not.
            effective: accepted & !missing,
            user_takes_root: feature::user_namespace_takes_root(facts),
            empty_for_all: feature::empty_mount_namespace_is_for_all(facts),
            unseen: unseen(facts),
        }
    }
}

/// The parts of a task's state that the running kernel does not show.
fn unseen(facts: &Facts) -> Parts {
    const LINKS: Parts = Parts::of(&[
        Part::MntNs,
        Part::UtsNs,
        Part::IpcNs,
        Part::PidNs,
        Part::PidForChildrenNs,
        Part::NetNs,
        Part::UserNs,
        Part::CgroupNs,
        Part::TimeNs,
        Part::TimeForChildrenNs,
    ]);
    let links = if facts.has(feature::NS_LINKS) { Parts::NONE } else { LINKS };
    let mounts = match facts.has(feature::MOUNT_IDS) {
        true => Parts::NONE,
        false => Parts::of(&[Part::CwdMount, Part::RootMount]),
    };
    let unlinked = match facts.has(feature::ALL_LINKS) {
        true => Parts::NONE,
        false => feature::unlinked().fold(Parts::NONE, |parts, ns| parts.with(Part::ALL[ns as usize])),
    };
    links | unlinked | mounts
}

/// Whether the caller has a thread group around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Threads {
    /// It is its process's only thread.
    #[default]
    Alone,
    /// Another thread of its process is alive.
    Others,
    /// It is the last thread, but not the leader, which has ended (ERR-04).
    LeaderGone,
}

/// The start state, as far as unshare(2) depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The thread group.
    pub threads: Threads,
    /// The signal handlers are shared with another process, alive or not yet reaped (ERR-12).
    pub handlers_shared: bool,
    /// The address space is shared with another process.
    pub memory_shared: bool,
    /// CAP_SYS_ADMIN is effective in the current user namespace.
    pub sys_admin: bool,
    /// … and that one is the initial user namespace.
    pub initial_admin: bool,
    /// The root directory is not the root of the mount namespace.
    pub chrooted: bool,
    /// The current directory is on a mount that is detached from the namespace, and is not copied
    /// with it (EFF-MNT-09).
    pub cwd_detached: bool,
    /// The effective user and group are mapped in the current user namespace.
    pub ids_mapped: bool,
    /// `pid_for_children` is not the task's own PID namespace (the state called PID2).
    pub children_elsewhere: bool,
    /// The table of descriptors is shared and has one beyond `fs.nr_open` (ERR-36).
    pub beyond_nr_open: bool,
    /// The kinds of namespace whose limit in the current user namespace is reached (ERR-30).
    pub exhausted: Flags,
    /// The kinds of namespace that are nested as deep as they may be already: CLONE_NEWUSER,
    /// CLONE_NEWPID (ERR-33, ERR-34).
    pub too_deep: Flags,
    /// The PID namespace belongs to a user namespace that is neither the current one nor an ancestor
    /// of it (ERR-10).
    pub pid_ns_foreign: bool,
    /// A security module refuses user namespaces, with this errno (ERR-26).
    pub module_refuses: Option<Errno>,
}

impl Default for Start {
    /// A lone task with CAP_SYS_ADMIN.
    fn default() -> Self {
        Self {
            threads: Threads::Alone,
            handlers_shared: false,
            memory_shared: false,
            sys_admin: true,
            initial_admin: true,
            chrooted: false,
            cwd_detached: false,
            ids_mapped: true,
            children_elsewhere: false,
            beyond_nr_open: false,
            exhausted: Flags::NONE,
            too_deep: Flags::NONE,
            pid_ns_foreign: false,
            module_refuses: None,
        }
    }
}

impl Start {
    /// A lone task with the privilege that the facts say it has.
    pub fn of(facts: &Facts) -> Start {
        Start {
            sys_admin: facts.has(feature::SYS_ADMIN),
            initial_admin: facts.has(feature::INITIAL_ROOT),
            ..Start::default()
        }
    }

    /// A lone task without any capability.
    pub fn unprivileged() -> Start {
        Start { sys_admin: false, initial_admin: false, ..Start::default() }
    }
}

/// What must come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Success, or the errno.
    pub result: Result<(), Errno>,
    /// Parts that must be other than before.
    pub must_change: Parts,
    /// Parts that may be other than before, depending on values the model does not look at.
    pub may_change: Parts,
    /// Of what the caller may share with others, what it must have left.
    pub separated: Flags,
    /// The requirement that the result follows from.
    pub because: &'static str,
}

impl Prediction {
    /// Success that changes nothing: what a call must do to every task but its caller.
    pub fn nothing() -> Self {
        Self {
            result: Ok(()),
            must_change: Parts::NONE,
            may_change: Parts::NONE,
            separated: Flags::NONE,
            because: "DIFF-16",
        }
    }

    /// Whether the caller is afterwards as it was before, whatever the result.
    pub fn changes_nothing(&self) -> bool {
        self.must_change == Parts::NONE && self.may_change == Parts::NONE && self.separated == Flags::NONE
    }

    fn refused(errno: Errno, because: &'static str) -> Self {
        Self { result: Err(errno), because, ..Self::nothing() }
    }
}

/// The flags that the kernel adds by itself (IMP rows).
pub fn with_implied(flags: Flags) -> Flags {
    let mut all = flags;
    for (given, implied) in [
        (Flags::NEWUSER, Flags::THREAD | Flags::FS),
        (Flags::VM, Flags::SIGHAND),
        (Flags::SIGHAND, Flags::THREAD),
        (Flags::EMPTY, Flags::NEWNS),
        (Flags::NEWNS, Flags::FS),
    ] {
        if all.contains(given) {
            all |= implied;
        }
    }
    all
}

/// Says what unshare(2) must do.
pub fn predict(start: &Start, flags: Flags, kernel: &Kernel) -> Prediction {
    // Debian's switch comes before all else (ORD-10, ORD-11).
    if flags.contains(Flags::NEWUSER) && kernel.user_takes_root && !start.initial_admin {
        return Prediction::refused(Errno::EPERM, "ERR-25");
    }
    // Unknown bits, before anything else is looked at (FLAG rows).
    if flags.intersects(!kernel.accepted) {
        return Prediction::refused(Errno::EINVAL, "ERR-01");
    }
    let all = with_implied(flags);
    // What is never separated must not be shared (MT rows).
    for (flag, refused) in [
        (Flags::THREAD, start.threads != Threads::Alone),
        (Flags::SIGHAND, start.handlers_shared),
        (Flags::VM, start.memory_shared),
    ] {
        if all.contains(flag) && refused {
            let because = rows::of_company(start, flag, flags);
            return Prediction::refused(Errno::EINVAL, because);
        }
    }
    // The copy of the descriptor table; that of root, cwd and umask cannot fail.
    if all.contains(Flags::FILES) && start.beyond_nr_open {
        return Prediction::refused(Errno::EMFILE, "ERR-36");
    }
    // The user namespace: depth and limit, then what else speaks against it (ORD-07, ORD-13).
    if all.contains(Flags::NEWUSER) {
        if !kernel.effective.contains(Flags::NEWUSER) {
            return Prediction::refused(Errno::EINVAL, "ERR-07");
        }
        if start.too_deep.contains(Flags::NEWUSER) {
            return Prediction::refused(Errno::ENOSPC, "ERR-33");
        }
        if start.exhausted.contains(Flags::NEWUSER) {
            return Prediction::refused(Errno::ENOSPC, "ERR-30");
        }
        if start.chrooted {
            return Prediction::refused(Errno::EPERM, "ERR-21");
        }
        if !start.ids_mapped {
            return Prediction::refused(Errno::EPERM, "ERR-23");
        }
        if let Some(errno) = start.module_refuses {
            return Prediction::refused(errno, "ERR-26");
        }
    }
    // Privilege, in the new user namespace if one is asked for (PRIV-03, PRIV-04).
    let privileged = start.sys_admin || all.contains(Flags::NEWUSER);
    let free =
        if kernel.empty_for_all && all.contains(Flags::EMPTY) { Flags::EMPTY | Flags::NEWNS } else { Flags::NONE };
    if (all & !free).intersects(Flags::PRIVILEGED) && !privileged {
        return Prediction::refused(Errno::EPERM, "ERR-20");
    }
    // The namespaces, in the order they are made (section 2.5 of the behaviour catalogue).
    for flag in KINDS.map(|kind| kind.flag) {
        if flag == Flags::NEWUSER || !all.contains(flag) {
            continue;
        }
        if !kernel.effective.contains(flag) {
            // A cgroup namespace that is not built in is silently none (FLAG-25).
            if flag == Flags::NEWCGROUP {
                continue;
            }
            return Prediction::refused(Errno::EINVAL, "ERR-07");
        }
        // The state is looked at before the limits (ERR-35).
        if flag == Flags::NEWPID && start.children_elsewhere {
            return Prediction::refused(Errno::EINVAL, "ERR-08");
        }
        if flag == Flags::NEWPID && start.pid_ns_foreign {
            return Prediction::refused(Errno::EINVAL, "ERR-10");
        }
        if start.too_deep.contains(flag) {
            return Prediction::refused(Errno::ENOSPC, "ERR-34");
        }
        if start.exhausted.contains(flag) {
            return Prediction::refused(Errno::ENOSPC, "ERR-30");
        }
    }
    let done = all & kernel.effective;
    let mut must_change = must_change(done);
    if start.cwd_detached && !done.contains(Flags::EMPTY) {
        must_change = must_change - Parts::of(&[Part::CwdMount]);
    }
    Prediction {
        result: Ok(()),
        must_change,
        may_change: may_change(done),
        separated: separated(done),
        because: rows::of_success(start, flags),
    }
}

/// Parts that a successful call changes.
fn must_change(done: Flags) -> Parts {
    let links = KINDS.into_iter().filter(|kind| done.contains(kind.flag)).map(|kind| Part::ALL[kind.link as usize]);
    let mounts: &[Part] = if done.contains(Flags::NEWNS) { &[Part::CwdMount, Part::RootMount] } else { &[] };
    links.fold(Parts::of(mounts), Parts::with)
}

/// Parts that a successful call may change, depending on their values before.
fn may_change(done: Flags) -> Parts {
    let mut parts = Parts::NONE;
    if done.contains(Flags::NEWUSER) {
        // IDs without a mapping read as 65534; capabilities become full, securebits default
        // (EFF-USER-02 to EFF-USER-04).
        parts = parts | Parts::of(&[Part::Uids, Part::Gids, Part::Groups, Part::Capabilities, Part::Securebits]);
    }
    if done.contains(Flags::EMPTY) {
        // Both become the empty root, which they may have been (EFF-EMPTY-02).
        parts = parts | Parts::of(&[Part::Cwd, Part::Root]);
    }
    parts
}

/// What the caller no longer shares after a successful call.
fn separated(done: Flags) -> Flags {
    let mut separated = done & (Flags::FS | Flags::FILES | Flags::SYSVSEM);
    if done.contains(Flags::NEWIPC) {
        // The undo list belongs to the old IPC namespace (IMP-07).
        separated |= Flags::SYSVSEM;
    }
    separated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_the_catalogues() {
        let mut facts = Facts::default();
        assert_eq!(Kernel::of(&facts).accepted, Flags(0x7e17_0f80));
        facts.absent.insert(feature::EMPTY_MNT_NS.name.to_owned(), "clone3(2) does not know it".to_owned());
        assert_eq!(Kernel::of(&facts).accepted, Flags(0x7e07_0f80));
    }

    #[test]
    fn implied_flags_are_the_catalogues() {
        for (given, expected) in [
            (Flags::NEWNS, Flags::NEWNS | Flags::FS),
            (Flags::EMPTY, Flags::EMPTY | Flags::NEWNS | Flags::FS),
            (Flags::NEWUSER, Flags::NEWUSER | Flags::THREAD | Flags::FS),
            (Flags::VM, Flags::VM | Flags::SIGHAND | Flags::THREAD),
            (Flags::SIGHAND, Flags::SIGHAND | Flags::THREAD),
            (Flags::THREAD, Flags::THREAD),
            (Flags::NEWPID, Flags::NEWPID),
        ] {
            assert_eq!(with_implied(given), expected);
        }
    }

    #[test]
    fn the_first_refusal_decides() {
        let nobody = Start::unprivileged();
        let result = |start: &Start, flags: Flags| predict(start, flags, &Kernel::FULL).result;
        // ORD-01, ORD-02, ORD-06.
        assert_eq!(result(&nobody, Flags::NEWNS | Flags(1)), Err(Errno::EINVAL));
        let threaded = Start { threads: Threads::Others, ..nobody };
        assert_eq!(result(&threaded, Flags::NEWNS | Flags::VM), Err(Errno::EINVAL));
        let again = Start { children_elsewhere: true, ..nobody };
        assert_eq!(result(&again, Flags::NEWPID), Err(Errno::EPERM));
        // ORD-08, ORD-09, ERR-35.
        let full = Start {
            children_elsewhere: true,
            exhausted: Flags::NEWUTS | Flags::NEWPID | Flags::NEWCGROUP,
            ..Start::default()
        };
        let pid = Flags::NEWPID;
        assert_eq!(result(&full, Flags::NEWUTS | pid), Err(Errno::ENOSPC));
        assert_eq!(result(&full, Flags::NEWCGROUP | pid), Err(Errno::EINVAL));
        assert_eq!(result(&full, pid), Err(Errno::EINVAL));
        // ORD-07, ORD-13.
        let deep = Start { chrooted: true, too_deep: Flags::NEWUSER | pid, ..Start::default() };
        assert_eq!(result(&deep, Flags::NEWUSER), Err(Errno::ENOSPC));
        assert_eq!(result(&deep, pid), Err(Errno::ENOSPC));
        // PRIV-04.
        assert_eq!(result(&nobody, Flags::NEWUSER | Flags::NEWNS), Ok(()));
        assert_eq!(result(&nobody, Flags::NEWNS), Err(Errno::EPERM));
    }

    #[test]
    fn an_empty_mount_namespace_is_for_all_where_the_kernel_says_so() {
        let nobody = Start::unprivileged();
        for (empty_for_all, expected) in [(false, Err(Errno::EPERM)), (true, Ok(()))] {
            let kernel = Kernel { empty_for_all, ..Kernel::FULL };
            let result = |flags: Flags| predict(&nobody, flags, &kernel).result;
            assert_eq!([result(Flags::EMPTY), result(Flags::EMPTY | Flags::NEWNS)], [expected; 2]);
            assert_eq!(result(Flags::NEWNS), Err(Errno::EPERM));
            assert_eq!(result(Flags::EMPTY | Flags::NEWUTS), Err(Errno::EPERM));
        }
    }

    #[test]
    fn threads_and_sharers_refuse_as_the_catalogues_table_says() {
        const NO: Result<(), Errno> = Err(Errno::EINVAL);
        const YES: Result<(), Errno> = Ok(());
        let alone = Start::default();
        let others = Start { threads: Threads::Others, ..alone };
        let leader_gone = Start { threads: Threads::LeaderGone, ..alone };
        let memory = Start { memory_shared: true, ..alone };
        let handlers = Start { handlers_shared: true, ..alone };
        let both = Start { handlers_shared: true, ..memory };
        // Results of THREAD, SIGHAND, VM, NEWUSER (section 6 of the behaviour catalogue).
        for (row, start, expected) in [
            ("MT-01", alone, [YES, YES, YES, YES]),
            ("MT-02", others, [NO, NO, NO, NO]),
            ("MT-04", leader_gone, [NO, NO, NO, NO]),
            ("MT-06", memory, [YES, YES, NO, YES]),
            ("MT-08", both, [YES, NO, NO, YES]),
            ("MT-09", handlers, [YES, NO, NO, YES]),
        ] {
            for (flag, expected) in [Flags::THREAD, Flags::SIGHAND, Flags::VM, Flags::NEWUSER].into_iter().zip(expected)
            {
                assert_eq!(predict(&start, flag, &Kernel::FULL).result, expected, "{row} {flag}");
            }
            for flag in Flags::KNOWN {
                let checked = Flags::THREAD | Flags::SIGHAND | Flags::VM | Flags::NEWUSER;
                if !checked.contains(flag) {
                    assert_eq!(predict(&start, flag, &Kernel::FULL).result, YES, "{row} {flag}");
                }
            }
        }
    }

    #[test]
    fn redundant_flags_add_nothing() {
        for (plain, redundant) in [
            (Flags::NEWNS, Flags::NEWNS | Flags::FS),
            (Flags::EMPTY, Flags::EMPTY | Flags::NEWNS),
            (Flags::NEWUSER, Flags::NEWUSER | Flags::FS | Flags::THREAD),
            (Flags::NEWIPC, Flags::NEWIPC | Flags::SYSVSEM),
        ] {
            let start = Start::default();
            let because = "";
            let [plain, redundant] =
                [plain, redundant].map(|flags| Prediction { because, ..predict(&start, flags, &Kernel::FULL) });
            assert_eq!(plain, redundant);
        }
    }
}
