//! /proc/net below its first level, whose directories the cache of names keeps by path (section 3.9 of the behaviour
//! catalogue).

use std::net::{Ipv6Addr, UdpSocket};

use super::net::{datagrams, raise_loopback};
use crate::prelude::*;

const SOURCE: &str = "proc(5), /proc/PID/net; kernel, fs/proc/generic.c (Linux 5.11)";
const NEEDS: Needs = Needs::ROOT.with(feature::NET_NS);

/// IPv6 packets that came by the loopback device, as the caller's network namespace counts them.
fn received((): ()) -> Result<u64, Errno> {
    let text = fs::read_to_string("/proc/thread-self/net/dev_snmp6/lo").map_err(errno_of)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Ip6InReceives"));
    line.and_then(|number| number.trim().parse().ok()).ok_or(Errno::EBADMSG)
}

/// Has a packet go over the loopback device.
fn send() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    socket.send_to(b"x", socket.local_addr()?).map(drop)
}

case!(Case {
    name: "separation.net.proc_below",
    about: "Counters of a device in a directory of /proc/PID/net that was read before the call are those of the new \
            namespace after it; a task in the old one reads its own.",
    proves: &["EFF-NET-09"],
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        let socket = t.setup(Call::new("socket(AF_UNIX)", datagrams(AddressFamily::Unix)))?;
        t.setup(Call::new("ioctl(SIOCSIFFLAGS, lo, IFF_UP)", raise_loopback(socket.as_raw_fd())))?;
        if let Err(error) = send() {
            return Err(t.skip(format!("no IPv6 packet can be sent over the loopback device here: {error}")));
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let text = "Ip6InReceives in /proc/thread-self/net/dev_snmp6/lo, as read";
        let before = Side::Caller.must(t, text, (), received)?;
        if before == 0 {
            return Err(t.broken(text, "0 after a packet was sent"));
        }
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        t.check(Side::Caller.ask(t, text, (), received)?).is(0)?;
        t.check(Side::Peer(&peer).ask(t, text, (), received)?)
            .holds(&format!("{before} or more"), |now| *now >= before)
            .map(drop)
    })
});
