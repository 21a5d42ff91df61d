//! What a kernel does not have (ERR-07, ERR-11, ORD-12 of the behaviour catalogue). The cases run on every kernel:
//! where it has the namespace, which its link in /proc shows, the call must not be refused.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), ERRORS (EINVAL) and VERSIONS; 2006 design document, 5 (EINVAL)";

case!(Case {
    name: "errors.einval.not_built_in",
    about: "A namespace that is not built into the kernel gives EINVAL to root, and one that is gives 0. An \
            unprivileged caller gets EPERM either way, since the privilege is checked first; for a user namespace, \
            which requires none, it gets what root gets.",
    proves: &["ERR-07"],
    needs: Needs::ROOT,
    quick: one_in(2, 1),
    variants: || [Flags::NEWUSER, Flags::NEWUTS, Flags::NEWIPC, Flags::NEWPID, Flags::NEWNET, Flags::NEWTIME,]
        .map(|flag| {
            let variant = Variant::new(flag.slug(), flag);
            if flag == Flags::NEWTIME { variant.proving(["ERR-07", "ORD-12"]) } else { variant }
        })
        .into(),
    run: |t| {
        let flag = t.param::<Flags>();
        let requirement = if flag == Flags::NEWTIME { "ORD-12" } else { "ERR-07" };
        // Where there are none, that is the claim; where they are forbidden, nothing can be said.
        let forbidden = t.facts().reason_without(feature::CREATE_USER_NS);
        if let Some(reason) = forbidden.filter(|_| flag == Flags::NEWUSER && t.facts().has(feature::USER_NS)) {
            return Err(t.skip(reason.clone()));
        }
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        t.in_child(|t| {
            become_unprivileged(t)?;
            t.unshare(flag).from(Start::unprivileged()).beside(&[&peer]).proving(requirement).as_predicted()
        })?;
        t.unshare(flag).beside(&[&peer]).proving(requirement).as_predicted()
    }
});

case!(Case {
    name: "errors.einval.last_step",
    about: "All namespaces, cwd, descriptors and undo list in one call with CLONE_NEWTIME, which is made last: on a \
            kernel that has no time namespaces EINVAL, nothing changes, and all is still shared with a sibling. On \
            one that has them the call succeeds.",
    proves: &["ATOM-11", "ERR-07"],
    source: "2006 design document, 6 (duplicate everything before anything is switched)",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    run: |t| {
        const ID: &str = "ATOM-11";
        let flags = everything(t) | Flags::NEWTIME;
        let sibling = Sibling::start(t, SHARED)?;
        let prediction = t.unshare(flags).beside(&[sibling.peer()]).proving(ID).prediction()?;
        sibling.check(t, prediction.separated, ID)
    }
});

/// Who calls.
#[derive(Clone, Copy)]
enum Caller {
    Root,
    Nobody,
    Threaded,
    Chrooted,
}

case!(Case {
    name: "errors.einval.empty_mntns",
    about: "Before Linux 7.1 bit 20 (UNSHARE_EMPTY_MNTNS) is unknown and gives EINVAL to whoever calls, before \
            privilege, threads or a chroot are looked at. Since 7.1 it takes CAP_SYS_ADMIN (EPERM) and nothing else.",
    proves: &["ERR-11"],
    source: "kernel, include/uapi/linux/sched.h and kernel/fork.c",
    needs: Needs::ROOT,
    variants: || variants::named(&[
        ("root", Caller::Root),
        ("unprivileged", Caller::Nobody),
        ("second_thread", Caller::Threaded),
        ("chroot", Caller::Chrooted),
    ]),
    run: |t| {
        let mut start = Start::of(t.facts());
        let mut second = None;
        match t.param() {
            Caller::Root => {}
            Caller::Nobody => {
                become_unprivileged(t)?;
                start = Start::unprivileged();
            }
            Caller::Threaded => {
                start.threads = Threads::Others;
                second = Some(IdleThread::start(t)?);
            }
            Caller::Chrooted => {
                start = enter_chroot(t, t.directory()?)?;
            }
        }
        t.unshare(Flags::EMPTY).from(start).as_predicted()?;
        drop(second);
        Ok(())
    }
});
