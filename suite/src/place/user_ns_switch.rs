//! Debian's switch against user namespaces of ordinary users, kernel.unprivileged_userns_clone. It is a patch to the
//! very function under test, and its check comes before all others.

use crate::call::variants;
use crate::observe::Observer;
use crate::place::limits;
use crate::place::privilege::become_unprivileged;
use crate::spec::prelude::*;
use crate::tasks::peer::Peer;

/// Where the switch comes from.
pub const SOURCE: &str = "Debian's kernel patch \"add sysctl to disallow unprivileged CLONE_NEWUSER by default\"";

/// What a case of the switch needs.
pub const NEEDS: Needs = Needs::ROOT
    .with(feature::INITIAL_ROOT)
    .with(feature::CREATE_USER_NS)
    .with(feature::USER_NS_SWITCH)
    .disturbing(global::USER_NS_SWITCH);

fn write_switch(allowed: bool) -> Result<(), Errno> {
    fs::write(global::USER_NS_SWITCH.path(), if allowed { "1" } else { "0" }).map_err(errno_of)
}

/// Has another task set the switch, of which the supervisor keeps the old value, and gives the kernel as it is then.
#[track_caller]
fn switch_by(t: &Test, peer: &Peer, allowed: bool) -> Done<Kernel> {
    let text = format!("write({}, {allowed})", global::USER_NS_SWITCH.path());
    peer.setup(t, &text, allowed, write_switch)?;
    Ok(Kernel { user_takes_root: !allowed, ..Kernel::of(t.facts()) })
}

/// Who calls.
#[derive(Clone, Copy)]
enum Caller {
    Nobody,
    RootInside,
    InitialRoot,
}

/// Runs `body` with the switch at 0, then at 1, each time in a child that is the variant's caller and was made while
/// the switch allowed user namespaces.
///
/// # Errors
/// A step of the preparation, or `body`, failed.
pub fn as_caller(t: &Test, body: impl Fn(&Test, &Start, &Kernel) -> Done) -> Done {
    [false, true].into_iter().try_for_each(|allowed| {
        // Before the caller loses what it takes to open it.
        Observer::of(t)?;
        t.setup(Call::new("write(kernel.unprivileged_userns_clone, 1)", write_switch(true)))?;
        // Root outside throws the switch: root inside may not.
        let outside = Peer::start(t, "root outside", Flags::NONE)?;
        t.in_child(|t| {
            let mut start = Start::of(t.facts());
            match t.param() {
                Caller::Nobody => {
                    become_unprivileged(t)?;
                    (start.sys_admin, start.initial_admin) = (false, false);
                }
                Caller::RootInside => {
                    limits::enter_own_user_namespace(t)?;
                    start.initial_admin = false;
                }
                Caller::InitialRoot => {}
            }
            let kernel = switch_by(t, &outside, allowed)?;
            body(t, &start, &kernel)
        })
    })
}

/// A variant for each caller.
pub fn callers() -> Vec<Variant> {
    variants::named(&[
        ("unprivileged", Caller::Nobody),
        ("root_inside", Caller::RootInside),
        ("initial_root", Caller::InitialRoot),
    ])
}
