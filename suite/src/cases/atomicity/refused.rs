//! A call that fails changes nothing (section 5 of the behaviour catalogue), shown with failures that come late, when
//! other parts have already been built.
//!
//! That is the 2006 document's central design claim: build everything, then switch. It did not hold for CLONE_NEWNS
//! in a task that shares its root and cwd with nobody, from 2.6.16 until 7.0 and the stable releases of March 2026
//! (DIFF-10).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 (duplicate everything before anything is switched)";

/// What must still work after a failed call: paths from the cwd and from the root, a mount, and a change of
/// directory.
fn check_place(t: &Test, after: &str, requirement: &'static str) -> Done {
    let directory = t.directory()?;
    let seen = |what: &str| format!("{what} after {after}");
    let stat = |path: &str| fds::file_at(path).map(drop);
    let mounted = mount_tmpfs(directory).called(seen("mount(tmpfs)"));
    if mounted.result().is_ok() {
        t.setup(Call::new("umount()", nix::mount::umount(directory)))?;
    }
    let entered = chdir(directory);
    if entered.is_ok() {
        t.setup(Call::new("chdir(..)", chdir("..")))?;
    }
    all([
        t.check(Call::new(seen("stat(.)"), stat("."))).proves(requirement).succeeds(),
        t.check(Call::new(seen("stat(/proc/self)"), stat("/proc/self"))).proves(requirement).succeeds(),
        t.check(Call::new(seen("getcwd()"), getcwd())).proves(requirement).succeeds().map(drop),
        t.check(mounted).proves(requirement).succeeds(),
        t.check(Call::new(seen("chdir()"), entered)).proves(requirement).succeeds(),
    ])
}

/// Calls with a CLONE_NEWPID that is refused, in a task that shares root and cwd with nobody, and checks that its
/// place still works.
fn fail_alone(t: &Test, flags: Flags, requirement: &'static str) -> Done<(Observer, Start)> {
    let start = second_pid(t)?;
    // Made while paths work.
    t.directory()?;
    let observer = Observer::open(t)?;
    let flags = flags | Flags::NEWPID;
    all([
        t.unshare(flags).from(start).proving(requirement).as_predicted(),
        check_place(t, &format!("unshare({flags})"), requirement),
    ])?;
    Ok((observer, start))
}

/// Calls with a CLONE_NEWPID that is refused, beside a sibling that shares everything, and checks that it goes on
/// sharing it.
fn fail_beside_sharer(t: &Test, flags: Flags, requirement: &'static str) -> Done {
    // The sibling first: it could not be made after.
    let sibling = Sibling::start(t, SHARED)?;
    let start = second_pid(t)?;
    t.unshare(flags | Flags::NEWPID).from(start).proving(requirement).as_predicted()?;
    sibling.check(t, Flags::NONE, requirement)
}

case!(Case {
    name: "atomicity.newns.refused_pid",
    about: "CLONE_NEWNS together with a CLONE_NEWPID that is refused, by a task that shares root and cwd with \
            nobody: EINVAL, and cwd, root and all mounts are as before and work.",
    proves: &["ATOM-01", "ATOM-S1", "ATOM-S3", "DIFF-10"],
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| fail_alone(t, Flags::NEWNS, "ATOM-01").map(drop)
});

case!(Case {
    name: "atomicity.newns.refused_pid_beside_sharer",
    about: "CLONE_NEWNS together with a CLONE_NEWPID that is refused, by a task that shares root and cwd: EINVAL, \
            nothing changes, and they are still shared.",
    proves: &["ATOM-02"],
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| fail_beside_sharer(t, Flags::NEWNS, "ATOM-02")
});

/// The kinds of namespace that a call makes after the mount namespace, but for the PID namespace.
fn late_kinds() -> Vec<Variant> {
    variants::each_kind_but(&[Flags::NEWUSER, Flags::NEWNS, Flags::NEWPID])
}

case!(Case {
    name: "atomicity.newns.limit",
    about: "CLONE_NEWNS together with a namespace whose limit is reached, by a task that shares root and cwd with \
            nobody: ENOSPC, and cwd, root and all mounts are as before and work.",
    proves: &["ATOM-03", "ATOM-S3", "DIFF-09", "DIFF-10"],
    needs: limits::NEEDS,
    variants: late_kinds,
    run: |t| {
        let full = t.param::<Flags>();
        t.directory()?;
        limits::enter_own_user_namespace(t)?;
        limits::set(t, full, 0)?;
        let start = limits::start(t, full);
        let flags = Flags::NEWNS | full;
        all([
            t.unshare(flags).from(start).proving("ATOM-03").as_predicted(),
            check_place(t, &format!("unshare({flags})"), "ATOM-03"),
        ])
    }
});

case!(Case {
    name: "atomicity.newuser_newns.refused_pid",
    about: "CLONE_NEWUSER and CLONE_NEWNS together with a CLONE_NEWPID that is refused, by a task that shares root \
            and cwd with nobody: EINVAL, the mounts behind cwd and root are the same ones, a mount works, and a user \
            namespace can still be made.",
    proves: &["ATOM-17"],
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::CREATE_USER_NS),
    run: |t| {
        let flags = Flags::NEWUSER | Flags::NEWNS;
        let (_, start) = fail_alone(t, flags, "ATOM-17")?;
        t.unshare(Flags::NEWUSER).from(start).as_predicted()
    }
});

case!(Case {
    name: "atomicity.empty.refused_pid",
    about: "An empty mount namespace together with a CLONE_NEWPID that is refused: EINVAL, and mount namespace, cwd \
            and root are as before and work.",
    proves: &["ATOM-04", "EFF-EMPTY-12"],
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::EMPTY_MNT_NS),
    run: |t| fail_alone(t, Flags::EMPTY, "ATOM-04").map(drop)
});

