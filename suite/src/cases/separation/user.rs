//! User namespaces (section 3.13 of the behaviour catalogue).

use crate::observe::nsfd::{maker_of, owner_of, parent_of};
use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWUSER; user_namespaces(7)";
const NEEDS: Needs = Needs::NONE.with(feature::CREATE_USER_NS);

/// As whom the caller calls: with what it has, or as an ordinary user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    AsIs,
    Unprivileged,
}

fn callers() -> Vec<Variant> {
    variants::named(&[("as_is", Caller::AsIs), ("unprivileged", Caller::Unprivileged)])
}

/// As [`callers`]; the ordinary user has to be another than root, whose ID takes a capability to map (EFF-USER-18).
pub(super) fn callers_with_own_ids() -> Vec<Variant> {
    let second_user = Needs::NONE.with(feature::SECOND_USER);
    vec![Variant::new("as_is", Caller::AsIs), Variant::new("unprivileged", Caller::Unprivileged).needing(second_user)]
}

/// Becomes this caller and gives the start state.
#[track_caller]
pub(super) fn become_caller(t: &Test, caller: Caller) -> Done<Start> {
    if caller == Caller::AsIs {
        return Ok(Start::of(t.facts()));
    }
    become_unprivileged(t)?;
    Ok(Start::unprivileged())
}

case!(Case {
    name: "separation.user.link",
    about: "The caller gets a user namespace of its own: its parent is the old one, its maker the caller's effective \
            user; another task keeps the old one.",
    proves: &["EFF-USER-01"],
    variants: callers,
    run: |t| {
        // Who looks from outside keeps its powers, and is ended by one who has them, too.
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.spawn("caller", |t| judge_link(t, &observer, &peer))?.join(t)
    }
});

fn judge_link(t: &Test, observer: &Observer, peer: &Peer) -> Done {
    let start = become_caller(t, t.param())?;
    let (old, maker) = (observer.namespace_inode(Ns::User), geteuid().as_raw());
    t.unshare(Flags::NEWUSER).from(start).beside(&[peer]).as_predicted()?;
    let new = t
        .check(observer.namespace(Ns::User))
        .holds("another inode than before", |inode| *inode != 0 && *inode != old)?;
    let own = getpid().as_raw();
    let parent = peer.call(t, "ioctl(NS_GET_PARENT) of the caller's user namespace", own, |pid| {
        parent_of(&open_link(pid, Ns::User)?)
    })?;
    t.check(parent).is(old)?;
    let uid = peer.call(t, "ioctl(NS_GET_OWNER_UID) of the caller's user namespace", own, |pid| {
        maker_of(&open_link(pid, Ns::User)?)
    })?;
    t.check(uid).is(maker)?;
    let inode = peer
        .call(t, "the caller's user namespace, as the peer sees it", own, |pid| inode_of(&open_link(pid, Ns::User)?))?;
    t.check(inode).is(new)?;
    let still =
        peer.call(t, "the peer's own user namespace", (), |()| inode_of(&open_link("thread-self", Ns::User)?))?;
    t.check(still).is(old)
}

/// User and effective user, group and effective group.
fn ids() -> Call<[u32; 4]> {
    let ids = [getuid().as_raw(), geteuid().as_raw(), getgid().as_raw(), getegid().as_raw()];
    Call::seen("getuid(), geteuid(), getgid(), getegid()", ids)
}

case!(Case {
    name: "separation.user.ids",
    about: "Until maps are written all IDs read as the overflow ID (65534); the caller may map its own user and group, \
            and then reads the IDs mapped to.",
    proves: &["EFF-USER-02"],
    variants: callers_with_own_ids,
    run: |t| {
        let observer = Observer::open(t)?;
        let start = become_caller(t, t.param())?;
        let (uid, gid) = (geteuid(), getegid());
        const CAP_SETFCAP: u64 = 1 << 31;
        if uid.is_root() && observer.state().capabilities[2] & CAP_SETFCAP == 0 {
            return Err(
                t.skip("mapping user 0 takes CAP_SETFCAP, which is missing here: run as root outside containers")
            );
        }
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        let overflow = |path: &str| Ok(t.setup(sysctl::number(path))? as u32);
        let (no_user, no_group) =
            (overflow("/proc/sys/kernel/overflowuid")?, overflow("/proc/sys/kernel/overflowgid")?);
        t.check(ids()).is([no_user, no_user, no_group, no_group])?;
        for (file, text) in
            [("setgroups", "deny".to_owned()), ("uid_map", format!("7 {uid} 1")), ("gid_map", format!("8 {gid} 1"))]
        {
            t.check(write_own(file, &text)).succeeds()?;
        }
        t.check(ids()).is([7, 7, 8, 8])
    }
});

