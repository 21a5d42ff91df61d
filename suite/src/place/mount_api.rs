//! The system calls that make and list mounts without paths, by number: C libraries lack most.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use harness::prelude::*;

/// The numbers are the same on every architecture but alpha.
const MOVE_MOUNT: libc::c_long = 429;
const FSOPEN: libc::c_long = 430;
const FSCONFIG: libc::c_long = 431;
const FSMOUNT: libc::c_long = 432;
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;

const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;

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

fn statmount(mount: u64) -> Result<Mount, Errno> {
    const SB_BASIC: u64 = 1;
    const MNT_BASIC: u64 = 2;
    let request = Request::new(mount, SB_BASIC | MNT_BASIC);
    // SAFETY: zeroes are valid; request and buffer live through the call, which knows their sizes.
    unsafe {
        let mut found: Mount = std::mem::zeroed();
        let size = size_of::<Mount>();
        Errno::result(libc::syscall(STATMOUNT, &raw const request, &raw mut found, size, 0u32))?;
        Ok(found)
    }
}

/// Device and magic number of the file system at the root of the caller's mount namespace, which may
/// be covered by what the caller has as its root (statmount(2), Linux 6.8).
pub fn root_mount() -> Call<((u32, u32), u64)> {
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    let find = || {
        // SAFETY: zeroes are a valid statx; path and structure live through the call.
        let root = unsafe {
            let mut stat: libc::statx = std::mem::zeroed();
            let path = c"/".as_ptr();
            Errno::result(libc::statx(libc::AT_FDCWD, path, 0, STATX_MNT_ID_UNIQUE, &raw mut stat))?;
            stat.stx_mnt_id
        };
        let mut mount = statmount(root)?;
        // The root of all is its own parent.
        while mount.parent != mount.id {
            mount = statmount(mount.parent)?;
        }
        Ok((mount.device, mount.magic))
    };
    Call::new("the namespace's root mount, by statmount()", find())
}

/// The IDs of all mounts at and below the caller's root (listmount(2), Linux 6.8).
pub fn listed_mounts() -> Call<Vec<u64>> {
    const LSMT_ROOT: u64 = u64::MAX;
    let request = Request::new(LSMT_ROOT, 0);
    let mut ids = [0u64; 64];
    // SAFETY: request and buffer live through the call, which knows their sizes.
    let listed = unsafe { libc::syscall(LISTMOUNT, &raw const request, ids.as_mut_ptr(), ids.len(), 0u32) };
    let listed = Errno::result(listed).map(|count| ids[..count as usize].to_vec());
    Call::new("mounts by listmount(LSMT_ROOT)", listed)
}

/// A tmpfs that is mounted nowhere (fsopen(2), fsmount(2)).
pub fn new_tmpfs() -> Call<OwnedFd> {
    let make = || {
        // SAFETY: the name is a string; the descriptors are new and nobody else's.
        unsafe {
            let context = Errno::result(libc::syscall(FSOPEN, c"tmpfs".as_ptr(), 1u32))?;
            let context = OwnedFd::from_raw_fd(context as i32);
            let none = std::ptr::null::<libc::c_char>();
            let fd = context.as_raw_fd();
            Errno::result(libc::syscall(FSCONFIG, fd, FSCONFIG_CMD_CREATE, none, none, 0))?;
            let mount = Errno::result(libc::syscall(FSMOUNT, fd, 1u32, 0u32))?;
            Ok(OwnedFd::from_raw_fd(mount as i32))
        }
    };
    Call::new("fsopen(tmpfs), fsconfig(CREATE), fsmount()", make())
}

/// move_mount(2) of such a mount onto a path.
pub fn attach(mount: &OwnedFd, path: &std::ffi::CStr) -> Call<()> {
    // SAFETY: both paths are strings.
    let moved = unsafe {
        libc::syscall(
            MOVE_MOUNT,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    let text = format!("move_mount(the new mount, {})", path.to_string_lossy());
    Call::new(text, Errno::result(moved).map(drop))
}
