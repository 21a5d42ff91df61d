//! Requests by netlink whose answer is one message.

use crate::spec::prelude::*;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Flags of a request, from linux/netlink.h.
const REQUEST: u16 = 1;
/// It is answered, with an error or with none.
const ACK: u16 = 4;
/// The type of such an answer.
const ERROR: u16 = 2;

/// The length of struct nlmsghdr.
pub const HEADER: usize = 16;

/// A message that the kernel sent: its type, and all of it with the header.
pub type Message = (u16, Vec<u8>);

/// An attribute of a message.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// A socket for requests about links, addresses and network namespaces.
///
/// # Errors
/// As socket(2).
pub fn open() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
}

/// Receives a message.
///
/// # Errors
/// As recv(2). EBADMSG: it is too short.
pub fn receive(socket: &OwnedFd, flags: MsgFlags) -> Result<Message, Errno> {
    let mut message = vec![0u8; 4096];
    let length = recv(socket.as_raw_fd(), &mut message, flags)?;
    if length < HEADER {
        return Err(Errno::EBADMSG);
    }
    message.truncate(length);
    Ok((u16::from_ne_bytes([message[4], message[5]]), message))
}

/// The number at a place of a message.
pub fn number(message: &[u8], at: usize) -> Option<i32> {
    message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes)
}

/// Sends a request of this type, with a socket of its own, and receives the answer.
///
/// # Errors
/// The one that the answer has, or as netlink says. EBADMSG: the answer is damaged.
pub fn ask(kind: u16, flags: u16, body: &[u8]) -> Result<Message, Errno> {
    let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend((REQUEST | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    let socket = open()?;
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    match receive(&socket, MsgFlags::empty())? {
        (ERROR, message) => match number(&message, HEADER) {
            Some(0) => Ok((ERROR, message)),
            Some(error) => Err(Errno::from_raw(-error)),
            None => Err(Errno::EBADMSG),
        },
        other => Ok(other),
    }
}

/// Sends a request that is answered by an error, or by none.
///
/// # Errors
/// As [`ask`]. EBADMSG: the answer is something else.
pub fn tell(kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
    match ask(kind, flags | ACK, body)? {
        (ERROR, _) => Ok(()),
        _ => Err(Errno::EBADMSG),
    }
}
