//! Devices that join a new network namespace to another (section 3.19 of the behaviour catalogue).

use std::net::{Ipv4Addr, UdpSocket};

use super::net::{datagrams, devices};
use crate::place::veth;
use crate::prelude::*;

/// Gives a device this address in 10.0.0.0/8, and takes it up.
fn raise((name, last): (String, u8)) -> Result<(), Errno> {
    let socket = datagrams(AddressFamily::Inet)?;
    // SAFETY: zeroes are a valid ifreq, whose address a sockaddr_in is; it lives through the calls.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_addr.s_addr = u32::from_ne_bytes([10, 0, 0, last]);
        request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address);
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR as _, &raw const request))?;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)).map(drop)
    }
}

const PORT: u16 = 4242;

/// Sends a datagram to an address of 10.0.0.0/8.
fn send_to(last: u8) -> Result<(), Errno> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(errno_of)?;
    socket.send_to(b"x", (Ipv4Addr::new(10, 0, 0, last), PORT)).map(drop).map_err(errno_of)
}

case!(Case {
    name: "separation.net.pair",
    about: "A pair of veth devices joins the new namespace to the old and carries a packet. When the namespace ends, both \
            ends are gone.",
    proves: &["EFF-LIFE-04"],
    source: "network_namespaces(7); veth(4)",
    needs: Needs::ROOT.with(feature::NET_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        const HERE: u8 = 1;
        const THERE: u8 = 2;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let listener = t.setup(Call::io("bind()", UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))))?;
        t.setup(Call::io("fcntl(O_NONBLOCK)", listener.set_nonblocking(true)))?;
        let listed = |name: &str, side: Side| {
            side.ask(t, &format!("whether there is a device {name}"), name.to_owned(), |name| {
                Ok(devices(())?.contains(&name))
            })
        };
        let caller = |t: &Test| -> Done {
            t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
            let joined = Call::new(
                "adding a veth pair by netlink",
                veth::join(("inner".into(), "outer".into(), peer.pid().as_raw())),
            );
            if joined.result() == Err(Failure::Errno(Errno::EOPNOTSUPP)) {
                return Err(t.skip("this kernel has no veth, or only as a module: run modprobe veth"));
            }
            t.check(joined).succeeds()?;
            for (name, here, there) in [("inner", true, false), ("outer", false, true)] {
                t.check(listed(name, Side::Caller)?).is(here)?;
                t.check(listed(name, Side::Peer(&peer))?).is(there)?;
            }
            Side::Caller.must(t, "ioctl(SIOCSIFADDR) of the inner end", ("inner".to_owned(), HERE), raise)?;
            Side::Peer(&peer).must(t, "ioctl(SIOCSIFADDR) of the outer end", ("outer".to_owned(), THERE), raise)?;
            t.setup(Call::new("sendto(the outer end)", send_to(THERE)))?;
            let mut sender = None;
            t.wait_until(Duration::from_secs(5), || {
                sender = listener.recv_from(&mut [0; 8]).ok().map(|(_, address)| address.ip().to_string());
                sender.is_some()
            });
            t.check(Call::seen("who sent the packet that came out there", sender)).is(Some(format!("10.0.0.{HERE}")))
        };
        t.spawn("caller", caller)?.join(t)?;
        // A worker of the kernel takes it down.
        t.wait_until(Duration::from_secs(10), || {
            listed("outer", Side::Peer(&peer)).is_ok_and(|call| call.result() == Ok(&false))
        });
        t.check(listed("outer", Side::Peer(&peer))?).is(false)
    })
});
