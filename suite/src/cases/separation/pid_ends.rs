//! How process 1 of a new PID namespace ends, and the way out of it (section 3.10 of the behaviour catalogue).

use std::io::Read;

use crate::observe::nsfd::enter;
use crate::prelude::*;
use crate::tasks::threads::without_leader;

const SOURCE: &str = "pid_namespaces(7); kernel, kernel/pid_namespace.c";
const NEEDS: Needs = Needs::ROOT.with(feature::PID_NS);

/// How process 1 ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With children that have ended and that it has not reaped.
    Unreaped,
    /// Beside a task whose session's leader is gone, so that an ID is left without a task.
    Leaderless,
    /// By a second thread, after the first.
    SecondThread,
}

/// Forks a child that ends at once, or never; neither is reaped.
fn leave_child(t: &Test, ends: bool) -> Done {
    // SAFETY: the child makes system calls alone.
    match t.setup(Call::new("fork()", unsafe { fork() }))? {
        ForkResult::Child => loop {
            if ends {
                // SAFETY: ends the child without destructors.
                unsafe { libc::_exit(0) };
            }
            nix::unistd::pause();
        },
        ForkResult::Parent { child } if ends => {
            t.setup(Call::new("waitid(WNOWAIT)", crate::tasks::end::wait_unreaped(child))).map(drop)
        }
        ForkResult::Parent { .. } => Ok(()),
    }
}

/// Forks a leader of a session, which leaves a task in it and ends, and is reaped.
fn leave_session(t: &Test) -> Done {
    // SAFETY: the child makes system calls alone.
    let leader = match t.setup(Call::new("fork()", unsafe { fork() }))? {
        ForkResult::Child => {
            // SAFETY: all take nothing, or numbers.
            unsafe {
                if libc::setsid() < 0 || libc::fork() != 0 {
                    libc::_exit(0);
                }
            }
            loop {
                nix::unistd::pause();
            }
        }
        ForkResult::Parent { child } => child,
    };
    t.setup(Call::new("waitpid()", waitpid(leader, None))).map(drop)
}

case!(Case {
    name: "separation.pid.ends",
    about: "Process 1 of the new namespace can end with children that it has not reaped, by its last thread, or beside a \
            session without its leader: it is reaped, and all others in the namespace have been killed.",
    proves: &["EFF-PID-17"],
    variants: || variants::named(&[
        ("unreaped_child", End::Unreaped),
        ("second_thread", End::SecondThread),
        ("session_without_leader", End::Leaderless),
    ]),
    run: |t| {
        let end: End = t.param();
        let (mut reader, writer) = t.setup(Call::io("pipe()", io::pipe()))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = t.spawn("process 1", |t| {
            leave_child(t, false)?;
            match end {
                // More than one: what reaps them does so one by one.
                End::Unreaped => (0..3).try_for_each(|_| leave_child(t, true)),
                End::Leaderless => leave_session(t),
                End::SecondThread => without_leader(t, || Ok(())),
            }
        })?;
        first.join(t)?;
        drop(writer);
        // The child that never ends has the pipe open.
        let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        t.setup(Call::new("fcntl(O_NONBLOCK)", nix::fcntl::fcntl(&reader, flags)))?;
        let killed = t.wait_until(Duration::from_secs(5), || matches!(reader.read(&mut [0]), Ok(0)));
        t.check(Call::seen("whether the child of process 1 was killed", killed)).is(true)
    }
});

case!(Case {
    name: "separation.pid.no_way_out",
    about: "Process 1 of the new namespace cannot go back to the old one by setns(2), for its children either (EINVAL).",
    proves: &["EFF-PID-18"],
    source: "setns(2), PID namespaces",
    // Without power over the old namespace, that is what is missing (EPERM).
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let outer = t.setup(Call::new("open(ns/pid)", open_link("thread-self", Ns::Pid)))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = t.spawn("process 1", |t| {
            t.check(Call::new("setns(the old PID namespace) by process 1", enter(&outer))).fails_with(Errno::EINVAL)
        })?;
        first.join(t)
    }
});

/// Forks a child that lives until it is killed. Gives its ID.
fn leave_process((): ()) -> Result<i32, Errno> {
    // SAFETY: the child makes system calls alone.
    match unsafe { fork() }? {
        ForkResult::Child => loop {
            nix::unistd::pause();
        },
        ForkResult::Parent { child } => Ok(child.as_raw()),
    }
}

