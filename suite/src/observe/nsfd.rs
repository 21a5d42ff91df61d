//! Namespaces by a descriptor, as ioctl_ns(2) and setns(2) take them.

use crate::spec::prelude::*;

/// Opens a namespace link of a task; `thread-self` is the calling one.
///
/// # Errors
/// As open(2).
pub fn open_link(task: impl fmt::Display, ns: Ns) -> Result<File, Errno> {
    File::open(format!("/proc/{task}/ns/{}", ns.link())).map_err(errno_of)
}

/// The inode of an open file.
///
/// # Errors
/// As fstat(2).
pub fn inode_of(file: &File) -> Result<u64, Errno> {
    file.metadata().map(|m| m.ino()).map_err(errno_of)
}

fn related(file: &File, request: libc::Ioctl) -> Result<u64, Errno> {
    // SAFETY: both requests take no argument and give a new descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), request) })?;
    // SAFETY: the descriptor is new and nobody else's.
    inode_of(&unsafe { File::from_raw_fd(fd) })
}

/// The inode of the user namespace that owns a namespace.
///
/// # Errors
/// As ioctl(2) with NS_GET_USERNS.
pub fn owner_of(file: &File) -> Result<u64, Errno> {
    related(file, libc::NS_GET_USERNS)
}

/// The inode of a namespace's parent.
///
/// # Errors
/// As ioctl(2) with NS_GET_PARENT.
pub fn parent_of(file: &File) -> Result<u64, Errno> {
    related(file, libc::NS_GET_PARENT)
}

/// The user who made a user namespace.
///
/// # Errors
/// As ioctl(2) with NS_GET_OWNER_UID.
pub fn maker_of(file: &File) -> Result<u32, Errno> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the number lives through the call.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) })?;
    Ok(uid)
}

/// setns(2): moves the caller into an open namespace of any type.
///
/// # Errors
/// As setns(2).
pub fn enter(file: &File) -> Result<(), Errno> {
    nix::sched::setns(file, nix::sched::CloneFlags::empty())
}
