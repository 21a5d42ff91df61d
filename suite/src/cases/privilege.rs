//! The privilege that each flag takes (PRIV rows and ERR-20 of the behaviour catalogue, section 1.3): CAP_SYS_ADMIN,
//! effective in the caller's user namespace, for every namespace but a user namespace, and nothing else.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), ERRORS (EPERM); 2006 design document, 5 (EPERM); capabilities(7)";

/// The flags that take CAP_SYS_ADMIN, those that this kernel can carry out.
fn possible() -> Vec<Variant> {
    variants::succeeding(Flags::PRIVILEGED.iter())
}

/// The permitted capabilities of the task at hand.
fn permitted(observer: &Observer) -> u64 {
    observer.state().capabilities[1]
}

case!(Case {
    name: "privilege.none_needed",
    about: "CLONE_FS, CLONE_FILES, CLONE_SYSVSEM, CLONE_VM, CLONE_SIGHAND and CLONE_THREAD take no capability: \
            without any each succeeds, alone and all at once, and leaves just what it names.",
    proves: &["PRIV-01"],
    variants: || {
        let flags = [Flags::FS, Flags::FILES, Flags::SYSVSEM, Flags::VM, Flags::SIGHAND, Flags::THREAD];
        let all = flags.into_iter().fold(Flags::NONE, |all, flag| all | flag);
        flags.into_iter().chain([all]).map(for_flags).collect()
    },
    run: |t| {
        t.directory()?;
        become_unprivileged(t)?;
        let observer = Observer::open(t)?;
        t.check(Call::seen("CapEff", observer.state().capabilities[2])).is(0)?;
        let sibling = Sibling::start(t, SHARED)?.without_root();
        let prediction =
            t.unshare(t.param::<Flags>()).from(Start::unprivileged()).beside(&[sibling.peer()]).prediction()?;
        sibling.check(t, prediction.separated, "PRIV-01")
    }
});

case!(Case {
    name: "privilege.sys_admin_needed",
    about: "Without CAP_SYS_ADMIN each namespace flag but CLONE_NEWUSER gives EPERM, alone and with what needs no \
            privilege: nothing changes, and a sibling goes on sharing all.",
    proves: &["PRIV-03", "ERR-20"],
    quick: one_in(2, 0),
    variants: || variants::of_flags(Flags::PRIVILEGED.iter()),
    run: |t| {
        const ID: &str = "ERR-20";
        t.directory()?;
        become_unprivileged(t)?;
        let sibling = Sibling::start(t, SHARED)?.without_root();
        let flag = t.param::<Flags>();
        // Nothing, but where the kernel asks no privilege for an empty mount namespace.
        let mut separated = Flags::NONE;
        for flags in [flag, flag, flag | Flags::FS | Flags::FILES | Flags::SYSVSEM] {
            let call = t.unshare(flags).from(Start::unprivileged()).beside(&[sibling.peer()]).proving(ID);
            separated |= call.prediction()?.separated;
        }
        sibling.check(t, separated, ID)
    }
});

case!(Case {
    name: "privilege.user_namespace",
    about: "CLONE_NEWUSER takes no capability: a task without any gets its user namespace, and, in one call, any \
            other namespace with it, for which CAP_SYS_ADMIN comes with the new one.",
    proves: &["PRIV-02", "PRIV-04"],
    source: "unshare(2), CLONE_NEWUSER; user_namespaces(7)",
    needs: Needs::NONE.with(feature::CREATE_USER_NS),
    quick: one_in(3, 1),
    variants: || [Flags::NONE]
        .into_iter()
        .chain(Flags::PRIVILEGED.iter())
        .map(|flag| for_flags(flag | Flags::NEWUSER))
        .collect(),
    run: |t| {
        become_unprivileged(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(t.param::<Flags>()).from(Start::unprivileged()).beside(&[&peer]).proving("PRIV-04").as_predicted()
    }
});

case!(Case {
    name: "privilege.all_but_sys_admin",
    about: "User 0 has no privilege of its own, and the other capabilities do not help: with all but CAP_SYS_ADMIN \
            each namespace flag gives EPERM, while CLONE_NEWUSER succeeds.",
    proves: &["PRIV-05"],
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    quick: one_in(3, 2),
    variants: || variants::of_flags(Flags::PRIVILEGED.iter().chain([Flags::NEWUSER])),
    run: |t| {
        let observer = Observer::open(t)?;
        let rest = permitted(&observer) & !CAP_SYS_ADMIN;
        t.setup(set_capabilities(rest, rest))?;
        t.check(Call::seen("geteuid()", geteuid().as_raw())).is(0)?;
        t.unshare(t.param::<Flags>()).from(Start::unprivileged()).as_predicted()
    }
});

/// As which user the caller has its one capability.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Root,
    Nobody,
}

case!(Case {
    name: "privilege.only_sys_admin",
    about: "CAP_SYS_ADMIN alone is enough for every namespace flag, as user 0 and as an ordinary user.",
    proves: &["PRIV-06", "PRIV-03"],
    needs: Needs::ROOT,
    quick: one_in(5, 2),
    variants: || {
        let all = variants::product::<_, Flags>(&[("root", Caller::Root), ("nobody", Caller::Nobody)], &possible());
        all.into_iter()
            .map(|variant| match variant.param::<(Caller, Flags)>().0 {
                Caller::Root => variant,
                Caller::Nobody => variant.needing(Needs::NONE.with(feature::SECOND_USER)),
            })
            .collect()
    },
    run: |t| {
        let (caller, flag): (Caller, Flags) = t.param();
        if caller == Caller::Nobody {
            t.setup(Call::new("prctl(PR_SET_KEEPCAPS)", prctl::set_keepcaps(true)))?;
            become_nobody(t)?;
        }
        t.setup(set_capabilities(CAP_SYS_ADMIN, CAP_SYS_ADMIN))?;
        t.unshare(flag).proving("PRIV-06").as_predicted()
    }
});

