//! unshare(2) under seccomp(2) (section 8 of the behaviour catalogue).

use crate::place::seccomp::{Half, Heard, Verdict, expect_filters, install, set_no_new_privs};
use crate::prelude::*;

const SOURCE: &str = "seccomp(2)";

/// The status with which a task in strict mode exits that may.
const DONE: i32 = 7;

case!(Case {
    name: "interactions.seccomp.strict",
    about: "In seccomp's strict mode every unshare(2), also one that would do nothing or be refused, kills the \
            caller with SIGKILL; exit(2) is allowed.",
    proves: &["INT-11"],
    source: "seccomp(2), SECCOMP_SET_MODE_STRICT",
    needs: Needs::NONE.with(feature::NO_FILTER),
    variants: || variants::of_flags([Flags::NONE, Flags::FS, Flags::NEWUTS, Flags(1 << 40)]),
    run: |t| {
        expect_filters(t)?;
        // Raw calls from here on: the mode allows read, write, exit and the return from handlers.
        let end_of = |flags: Option<Flags>| {
            let mut task = t.spawn("caller", |_| {
                // SAFETY: takes numbers; the rest of this task are two raw calls.
                unsafe {
                    if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) != 0 {
                        libc::_exit(Errno::last_raw());
                    }
                    if let Some(flags) = flags {
                        unshare_raw(flags);
                    }
                    loop {
                        libc::syscall(libc::SYS_exit, DONE);
                    }
                }
            })?;
            t.setup(Call::new("waitpid()", task.wait()))
        };
        let text = |what: &str| format!("end of a task in strict mode that called {what}");
        let quiet = end_of(None)?;
        if let WaitStatus::Exited(_, errno) = quiet
            && ![0, DONE].contains(&errno)
        {
            let mode = "prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)";
            t.setup(Call::<()>::new(mode, Err(Errno::from_raw(errno))))?;
        }
        t.check(Call::seen(text("nothing"), quiet))
            .holds("exit with status 7", |end| matches!(end, WaitStatus::Exited(_, DONE)))?;
        let flags = t.param::<Flags>();
        let killed = end_of(Some(flags))?;
        t.check(Call::seen(text(&format!("unshare({flags})")), killed))
            .holds("death by SIGKILL", |end| matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)))
            .map(drop)
    }
});

fn halves() -> Vec<Variant> {
    let high = Flags(1 << 40);
    vec![Variant::new("low_half", Flags::FS), Variant::new("high_half", high).needing(passing(high))]
}

/// The half of the argument that these flags are in, and what it holds.
fn half_of(flags: u64) -> (Half, u32) {
    if flags >> 32 == 0 { (Half::Low, flags as u32) } else { (Half::High, (flags >> 32) as u32) }
}

case!(Case {
    name: "interactions.seccomp.errno",
    about: "A filter that looks at either half of the argument answers for the kernel with an errno of its own, and \
            nothing is done; calls that it does not mean are not touched.",
    proves: &["INT-12"],
    variants: halves,
    run: |t| {
        const ID: &str = "INT-12";
        expect_filters(t)?;
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "sharer", Flags::FS)?;
        let flags = t.param::<Flags>();
        let (half, value) = half_of(flags.0);
        t.setup(set_no_new_privs())?;
        t.setup(Call::new("seccomp(filter)", install(half, value, Verdict::Errno(Errno::EXDEV))))?;
        let before = observer.state();
        t.check(unshare(flags)).fails_with(Errno::EXDEV)?;
        check_changes(t, flags, ID, &Prediction::nothing(), &before, &observer.state())?;
        check_kcmp(t, &peer, Shared::Fs, true, ID)?;
        // Other values in the same half, and the same value in the other.
        let others = [Flags::FILES, Flags::FS | Flags::FILES, Flags(1 << 41), Flags(flags.0.rotate_left(32))];
        for other in others.into_iter().filter(|other| Flags::ARGUMENT.contains(*other)) {
            t.unshare(other).as_predicted()?;
        }
        Ok(())
    }
});

