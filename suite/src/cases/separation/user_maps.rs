//! Mapping IDs in a new user namespace, and what hangs on that (section 3.13 of the behaviour catalogue).

use super::user_id_maps::map_of;
use crate::observe::shares;
use crate::prelude::*;

const NEEDS: Needs = Needs::NONE.with(feature::CREATE_USER_NS);

/// An ordinary user, other than root.
const NEEDS_USER: Needs = NEEDS.with(feature::SECOND_USER);

case!(Case {
    name: "separation.user.maps",
    about: "Without privilege outside the caller can map its own user and group, in one line and once: two lines, \
            another's ID, a second write, and gid_map before setgroups is denied fail (EPERM).",
    proves: &["EFF-USER-11"],
    source: "user_namespaces(7), Defining user and group ID mappings: writing to uid_map and gid_map",
    needs: NEEDS_USER,
    run: |t| {
        become_unprivileged(t)?;
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        let refused = |file: &str, text: String| t.check(write_own(file, &text)).fails_with(Errno::EPERM);
        let allowed = |file: &str, text: String| t.check(write_own(file, &text)).succeeds();
        refused("uid_map", format!("0 {} 1", uid - 1))?;
        refused("uid_map", format!("0 {uid} 2"))?;
        refused("uid_map", format!("0 {uid} 1\n1 {} 1", uid - 1))?;
        allowed("uid_map", format!("0 {uid} 1"))?;
        refused("uid_map", format!("0 {uid} 1"))?;
        refused("gid_map", format!("0 {gid} 1"))?;
        allowed("setgroups", "deny".to_owned())?;
        refused("gid_map", format!("0 {} 1", gid - 1))?;
        allowed("gid_map", format!("0 {gid} 1"))?;
        refused("gid_map", format!("0 {gid} 1"))?;
        // Once gid_map is written, setgroups stays as it is.
        refused("setgroups", "allow".to_owned())?;
        t.check(Call::seen("geteuid(), getegid()", (geteuid().as_raw(), getegid().as_raw()))).is((0, 0))
    }
});

case!(Case {
    name: "separation.user.maps_are_shown",
    about: "The files uid_map and gid_map show the caller the line that it wrote there.",
    proves: &["EFF-MAP-10"],
    source: "user_namespaces(7), User and group ID mappings: uid_map and gid_map",
    // Whether this is the initial user namespace, or has other users, is read in its own maps. A kernel that shows no
    // maps seems to have neither, so this case asks for neither.
    needs: NEEDS.with(feature::MAP_IDS),
    run: |t| {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        t.unshare(Flags::NEWUSER).as_predicted()?;
        limits::map_ids(t, uid, gid)?;
        for (map, id) in [("uid_map", uid), ("gid_map", gid)] {
            let shown = map_of(format!("/proc/thread-self/{map}"));
            t.check(Call::new(format!("read({map})"), shown)).is(vec![format!("0 {id} 1")])?;
        }
        Ok(())
    }
});

/// The permitted and effective capabilities of a task.
fn capabilities_of(pid: Pid) -> Call<[String; 2]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        let field =
            |name: &str| text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok());
        ["CapPrm:", "CapEff:"].map(|name| format!("{:x}", field(name).unwrap_or(u64::MAX)))
    });
    Call::io("CapPrm, CapEff after execve", status)
}

