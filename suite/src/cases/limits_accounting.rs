//! What is counted is let go of again: after success and after every kind of failure (ATOM-18,
//! ATOM-S8, ERR-30 of the behaviour catalogue). A count that leaks is a machine that some day makes
//! no more namespaces.

use crate::limits;
use crate::model::Start;
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 (failure leaves nothing behind); kernel, kernel/ucount.c";

/// How often a call is repeated. Each that leaked would use up a place of its own, of which there is
/// one; more find what leaks now and then.
fn times(t: &Test) -> usize {
    if t.tier() == Tier::Quick { 4 } else { 20 }
}

/// Root in a user namespace of its own.
fn inside(t: &Test) -> Start {
    Start {
        initial_admin: false,
        ..Start::of(t.facts())
    }
}

case! {
    name: "limits.returned.success",
    about: "When the only task in a namespace has ended, the namespace is no longer counted: under a \
            limit with room for one, one task after the other makes one.",
    proves: &["ERR-30"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: limits::each_kind,
    run: |t| {
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, limits::used(flag) + 1)?;
        for _ in 0..times(t) {
            t.in_child(|t| limits::check_room(t, flag, "ERR-30"))?;
        }
        Ok(())
    }
}

/// Why a call that would have made a namespace fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
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

impl Failing {
    const ALL: [(Failing, &str); 5] = [
        (Failing::TimeLimit, "time_limit"),
        (Failing::OuterLimit, "outer_limit"),
        (Failing::SecondPid, "second_pid"),
        (Failing::Chroot, "chroot"),
        (Failing::Unmapped, "unmapped"),
    ];

    /// Whether a namespace of this kind is made, or counted, before the call fails.
    fn comes_after(self, flag: Flags) -> bool {
        match self {
            Failing::TimeLimit => flag != Flags::NEWTIME,
            Failing::OuterLimit => true,
            Failing::SecondPid => {
                [Flags::NEWUSER, Flags::NEWNS, Flags::NEWUTS, Flags::NEWIPC].contains(&flag)
            }
            Failing::Chroot | Failing::Unmapped => flag == Flags::NEWUSER,
        }
    }

    /// What the failing call asks for.
    fn flags(self, flag: Flags) -> Flags {
        match self {
            Failing::TimeLimit => flag | Flags::NEWTIME,
            Failing::SecondPid => flag | Flags::NEWPID,
            Failing::OuterLimit | Failing::Chroot | Failing::Unmapped => flag,
        }
    }

    fn needs(self) -> Needs {
        match self {
            Failing::TimeLimit => Needs::NONE.with(Feature::TimeNs),
            Failing::SecondPid => Needs::NONE.with(Feature::PidNs),
            _ => Needs::NONE,
        }
    }

    fn requirement(self) -> &'static str {
        match self {
            Failing::TimeLimit => "ATOM-18",
            _ => "ATOM-S8",
        }
    }
}

fn failures() -> Vec<Variant> {
    Failing::ALL
        .into_iter()
        .enumerate()
        .flat_map(|(at, (failing, name))| {
            limits::each_kind()
                .into_iter()
                .filter(move |variant| failing.comes_after(Flags(variant.param)))
                .map(move |variant| {
                    let (param, inner) = (variant.param | (at as u64) << 40, variant.name.clone());
                    Variant { name: format!("{name}.{inner}"), param, ..variant }
                        .needing(failing.needs())
                        .proving(match failing {
                            Failing::TimeLimit => vec!["ATOM-18", "ATOM-S8"],
                            _ => vec!["ATOM-S8"],
                        })
                })
        })
        .collect()
}

case! {
    name: "limits.returned.failure",
    about: "A call that fails leaves nothing counted, whatever it had made or counted by then: after \
            several failures there is still room for one namespace under a limit that allows one more \
            than are in use.",
    proves: &["ATOM-18", "ATOM-S8"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: failures,
    run: |t| {
        let (failing, _) = Failing::ALL[(t.param() >> 40) as usize];
        let flag = Flags(t.param() & 0xffff_ffff);
        let requirement = failing.requirement();
        let root = t.directory()?;
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        // What speaks against the call goes away with the task, but for limits.
        t.in_child(|t| fail(t, &observer, failing, flag, root))?;
        if failing == Failing::TimeLimit {
            limits::set(t, Flags::NEWTIME, limits::HIGHEST)?;
        }
        limits::set(t, flag, limits::used(flag) + 1)?;
        limits::check_room(t, flag, requirement)
    }
}

/// Brings the task at hand into a state in which the call fails, and calls again and again.
fn fail(t: &Test, observer: &Observer, failing: Failing, flag: Flags, root: &std::path::Path) -> Done {
    let mut start = inside(t);
    // With somebody to share root and cwd with, as atomicity.newns has it without.
    let _sharer = Peer::start(t, "sharer", Flags::FS)?;
    match failing {
        Failing::TimeLimit => {
            limits::set(t, Flags::NEWTIME, 0)?;
            start.exhausted = Flags::NEWTIME;
        }
        Failing::OuterLimit => {
            // One level further in, the namespace is counted there before the outer limit refuses.
            let outside = Peer::start(t, "task outside", Flags::NONE)?;
            limits::enter_nested_user_namespace(t)?;
            let limit = limits::used(flag) + u32::from(flag == Flags::NEWUSER);
            limits::set_by(t, &outside, flag, limit)?;
            start.exhausted = flag;
            fail_often(t, observer, &start, failing, flag)?;
            // Neither inside nor outside is anything left.
            limits::set_by(t, &outside, flag, limit + 1)?;
            limits::set(t, flag, 1)?;
            return limits::check_room(t, flag, failing.requirement());
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
    fail_often(t, observer, &start, failing, flag)
}

fn fail_often(t: &Test, observer: &Observer, start: &Start, failing: Failing, flag: Flags) -> Done {
    for _ in 0..times(t) {
        check_call(t, observer, start, failing.flags(flag), failing.requirement())?;
    }
    Ok(())
}
