//! What is in a new network namespace and whose it is (section 3.9 of the behaviour catalogue), seen from one that
//! clone(2) made for the case.

use super::mnt::mount_new;
use super::net;
use super::user::{own_user_namespace, owner_of_own};
use crate::place::nft;
use crate::prelude::*;

const SOURCE: &str = "network_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::NET_NS);

/// A datagram socket of IPv4, as a number.
fn socket((): ()) -> Result<i32, Errno> {
    net::datagrams(AddressFamily::Inet).map(IntoRawFd::into_raw_fd)
}

/// Takes the loopback device up, which gives it its addresses.
fn raise_loopback((): ()) -> Result<(), Errno> {
    net::raise_loopback(net::datagrams(AddressFamily::Inet)?.as_raw_fd())
}

/// Adds a route to 10.0.0.0/8 by the loopback device.
fn add_route((): ()) -> Result<(), Errno> {
    let address = |bytes: [u8; 4]| {
        // SAFETY: a sockaddr_in has the size of a sockaddr; zeroes are valid.
        unsafe {
            let mut address: libc::sockaddr_in = std::mem::zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_addr.s_addr = u32::from_ne_bytes(bytes);
            std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address)
        }
    };
    // SAFETY: zeroes are a valid rtentry; the structures live through the call; the socket is new.
    unsafe {
        let socket = OwnedFd::from_raw_fd(socket(())?);
        let mut route: libc::rtentry = std::mem::zeroed();
        route.rt_dst = address([10, 0, 0, 0]);
        route.rt_genmask = address([255, 0, 0, 0]);
        route.rt_flags = libc::RTF_UP;
        route.rt_dev = c"lo".as_ptr().cast_mut();
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw const route)).map(drop)
    }
}

/// What a file of /proc/net lists, without its heading.
fn lines_of((file, heading): (String, usize)) -> Result<Vec<String>, Errno> {
    match fs::read_to_string(format!("/proc/thread-self/net/{file}")) {
        Ok(text) => Ok(text.lines().skip(heading).map(str::to_owned).collect()),
        // IPv6 may be left out.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(errno_of(error)),
    }
}

/// The IPv4 addresses of the caller's network namespace (SIOCGIFCONF): how many.
fn addresses((): ()) -> Result<usize, Errno> {
    // SAFETY: zeroes are valid; list and buffer live through the call; the socket is new.
    unsafe {
        let socket = OwnedFd::from_raw_fd(socket(())?);
        let mut entries: [libc::ifreq; 16] = std::mem::zeroed();
        let mut list: libc::ifconf = std::mem::zeroed();
        list.ifc_len = size_of_val(&entries) as i32;
        list.ifc_ifcu.ifcu_req = entries.as_mut_ptr();
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF as _, &raw mut list))?;
        Ok(list.ifc_len as usize / size_of::<libc::ifreq>())
    }
}

case!(Case {
    name: "separation.net.empty",
    about: "The new namespace has no routes and no addresses, though the old one has; /proc/net shows each its own.",
    proves: &["EFF-NET-04"],
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        t.setup(Call::new("ioctl(SIOCSIFFLAGS, lo, IFF_UP)", raise_loopback(())))?;
        t.setup(Call::new("ioctl(SIOCADDRT, 10.0.0.0/8)", add_route(())))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let list = |side: Side, file: &str, heading: usize| {
            side.ask(t, &format!("/proc/thread-self/net/{file}, read"), (file.to_owned(), heading), lines_of)
        };
        let count = |side: Side| side.ask(t, "number of IPv4 addresses (SIOCGIFCONF)", (), addresses);
        let (routes, addresses) = (t.setup(list(other, "route", 1)?)?, t.setup(count(other)?)?);
        if routes.is_empty() || addresses == 0 {
            return Err(t.broken("routes and addresses before the call", format!("{routes:?}, {addresses}")));
        }
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        all([
            t.check(list(caller, "route", 1)?).is(vec![]),
            t.check(list(caller, "if_inet6", 0)?).is(vec![]),
            t.check(count(caller)?).is(0),
            t.check(list(other, "route", 1)?).is(routes),
            t.check(count(other)?).is(addresses),
        ])?;
        // And in the other direction.
        caller.must(t, "ioctl(SIOCSIFFLAGS, lo, IFF_UP)", (), raise_loopback)?;
        other.must(t, "ioctl(SIOCADDRT) again is refused", (), |()| match add_route(()) {
            Err(Errno::EEXIST) => Ok(()),
            Ok(()) => Err(Errno::EPROTO),
            Err(errno) => Err(errno),
        })?;
        t.check(list(caller, "route", 1)?).is(vec![])?;
        t.check(caller.ask(t, "ioctl(SIOCADDRT) of the same route", (), add_route)?).succeeds()
    })
});

