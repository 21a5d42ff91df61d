//! Host names and user namespaces, and what a UTS namespace does not touch (section 3.7 of the behaviour catalogue).

use crate::prelude::*;

case!(Case {
    name: "separation.uts.user_namespace",
    about: "In a new user namespace the old host name cannot be set (EPERM); after unshare(CLONE_NEWUTS) the new one \
            can.",
    proves: &["EFF-UTS-04"],
    source: "user_namespaces(7), Interaction of user namespaces and other types of namespaces",
    needs: Needs::ROOT.with(feature::UTS_NS).with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWUTS, |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.setup(Call::new("sethostname(before)", sethostname("before")))?;
        let start = Start::of(t.facts());
        t.unshare(Flags::NEWUSER).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("sethostname(inside) in the old UTS namespace", sethostname("inside")))
            .fails_with(Errno::EPERM)?;
        let inside = Start { sys_admin: true, initial_admin: false, ids_mapped: false, ..start };
        t.unshare(Flags::NEWUTS).from(inside).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("sethostname(inside) in a new UTS namespace", sethostname("inside"))).succeeds()?;
        let name = peer.call(t, "gethostname() in the old UTS namespace", (), |()| {
            gethostname().map(|name| name.to_string_lossy().into_owned())
        })?;
        t.check(name).is("before".to_owned())
    })
});

/// The execution domain, as personality(2) takes and gives it.
fn personality(persona: libc::c_ulong) -> Result<c_int, Errno> {
    call!(personality, persona).map(|old| old as c_int).map_err(fds::errno)
}

case!(Case {
    name: "separation.uts.personality",
    about: "The call keeps the caller's personality(2): UNAME26 stays set, and uname(2) still shows a release 2.6.",
    proves: &["EFF-UTS-05"],
    source: "personality(2), UNAME26; kernel, kernel/sys.c",
    needs: Needs::ROOT.with(feature::UTS_NS),
    run: |t| {
        /// Only asks.
        const ASK: libc::c_ulong = 0xffff_ffff;
        let old = t.setup(Call::new("personality(ask)", personality(ASK)))?;
        let new = old | libc::UNAME26;
        t.setup(Call::new("personality(UNAME26)", personality(new as libc::c_ulong)))?;
        t.unshare(Flags::NEWUTS).as_predicted()?;
        t.check(Call::new("personality(ask)", personality(ASK))).is(new)?;
        let uname = nix::sys::utsname::uname();
        let release = Call::new("release of uname()", uname.map(|u| u.release().to_string_lossy().into_owned()));
        t.check(release).holds("2.6.…", |release| release.starts_with("2.6.")).map(drop)
    }
});
