//! Files of /proc, read into the stack and parsed without allocating.

use std::ffi::CStr;

use syscalls::{Sysno, syscall};

use crate::spec::namespaces::Ns;

/// Opens a file below an open /proc for reading.
fn open_at(proc: i32, path: &CStr, flags: i32) -> Option<i32> {
    // SAFETY: the path is a live C string.
    unsafe { syscall!(Sysno::openat, proc, path.as_ptr(), flags | libc::O_CLOEXEC, 0) }.ok().map(|fd| fd as i32)
}

fn close(fd: i32) {
    // SAFETY: closes a descriptor that this module opened.
    let _ = unsafe { syscall!(Sysno::close, fd) };
}

/// Reads as much of a file as fits.
fn read_into(fd: i32, buffer: &mut [u8]) -> &[u8] {
    let mut length = 0;
    while length < buffer.len() {
        // SAFETY: reads into the rest of a live buffer.
        let read = unsafe { syscall!(Sysno::read, fd, buffer[length..].as_mut_ptr(), buffer.len() - length) };
        match read {
            Ok(0) | Err(_) => break,
            Ok(more) => length += more,
        }
    }
    &buffer[..length]
}

/// The inode a namespace link leads to; 0 when it leads nowhere.
pub(super) fn read_link_inode(proc: i32, ns: Ns) -> u64 {
    let path = match ns {
        Ns::Mnt => c"thread-self/ns/mnt",
        Ns::Uts => c"thread-self/ns/uts",
        Ns::Ipc => c"thread-self/ns/ipc",
        Ns::Pid => c"thread-self/ns/pid",
        Ns::PidForChildren => c"thread-self/ns/pid_for_children",
        Ns::Net => c"thread-self/ns/net",
        Ns::User => c"thread-self/ns/user",
        Ns::Cgroup => c"thread-self/ns/cgroup",
        Ns::Time => c"thread-self/ns/time",
        Ns::TimeForChildren => c"thread-self/ns/time_for_children",
    };
    statx(proc, path, libc::STATX_INO).map_or(0, |stat| stat.stx_ino)
}

/// Whether the leader of the caller's thread group is a zombie.
pub(super) fn leader_has_ended(proc: i32) -> bool {
    let Some(fd) = open_at(proc, c"self/stat", libc::O_RDONLY) else {
        return false;
    };
    let mut buffer = [0; 512];
    let text = read_into(fd, &mut buffer);
    // The state follows the command, which is in parentheses and may hold anything.
    let state = text.iter().rposition(|&byte| byte == b')').and_then(|end| text.get(end + 2));
    let ended = state == Some(&b'Z');
    close(fd);
    ended
}

/// statx(2) that follows links; none when it fails.
pub(super) fn statx(directory: i32, path: &CStr, mask: u32) -> Option<libc::statx> {
    // SAFETY: zeroes are a valid statx.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path and the structure live through the call.
    unsafe { syscall!(Sysno::statx, directory, path.as_ptr(), 0, mask, &raw mut stat) }.ok().map(|_| stat)
}

/// What `/proc/thread-self/status` says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Status {
    pub umask: u32,
    pub uids: [u32; 4],
    pub gids: [u32; 4],
    pub groups: u64,
    pub capabilities: [u64; 5],
    pub no_new_privs: u32,
    pub signals: [u64; 3],
}

impl Status {
    pub(super) fn read(proc: i32) -> Option<Status> {
        let fd = open_at(proc, c"thread-self/status", libc::O_RDONLY)?;
        let mut buffer = [0; 4096];
        let text = read_into(fd, &mut buffer);
        let status = Status::parse(text);
        close(fd);
        Some(status)
    }

    fn parse(text: &[u8]) -> Status {
        let mut status = Status::default();
        for line in text.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            match name {
                b"Umask" => status.umask = number(value, 8) as u32,
                b"Uid" => status.uids = four(value),
                b"Gid" => status.gids = four(value),
                b"Groups" => status.groups = hash(value),
                b"CapInh" => status.capabilities[0] = number(value, 16),
                b"CapPrm" => status.capabilities[1] = number(value, 16),
                b"CapEff" => status.capabilities[2] = number(value, 16),
                b"CapBnd" => status.capabilities[3] = number(value, 16),
                b"CapAmb" => status.capabilities[4] = number(value, 16),
                b"NoNewPrivs" => status.no_new_privs = number(value, 10) as u32,
                b"SigBlk" => status.signals[0] = number(value, 16),
                b"SigIgn" => status.signals[1] = number(value, 16),
                b"SigCgt" => status.signals[2] = number(value, 16),
                _ => {}
            }
        }
        status
    }
}

