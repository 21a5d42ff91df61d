//! The IDs that a network namespace has for others, by netlink.

use super::veth::{ERROR, HEADER, attribute, request};
use crate::spec::prelude::*;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Numbers from linux/netlink.h, rtnetlink.h and net_namespace.h.
const NEW_ID: u16 = 88;
const DELETED_ID: u16 = 89;
const GET_ID: u16 = 90;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const ID: u16 = 1;
const PID: u16 = 2;
/// The group that hears of IDs, as a set.
const GROUPS: u32 = 1 << 27;

/// The length of struct rtgenmsg, with padding.
const GENERAL: [u8; 4] = [0; 4];

/// A message that the kernel sent.
type Message = (u16, Vec<u8>);

fn open() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
}

fn receive(socket: &OwnedFd, flags: MsgFlags) -> Result<Message, Errno> {
    let mut message = vec![0u8; 4096];
    let length = recv(socket.as_raw_fd(), &mut message, flags)?;
    if length < HEADER {
        return Err(Errno::EBADMSG);
    }
    message.truncate(length);
    Ok((u16::from_ne_bytes([message[4], message[5]]), message))
}

fn number(message: &[u8], at: usize) -> Option<i32> {
    message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes)
}

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

fn ask(kind: u16, attributes: &[Vec<u8>]) -> Result<Message, Errno> {
    let socket = open()?;
    let body = [&GENERAL[..], &attributes.concat()].concat();
    let flags = if kind == NEW_ID { REQUEST | ACK } else { REQUEST };
    send(socket.as_raw_fd(), &request(kind, flags, &body), MsgFlags::empty())?;
    match receive(&socket, MsgFlags::empty())? {
        (ERROR, message) => match number(&message, HEADER) {
            Some(0) => Ok((ERROR, message)),
            Some(error) => Err(Errno::from_raw(-error)),
            None => Err(Errno::EBADMSG),
        },
        other => Ok(other),
    }
}

/// Gives the network namespace of a task an ID in that of the caller.
///
/// # Errors
/// As netlink says. EEXIST: the ID or the namespace has been given already.
pub fn give((pid, id): (i32, i32)) -> Result<(), Errno> {
    ask(NEW_ID, &[attribute(PID, &pid.to_ne_bytes()), attribute(ID, &id.to_ne_bytes())]).map(drop)
}

/// The ID that the network namespace of a task has in that of the caller; -1 if none.
///
/// # Errors
/// As netlink says.
pub fn id_of(pid: i32) -> Result<i32, Errno> {
    let (_, message) = ask(GET_ID, &[attribute(PID, &pid.to_ne_bytes())])?;
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
