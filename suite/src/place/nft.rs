//! Tables of nftables, by netlink: the least that tells whether a packet filter is empty.

use crate::spec::prelude::*;
use harness::place::config::Config;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Numbers from linux/netfilter/nfnetlink.h and nf_tables.h.
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = NFTABLES << 8;
const GET_TABLE: u16 = NFTABLES << 8 | 1;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const TABLE_NAME: u16 = 1;
const NFPROTO_IPV4: u8 = 2;

const HEADER: usize = 16;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Whether nftables is there without a module being loaded for it, which would stay.
pub fn is_there() -> bool {
    let built_in =
        || Config::read().and_then(|config| config.options.get("NF_TABLES").cloned()).is_some_and(|value| value == "y");
    Path::new("/sys/module/nf_tables").exists() || built_in()
}

/// A message: header, the family, and attributes.
fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER + 4 + attributes.len()) as u32;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(attributes);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// Sends a request and gives the bytes of each message that comes back until `enough`.
fn ask(request: &[u8], mut take: impl FnMut(u16, &[u8]) -> Result<bool, Errno>) -> Result<(), Errno> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    loop {
        let mut buffer = [0u8; 8192];
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < HEADER || length > rest.len() {
                return Err(Errno::EBADMSG);
            }
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            if take(kind, &rest[HEADER..length])? {
                return Ok(());
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

/// The errno of an error message; success is one, too.
fn refusal(body: &[u8]) -> Result<(), Errno> {
    let bytes = body.get(..4).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(bytes) {
        0 => Ok(()),
        error => Err(Errno::from_raw(-error)),
    }
}

/// Adds a table for IPv4 to the caller's network namespace.
///
/// # Errors
/// nftables is missing or refuses.
pub fn add_table(name: String) -> Result<(), Errno> {
    let mut attribute = Vec::new();
    attribute.extend((4 + name.len() as u16 + 1).to_ne_bytes());
    attribute.extend(TABLE_NAME.to_ne_bytes());
    attribute.extend(name.bytes().chain([0]));
    let batch = [
        message(BATCH_BEGIN, 0, 0, NFTABLES, &[]),
        message(NEW_TABLE, ACK | CREATE, NFPROTO_IPV4, 0, &attribute),
        message(BATCH_END, 0, 0, NFTABLES, &[]),
    ]
    .concat();
    ask(&batch, |kind, body| match kind {
        ERROR => refusal(body).map(|()| true),
        _ => Ok(false),
    })
}

/// The names of the tables for IPv4 of the caller's network namespace.
///
/// # Errors
/// As [`add_table`].
pub fn tables((): ()) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    ask(&message(GET_TABLE, DUMP, NFPROTO_IPV4, 0, &[]), |kind, body| {
        match kind {
            DONE => return Ok(true),
            ERROR => return refusal(body).map(|()| true),
            _ => {}
        }
        // Attributes follow the family.
        let mut rest = body.get(4..).unwrap_or_default();
        while rest.len() >= 4 {
            let length = u16::from_ne_bytes([rest[0], rest[1]]) as usize;
            let kind = u16::from_ne_bytes([rest[2], rest[3]]);
            if length < 4 || length > rest.len() {
                break;
            }
            if kind == TABLE_NAME {
                let name = String::from_utf8_lossy(&rest[4..length]);
                names.push(name.trim_end_matches('\0').to_owned());
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(false)
    })?;
    names.sort();
    Ok(names)
}