/// Kills a child and reaps it.
fn end_process(child: i32) -> Result<(), Errno> {
    let child = Pid::from_raw(child);
    kill(child, Signal::SIGKILL)?;
    waitpid(child, None).map(drop)
}

/// The process that gets a descriptor's signals, as the calling task sees it.
fn owner_of_signals(fd: i32) -> Result<i32, Errno> {
    call!(fcntl, fd, libc::F_GETOWN).map(|owner| owner as i32).map_err(fds::errno)
}

case!(Case {
    name: "separation.pid.beside",
    about: "Of two new PID namespaces neither sees the other: process 1 of one is 0 to the other, where F_GETOWN gives its \
            ID, and cannot be entered from there by setns(2) (EINVAL).",
    proves: &["EFF-PID-19"],
    source: "pid_namespaces(7); fcntl(2), F_GETOWN; setns(2), PID namespaces",
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let (reader, _writer) = t.setup(Call::io("pipe()", io::pipe()))?;
        let fd = reader.as_raw_fd();
        let maker = Peer::start(t, "maker of the other namespace", Flags::NONE)?;
        t.check(unshare_by(t, &maker, Flags::NEWPID)?).succeeds()?;
        let other = maker.setup(t, "fork()", (), leave_process)?;
        t.setup(Call::new("fcntl(F_SETOWN)", call!(fcntl, fd, libc::F_SETOWN, other).map(drop).map_err(fds::errno)))?;
        t.check(Call::new("fcntl(F_GETOWN) outside", owner_of_signals(fd))).is(other)?;
        let link = t.setup(Call::new("open(ns/pid of the other process 1)", open_link(other, Ns::Pid)))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let owner = first.call(t, "fcntl(F_GETOWN) by process 1", fd, owner_of_signals)?;
        let entered = first.call(t, "setns(the other PID namespace) by process 1", link.as_raw_fd(), |link| {
            call!(setns, link, libc::CLONE_NEWPID).map(drop).map_err(fds::errno)
        })?;
        maker.setup(t, "kill(), waitpid()", other, end_process)?;
        t.check(owner).is(0)?;
        t.check(entered).fails_with(Errno::EINVAL)
    }
});

case!(Case {
    name: "separation.links_of_a_zombie",
    about: "A child in the new namespace that has ended and was not reaped has left its root and cwd, and its namespaces \
            but for those of its process IDs and its user: the other links give ENOENT.",
    proves: &["EFF-GEN-08"],
    source: "kernel, fs/nsfs.c and the file of each kind of namespace",
    // The zombie's files belong to the initial root.
    needs: Needs::ROOT.with(feature::UTS_NS).with(feature::INITIAL_ROOT),
    run: |t| {
        t.unshare(Flags::NEWUTS).as_predicted()?;
        // SAFETY: the child ends without destructors.
        let child = match t.setup(Call::new("fork()", unsafe { fork() }))? {
            // SAFETY: the child of a process with one thread ends at once.
            ForkResult::Child => unsafe { libc::_exit(0) },
            ForkResult::Parent { child } => child,
        };
        t.setup(Call::new("waitid(WNOWAIT)", crate::tasks::end::wait_unreaped(child)))?;
        for ns in Ns::ALL {
            let own = fs::read_link(format!("/proc/self/ns/{}", ns.link()));
            let path = format!("/proc/{child}/ns/{}", ns.link());
            let link = Call::io(format!("readlink({path}) of a zombie"), fs::read_link(&path).map(drop));
            if own.is_ok() && !matches!(ns, Ns::Pid | Ns::User) {
                t.check(link).fails_with(Errno::ENOENT)?;
            }
        }
        for link in ["cwd", "root"] {
            let path = format!("/proc/{child}/{link}");
            let link = Call::io(format!("readlink({path}) of a zombie"), fs::read_link(&path).map(drop));
            t.check(link).fails_with(Errno::ENOENT)?;
        }
        let offsets = format!("/proc/{child}/timens_offsets");
        if Path::new(&offsets).exists() {
            t.check(Call::io(format!("read({offsets}) of a zombie"), fs::read_to_string(&offsets))).is(String::new())?;
            let written = fs::write(&offsets, "monotonic 1 0");
            t.check(Call::io(format!("write({offsets}) of a zombie"), written)).fails_with(Errno::ESRCH)?;
        }
        t.setup(Call::new("waitpid()", waitpid(child, None))).map(drop)
    }
});
