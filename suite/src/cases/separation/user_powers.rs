//! What capabilities in a new user namespace are good for, and who else has them (section 3.15 of the behaviour
//! catalogue).

use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7), Capabilities and Effect of capabilities within a user namespace";

/// Effective capabilities and securebits.
fn powers((): ()) -> Result<(u64, u32), Errno> {
    let status = fs::read_to_string("/proc/thread-self/status").map_err(errno_of)?;
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:")).ok_or(Errno::EPROTO)?;
    let effective = u64::from_str_radix(field.trim(), 16).map_err(|_| Errno::EPROTO)?;
    let securebits = call!(prctl, libc::PR_GET_SECUREBITS, 0, 0, 0, 0).map_err(fds::errno)?;
    Ok((effective, securebits as u32))
}

/// setns(2) with a descriptor of the table that the peers share.
fn enter_shared(fd: i32) -> Result<(), Errno> {
    // SAFETY: the descriptor is another's, and only used here.
    nix::sched::setns(unsafe { BorrowedFd::borrow_raw(fd) }, nix::sched::CloneFlags::empty())
}

/// Opens the link of a task's user namespace and leaves it open.
fn open_user_namespace(pid: i32) -> Result<i32, Errno> {
    open_link(pid, Ns::User).map(IntoRawFd::into_raw_fd)
}

case!(Case {
    name: "separation.user.who_has_power",
    about: "Root of the parent namespace and the maker's user there have power over the new namespace and those further \
            in: they may enter, with all capabilities and default securebits. Another user may not (EPERM).",
    proves: &["EFF-CRED-01"],
    source: "user_namespaces(7), Capabilities; setns(2), User namespaces",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT).with(feature::SECOND_USER),
    variants: || variants::named(&[("the_new_one", 1u32), ("one_further_in", 2)]),
    run: |t| {
        let levels: u32 = t.param();
        let full = all_capabilities(t)?;
        // One table of descriptors for all.
        let root = Peer::start(t, "root outside", Flags::FILES)?;
        let other = Peer::start(t, "another user outside", Flags::FILES)?;
        let same = Peer::start(t, "task of the maker's user outside", Flags::FILES)?;
        for (peer, user) in [(&other, 54_321), (&same, NOBODY)] {
            peer.setup(t, "setresuid(), without capabilities", user, |user| {
                let id = Uid::from_raw(user);
                setresuid(id, id, id)?;
                set_capabilities(0, 0).answer()
            })?;
        }
        root.setup(t, "prctl(PR_SET_SECUREBITS, no_setuid_fixup, locked)", 0xcu32, |bits| {
            call!(prctl, libc::PR_SET_SECUREBITS, bits, 0, 0, 0).map(drop).map_err(fds::errno)
        })?;
        let caller = |t: &Test| {
            become_unprivileged(t)?;
            let uid = geteuid();
            t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
            t.setup(write_own("uid_map", &format!("{uid} {uid} 1")))?;
            t.setup(write_own("setgroups", "deny"))?;
            t.setup(write_own("gid_map", &format!("{} {} 1", getegid(), getegid())))?;
            if levels > 1 {
                let inside = Start { sys_admin: true, ..Start::unprivileged() };
                t.unshare(Flags::NEWUSER).from(inside).as_predicted()?;
            }
            let link = root.setup(t, "open(the caller's ns/user)", getpid().as_raw(), open_user_namespace)?;
            let enter = |peer: &Peer| {
                peer.call(t, &format!("setns(that namespace) by the {}", peer.name()), link, enter_shared)
            };
            t.check(enter(&other)?).fails_with(Errno::EPERM)?;
            for peer in [&same, &root] {
                t.check(enter(peer)?).succeeds()?;
                let powers = peer.call(t, "CapEff and securebits afterwards", (), powers)?;
                t.check(powers.map(|(effective, bits)| format!("{effective:x}, {bits:#x}")))
                    .is(format!("{full:x}, 0x0"))?;
            }
            Ok(())
        };
        t.spawn_sharing("caller", Flags::FILES.0, caller)?.join(t)
    }
});

