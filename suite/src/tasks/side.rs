//! The sides of a sharing: the caller of unshare(2) and its peers, asked the same questions.
//!
//! Whether two tasks share something is told by what one of them sees of what the other does, and
//! that has to be looked at in both directions. So whatever one side can be asked to do or to look
//! at, the other can, too.

use crate::observe::{Shared, shares};
use crate::spec::prelude::*;
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

/// Checks by kcmp(2) whether the caller and a peer share a resource, where the kernel has kcmp.
/// The peer asks: a caller in a user namespace of its own may not look at it.
#[track_caller]
pub fn check_kcmp(t: &Test, peer: &Peer, what: Shared, shared: bool, requirement: &'static str) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let own = getpid().as_raw();
    let text = format!("whether the {} shares with the caller what {} names, by kcmp", peer.name(), what.clone_flag());
    let call = peer.call(t, &text, (what, own), |(what, other)| shares(what, getpid().as_raw(), other))?;
    t.check(call).proves(requirement).is(shared)
}

/// Checks by kcmp(2), where the kernel has it, that the caller and a peer that was made to share root
/// and cwd, and descriptors, still share those of them that the call did not separate.
#[track_caller]
pub fn check_separated(t: &Test, peer: &Peer, prediction: &Prediction, requirement: &'static str) -> Done {
    for (what, flag) in [(Shared::Fs, Flags::FS), (Shared::Files, Flags::FILES)] {
        let shared = !prediction.separated.contains(flag);
        check_kcmp(t, peer, what, shared, requirement)?;
    }
    Ok(())
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
