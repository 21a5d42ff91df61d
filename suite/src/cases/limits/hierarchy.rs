//! Whose limits count: every user namespace from the caller's to the initial one, for the caller's effective user
//! (ERR-31, INT-22, INT-25 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "namespaces(7), The /proc/sys/user directory; kernel, kernel/ucount.c";
const NEEDS: Needs = limits::NEEDS;

/// The two kinds of which the nested user namespace uses one up itself.
fn used_by_nesting(flag: Flags) -> u32 {
    used(flag) + u32::from(flag == Flags::NEWUSER)
}

case!(Case {
    name: "limits.ancestor",
    about: "A user namespace cannot give itself more than those around it have: with its own limit at 100, a \
            namespace is refused with ENOSPC while the outer one's limit is reached, and allowed when that is \
            raised.",
    proves: &["ERR-31", "ERR-30"],
    quick: one_in(3, 1),
    variants: variants::each_kind,
    run: |t| {
        const ID: &str = "ERR-31";
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        limits::enter_nested_user_namespace(t)?;
        let limit = used_by_nesting(flag);
        limits::set_by(t, &outside, flag, limit)?;
        limits::set(t, flag, 100)?;
        t.unshare(flag).from(limits::start(t, flag)).beside(&[&outside]).proving(ID).as_predicted()?;
        limits::set_by(t, &outside, flag, limit + 1)?;
        t.unshare(flag).from(limits::start(t, Flags::NONE)).beside(&[&outside]).proving(ID).as_predicted()
    }
});

case!(Case {
    name: "limits.counted_outwards",
    about: "A namespace made in a nested user namespace counts in the outer one as well: there it takes the place of \
            one that is then refused with ENOSPC, until its task has ended.",
    proves: &["ERR-30", "ERR-31"],
    quick: one_in(3, 2),
    variants: variants::each_kind,
    run: |t| {
        const ID: &str = "ERR-30";
        let flag = t.param::<Flags>();
        limits::check_nesting_is_allowed(t)?;
        limits::enter_own_user_namespace(t)?;
        let inner = Peer::start(t, "task further in", Flags::NONE)?;
        t.setup(unshare_by(t, &inner, Flags::NEWUSER)?)?;
        if flag == Flags::NEWUSER {
            // The nested one is the one that counts.
            limits::set(t, flag, 1)?;
        } else {
            limits::set(t, flag, used(flag) + 1)?;
            t.check(unshare_by(t, &inner, flag)?).proves(ID).succeeds()?;
        }
        t.unshare(flag).from(limits::start(t, flag)).beside(&[&inner]).proving(ID).as_predicted()?;
        inner.end();
        check_room(t, flag, ID)
    }
});

/// Who is the second user of a user namespace. 46368 times the golden ratio is all but a whole number: the hash by which
/// the kernel finds its counts puts this user where it has user 0.
const SECOND: u32 = 46_368;

/// Becomes the second user, in all of its user IDs or in the effective one alone, with these capabilities.
fn become_second((all_ids, capabilities): (bool, u64)) -> Result<(), Errno> {
    let (second, root) = (Uid::from_raw(SECOND), Uid::from_raw(0));
    prctl::set_keepcaps(true)?;
    let other = if all_ids { second } else { root };
    setresuid(other, second, other)?;
    set_capabilities(capabilities, capabilities).answer()
}

/// Kinds of which a task can make two in a row, by who the second user is.
fn kinds_by_user() -> Vec<Variant> {
    variants::product::<_, Flags>(
        &[("user", true), ("effective_user", false)],
        &variants::each_kind_but(&[Flags::NEWUSER]),
    )
}

