//! The parts of a task's state that are watched, one by one.

use std::fmt;
use std::ops::{BitOr, Sub};

macro_rules! parts {
    ($($(#[$more:meta])* $part:ident $name:literal)*) => {
        /// One part of a task's state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Part {
            $(#[doc = $name] $(#[$more])* $part,)*
        }

        impl Part {
            /// All of them. The ten namespace links come first, in the order of [`Ns::ALL`](crate::observe::Ns::ALL).
            pub const ALL: [Part; 27] = [$(Part::$part),*];
        }

        impl fmt::Display for Part {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Part::$part => $name,)*
                })
            }
        }
    };
}

parts! {
    MntNs "ns/mnt"
    UtsNs "ns/uts"
    IpcNs "ns/ipc"
    PidNs "ns/pid"
    PidForChildrenNs "ns/pid_for_children"
    NetNs "ns/net"
    UserNs "ns/user"
    CgroupNs "ns/cgroup"
    TimeNs "ns/time"
    TimeForChildrenNs "ns/time_for_children"
    /// (file system and inode)
    Cwd "cwd"
    /// (file system and inode)
    Root "root"
    CwdMount "mount ID of the cwd"
    RootMount "mount ID of the root"
    Umask "umask"
    Uids "user IDs"
    Gids "group IDs"
    Groups "supplementary groups"
    Capabilities "capabilities"
    Securebits "securebits"
    NoNewPrivs "no_new_privs"
    /// (dumpable, parent-death signal, child subreaper)
    ProcessAttributes "process attributes"
    HostName "host name"
    DomainName "domain name"
    /// (blocked, ignored and caught)
    Signals "signals"
    /// (process, thread and process group)
    Ids "process IDs"
    /// (and their close-on-exec flags)
    Descriptors "descriptors"
}

impl Part {
    /// Whether it is one of the namespace links.
    pub fn is_link(self) -> bool {
        self <= Part::TimeForChildrenNs
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
