//! Who reaches whom across a new PID namespace, and as whom (section 3.16 of the behaviour catalogue).

use std::io::{IoSlice, IoSliceMut};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};

use crate::observe::nsfd::parent_of;
use crate::prelude::*;
use crate::tasks::shm::map_zeroed;

const SOURCE: &str = "pid_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::PID_NS);

/// Who sent the last signal that was caught; -1 before.
static SENDER: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_sender(_: c_int, about: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands over what it says of the signal; kill(2) fills in the sender.
    SENDER.store(unsafe { (*about).si_pid() }, Ordering::SeqCst);
}

/// Has the signal's handler note who sends it.
fn catch_and_note(signal: i32) -> Result<(), Errno> {
    SENDER.store(-1, Ordering::SeqCst);
    let action = SigAction::new(SigHandler::SigAction(note_sender), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: the handler stores a number.
    unsafe { sigaction(Signal::try_from(signal)?, &action) }.map(drop)
}

fn send((pid, signal): (i32, i32)) -> Result<(), Errno> {
    call!(kill, pid, signal).map(drop).map_err(fds::errno)
}

case!(Case {
    name: "separation.pid.handled_signals",
    about: "From outside, too, process 1 gets only signals that it handles, other than SIGKILL and SIGSTOP; it sees 0 as \
            the sender, and a sender inside as who that is.",
    proves: &["EFF-PROC-01"],
    source: "pid_namespaces(7), The namespace init process",
    run: |t| {
        const SIGNAL: i32 = libc::SIGUSR1;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let second = Peer::start(t, "process 2", Flags::NONE)?;
        let sent = || Call::new("kill(process 1, SIGUSR1)", send((first.pid().as_raw(), SIGNAL)));
        t.check(sent()).succeeds()?;
        // A kernel that delivers it has by then, as this is the process's next return to itself.
        let alive =
            first.call(t, "getpid() in process 1 after a signal without a handler", (), |()| Ok(getpid().as_raw()))?;
        t.check(alive).is(1)?;
        let caught = |expected: i32, from: &str| -> Done {
            let sender = || {
                first.call(t, &format!("si_pid of a signal from {from}"), (), |()| Ok(SENDER.load(Ordering::SeqCst)))
            };
            t.wait_until(Duration::from_secs(5), || sender().is_ok_and(|call| call.result() != Ok(&-1)));
            t.check(sender()?).is(expected)
        };
        first.setup(t, "sigaction(SIGUSR1)", SIGNAL, catch_and_note)?;
        t.check(sent()).succeeds()?;
        caught(0, "outside")?;
        first.setup(t, "sigaction(SIGUSR1)", SIGNAL, catch_and_note)?;
        t.check(second.call(t, "kill(1, SIGUSR1) by process 2", (1, SIGNAL), send)?).succeeds()?;
        caught(2, "process 2")
    }
});

/// Sets the nice value of a process to what it is.
fn renice(pid: i32) -> Result<(), Errno> {
    // The system call gives 20 less the nice value. A greater priority would take CAP_SYS_NICE.
    let nice = 20 - call!(getpriority, libc::PRIO_PROCESS, pid).map_err(fds::errno)? as i32;
    call!(setpriority, libc::PRIO_PROCESS, pid, nice).map(drop).map_err(fds::errno)
}

fn group_of_process(pid: i32) -> Result<i32, Errno> {
    call!(getpgid, pid).map(|group| group as i32).map_err(fds::errno)
}

case!(Case {
    name: "separation.pid.reach",
    about: "A task inside is reached by its ID there from inside and by its ID outside from outside, and reaches nobody \
            outside (ESRCH). NS_GET_PARENT leads from the new namespace to the caller's, and not for a task inside (EPERM).",
    proves: &["EFF-PROC-02", "EFF-PROC-03"],
    source: "pid_namespaces(7), Nesting PID namespaces",
    run: |t| {
        let observer = Observer::open(t)?;
        t.unshare(Flags::NEWPID).proving("EFF-PROC-02").as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let second = Peer::start(t, "process 2", Flags::NONE)?;
        let (own, outer) = (getpid().as_raw(), second.pid().as_raw());
        if own <= 2 || outer <= 2 {
            return Err(t.skip("process IDs outside are as low as those inside"));
        }
        let reach = |side: Side, pid: i32, expected: Result<(), Errno>| -> Done {
            t.check(side.ask(t, &format!("kill({pid}, 0)"), (pid, 0), send)?).proves("EFF-PROC-02").gives(expected)?;
            t.check(side.ask(t, &format!("setpriority({pid})"), pid, renice)?).proves("EFF-PROC-02").gives(expected)?;
            let group = side.ask(t, &format!("getpgid({pid})"), pid, group_of_process)?;
            t.check(group.map(drop)).proves("EFF-PROC-02").gives(expected)
        };
        reach(Side::Peer(&first), 2, Ok(()))?;
        reach(Side::Peer(&second), 1, Ok(()))?;
        reach(Side::Caller, outer, Ok(()))?;
        for outside in [own, outer, first.pid().as_raw()] {
            reach(Side::Peer(&first), outside, Err(Errno::ESRCH))?;
        }
        let link = open_link(first.pid(), Ns::Pid).and_then(|link| parent_of(&link));
        t.check(Call::new("ioctl(NS_GET_PARENT) of the new namespace", link))
            .proves("EFF-PROC-03")
            .is(observer.namespace_inode(Ns::Pid))?;
        let inside = first
            .call(t, "the same by process 1", second.pid().as_raw(), |pid| parent_of(&open_link(pid, Ns::Pid)?))?;
        t.check(inside.map(drop)).proves("EFF-PROC-03").fails_with(Errno::EPERM)
    }
});

/// A child that outlives its parent.
#[repr(C)]
#[derive(Debug)]
struct Heir {
    pid: AtomicI32,
    may_end: AtomicBool,
}

/// The parent of a process.
fn parent_of_process(pid: i32) -> Call<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PPid:"));
        line.and_then(|parent| parent.trim().parse().ok()).unwrap_or(-1)
    });
    Call::io("parent of process 1, as seen outside", status)
}

