//! Becoming less.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::spec::prelude::*;

pub use crate::feature::NOBODY;

/// CAP_SYS_ADMIN's bit.
pub const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Sets the caller's effective and permitted capabilities; inheritable ones are cleared.
pub fn set_capabilities(effective: u64, permitted: u64) -> Call<()> {
    set_all_capabilities(effective, permitted, 0)
}

/// Sets the caller's effective, permitted and inheritable capabilities.
pub fn set_all_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Call<()> {
    let [effective, permitted, inheritable] = [effective, permitted, inheritable].map(CapabilitySet::from_bits_retain);
    let text = format!("capset(effective {effective:#x}, permitted {permitted:#x}, inheritable {inheritable:#x})");
    let set = rustix::thread::set_capabilities(None, CapabilitySets { effective, permitted, inheritable });
    Call::io(text, set.map_err(io::Error::from))
}

/// Becomes a task without any capability: user 65534 where the caller may change its user, else
/// the same user with all capabilities given up. To unshare(2) both are the same (PRIV-03).
#[track_caller]
pub fn become_unprivileged(t: &Test) -> Done {
    if t.facts().has(feature::SECOND_USER) {
        become_user(t, NOBODY)?;
    }
    t.setup(set_capabilities(0, 0))
}

#[track_caller]
fn become_user(t: &Test, id: u32) -> Done {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    t.setup(Call::new("setgroups([])", setgroups(&[])))?;
    t.setup(Call::new(format!("setresgid({gid})"), setresgid(gid, gid, gid)))?;
    t.setup(Call::new(format!("setresuid({uid})"), setresuid(uid, uid, uid)))?;
    // The change made /proc/self root's, and kcmp(2) on this task refuse.
    t.setup(Call::new("prctl(PR_SET_DUMPABLE, 1)", nix::sys::prctl::set_dumpable(true)))
}

/// Becomes a user that no other process is, so that only the calling task and its children are
/// counted by user, with these capabilities. It takes the initial user namespace, which has all IDs.
#[track_caller]
pub fn become_somebody_else(t: &Test, capabilities: u64) -> Done {
    // Process IDs end far below, and the IDs that systems give to users and containers as well.
    let id = 0x7000_0000 + getpid().as_raw() as u32;
    t.setup(Call::new("prctl(PR_SET_KEEPCAPS)", nix::sys::prctl::set_keepcaps(true)))?;
    become_user(t, id)?;
    t.setup(Call::new("prctl(PR_SET_KEEPCAPS)", nix::sys::prctl::set_keepcaps(false)))?;
    t.setup(set_capabilities(capabilities, capabilities))
}

/// A set of all capabilities this kernel knows.
#[track_caller]
pub fn all_capabilities(t: &Test) -> Done<u64> {
    let path = "/proc/sys/kernel/cap_last_cap";
    let text = fs::read_to_string(path);
    let text = t.setup(Call::io(format!("read({path})"), text))?;
    let last: Result<u32, Errno> = text.trim().parse().map_err(|_| Errno::EINVAL);
    let last = t.setup(Call::new("number of capabilities", last))?;
    Ok(u64::MAX >> (63 - last))
}
