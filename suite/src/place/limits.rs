//! Limits on the number of namespaces, in a user namespace of the caller's own (RULE-11): those of
//! the machine are left alone.

use crate::call::check::SWITCHED_OFF;
use crate::call::raw::unshare;
use crate::spec::prelude::*;
use crate::tasks::barrier::Barrier;
use crate::tasks::peer::Peer;

/// What a case of limits needs.
pub const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::NAMESPACE_LIMITS);

/// How long after its last task has ended a namespace may still be counted (RULE-05), on real
/// hardware.
const RELEASE: Duration = Duration::from_secs(10);

/// The highest value a limit takes, which is also what a new user namespace starts with (LIM-01,
/// INT-21).
pub const HIGHEST: u32 = i32::MAX as u32;

/// The limit's file of each kind of namespace that this kernel has.
pub fn files(t: &Test) -> impl Iterator<Item = (Flags, PathBuf)> {
    KINDS
        .into_iter()
        .filter(|kind| kind.flag == Flags::NEWUSER || kind.feature.is_none_or(|feature| t.facts().has(feature)))
        .map(|kind| (kind.flag, path(kind.flag)))
}

/// The file of the limit on the kind of namespace that `flag` makes.
pub fn path(flag: Flags) -> PathBuf {
    let kind = Kind::of(flag).expect("a flag that makes a namespace");
    PathBuf::from("/proc/sys/user").join(kind.limit)
}

/// Writes one of the caller's files below /proc/self.
pub fn write_own(file: &str, text: &str) -> Call<()> {
    let written = fs::write(format!("/proc/self/{file}"), text);
    Call::io(format!("write(/proc/self/{file}, {text:?})"), written)
}

/// Maps user and group 0 of the caller's new user namespace to `uid` and `gid`, which it was
/// before.
#[track_caller]
pub fn map_ids(t: &Test, uid: u32, gid: u32) -> Done {
    // Without the privilege outside, a gid_map needs setgroups(2) given up first.
    for (file, text) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
    {
        let path = format!("/proc/self/{file}");
        let written = fs::write(&path, &text);
        t.setup(Call::io(format!("write({text:?}) to {path}"), written))?;
    }
    Ok(())
}

/// Has a task outside the caller's new user namespace, which has the privilege there, map all users
/// and groups as they are.
#[track_caller]
pub fn map_everybody_by(t: &Test, outside: &Peer) -> Done {
    outside.setup(t, "write(maps)", std::process::id(), |pid| {
        ["uid_map", "gid_map"]
            .into_iter()
            .try_for_each(|map| fs::write(format!("/proc/{pid}/{map}"), "0 0 65536").map_err(errno_of))
    })
}

/// Root in a user namespace of its own, where these kinds of namespace are used up.
pub fn start(t: &Test, exhausted: Flags) -> Start {
    Start { initial_admin: false, exhausted, ..Start::of(t.facts()) }
}

#[track_caller]
fn enter(t: &Test, flags: Flags) -> Done {
    let (uid, gid) = (geteuid(), getegid());
    let call = unshare(flags);
    if feature::user_namespace_takes_root(t.facts()) && call.result() == Err(Failure::Errno(Errno::EPERM)) {
        // Root of a user namespace is an ordinary user to the switch.
        return Err(t.skip(SWITCHED_OFF));
    }
    t.setup(call)?;
    map_ids(t, uid.as_raw(), gid.as_raw())
}

/// Moves the calling task into a user and a mount namespace of its own, in which it is root and may
/// set limits. The mount namespace belongs to the user namespace, so that a further copy of it is
/// a plain one; it counts as one.
#[track_caller]
pub fn enter_own_user_namespace(t: &Test) -> Done {
    enter(t, Flags::NEWUSER | Flags::NEWNS)
}

/// Goes on where a user namespace can be made in another one.
///
/// # Errors
/// Debian's switch, to which root of a user namespace is an ordinary user, forbids it: the case is skipped.
pub fn check_nesting_is_allowed(t: &Test) -> Done {
    if feature::user_namespace_takes_root(t.facts()) { Err(t.skip(SWITCHED_OFF)) } else { Ok(()) }
}

