//! One look at a task, and what differs between two looks.

use std::ffi::CStr;
use std::fmt;

use serde::{Deserialize, Serialize};
use syscalls::{Sysno, syscall};

use super::proc_file::{FdList, statx};
use crate::spec::model::{Part, Parts};
use crate::spec::namespaces::Ns;

/// A directory as its identity: the file system, the inode, and the mount it is reached through
/// (RULE-12: a path alone hides damage).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// Device of the file system, major and minor; 0 when the directory cannot be looked at.
    pub device: (u32, u32),
    /// The inode.
    pub inode: u64,
    /// The mount's ID (STATX_MNT_ID, Linux 5.8).
    pub mount: u64,
}

impl Place {
    pub(super) fn of(path: &CStr) -> Place {
        let mask = libc::STATX_INO | libc::STATX_MNT_ID;
        statx(libc::AT_FDCWD, path, mask).map_or(Place::default(), |stat| Place {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mount: stat.stx_mnt_id,
        })
    }
}

/// The state of one task at one moment. Plain data: it can be written to shared memory as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// Inodes of the namespace links, by [`Ns`]; 0 where a link leads nowhere.
    pub namespaces: [u64; 10],
    /// The current directory.
    pub cwd: Place,
    /// The root directory.
    pub root: Place,
    /// The umask.
    pub umask: u32,
    /// Real, effective, saved and file system user IDs.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group IDs.
    pub gids: [u32; 4],
    /// A hash of the supplementary groups.
    pub groups: u64,
    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub capabilities: [u64; 5],
    /// The securebits.
    pub securebits: u32,
    /// The no_new_privs attribute.
    pub no_new_privs: u32,
    /// The "dumpable" attribute.
    pub dumpable: u32,
    /// The parent-death signal.
    pub death_signal: u32,
    /// The child-subreaper attribute.
    pub subreaper: u32,
    /// The beginning of the host name.
    pub host_name: [u8; 32],
    /// The beginning of the NIS domain name.
    pub domain_name: [u8; 32],
    /// Blocked, ignored and caught signals.
    pub signals: [u64; 3],
    /// The process ID, thread ID and process group.
    pub ids: [i32; 3],
    /// The descriptors.
    pub descriptors: FdList,
}

impl State {
    /// Fills in what system calls tell. No errno is written.
    pub(super) fn read_by_syscalls(&mut self) {
        let mut number = 0i32;
        // SAFETY: the calls take numbers, or write to live memory of the size they expect.
        unsafe {
            self.securebits = syscall!(Sysno::prctl, libc::PR_GET_SECUREBITS, 0, 0, 0, 0).unwrap_or(0) as u32;
            self.dumpable = syscall!(Sysno::prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0).unwrap_or(0) as u32;
            if syscall!(Sysno::prctl, libc::PR_GET_PDEATHSIG, &raw mut number, 0, 0, 0).is_ok() {
                self.death_signal = number as u32;
            }
            if syscall!(Sysno::prctl, libc::PR_GET_CHILD_SUBREAPER, &raw mut number, 0, 0, 0).is_ok() {
                self.subreaper = number as u32;
            }
            let mut uname: libc::utsname = std::mem::zeroed();
            if syscall!(Sysno::uname, &raw mut uname).is_ok() {
                self.host_name = beginning(&uname.nodename);
                self.domain_name = beginning(&uname.domainname);
            }
        }
        self.ids = ids();
    }

    /// The inode behind one of the namespace links.
    pub fn namespace(&self, ns: Ns) -> u64 {
        self.namespaces[ns as usize]
    }
}

/// The caller's process ID, thread ID and process group.
pub(super) fn ids() -> [i32; 3] {
    // SAFETY: the calls take numbers.
    unsafe {
        [
            syscall!(Sysno::getpid).unwrap_or(0) as i32,
            syscall!(Sysno::gettid).unwrap_or(0) as i32,
            syscall!(Sysno::getpgid, 0).unwrap_or(0) as i32,
        ]
    }
}

