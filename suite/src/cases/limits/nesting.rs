//! How deep namespaces nest: user namespaces 33 levels below the initial one, PID namespaces 32 (ERR-33, ERR-34,
//! DOC-07 and INT-25 of the behaviour catalogue).

use crate::place::limits::{USER_LEVELS, deepest};
use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7), Nested namespaces; pid_namespaces(7), Nesting PID namespaces; unshare(2), \
                      ERRORS (ENOSPC)";

/// How many PID namespaces can be nested in the initial one.
const PID_LEVELS: usize = 32;

/// The inode of the initial PID namespace, the same on every kernel (include/linux/proc_ns.h).
const INITIAL_PID_NS: u64 = 0xeffffffc;

/// Depth is counted from the initial user namespace.
const NEEDS: Needs = limits::NEEDS.with(feature::INITIAL_ROOT);

case!(Case {
    name: "limits.nesting.user",
    about: "33 user namespaces can be nested in the initial one, each by its caller alone; the 34th is refused with \
            ENOSPC, however often it is tried and whatever else is asked for, and changes nothing; other namespaces \
            can still be made.",
    proves: &["ERR-33", "DOC-07"],
    run: |t| {
        const ID: &str = "ERR-33";
        limits::check_nesting_is_allowed(t)?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        for level in 1..=USER_LEVELS {
            let (uid, gid) = (geteuid(), getegid());
            let call = unshare(Flags::NEWUSER).called(format!("unshare(CLONE_NEWUSER) at level {level}"));
            t.check(call).proves(ID).succeeds()?;
            limits::map_ids(t, uid.as_raw(), gid.as_raw())?;
        }
        for flags in [
            Flags::NEWUSER,
            Flags::NEWUSER,
            Flags::NEWUSER | Flags::FS | Flags::FILES,
            Flags::NEWUSER | Flags::NEWUTS | Flags::NEWNS,
        ] {
            t.unshare(flags).from(deepest(t)).beside(&[&peer]).proving(ID).as_predicted()?;
        }
        t.unshare(Flags::NEWNS).from(deepest(t)).beside(&[&peer]).proving(ID).as_predicted()
    }
});

case!(Case {
    name: "limits.nesting.user_by_descent",
    about: "Levels are those of the user namespace, not of the process: a task that enters the deepest one by \
            setns(2) is refused with ENOSPC though neither it nor a parent of it ever made one, and its parent, \
            which stayed outside, is not.",
    proves: &["INT-25"],
    run: |t| {
        limits::check_nesting_is_allowed(t)?;
        let deep = Peer::start(t, "deepest task", Flags::NONE)?;
        for _ in 0..USER_LEVELS {
            deep.setup(t, "unshare(CLONE_NEWUSER), write(maps)", (), |()| {
                let (uid, gid) = (geteuid(), getegid());
                unshare(Flags::NEWUSER).result().map_err(|_| Errno::EPROTO)?;
                for (file, text) in [
                    ("setgroups", "deny".to_owned()),
                    ("uid_map", format!("0 {uid} 1")),
                    ("gid_map", format!("0 {gid} 1")),
                ] {
                    fs::write(format!("/proc/self/{file}"), text).map_err(errno_of)?;
                }
                Ok(())
            })?;
        }
        t.in_child(|t| {
            let file = t.setup(Call::new("open(ns/user)", open_link(deep.pid(), Ns::User)))?;
            t.setup(Call::new("setns(CLONE_NEWUSER)", enter(&file)))?;
            drop(file);
            t.unshare(Flags::NEWUSER).from(deepest(t)).beside(&[&deep]).as_predicted()
        })?;
        // The caller is its parent, and at the initial level.
        t.unshare(Flags::NEWUSER).beside(&[&deep]).as_predicted()
    }
});

/// Nests PID namespaces, one task in each, and tries one too many in the innermost.
fn nest_pid(t: &Test, level: usize) -> Done {
    let mut start = Start::of(t.facts());
    if level < PID_LEVELS {
        t.unshare(Flags::NEWPID).from(start).as_predicted()?;
        return t.in_child(|t| nest_pid(t, level + 1));
    }
    start.too_deep = Flags::NEWPID;
    for flags in [Flags::NEWPID, Flags::NEWPID | Flags::NEWUTS, Flags::NEWPID | Flags::FS | Flags::FILES] {
        t.unshare(flags).from(start).as_predicted()?;
    }
    // As deep as it is, everything else works, and so does a child.
    t.unshare(Flags::NEWNS).from(start).as_predicted()?;
    t.in_child(|_| Ok(()))
}

case!(Case {
    name: "limits.nesting.pid",
    about: "32 PID namespaces can be nested in the initial one; the 33rd is refused with ENOSPC, alone and together \
            with other namespaces, and changes nothing.",
    proves: &["ERR-34"],
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        let observer = Observer::open(t)?;
        if observer.namespace_inode(Ns::Pid) != INITIAL_PID_NS {
            return Err(t.skip("not in the initial PID namespace, so the depth is not known: run outside containers"));
        }
        nest_pid(t, 0)
    }
});
