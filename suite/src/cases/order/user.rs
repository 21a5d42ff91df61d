//! Which error CLONE_NEWUSER gives where several apply (ORD-07, ORD-13 and ORD-14 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "kernel, kernel/user_namespace.c";

case!(Case {
    name: "order.chroot_and_unmapped",
    about: "A caller of CLONE_NEWUSER that is in a chroot and has no mapping of its user gets EPERM, which either \
            reason alone gives, and nothing changes.",
    proves: &["ORD-14"],
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    run: |t| {
        let root = t.directory()?;
        t.setup(unshare(Flags::NEWUSER))?;
        let start = Start { ids_mapped: false, initial_admin: false, ..enter_chroot(t, root)? };
        [Flags::NEWUSER, Flags::NEWUSER | Flags::FS, Flags::NEWUSER | Flags::NEWUTS]
            .into_iter()
            .try_for_each(|flags| t.unshare(flags).from(start).as_predicted())
    }
});

case!(Case {
    name: "order.user_limit_before_chroot",
    about: "Where no user namespace may be made, a caller in a chroot gets ENOSPC for CLONE_NEWUSER and not EPERM, \
            and EPERM once the limit is raised; neither changes anything.",
    proves: &["ORD-07"],
    needs: limits::NEEDS,
    run: |t| {
        let root = t.directory()?;
        limits::enter_own_user_namespace(t)?;
        let outside = Peer::start(t, "task outside the chroot", Flags::NONE)?;
        limits::set(t, Flags::NEWUSER, 0)?;
        let chrooted = Start { initial_admin: false, ..enter_chroot(t, root)? };
        let full = Start { exhausted: Flags::NEWUSER, ..chrooted };
        t.unshare(Flags::NEWUSER).from(full).beside(&[&outside]).as_predicted()?;
        limits::set_by(t, &outside, Flags::NEWUSER, 1)?;
        t.unshare(Flags::NEWUSER).from(chrooted).beside(&[&outside]).as_predicted()
    }
});

case!(Case {
    name: "order.user_depth",
    about: "At the deepest level CLONE_NEWUSER gives ENOSPC also when the limit is 0, and also in a chroot, which \
            alone gives EPERM: depth and limit are checked first.",
    proves: &["ORD-13"],
    needs: limits::NEEDS.with(feature::INITIAL_ROOT),
    // The parameters say whether the limit is 0, and whether there is a chroot.
    variants: || variants::named(&[
        ("limit", (true, false)),
        ("chroot", (false, true)),
        ("limit_and_chroot", (true, true)),
    ]),
    run: |t| {
        let (limited, chrooted): (bool, bool) = t.param();
        let root = t.directory()?;
        limits::nest(t)?;
        let mut start = limits::deepest(t);
        if limited {
            limits::set(t, Flags::NEWUSER, 0)?;
            start.exhausted = Flags::NEWUSER;
        }
        if chrooted {
            start.chrooted = enter_chroot(t, root)?.chrooted;
        }
        [Flags::NEWUSER, Flags::NEWUSER | Flags::NEWUTS | Flags::FS]
            .into_iter()
            .try_for_each(|flags| t.unshare(flags).from(start).as_predicted())
    }
});
