//! Debian's switch against user namespaces of ordinary users, kernel.unprivileged_userns_clone (PRIV-02, ERR-25,
//! ORD-10, ORD-11 of the behaviour catalogue). It is a patch to the very function under test, and its check comes
//! before all others.

use crate::place::limits;
use crate::prelude::*;
use crate::spec::model::{Kernel, Threads};
use crate::tasks::threads::IdleThread;

const SOURCE: &str = "Debian's kernel patch \"add sysctl to disallow unprivileged CLONE_NEWUSER by default\"";

const NEEDS: Needs = Needs::ROOT
    .with(feature::INITIAL_ROOT)
    .with(feature::CREATE_USER_NS)
    .with(feature::USER_NS_SWITCH)
    .disturbing(global::USER_NS_SWITCH);

fn write_switch(allowed: bool) -> Result<(), Errno> {
    std::fs::write(global::USER_NS_SWITCH.path(), if allowed { "1" } else { "0" }).map_err(errno_of)
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

/// Runs `body` in a child that is the variant's caller, made while the switch allows user namespaces, once it has
/// been set.
fn as_caller(t: &Test, allowed: bool, body: impl FnOnce(&Test, &Start, &Kernel) -> Done) -> Done {
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
}

fn callers() -> Vec<Variant> {
    variants::named(&[
        ("unprivileged", Caller::Nobody),
        ("root_inside", Caller::RootInside),
        ("initial_root", Caller::InitialRoot),
    ])
}

case!(Case {
    name: "errors.eperm.debian_switch",
    about: "With kernel.unprivileged_userns_clone at 0 a caller without CAP_SYS_ADMIN in the initial user namespace \
            gets EPERM for CLONE_NEWUSER, root of a user namespace of its own included, and nothing changes; root \
            outside is not refused, nor is any other flag, and with the switch at 1 nobody is.",
    proves: &["ERR-25", "PRIV-02"],
    source: SOURCE,
    needs: NEEDS,
    variants: callers,
    run: |t| {
        for allowed in [false, true] {
            for flags in
                [Flags::NEWUSER, Flags::NEWUSER | Flags::NEWUTS | Flags::FS, Flags::FS | Flags::FILES | Flags::SYSVSEM]
            {
                as_caller(t, allowed, |t, start, kernel| {
                    t.unshare(flags).from(*start).on(kernel).proving("ERR-25").as_predicted()
                })?;
            }
        }
        Ok(())
    }
});

case!(Case {
    name: "order.debian_switch_before_flags",
    about: "Debian's switch at 0 comes before unknown bits are looked at: CLONE_NEWUSER with one gives EPERM to \
            those it refuses, and EINVAL to root outside and with the switch at 1.",
    proves: &["ORD-10"],
    source: SOURCE,
    needs: NEEDS,
    variants: callers,
    run: |t| {
        for allowed in [false, true] {
            as_caller(t, allowed, |t, start, kernel| {
                for invalid in [Flags(1), Flags(1 << 31), Flags(1 << 63)] {
                    let flags = Flags::NEWUSER | invalid;
                    t.unshare(flags).from(*start).on(kernel).as_predicted()?;
                    // Without CLONE_NEWUSER the switch has no say.
                    t.unshare(invalid).from(*start).on(kernel).as_predicted()?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
});

case!(Case {
    name: "order.debian_switch_before_threads",
    about: "Debian's switch at 0 comes before threads are looked at: beside a second thread CLONE_NEWUSER gives \
            EPERM to those it refuses, and EINVAL to root outside and with the switch at 1.",
    proves: &["ORD-11"],
    source: SOURCE,
    needs: NEEDS,
    variants: callers,
    run: |t| {
        for allowed in [false, true] {
            as_caller(t, allowed, |t, start, kernel| {
                let second = IdleThread::start(t)?;
                let threaded = Start { threads: Threads::Others, ..*start };
                for flags in [Flags::NEWUSER, Flags::NEWUSER | Flags::VM] {
                    t.unshare(flags).from(threaded).on(kernel).as_predicted()?;
                }
                second.end();
                Ok(())
            })?;
        }
        Ok(())
    }
});