/// Checks the five sets: inheritable, permitted, effective, bounding, ambient.
#[track_caller]
fn check_full_capabilities(t: &Test, observer: &Observer, requirement: &'static str) -> Done {
    let full = all_capabilities(t)?;
    let sets = observer.state().capabilities.map(|set| format!("{set:x}"));
    t.check(Call::seen("CapInh, CapPrm, CapEff, CapBnd, CapAmb", sets))
        .proves(requirement)
        .is([0, full, full, full, 0].map(|set| format!("{set:x}")))
}

/// What the caller changes of its capabilities before the call.
#[derive(Clone, Copy)]
enum Change {
    None,
    All,
    InheritableAndAmbient,
    Bounding,
}

fn capability_states() -> Vec<Variant> {
    let root = Needs::NONE.with(feature::SYS_ADMIN);
    vec![
        Variant::new("as_is", Change::None),
        Variant::new("unprivileged", Change::All),
        Variant::new("inheritable_and_ambient", Change::InheritableAndAmbient).needing(root),
        Variant::new("bounding_set_dropped", Change::Bounding).needing(root),
    ]
}

case!(Case {
    name: "separation.user.capabilities",
    about: "The caller has all capabilities in the new namespace, whatever it had before: permitted, effective and \
            bounding set are full, inheritable and ambient set empty.",
    proves: &["EFF-USER-03"],
    source: "user_namespaces(7), Capabilities",
    variants: capability_states,
    run: |t| {
        const CAP_CHOWN: u64 = 1;
        let observer = Observer::open(t)?;
        let mut start = Start::of(t.facts());
        let now = observer.state().capabilities;
        match t.param() {
            Change::None => {}
            Change::All => start = become_caller(t, Caller::Unprivileged)?,
            Change::InheritableAndAmbient => {
                t.setup(set_all_capabilities(now[2], now[1], CAP_CHOWN))?;
                let raised = call!(prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 0, 0, 0);
                t.setup(Call::new("prctl(PR_CAP_AMBIENT_RAISE, CAP_CHOWN)", raised.map_err(fds::errno)))?;
            }
            Change::Bounding => {
                for capability in 0..64u64 - u64::from(all_capabilities(t)?.leading_zeros()) {
                    let dropped = call!(prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0).map_err(fds::errno);
                    t.setup(Call::new(format!("prctl(PR_CAPBSET_DROP, {capability})"), dropped))?;
                }
            }
        }
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        check_full_capabilities(t, &observer, "EFF-USER-03")
    }
});

/// The securebits about executing files: two settings with their locks (Linux 6.14).
const SECUREBITS_ABOUT_EXECUTING: u32 = 0xf00;

/// Securebits: three settings with their locks, or one about executing files with its lock.
fn securebits() -> Vec<Variant> {
    let root = Needs::NONE.with(feature::SYS_ADMIN);
    vec![Variant::new("all_locked", 0x2fu32).needing(root), Variant::new("exec", 0x300u32).needing(root)]
}

case!(Case {
    name: "separation.user.securebits",
    about: "The new namespace starts with default securebits, even if the old were locked. Those about executing files \
            (Linux 6.14), with which a task restricts itself, stay.",
    proves: &["EFF-USER-04"],
    source: "user_namespaces(7), Capabilities; capabilities(7), securebits",
    variants: securebits,
    run: |t| {
        let bits: u32 = t.param();
        let observer = Observer::open(t)?;
        let set = call!(prctl, libc::PR_SET_SECUREBITS, bits, 0, 0, 0).map_err(fds::errno);
        if bits & SECUREBITS_ABOUT_EXECUTING != 0 && set == Err(Errno::EPERM) {
            return Err(t.skip("this kernel has no securebits about executing files (Linux 6.14)"));
        }
        t.setup(Call::new(format!("prctl(PR_SET_SECUREBITS, {bits:#x})"), set))?;
        t.unshare(Flags::NEWUSER).as_predicted()?;
        let after = Call::seen("prctl(PR_GET_SECUREBITS)", observer.state().securebits);
        t.check(after).is(bits & SECUREBITS_ABOUT_EXECUTING)
    }
});

