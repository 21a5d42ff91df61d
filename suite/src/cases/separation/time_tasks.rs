//! Threads, vfork and execve after unshare(CLONE_NEWTIME) (section 3.11 of the behaviour catalogue).

use crate::prelude::*;

const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

case!(Case {
    name: "separation.time.new_thread",
    about: "After the call the caller cannot make a thread (EINVAL) until Linux 6.2; since then it can.",
    proves: &["EFF-TIME-06"],
    source: "clone(2), ERRORS (EINVAL); kernel, kernel/fork.c",
    run: |t| {
        let allowed = kernel::exec_enters_time_namespace(t)?;
        let observer = Observer::open(t)?;
        t.unshare(Flags::NEWTIME).as_predicted()?;
        let own = observer.namespace_inode(Ns::Time);
        let made = std::thread::Builder::new().spawn(move || observer.namespace_inode(Ns::Time));
        let made = Call::io("pthread_create()", made);
        if !allowed {
            return t.check(made.map(drop)).fails_with(Errno::EINVAL);
        }
        let thread = t.check(made).succeeds()?;
        match thread.join() {
            Ok(inode) => t.check(Call::seen("ns/time of the new thread", inode)).is(own),
            Err(_) => Err(t.broken("thread", "panicked")),
        }
    }
});

case!(Case {
    name: "separation.time.thread",
    about: "A call by a second thread leaves the first its link time_for_children; setns(2) to a time namespace is \
            refused with two threads (EUSERS), and works in a lone task.",
    proves: &["EFF-TIME-10"],
    source: "setns(2), ERRORS (EUSERS); kernel, kernel/time/namespace.c",
    run: |t| {
        let observer = Observer::open(t)?;
        let old = observer.namespace_inode(Ns::TimeForChildren);
        in_second_thread(t, || {
            let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
            t.unshare(Flags::NEWTIME).from(start).as_predicted()?;
            let new =
                t.setup(Call::new("open(ns/time_for_children)", open_link("thread-self", Ns::TimeForChildren)))?;
            t.check(Call::new("setns(new time namespace) with two threads", enter(&new))).fails_with(Errno::EUSERS)
        })?;
        t.check(observer.namespace(Ns::TimeForChildren)).is(old)?;
        // A task of its own, with nobody else in its memory.
        t.spawn("lone task", |t| {
            t.unshare(Flags::NEWTIME).as_predicted()?;
            let new =
                t.setup(Call::new("open(ns/time_for_children)", open_link("thread-self", Ns::TimeForChildren)))?;
            t.check(Call::new("setns(new time namespace) by a lone task", enter(&new))).succeeds()?;
            t.check(observer.namespace(Ns::Time)).is(observer.namespace_inode(Ns::TimeForChildren))
        })?
        .join(t)
    }
});

/// In a vfork child: has itself traced, so that it stops behind execve, and executes the program.
extern "C" fn execute(program: *mut c_void) -> c_int {
    let none: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: the caller sleeps until the program is executed; path and lists live as long.
    unsafe {
        if syscall!(Sysno::ptrace, libc::PTRACE_TRACEME, 0, 0, 0).is_err() {
            return 1;
        }
        let _ = syscall!(Sysno::execve, program, none.as_ptr(), none.as_ptr());
    }
    2
}

case!(Case {
    name: "separation.time.vfork_and_execve",
    about: "A vfork child enters the new time namespace by execve(2) (Linux 6.2); the caller stays in the old.",
    proves: &["EFF-TIME-08"],
    source: "time_namespaces(7); kernel, fs/exec.c",
    run: |t| {
        if !kernel::exec_enters_time_namespace(t)? {
            return Err(t.skip("this kernel allows no vfork after CLONE_NEWTIME (Linux 6.2)"));
        }
        let observer = Observer::open(t)?;
        let own = observer.namespace_inode(Ns::Time);
        t.unshare(Flags::NEWTIME).as_predicted()?;
        let new = observer.namespace_inode(Ns::TimeForChildren);
        let program: &CStr = c"/proc/self/exe";
        let flags = Flags::VM | Flags(libc::CLONE_VFORK as u64);
        // SAFETY: the child makes system calls only; the caller sleeps until it executes or exits.
        let child = unsafe { vm::start(t, flags, execute, program.as_ptr().cast_mut().cast())? };
        let until = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let seen = match waitid(Id::Pid(child), until) {
            Ok(WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..)) => {
                Ok(namespace_of(child, Ns::Time).called("ns/time of a vfork child after execve"))
            }
            Ok(WaitStatus::Exited(_, 1)) => Err(t.skip(
                "ptrace(2) is refused here: allow it in the container's seccomp profile, or set \
                 kernel.yama.ptrace_scope to 1",
            )),
            other => Err(t.broken("execve() in a vfork child", format!("{other:?}"))),
        };
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
        t.check(seen?).is(new)?;
        t.check(observer.namespace(Ns::Time)).is(own)
    }
});
