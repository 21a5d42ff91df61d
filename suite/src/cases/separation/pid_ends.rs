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
    /// With a child that has ended and that it has not reaped.
    Unreaped,
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

case!(Case {
    name: "separation.pid.ends",
    about: "Process 1 of the new namespace can end with a child that it has not reaped, or by its last thread: it is \
            reaped, and all others in the namespace have been killed.",
    proves: &["EFF-PID-17"],
    variants: || variants::named(&[("unreaped_child", End::Unreaped), ("second_thread", End::SecondThread)]),
    run: |t| {
        let end: End = t.param();
        let (mut reader, writer) = t.setup(Call::io("pipe()", io::pipe()))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = t.spawn("process 1", |t| {
            leave_child(t, false)?;
            match end {
                End::Unreaped => leave_child(t, true),
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