case!(Case {
    name: "atomicity.undo.refused",
    about: "CLONE_SYSVSEM and CLONE_NEWIPC in a call that fails, for a refused CLONE_NEWPID or an unknown bit: the \
            semaphore keeps its value, no adjustment is applied.",
    proves: &["ATOM-05", "ATOM-06", "ATOM-S5"],
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::SYSV_IPC).with(feature::IPC_NS),
    run: |t| {
        let semaphore = Semaphore::new(t, 5)?;
        semaphore.add_with_undo(t, Side::Caller, -2)?;
        let start = second_pid(t)?;
        for (flags, requirement) in [
            (Flags::SYSVSEM | Flags::NEWPID, "ATOM-05"),
            (Flags::NEWIPC | Flags::NEWPID, "ATOM-05"),
            (Flags::SYSVSEM | Flags::TOP, "ATOM-06"),
            (Flags::NEWIPC | Flags::INVALID, "ATOM-06"),
        ] {
            t.unshare(flags).from(start).proving(requirement).as_predicted()?;
            semaphore.check_value(t, &format!("after unshare({flags})"), 3, requirement)?;
        }
        // The list was there all the time.
        t.check(unshare(Flags::SYSVSEM)).proves("ATOM-05").succeeds()?;
        semaphore.check_value(t, "after unshare(CLONE_SYSVSEM)", 5, "ATOM-05")
    }
});

case!(Case {
    name: "atomicity.sharing.refused_pid",
    about: "Each flag together with a CLONE_NEWPID that is refused, beside a sibling that shares cwd, umask, root, \
            descriptors and undo list: EINVAL, nothing changes, all is still shared.",
    proves: &["ATOM-07", "ATOM-16"],
    needs: Needs::ROOT.with(feature::PID_NS),
    quick: one_in(4, 3),
    variants: || Flags::KNOWN
        .into_iter()
        .filter(|flag| *flag != Flags::NEWPID)
        .map(|flag| {
            let (ids, needs) = match flag {
                Flags::FS | Flags::FILES => (vec!["ATOM-07", "ATOM-16", "ATOM-S2"], Needs::NONE),
                Flags::EMPTY => (vec!["ATOM-04", "ATOM-16"], Needs::NONE.with(feature::EMPTY_MNT_NS)),
                _ => (vec!["ATOM-16", "ATOM-S2"], Needs::NONE),
            };
            for_flags(flag).proving(ids).needing(needs)
        })
        .collect(),
    run: |t| fail_beside_sharer(t, t.param::<Flags>(), "ATOM-16")
});

case!(Case {
    name: "atomicity.sharing.everything_refused",
    about: "All namespaces, cwd, descriptors and undo list at once, with a CLONE_NEWPID that is refused, beside a \
            sibling that shares: EINVAL, nothing changes, all is still shared.",
    proves: &["ATOM-20", "ATOM-S2"],
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::CREATE_USER_NS),
    run: |t| fail_beside_sharer(t, everything(t), "ATOM-20")
});

case!(Case {
    name: "atomicity.sharing.unprivileged",
    about: "CLONE_FS and CLONE_FILES together with a namespace that the caller may not make, beside a sibling that \
            shares: EPERM, nothing changes, all is still shared.",
    proves: &["ATOM-13"],
    run: |t| {
        // While the directory of it can still be written to.
        t.directory()?;
        become_unprivileged(t)?;
        let flags = Flags::FS | Flags::FILES | Flags::NEWUTS;
        let sibling = Sibling::start(t, SHARED)?.without_root();
        t.unshare(flags).from(Start::unprivileged()).as_predicted()?;
        sibling.check(t, Flags::NONE, "ATOM-13")
    }
});

case!(Case {
    name: "atomicity.sharing.limit",
    about: "Everything at once with one kind of namespace at its limit, beside a sibling that shares: ENOSPC, \
            nothing changes, all is still shared.",
    proves: &["ATOM-09", "ATOM-10"],
    needs: limits::NEEDS,
    variants: || late_kinds()
        .into_iter()
        .map(|variant| match variant.param() {
            Flags::NEWTIME => variant.proving(["ATOM-10"]),
            _ => variant.proving(["ATOM-09"]),
        })
        .collect(),
    run: |t| {
        let full = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, full, 0)?;
        let start = limits::start(t, full);
        let requirement = if full == Flags::NEWTIME { "ATOM-10" } else { "ATOM-09" };
        let sibling = Sibling::start(t, SHARED)?;
        t.unshare(everything(t)).from(start).proving(requirement).as_predicted()?;
        sibling.check(t, Flags::NONE, requirement)
    }
});

case!(Case {
    name: "atomicity.accounting",
    about: "Fifty calls that make a UTS namespace and then fail leave no namespace counted: with a limit of three, \
            two more can be made.",
    proves: &["ATOM-14", "ATOM-S8"],
    needs: limits::NEEDS.with(feature::UTS_NS).with(feature::PID_NS),
    run: |t| {
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWUTS, 3)?;
        let start = Start { initial_admin: false, ..second_pid(t)? };
        for _ in 0..50 {
            let flags = Flags::NEWUTS | Flags::NEWPID;
            t.unshare(flags).from(start).proving("ATOM-14").as_predicted()?;
        }
        (0..2).try_for_each(|_| t.unshare(Flags::NEWUTS).from(start).proving("ATOM-14").as_predicted())
    }
});