case!(Case {
    name: "separation.user.no_new_privs",
    about: "The no_new_privs attribute prevents neither the call nor the new capabilities, and stays set.",
    proves: &["EFF-USER-05", "INT-14"],
    source: "user_namespaces(7); prctl(2), PR_SET_NO_NEW_PRIVS",
    variants: callers,
    run: |t| {
        const ID: &str = "EFF-USER-05";
        let observer = Observer::open(t)?;
        let start = become_caller(t, t.param())?;
        t.setup(Call::new("prctl(PR_SET_NO_NEW_PRIVS)", prctl::set_no_new_privs()))?;
        t.unshare(Flags::NEWUSER).from(start).proving(ID).as_predicted()?;
        t.check(Call::new("prctl(PR_GET_NO_NEW_PRIVS)", prctl::get_no_new_privs())).proves(ID).is(true)?;
        check_full_capabilities(t, &observer, ID)
    }
});

case!(Case {
    name: "separation.user.no_power_outside",
    about: "The new capabilities give no power over the old namespaces: sethostname(2), mount(2) and the way back by \
            setns(2) fail (EPERM); chroot(2), which concerns the caller only, succeeds.",
    proves: &["EFF-USER-09", "INT-07"],
    source: "user_namespaces(7), Interaction of user namespaces and other types of namespaces",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    run: |t| {
        let target = t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            const ID: &str = "EFF-USER-09";
            let old = t.setup(Call::new("open(ns/user)", open_link("thread-self", Ns::User)))?;
            let name = t.setup(Call::new("gethostname()", gethostname()))?;
            let set_name = || Call::new("sethostname(the same name)", sethostname(&name));
            let mount = || {
                let flags = MsFlags::empty();
                let none: Option<&str> = None;
                Call::new("mount(tmpfs)", mount(none, target, Some("tmpfs"), flags, none))
            };
            t.setup(set_name())?;
            t.setup(mount())?;
            t.unshare(Flags::NEWUSER).proving(ID).as_predicted()?;
            t.check(set_name()).proves(ID).fails_with(Errno::EPERM)?;
            t.check(mount()).proves(ID).fails_with(Errno::EPERM)?;
            t.check(Call::new("setns(old user namespace)", enter(&old))).proves("INT-07").fails_with(Errno::EPERM)?;
            t.check(Call::new("chroot()", chroot(target))).proves(ID).succeeds()
        })
    }
});

/// The inode of the caller's user namespace.
#[track_caller]
pub(super) fn own_user_namespace(t: &Test) -> Done<u64> {
    t.setup(Call::new("open(ns/user)", open_link("thread-self", Ns::User).and_then(|file| inode_of(&file))))
}

/// The inode of the user namespace that owns another namespace of the caller's.
pub(super) fn owner_of_own(ns: Ns) -> Call<u64> {
    let owner = open_link("thread-self", ns).and_then(|file| owner_of(&file));
    Call::new(format!("owner of ns/{} (ioctl NS_GET_USERNS)", ns.link()), owner)
}

/// Each other kind of namespace, in the same call and in a later one; CAP_SYS_ADMIN comes with the user namespace.
fn owned_namespaces() -> Vec<Variant> {
    let others = KINDS.into_iter().filter(|kind| kind.flag != Flags::NEWUSER);
    let both = |kind: Kind| {
        [("in_one_call", true), ("one_after_the_other", false)].map(|(name, at_once)| {
            Variant::new(format!("{}.{name}", kind.flag.slug()), (kind, at_once)).needing(kind.built_in())
        })
    };
    others.flat_map(both).collect()
}

case!(Case {
    name: "separation.user.owns",
    about: "The new user namespace owns namespaces made in the same call, and those made later by a caller in it.",
    proves: &["EFF-USER-10", "EFF-GEN-07"],
    source: "user_namespaces(7); ioctl_ns(2), NS_GET_USERNS",
    quick: one_in(3, 1),
    variants: owned_namespaces,
    run: |t| {
        const ID: &str = "EFF-USER-10";
        let (Kind { flag, link: ns, .. }, at_once): (Kind, bool) = t.param();
        become_unprivileged(t)?;
        let nobody = Start::unprivileged();
        if at_once {
            t.unshare(Flags::NEWUSER | flag).from(nobody).proving(ID).as_predicted()?;
        } else {
            t.unshare(Flags::NEWUSER).from(nobody).proving(ID).as_predicted()?;
            let inside = Start { sys_admin: true, ids_mapped: false, ..nobody };
            t.unshare(flag).from(inside).proving("EFF-GEN-07").as_predicted()?;
        }
        // The link to a PID namespace leads nowhere before its first process (EFF-PID-03).
        let child = (flag == Flags::NEWPID).then(|| Peer::start(t, "first child", Flags::NONE)).transpose()?;
        t.check(owner_of_own(ns)).proves(ID).is(own_user_namespace(t)?)?;
        drop(child);
        Ok(())
    }
});
