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

/// How long namespaces that nobody is in any more may go on being counted, on real hardware: some
/// are released a moment later (RULE-05). Only a kernel that lost a count takes this long.
const RELEASE: std::time::Duration = std::time::Duration::from_secs(10);

/// Checks that `count` tasks can have a namespace of this kind at the same time. Namespaces that are
/// on their way out may take the room for a moment, lost counts take it for good.
///
/// # Errors
/// There is no room for so many: a failed check is on record.
#[track_caller]
pub fn check_room(t: &Test, flag: Flags, count: u32, requirement: &'static str) -> Done {
    let line = crate::race::Line::draw(t)?;
    let deadline = std::time::Instant::now() + t.patience(RELEASE);
    let holders = (0..count)
        .map(|_| {
            line.spawn(t, "holder of a namespace", Flags::NONE, |t| {
                let full = Err(Failure::Errno(Errno::ENOSPC));
                let call = loop {
                    let call = unshare(flag);
                    if call.result() != full || std::time::Instant::now() > deadline {
                        break call;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(1));
                };
                line.finish();
                line.wait_until_finished(count);
                t.check(call.called(format!(
                    "unshare({flag}) by one of {count} tasks that the limit has room for"
                )))
                .proves(requirement)
                .succeeds()
            })
        })
        .collect::<Done<Vec<_>>>()?;
    all(holders.into_iter().map(|holder| holder.join(t)))
}

/// A variant for each kind of namespace, with what it needs.
pub fn each_kind() -> Vec<Variant> {
    FILES
        .into_iter()
        .map(|(flag, _)| Variant::new(flag.slug(), flag.0).needing(crate::side::needs_of(flag)))
        .collect()
}

/// How many namespaces of a kind are in use after [`enter_own_user_namespace`].
pub fn in_use(flag: Flags) -> u32 {
    u32::from(flag == Flags::NEWNS)
}
