//! What an ordinary user gains nothing by when it makes a user namespace (section 3.13 of the behaviour catalogue): a
//! right that it would have to hold over somebody else's namespace.

use std::io::{IoSlice, Write};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixCredentials, sendmsg};

use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7), Interaction of user namespaces and other types of namespaces";
const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::SECOND_USER);

/// Maps the caller's user and group to themselves, as anybody may.
#[track_caller]
fn map_own_ids(t: &Test) -> Done {
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{NOBODY} {NOBODY} 1")),
        ("gid_map", format!("{NOBODY} {NOBODY} 1")),
    ] {
        t.setup(write_own(file, &text))?;
    }
    Ok(())
}

/// Sends a message with the caller's own user and group and this process ID.
fn send_as(socket: &UnixDatagram, pid: Pid) -> Result<(), Errno> {
    let credentials = libc::ucred { pid: pid.as_raw(), uid: NOBODY, gid: NOBODY };
    let message = [ControlMessage::ScmCredentials(&UnixCredentials::from(credentials))];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None).map(drop)
}

case!(Case {
    name: "separation.user.sent_credentials",
    about: "An ordinary user that calls CLONE_NEWUSER and CLONE_NEWPID can send its own process ID with a message, and \
            no other one (EPERM): it has no power over the PID namespace that it is still in.",
    proves: &["EFF-USER-24"],
    source: "unix(7), SCM_CREDENTIALS; CVE-2013-4300",
    needs: NEEDS.with(feature::PID_NS),
    run: |t| {
        let (socket, _other) = t.setup(Call::io("socketpair(SOCK_DGRAM)", UnixDatagram::pair()))?;
        become_unprivileged(t)?;
        t.setup(Call::new("sendmsg(own process ID) before the call", send_as(&socket, getpid())))?;
        t.unshare(Flags::NEWUSER | Flags::NEWPID).from(Start::unprivileged()).as_predicted()?;
        map_own_ids(t)?;
        t.check(Call::new("sendmsg(own process ID)", send_as(&socket, getpid()))).succeeds()?;
        t.check(Call::new("sendmsg(the parent's process ID)", send_as(&socket, getppid()))).fails_with(Errno::EPERM)
    }
});

case!(Case {
    name: "separation.user.map_by_opener",
    about: "A map of other users that a privileged task writes through a descriptor which an ordinary user opened is \
            refused (EPERM): the opener's power counts as well. Through a descriptor of its own it can write it.",
    proves: &["EFF-USER-25"],
    source: "user_namespaces(7), Defining user and group ID mappings; CVE-2013-1959",
    needs: NEEDS.with(feature::INITIAL_ROOT).with(feature::MAP_IDS),
    run: |t| {
        // Ended by one who has the power to.
        let other = Peer::start(t, "privileged task", Flags::FILES)?;
        t.spawn_sharing("caller", Flags::FILES.0, |t| map_by_opener(t, &other))?.join(t)
    }
});

#[track_caller]
fn map_by_opener(t: &Test, other: &Peer) -> Done {
    become_unprivileged(t)?;
    t.unshare(Flags::NEWUSER).from(Start::unprivileged()).beside(&[other]).as_predicted()?;
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", getpid());
        let file = t.setup(Call::io(format!("open({map})"), File::options().write(true).open(&path)))?;
        let text = format!("write({map}) by the privileged task, through the caller's descriptor");
        let written = other.call(t, &text, file.as_raw_fd(), |fd| {
            // SAFETY: it is open in the table that both have, and stays open.
            nix::unistd::write(unsafe { BorrowedFd::borrow_raw(fd) }, b"0 54321 1").map(drop)
        })?;
        t.check(written).fails_with(Errno::EPERM)?;
        let text = format!("write({map}) by the privileged task");
        let written = other.call(t, &text, path, |path| {
            let mut file = File::options().write(true).open(path).map_err(errno_of)?;
            file.write_all(b"0 54321 1").map_err(errno_of)
        })?;
        t.check(written).succeeds()?;
    }
    Ok(())
}

