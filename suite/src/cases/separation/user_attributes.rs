//! Attributes, groups, IDs and keyrings of a task that makes a user namespace (section 3.13 of the behaviour
//! catalogue).

use nix::unistd::getgroups;

use super::user::{Caller, become_caller, callers_with_own_ids};
use crate::place::limits::enter_own_user_namespace;
use crate::prelude::*;

const NEEDS: Needs = Needs::NONE.with(feature::CREATE_USER_NS);

/// Dumpable, keep-capabilities, child subreaper and the parent-death signal.
fn attributes() -> Call<[i32; 4]> {
    let mut subreaper = 0;
    let mut signal = 0;
    // SAFETY: the numbers live through the calls.
    let (dumpable, keep) = unsafe {
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper, 0, 0, 0);
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal, 0, 0, 0);
        (libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0), libc::prctl(libc::PR_GET_KEEPCAPS, 0, 0, 0, 0))
    };
    Call::seen("dumpable, keep-capabilities, child subreaper, parent-death signal", [dumpable, keep, subreaper, signal])
}

fn dumpable_or_not() -> Vec<Variant> {
    let second_user = Needs::NONE.with(feature::SECOND_USER);
    vec![
        Variant::new("as_is.dumpable", (Caller::AsIs, true)),
        Variant::new("as_is.not_dumpable", (Caller::AsIs, false)),
        Variant::new("unprivileged.dumpable", (Caller::Unprivileged, true)).needing(second_user),
    ]
}

