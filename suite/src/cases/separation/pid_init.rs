//! Process 1 of a new PID namespace: what its end, signals and orphans mean to the others (section 3.10 of the
//! behaviour catalogue).

use std::sync::mpsc::channel;

use crate::prelude::*;

const SOURCE: &str = "pid_namespaces(7), The namespace init process; kernel, kernel/pid_namespace.c";
const NEEDS: Needs = Needs::ROOT.with(feature::PID_NS);

/// fork(2) of a child that ends at once with its own process ID as exit status, and that status.
fn forked_pid() -> Call<i32> {
    Call::new("fork(), and the child's getpid()", status_of_child(|| getpid().as_raw() & 0x7f))
}

/// fork(2) of a child that ends with what `body` gives as its exit status, and that status.
pub(super) fn status_of_child(body: impl FnOnce() -> i32) -> Result<i32, Errno> {
    // SAFETY: the process is single-threaded.
    match unsafe { fork()? } {
        // SAFETY: ends the child without destructors.
        ForkResult::Child => unsafe { libc::_exit(body()) },
        ForkResult::Parent { child } => exit_status(child),
    }
}

/// Waits for a child; EPROTO if it did not exit.
fn exit_status(child: Pid) -> Result<i32, Errno> {
    match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => Ok(status),
        _ => Err(Errno::EPROTO),
    }
}

/// What has become of a child, without reaping it.
fn look(pid: Pid) -> Call<WaitStatus> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Call::new(format!("waitid({pid}, WNOHANG)"), waitid(Id::Pid(pid), flags))
}

/// Time in which a kernel that does what it must not do would have done it. One that is right may take any time.
fn give_it_time() {
    std::thread::sleep(Duration::from_millis(30));
}

case!(Case {
    name: "separation.pid.dead_init",
    about: "Once process 1 of the new namespace is dead, fork(2) fails (ENOMEM) and the link pid_for_children stays \
            readable; setns(2) to the caller's own PID namespace makes fork work again.",
    proves: &["EFF-PID-04", "EFF-PID-05"],
    // setns(2) takes power over the PID namespace that the case starts in.
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let observer = Observer::open(t)?;
        let own = t.setup(Call::new("open(ns/pid)", open_link("thread-self", Ns::Pid)))?;
        t.unshare(Flags::NEWPID).proving("EFF-PID-04").as_predicted()?;
        t.check(forked_pid()).proves("EFF-PID-04").is(1)?;
        for _ in 0..3 {
            t.check(forked_pid()).proves("EFF-PID-04").fails_with(Errno::ENOMEM)?;
        }
        let link = "/proc/thread-self/ns/pid_for_children";
        t.check(Call::io(format!("readlink({link})"), fs::read_link(link)))
            .proves("EFF-PID-04")
            .holds("pid:[…]", |text| text.to_string_lossy().starts_with("pid:["))?;
        t.check(Call::new("setns(own PID namespace)", enter(&own))).proves("EFF-PID-05").succeeds()?;
        let child = Peer::start(t, "child afterwards", Flags::NONE)?;
        t.check(namespace_of(child.pid(), Ns::Pid).called("ns/pid of a child afterwards"))
            .proves("EFF-PID-05")
            .is(observer.namespace_inode(Ns::Pid))?;
        let parent = child.call(t, "getppid() of that child", (), |()| Ok(getppid().as_raw()))?;
        t.check(parent).proves("EFF-PID-05").is(getpid().as_raw())
    }
});

case!(Case {
    name: "separation.pid.setns_back",
    about: "setns(2) to the caller's own PID namespace undoes the call for further children; after another call the \
            next child is process 1 of yet another namespace.",
    proves: &["EFF-PID-06"],
    source: "setns(2); kernel, kernel/pid_namespace.c",
    // setns(2) takes power over the PID namespace that the case starts in.
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        let observer = Observer::open(t)?;
        let own = t.setup(Call::new("open(ns/pid)", open_link("thread-self", Ns::Pid)))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let between = t.setup(namespace_of(first.pid(), Ns::Pid))?;
        t.check(Call::new("setns(own PID namespace)", enter(&own))).succeeds()?;
        t.check(observer.namespace(Ns::PidForChildren)).is(observer.namespace_inode(Ns::Pid))?;
        t.unshare(Flags::NEWPID).as_predicted()?;
        let second = Peer::start(t, "process 1 of another namespace", Flags::NONE)?;
        let pid =
            second.call(t, "getpid() of the first child after the second call", (), |()| Ok(getpid().as_raw()))?;
        t.check(pid).is(1)?;
        let own = observer.namespace_inode(Ns::Pid);
        t.check(namespace_of(second.pid(), Ns::Pid).called("its PID namespace"))
            .holds(&format!("neither {own} nor {between}"), |inode| ![own, between].contains(inode))
            .map(drop)
    }
});

/// Runs `second` in a second thread. Where that calls its argument, the first thread runs `first` meanwhile.
#[track_caller]
pub(super) fn in_turns(t: &Test, first: impl FnOnce() -> Done, second: impl FnOnce(&dyn Fn()) -> Done + Send) -> Done {
    let ((tell, told), (answer, answered)) = (channel(), channel());
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            t.name_task("second thread");
            second(&|| {
                let _ = tell.send(());
                let _ = answered.recv();
            })
        });
        // Without a message the second thread was stopped; why is on record.
        let first = told.recv().map_or(Ok(()), |()| first());
        let _ = answer.send(());
        let second = thread.join().unwrap_or_else(|_| Err(t.broken("thread", "panicked")));
        first.and(second)
    })
}

fn own_pid() -> i64 {
    i64::from(getpid().as_raw())
}

