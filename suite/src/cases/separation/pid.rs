//! PID namespaces (section 3.10 of the behaviour catalogue): the caller stays where it is, its future children are in
//! a new one.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWPID; pid_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::PID_NS);

/// What getpid(2) and getppid(2) give.
fn ids_of(t: &Test, peer: &Peer) -> Done<Call<(i32, i32)>> {
    peer.call(t, &format!("getpid(), getppid() in the {}", peer.name()), (), |()| {
        Ok((getpid().as_raw(), getppid().as_raw()))
    })
}

case!(Case {
    name: "separation.pid.first_children",
    about: "The caller keeps its IDs and its PID namespace. Its next child is process 1 of a new one, without a parent \
            there (0), the one after it process 2; an older child stays in the old namespace.",
    proves: &["EFF-PID-01", "EFF-PID-02", "EFF-GEN-03", "DIFF-16"],
    run: |t| {
        let observer = Observer::open(t)?;
        let own = getpid().as_raw();
        let namespace = observer.namespace_inode(Ns::Pid);
        let older = Peer::start(t, "older child", Flags::NONE)?;
        t.unshare(Flags::NEWPID).beside(&[&older]).proving("EFF-PID-01").as_predicted()?;
        t.check(Call::seen("getpid()", getpid().as_raw())).proves("EFF-PID-01").is(own)?;
        t.check(Call::seen("gettid()", gettid().as_raw())).proves("EFF-PID-01").is(own)?;
        // The first has to be reaped after the second (RULE-09): it is dropped last.
        let first = Peer::start(t, "first child", Flags::NONE)?;
        t.check(ids_of(t, &first)?).proves("EFF-PID-02").is((1, 0))?;
        let second = Peer::start(t, "second child", Flags::NONE)?;
        t.check(ids_of(t, &second)?).proves("EFF-PID-02").is((2, 0))?;
        t.check(ids_of(t, &older)?).proves("EFF-GEN-03").is((older.pid().as_raw(), own))?;
        let inside = t.setup(namespace_of(first.pid(), Ns::Pid))?;
        t.check(namespace_of(first.pid(), Ns::Pid)).proves("EFF-PID-02").is_not(namespace)?;
        t.check(namespace_of(second.pid(), Ns::Pid)).proves("EFF-PID-02").is(inside)?;
        t.check(namespace_of(older.pid(), Ns::Pid)).proves("EFF-GEN-03").is(namespace)?;
        t.check(observer.namespace(Ns::Pid)).proves("EFF-PID-01").is(namespace)?;
        t.check(observer.namespace(Ns::PidForChildren)).proves("EFF-PID-02").is(inside)
    }
});

case!(Case {
    name: "separation.pid.link_before_first_child",
    about: "The link pid_for_children leads to the new namespace only with the first child (before: ENOENT); since \
            Linux 7.1 it does at once.",
    proves: &["EFF-PID-03", "DOC-08"],
    source: "pid_namespaces(7), /proc/pid/ns/pid_for_children; proc_pid_ns(5)",
    run: |t| {
        const ID: &str = "EFF-PID-03";
        const LINK: &str = "/proc/thread-self/ns/pid_for_children";
        let old = t.setup(Call::io("stat(pid_for_children)", fs::metadata(LINK).map(|m| m.ino())))?;
        t.unshare(Flags::NEWPID).proving(ID).as_predicted()?;
        let read = || Call::io(format!("readlink({LINK})"), fs::read_link(LINK));
        let open = || Call::io(format!("open({LINK})"), File::open(LINK).map(drop));
        // No other call makes this state, so that which of the two must be seen is not known beforehand; but both ways
        // to the link agree, and ENOENT is the one error there is.
        let new = match read() {
            text if text.result().is_ok() => {
                t.check(open()).proves(ID).succeeds()?;
                Some(t.check(text).proves(ID).succeeds()?)
            }
            error => {
                t.check(error).proves(ID).fails_with(Errno::ENOENT)?;
                t.check(open()).proves(ID).fails_with(Errno::ENOENT)?;
                None
            }
        };
        let child = Peer::start(t, "first child", Flags::NONE)?;
        let inside = t.setup(namespace_of(child.pid(), Ns::Pid))?;
        t.check(Call::io(format!("stat({LINK}) after the first child"), fs::metadata(LINK).map(|m| m.ino())))
            .proves(ID)
            .holds("the child's namespace, not the old", |inode| *inode == inside && *inode != old)?;
        if let Some(text) = new {
            t.check(read()).proves(ID).is(text)?;
        }
        Ok(())
    }
});

extern "C" fn exit_with_own_pid(_: *mut c_void) -> c_int {
    call!(getpid).unwrap_or(255) as c_int
}

fn own_pid() -> i64 {
    call!(getpid).map_or(-1, |pid| pid as i64)
}

#[derive(Clone, Copy)]
enum Child {
    Thread,
    Vfork,
    CloneVm,
}

const CHILDREN: [(&str, Child); 3] = [("thread", Child::Thread), ("vfork", Child::Vfork), ("clone_vm", Child::CloneVm)];

