//! Network namespaces (section 3.9 of the behaviour catalogue), seen from one that clone(2) made for the case.

use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, UdpSocket};

use nix::sys::socket::{self, MsgFlags, UnixAddr};

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWNET; network_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::NET_NS);

/// Devices that some drivers put into every network namespace, always down.
const FALLBACK_DEVICES: [&str; 9] =
    ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"];

/// A kind of address of unix(7).
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Address {
    /// A name in the abstract namespace.
    Abstract(String),
    /// A path.
    Path(String),
}

/// A new socket for datagrams.
pub(super) fn datagrams(family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket::socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

impl Address {
    /// A new socket, and the address as bind(2) and sendto(2) take it.
    fn open(&self) -> Result<(OwnedFd, UnixAddr), Errno> {
        let address = match self {
            Address::Abstract(name) => UnixAddr::new_abstract(name.as_bytes()),
            Address::Path(path) => UnixAddr::new(path.as_str()),
        };
        Ok((datagrams(AddressFamily::Unix)?, address?))
    }
}

/// Binds a new socket and leaves it open. Gives its descriptor.
fn bind(address: Address) -> Result<i32, Errno> {
    let (socket, address) = address.open()?;
    socket::bind(socket.as_raw_fd(), &address)?;
    Ok(socket.into_raw_fd())
}

/// The same for UDP, at any address and this port; 0 has the kernel choose.
fn bind_port(port: u16) -> Result<i32, Errno> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map(IntoRawFd::into_raw_fd).map_err(errno_of)
}

/// The port that a socket was bound to.
fn port_of(fd: i32) -> Result<u16, Errno> {
    // SAFETY: the descriptor is open, and not closed here.
    let socket = ManuallyDrop::new(unsafe { UdpSocket::from_raw_fd(fd) });
    socket.local_addr().map(|address| address.port()).map_err(errno_of)
}

/// Sends a datagram of one byte.
fn send_to(address: Address) -> Result<(), Errno> {
    let (socket, address) = address.open()?;
    socket::sendto(socket.as_raw_fd(), b"x", &address, MsgFlags::empty()).map(drop)
}

fn receive(fd: i32) -> Result<usize, Errno> {
    socket::recv(fd, &mut [0; 8], MsgFlags::MSG_DONTWAIT)
}

/// Whether the loopback device is up, as a socket's own network namespace has it.
fn loopback_is_up(fd: i32) -> Result<bool, Errno> {
    flags_of((fd, "lo".to_owned())).map(|flags| flags & libc::IFF_UP != 0)
}

fn request_for(name: &str) -> libc::ifreq {
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// A device's flags (SIOCGIFFLAGS) by any socket.
fn flags_of((fd, name): (i32, String)) -> Result<i32, Errno> {
    let mut request = request_for(&name);
    // SAFETY: the request lives through the call, which fills in the flags.
    unsafe {
        Errno::result(libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &raw mut request))?;
        Ok(i32::from(request.ifr_ifru.ifru_flags))
    }
}

pub(super) fn raise_loopback(fd: i32) -> Result<(), Errno> {
    let mut request = request_for("lo");
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request lives through the call.
    Errno::result(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw const request) }).map(drop)
}

/// The names of the devices of the caller's network namespace.
pub(super) fn devices((): ()) -> Result<Vec<String>, Errno> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").map_err(errno_of)?;
    Ok(text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}

fn unix_socket((): ()) -> Result<i32, Errno> {
    datagrams(AddressFamily::Unix).map(IntoRawFd::into_raw_fd)
}

case!(Case {
    name: "separation.net.devices",
    about: "The new namespace has a loopback device that is down, and only drivers' fallback devices beside it; the \
            old one keeps its devices, with loopback up.",
    proves: &["EFF-NET-01", "EFF-NET-02"],
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        const ID: &str = "EFF-NET-01";
        let old = t.setup(Call::new("socket(AF_UNIX)", unix_socket(())))?;
        t.setup(Call::new("ioctl(SIOCSIFFLAGS, lo, IFF_UP)", raise_loopback(old)))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let before = other.must(t, "devices", (), devices)?;
        t.unshare(Flags::NEWNET).beside(&[&peer]).proving(ID).as_predicted()?;
        let found = t.check(Call::new("devices of /proc/thread-self/net/dev", devices(()))).proves(ID).holds(
            "lo, and fallback devices",
            |names| {
                names.iter().any(|name| name == "lo")
                    && names.iter().all(|name| name == "lo" || FALLBACK_DEVICES.contains(&name.as_str()))
            },
        )?;
        t.check(other.ask(t, "devices of /proc/thread-self/net/dev", (), devices)?).proves(ID).is(before)?;
        let new = t.setup(Call::new("socket(AF_UNIX)", unix_socket(())))?;
        for name in found {
            let text = format!("IFF_UP of {name} (ioctl SIOCGIFFLAGS)");
            let up = Call::new(text, flags_of((new, name))).map(|flags| flags & libc::IFF_UP != 0);
            t.check(up).proves(ID).is(false)?;
        }
        // A socket belongs to the namespace it was made in.
        let text = "whether lo is up, by a socket made before the call,";
        for side in [caller, other] {
            t.check(side.ask(t, text, old, loopback_is_up)?).proves("EFF-NET-02").is(true)?;
        }
        t.check(Call::new("ioctl(SIOCSIFFLAGS, lo, IFF_UP) in the new namespace", raise_loopback(new)))
            .proves(ID)
            .succeeds()?;
        t.check(Call::new("whether lo is up, by a new socket", loopback_is_up(new))).proves(ID).is(true)
    })
});

