//! The verb of a case: one call to unshare(2), compared with the model in its result and in all its effects.

use crate::call::raw::unshare;
use crate::observe::{Observer, State, differences};
use crate::profile;
use crate::spec::prelude::*;
use crate::tasks::peer::Peer;

/// Text that diagnostics show as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(pub String);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `t.unshare(flags)…as_predicted()?`
pub trait Unshare {
    /// A call to unshare(2) by the task at hand, on its way to being made and judged.
    fn unshare(&self, flags: Flags) -> Judged<'_>;
}

impl Unshare for Test {
    fn unshare(&self, flags: Flags) -> Judged<'_> {
        Judged {
            t: self,
            flags,
            start: None,
            kernel: None,
            peers: Vec::new(),
            requirement: None,
            observer: None,
            enter: Box::new(unshare),
        }
    }
}

/// A call to unshare(2) that has yet to be made. Unless told otherwise the caller is a lone task with the privilege of
/// the place, and nobody is watched beside it.
#[must_use = "no call is made before `.as_predicted()`"]
pub struct Judged<'a> {
    t: &'a Test,
    flags: Flags,
    start: Option<Start>,
    kernel: Option<&'a Kernel>,
    peers: Vec<&'a Peer>,
    requirement: Option<&'static str>,
    observer: Option<Observer>,
    enter: Box<dyn FnOnce(Flags) -> Call<()> + 'a>,
}

/// Skips a case whose calls are not judged one by one, unless the profile claims these flags.
///
/// # Errors
/// It does not claim all of them.
pub fn expect_claimed(t: &Test, flags: Flags) -> Done {
    match flags & profile::unclaimed(t.facts()) {
        Flags::NONE => Ok(()),
        unclaimed => Err(t.skip(profile::not_claimed(unclaimed))),
    }
}

/// Why a case is skipped that goes on in a user namespace which Debian's switch keeps it from making.
pub const SWITCHED_OFF: &str =
    "ordinary users may make no user namespace here: set kernel.unprivileged_userns_clone to 1";