case!(Case {
    name: "separation.pid.other_children",
    about: "After the call the caller cannot make a thread (EINVAL), which would share its process's PID namespace; a \
            vfork(2) or CLONE_VM child is process 1.",
    proves: &["EFF-PID-07", "INT-04"],
    source: "clone(2), ERRORS (EINVAL); pid_namespaces(7)",
    variants: || variants::named(&CHILDREN),
    run: |t| {
        const ID: &str = "EFF-PID-07";
        t.unshare(Flags::NEWPID).proving(ID).as_predicted()?;
        match t.param() {
            Child::Thread => {
                let made = std::thread::Builder::new().spawn(|| ()).map(drop);
                t.check(Call::io("pthread_create()", made)).proves(ID).fails_with(Errno::EINVAL)
            }
            Child::Vfork => {
                let pid = vm::in_vfork_child(t, own_pid)?;
                t.check(Call::seen("getpid() in a vfork child", pid)).proves(ID).is(1)
            }
            Child::CloneVm => {
                // SAFETY: the body makes one system call and takes no argument.
                let pid = unsafe { vm::start(t, Flags::VM, exit_with_own_pid, std::ptr::null_mut())? };
                let status = t.setup(Call::new("waitpid()", waitpid(pid, Some(WaitPidFlag::__WALL))))?;
                t.check(Call::seen("getpid() in a CLONE_VM child, as its exit status", status))
                    .proves(ID)
                    .is(WaitStatus::Exited(pid, 1))
            }
        }
    }
});

/// The NSpid field of a task's status: its IDs from the observer's namespace inwards.
fn ids_by_level(pid: impl fmt::Display) -> Call<Vec<i32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .map_or(Vec::new(), |ids| ids.split_whitespace().flat_map(str::parse).collect())
    });
    Call::io("NSpid of the child, as its parent reads it", status)
}

case!(Case {
    name: "separation.pid.nested",
    about: "Process 1 of the new namespace can call unshare(CLONE_NEWPID), too; /proc shows one ID for each level.",
    proves: &["EFF-PID-11", "EFF-PID-12"],
    source: "pid_namespaces(7), Nesting PID namespaces; proc_pid_status(5), NSpid",
    run: |t| {
        let levels = |pid: i32| t.setup(ids_by_level(pid)).map(|ids| ids.len());
        let outside = levels(getpid().as_raw())?;
        t.unshare(Flags::NEWPID).proving("EFF-PID-11").as_predicted()?;
        let child = Peer::start(t, "process 1", Flags::NONE)?;
        t.check(ids_of(t, &child)?).proves("EFF-PID-11").is((1, 0))?;
        let (length, end) = (outside + 1, [child.pid().as_raw(), 1]);
        t.check(ids_by_level(child.pid()))
            .proves("EFF-PID-12")
            .holds(&format!("{length} IDs, the last {end:?}"), |ids| ids.len() == length && ids.ends_with(&end))?;
        // One level further: process 1 calls, and forks a child that ends at once. What it has seen of the child's
        // IDs comes back.
        let call = unshare_by(t, &child, Flags::NEWPID)?.called("unshare(CLONE_NEWPID) by process 1");
        t.check(call).proves("EFF-PID-11").succeeds()?;
        let call = child.call(t, "NSpid of a child of process 1, as the child reads it", (), |()| status_of_child())?;
        t.check(call).proves("EFF-PID-12").holds("process 2 there, process 1 one level further in", |ids| {
            ids.len() == outside + 2 && ids.ends_with(&[2, 1])
        })?;
        Ok(())
    }
});

/// Forks a child that reads its own NSpid from the /proc of the outermost observer and hands it over a pipe.
fn status_of_child() -> Result<Vec<i32>, Errno> {
    use std::io::{Read, Write};
    let (output, input) = nix::unistd::pipe()?;
    // SAFETY: the process is single-threaded; the child reads a file, writes, and ends.
    match unsafe { fork()? } {
        ForkResult::Child => {
            drop(output);
            let text = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            let _ = File::from(input).write_all(line.as_bytes());
            // SAFETY: ends the child without destructors.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(input);
            let mut line = String::new();
            let read = File::from(output).read_to_string(&mut line);
            let _ = waitpid(child, None);
            read.map_err(|_| Errno::EIO)?;
            Ok(line.split_whitespace().flat_map(str::parse).collect())
        }
    }
}

case!(Case {
    name: "separation.pid.once",
    about: "A second call fails (EINVAL) while the children's namespace differs from the caller's; theirs stays.",
    proves: &["ERR-08", "EFF-PID-02"],
    source: "unshare(2), ERRORS (EINVAL)",
    run: |t| {
        t.unshare(Flags::NEWPID).proving("EFF-PID-02").as_predicted()?;
        let again = Start { children_elsewhere: true, ..Start::of(t.facts()) };
        t.unshare(Flags::NEWPID).from(again).proving("ERR-08").as_predicted()?;
        let first = Peer::start(t, "first child", Flags::NONE)?;
        t.check(ids_of(t, &first)?).proves("EFF-PID-02").is((1, 0))?;
        let second = Peer::start(t, "second child", Flags::NONE)?;
        t.check(ids_of(t, &second)?).proves("EFF-PID-02").is((2, 0))?;
        t.unshare(Flags::NEWPID).from(again).proving("ERR-08").as_predicted()
    }
});
