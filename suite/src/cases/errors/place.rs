//! Refusals of a user namespace that come from where the caller is: a security module (ERR-26), and the root on which
//! everything fails (ERR-28 of the behaviour catalogue).

use crate::place::lsm::Hooked;
use crate::prelude::*;

const NEEDS: Needs = Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::CREATE_USER_NS);

case!(Case {
    name: "errors.security_module",
    about: "Where a security module refuses a user namespace, CLONE_NEWUSER gives the errno that the module chose, \
            alone and with other flags, and changes nothing; other flags are not refused, and a chroot, which is \
            checked before, still gives EPERM. Without the module it succeeds.",
    proves: &["ERR-26"],
    source: "kernel, security/security.c (security_create_user_ns)",
    needs: NEEDS.disturbing(global::USER_NS_HOOK),
    variants: || [Errno::EPERM, Errno::EACCES, Errno::ENOLINK]
        .map(|errno| Variant::new(format!("{errno:?}").to_lowercase(), errno))
        .into(),
    run: |t| {
        let errno: Errno = t.param();
        let root = t.directory()?;
        let outside = t.setup(Call::io("open(/)", File::open("/")))?;
        // Before: it would keep the refusal's descriptors.
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let refusal = Hooked::refuse_user_namespaces(t, errno)?;
        let start = Start { module_refuses: Some(errno), ..Start::of(t.facts()) };
        for flags in [
            Flags::NEWUSER,
            Flags::NEWUSER,
            Flags::NEWUSER | Flags::FS | Flags::FILES,
            Flags::NEWUSER | Flags::NEWNS | Flags::NEWUTS,
            Flags::FILES | Flags::SYSVSEM,
        ] {
            t.unshare(flags).from(start).beside(&[&witness]).as_predicted()?;
        }
        let chrooted = enter_chroot(t, root)?.chrooted;
        t.unshare(Flags::NEWUSER).from(Start { chrooted, ..start }).beside(&[&witness]).as_predicted()?;
        leave_chroot(t, &outside)?;
        drop(refusal);
        t.unshare(Flags::NEWUSER).as_predicted()
    }
});

/// fchroot(2), and the descriptor that stands for the root on which everything fails.
const FCHROOT: libc::c_long = 472;
const FD_FAILFS_ROOT: i32 = -10004;

case!(Case {
    name: "errors.eperm.failfs_root",
    about: "A task whose root is the one on which everything fails, set by fchroot(2), counts as chrooted: EPERM for \
            CLONE_NEWUSER and nothing changes, while flags that make no mount namespace succeed; back in the real \
            root it is not refused.",
    proves: &["ERR-28"],
    source: "kernel, Documentation/filesystems/failfs.rst",
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let outside = t.setup(Call::io("open(/)", File::open("/")))?;
        // SAFETY: fchroot(2) takes numbers.
        let entered = Errno::result(unsafe { libc::syscall(FCHROOT, FD_FAILFS_ROOT, 0) });
        if entered == Err(Errno::ENOSYS) {
            return Err(t.skip("this kernel has no fchroot(2) (Linux 7.3)"));
        }
        t.setup(Call::new("fchroot(FD_FAILFS_ROOT)", entered))?;
        let failed = match fds::file_at("/") {
            Err(Errno::EOPNOTSUPP) => Ok(()),
            other => Err(other.err().unwrap_or(Errno::EEXIST)),
        };
        t.setup(Call::new("stat(/) fails with EOPNOTSUPP", failed))?;
        let start = Start { chrooted: true, ..Start::of(t.facts()) };
        for flags in [
            Flags::NEWUSER,
            Flags::NEWUSER | Flags::FS | Flags::FILES,
            Flags::NEWUSER | Flags::NEWNS,
            Flags::FS | Flags::SYSVSEM,
        ] {
            t.unshare(flags).from(start).beside(&[&peer]).as_predicted()?;
        }
        leave_chroot(t, &outside)?;
        t.unshare(Flags::NEWUSER).beside(&[&peer]).as_predicted()
    }
});
