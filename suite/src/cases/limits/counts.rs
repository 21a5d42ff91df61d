//! A limit that is reached refuses, and what is counted are namespaces that exist (ERR-30, ERR-32, INT-23, INT-24,
//! LIM-02 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "namespaces(7), The /proc/sys/user directory; unshare(2), ERRORS (ENOSPC)";
const NEEDS: Needs = limits::NEEDS;

case!(Case {
    name: "limits.zero",
    about: "A limit of 0 refuses even the first namespace of its kind with ENOSPC, and changes nothing; raised, it \
            allows one.",
    proves: &["ERR-32"],
    quick: one_in(2, 0),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        limits::set(t, flag, 0)?;
        t.unshare(flag).from(limits::start(t, flag)).beside(&[&peer]).as_predicted()?;
        limits::set(t, flag, used(flag) + 1)?;
        t.unshare(flag).from(limits::start(t, Flags::NONE)).beside(&[&peer]).as_predicted()
    }
});

case!(Case {
    name: "limits.reached",
    about: "While another task of the same user holds as many namespaces of a kind as its limit allows, one more is \
            refused with ENOSPC and nothing changes, neither in the caller nor in that task; when it has ended, \
            there is room again.",
    proves: &["ERR-30"],
    quick: one_in(2, 1),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        let holder = Peer::start(t, "holder", Flags::NONE)?;
        limits::set(t, flag, used(flag) + 1)?;
        t.check(unshare_by(t, &holder, flag)?).succeeds()?;
        t.unshare(flag).from(limits::start(t, flag)).beside(&[&holder]).as_predicted()?;
        holder.end();
        check_room(t, flag, "ERR-30")
    }
});

/// The kinds that a task can replace again and again: a user namespace is nested, and a second PID namespace is
/// refused for another reason.
fn replaceable() -> Vec<Variant> {
    variants::each_kind_but(&[Flags::NEWUSER, Flags::NEWPID])
}

case!(Case {
    name: "limits.replacing",
    about: "A task that replaces its namespace needs room for two, since the new one is counted before the old is \
            let go: with room for one, the second call gives ENOSPC and changes nothing.",
    proves: &["ERR-30"],
    quick: one_in(2, 1),
    variants: replaceable,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        if flag != Flags::NEWNS {
            // The mount namespace is the user namespace's own already.
            t.unshare(flag).from(limits::start(t, Flags::NONE)).as_predicted()?;
        }
        limits::set(t, flag, 1)?;
        for _ in 0..3 {
            t.unshare(flag).from(limits::start(t, flag)).as_predicted()?;
        }
        limits::set(t, flag, 2)?;
        t.unshare(flag).from(limits::start(t, Flags::NONE)).as_predicted()
    }
});

case!(Case {
    name: "limits.alive_not_calls",
    about: "The limit counts namespaces that exist, not calls: a task that goes on replacing its namespace never \
            meets a limit of two.",
    proves: &["INT-23"],
    quick: one_in(3, 1),
    variants: replaceable,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, 2)?;
        for _ in 0..if t.tier() == Tier::Quick { 6 } else { 30 } {
            check_room(t, flag, "INT-23")?;
        }
        // Nobody else was there to make it succeed.
        limits::set(t, flag, 0)?;
        t.unshare(flag).from(limits::start(t, flag)).as_predicted()
    }
});

case!(Case {
    name: "limits.lowered",
    about: "A limit can be set below what is in use: those who have a namespace keep it, and the next one is refused \
            with ENOSPC until the limit is above the use again.",
    proves: &["LIM-02"],
    quick: one_in(3, 1),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        let holders = [Peer::start(t, "first holder", Flags::NONE)?, Peer::start(t, "second holder", Flags::NONE)?];
        for holder in &holders {
            t.setup(unshare_by(t, holder, flag)?)?;
        }
        let both: Vec<_> = holders.iter().collect();
        for limit in [1, 0, used(flag) + 2] {
            limits::set(t, flag, limit)?;
            t.unshare(flag).from(limits::start(t, flag)).beside(&both).as_predicted()?;
        }
        limits::set(t, flag, used(flag) + 3)?;
        t.unshare(flag).from(limits::start(t, Flags::NONE)).beside(&both).as_predicted()
    }
});

/// How a namespace without tasks is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    ByDescriptor,
    ByMount,
}

fn kept_kinds() -> Vec<Variant> {
    let ways = [("descriptor", Kept::ByDescriptor), ("bind_mount", Kept::ByMount)];
    variants::product::<_, Flags>(&ways, &variants::each_kind())
        .into_iter()
        // A mount namespace can be bound only in one that is older, and the order of two of them is not certain
        // (RULE-10).
        .filter(|variant| variant.param::<(Kept, Flags)>() != (Kept::ByMount, Flags::NEWNS))
        .collect()
}

case!(Case {
    name: "limits.pinned",
    about: "A namespace whose tasks have all ended stays counted as long as an open descriptor or a bind mount keeps \
            it: the next one is refused with ENOSPC, and allowed once that is gone.",
    proves: &["INT-24"],
    source: "namespaces(7), Namespace lifetime and The /proc/sys/user directory",
    quick: one_in(3, 1),
    variants: kept_kinds,
    run: |t| {
        let (kept, flag): (Kept, Flags) = t.param();
        let by_mount = kept == Kept::ByMount;
        let target = t.directory()?.join("namespace");
        t.setup(Call::io("open(O_CREAT)", File::create(&target)))?;
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, used(flag) + 1)?;
        let maker = Peer::start(t, "maker", Flags::NONE)?;
        t.setup(unshare_by(t, &maker, flag)?)?;
        if flag == Flags::NEWPID {
            // Before its first process, the link leads nowhere (EFF-PID-03).
            maker.setup(t, "fork()", (), |()| try_fork().answer())?;
        }
        let link = Kind::of(flag).expect("a kind of namespace").link;
        let file = t.setup(Call::new(format!("open({})", link.link()), open_link(maker.pid(), link)))?;
        let mut kept = Some(file);
        if by_mount {
            let from = format!("/proc/self/fd/{}", kept.as_ref().map_or(-1, AsRawFd::as_raw_fd));
            let bound = mount(Some(from.as_str()), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
            t.setup(Call::new("mount(MS_BIND)", bound))?;
            kept = None;
        }
        maker.end();
        // A kernel that lets go of it, though late, has done so once one that ended later is gone.
        limits::wait_for_late_ones(t, flag)?;
        for _ in 0..3 {
            t.unshare(flag).from(limits::start(t, flag)).as_predicted()?;
        }
        drop(kept);
        if by_mount {
            t.setup(Call::new("umount()", nix::mount::umount(&target)))?;
        }
        check_room(t, flag, "INT-24")
    }
});
