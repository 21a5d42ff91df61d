//! The parts of a task's state that are watched, one by one.

use std::fmt;
use std::ops::{BitOr, Sub};

/// One part of a task's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Part {
    /// `ns/mnt`.
    MntNs,
    /// `ns/uts`.
    UtsNs,
    /// `ns/ipc`.
    IpcNs,
    /// `ns/pid`.
    PidNs,
    /// `ns/pid_for_children`.
    PidForChildrenNs,
    /// `ns/net`.
    NetNs,
    /// `ns/user`.
    UserNs,
    /// `ns/cgroup`.
    CgroupNs,
    /// `ns/time`.
    TimeNs,
    /// `ns/time_for_children`.
    TimeForChildrenNs,
    /// The current directory (file system and inode).
    Cwd,
    /// The root directory (file system and inode).
    Root,
    /// The mount the current directory is reached through.
    CwdMount,
    /// The mount the root directory is reached through.
    RootMount,
    /// The umask.
    Umask,
    /// User IDs.
    Uids,
    /// Group IDs.
    Gids,
    /// Supplementary groups.
    Groups,
    /// Capability sets.
    Capabilities,
    /// Securebits.
    Securebits,
    /// no_new_privs.
    NoNewPrivs,
    /// Dumpable, parent-death signal, child subreaper.
    ProcessAttributes,
    /// The host name as the task sees it.
    HostName,
    /// The domain name as the task sees it.
    DomainName,
    /// Blocked, ignored and caught signals.
    Signals,
    /// Process ID, thread ID, process group.
    Ids,
    /// Open descriptors and their close-on-exec flags.
    Descriptors,
}

impl Part {
    /// The ten namespace links, in the order of [`Ns::ALL`](crate::observe::Ns::ALL).
    pub const NAMESPACES: [Part; 10] = [
        Part::MntNs,
        Part::UtsNs,
        Part::IpcNs,
        Part::PidNs,
        Part::PidForChildrenNs,
        Part::NetNs,
        Part::UserNs,
        Part::CgroupNs,
        Part::TimeNs,
        Part::TimeForChildrenNs,
    ];

    const ALL: [Part; 27] = [
        Part::MntNs,
        Part::UtsNs,
        Part::IpcNs,
        Part::PidNs,
        Part::PidForChildrenNs,
        Part::NetNs,
        Part::UserNs,
        Part::CgroupNs,
        Part::TimeNs,
        Part::TimeForChildrenNs,
        Part::Cwd,
        Part::Root,
        Part::CwdMount,
        Part::RootMount,
        Part::Umask,
        Part::Uids,
        Part::Gids,
        Part::Groups,
        Part::Capabilities,
        Part::Securebits,
        Part::NoNewPrivs,
        Part::ProcessAttributes,
        Part::HostName,
        Part::DomainName,
        Part::Signals,
        Part::Ids,
        Part::Descriptors,
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::MntNs => "ns/mnt",
            Part::UtsNs => "ns/uts",
            Part::IpcNs => "ns/ipc",
            Part::PidNs => "ns/pid",
            Part::PidForChildrenNs => "ns/pid_for_children",
            Part::NetNs => "ns/net",
            Part::UserNs => "ns/user",
            Part::CgroupNs => "ns/cgroup",
            Part::TimeNs => "ns/time",
            Part::TimeForChildrenNs => "ns/time_for_children",
            Part::Cwd => "cwd",
            Part::Root => "root",
            Part::CwdMount => "mount ID of the cwd",
            Part::RootMount => "mount ID of the root",
            Part::Umask => "umask",
            Part::Uids => "user IDs",
            Part::Gids => "group IDs",
            Part::Groups => "supplementary groups",
            Part::Capabilities => "capabilities",
            Part::Securebits => "securebits",
            Part::NoNewPrivs => "no_new_privs",
            Part::ProcessAttributes => "process attributes",
            Part::HostName => "host name",
            Part::DomainName => "domain name",
            Part::Signals => "signals",
            Part::Ids => "process IDs",
            Part::Descriptors => "descriptors",
        })
    }
}

/// A set of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Parts(u32);

impl Parts {
    /// No part.
    pub const NONE: Parts = Parts(0);

    /// These parts.
    pub const fn of(parts: &[Part]) -> Parts {
        let mut set = Parts::NONE;
        let mut at = 0;
        while at < parts.len() {
            set = set.with(parts[at]);
            at += 1;
        }
        set
    }

    /// The set with one part more.
    pub const fn with(self, part: Part) -> Parts {
        Parts(self.0 | 1 << part as u8)
    }

    /// Whether a part is in the set.
    pub const fn contains(self, part: Part) -> bool {
        self.0 & (1 << part as u8) != 0
    }

    /// The parts, one by one.
    pub fn iter(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.contains(*part))
    }
}

impl BitOr for Parts {
    type Output = Parts;
    fn bitor(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }
}

impl Sub for Parts {
    type Output = Parts;
    fn sub(self, other: Parts) -> Parts {
        Parts(self.0 & !other.0)
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Parts::NONE {
            return f.write_str("nothing");
        }
        let names: Vec<_> = self.iter().map(|part| part.to_string()).collect();
        f.write_str(&names.join(", "))
    }
}