fn number(text: &[u8], base: u64) -> u64 {
    text.iter()
        .filter_map(|&byte| (byte as char).to_digit(base as u32))
        .fold(0, |number: u64, digit| number.wrapping_mul(base).wrapping_add(digit.into()))
}

fn four(text: &[u8]) -> [u32; 4] {
    let mut numbers = [0; 4];
    let fields = text.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    for (number_at, field) in numbers.iter_mut().zip(fields) {
        *number_at = number(field, 10) as u32;
    }
    numbers
}

/// FNV-1a: enough to tell one list from another.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Which descriptors are open, and which of them close on exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FdList {
    /// How many are open.
    pub count: u32,
    /// The highest.
    pub highest: i32,
    /// A hash over numbers and close-on-exec flags.
    pub hash: u64,
    /// Those below 64, a bit each.
    pub low: u64,
    /// Those of them that close on exec.
    pub closing: u64,
}

impl std::fmt::Display for FdList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = |set: u64| (0..64).filter(move |bit| set >> bit & 1 == 1);
        let list = |set: u64| {
            let numbers: Vec<_> = bits(set).map(|bit| bit.to_string()).collect();
            if numbers.is_empty() { "none".to_owned() } else { numbers.join(" ") }
        };
        write!(f, "{} (closing on exec: {})", list(self.low), list(self.closing))?;
        match self.count - self.low.count_ones() {
            0 => Ok(()),
            more => write!(f, " and {more} more up to {} ({:x})", self.highest, self.hash),
        }
    }
}

impl FdList {
    /// Lists the descriptors of the caller, but for `ignored` ones.
    pub(super) fn read(proc: i32, ignored: &[i32]) -> FdList {
        let mut list = FdList { count: 0, highest: -1, hash: 0, low: 0, closing: 0 };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let Some(directory) = open_at(proc, c"thread-self/fd", flags) else {
            return list;
        };
        let mut buffer = [0u8; 4096];
        loop {
            // SAFETY: getdents64 fills a live buffer.
            let read = unsafe { syscall!(Sysno::getdents64, directory, buffer.as_mut_ptr(), buffer.len()) };
            let Ok(length @ 1..) = read else {
                break;
            };
            let mut rest = &buffer[..length];
            // struct linux_dirent64: inode (8 bytes), offset (8), record length (2), type (1), name.
            while rest.len() > 19 {
                let record = u16::from_ne_bytes([rest[16], rest[17]]) as usize;
                let name = &rest[19..record];
                let name = &name[..name.iter().position(|&byte| byte == 0).unwrap_or(0)];
                rest = &rest[record..];
                if !name.first().is_some_and(u8::is_ascii_digit) {
                    continue;
                }
                let fd = number(name, 10) as i32;
                if fd != directory && !ignored.contains(&fd) {
                    list.add(fd);
                }
            }
        }
        close(directory);
        list
    }

    fn add(&mut self, fd: i32) {
        // SAFETY: F_GETFD takes no pointer.
        let flags = unsafe { syscall!(Sysno::fcntl, fd, libc::F_GETFD) }.unwrap_or(usize::MAX);
        self.count += 1;
        self.highest = self.highest.max(fd);
        if let 0..64 = fd {
            self.low |= 1 << fd;
            self.closing |= ((flags & libc::FD_CLOEXEC as usize) as u64) << fd;
        }
        // Order does not matter: the kernel lists in ascending order, but says nowhere that it does.
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&fd.to_ne_bytes());
        bytes[4..].copy_from_slice(&flags.to_ne_bytes());
        self.hash = self.hash.wrapping_add(hash(&bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read_without_allocating() {
        let text = b"Name:\tx\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t0\t0\t0\t5\nGroups:\t0 1 \n\
            CapInh:\t0000000000000001\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\n\
            SigCgt:\t0000000180000000\n";
        let status = Status::parse(text);
        assert_eq!(status.umask, 0o22);
        assert_eq!(status.uids, [1, 2, 3, 4]);
        assert_eq!(status.gids, [0, 0, 0, 5]);
        assert_eq!(status.capabilities, [1, 0, 0, 0x1ff_ffff_ffff, 0]);
        assert_eq!(status.no_new_privs, 1);
        assert_eq!(status.signals[2], 0x1_8000_0000);
        assert_ne!(status.groups, 0);
    }
}
