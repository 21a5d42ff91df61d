//! Where users that a new user namespace has no ID for show up in it, and what they keep (section 3.15 of the behaviour
//! catalogue).

use std::io::{IoSlice, IoSliceMut};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};

use crate::prelude::*;

/// The user of the last signal that was caught; -1 before.
static SENDER: AtomicI64 = AtomicI64::new(-1);

extern "C" fn note_user(_: c_int, about: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands over what it says of the signal; kill(2) fills in the sender.
    SENDER.store(i64::from(unsafe { (*about).si_uid() }), Ordering::SeqCst);
}

/// A segment of the calling task's with this mode.
fn make_segment(mode: i32) -> Result<i32, Errno> {
    call!(shmget, libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | mode).map(|id| id as i32).map_err(fds::errno)
}

/// Attaches a segment, to read, and lets go of it.
fn attach(segment: i32) -> Result<(), Errno> {
    let address = call!(shmat, segment, 0, libc::SHM_RDONLY).map_err(fds::errno)?;
    call!(shmdt, address).map(drop).map_err(fds::errno)
}

/// Removes a segment.
fn remove(segment: i32) -> Call<()> {
    let removed = call!(shmctl, segment, libc::IPC_RMID, 0).map(drop).map_err(fds::errno);
    Call::new("shmctl(IPC_RMID)", removed)
}

/// The owner of a segment (IPC_STAT).
fn owner_of_segment(segment: i32) -> Result<u32, Errno> {
    // SAFETY: zeroes are valid, and the structure lives through the call.
    let mut about: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // By the C library: on arm the call itself fills in a structure of old unless it is told otherwise (IPC_64).
    // SAFETY: as above.
    Errno::result(unsafe { libc::shmctl(segment, libc::IPC_STAT, &raw mut about) })?;
    Ok(about.shm_perm.uid)
}

/// The effective user of a task, by its status file.
fn user_of(pid: Pid) -> Call<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Uid:"));
        line.and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    });
    Call::io("user of a task outside, by its status file", status)
}

case!(Case {
    name: "separation.user.unmapped_users",
    about: "A user whom the new namespace has no ID for shows as the overflow ID wherever it shows: as the sender of a \
            signal or message, the owner of a segment, a task's user. Capabilities inside do not open its segments.",
    proves: &["EFF-CRED-10"],
    source: "user_namespaces(7), Unmapped user and group IDs and Accessing files",
    needs: Needs::ROOT
        .with(feature::CREATE_USER_NS)
        .with(feature::INITIAL_ROOT)
        .with(feature::MAP_IDS)
        .with(feature::SYSV_IPC),
    run: |t| {
        let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
        let (here, there) = t.setup(Call::new("socketpair()", pair))?;
        t.setup(Call::new("setsockopt(SO_PASSCRED)", setsockopt(&here, sockopt::PassCred, &true)))?;
        let stranger = Peer::start(t, "task outside", Flags::NONE)?;
        let outside = Peer::start(t, "another task outside", Flags::NONE)?;
        // It keeps the capabilities, so that it may signal the caller.
        stranger.setup(t, "setresuid(5000), keeping capabilities", t.facts().capabilities, |all| {
            prctl::set_keepcaps(true)?;
            let id = Uid::from_raw(5000);
            setresuid(id, id, id)?;
            set_capabilities(all, all).answer()?;
            prctl::set_dumpable(true)
        })?;
        let own_segment = t.setup(Call::new("shmget(0600)", make_segment(0o600)))?;
        let segment = stranger.setup(t, "shmget(0600)", 0o600, make_segment)?;
        let overflow = t.setup(sysctl::number("/proc/sys/kernel/overflowuid"))? as u32;
        let action = SigAction::new(SigHandler::SigAction(note_user), SaFlags::SA_SIGINFO, SigSet::empty());
        // SAFETY: the handler stores a number.
        t.setup(Call::new("sigaction(SIGUSR1)", unsafe { sigaction(Signal::SIGUSR1, &action) }))?;
        t.spawn("caller", |t| {
            let own = getpid();
            t.check(Call::new("shmat(the stranger's segment) with CAP_IPC_OWNER outside", attach(segment)))
                .succeeds()?;
            t.unshare(Flags::NEWUSER).as_predicted()?;
            outside.setup(t, "write(maps)", own.as_raw(), |pid| {
                fs::write(format!("/proc/{pid}/uid_map"), "7 0 1").map_err(errno_of)?;
                fs::write(format!("/proc/{pid}/gid_map"), "7 0 1").map_err(errno_of)
            })?;
            t.check(user_of(stranger.pid())).is(overflow)?;
            stranger
                .setup(t, "kill(caller, SIGUSR1)", own.as_raw(), |pid| kill(Pid::from_raw(pid), Signal::SIGUSR1))?;
            t.wait_until(Duration::from_secs(5), || SENDER.load(Ordering::SeqCst) != -1);
            t.check(Call::seen("si_uid of its signal", SENDER.load(Ordering::SeqCst))).is(i64::from(overflow))?;
            stranger.setup(t, "sendmsg(SCM_CREDENTIALS)", there.as_raw_fd(), |socket| {
                let own = UnixCredentials::new();
                let credentials = [ControlMessage::ScmCredentials(&own)];
                sendmsg::<()>(socket, &[IoSlice::new(b"x")], &credentials, MsgFlags::empty(), None).map(drop)
            })?;
            let (mut byte, mut space) = ([0u8], nix::cmsg_space!(UnixCredentials));
            let mut parts = [IoSliceMut::new(&mut byte)];
            let message = recvmsg::<()>(here.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
            let user = message.and_then(|message| {
                let user = message.cmsgs()?.find_map(|part| match part {
                    ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.uid()),
                    _ => None,
                });
                user.ok_or(Errno::ENOMSG)
            });
            t.check(Call::new("user of its message", user)).is(overflow)?;
            t.check(Call::new("shmat(the stranger's segment)", attach(segment))).fails_with(Errno::EACCES)?;
            t.check(Call::new("shmat(the caller's own segment)", attach(own_segment))).succeeds()?;
            t.check(Call::new("IPC_STAT of the caller's own", owner_of_segment(own_segment))).is(7)
        })?
        .join(t)?;
        let readable = stranger.setup(t, "shmget(0644)", 0o644, make_segment)?;
        t.spawn("second caller", |t| {
            t.unshare(Flags::NEWUSER).as_predicted()?;
            t.check(Call::new("IPC_STAT of a segment that all may read", owner_of_segment(readable))).is(overflow)
        })?
        .join(t)?;
        all([own_segment, segment, readable].map(|segment| t.setup(remove(segment))))
    }
});