fn beginning(name: &[libc::c_char; 65]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, character) in bytes.iter_mut().zip(name) {
        *byte = *character as u8;
    }
    bytes
}

/// One part of a task's state that differs between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which part.
    pub part: Part,
    /// How it was before.
    pub before: String,
    /// How it is after.
    pub after: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} went from {} to {}", self.part, self.before, self.after)
    }
}

impl State {
    /// The parts that differ from `after`, without saying how. Allocates nothing.
    pub fn changed_parts(&self, after: &State) -> Parts {
        let mut parts = Parts::NONE;
        for (ns, part) in Ns::ALL.into_iter().zip(Part::NAMESPACES) {
            if self.namespace(ns) != after.namespace(ns) {
                parts = parts.with(part);
            }
        }
        let places = |a: Place, b: Place| (a.device, a.inode) != (b.device, b.inode);
        for (differs, part) in [
            (places(self.cwd, after.cwd), Part::Cwd),
            (places(self.root, after.root), Part::Root),
            (self.cwd.mount != after.cwd.mount, Part::CwdMount),
            (self.root.mount != after.root.mount, Part::RootMount),
            (self.umask != after.umask, Part::Umask),
            (self.uids != after.uids, Part::Uids),
            (self.gids != after.gids, Part::Gids),
            (self.groups != after.groups, Part::Groups),
            (self.capabilities != after.capabilities, Part::Capabilities),
            (self.securebits != after.securebits, Part::Securebits),
            (self.no_new_privs != after.no_new_privs, Part::NoNewPrivs),
            (
                (self.dumpable, self.death_signal, self.subreaper)
                    != (after.dumpable, after.death_signal, after.subreaper),
                Part::ProcessAttributes,
            ),
            (self.host_name != after.host_name, Part::HostName),
            (self.domain_name != after.domain_name, Part::DomainName),
            (self.signals != after.signals, Part::Signals),
            (self.ids != after.ids, Part::Ids),
            (self.descriptors != after.descriptors, Part::Descriptors),
        ] {
            if differs {
                parts = parts.with(part);
            }
        }
        parts
    }

    /// One part as text.
    fn shown(&self, part: Part) -> String {
        if let Some(at) = Part::NAMESPACES.iter().position(|ns| *ns == part) {
            return match self.namespaces[at] {
                0 => "nowhere".to_owned(),
                inode => format!("[{inode}]"),
            };
        }
        let place = |place: Place| match place.inode {
            0 => "unreachable".to_owned(),
            inode => format!("{}:{} inode {inode}", place.device.0, place.device.1),
        };
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        match part {
            Part::Cwd => place(self.cwd),
            Part::Root => place(self.root),
            Part::CwdMount => self.cwd.mount.to_string(),
            Part::RootMount => self.root.mount.to_string(),
            Part::Umask => format!("{:04o}", self.umask),
            Part::Uids => format!("{:?}", self.uids),
            Part::Gids => format!("{:?}", self.gids),
            Part::Groups => format!("list {:x}", self.groups),
            Part::Capabilities => {
                let [inheritable, permitted, effective, bounding, ambient] = self.capabilities;
                format!("Inh {inheritable:x} Prm {permitted:x} Eff {effective:x} Bnd {bounding:x} Amb {ambient:x}")
            }
            Part::Securebits => format!("{:#x}", self.securebits),
            Part::NoNewPrivs => self.no_new_privs.to_string(),
            Part::ProcessAttributes => {
                format!("dumpable {}, death signal {}, subreaper {}", self.dumpable, self.death_signal, self.subreaper)
            }
            Part::HostName => text(&self.host_name),
            Part::DomainName => text(&self.domain_name),
            Part::Signals => format!("{:x?}", self.signals),
            Part::Ids => format!("{:?}", self.ids),
            Part::Descriptors => self.descriptors.to_string(),
            other => other.to_string(),
        }
    }
}

/// All that differs between two looks at a task, in words.
pub fn differences(before: &State, after: &State) -> Vec<Difference> {
    before
        .changed_parts(after)
        .iter()
        .map(|part| Difference { part, before: before.shown(part), after: after.shown(part) })
        .collect()
}