case!(Case {
    name: "separation.net.sysctl",
    about: "Network sysctls start with the kernel's default, not the old namespace's value; each side has its own.",
    proves: &["EFF-NET-04"],
    source: "network_namespaces(7); kernel, Documentation/networking/ip-sysctl.rst",
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        // A time to live, with a default that no setting of another namespace is copied to.
        const PATH: &str = "/proc/sys/net/ipv4/ip_default_ttl";
        sysctl::must_be_writable(t, PATH)?;
        let default = t.setup(sysctl::number(PATH))?;
        t.setup(Call::new("write(ip_default_ttl)", sysctl::write(PATH, "77")))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let read =
            |side: Side| side.ask(t, &format!("read({PATH})"), PATH.to_owned(), |path| sysctl::read_number(&path));
        t.check(read(caller)?).is(default)?;
        t.check(read(other)?).is(77)?;
        for (side, value) in [(caller, "88"), (other, "99")] {
            side.must(t, "write(ip_default_ttl)", value.to_owned(), |value| sysctl::write(PATH, &value))?;
        }
        t.check(read(caller)?).is(88)?;
        t.check(read(other)?).is(99)
    })
});

case!(Case {
    name: "separation.net.netfilter",
    about: "The new namespace's packet filter is empty: neither side sees nftables tables of the other.",
    proves: &["EFF-NET-04"],
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        if !nft::is_there() {
            return Err(t.skip(
                "nftables is neither built in nor loaded: run modprobe nf_tables, or boot a kernel \
                 with CONFIG_NF_TABLES=y",
            ));
        }
        t.setup(Call::new("adding a table", nft::add_table("old".to_owned())))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let look = |side: Side| side.ask(t, "tables of nftables, listed", (), nft::tables);
        t.check(look(other)?).is(vec!["old".to_owned()])?;
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        t.check(look(caller)?).is(vec![])?;
        t.check(look(other)?).is(vec!["old".to_owned()])?;
        caller.must(t, "adding a table", "new".to_owned(), nft::add_table)?;
        t.check(look(caller)?).is(vec!["new".to_owned()])?;
        t.check(look(other)?).is(vec!["old".to_owned()])
    })
});

case!(Case {
    name: "separation.net.owner",
    about: "A network namespace made with CLONE_NEWUSER belongs to the new user namespace, whose caller administers \
            it; sockets of the old one are out of its reach (EPERM).",
    proves: &["EFF-NET-05"],
    source: "user_namespaces(7), Interaction of user namespaces and other types of namespaces",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        let old = t.setup(Call::new("socket(AF_INET)", socket(())))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        t.check(owner_of_own(Ns::Net)).is(own_user_namespace(t)?)?;
        t.check(Call::new("ioctl(SIOCSIFFLAGS, lo, IFF_UP) in the new namespace", raise_loopback(()))).succeeds()?;
        t.check(Call::new("ioctl(SIOCSIFFLAGS, lo) by a socket of the old namespace", net::raise_loopback(old)))
            .fails_with(Errno::EPERM)
    })
});

/// The names that a sysfs shows, and whether it shows loopback as up.
fn devices_in(sysfs: &Path) -> Call<(Vec<String>, bool)> {
    let look = || {
        let entries = fs::read_dir(sysfs.join("class/net"))?;
        let mut names: Vec<_> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        let flags = fs::read_to_string(sysfs.join("class/net/lo/flags"))?;
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
        Ok((names, flags & libc::IFF_UP as u32 != 0))
    };
    Call::io("names in class/net, and whether lo is up there,", look())
}

/// The devices of the caller's network namespace, in order.
fn own_devices((): ()) -> Result<Vec<String>, Errno> {
    let mut names = net::devices(())?;
    names.sort();
    Ok(names)
}

