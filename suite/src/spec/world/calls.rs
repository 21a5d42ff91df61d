//! The steps of a history.

use crate::spec::prelude::*;
use crate::spec::world::{MAPS, OFFSETS, Object, Options, Propagation, SETTINGS};

/// A directory of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// The root directory of the mount namespace.
    Top,
    /// A directory on the world's own mount.
    A,
    /// Another one.
    B,
}

/// One step: what a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// unshare(2).
    Unshare(Flags),
    /// unshare(2) of which the allocation with this number fails, if it makes so many.
    Starved(Flags, u32),
    /// clone(2), for a task at this place, which shares what the flags name.
    Clone(Flags, usize),
    /// execve(2) of a program that goes on with the history.
    Exec,
    /// exit(2): the calling thread ends.
    Exit,
    /// waitid(2) for the process whose first thread has this place.
    Reap(usize),
    /// setns(2) with the file of a link of the task at this place.
    Setns(Ns, usize),
    /// setns(2) with a descriptor of the process whose first thread has this place, to its namespaces of these kinds.
    Enter(Flags, usize),
    /// chdir(2).
    Chdir(Dir),
    /// chdir(2) and chroot(2).
    Chroot(Dir),
    /// umask(2).
    Umask(u32),
    /// sethostname(2).
    HostName(u8),
    /// capset(2) without CAP_SYS_ADMIN.
    DropSysAdmin,
    /// capset(2) without any capability.
    DropAll,
    /// setgroups(2), setresgid(2) and setresuid(2) to another user, which take all capabilities.
    BecomeNobody,
    /// prctl(PR_SET_NO_NEW_PRIVS).
    NoNewPrivs,
    /// Maps user and group 0 of the own user namespace to who made it.
    MapSelf,
    /// Writes [one of these](MAPS) to uid_map and gid_map of the task at this place.
    Map(usize, usize),
    /// Allows (or else denies) setgroups(2) in the own user namespace.
    Setgroups(bool),
    /// prctl(PR_SET_SECUREBITS, SECBIT_NOROOT).
    NoRoot,
    /// Makes an object in the own IPC namespace.
    Make(Object),
    /// Removes it.
    Remove(Object),
    /// Allows each user of the own user namespace this many namespaces of a kind.
    Limit(Flags, u32),
    /// semop(2) that takes one with SEM_UNDO.
    Take,
    /// dup3(2) to this descriptor, with O_CLOEXEC or without.
    Open(u16, bool),
    /// close(2) of it.
    Close(u16),
    /// fcntl(F_SETLK, F_WRLCK) on the world's file.
    Lock,
    /// fcntl(F_SETLK, F_UNLCK) on it.
    Unlock,
    /// mount(2) that changes the propagation of the world's mount.
    Propagate(Propagation),
    /// mount(MS_REMOUNT | MS_BIND) of the world's mount with these options.
    Remount(Options),
    /// mount(2) of a tmpfs on one of the world's directories.
    Mount,
    /// umount2(2) of it.
    Unmount,
    /// Writes [one of these](OFFSETS) to timens_offsets.
    Offset(usize),
    /// Writes this to [one of these](SETTINGS).
    Set(usize, i32),
    /// rt_tgsigqueueinfo(2) of two signals to itself, and rt_sigtimedwait(2) for both.
    Signals,
}

impl Op {
    /// Whether it may give somebody other settings of an IPC namespace.
    pub fn is_about_settings(&self) -> bool {
        match *self {
            // A queue takes the ID that was asked for.
            Op::Set(..) | Op::Setns(Ns::Ipc, _) | Op::Make(Object::Messages) => true,
            Op::Unshare(flags) | Op::Starved(flags, _) | Op::Clone(flags, _) | Op::Enter(flags, _) => {
                flags.contains(Flags::NEWIPC)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Unshare(flags) => write!(f, "unshare({flags})"),
            Op::Starved(flags, nth) => write!(f, "unshare({flags}) with allocation {nth} failing"),
            Op::Clone(flags, at) => write!(f, "clone({flags}), which makes task {at}"),
            Op::Exec => f.write_str("execve()"),
            Op::Exit => f.write_str("exit(0)"),
            Op::Reap(at) => write!(f, "waitid(P_PID, task {at})"),
            Op::Setns(ns, of) => write!(f, "setns({} of task {of})", ns.link()),
            Op::Enter(flags, of) => write!(f, "setns(pidfd of task {of}, {flags})"),
            Op::Chdir(dir) => write!(f, "chdir({dir})"),
            Op::Chroot(dir) => write!(f, "chdir({dir}) and chroot(\".\")"),
            Op::Umask(mask) => write!(f, "umask({mask:#o})"),
            Op::HostName(name) => write!(f, "sethostname(\"walk{name}\")"),
            Op::DropSysAdmin => f.write_str("capset() without CAP_SYS_ADMIN"),
            Op::DropAll => f.write_str("capset() without any capability"),
            Op::BecomeNobody => f.write_str("setgroups([]), setresgid(65534), setresuid(65534)"),
            Op::NoNewPrivs => f.write_str("prctl(PR_SET_NO_NEW_PRIVS)"),
            Op::MapSelf => f.write_str("write to setgroups, uid_map and gid_map"),
            Op::Map(which, of) => write!(f, "write({:?}) to uid_map and gid_map of task {of}", MAPS[*which].0),
            Op::Setgroups(allow) => write!(f, "write({}) to setgroups", if *allow { "allow" } else { "deny" }),
            Op::NoRoot => f.write_str("prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)"),
            Op::Make(object) => f.write_str(object.calls()[0]),
            Op::Remove(object) => f.write_str(object.calls()[1]),
            Op::Limit(kind, limit) => {
                write!(f, "write({limit}) to /proc/sys/user/{}", Kind::of(*kind).map_or("", |kind| kind.limit))
            }
            Op::Take => f.write_str("semop(-1, SEM_UNDO)"),
            Op::Open(fd, closes) => write!(f, "dup3(0, {fd}, {})", if *closes { "O_CLOEXEC" } else { "0" }),
            Op::Close(fd) => write!(f, "close({fd})"),
            Op::Lock => f.write_str("fcntl(F_SETLK, F_WRLCK)"),
            Op::Unlock => f.write_str("fcntl(F_SETLK, F_UNLCK)"),
            Op::Propagate(to) => write!(f, "mount({})", to.name()),
            Op::Mount => f.write_str("mount(tmpfs on …/m)"),
            Op::Unmount => f.write_str("umount2(…/m)"),
            Op::Remount(options) => write!(f, "mount(MS_REMOUNT|MS_BIND, {options})"),
            Op::Offset(which) => write!(f, "write({:?}) to timens_offsets", OFFSETS[*which].0),
            Op::Signals => f.write_str("rt_tgsigqueueinfo() to itself, twice"),
            Op::Set(which, value) => write!(f, "write({value}) to /proc/{}", SETTINGS[*which].file.to_string_lossy()),
        }
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dir::Top => "\"/\"",
            Dir::A => "\"…/a\"",
            Dir::B => "\"…/b\"",
        })
    }
}