impl<'a> Judged<'a> {
    /// The state that the caller is in.
    pub fn from(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Tasks in which nothing at all may change: the call acts on its caller only (DIFF-16).
    pub fn beside(mut self, peers: &[&'a Peer]) -> Self {
        self.peers.extend_from_slice(peers);
        self
    }

    /// The requirement that is at stake, where the case proves several. Otherwise it is the case's only one, or the
    /// model's reason for its prediction if the case proves that.
    pub fn proving(mut self, requirement: &'static str) -> Self {
        self.requirement = Some(requirement);
        self
    }

    /// The kernel, where the case has changed what its facts say of it.
    pub fn on(mut self, kernel: &'a Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Another way into the kernel than the program's own entry.
    pub fn by(mut self, enter: impl FnOnce(Flags) -> Call<()> + 'a) -> Self {
        self.enter = Box::new(enter);
        self
    }

    /// The view of /proc to observe through, where the caller's own is another than that of the case.
    pub fn seen_by(mut self, observer: &Observer) -> Self {
        self.observer = Some(*observer);
        self
    }

    /// Makes the call and compares its result, the caller's whole state and that of the tasks beside it with the model.
    ///
    /// # Errors
    /// Something differs; or Debian's switch keeps ordinary users from making user namespaces, which the call was
    /// right to say, and the case, which goes on in one, is skipped.
    #[track_caller]
    pub fn as_predicted(self) -> Done {
        let (t, switch_is_its_own) = (self.t, self.kernel.is_some());
        let unclaimed = self.flags & profile::unclaimed(t.facts());
        let prediction = self.prediction()?;
        if unclaimed != Flags::NONE && prediction.result.is_err() {
            return Err(t.enough(format!("{}: only its refusal was checked", profile::not_claimed(unclaimed))));
        }
        let refused = prediction.because == "ERR-25";
        if refused && !switch_is_its_own {
            return Err(t.skip(SWITCHED_OFF));
        }
        Ok(())
    }

    /// Does what [`as_predicted`](Self::as_predicted) does, and gives the prediction.
    #[track_caller]
    pub fn prediction(self) -> Done<Prediction> {
        let Judged { t, flags, start, kernel, peers, requirement, observer, enter } = self;
        let observer = observer.map_or_else(|| Observer::of(t), Ok)?;
        let start = start.unwrap_or_else(|| Start::of(t.facts()));
        let kernel = kernel.copied().unwrap_or_else(|| Kernel::of(t.facts()));
        let prediction = predict(&start, flags, &kernel);
        let requirement = requirement.or_else(|| match t.proves() {
            [only] => Some(*only),
            several => several.contains(&prediction.because).then_some(prediction.because),
        });
        let look = |peers: &[&Peer]| peers.iter().map(|peer| state_of(t, &observer, peer)).collect::<Done<Vec<_>>>();

        let peers_before = look(&peers)?;
        let before = observer.state();
        let call = enter(flags);
        let after = observer.state();
        let unclaimed = flags & profile::unclaimed(t.facts());
        if unclaimed != Flags::NONE && call.result().is_ok() {
            t.note(format!("{}, yet the call succeeds: claim it or refuse it", profile::not_claimed(unclaimed)));
        }
        // A call that fails changes nothing, also one that should not have failed.
        let changes = match call.result() {
            Err(Failure::Errno(_)) => Prediction::nothing(),
            _ => prediction,
        };
        let judged = all([
            proving(t.check(call), requirement).gives(prediction.result),
            check_changes(t, flags, requirement, &changes, &before, &after),
        ]);
        let peers_after = look(&peers)?;
        for ((peer, before), after) in peers.iter().zip(peers_before).zip(peers_after) {
            let what = format!("what unshare({flags}) by the caller changed in the {}", peer.name());
            let changed = Said(listed(&before, &after).unwrap_or_else(|| "nothing".to_owned()));
            proving(t.check(Call::seen(what, changed)), requirement).is(Said("nothing".to_owned()))?;
        }
        judged.map(|()| prediction)
    }
}

#[track_caller]
fn state_of(t: &Test, observer: &Observer, peer: &Peer) -> Done<State> {
    peer.setup(t, "state of a peer", *observer, |observer| {
        let state = observer.state();
        // A peer that was started before the observer was opened has no view of /proc.
        if observer.sees_proc() { Ok(state) } else { Err(Errno::EBADF) }
    })
}

fn proving<'t, V: fmt::Debug>(check: Check<'t, V>, requirement: Option<&'static str>) -> Check<'t, V> {
    match requirement {
        Some(requirement) => check.proves(requirement),
        None => check,
    }
}

/// What differs between two states; `None` when nothing does.
fn listed(before: &State, after: &State) -> Option<String> {
    let all: Vec<_> = differences(before, after).iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Compares what a call changed with what it must, may and must not change.
#[track_caller]
pub fn check_changes(
    t: &Test,
    flags: Flags,
    requirement: impl Into<Option<&'static str>>,
    prediction: &Prediction,
    before: &State,
    after: &State,
) -> Done {
    let changed = before.changed_parts(after);
    let must_change = prediction.must_change - Kernel::of(t.facts()).unseen;
    let missing = must_change - changed;
    let uncalled = changed - (prediction.must_change | prediction.may_change);
    let mut actual: Vec<String> = listed(before, after).into_iter().collect();
    if missing != Parts::NONE {
        actual.push(format!("no change of {missing}"));
    }
    if actual.is_empty() {
        actual.push("nothing".to_owned());
    }
    let expected = match (must_change, prediction.may_change) {
        (Parts::NONE, Parts::NONE) => "nothing".to_owned(),
        (must, Parts::NONE) => format!("{must}, and nothing else"),
        (must, may) => format!("{must}, perhaps {may}, and nothing else"),
    };
    let what = format!("what unshare({flags}) changed");
    proving(t.check(Call::seen(what, Said(actual.join("; ")))), requirement.into())
        .holds(&expected, |_| missing == Parts::NONE && uncalled == Parts::NONE)
        .map(drop)
}
