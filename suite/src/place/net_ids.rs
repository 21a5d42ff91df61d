//! The IDs that a network namespace has for others, by netlink.

use super::netlink::{HEADER, ask, attribute, number, open, receive, tell};
use crate::spec::prelude::*;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind};

/// Numbers from linux/netlink.h, rtnetlink.h and net_namespace.h.
const NEW_ID: u16 = 88;
const DELETED_ID: u16 = 89;
const GET_ID: u16 = 90;
const ID: u16 = 1;
const PID: u16 = 2;
/// The group that hears of IDs, as a set.
const GROUPS: u32 = 1 << 27;

/// The length of struct rtgenmsg, with padding.
const GENERAL: [u8; 4] = [0; 4];

/// The ID that a message is about.
fn id_in(message: &[u8]) -> Option<i32> {
    let mut at = HEADER + GENERAL.len();
    while let Some([low, high, kind_low, kind_high]) = message.get(at..at + 4) {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        if u16::from_ne_bytes([*kind_low, *kind_high]) == ID {
            return number(message, at + 4);
        }
        at += length.max(4).next_multiple_of(4);
    }
    None
}

/// Gives the network namespace of a task an ID in that of the caller.
///
/// # Errors
/// As netlink says. EEXIST: the ID or the namespace has been given already.
pub fn give((pid, id): (i32, i32)) -> Result<(), Errno> {
    let attributes = [attribute(PID, &pid.to_ne_bytes()), attribute(ID, &id.to_ne_bytes())].concat();
    tell(NEW_ID, 0, &[&GENERAL[..], &attributes].concat())
}

/// The ID that the network namespace of a task has in that of the caller; -1 if none.
///
/// # Errors
/// As netlink says.
pub fn id_of(pid: i32) -> Result<i32, Errno> {
    let (_, message) = ask(GET_ID, 0, &[&GENERAL[..], &attribute(PID, &pid.to_ne_bytes())].concat())?;
    id_in(&message).ok_or(Errno::EBADMSG)
}

/// Hears of the IDs that go in the caller's network namespace.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens from now on.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> Result<Listener, Errno> {
        let socket = open()?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Listener(socket))
    }

    /// The IDs that have gone since this was last asked.
    pub fn gone(&self) -> Vec<i32> {
        std::iter::from_fn(|| receive(&self.0, MsgFlags::MSG_DONTWAIT).ok())
            .filter(|(kind, _)| *kind == DELETED_ID)
            .filter_map(|(_, message)| id_in(&message))
            .collect()
    }
}
