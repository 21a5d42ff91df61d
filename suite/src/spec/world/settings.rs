//! What a task writes to files below /proc that its namespaces have for themselves: settings of an IPC namespace, offsets
//! of a time namespace (time_namespaces(7); ipc/ipc_sysctl.c, kernel/time/namespace.c).

use crate::spec::prelude::*;
use crate::spec::world::{Content, Task, World};

/// A setting of IPC namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its file below /proc.
    pub file: &'static CStr,
    /// What it is in a new namespace.
    pub default: u32,
}

/// The settings of IPC namespaces that tasks change. All of them take [these](VALUES).
pub const SETTINGS: [Setting; 9] = [
    Setting { file: c"sys/kernel/msgmni", default: 32_000 },
    Setting { file: c"sys/kernel/msgmax", default: 8192 },
    Setting { file: c"sys/kernel/msgmnb", default: 16_384 },
    Setting { file: c"sys/kernel/shmmni", default: 4096 },
    Setting { file: c"sys/fs/mqueue/queues_max", default: 256 },
    Setting { file: c"sys/fs/mqueue/msg_max", default: 10 },
    Setting { file: c"sys/fs/mqueue/msgsize_max", default: 8192 },
    Setting { file: c"sys/fs/mqueue/msg_default", default: 10 },
    Setting { file: c"sys/fs/mqueue/msgsize_default", default: 8192 },
];

/// What tasks write to settings.
pub const VALUES: std::ops::Range<u32> = 300..310;

/// The clocks of a time namespace: CLOCK_MONOTONIC, CLOCK_BOOTTIME.
pub const CLOCKS: usize = 2;

/// What a write makes of the offsets of both clocks: what is named, or why nothing.
type Written = Result<[Option<i64>; CLOCKS], Errno>;

/// What tasks write to timens_offsets, and what it makes of the offsets of [both clocks](CLOCKS), or why not.
pub const OFFSETS: [(&str, Written); 10] = [
    ("monotonic 7 0\n", Ok([Some(7), None])),
    ("boottime 1000 0", Ok([None, Some(1000)])),
    ("boottime 90 0\nmonotonic 15 0\n", Ok([Some(15), Some(90)])),
    // The numbers of both clocks.
    ("1 5 0\n7 300 0", Ok([Some(5), Some(300)])),
    ("monotonic 1 1000000000", Err(Errno::EINVAL)),
    ("realtime 1 0", Err(Errno::EINVAL)),
    ("monotonic 1", Err(Errno::EINVAL)),
    // Beyond what a clock can show, and below 0.
    ("monotonic 99999999999 0", Err(Errno::ERANGE)),
    ("monotonic 9223372036 0", Err(Errno::ERANGE)),
    ("boottime -3000000000 0", Err(Errno::ERANGE)),
];

impl World {
    /// The settings of a task's IPC namespace; nothing of the first, where they are the machine's.
    pub fn settings(&self, task: &Task) -> Option<[u32; SETTINGS.len()]> {
        match self.spaces[&task.space(Ns::Ipc)].content {
            Content::Ipc { settings, .. } if !self.has_semaphore(task) => Some(settings),
            _ => None,
        }
    }

    /// Whether all releases let a task write the settings of its IPC namespace: it is root, and root of the namespace.
    pub(super) fn may_set(&self, task: &Task) -> bool {
        let owner = self.spaces[&task.space(Ns::Ipc)].owner;
        // Without a root of its own, a namespace's settings belong to that outside.
        let root = self.outside(owner, 0, 1).unwrap_or(0);
        self.settings(task).is_some() && (task.user, root) == (0, 0)
    }

    /// What comes of a write of [one of these](OFFSETS) to a task's timens_offsets: the new offsets.
    pub(super) fn offset(&self, task: &Task, which: usize) -> Result<[i64; CLOCKS], Errno> {
        const CAP_SYS_TIME: u32 = 25;
        let space = &self.spaces[&task.space(Ns::TimeForChildren)];
        let Content::Time { offsets, frozen } = space.content else { return Err(Errno::EINVAL) };
        let may = self.capable(task, CAP_SYS_TIME, space.owner);
        match OFFSETS[which].1 {
            Err(Errno::EINVAL) => Err(Errno::EINVAL),
            _ if !may => Err(Errno::EPERM),
            Err(errno) => Err(errno),
            Ok(_) if frozen => Err(Errno::EACCES),
            Ok(new) => Ok([0, 1].map(|clock: usize| new[clock].unwrap_or(offsets[clock]))),
        }
    }

    /// By how many seconds [both clocks](CLOCKS) of a task differ from those of the first time namespace.
    pub fn clocks(&self, task: &Task) -> [i64; CLOCKS] {
        let (own, first) = (self.offsets(task.space(Ns::Time)), self.offsets(self.first(Flags::NEWTIME)));
        [0, 1].map(|clock: usize| own[clock] - first[clock])
    }
}
