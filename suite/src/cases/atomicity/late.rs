//! Calls that fail late, beside sharers, again and again, and on kernels that lack something (section 5.2 of the
//! behaviour catalogue).

use crate::observe::nsfd::{id_of, list_namespaces, listns_exists};
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 (duplicate everything before anything is switched)";

case!(Case {
    name: "atomicity.counts",
    about: "Twenty calls that make a namespace of one kind and then fail leave none of it counted: where the limit \
            has room for one, one can be made afterwards.",
    proves: &["ATOM-18", "ATOM-S8"],
    source: "kernel, kernel/ucount.c",
    needs: limits::NEEDS.with(feature::TIME_NS),
    quick: one_in(2, 0),
    variants: || variants::each_kind_but(&[Flags::NEWTIME]),
    run: |t| t.in_child(|t| {
        const ID: &str = "ATOM-18";
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWTIME, 0)?;
        limits::set(t, flag, 1 + used(flag))?;
        let start = limits::start(t, Flags::NEWTIME);
        for _ in 0..20 {
            t.unshare(flag | Flags::NEWTIME).from(start).proving(ID).as_predicted()?;
        }
        check_room_for(t, flag, 1, ID)
    })
});

case!(Case {
    name: "atomicity.sharing.chrooted",
    about: "CLONE_NEWUSER with CLONE_FS and CLONE_FILES below another root directory, beside a sibling that shares: \
            EPERM, no capability is gained, and all is still shared.",
    proves: &["ATOM-08"],
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    run: |t| {
        let sibling = Sibling::start(t, SHARED)?;
        let root = new_directory(t, "root")?;
        let start = enter_chroot(t, root.as_ref())?;
        t.setup(Call::new("chdir(/)", chdir("/")))?;
        t.unshare(Flags::NEWUSER | Flags::FS | Flags::FILES).from(start).as_predicted()?;
        sibling.check(t, Flags::NONE, "ATOM-08")
    }
});

case!(Case {
    name: "atomicity.sharing.no_time_namespaces",
    about: "On a kernel without time namespaces, CLONE_NEWTIME with everything else that can be separated is refused \
            with EINVAL when all the rest is built; nothing changes, and all is still shared.",
    proves: &["ATOM-11", "DOC-06"],
    needs: Needs::ROOT,
    run: |t| {
        const ID: &str = "ATOM-11";
        if t.facts().has(feature::TIME_NS) {
            return Err(t.skip("this kernel has time namespaces; it takes one without CONFIG_TIME_NS"));
        }
        let sibling = Sibling::start(t, SHARED)?;
        t.unshare(everything(t) | Flags::NEWTIME).proving(ID).as_predicted()?;
        sibling.check(t, Flags::NONE, ID)
    }
});

case!(Case {
    name: "atomicity.sharing.beyond_nr_open",
    about: "CLONE_FILES and CLONE_NEWNS, beside a sibling that shares a table of descriptors which cannot be copied: \
            EMFILE, the mount namespace is the same, and all is still shared.",
    proves: &["ATOM-12", "DOC-06"],
    source: "kernel, kernel/fork.c and fs/file.c",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| {
        const ID: &str = "ATOM-12";
        let sibling = Sibling::start(t, SHARED)?;
        t.setup(Call::new("dup2(0, 200)", dup_to(0, 200, 0)))?;
        t.setup(set_nr_open("64"))?;
        let start = Start { beyond_nr_open: true, ..Start::of(t.facts()) };
        t.unshare(Flags::FILES | Flags::NEWNS).from(start).proving(ID).as_predicted()?;
        sibling.check(t, Flags::NONE, ID)
    }
});

case!(Case {
    name: "atomicity.state.active_namespaces",
    about: "Calls that make namespaces and then fail leave none active: listns(2) finds those owned by the caller's \
            user namespace, of each kind, that were there before.",
    proves: &["ATOM-S10"],
    source: "kernel, kernel/nstree.c",
    needs: limits::NEEDS.with(feature::TIME_NS).with(feature::INITIAL_ROOT),
    quick: one_in(2, 1),
    variants: || variants::each_kind_but(&[Flags::NEWTIME]),
    run: |t| t.in_child(|t| {
        listns_exists(t)?;
        let flag = t.param::<Flags>();
        // Who may see namespaces that it is not in itself.
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWTIME, 0)?;
        let start = limits::start(t, Flags::NEWTIME);
        let owner =
            t.setup(Call::new("ioctl(NS_GET_ID)", open_link("thread-self", Ns::User).and_then(|link| id_of(&link))))?;
        let list = |when: &str| {
            let query = (t.param::<Flags>().0, owner, 64);
            witness.call(t, &format!("listns({flag}) {when}"), query, list_namespaces)
        };
        let before = t.setup(list("before")?)?;
        for _ in 0..5 {
            t.unshare(flag | Flags::NEWTIME).from(start).as_predicted()?;
        }
        t.check(list("after five calls that failed")?).is(before.clone())?;
        // One that is made is found: the list does not only look the same.
        t.unshare(flag).from(start).as_predicted()?;
        let _child = if flag == Flags::NEWPID { Some(Peer::start(t, "first child", Flags::NONE)?) } else { None };
        t.check(list("after one that succeeded")?)
            .holds(&format!("another list than {before:?}"), |after| *after != before)
            .map(drop)
    })
});