case!(Case {
    name: "separation.pid.thread",
    about: "After a call by a second thread its children are in the new namespace, those of the first in the old.",
    proves: &["EFF-PID-08"],
    source: "unshare(2), CLONE_NEWPID; pid_namespaces(7)",
    run: |t| {
        let observer = Observer::open(t)?;
        let own = observer.namespace_inode(Ns::PidForChildren);
        let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
        let first = || {
            let pid = Call::seen("getpid() in a child of the first thread", vm::in_vfork_child(t, own_pid)?);
            all([
                t.check(pid).holds("not 1: one of the old namespace", |pid| *pid > 1).map(drop),
                t.check(observer.namespace(Ns::PidForChildren)).is(own),
            ])
        };
        in_turns(t, first, |first_thread| {
            t.unshare(Flags::NEWPID).from(start).as_predicted()?;
            first_thread();
            let pid = vm::in_vfork_child(t, own_pid)?;
            t.check(Call::seen("getpid() in a child of the second thread", pid)).is(1)
        })
    }
});

case!(Case {
    name: "separation.pid.killed_init",
    about: "Killing process 1 kills every process of its namespace; process 1 can be reaped only after all others.",
    proves: &["EFF-PID-09", "EFF-PID-10"],
    run: |t| {
        t.unshare(Flags::NEWPID).proving("EFF-PID-09").as_predicted()?;
        // Dropped in this order: process 1 is reaped last (RULE-09).
        let sleep = |_: &Test| -> Done {
            loop {
                nix::unistd::pause();
            }
        };
        let mut first = t.spawn("process 1", sleep)?;
        let mut second = t.spawn("process 2", sleep)?;
        let killed = |pid| WaitStatus::Signaled(pid, Signal::SIGKILL, false);
        t.setup(Call::new("kill(process 1, SIGKILL)", kill(first.pid(), Signal::SIGKILL)))?;
        t.wait_until(Duration::from_secs(5), || look(second.pid()).result() != Ok(&WaitStatus::StillAlive));
        t.check(look(second.pid()).called("what became of process 2 when process 1 was killed"))
            .proves("EFF-PID-09")
            .is(killed(second.pid()))?;
        give_it_time();
        t.check(look(first.pid()).called("waitid(process 1, WNOHANG) while process 2 is not reaped"))
            .proves("EFF-PID-10")
            .is(WaitStatus::StillAlive)?;
        t.setup(Call::new("waitpid(process 2)", second.wait()))?;
        t.check(Call::new("waitpid(process 1)", first.wait())).proves("EFF-PID-10").is(killed(first.pid()))
    }
});

fn signals() -> Vec<Variant> {
    [Signal::SIGTERM, Signal::SIGSTOP, Signal::SIGKILL]
        .map(|signal| Variant::new(signal.as_str().to_lowercase(), signal))
        .into()
}

case!(Case {
    name: "separation.pid.signals_to_init",
    about: "Process 1 ignores signals from its namespace without a handler, SIGKILL and SIGSTOP included; from outside \
            those two stop and kill it.",
    proves: &["EFF-PID-13"],
    variants: signals,
    run: |t| {
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let second = Peer::start(t, "process 2", Flags::NONE)?;
        let number = t.param::<Signal>() as i32;
        let sent = second.call(t, &format!("kill(1, {number}) by process 2"), number, |number| {
            call!(kill, 1, number).map(drop).map_err(fds::errno)
        })?;
        t.check(sent).succeeds()?;
        give_it_time();
        t.check(look(first.pid()).called("what process 1 made of a signal from inside")).is(WaitStatus::StillAlive)?;
        let pid = first.call(t, "getpid() in process 1 afterwards", (), |()| Ok(getpid().as_raw()))?;
        t.check(pid).is(1)?;
        // From outside.
        let (pid, any) = (first.pid(), WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        t.setup(Call::new("kill(process 1, SIGSTOP)", kill(pid, Signal::SIGSTOP)))?;
        t.check(Call::new("what process 1 made of SIGSTOP from outside", waitid(Id::Pid(pid), any)))
            .is(WaitStatus::Stopped(pid, Signal::SIGSTOP))?;
        // Process 1 goes last (RULE-09).
        second.end();
        t.setup(Call::new("kill(process 1, SIGKILL)", kill(pid, Signal::SIGKILL)))?;
        let ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        t.check(Call::new("what process 1 made of SIGKILL from outside", ended)).is(WaitStatus::Signaled(
            pid,
            Signal::SIGKILL,
            false,
        ))
    }
});

/// Forks a child that waits until its parent has died, and ends with the process ID of its new parent as exit status.
/// Gives its process ID.
fn fork_an_orphan_to_be() -> Result<i32, Errno> {
    let parent = getpid();
    // SAFETY: the process is single-threaded, and the child makes system calls only.
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            while getppid() == parent {
                std::thread::sleep(Duration::from_millis(1));
            }
            // SAFETY: ends the child without destructors.
            unsafe { libc::_exit(getppid().as_raw() & 0x7f) }
        }
    }
}

case!(Case {
    name: "separation.pid.orphans",
    about: "An orphan in the new namespace becomes a child of the namespace's process 1, which can wait for it.",
    proves: &["EFF-PID-14"],
    source: "pid_namespaces(7), Adoption of orphaned children",
    run: |t| {
        t.unshare(Flags::NEWPID).as_predicted()?;
        let first = Peer::start(t, "process 1", Flags::NONE)?;
        let second = Peer::start(t, "process 2", Flags::NONE)?;
        let orphan = second.setup(t, "fork()", (), |()| fork_an_orphan_to_be())?;
        second.end();
        let waited = first.call(t, "waitpid(the orphan) by process 1, and its getppid()", orphan, |orphan| {
            exit_status(Pid::from_raw(orphan))
        })?;
        t.check(waited).is(1)
    }
});