case!(Case {
    name: "separation.net.old_socket",
    about: "A socket bound before the call receives from the old namespace; a socket made after it does not reach it.",
    proves: &["EFF-NET-02"],
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        let name = || Address::Abstract("before".to_owned());
        let socket = t.setup(Call::new("bind(abstract name)", bind(name())))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        for side in [caller, other] {
            side.must(t, "sendto()", name(), send_to)?;
            t.check(caller.ask(t, "recv()", socket, receive)?).is(1)?;
        }
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        t.check(other.ask(t, "sendto(the caller's old socket)", name(), send_to)?).succeeds()?;
        t.check(caller.ask(t, "recv(old socket)", socket, receive)?).is(1)?;
        t.check(caller.ask(t, "sendto(the caller's old socket) by a new one", name(), send_to)?)
            .fails_with(Errno::ECONNREFUSED)
    })
});

case!(Case {
    name: "separation.net.unix_names",
    about: "Abstract names of unix(7) belong to the network namespace: one bound by a task is taken for both before \
            the call; after it, it is neither taken nor reachable on the other side. Socket paths stay reachable from \
            both.",
    proves: &["EFF-NET-03"],
    source: "network_namespaces(7); unix(7)",
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        let name = |name: &str| Address::Abstract(name.to_owned());
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        for (acting, watching, which) in [(caller, other, "a"), (other, caller, "b")] {
            acting.must(t, "bind()", name(which), bind)?;
            t.check(watching.ask(t, "bind(abstract name in use)", name(which), bind)?).fails_with(Errno::EADDRINUSE)?;
            t.check(watching.ask(t, "sendto(abstract name)", name(which), send_to)?).succeeds()?;
        }
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        for (acting, watching, which) in [(caller, other, "c"), (other, caller, "d")] {
            t.check(acting.ask(t, "bind(abstract name)", name(which), bind)?).succeeds()?;
            t.check(watching.ask(t, "sendto(abstract name of the other)", name(which), send_to)?)
                .fails_with(Errno::ECONNREFUSED)?;
            t.check(watching.ask(t, "bind(abstract name of the other)", name(which), bind)?).succeeds()?;
            let path = t.directory()?.join(which).to_string_lossy().into_owned();
            let at = || Address::Path(path.clone());
            t.check(acting.ask(t, "bind(path)", at(), bind)?).succeeds()?;
            t.check(watching.ask(t, "sendto(path)", at(), send_to)?).succeeds()?;
        }
        Ok(())
    })
});

case!(Case {
    name: "separation.net.ports",
    about: "A UDP port in use by one task cannot be bound by the other before the call, and can after it.",
    proves: &["EFF-NET-03"],
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        if datagrams(AddressFamily::Inet).err() == Some(Errno::EAFNOSUPPORT) {
            return Err(t.skip("this kernel has no IPv4: CONFIG_INET"));
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let mut ports = Vec::new();
        for (acting, watching) in [(caller, other), (other, caller)] {
            let socket = acting.must(t, "bind(port 0)", 0, bind_port)?;
            let port = acting.must(t, "getsockname()", socket, port_of)?;
            t.check(watching.ask(t, "bind(port in use)", port, bind_port)?).fails_with(Errno::EADDRINUSE)?;
            ports.push((port, acting, watching));
        }
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        for (port, acting, watching) in ports {
            // The socket that was bound stays in the old namespace, whoever made it.
            let in_old = watching.ask(t, "bind(port in use in the old namespace)", port, bind_port)?;
            match watching {
                Side::Caller => t.check(in_old).succeeds().map(drop)?,
                Side::Peer(_) => t.check(in_old).fails_with(Errno::EADDRINUSE)?,
            }
            if let Side::Caller = acting {
                t.check(acting.ask(t, "bind(port of its own old socket)", port, bind_port)?).succeeds()?;
            }
        }
        Ok(())
    })
});