case!(Case {
    name: "interactions.seccomp.trap",
    about: "A filter that looks at either half of the argument has the caller get SIGSYS instead of the call.",
    proves: &["INT-12"],
    variants: halves,
    run: |t| {
        expect_filters(t)?;
        let flags = t.param::<Flags>();
        let mut task = t.spawn("caller", |t| {
            let (half, value) = half_of(flags.0);
            t.setup(set_no_new_privs())?;
            t.setup(Call::new("seccomp(filter)", install(half, value, Verdict::Trap)))?;
            t.check(unshare(Flags::FILES)).succeeds()?;
            t.check(unshare(flags).called("unshare() that a filter traps, which does not return"))
                .fails_with(Errno::ENOSYS)
        })?;
        let end = t.setup(Call::new("waitpid()", task.wait()))?;
        t.check(Call::seen(format!("end of a task whose unshare({flags}) a filter traps"), end))
            .holds("death by SIGSYS", |end| matches!(end, WaitStatus::Signaled(_, Signal::SIGSYS, _)))
            .map(drop)
    }
});

case!(Case {
    name: "interactions.seccomp.notify",
    about: "A filter that looks at either half of the argument has a supervisor decide: it hears the whole argument, \
            and the caller gets the errno that it says.",
    proves: &["INT-12"],
    source: "seccomp_unotify(2)",
    variants: halves,
    run: |t| {
        expect_filters(t)?;
        let flags = t.param::<Flags>();
        let barrier = Barrier::new(t)?;
        // The listener is a descriptor, which the two share.
        let caller = t.spawn_sharing("caller", Flags::FILES.0, |t| {
            let (half, value) = half_of(flags.0);
            t.setup(set_no_new_privs())?;
            let listener = install(half, value, Verdict::Notify);
            barrier.put(0, listener.as_ref().ok().and_then(Option::as_ref).map_or(0, |fd| fd.as_raw_fd() as u64));
            barrier.finish();
            // It stays open for the supervisor.
            let _listener = t.setup(Call::new("seccomp(filter, NEW_LISTENER)", listener))?;
            t.check(unshare(flags)).fails_with(Errno::EXDEV)
        })?;
        barrier.wait_until_finished(1);
        if barrier.get(0) != 0 {
            let heard = seccomp::answer(barrier.get(0) as i32, Errno::EXDEV);
            t.check(Call::new("what the supervisor heard", heard))
                .is(Heard { number: crate::call::raw::number(), argument: flags })?;
        }
        caller.join(t)
    }
});

case!(Case {
    name: "interactions.seccomp.user_namespace",
    about: "A filter stays when its task calls unshare(CLONE_NEWUSER). With the capabilities that come with the new \
            namespace the task may install a further filter without no_new_privs, which it might not before \
            (EACCES), and both act.",
    proves: &["INT-13"],
    source: "seccomp(2), SECCOMP_SET_MODE_FILTER and ERRORS; kernel, kernel/seccomp.c",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::UTS_NS),
    run: |t| {
        expect_filters(t)?;
        if t.setup(Call::new("prctl(PR_GET_NO_NEW_PRIVS)", prctl::get_no_new_privs()))? {
            return Err(t.skip("no_new_privs is set here already, and cannot be taken back"));
        }
        let filter = |value: Flags, errno| {
            Call::new("seccomp(filter)", install(Half::Low, value.0 as u32, Verdict::Errno(errno)).map(drop))
        };
        t.setup(filter(Flags::NEWUTS, Errno::EXDEV))?;
        become_unprivileged(t)?;
        t.check(filter(Flags::FILES, Errno::ENOTEMPTY).called("seccomp(filter) without CAP_SYS_ADMIN"))
            .fails_with(Errno::EACCES)?;
        let start = Start { ..Start::unprivileged() };
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        t.check(unshare(Flags::NEWUTS)).fails_with(Errno::EXDEV)?;
        t.check(
            filter(Flags::FILES, Errno::ENOTEMPTY)
                .called("seccomp(filter) with CAP_SYS_ADMIN in the new user namespace"),
        )
        .succeeds()?;
        t.check(Call::new("no_new_privs", prctl::get_no_new_privs())).is(false)?;
        t.check(unshare(Flags::FILES)).fails_with(Errno::ENOTEMPTY)?;
        t.check(unshare(Flags::NEWUTS)).fails_with(Errno::EXDEV)?;
        t.check(unshare(Flags::FS)).succeeds()
    }
});
