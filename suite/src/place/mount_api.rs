//! The system calls that make and list mounts without paths.

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsmount, fsopen, move_mount,
};

use crate::observe::{Observer, statx};
use crate::spec::prelude::*;

/// C libraries lack these two. The numbers are the same on every architecture but alpha.
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;

/// The first version of what statmount(2) and listmount(2) take.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount: u64,
    parameter: u64,
}

impl Request {
    fn new(mount: u64, parameter: u64) -> Self {
        let size = size_of::<Self>() as u32;
        Self { size, spare: 0, mount, parameter }
    }
}

/// The beginning of what statmount(2) gives.
#[repr(C)]
#[derive(Clone, Copy)]
struct Mount {
    size: u32,
    options: u32,
    mask: u64,
    device: (u32, u32),
    magic: u64,
    flags: u32,
    kind: u32,
    id: u64,
    parent: u64,
    rest: [u8; 512 - 56],
}

/// Fills `found`, which begins as struct statmount does, with what is asked for of a mount.
fn ask<T>(mount: u64, parameter: u64, found: &mut T) -> Result<(), Errno> {
    let request = Request::new(mount, parameter);
    // SAFETY: request and buffer live through the call, which knows their sizes, and take any bytes.
    Errno::result(unsafe { libc::syscall(STATMOUNT, &raw const request, &raw mut *found, size_of::<T>(), 0u32) })
        .map(drop)
}

fn statmount(mount: u64) -> Result<Mount, Errno> {
    const SB_BASIC: u64 = 1;
    const MNT_BASIC: u64 = 2;
    // SAFETY: zeroes are valid numbers.
    let mut found: Mount = unsafe { std::mem::zeroed() };
    ask(mount, SB_BASIC | MNT_BASIC, &mut found).map(|()| found)
}

/// Has statx(2) give the ID that these calls take.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;

/// Device and magic number of the file system at the root of the caller's mount namespace, which may
/// be covered by what the caller has as its root (statmount(2), Linux 6.8).
pub fn root_mount() -> Call<((u32, u32), u64)> {
    let find = || {
        let root = statx(libc::AT_FDCWD, c"/", STATX_MNT_ID_UNIQUE)?.stx_mnt_id;
        let mut mount = statmount(root)?;
        // The root of all is its own parent.
        while mount.parent != mount.id {
            mount = statmount(mount.parent)?;
        }
        Ok((mount.device, mount.magic))
    };
    Call::new("the namespace's root mount, by statmount()", find())
}

/// The ID mapping of user IDs of the mount that a path leads to, as it is shown to the caller: lines of three numbers,
/// the first in the file system, the first and how many for the caller (statmount(2), Linux 6.15). None where the
/// kernel does not tell.
///
/// # Errors
/// As statmount(2) and statx(2).
pub fn uid_mapping(path: &CStr) -> Result<Option<Vec<String>>, Errno> {
    const MNT_UIDMAP: u64 = 0x2000;
    // Where the structure has how many lines there are, behind it where they are, and its end, from which that counts.
    const COUNT: usize = 152;
    const STRINGS: usize = 512;
    let mut found = [0u64; 256];
    ask(statx(libc::AT_FDCWD, path, STATX_MNT_ID_UNIQUE)?.stx_mnt_id, MNT_UIDMAP, &mut found)?;
    if found[1] & MNT_UIDMAP == 0 {
        return Ok(None);
    }
    let bytes: Vec<u8> = found.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let number = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte])) as usize;
    let lines = bytes.get(STRINGS + number(COUNT + 4)..).unwrap_or_default();
    let lines = lines.split(|byte| *byte == 0).take(number(COUNT));
    Ok(Some(lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()))
}

/// How many mounts a list of [`listed_mounts`] has at most.
pub const MOST_LISTED: usize = 1024;

/// listmount(2) of all mounts at and below the caller's root (Linux 6.8).
fn listmount(text: &str, flags: u32) -> Call<Vec<u64>> {
    const LSMT_ROOT: u64 = u64::MAX;
    let request = Request::new(LSMT_ROOT, 0);
    let mut ids = vec![0u64; MOST_LISTED];
    // SAFETY: request and buffer live through the call, which knows their sizes.
    let listed = unsafe { libc::syscall(LISTMOUNT, &raw const request, ids.as_mut_ptr(), ids.len(), flags) };
    let listed = Errno::result(listed).map(|count| {
        ids.truncate(count as usize);
        ids
    });
    Call::new(format!("mounts by {text}"), listed)
}

/// The IDs of all mounts at and below the caller's root, by growing ID.
pub fn listed_mounts() -> Call<Vec<u64>> {
    listmount("listmount(LSMT_ROOT)", 0)
}

/// The same from the other end (Linux 6.12).
pub fn listed_backwards() -> Call<Vec<u64>> {
    const LISTMOUNT_REVERSE: u32 = 1;
    listmount("listmount(LSMT_ROOT, LISTMOUNT_REVERSE)", LISTMOUNT_REVERSE)
}

/// Mounts a new tmpfs on a directory.
pub fn mount_tmpfs(directory: &Path) -> Call<()> {
    let none = None::<&str>;
    let mounted = nix::mount::mount(none, directory, Some("tmpfs"), nix::mount::MsFlags::empty(), none);
    Call::new(format!("mount(tmpfs, {})", directory.display()), mounted)
}

/// Makes a directory the root of the calling task, whose cwd stays, and gives its state. What is observed later goes
/// through a /proc that is opened before: the chroot hides it.
#[track_caller]
pub fn enter_chroot(t: &Test, root: &Path) -> Done<Start> {
    Observer::of(t)?;
    t.setup(Call::new(format!("chroot({})", root.display()), chroot(root)))?;
    Ok(Start { chrooted: true, ..Start::of(t.facts()) })
}

/// Goes back to the root directory that `outside` is.
#[track_caller]
pub fn leave_chroot(t: &Test, outside: &File) -> Done {
    let left = nix::unistd::fchdir(outside).and_then(|()| chroot("."));
    t.setup(Call::new("fchdir(/), chroot(.)", left))
}

/// A tmpfs that is mounted nowhere (fsopen(2), fsmount(2)).
pub fn new_tmpfs() -> Call<OwnedFd> {
    let make = || {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    Call::io("fsopen(tmpfs), fsconfig(CREATE), fsmount()", make().map_err(io::Error::from))
}

/// move_mount(2) of such a mount onto a path.
pub fn attach(mount: &OwnedFd, path: &CStr) -> Call<()> {
    let moved = move_mount(mount, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    Call::io(format!("move_mount(the new mount, {})", path.to_string_lossy()), moved.map_err(io::Error::from))
}