case!(Case {
    name: "separation.pid.adopted_init",
    about: "When the caller ends, process 1 of the new namespace lives on, and becomes the child of a subreaper of the \
            caller's namespace.",
    proves: &["EFF-PROC-04"],
    source: "pid_namespaces(7), Adoption of orphaned children",
    run: |t| {
        const STATUS: i32 = 7;
        // SAFETY: zeroes are valid.
        let heir: &Heir = t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed() }))?;
        t.setup(Call::new("prctl(PR_SET_CHILD_SUBREAPER)", prctl::set_child_subreaper(true)))?;
        t.spawn("caller", |t| {
            t.unshare(Flags::NEWPID).as_predicted()?;
            // SAFETY: the process is single-threaded, and the child makes system calls only.
            match t.setup(Call::new("fork()", unsafe { fork() }))? {
                ForkResult::Parent { child } => heir.pid.store(child.as_raw(), Ordering::SeqCst),
                ForkResult::Child => {
                    while !heir.may_end.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    // SAFETY: ends the child without destructors.
                    unsafe { libc::_exit(if getpid().as_raw() == 1 { STATUS } else { 1 }) }
                }
            }
            Ok(())
        })?
        .join(t)?;
        let pid = heir.pid.load(Ordering::SeqCst);
        let parent = parent_of_process(pid);
        heir.may_end.store(true, Ordering::SeqCst);
        let ended = waitpid(Pid::from_raw(pid), None);
        t.check(parent).is(getpid().as_raw())?;
        t.check(Call::new("waitpid(process 1)", ended)).is(WaitStatus::Exited(Pid::from_raw(pid), STATUS))
    }
});

/// The process IDs of a line of a status file, without the first ones.
fn inner_ids(pid: i32, field: &str, levels: usize) -> Result<Vec<i32>, Errno> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(errno_of)?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).ok_or(Errno::ENOENT)?;
    Ok(line.split_whitespace().skip(levels).filter_map(|id| id.parse().ok()).collect())
}

