//! Pairs of virtual network devices, by netlink: the least that joins two network namespaces.

use super::netlink::{attribute, tell};
use crate::spec::prelude::*;

/// Numbers from linux/netlink.h, rtnetlink.h, if_link.h and veth.h.
const NEW_LINK: u16 = 16;
const CREATE_NEW: u16 = 0x400 | 0x200;
const NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const NAMESPACE_OF_PID: u16 = 19;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const PEER: u16 = 1;

/// The length of struct ifinfomsg.
const DEVICE: [u8; 16] = [0; 16];

/// Makes a pair of devices: `here` in the caller's network namespace, `there` in that of another task.
///
/// # Errors
/// EOPNOTSUPP: the kernel has no veth, or only as a module that is not loaded. Or as netlink says.
pub fn join((here, there, pid): (String, String, i32)) -> Result<(), Errno> {
    let name = |name: &str| attribute(NAME, &[name.as_bytes(), &[0]].concat());
    let peer = [&DEVICE[..], &name(&there), &attribute(NAMESPACE_OF_PID, &pid.to_ne_bytes())].concat();
    let info = [attribute(INFO_KIND, b"veth"), attribute(INFO_DATA, &attribute(PEER, &peer))].concat();
    let body = [&DEVICE[..], &name(&here), &attribute(LINK_INFO, &info)].concat();
    tell(NEW_LINK, CREATE_NEW, &body)
}