case!(Case {
    name: "separation.user.unmapped_group",
    about: "The owner of a file whose group is not its own cannot set the set-group-ID bit by the capabilities that it \
            has in a new user namespace, which does not map that group; for its own group it can.",
    proves: &["EFF-USER-26"],
    source: "chmod(2); user_namespaces(7), Operation of file-related capabilities; CVE-2014-4014",
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        const OTHER: u32 = 54_321;
        let mut files = Vec::new();
        for (group, expected) in [(OTHER, 0o755), (NOBODY, 0o2755)] {
            let file = t.setup(Call::io("open(file)", File::create(t.directory()?.join(group.to_string()))))?;
            t.setup(Call::io(format!("fchown(file, {NOBODY}:{group})"), fchown(&file, Some(NOBODY), Some(group))))?;
            files.push((group, file, expected));
        }
        become_unprivileged(t)?;
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        map_own_ids(t)?;
        for (group, file, expected) in files {
            let set = file.set_permissions(fs::Permissions::from_mode(0o2755));
            t.check(Call::io(format!("fchmod(file of group {group}, 02755)"), set)).succeeds()?;
            let mode = file.metadata().map(|data| format!("{:o}", data.mode() & 0o7777));
            t.check(Call::io(format!("mode of the file of group {group}"), mode)).is(format!("{expected:o}"))?;
        }
        Ok(())
    }
});

/// How many children can live at the same time, of three. They end before it returns.
fn live_children() -> Result<usize, Errno> {
    let mut children = Vec::new();
    let mut refused = Ok(());
    while children.len() < 3 && refused.is_ok() {
        // SAFETY: the child sleeps until it is killed.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: both take numbers or nothing.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::pause();
                }
            },
            pid => match Errno::result(pid) {
                Ok(pid) => children.push(pid),
                Err(errno) => refused = Err(errno),
            },
        }
    }
    let count = children.len();
    for pid in children {
        // SAFETY: the child is not reaped yet.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
    match refused {
        Err(errno) if errno != Errno::EAGAIN => Err(errno),
        _ => Ok(count),
    }
}

case!(Case {
    name: "separation.user.no_ceiling_of_root",
    about: "The limit on processes of root, which does not bind it, is no ceiling of a user namespace that it makes: \
            users inside have as many processes as their own limit allows.",
    proves: &["EFF-USER-27"],
    source: "getrlimit(2), RLIMIT_NPROC; kernel, kernel/user_namespace.c (Linux 5.17)",
    needs: NEEDS.with(feature::INITIAL_ROOT).with(feature::MAP_IDS),
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        // None at all in the end, if root may have that here.
        let unlimited = setrlimit(Resource::RLIMIT_NPROC, 1, libc::RLIM64_INFINITY).is_ok();
        let most = if unlimited { libc::RLIM64_INFINITY } else { 1000 };
        let set = |soft: u64| {
            Call::new(format!("setrlimit(RLIMIT_NPROC, {soft})"), setrlimit(Resource::RLIMIT_NPROC, soft, most))
        };
        t.setup(set(1))?;
        t.unshare(Flags::NEWUSER).beside(&[&outside]).as_predicted()?;
        limits::map_everybody_by(t, &outside)?;
        // While it still may be ended.
        outside.end();
        // A user that nobody else is.
        let id = 50_000 + getpid().as_raw() as u32 % 10_000;
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        t.setup(Call::new("setgroups([])", setgroups(&[])))?;
        t.setup(Call::new(format!("setresgid({id})"), setresgid(gid, gid, gid)))?;
        t.setup(Call::new(format!("setresuid({id})"), setresuid(uid, uid, uid)))?;
        t.setup(set(most))?;
        t.check(Call::new("how many of three children can live at the same time", live_children())).is(3)
    }
});