/// Moves the calling task one user namespace further in and leaves all else as it is.
#[track_caller]
pub fn enter_nested_user_namespace(t: &Test) -> Done {
    enter(t, Flags::NEWUSER)
}

/// How many user namespaces can be nested in the initial one (ERR-33).
pub const USER_LEVELS: usize = 33;

/// Nests the caller in as many user namespaces as can be.
#[track_caller]
pub fn nest(t: &Test) -> Done {
    (0..USER_LEVELS).try_for_each(|_| enter_nested_user_namespace(t))
}

/// A task that is as deep in user namespaces as can be.
pub fn deepest(t: &Test) -> Start {
    Start { too_deep: Flags::NEWUSER, ..start(t, Flags::NONE) }
}

/// How many namespaces of a kind are counted in the user namespace at hand right after
/// [`enter_own_user_namespace`].
pub fn used(flag: Flags) -> u32 {
    u32::from(flag == Flags::NEWNS)
}

/// Sets the limit on the kind of namespace that `flag` makes, in the current user namespace.
#[track_caller]
pub fn set(t: &Test, flag: Flags, limit: u32) -> Done {
    let path = path(flag);
    let written = fs::write(&path, limit.to_string());
    t.setup(Call::io(format!("write({limit}) to {}", path.display()), written))
}

/// The same in the user namespace of another task.
#[track_caller]
pub fn set_by(t: &Test, peer: &Peer, flag: Flags, limit: u32) -> Done {
    let text = format!("write({limit}) to {} by the {}", path(flag).display(), peer.name());
    peer.setup(t, &text, (flag.0, limit), |(flag, limit)| {
        fs::write(path(Flags(flag)), limit.to_string()).map_err(errno_of)
    })
}

/// Has another task call unshare(2).
#[track_caller]
pub fn unshare_by(t: &Test, peer: &Peer, flags: Flags) -> Done<Call<()>> {
    let text = format!("unshare({flags}) by the {}", peer.name());
    peer.call(t, &text, flags.0, |flags| unshare(Flags(flags)).answer())
}

/// unshare(2) with one flag that makes a namespace, again and again as long as ENOSPC says that those
/// on their way out are still counted (RULE-05), and within the limit.
pub fn unshare_within(flag: Flags, limit: &mut TimeLimit) -> Call<()> {
    loop {
        let call = unshare(flag);
        let full = call.result() == Err(Failure::Errno(Errno::ENOSPC));
        if !full || !limit.pause(Duration::from_millis(1)) {
            return call;
        }
    }
}

/// Makes a namespace of a kind that has room for one more once those that ended are no longer
/// counted: that may take the kernel a moment (RULE-05), and ENOSPC is taken for it that long.
#[track_caller]
pub fn check_room(t: &Test, flag: Flags, requirement: &'static str) -> Done {
    let call = unshare_within(flag, &mut t.time_limit(RELEASE));
    let full = call.result() == Err(Failure::Errno(Errno::ENOSPC));
    match full.then(|| Control::wait(t, flag)).flatten() {
        Some(control) => {
            let call = unshare_within(flag, &mut t.time_limit(AFTER_CONTROL));
            control.end(t)?;
            t.check(call).proves(requirement).succeeds()
        }
        None => t.check(call).proves(requirement).succeeds(),
    }
}

/// Checks that `count` tasks can have a namespace of this kind at the same time. Namespaces that are
/// on their way out may take the room for a moment, lost counts take it for good.
#[track_caller]
pub fn check_room_for(t: &Test, flag: Flags, count: u32, requirement: &'static str) -> Done {
    let hold = |t: &Test, limit| {
        let barrier = Barrier::new(t)?;
        let holders = (0..count)
            .map(|_| {
                barrier.spawn(t, "holder of a namespace", Flags::NONE, |t| {
                    let call = unshare_within(flag, &mut t.time_limit(limit));
                    barrier.finish();
                    barrier.wait_until_finished(count);
                    t.check(call.called(format!("unshare({flag}) by one of {count} tasks that the limit has room for")))
                        .proves(requirement)
                        .succeeds()
                })
            })
            .collect::<Done<Vec<_>>>()?;
        all(holders.into_iter().map(|holder| holder.join(t)))
    };
    if t.attempt(|t| hold(t, RELEASE)) {
        return Ok(());
    }
    let Some(control) = Control::wait(t, flag) else {
        return hold(t, AFTER_CONTROL);
    };
    let held = hold(t, AFTER_CONTROL);
    control.end(t)?;
    held
}