/// Changes all user and group IDs, and keeps what capabilities the kernel lets it keep.
fn become_nobody(t: &Test) -> Done {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    t.setup(Call::new("setgroups([])", setgroups(&[])))?;
    t.setup(Call::new("setresgid(65534)", setresgid(gid, gid, gid)))?;
    t.setup(Call::new("setresuid(65534)", setresuid(uid, uid, uid)))?;
    // The change made /proc/self root's.
    t.setup(Call::new("prctl(PR_SET_DUMPABLE, 1)", prctl::set_dumpable(true)))
}

case!(Case {
    name: "privilege.permitted_only",
    about: "A CAP_SYS_ADMIN that is permitted but not effective does not count: EPERM for each namespace flag, and \
            success once it is raised.",
    proves: &["PRIV-07"],
    needs: Needs::ROOT,
    quick: one_in(3, 0),
    variants: possible,
    run: |t| {
        let flag = t.param::<Flags>();
        let observer = Observer::open(t)?;
        let all = permitted(&observer);
        t.setup(set_capabilities(all & !CAP_SYS_ADMIN, all))?;
        t.unshare(flag).from(Start::unprivileged()).as_predicted()?;
        t.setup(set_capabilities(0, CAP_SYS_ADMIN))?;
        t.unshare(flag).from(Start::unprivileged()).as_predicted()?;
        t.setup(set_capabilities(CAP_SYS_ADMIN, CAP_SYS_ADMIN))?;
        t.unshare(flag).as_predicted()
    }
});

case!(Case {
    name: "privilege.dropped_inside",
    about: "What counts is CAP_SYS_ADMIN in the user namespace one is in: root of a user namespace of its own who \
            has dropped it gets EPERM for each namespace flag but CLONE_NEWUSER, which gives it another one.",
    proves: &["PRIV-08"],
    source: "user_namespaces(7), Capabilities",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    quick: one_in(4, 0),
    variants: || possible().into_iter().chain([for_flags(Flags::NEWUSER)]).collect(),
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        let inside = limits::start(t, Flags::NONE);
        let dropped = Start { sys_admin: false, ..inside };
        t.in_child(|t| {
            let rest = permitted(&observer) & !CAP_SYS_ADMIN;
            t.setup(set_capabilities(rest, rest))?;
            t.unshare(flag).from(dropped).as_predicted()
        })?;
        // With the capability the call succeeds.
        t.unshare(flag).from(inside).as_predicted()
    }
});

/// What may differ from a plain caller, and must not matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    FileSystemUser,
    Groups,
    GroupsOfNobody,
    SavedUser,
    RealUser,
}

case!(Case {
    name: "privilege.nothing_else_counts",
    about: "The file system user, the saved and the real user, and supplementary groups do not matter: with \
            CAP_SYS_ADMIN effective each namespace flag succeeds whatever they are, without it each gives EPERM even \
            if they are root's.",
    proves: &["PRIV-09"],
    source: "capabilities(7); kernel, kernel/nsproxy.c",
    needs: Needs::ROOT.with(feature::SECOND_USER),
    quick: one_in(5, 1),
    variants: || {
        let all = [
            ("file_system_user", Beside::FileSystemUser),
            ("groups", Beside::Groups),
            ("roots_groups", Beside::GroupsOfNobody),
            ("saved_user", Beside::SavedUser),
            ("real_user", Beside::RealUser),
        ];
        variants::product::<_, Flags>(&all, &possible())
    },
    run: |t| {
        let (beside, flag): (Beside, Flags) = t.param();
        let (root, nobody) = (Uid::from_raw(0), Uid::from_raw(NOBODY));
        let root_group = Gid::from_raw(0);
        let with = Start::of(t.facts());
        let start = match beside {
            Beside::FileSystemUser => {
                nix::unistd::setfsuid(nobody);
                nix::unistd::setfsgid(Gid::from_raw(NOBODY));
                with
            }
            Beside::Groups => {
                t.setup(Call::new("setgroups([65534])", setgroups(&[Gid::from_raw(NOBODY)])))?;
                with
            }
            // With its effective user the caller gives up its effective capabilities.
            Beside::GroupsOfNobody => become_unprivileged_with(t, &[root_group], [nobody; 3])?,
            Beside::SavedUser => become_unprivileged_with(t, &[], [nobody, nobody, root])?,
            Beside::RealUser => become_unprivileged_with(t, &[], [root, nobody, nobody])?,
        };
        t.unshare(flag).from(start).as_predicted()
    }
});

/// Changes groups, then real, effective and saved user. Gives the state that the task is then in.
fn become_unprivileged_with(t: &Test, groups: &[Gid], [real, effective, saved]: [Uid; 3]) -> Done<Start> {
    t.setup(Call::new("setgroups()", setgroups(groups)))?;
    t.setup(Call::new("setresuid()", setresuid(real, effective, saved)))?;
    t.setup(Call::new("prctl(PR_SET_DUMPABLE, 1)", prctl::set_dumpable(true)))?;
    Ok(Start::unprivileged())
}
