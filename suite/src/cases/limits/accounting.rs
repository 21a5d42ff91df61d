//! What is counted is let go of again: after success and after every kind of failure (ATOM-18, ATOM-S8, ERR-30 and
//! ERR-45 of the behaviour catalogue). A count that leaks is a machine that some day makes no more namespaces.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 (failure leaves nothing behind); kernel, kernel/ucount.c";
const NEEDS: Needs = limits::NEEDS;

/// How often a call is repeated. Each that leaked would use up a place of its own, of which there is one; more find
/// what leaks now and then.
fn times(t: &Test) -> usize {
    if t.tier() == Tier::Quick { 4 } else { 20 }
}

case!(Case {
    name: "limits.returned.success",
    about: "When the only task in a namespace has ended, the namespace is no longer counted: under a limit with room \
            for one, one task after the other makes one.",
    proves: &["ERR-30"],
    quick: one_in(2, 1),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, used(flag) + 1)?;
        for _ in 0..times(t) {
            t.in_child(|t| check_room(t, flag, "ERR-30"))?;
        }
        Ok(())
    }
});

case!(Case {
    name: "limits.returned.owner",
    about: "A namespace that has ended holds the user namespace that it belongs to no longer: under a limit with room for \
            one user namespace, one task after the other makes one, and another namespace in it, and then one more of \
            that kind.",
    proves: &["ERR-45"],
    source: "kernel, kernel/user_namespace.c (put_user_ns) and what frees each kind of namespace",
    variants: || variants::each_kind_but(&[Flags::NEWUSER]),
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWUSER, used(Flags::NEWUSER) + 1)?;
        for _ in 0..times(t) / 2 {
            t.in_child(|t| {
                check_room(t, Flags::NEWUSER, "ERR-45")?;
                t.unshare(flag).proving("ERR-45").as_predicted()?;
                // A second PID namespace is refused.
                if flag == Flags::NEWPID {
                    return Ok(());
                }
                // Then also the one that is replaced belongs to the user namespace.
                t.unshare(flag).proving("ERR-45").as_predicted()
            })?;
        }
        t.in_child(|t| check_room(t, Flags::NEWUSER, "ERR-45"))
    }
});

fn requirement(failing: Failing) -> &'static str {
    match failing {
        Failing::TimeLimit => "ATOM-18",
        _ => "ATOM-S8",
    }
}

fn failures() -> Vec<Variant> {
    Failing::variants(variants::each_kind(), |failing| match failing {
        Failing::TimeLimit => &["ATOM-18", "ATOM-S8"],
        _ => &["ATOM-S8"],
    })
}

case!(Case {
    name: "limits.returned.failure",
    about: "A call that fails leaves nothing counted, whatever it had made or counted by then: after several \
            failures there is still room for one namespace under a limit that allows one more than are in use.",
    proves: &["ATOM-18", "ATOM-S8"],
    quick: one_in(4, 1),
    variants: failures,
    run: |t| {
        let (failing, flag) = t.param::<(Failing, Flags)>();
        let requirement = requirement(failing);
        let root = t.directory()?;
        limits::enter_own_user_namespace(t)?;
        // Only limits outlive the task in which the call fails.
        t.in_child(|t| fail(t, failing, flag, root))?;
        if failing == Failing::TimeLimit {
            limits::set(t, Flags::NEWTIME, limits::HIGHEST)?;
        }
        limits::set(t, flag, used(flag) + 1)?;
        check_room(t, flag, requirement)
    }
});

/// Brings the task at hand into a state in which the call fails, and calls again and again.
fn fail(t: &Test, failing: Failing, flag: Flags, root: &Path) -> Done {
    // With somebody to share root and cwd with, as atomicity.newns has it without.
    let prepared = failing.prepare(t, flag, Flags::FS, root)?;
    fail_often(t, &prepared.start, failing, flag)?;
    if let Some((outside, limit)) = &prepared.outside {
        // Neither inside nor outside is anything left.
        limits::set_by(t, outside, flag, limit + 1)?;
        limits::set(t, flag, 1)?;
        check_room(t, flag, requirement(failing))?;
    }
    Ok(())
}

fn fail_often(t: &Test, start: &Start, failing: Failing, flag: Flags) -> Done {
    (0..times(t))
        .try_for_each(|_| t.unshare(failing.flags(flag)).from(*start).proving(requirement(failing)).as_predicted())
}

/// What goes on in a user namespace before its last task ends.
#[derive(Clone, Copy)]
enum Use {
    SignalsPending,
    SignalRefused,
    Namespace,
    NamespaceRefused,
}

const USES: [(&str, Use); 4] = [
    ("signals_pending", Use::SignalsPending),
    ("signal_refused", Use::SignalRefused),
    ("namespace", Use::Namespace),
    ("namespace_refused", Use::NamespaceRefused),
];

/// Queues so many blocked real-time signals to the calling process, and takes one. How many the limit lets it queue is
/// not judged here (EFF-USER-13).
fn queue_signals(count: usize) -> Result<(), Errno> {
    let number = libc::SIGRTMIN() + 4;
    // SAFETY: zeroes are valid structures, which live through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, number);
        Errno::result(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        for _ in 0..count {
            libc::sigqueue(libc::getpid(), number, libc::sigval { sival_ptr: std::ptr::null_mut() });
        }
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        Errno::result(libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const at_once)).map(drop)
    }
}

case!(Case {
    name: "limits.returned.after_use",
    about: "A user namespace in which signals were queued or a namespace made, or either was refused by a limit, goes \
            with its last task like any other: there is room for one again.",
    proves: &["LIM-04"],
    source: "namespaces(7), Namespace lifetime; kernel, kernel/ucount.c",
    needs: NEEDS.with(feature::UTS_NS),
    variants: || variants::named(&USES),
    run: |t| {
        limits::check_nesting_is_allowed(t)?;
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWUSER, used(Flags::NEWUSER) + 1)?;
        for _ in 0..2 {
            t.in_child(|t| {
                let signals = || getrlimit(Resource::RLIMIT_SIGPENDING).map_err(|_| Errno::EPROTO);
                let (_, hard) = t.setup(Call::new("getrlimit(RLIMIT_SIGPENDING)", signals()))?;
                let limit = |soft| {
                    let set = setrlimit(Resource::RLIMIT_SIGPENDING, soft, hard);
                    t.setup(Call::new(format!("setrlimit(RLIMIT_SIGPENDING, {soft})"), set))
                };
                let refuses = matches!(t.param(), Use::SignalRefused);
                if refuses {
                    // The new namespace has it as its ceiling (Linux 5.14).
                    limit(1)?;
                }
                check_room(t, Flags::NEWUSER, "LIM-04")?;
                match t.param() {
                    Use::SignalsPending => t.setup(Call::new("sigqueue() and sigtimedwait()", queue_signals(3))),
                    Use::SignalRefused => {
                        limit(hard)?;
                        t.setup(Call::new("sigqueue() and sigtimedwait()", queue_signals(3)))
                    }
                    Use::Namespace => t.setup(unshare(Flags::NEWUTS)),
                    Use::NamespaceRefused => {
                        limits::set(t, Flags::NEWUTS, 0)?;
                        t.check(unshare(Flags::NEWUTS)).proves("LIM-04").fails_with(Errno::ENOSPC)
                    }
                }
            })?;
        }
        check_room(t, Flags::NEWUSER, "LIM-04")
    }
});