case!(Case {
    name: "separation.user.no_power_over_the_machine",
    about: "What no namespace has a copy of stays root's outside: in a new user namespace, with all its capabilities and \
            as its user 0, the caller can neither set the time nor make a device (EPERM).",
    proves: &["EFF-CRED-02"],
    needs: Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT).with(feature::MAP_IDS),
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let device = t.directory()?.join("null");
        // Without a time it changes nothing, and only asks whether it may.
        let set_time = || {
            let set = call!(settimeofday, 0, 0).map(drop).map_err(fds::errno);
            Call::new("settimeofday(no time)", set)
        };
        let make = || {
            use nix::sys::stat::{SFlag, mknod};
            let made = mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, 3));
            Call::new("mknod(a character device)", made)
        };
        for (call, capability) in [(set_time(), "CAP_SYS_TIME"), (make(), "CAP_MKNOD")] {
            if call.result() == Err(Failure::Errno(Errno::EPERM)) {
                return Err(t.skip(format!("{capability} is missing: run as root outside containers")));
            }
            t.setup(call)?;
        }
        t.setup(Call::io("unlink()", fs::remove_file(&device)))?;
        t.unshare(Flags::NEWUSER).as_predicted()?;
        let refused = || all([t.check(set_time()).fails_with(Errno::EPERM), t.check(make()).fails_with(Errno::EPERM)]);
        refused()?;
        limits::map_everybody_by(t, &outside)?;
        refused()
    }
});

/// A file system: its name, what else has to be the caller's own, and options.
type FileSystem = (&'static str, Flags, &'static str);

/// Those that a user namespace's root may mount.
const FILE_SYSTEMS: [FileSystem; 8] = [
    ("tmpfs", Flags::NONE, ""),
    ("ramfs", Flags::NONE, ""),
    ("devpts", Flags::NONE, ""),
    ("proc", Flags::NEWPID, ""),
    ("sysfs", Flags::NEWNET, ""),
    ("mqueue", Flags::NEWIPC, ""),
    ("cgroup2", Flags::NEWCGROUP, ""),
    ("overlay", Flags::NONE, "lowerdir={directory}/point:{directory}/lower"),
];

fn mount_by((kind, point, options): (String, String, String)) -> Result<(), Errno> {
    let options = Some(options.as_str()).filter(|options| !options.is_empty());
    mount(Some("case"), point.as_str(), Some(kind.as_str()), MsFlags::empty(), options)
}

case!(Case {
    name: "separation.user.mounts",
    about: "With new mount and user namespaces, and what else the file system is about, the caller can mount those that \
            are safe to, and neither bpf nor those on block devices (EPERM); without CAP_SYS_ADMIN nothing (EPERM).",
    proves: &["EFF-CRED-03"],
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    variants: || {
        let needs =
            |row: &FileSystem| KINDS.into_iter().find(|kind| kind.flag == row.1).map_or(Needs::NONE, Kind::built_in);
        FILE_SYSTEMS.iter().map(|row| Variant::new(row.0, *row).needing(needs(row))).collect()
    },
    run: |t| {
        let (kind, also, options): FileSystem = t.param();
        let point = new_directory(t, "point")?;
        new_directory(t, "lower")?;
        let options = options.replace("{directory}", &t.directory()?.to_string_lossy());
        let arguments = (kind.to_owned(), point.clone(), options);
        let known = t.setup(Call::io("read(/proc/filesystems)", fs::read_to_string("/proc/filesystems")))?;
        if !known.lines().any(|line| line.split_whitespace().last() == Some(kind)) {
            return Err(t.skip(format!("this kernel has no {kind}, or only as a module")));
        }
        let flags = Flags::NEWUSER | Flags::NEWNS | also;
        // What a place covers up cannot be mounted anew, nor overlay before 5.11: clone(2) tells.
        let control =
            feature::in_child(flags.0, || mount_by(arguments.clone()).map_or_else(|errno| errno as i32, |()| 0));
        if !matches!(control, Ok(WaitStatus::Exited(_, 0))) {
            return Err(t.skip(format!("{kind} cannot be mounted in namespaces that clone(2) makes here: {control:?}")));
        }
        t.unshare(flags).as_predicted()?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        let mounted = |what: &str, arguments| child.call(t, &format!("mount({what}) by a child"), arguments, mount_by);
        t.check(mounted(kind, arguments.clone())?).succeeds()?;
        // Those on devices have no such word before their name.
        let others = known.lines().filter_map(|line| {
            let (word, kind) = line.split_once('\t')?;
            (word != "nodev" || kind == "bpf").then_some(kind)
        });
        for kind in others {
            let refused = mounted(kind, (kind.to_owned(), point.clone(), String::new()))?;
            t.check(refused).fails_with(Errno::EPERM)?;
        }
        let full = all_capabilities(t)?;
        child.setup(t, "capset(), without CAP_SYS_ADMIN", full & !CAP_SYS_ADMIN, |left| {
            set_capabilities(left, left).answer()
        })?;
        t.check(mounted(&format!("{kind}, without CAP_SYS_ADMIN"), arguments)?).fails_with(Errno::EPERM)
    }
});
