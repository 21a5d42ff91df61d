//! Limits on the number of namespaces, in a user namespace of the caller's own (RULE-11): those of
//! the machine are left alone.

use harness::prelude::*;

use crate::flags::Flags;
use crate::sys::unshare;

/// The limit's file of each flag, below /proc/sys/user.
const FILES: [(Flags, &str); 8] = [
    (Flags::NEWUSER, "max_user_namespaces"),
    (Flags::NEWNS, "max_mnt_namespaces"),
    (Flags::NEWUTS, "max_uts_namespaces"),
    (Flags::NEWIPC, "max_ipc_namespaces"),
    (Flags::NEWPID, "max_pid_namespaces"),
    (Flags::NEWCGROUP, "max_cgroup_namespaces"),
    (Flags::NEWNET, "max_net_namespaces"),
    (Flags::NEWTIME, "max_time_namespaces"),
];

/// What a case of limits needs.
pub const NEEDS: Needs = Needs::ROOT
    .with(Feature::CreateUserNs)
    .with(Feature::NamespaceLimits);

/// Moves the calling task into a user and a mount namespace of its own, in which it is root and may
/// set limits. The mount namespace belongs to the user namespace, so that a further copy of it is
/// a plain one.
///
/// # Errors
/// A step was refused: the case is broken.
#[track_caller]
pub fn enter_own_user_namespace(t: &Test) -> Done {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    t.setup(unshare(Flags::NEWUSER | Flags::NEWNS))?;
    // Without the privilege outside, a gid_map needs setgroups(2) given up first.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        let written = std::fs::write(&path, &text);
        t.setup(Call::io(format!("write({text:?}) to {path}"), written))?;
    }
    Ok(())
}

/// Sets the limit on the kind of namespace that `flag` makes, in the current user namespace.
///
/// # Errors
/// The limit cannot be written: the case is broken.
#[track_caller]
pub fn set(t: &Test, flag: Flags, limit: u32) -> Done {
    let file = FILES
        .into_iter()
        .find(|(of, _)| *of == flag)
        .map_or("none", |(_, file)| file);
    let path = format!("/proc/sys/user/{file}");
    let written = std::fs::write(&path, limit.to_string());
    t.setup(Call::io(format!("write({limit}) to {path}"), written))
}
