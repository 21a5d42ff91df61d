//! What a task writes to files below /proc that its namespaces have for themselves: settings of an IPC namespace, offsets
//! of a time namespace (time_namespaces(7); ipc/ipc_sysctl.c, kernel/time/namespace.c).

use crate::feature::CAP_SYS_ADMIN;
use crate::spec::prelude::*;
use crate::spec::world::{Content, Space, Task, World};

/// A setting of IPC namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its file below /proc.
    pub file: &'static CStr,
    /// What it is in a new namespace.
    pub default: i32,
}

/// The settings of IPC namespaces that tasks change. All of them take [these](VALUES).
pub const SETTINGS: [Setting; 10] = [
    Setting { file: c"sys/kernel/msgmni", default: 32_000 },
    Setting { file: c"sys/kernel/msgmax", default: 8192 },
    Setting { file: c"sys/kernel/msgmnb", default: 16_384 },
    Setting { file: c"sys/kernel/shmmni", default: 4096 },
    Setting { file: c"sys/fs/mqueue/queues_max", default: 256 },
    Setting { file: c"sys/fs/mqueue/msg_max", default: 10 },
    Setting { file: c"sys/fs/mqueue/msgsize_max", default: 8192 },
    Setting { file: c"sys/fs/mqueue/msg_default", default: 10 },
    Setting { file: c"sys/fs/mqueue/msgsize_default", default: 8192 },
    Setting { file: c"sys/kernel/msg_next_id", default: -1 },
];

/// The last of them: the ID that the next message queue is to get, which is then forgotten. Only kernels with
/// CONFIG_CHECKPOINT_RESTORE have it.
pub const NEXT_ID: usize = SETTINGS.len() - 1;

/// Who may write [`NEXT_ID`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Root of the machine, as other settings of old kernels.
    Root,
    /// Who has CAP_CHECKPOINT_RESTORE over the namespace; everybody else gets this.
    Capability(Errno),
}

/// What tasks write to settings.
pub const VALUES: std::ops::Range<i32> = 300..310;

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
    /// The settings that the kernel has.
    pub fn known_settings(&self) -> &'static [Setting] {
        if self.next_id.is_some() { &SETTINGS } else { &SETTINGS[..NEXT_ID] }
    }

    /// The values of [these](Self::known_settings) in a task's IPC namespace; nothing of the first, where they are the
    /// machine's.
    pub fn settings(&self, task: &Task) -> Option<&[i32]> {
        match &self.spaces[&task.space(Ns::Ipc)].content {
            Content::Ipc { settings, .. } if !self.has_semaphore(task) => {
                Some(&settings[..self.known_settings().len()])
            }
            _ => None,
        }
    }

    /// Who is root of the user namespace that owns a task's IPC namespace: the machine's, if it has none of its own.
    fn root_of_settings(&self, task: &Task) -> u32 {
        self.outside(self.spaces[&task.space(Ns::Ipc)].owner, 0, 1).unwrap_or(0)
    }

    /// Whether it is certain what comes of a write of [one of these](SETTINGS) by a task.
    pub(super) fn may_set(&self, task: &Task, which: usize) -> bool {
        let is_there = self.settings(task).is_some_and(|settings| which < settings.len());
        is_there && (which == NEXT_ID || self.rooted_settings.is_some() || self.root_of_settings(task) == 0)
    }

    /// Whether a task can write to [one of these](SETTINGS), or why not.
    pub(super) fn is_setting_writable(&self, task: &Task, which: usize) -> Result<(), Errno> {
        const CAP_CHECKPOINT_RESTORE: u32 = 40;
        let (may, errno) = match self.next_id.filter(|_| which == NEXT_ID) {
            Some(Guard::Capability(errno)) => {
                let owner = self.spaces[&task.space(Ns::Ipc)].owner;
                (self.capable(task, CAP_CHECKPOINT_RESTORE, owner) || self.capable(task, CAP_SYS_ADMIN, owner), errno)
            }
            Some(Guard::Root) => (task.user == 0, Errno::EACCES),
            None => {
                let root = if self.rooted_settings == Some(true) { self.root_of_settings(task) } else { 0 };
                (task.user == root, Errno::EACCES)
            }
        };
        if may { Ok(()) } else { Err(errno) }
    }

    /// Gives a task's IPC namespace this setting.
    pub(super) fn set_setting(&mut self, task: &Task, which: usize, value: i32) {
        if let Some(Space { content: Content::Ipc { settings, .. }, .. }) = self.spaces.get_mut(&task.space(Ns::Ipc)) {
            settings[which] = value;
        }
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