/// Waits until a namespace of this kind that is made and ended now is no longer counted: those that ended before it are
/// not either, unless something keeps them.
#[track_caller]
pub fn wait_for_late_ones(t: &Test, flag: Flags) -> Done {
    Control::wait(t, flag).map_or(Ok(()), |control| control.end(t))
}

/// How long a namespace may still be counted when one that ended after it is not, on real hardware.
const AFTER_CONTROL: Duration = Duration::from_secs(2);

/// A worker of the kernel takes namespaces out of the count, in turn: a machine on which others end
/// many, or that is short of CPUs, is late by any time. The control says when it is the turn of one
/// that ended later. Until then, ENOSPC says nothing.
struct Control {
    task: Task,
    barrier: &'static Barrier,
    /// The file of the limit, and what it contained.
    file: (PathBuf, String),
}

impl Control {
    /// Makes a namespace of this kind by clone(2), which ends at once, in a user namespace with room
    /// for one, and waits until there is room again. It then holds one, for which the caller's limit
    /// is raised until it ends. None where the caller may not set the limit, or another stands above.
    fn wait(t: &Test, flag: Flags) -> Option<Self> {
        if flag == Flags::NEWTIME {
            // Not one of clone(2)'s; its count is down at once.
            return None;
        }
        let (path, ids) = (path(flag), (geteuid().as_raw(), getegid().as_raw()));
        let before = fs::read_to_string(&path).ok()?;
        // With the user namespace that it is in.
        let held = 1 + u32::from(flag == Flags::NEWUSER);
        let raised = before.trim().parse::<u32>().ok()?.checked_add(held)?;
        fs::write(&path, HIGHEST.to_string()).ok()?;
        let mut started = None;
        let done = t.attempt(|t| {
            let barrier = Barrier::new(t)?;
            let task = barrier.spawn(t, "control", Flags::NEWUSER, |t| {
                map_ids(t, ids.0, ids.1)?;
                set(t, flag, 1)?;
                let hold = || {
                    barrier.put(0, 1);
                    barrier.finish();
                    barrier.wait_until_over();
                    0
                };
                let mut made = feature::in_child(flag.0, || 0);
                t.setup(Call::new("clone(), the first", made))?;
                loop {
                    made = feature::in_child(flag.0, hold);
                    if made != Err(Errno::ENOSPC) {
                        return t.setup(Call::new("clone(), the second", made)).map(drop);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            })?;
            barrier.wait_until_finished(1);
            started = Some((task, barrier));
            Ok(())
        });
        match started {
            Some((task, barrier)) if done && barrier.get(0) == 1 => {
                fs::write(&path, raised.to_string()).ok()?;
                Some(Self { task, barrier, file: (path, before) })
            }
            _ => {
                let _ = fs::write(&path, before);
                None
            }
        }
    }

    /// Ends it, and sets the limit back.
    #[track_caller]
    fn end(self, t: &Test) -> Done {
        self.barrier.end();
        self.task.join(t)?;
        let (path, before) = self.file;
        t.setup(Call::io(format!("write({}) to {}", before.trim(), path.display()), fs::write(&path, &before)))
    }
}

/// Sets fs.nr_open, which the supervisor puts back (LIM-03). The case disturbs [`global::NR_OPEN`].
pub fn set_nr_open(value: &str) -> Call<()> {
    Call::io(format!("write({value}) to fs.nr_open"), fs::write(global::NR_OPEN.path(), value))
}