case!(Case {
    name: "separation.user.attributes",
    about: "Dumpable attribute, parent-death signal and child-subreaper attribute stay; PR_SET_KEEPCAPS, one of the \
            securebits, is cleared.",
    proves: &["EFF-USER-06"],
    source: "prctl(2); capabilities(7), securebits",
    variants: dumpable_or_not,
    run: |t| {
        let (caller, dumpable): (Caller, bool) = t.param();
        let (start, dumpable, signal) = (become_caller(t, caller)?, i32::from(dumpable), libc::SIGURG);
        for (name, option, value) in [
            ("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, dumpable),
            ("PR_SET_KEEPCAPS", libc::PR_SET_KEEPCAPS, 1),
            ("PR_SET_CHILD_SUBREAPER", libc::PR_SET_CHILD_SUBREAPER, 1),
            ("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, signal),
        ] {
            let set = call!(prctl, option, value, 0, 0, 0).map_err(fds::errno);
            t.setup(Call::new(format!("prctl({name}, {value})"), set))?;
        }
        let before = t.setup(attributes())?;
        if before != [dumpable, 1, 1, signal] {
            return Err(t.broken("attributes before the call", format!("{before:?}")));
        }
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        t.check(attributes()).is([dumpable, 0, 1, signal])
    }
});

fn groups() -> Call<Vec<u32>> {
    Call::new("getgroups()", getgroups().map(|groups| groups.into_iter().map(Gid::as_raw).collect()))
}

/// allow or deny.
fn setgroups_file() -> Call<String> {
    let text = fs::read_to_string("/proc/self/setgroups");
    Call::io("read(/proc/self/setgroups)", text.map(|text| text.trim().to_owned()))
}

case!(Case {
    name: "separation.user.groups",
    about: "Supplementary groups stay and read as the overflow ID; setgroups(2) fails (EPERM) until gid_map is \
            written.",
    proves: &["EFF-USER-07"],
    source: "user_namespaces(7), The /proc/pid/setgroups file",
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let own: Vec<_> = [54_321, 54_322, 54_323].into_iter().map(Gid::from_raw).collect();
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.setup(Call::new("setgroups(three)", setgroups(&own)))?;
        let allowed = t.setup(setgroups_file())?;
        t.unshare(Flags::NEWUSER).as_predicted()?;
        let overflow = t.setup(sysctl::number("/proc/sys/kernel/overflowgid"))? as u32;
        t.check(groups()).is(vec![overflow; 3])?;
        t.check(setgroups_file()).is(allowed.clone())?;
        t.check(Call::new("setgroups([]) before gid_map is written", setgroups(&[]))).fails_with(Errno::EPERM)?;
        t.check(groups()).is(vec![overflow; 3])?;
        // A task outside, which has the power, maps the groups.
        let own = getpid().as_raw();
        outside.setup(t, "write(gid_map)", own, |pid| {
            fs::write(format!("/proc/{pid}/gid_map"), "0 54321 3").map_err(errno_of)
        })?;
        t.check(groups()).is(vec![0, 1, 2])?;
        if allowed == "allow" {
            t.check(Call::new("setgroups([]) after gid_map was written", setgroups(&[]))).succeeds()?;
            t.check(groups()).is(vec![])?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.user.setgroups_denied",
    about: "A user namespace made where setgroups(2) is denied denies it, too: /proc/self/setgroups reads deny, and \
            nobody there can allow it again.",
    proves: &["EFF-USER-07"],
    source: "user_namespaces(7), The /proc/pid/setgroups file",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    run: |t| {
        enter_own_user_namespace(t)?;
        // Denied before the namespace's gid_map was written.
        t.check(setgroups_file()).is("deny".to_owned())?;
        let start = Start { initial_admin: false, ..Start::of(t.facts()) };
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        t.check(setgroups_file()).is("deny".to_owned())?;
        let allow = fs::write("/proc/self/setgroups", "allow");
        t.check(Call::io("write(/proc/self/setgroups, allow)", allow)).fails_with(Errno::EPERM)?;
        t.check(Call::new("setgroups([])", setgroups(&[]))).fails_with(Errno::EPERM)
    }
});

case!(Case {
    name: "separation.user.unmapped_ids",
    about: "setuid(2) and seteuid(2) to an unmapped ID fail (EINVAL). Once the caller's own is mapped, that one works.",
    proves: &["EFF-USER-08"],
    source: "user_namespaces(7), Interaction with system calls that change process UIDs or GIDs",
    variants: callers_with_own_ids,
    run: |t| {
        let start = become_caller(t, t.param())?;
        let uid = geteuid();
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        // The system call: the C library has all threads call it.
        let setuid = |id: u32| Call::new(format!("setuid({id})"), call!(setuid, id).map(drop).map_err(fds::errno));
        let seteuid = |id: u32| {
            // -1 leaves an ID as it is.
            let set = call!(setresuid, usize::MAX, id, usize::MAX).map(drop).map_err(fds::errno);
            Call::new(format!("seteuid({id})"), set)
        };
        for id in [0, 1, 7, uid.as_raw(), 65534] {
            t.check(setuid(id)).fails_with(Errno::EINVAL)?;
            t.check(seteuid(id)).fails_with(Errno::EINVAL)?;
        }
        const CAP_SETFCAP: u64 = 1 << 31;
        if uid.is_root() && t.facts().capabilities & CAP_SETFCAP == 0 {
            // User 0 takes that to be mapped (EFF-USER-18).
            return Ok(());
        }
        let map = format!("7 {uid} 1");
        t.setup(Call::io("write(/proc/self/uid_map)", fs::write("/proc/self/uid_map", map)))?;
        t.check(seteuid(7)).succeeds()?;
        t.check(setuid(7)).succeeds()?;
        t.check(setuid(0)).fails_with(Errno::EINVAL)
    }
});

/// keyctl(2) that takes two numbers.
fn keyctl(operation: u32, key: i32, number: usize) -> Result<i32, Errno> {
    call!(keyctl, operation, key, number, 0, 0).map(|id| id as i32).map_err(fds::errno)
}

const GET_KEYRING_ID: u32 = 0;
const JOIN_SESSION_KEYRING: u32 = 1;
const SESSION_KEYRING: i32 = -3;
const USER_KEYRING: i32 = -4;

case!(Case {
    name: "separation.user.keyrings",
    about: "The session keyring stays the caller's; its user keyring is another one in the new namespace, made afresh.",
    proves: &["EFF-USER-14"],
    source: "keyrings(7); session-keyring(7); user-keyring(7); kernel, security/keys/process_keys.c",
    // Another user's quota of keys is small, and keys that are gone count until they are collected.
    needs: Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT),
    run: |t| {
        // In a namespace of its own, with which its user keyrings vanish.
        enter_own_user_namespace(t)?;
        match keyctl(JOIN_SESSION_KEYRING, 0, 0) {
            Ok(_) => {}
            Err(Errno::ENOSYS) => {
                return Err(t.skip("keyctl(2) does not exist: the kernel was built without CONFIG_KEYS"));
            }
            Err(errno) => return Err(t.skip(format!("keyctl(2) is refused here ({errno:?}): run outside containers"))),
        }
        let id = |name: &'static str, key: i32| {
            Call::new(format!("keyctl(KEYCTL_GET_KEYRING_ID, {name})"), keyctl(GET_KEYRING_ID, key, 1))
        };
        let session = t.setup(id("session keyring", SESSION_KEYRING))?;
        let user = t.setup(id("user keyring", USER_KEYRING))?;
        let start = Start { initial_admin: false, ..Start::of(t.facts()) };
        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
        t.check(id("session keyring", SESSION_KEYRING)).is(session)?;
        t.check(id("user keyring", USER_KEYRING)).is_not(user)
    }
});
