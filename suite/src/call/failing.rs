//! Ways for a call to fail late: once it has made, or counted, what it was asked for.

use crate::call::raw::unshare;
use crate::call::variants;
use crate::place::limits;
use crate::place::privilege::{CAP_SYS_ADMIN, set_all_capabilities};
use crate::spec::prelude::*;
use crate::tasks::peer::Peer;

/// Why a call that would have made a namespace fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// No time namespace may be made, which comes after all others.
    TimeLimit,
    /// The limit of the kind itself is reached further out.
    OuterLimit,
    /// A second CLONE_NEWPID, which comes after mount, UTS and IPC namespaces.
    SecondPid,
    /// A chroot, which speaks against a user namespace once it is counted.
    Chroot,
    /// No mapping of the caller's user, likewise.
    Unmapped,
    /// No CAP_SYS_ADMIN, which is asked for before anything is made.
    Privilege,
}

/// A task in a state in which the call fails, and who helps it to be.
#[derive(Debug)]
pub struct Prepared {
    /// The state.
    pub start: Start,
    /// The task that sets the limits further out, and the limit that it set.
    pub outside: Option<(Peer, u32)>,
    _sharer: Peer,
}

impl Failing {
    /// The late ones, and what cases call them.
    const LATE: [(Failing, &str); 5] = [
        (Failing::TimeLimit, "time_limit"),
        (Failing::OuterLimit, "outer_limit"),
        (Failing::SecondPid, "second_pid"),
        (Failing::Chroot, "chroot"),
        (Failing::Unmapped, "unmapped"),
    ];

    /// A variant for each late way and each of these variants of one flag that is made, or counted, before the call
    /// fails. It proves what `proves` says. Its parameter is a pair of the way and the flag.
    pub fn variants(flags: Vec<Variant>, proves: fn(Failing) -> &'static [&'static str]) -> Vec<Variant> {
        let ways = Failing::LATE.map(|(failing, name)| (name, failing));
        variants::product::<_, Flags>(&ways, &flags)
            .into_iter()
            .filter_map(|variant| {
                let (failing, flag): (Failing, Flags) = variant.param();
                let late = failing.comes_after(flag);
                late.then(|| variant.needing(failing.needs()).proving(proves(failing).to_vec()))
            })
            .collect()
    }

    /// Whether what this flag asks for is made, or counted, before the call fails.
    fn comes_after(self, flag: Flags) -> bool {
        match self {
            Failing::TimeLimit => flag != Flags::NEWTIME,
            Failing::OuterLimit => flag != Flags::EMPTY && (Flags::PRIVILEGED | Flags::NEWUSER).contains(flag),
            Failing::SecondPid => {
                [Flags::FS, Flags::FILES, Flags::NEWUSER, Flags::NEWNS, Flags::EMPTY, Flags::NEWUTS, Flags::NEWIPC]
                    .contains(&flag)
            }
            Failing::Chroot | Failing::Unmapped => flag == Flags::NEWUSER,
            Failing::Privilege => false,
        }
    }

    /// What the failing call asks for.
    pub fn flags(self, flag: Flags) -> Flags {
        match self {
            Failing::TimeLimit => flag | Flags::NEWTIME,
            Failing::SecondPid => flag | Flags::NEWPID,
            _ => flag,
        }
    }

    /// What it takes of the kernel.
    fn needs(self) -> Needs {
        match self {
            Failing::TimeLimit => Needs::NONE.with(feature::TIME_NS),
            Failing::SecondPid => Needs::NONE.with(feature::PID_NS),
            _ => Needs::NONE,
        }
    }

    /// A variant for each way in which a call that asks for everything fails. [`enter`](Self::enter) reads its
    /// parameter.
    pub fn of_everything() -> Vec<Variant> {
        vec![
            Variant::new("refused_pid", Failing::SecondPid).needing(Needs::ROOT.with(feature::PID_NS)),
            Variant::new("time_limit", Failing::TimeLimit).needing(limits::NEEDS.with(feature::TIME_NS)),
            Variant::new("privilege", Failing::Privilege).needing(Needs::ROOT),
        ]
    }

    /// Brings the task at hand into the state that such a variant asks for, and gives the way, the state, and the flags
    /// that then fail.
    #[track_caller]
    pub fn enter(t: &Test) -> Done<(Failing, Start, Flags)> {
        let failing: Failing = t.param();
        let mut start = Start::of(t.facts());
        if failing == Failing::TimeLimit {
            limits::enter_own_user_namespace(t)?;
            start.initial_admin = false;
        }
        failing.bring_about(t, &mut start, Flags::NONE, Path::new("/"))?;
        Ok((failing, start, everything(t) & !Flags::NEWUSER))
    }

    /// Brings the task at hand, root in a user namespace of its own, into a state in which the call
    /// fails. It then shares what `sharing` names with another task. `root` is a directory to have as
    /// root.
    #[track_caller]
    pub fn prepare(self, t: &Test, flag: Flags, sharing: Flags, root: &Path) -> Done<Prepared> {
        let sharer = Peer::start(t, "sharer", sharing)?;
        let mut start = Start { initial_admin: false, ..Start::of(t.facts()) };
        let outside = self.bring_about(t, &mut start, flag, root)?;
        Ok(Prepared { start, outside, _sharer: sharer })
    }

    #[track_caller]
    fn bring_about(self, t: &Test, start: &mut Start, flag: Flags, root: &Path) -> Done<Option<(Peer, u32)>> {
        match self {
            Failing::TimeLimit => {
                limits::set(t, Flags::NEWTIME, 0)?;
                start.exhausted = Flags::NEWTIME;
            }
            Failing::OuterLimit => {
                // One level further in, the namespace is counted there before the outer limit refuses.
                let peer = Peer::start(t, "task outside", Flags::NONE)?;
                limits::enter_nested_user_namespace(t)?;
                let limit = limits::used(flag) + u32::from(flag == Flags::NEWUSER);
                limits::set_by(t, &peer, flag, limit)?;
                start.exhausted = flag;
                return Ok(Some((peer, limit)));
            }
            Failing::SecondPid => {
                second_pid(t)?;
                start.children_elsewhere = true;
            }
            Failing::Chroot => {
                t.setup(Call::new("chroot(directory)", chroot(root)))?;
                start.chrooted = true;
            }
            Failing::Unmapped => {
                // The first of the nested ones is counted as long as this task is in it.
                t.setup(unshare(Flags::NEWUSER))?;
                start.ids_mapped = false;
            }
            Failing::Privilege => {
                let rest = t.facts().capabilities & !CAP_SYS_ADMIN;
                t.setup(set_all_capabilities(rest, rest, 0))?;
                (start.sys_admin, start.initial_admin) = (false, false);
            }
        }
        Ok(None)
    }
}

/// All that a lone call can separate here, but for an empty mount namespace, which takes the other's place.
pub fn everything(t: &Test) -> Flags {
    Kernel::of(t.facts()).effective & !(Flags::VM | Flags::SIGHAND | Flags::THREAD | Flags::EMPTY)
}

/// Brings the task at hand into the state in which CLONE_NEWPID is refused with EINVAL, late: its children go to
/// another PID namespace already.
#[track_caller]
pub fn second_pid(t: &Test) -> Done<Start> {
    t.setup(unshare(Flags::NEWPID))?;
    Ok(Start { children_elsewhere: true, ..Start::of(t.facts()) })
}