case!(Case {
    name: "separation.pid.status_ids",
    about: "NStgid, NSpgid and NSsid show a task's thread group, process group and session in each namespace, outer \
            first, with 0 where it has none.",
    proves: &["EFF-PROC-05"],
    source: "proc(5), /proc/pid/status",
    run: |t| {
        let own = getpid().as_raw();
        let here = t.setup(Call::new("NStgid of the caller", inner_ids(own, "NStgid", 0)))?;
        let group = t.setup(Call::new("getpgid(0)", group_of_process(0)))?;
        let session = t.setup(Call::new("getsid(0)", call!(getsid, 0).map(|id| id as i32).map_err(fds::errno)))?;
        // One ID for each namespace from that of /proc on; the last is the caller's own view.
        let level = here.len() - 1;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let pid = first.pid().as_raw();
        let shown = |field: &str| {
            Call::new(format!("{field} of process 1, from the caller's namespace on"), inner_ids(pid, field, level))
        };
        t.check(shown("NStgid")).is(vec![pid, 1])?;
        t.check(shown("NSpgid")).is(vec![group, 0])?;
        t.check(shown("NSsid")).is(vec![session, 0])?;
        first.setup(t, "setsid()", (), |()| nix::unistd::setsid().map(drop))?;
        for field in ["NStgid", "NSpgid", "NSsid"] {
            t.check(shown(field)).is(vec![pid, 1])?;
        }
        Ok(())
    }
});

/// What of reboot(2) ends process 1 by which signal.
const REBOOTS: [(&str, (c_int, Signal)); 2] = [
    ("restart", (libc::LINUX_REBOOT_CMD_RESTART, Signal::SIGHUP)),
    ("power_off", (libc::LINUX_REBOOT_CMD_POWER_OFF, Signal::SIGINT)),
];

case!(Case {
    name: "separation.pid.reboot",
    about: "reboot(2) by process 1 of the new namespace ends that process, as if by SIGHUP or SIGINT, and not the \
            machine. In a guest only.",
    proves: &["EFF-PROC-06"],
    source: "pid_namespaces(7), The namespace init process; reboot(2)",
    variants: || variants::named(&REBOOTS),
    run: |t| {
        let (command, signal): (c_int, Signal) = t.param();
        if !t.has_own_kernel() {
            return Err(t.skip("a kernel that gets it wrong would end the machine: use --kernel"));
        }
        t.unshare(Flags::NEWPID).as_predicted()?;
        // SAFETY: the process is single-threaded, and the child makes system calls only.
        match t.setup(Call::new("fork()", unsafe { fork() }))? {
            ForkResult::Child => {
                let magic = (libc::LINUX_REBOOT_MAGIC1, libc::LINUX_REBOOT_MAGIC2);
                let _ = call!(reboot, magic.0, magic.1, command, 0);
                // SAFETY: ends the child without destructors.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                let ended = Call::new("waitpid(process 1) after its reboot()", waitpid(child, None));
                t.check(ended).is(WaitStatus::Signaled(child, signal, false))
            }
        }
    }
});

/// Process ID, user and group that come with a byte over a socket.
fn receive(socket: i32) -> Result<(i32, u32, u32), Errno> {
    let (mut byte, mut space) = ([0u8], nix::cmsg_space!(UnixCredentials));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let credentials = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials),
        _ => None,
    });
    let credentials = credentials.ok_or(Errno::ENOMSG)?;
    Ok((credentials.pid(), credentials.uid(), credentials.gid()))
}

/// Sends a byte with the sender's own credentials.
fn send_credentials(socket: i32) -> Result<(), Errno> {
    let own = UnixCredentials::new();
    sendmsg::<()>(socket, &[IoSlice::new(b"x")], &[ControlMessage::ScmCredentials(&own)], MsgFlags::empty(), None)
        .map(drop)
}