case!(Case {
    name: "separation.user.execve",
    about: "execve(2) takes the new capabilities away, unless the caller's user is mapped to 0.",
    proves: &["EFF-USER-17"],
    source: "user_namespaces(7), Capabilities; capabilities(7)",
    needs: NEEDS_USER,
    variants: || variants::named(&[("unmapped", None), ("mapped_to_0", Some(0u32)), ("mapped_to_7", Some(7))]),
    run: |t| {
        let mapped: Option<u32> = t.param();
        let full = all_capabilities(t)?;
        let observer = Observer::open(t)?;
        let executed = Executed::after(t, "caller", |t| {
            become_unprivileged(t)?;
            let uid = geteuid();
            t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
            let has = observer.state().capabilities[2];
            t.check(Call::seen("CapEff before execve", format!("{has:x}"))).is(format!("{full:x}"))?;
            mapped.map_or(Ok(()), |id| t.setup(write_own("uid_map", &format!("{id} {uid} 1"))))
        })?;
        let expected = if mapped == Some(0) { full } else { 0 };
        t.check(capabilities_of(executed.pid())).is([expected, expected].map(|set| format!("{set:x}")))
    }
});

const CAP_SETFCAP: u64 = 1 << 31;

case!(Case {
    name: "separation.user.map_of_root",
    about: "User 0 of the parent namespace can be mapped only by a caller who had CAP_SETFCAP at the call (else \
            EPERM); the capabilities inside are full in either case.",
    proves: &["EFF-USER-18"],
    source: "user_namespaces(7), Defining user and group ID mappings; kernel, kernel/user_namespace.c (5.12)",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    variants: || variants::named(&[("with_setfcap", true), ("without_setfcap", false)]),
    run: |t| {
        let own = t.facts().capabilities;
        if geteuid().as_raw() != 0 || own & CAP_SETFCAP == 0 {
            return Err(t.skip("the caller is not user 0 with CAP_SETFCAP: run as root outside containers"));
        }
        let observer = Observer::open(t)?;
        let with: bool = t.param();
        if !with {
            t.setup(set_capabilities(own & !CAP_SETFCAP, own & !CAP_SETFCAP))?;
            if !kernel::map_of_root_requires_setfcap(t)? {
                return Err(t.skip("this kernel requires no CAP_SETFCAP to map user 0 (Linux 5.12)"));
            }
        }
        t.unshare(Flags::NEWUSER).as_predicted()?;
        let has = observer.state().capabilities[2] & CAP_SETFCAP;
        t.check(Call::seen("CAP_SETFCAP inside", has)).is(CAP_SETFCAP)?;
        t.check(write_own("uid_map", "0 0 1")).gives(if with { Ok(()) } else { Err(Errno::EPERM) })
    }
});

case!(Case {
    name: "separation.user.same_user_outside",
    about: "An unprivileged task of the same user outside can still signal the caller, read its namespace links and \
            compare itself with it by kcmp(2); the caller's kcmp(2) on that task now fails (EPERM).",
    proves: &["EFF-USER-12"],
    source: "user_namespaces(7), Capabilities; kernel, kernel/ptrace.c",
    needs: NEEDS_USER.with(feature::KCMP),
    run: |t| {
        t.spawn("caller", |t| {
            become_unprivileged(t)?;
            let observer = Observer::open(t)?;
            let peer = Peer::start(t, "peer", Flags::FS)?;
            let (own, other) = (getpid().as_raw(), peer.pid().as_raw());
            let kcmp = || Call::new("kcmp(caller, peer, KCMP_VM) by the caller", shares(Shared::Vm, own, other));
            t.check(kcmp()).is(false)?;
            t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
            // 0 only asks whether it may.
            let signal = peer.call(t, "kill(caller, 0) by the peer", own, |pid| kill(Pid::from_raw(pid), None))?;
            let compared = peer
                .call(t, "kcmp(caller, peer, KCMP_VM) by the peer", (own, other), |(a, b)| shares(Shared::Vm, a, b))?;
            let link = peer.call(t, "the caller's ns/user, as the peer reads it", own, |pid| {
                namespace_of(pid, Ns::User).result().copied().map_err(Failure::errno)
            })?;
            all([
                t.check(signal).succeeds(),
                t.check(compared).is(false),
                t.check(link).is(observer.namespace_inode(Ns::User)),
                t.check(kcmp()).fails_with(Errno::EPERM),
            ])
        })?
        .join(t)
    }
});
