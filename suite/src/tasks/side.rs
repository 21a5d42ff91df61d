//! The sides of a sharing: the caller of unshare(2) and its peers, asked the same questions.
//!
//! Whether two tasks share something is told by what one of them sees of what the other does, and
//! that has to be looked at in both directions. So whatever one side can be asked to do or to look
//! at, the other can, too.

use std::fmt;

use crate::feature;
use harness::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::check::{Said, check_call};
use crate::observe::{Ns, Observer, Shared, differences, shares};
use crate::spec::flags::Flags;
use crate::spec::model::{Prediction, Start};
use crate::tasks::peer::Peer;

/// One of the tasks of a case.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// The task at hand.
    Caller,
    /// Another one.
    Peer(&'a Peer),
}

impl fmt::Display for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Caller => f.write_str("the caller"),
            Side::Peer(peer) => write!(f, "the {}", peer.name()),
        }
    }
}

impl Side<'_> {
    /// Has this side call `function` with `argument` and gives the result, as a call that says who
    /// made it. The function must not capture anything.
    ///
    /// # Errors
    /// The peer is gone: the case is broken.
    #[track_caller]
    pub fn ask<A, R, F>(self, t: &Test, text: &str, argument: A, function: F) -> Done<Call<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        F: Fn(A) -> Result<R, Errno> + Copy,
    {
        let text = format!("{text} by {self}");
        match self {
            Side::Caller => Ok(Call::new(text, function(argument))),
            Side::Peer(peer) => peer.call(t, &text, argument, function),
        }
    }

    /// Like [`ask`](Self::ask), for a step that must work.
    ///
    /// # Errors
    /// The step did not work, or the peer is gone: the case is broken.
    #[track_caller]
    pub fn must<A, R, F>(self, t: &Test, text: &str, argument: A, function: F) -> Done<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        F: Fn(A) -> Result<R, Errno> + Copy,
    {
        let call = self.ask(t, text, argument, function)?;
        t.setup(call)
    }
}

/// Calls unshare(2) as [`check_call`] does, and checks that nothing at all changed in the peers:
/// the call acts on its caller only (DIFF-16).
///
/// # Errors
/// Something differs: a failed check is on record.
#[track_caller]
pub fn check_call_beside(
    t: &Test,
    observer: &Observer,
    start: &Start,
    flags: Flags,
    requirement: &'static str,
    peers: &[&Peer],
) -> Done<Prediction> {
    let look = |peer: &&Peer| {
        peer.setup(t, "state of a peer", *observer, |observer| {
            let state = observer.state();
            // A peer that was started before the observer was opened has no view of /proc.
            if state.namespace(Ns::Mnt) == 0 {
                return Err(Errno::EBADF);
            }
            Ok(state)
        })
    };
    let before = peers.iter().map(look).collect::<Done<Vec<_>>>()?;
    let prediction = check_call(t, observer, start, flags, requirement);
    let after = peers.iter().map(look).collect::<Done<Vec<_>>>()?;
    for ((peer, before), after) in peers.iter().zip(before).zip(after) {
        let changed: Vec<_> = differences(&before, &after).iter().map(ToString::to_string).collect();
        let what = format!("what unshare({flags}) by the caller changed in the {}", peer.name());
        let said = if changed.is_empty() { "nothing".to_owned() } else { changed.join("; ") };
        t.check(Call::seen(what, Said(said))).proves(requirement).is(Said("nothing".to_owned()))?;
    }
    prediction
}

/// Checks by kcmp(2) whether the caller and a peer share a resource, where the kernel has kcmp.
/// The peer asks: a caller in a user namespace of its own may not look at it.
///
/// # Errors
/// It is otherwise: a failed check is on record.
#[track_caller]
pub fn check_kcmp(t: &Test, peer: &Peer, what: Shared, shared: bool, requirement: &'static str) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let own = nix::unistd::getpid().as_raw();
    let text = format!("whether the {} shares with the caller what {} names, by kcmp", peer.name(), what.clone_flag());
    let call = peer.call(t, &text, (what, own), |(what, other)| shares(what, nix::unistd::getpid().as_raw(), other))?;
    t.check(call).proves(requirement).is(shared)
}

/// Checks by kcmp(2), where the kernel has it, that the caller and a peer that was made to share root
/// and cwd, and descriptors, still share those of them that the call did not separate.
///
/// # Errors
/// It is otherwise: a failed check is on record.
#[track_caller]
pub fn check_separated(t: &Test, peer: &Peer, prediction: &Prediction, requirement: &'static str) -> Done {
    for (what, flag) in [(Shared::Fs, Flags::FS), (Shared::Files, Flags::FILES)] {
        let shared = !prediction.separated.contains(flag);
        check_kcmp(t, peer, what, shared, requirement)?;
    }
    Ok(())
}

/// A variant for each of these flags, with what it needs of the machine.
pub fn one_by_one(flags: impl IntoIterator<Item = Flags>) -> Vec<Variant> {
    flags.into_iter().map(|flag| Variant::new(flag.slug(), flag.0).needing(needs_of(flag))).collect()
}

/// A variant for each known flag.
pub fn each_flag() -> Vec<Variant> {
    one_by_one(Flags::KNOWN)
}

/// What a call with this one flag needs of the machine in order to succeed, beyond what every case
/// needs.
pub fn needs_of(flag: Flags) -> Needs {
    let feature = match flag {
        Flags::NEWTIME => feature::TIME_NS,
        Flags::EMPTY => feature::EMPTY_MNT_NS,
        Flags::NEWCGROUP => feature::CGROUP_NS,
        Flags::NEWUTS => feature::UTS_NS,
        Flags::NEWIPC => feature::IPC_NS,
        Flags::NEWPID => feature::PID_NS,
        Flags::NEWNET => feature::NET_NS,
        Flags::NEWNS => return Needs::ROOT,
        Flags::NEWUSER => return Needs::NONE.with(feature::CREATE_USER_NS),
        _ => return Needs::NONE,
    };
    Needs::ROOT.with(feature)
}

/// Runs `body` as the case's caller in a child that has these namespaces of its own, made by
/// clone(2) and not by the call under test. What it leaves in them vanishes with it.
///
/// # Errors
/// The child cannot be made, was stopped, or did not come to its end.
#[track_caller]
pub fn in_own_namespaces(t: &Test, flags: Flags, body: impl FnOnce(&Test) -> Done) -> Done {
    t.spawn_sharing("caller", flags.0, body)?.join(t)
}
