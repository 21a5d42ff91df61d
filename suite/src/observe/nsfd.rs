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

/// Opens a process, of which setns(2) takes the descriptor for those of its namespaces.
///
/// # Errors
/// As pidfd_open(2).
pub fn open_process(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is passed; what it gives is a descriptor that nobody else has.
    call!(pidfd_open, pid.as_raw(), 0).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) }).map_err(super::fds::errno)
}

/// setns(2): moves the caller into an open namespace of any type.
///
/// # Errors
/// As setns(2).
pub fn enter(file: &File) -> Result<(), Errno> {
    nix::sched::setns(file, nix::sched::CloneFlags::empty())
}

/// The ID of a namespace, as listns(2) takes it. It is never used again.
///
/// # Errors
/// As ioctl(2) with NS_GET_ID.
pub fn id_of(file: &File) -> Result<u64, Errno> {
    const NS_GET_ID: libc::c_ulong = 0x8008_b70d;
    let mut id = 0u64;
    // SAFETY: the number lives through the call.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_ID, &raw mut id) })?;
    Ok(id)
}

/// listns(2), which the C library does not have (Linux 6.19).
const LISTNS: libc::c_long = 470;

/// Skips a case where listns(2) does not exist.
#[track_caller]
pub fn listns_exists(t: &Test) -> Done {
    if super::kernel::lacks_call(LISTNS) {
        return Err(t.skip("this kernel has no listns(2) (Linux 6.19)"));
    }
    Ok(())
}

/// struct ns_id_req of linux/nsfs.h.
#[repr(C)]
#[derive(Default)]
struct NamespaceQuery {
    size: u32,
    reserved: u32,
    after: u64,
    kind: u32,
    reserved_too: u32,
    owner: u64,
}

/// The first active namespaces, at most `count`, of one kind that a user namespace owns (0: any), with IDs beyond
/// `after`.
///
/// # Errors
/// As listns(2), but that there is none is no error.
pub fn list_some((kind, owner, count, after): (u64, u64, usize, u64)) -> Result<Vec<u64>, Errno> {
    let size = size_of::<NamespaceQuery>() as u32;
    let query = NamespaceQuery { size, kind: kind as u32, owner, after, ..NamespaceQuery::default() };
    let mut ids = vec![0u64; count];
    // SAFETY: both structures live through the call and have the sizes given.
    let found = unsafe { libc::syscall(LISTNS, &raw const query, ids.as_mut_ptr(), ids.len(), 0) };
    match Errno::result(found) {
        Ok(found) => {
            ids.truncate(found as usize);
            Ok(ids)
        }
        Err(Errno::ENOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

/// All active namespaces of one kind that a user namespace owns (0: any), by calls that give at most `count`.
///
/// # Errors
/// As listns(2). E2BIG where the list does not end.
pub fn list_namespaces((kind, owner, count): (u64, u64, usize)) -> Result<Vec<u64>, Errno> {
    /// More than there are.
    const MOST: usize = 100_000;
    let mut all = Vec::new();
    while all.len() < MOST {
        let some = list_some((kind, owner, count, all.last().copied().unwrap_or(0)))?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
    Err(Errno::E2BIG)
}
