//! Pairs of virtual network devices, by netlink: the least that joins two network namespaces.

use crate::spec::prelude::*;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Numbers from linux/netlink.h, rtnetlink.h, if_link.h and veth.h.
const NEW_LINK: u16 = 16;
const REQUEST_ACK_CREATE: u16 = 1 | 4 | 0x400 | 0x200;
pub(super) const ERROR: u16 = 2;
const NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const NAMESPACE_OF_PID: u16 = 19;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const PEER: u16 = 1;

/// The lengths of struct nlmsghdr and struct ifinfomsg.
pub(super) const HEADER: usize = 16;
const DEVICE: [u8; 16] = [0; 16];

/// An attribute of a netlink message.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// A netlink message of a type, with flags.
pub(super) fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    request
}

/// Makes a pair of devices: `here` in the caller's network namespace, `there` in that of another task.
///
/// # Errors
/// EOPNOTSUPP: the kernel has no veth, or only as a module that is not loaded. Or as netlink says.
pub fn join((here, there, pid): (String, String, i32)) -> Result<(), Errno> {
    let name = |name: &str| attribute(NAME, &[name.as_bytes(), &[0]].concat());
    let peer = [&DEVICE[..], &name(&there), &attribute(NAMESPACE_OF_PID, &pid.to_ne_bytes())].concat();
    let info = [attribute(INFO_KIND, b"veth"), attribute(INFO_DATA, &attribute(PEER, &peer))].concat();
    let body = [&DEVICE[..], &name(&here), &attribute(LINK_INFO, &info)].concat();
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    send(socket.as_raw_fd(), &request(NEW_LINK, REQUEST_ACK_CREATE, &body), MsgFlags::empty())?;
    let mut answer = [0u8; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let number = |at: usize| answer[..length].get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    match number(HEADER).map(i32::from_ne_bytes) {
        Some(0) if kind == ERROR => Ok(()),
        Some(error) if kind == ERROR => Err(Errno::from_raw(-error)),
        _ => Err(Errno::EBADMSG),
    }
}