case!(Case {
    name: "separation.net.sysfs",
    about: "A sysfs mounted after the call shows the new namespace's devices; one mounted before it the old one's.",
    proves: &["EFF-NET-05"],
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let (old, new) = (new_directory(t, "old")?, new_directory(t, "new")?);
        in_own_namespaces(t, Flags::NEWNS | Flags::NEWNET, |t| {
            t.setup(mount_new("sysfs", &old))?;
            // Loopback is all there is in both, up in the one and down in the other.
            t.setup(Call::new("ioctl(SIOCSIFFLAGS, lo, IFF_UP)", raise_loopback(())))?;
            let before = t.setup(devices_in(Path::new(&old)))?;
            let peer = Peer::start(t, "peer", Flags::NONE)?;
            t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
            t.check(mount_new("sysfs", &new).called("mount(sysfs) after the call")).succeeds()?;
            let own = t.setup(Call::new("devices of /proc/thread-self/net/dev", own_devices(())))?;
            for (path, when, expected) in [(&new, "after", (own, false)), (&old, "before", before)] {
                let text = format!("devices of the sysfs mounted {when} the call, and whether lo is up");
                t.check(devices_in(Path::new(path)).called(text)).is(expected)?;
            }
            Ok(())
        })
    }
});

case!(Case {
    name: "separation.net.physical_devices",
    about: "Physical devices stay in the old namespace: none of them is in the new one.",
    proves: &["EFF-NET-06"],
    run: |t| {
        let is_physical = |name: &String| Path::new(&format!("/sys/class/net/{name}/device")).exists();
        let all = t.setup(Call::new("devices of /proc/thread-self/net/dev", own_devices(())))?;
        let physical: Vec<_> = all.iter().filter(|name| is_physical(name)).cloned().collect();
        if physical.is_empty() {
            return Err(
                t.skip("no physical network device here: run outside containers, or give the guest a network card")
            );
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        let still = peer.call(t, "devices of the old namespace", (), own_devices)?;
        let all = still.map(|names| physical.iter().all(|name| names.contains(name)));
        t.check(all.called("whether all physical devices are in the old namespace")).is(true)?;
        let moved =
            own_devices(()).map(|names| names.into_iter().filter(|name| physical.contains(name)).collect::<Vec<_>>());
        t.check(Call::new("physical devices in the new namespace", moved)).is(vec![])
    }
});

/// The number that tells a socket's network namespace from all others (SO_NETNS_COOKIE).
fn cookie_of(socket: i32) -> Result<u64, Errno> {
    const SO_NETNS_COOKIE: c_int = 71;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: number and length live through the call.
    let got = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut length)
    };
    Errno::result(got).map(|_| cookie)
}

case!(Case {
    name: "separation.net.cookie",
    about: "SO_NETNS_COOKIE differs between sockets made before and after the call, and is the same within a \
            namespace.",
    proves: &["EFF-NET-07"],
    source: "kernel, net/core/sock.c (SO_NETNS_COOKIE, Linux 5.14)",
    run: |t| in_own_namespaces(t, Flags::NEWNET, |t| {
        let new_cookie = || Ok(cookie_of(t.setup(Call::new("socket(AF_INET)", socket(())))?));
        let old = t.setup(Call::new("socket(AF_INET)", socket(())))?;
        let before = match cookie_of(old) {
            Err(Errno::ENOPROTOOPT) => return Err(t.skip("SO_NETNS_COOKIE came with Linux 5.14")),
            before => t.setup(Call::new("getsockopt(SO_NETNS_COOKIE)", before))?,
        };
        let text = "SO_NETNS_COOKIE of another socket made before the call";
        t.check(Call::new(text, new_cookie()?)).is(before)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNET).beside(&[&peer]).as_predicted()?;
        t.check(Call::new("SO_NETNS_COOKIE of a socket made before the call", cookie_of(old))).is(before)?;
        let after = t
            .check(Call::new("SO_NETNS_COOKIE of a socket made after the call", new_cookie()?))
            .holds(&format!("neither 0 nor {before}"), |cookie| ![0, before].contains(cookie))?;
        t.check(Call::new("SO_NETNS_COOKIE of another such socket", new_cookie()?)).is(after)
    })
});