case!(Case {
    name: "limits.per_user",
    about: "Each user has a count of its own: when one has reached the limit and is refused with ENOSPC, another \
            user of the same user namespace may still make a namespace, and then is refused, too. Who counts is the \
            effective user.",
    proves: &["INT-22"],
    needs: NEEDS.with(feature::INITIAL_ROOT),
    quick: one_in(3, 1),
    variants: kinds_by_user,
    run: |t| {
        let (all_ids, flag): (bool, Flags) = t.param();
        let observer = Observer::open(t)?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.setup(unshare(Flags::NEWUSER))?;
        // Two users take somebody with the privilege outside to map them.
        limits::map_everybody_by(t, &outside)?;
        let all = observer.state().capabilities[1];
        let second = Peer::start(t, "second user", Flags::NONE)?;
        let third = Peer::start(t, "second user again", Flags::NONE)?;
        for peer in [&second, &third] {
            let text = format!("setresuid({SECOND}) by the {}", peer.name());
            peer.setup(t, &text, (all_ids, all), become_second)?;
        }
        limits::set(t, flag, 1)?;
        // In a task of its own: a second CLONE_NEWPID by the same would be refused anyhow.
        let first = Peer::start(t, "first user", Flags::NONE)?;
        t.check(unshare_by(t, &first, flag)?).succeeds()?;
        t.unshare(flag).from(limits::start(t, flag)).beside(&[&first, &second]).as_predicted()?;
        t.check(unshare_by(t, &second, flag)?).succeeds()?;
        t.check(unshare_by(t, &third, flag)?).fails_with(Errno::ENOSPC)?;
        t.unshare(flag).from(limits::start(t, flag)).beside(&[&first, &second]).as_predicted()?;
        // Room for one is the first's again when its own is gone, whatever the second holds.
        first.end();
        check_room(t, flag, "INT-22")
    }
});

/// How many user namespaces there are at once. The kernel finds its counts by a hash of 1024 values: of so many, some
/// have the same with a probability of 99 %.
const MANY: usize = 100;

case!(Case {
    name: "limits.many",
    about: "Among many user namespaces of one user, each counts for itself: where each allows one UTS namespace, each \
            gets one.",
    proves: &["INT-25"],
    needs: NEEDS.with(feature::UTS_NS),
    run: |t| {
        let mut all = Vec::new();
        for _ in 0..MANY {
            let peer = Peer::start(t, "task inside", Flags::NEWUSER)?;
            limits::set_by(t, &peer, Flags::NEWUTS, 1)?;
            all.push(peer);
        }
        for peer in &all {
            t.check(unshare_by(t, peer, Flags::NEWUTS)?).succeeds()?;
        }
        Ok(())
    }
});

case!(Case {
    name: "limits.of_the_entered",
    about: "What counts is the user namespace that the caller is in, not where its process comes from: one that \
            enters another by setns(2) is refused with ENOSPC by the limit there, which its parent and sibling \
            outside do not feel.",
    proves: &["INT-25"],
    quick: one_in(3, 0),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        let inside = Peer::start(t, "task inside", Flags::NEWUSER)?;
        let sibling = Peer::start(t, "sibling", Flags::NONE)?;
        limits::set_by(t, &inside, flag, 0)?;
        t.in_child(|t| {
            let file = t.setup(Call::new("open(ns/user)", open_link(inside.pid(), Ns::User)))?;
            t.setup(Call::new("setns(CLONE_NEWUSER)", enter(&file)))?;
            drop(file);
            let entered = Start { ids_mapped: false, ..limits::start(t, flag) };
            t.unshare(flag).from(entered).beside(&[&inside]).as_predicted()
        })?;
        t.check(unshare_by(t, &sibling, flag)?).succeeds()?;
        t.unshare(flag).beside(&[&inside]).as_predicted()
    }
});

case!(Case {
    name: "limits.no_capability_lifts",
    about: "CAP_SYS_RESOURCE and CAP_SYS_ADMIN, which let a task set a limit, do not let it pass one; nor does a \
            capability less make it lower: with CAP_SYS_ADMIN alone there is room for as many.",
    proves: &["ERR-30"],
    needs: NEEDS.with(feature::UTS_NS),
    run: |t| {
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWUTS, 2)?;
        let room = limits::start(t, Flags::NONE);
        t.unshare(Flags::NEWUTS).from(room).as_predicted()?;
        let holder = Peer::start(t, "holder", Flags::NONE)?;
        t.setup(unshare_by(t, &holder, Flags::NEWUTS)?)?;
        let full = limits::start(t, Flags::NEWUTS);
        t.unshare(Flags::NEWUTS).from(full).beside(&[&holder]).as_predicted()?;
        t.setup(set_capabilities(CAP_SYS_ADMIN, CAP_SYS_ADMIN))?;
        t.unshare(Flags::NEWUTS).from(full).beside(&[&holder]).as_predicted()?;
        holder.end();
        check_room(t, Flags::NEWUTS, "ERR-30")
    }
});
