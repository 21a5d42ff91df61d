//! Ways for a call to fail late: once it has made, or counted, what it was asked for.

use std::path::Path;

use crate::feature;
use harness::prelude::*;

use crate::call::raw::unshare;
use crate::call::variants;
use crate::place::limits;
use crate::spec::flags::Flags;
use crate::spec::model::Start;
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

/// A variant for each way to fail and each of these variants of a flag that the failure comes after: named
/// `WAY.FLAG`, with both as its parameter.
pub fn variants(flags: Vec<Variant>) -> Vec<Variant> {
    variants::product::<_, Flags>(&Failing::ALL.map(|(failing, name)| (name, failing)), &flags)
        .into_iter()
        .filter_map(|variant| {
            let (failing, flag): (Failing, Flags) = variant.param();
            failing.comes_after(flag).then(|| variant.needing(failing.needs()))
        })
        .collect()
}

impl Failing {
    /// All of them, and what cases call them.
    pub const ALL: [(Failing, &str); 5] = [
        (Failing::TimeLimit, "time_limit"),
        (Failing::OuterLimit, "outer_limit"),
        (Failing::SecondPid, "second_pid"),
        (Failing::Chroot, "chroot"),
        (Failing::Unmapped, "unmapped"),
    ];

    /// Whether what this flag asks for is made, or counted, before the call fails.
    pub fn comes_after(self, flag: Flags) -> bool {
        match self {
            Failing::TimeLimit => flag != Flags::NEWTIME,
            Failing::OuterLimit => flag != Flags::EMPTY && (Flags::PRIVILEGED | Flags::NEWUSER).contains(flag),
            Failing::SecondPid => {
                [Flags::FS, Flags::FILES, Flags::NEWUSER, Flags::NEWNS, Flags::EMPTY, Flags::NEWUTS, Flags::NEWIPC]
                    .contains(&flag)
            }
            Failing::Chroot | Failing::Unmapped => flag == Flags::NEWUSER,
        }
    }

    /// What the failing call asks for.
    pub fn flags(self, flag: Flags) -> Flags {
        match self {
            Failing::TimeLimit => flag | Flags::NEWTIME,
            Failing::SecondPid => flag | Flags::NEWPID,
            Failing::OuterLimit | Failing::Chroot | Failing::Unmapped => flag,
        }
    }

    /// What it takes of the kernel.
    pub fn needs(self) -> Needs {
        match self {
            Failing::TimeLimit => Needs::NONE.with(feature::TIME_NS),
            Failing::SecondPid => Needs::NONE.with(feature::PID_NS),
            _ => Needs::NONE,
        }
    }

    /// Brings the task at hand, root in a user namespace of its own, into a state in which the call
    /// fails. It then shares what `sharing` names with another task. `root` is a directory to have as
    /// root.
    ///
    /// # Errors
    /// A step was refused: the case is broken.
    #[track_caller]
    pub fn prepare(self, t: &Test, flag: Flags, sharing: Flags, root: &Path) -> Done<Prepared> {
        let sharer = Peer::start(t, "sharer", sharing)?;
        let mut start = Start { initial_admin: false, ..Start::of(t.facts()) };
        let mut outside = None;
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
                outside = Some((peer, limit));
            }
            Failing::SecondPid => {
                t.setup(unshare(Flags::NEWPID))?;
                start.children_elsewhere = true;
            }
            Failing::Chroot => {
                t.setup(Call::new("chroot(directory)", nix::unistd::chroot(root)))?;
                start.chrooted = true;
            }
            Failing::Unmapped => {
                // The first of the nested ones is counted as long as this task is in it.
                t.setup(unshare(Flags::NEWUSER))?;
                start.ids_mapped = false;
            }
        }
        Ok(Prepared { start, outside, _sharer: sharer })
    }
}
