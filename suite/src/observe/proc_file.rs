//! Files of /proc, read into the stack and parsed without allocating.

use super::fds::{self, close};
use crate::spec::prelude::*;

/// Opens a file below an open /proc for reading.
fn open_at(proc: i32, path: &CStr, flags: i32) -> Option<i32> {
    call!(openat, proc, path.as_ptr(), flags | libc::O_CLOEXEC, 0).ok().map(|fd| fd as i32)
}

/// As much of a file below an open /proc as fits into the buffer; none when it cannot be opened.
pub(super) fn read_file<'b>(proc: i32, path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let fd = open_at(proc, path, libc::O_RDONLY)?;
    let mut length = 0;
    while length < buffer.len() {
        let read = call!(read, fd, buffer[length..].as_mut_ptr(), buffer.len() - length);
        match read {
            Ok(0) | Err(_) => break,
            Ok(more) => length += more,
        }
    }
    close(fd);
    Some(&buffer[..length])
}

/// The calling task's directory below an open /proc.
#[derive(Debug)]
pub(super) struct OwnDirectory(Option<i32>);

impl OwnDirectory {
    /// Opens it. All is absent from a directory that cannot be opened.
    pub(super) fn open(proc: i32) -> Self {
        // A process's first thread has one with fewer objects for the kernel to make.
        let is_first = call!(gettid) == call!(getpid);
        let path = if is_first { c"self" } else { c"thread-self" };
        Self(open_at(proc, path, libc::O_PATH | libc::O_DIRECTORY))
    }

    /// Whether there is one.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// The inode of one of the task's namespace links; 0 when it is missing or leads nowhere.
    pub(super) fn namespace_inode(&self, ns: Ns) -> u64 {
        let stat = self.0.and_then(|fd| statx(fd, ns.path(), libc::STATX_INO).ok());
        stat.map_or(0, |stat| stat.stx_ino)
    }

    /// As much of one of its files as fits into the buffer; none when it cannot be opened.
    pub(super) fn read<'b>(&self, path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        read_file(self.0?, path, buffer)
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        if let Some(fd) = self.0 {
            close(fd);
        }
    }
}

/// Whether the leader of the caller's thread group is a zombie.
pub(super) fn leader_has_ended(proc: i32) -> bool {
    let mut buffer = [0; 512];
    let text = read_file(proc, c"self/stat", &mut buffer).unwrap_or_default();
    // The state follows the command, which is in parentheses and may hold anything.
    let state = text.iter().rposition(|&byte| byte == b')').and_then(|end| text.get(end + 2));
    state == Some(&b'Z')
}

/// statx(2) that follows links.
///
/// # Errors
/// As statx(2).
pub fn statx(directory: i32, path: &CStr, mask: u32) -> Result<libc::statx, Errno> {
    // SAFETY: zeroes are a valid statx.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    call!(statx, directory, path.as_ptr(), 0, mask, &raw mut stat).map(|_| stat).map_err(fds::errno)
}

/// The digits of a text as a number of this base; all else in it is passed over.
pub fn number(text: &[u8], base: u64) -> u64 {
    text.iter()
        .filter_map(|&byte| (byte as char).to_digit(base as u32))
        .fold(0, |number: u64, digit| number.wrapping_mul(base).wrapping_add(digit.into()))
}

/// Up to four decimal numbers.
pub(super) fn four(text: &[u8]) -> [u32; 4] {
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

impl fmt::Display for FdList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// The size of the largest table of which each descriptor is asked for: /proc makes a file for each that it lists.
const MOST_ASKED: i32 = 256;

impl FdList {
    /// Lists the descriptors of the caller but for that of /proc, of a table that has room for so many.
    pub(super) fn read(proc: i32, table: u32) -> FdList {
        let mut list = FdList { count: 0, highest: -1, hash: 0, low: 0, closing: 0 };
        // The kernel makes tables of multiples of 64. What has another size is no such table.
        match table as i32 {
            size @ 64..=MOST_ASKED if size % 64 == 0 => (0..size).filter(|&fd| fd != proc).for_each(|fd| list.ask(fd)),
            _ => list.read_directory(proc),
        }
        list
    }

    fn read_directory(&mut self, proc: i32) {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let Some(directory) = open_at(proc, c"thread-self/fd", flags) else {
            return;
        };
        let mut buffer = [0u8; 4096];
        loop {
            let read = call!(getdents64, directory, buffer.as_mut_ptr(), buffer.len());
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
                if fd != directory && fd != proc {
                    self.ask(fd);
                }
            }
        }
        close(directory);
    }

    /// Adds a descriptor if it is open.
    fn ask(&mut self, fd: i32) {
        let Some(flags) = fds::flags(fd).map(u64::from) else {
            return;
        };
        self.count += 1;
        self.highest = self.highest.max(fd);
        if let 0..64 = fd {
            self.low |= 1 << fd;
            self.closing |= (flags & libc::FD_CLOEXEC as u64) << fd;
        }
        // Order does not matter: the kernel lists in ascending order, but says nowhere that it does.
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&fd.to_ne_bytes());
        bytes[4..].copy_from_slice(&flags.to_ne_bytes());
        self.hash = self.hash.wrapping_add(hash(&bytes));
    }
}