case!(Case {
    name: "separation.pid.credentials_of_a_message",
    about: "Credentials that come with a message read as the receiver's namespaces have them: process ID 0 and users as \
            mapped for a sender outside, and outside the ID and user that the sender has there.",
    proves: &["EFF-CRED-06"],
    source: "user_namespaces(7), Miscellaneous; pid_namespaces(7), Miscellaneous; unix(7), SCM_CREDENTIALS",
    needs: NEEDS.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT).with(feature::MAP_IDS),
    run: |t| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, flags);
        let (here, there) = t.setup(Call::new("socketpair()", pair))?;
        for end in [&here, &there] {
            t.setup(Call::new("setsockopt(SO_PASSCRED)", setsockopt(end, sockopt::PassCred, &true)))?;
        }
        let (here, there) = (here.as_raw_fd(), there.as_raw_fd());
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let own = (getpid().as_raw(), geteuid().as_raw(), getegid().as_raw());
        t.unshare(Flags::NEWUSER | Flags::NEWPID).as_predicted()?;
        outside.setup(t, "write(maps)", own, |(pid, uid, gid)| {
            fs::write(format!("/proc/{pid}/uid_map"), format!("7 {uid} 1")).map_err(errno_of)?;
            fs::write(format!("/proc/{pid}/gid_map"), format!("8 {gid} 1")).map_err(errno_of)
        })?;
        let child = Peer::start(t, "process 1", Flags::NONE)?;
        let pass = |from: &Peer, by: i32, to: &Peer, at: i32| -> Done<Call<(i32, u32, u32)>> {
            from.setup(t, "sendmsg(SCM_CREDENTIALS)", by, send_credentials)?;
            let text = format!("process ID, user and group of the {}, as the {} receives them", from.name(), to.name());
            to.call(t, &text, at, receive)
        };
        t.check(pass(&child, here, &outside, there)?).is((child.pid().as_raw(), own.1, own.2))?;
        t.check(pass(&outside, there, &child, here)?).is((0, 7, 8))?;
        let second = Peer::start(t, "process 2", Flags::NONE)?;
        t.check(pass(&second, there, &child, here)?).is((2, 7, 8))
    }
});

case!(Case {
    name: "separation.pid.entered_when_dead",
    about: "Where process 1 has died nobody can be born any more: a task that enters the namespace by setns(2) \
            afterwards cannot fork (ENOMEM).",
    proves: &["EFF-PROC-07"],
    source: "pid_namespaces(7), The namespace init process",
    // setns(2) takes power over the PID namespace that the case starts in.
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let own = t.setup(Call::new("open(ns/pid)", open_link("thread-self", Ns::Pid)))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let link = t.setup(Call::new("open(ns/pid of process 1)", open_link(first.pid(), Ns::Pid)))?;
        first.end();
        t.setup(Call::new("setns(own PID namespace)", enter(&own)))?;
        t.setup(try_fork())?;
        t.check(Call::new("setns(the dead namespace)", enter(&link))).succeeds()?;
        t.check(try_fork()).fails_with(Errno::ENOMEM)
    }
});

const CAP_CHECKPOINT_RESTORE: u64 = 1 << 40;
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

case!(Case {
    name: "separation.pid.who_sets_last_pid",
    about: "The last process ID can be set by a task inside with CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE of the user \
            namespace that owns the new one, and by no other (EPERM).",
    proves: &["EFF-PROC-08"],
    source: "pid_namespaces(7), /proc/sys/kernel/ns_last_pid",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    run: |t| {
        sysctl::must_be_writable(t, LAST_PID)?;
        t.unshare(Flags::NEWUSER | Flags::NEWPID).as_predicted()?;
        let full = all_capabilities(t)?;
        let neither = full & !CAP_SYS_ADMIN & !CAP_CHECKPOINT_RESTORE;
        let with = [("neither", neither, Err(Errno::EPERM)), ("CAP_SYS_ADMIN", neither | CAP_SYS_ADMIN, Ok(()))];
        let new = ("CAP_CHECKPOINT_RESTORE", neither | CAP_CHECKPOINT_RESTORE, Ok(()));
        // The capability came with 5.9.
        let known = full & CAP_CHECKPOINT_RESTORE != 0;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        for (name, capabilities, expected) in with.into_iter().chain(known.then_some(new)) {
            let written =
                first.call(t, &format!("write(ns_last_pid) with {name}"), (capabilities, full), |(some, all)| {
                    set_capabilities(some, all).answer()?;
                    let written = sysctl::write(LAST_PID, "700");
                    set_capabilities(all, all).answer()?;
                    written
                })?;
            t.check(written).gives(expected)?;
        }
        let second = Peer::start(t, "next process", Flags::NONE)?;
        t.check(second.call(t, "getpid() of the next process", (), |()| Ok(getpid().as_raw()))?).is(701)
    }
});
