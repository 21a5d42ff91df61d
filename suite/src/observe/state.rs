//! One look at a task, and what differs between two looks.

use harness::abi::syscall;

use super::proc_file::{FdList, OwnDirectory, four, hash, number, statx};
use crate::spec::prelude::*;

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

/// What a path leads to, and through which mount. Allocates nothing and writes no errno.
pub fn place_of(path: &CStr) -> Place {
    let mask = libc::STATX_INO | libc::STATX_MNT_ID;
    statx(libc::AT_FDCWD, path, mask).map_or(Place::default(), |stat| Place {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        mount: stat.stx_mnt_id,
    })
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
    /// Fills in what the task's `status` says. Returns for how many descriptors its table has room.
    pub(super) fn read_status(&mut self, own: &OwnDirectory) -> u32 {
        let mut buffer = [0; 4096];
        self.parse_status(own.read(c"status", &mut buffer).unwrap_or_default())
    }

    fn parse_status(&mut self, text: &[u8]) -> u32 {
        let mut table = 0;
        for line in text.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            match name {
                b"Umask" => self.umask = number(value, 8) as u32,
                b"Uid" => self.uids = four(value),
                b"Gid" => self.gids = four(value),
                b"FDSize" => table = number(value, 10) as u32,
                b"Groups" => self.groups = hash(value),
                b"CapInh" => self.capabilities[0] = number(value, 16),
                b"CapPrm" => self.capabilities[1] = number(value, 16),
                b"CapEff" => self.capabilities[2] = number(value, 16),
                b"CapBnd" => self.capabilities[3] = number(value, 16),
                b"CapAmb" => self.capabilities[4] = number(value, 16),
                b"NoNewPrivs" => self.no_new_privs = number(value, 10) as u32,
                b"SigBlk" => self.signals[0] = number(value, 16),
                b"SigIgn" => self.signals[1] = number(value, 16),
                b"SigCgt" => self.signals[2] = number(value, 16),
                _ => {}
            }
        }
        table
    }

    /// Fills in what system calls report. No errno is written.
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

/// The caller's process ID, thread ID and process group, as [`State::ids`] has them.
pub fn ids() -> [i32; 3] {
    [call!(getpid), call!(gettid), call!(getpgid, 0)].map(|id| id.unwrap_or(0) as i32)
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

/// The parts of a state beside the namespace links: where each is, and how it is shown.
macro_rules! parts_of_state {
    ($($part:ident: $get:expr, $show:expr;)*) => {
        impl State {
            /// Whether a part differs. Allocates nothing.
            fn differs(&self, after: &State, part: Part) -> bool {
                match part {
                    $(Part::$part => { let get = $get; get(self) != get(after) })*
                    link => self.namespaces[link as usize] != after.namespaces[link as usize],
                }
            }

            /// A part as text.
            fn shown(&self, part: Part) -> String {
                match part {
                    $(Part::$part => { let (get, show) = ($get, $show); show(get(self)) })*
                    link => match self.namespaces[link as usize] {
                        0 => "nowhere".to_owned(),
                        inode => format!("[{inode}]"),
                    },
                }
            }
        }
    };
}

parts_of_state! {
    Cwd: |s: &State| (s.cwd.device, s.cwd.inode), place;
    Root: |s: &State| (s.root.device, s.root.inode), place;
    CwdMount: |s: &State| s.cwd.mount, |mount: u64| mount.to_string();
    RootMount: |s: &State| s.root.mount, |mount: u64| mount.to_string();
    Umask: |s: &State| s.umask, |mask| format!("{mask:04o}");
    Uids: |s: &State| s.uids, |ids| format!("{ids:?}");
    Gids: |s: &State| s.gids, |ids| format!("{ids:?}");
    Groups: |s: &State| s.groups, |hash| format!("list {hash:x}");
    Capabilities: |s: &State| s.capabilities, |[inheritable, permitted, effective, bounding, ambient]: [u64; 5]| {
        format!("Inh {inheritable:x} Prm {permitted:x} Eff {effective:x} Bnd {bounding:x} Amb {ambient:x}")
    };
    Securebits: |s: &State| s.securebits, |bits| format!("{bits:#x}");
    NoNewPrivs: |s: &State| s.no_new_privs, |value: u32| value.to_string();
    ProcessAttributes: |s: &State| (s.dumpable, s.death_signal, s.subreaper), |(dumpable, signal, subreaper)| {
        format!("dumpable {dumpable}, death signal {signal}, subreaper {subreaper}")
    };
    HostName: |s: &State| s.host_name, text;
    DomainName: |s: &State| s.domain_name, text;
    Signals: |s: &State| s.signals, |sets| format!("{sets:x?}");
    Ids: |s: &State| s.ids, |ids| format!("{ids:?}");
    Descriptors: |s: &State| s.descriptors, |list: FdList| list.to_string();
}

/// A directory, by device and inode.
pub fn place(((major, minor), inode): ((u32, u32), u64)) -> String {
    match inode {
        0 => "unreachable".to_owned(),
        inode => format!("{major}:{minor} inode {inode}"),
    }
}

/// The beginning of a name.
pub fn text(bytes: [u8; 32]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl State {
    /// The parts that differ from `after`, without saying how. Allocates nothing.
    pub fn changed_parts(&self, after: &State) -> Parts {
        Part::ALL.into_iter().filter(|part| self.differs(after, *part)).fold(Parts::NONE, Parts::with)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read_without_allocating() {
        let text = b"Name:\tx\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t0\t0\t0\t5\nGroups:\t0 1 \n\
            CapInh:\t0000000000000001\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\n\
            SigCgt:\t0000000180000000\n";
        let mut status = State::default();
        status.parse_status(text);
        assert_eq!(status.umask, 0o22);
        assert_eq!(status.uids, [1, 2, 3, 4]);
        assert_eq!(status.gids, [0, 0, 0, 5]);
        assert_eq!(status.capabilities, [1, 0, 0, 0x1ff_ffff_ffff, 0]);
        assert_eq!(status.no_new_privs, 1);
        assert_eq!(status.signals[2], 0x1_8000_0000);
        assert_ne!(status.groups, 0);
    }
}
