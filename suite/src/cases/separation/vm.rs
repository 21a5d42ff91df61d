//! Memory, signal handlers and thread group (section 3.3 of the behaviour catalogue).
//!
//! The 2006 document has unshare(CLONE_VM) give the caller a copy of its memory. No released kernel does (DIFF-03):
//! the call is refused while the memory is shared, and succeeds without any effect when it is not.

use crate::observe::sharing;
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 7.3 and 8 (3); unshare(2), CLONE_VM";

const MEMORY_AND_HANDLERS: Flags = Flags(Flags::VM.0 | Flags::SIGHAND.0);

/// Checks by kcmp that the caller and a task share what the flags name, where there is kcmp.
#[track_caller]
fn check_identities(t: &Test, sharer: &VmTask, shared: Flags, requirement: &'static str) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let (own, other) = (getpid().as_raw(), sharer.pid().as_raw());
    for (flag, what) in [(Flags::VM, Shared::Vm), (Flags::SIGHAND, Shared::Sighand)] {
        if shared.contains(flag) {
            t.check(sharing(what, own, other)).proves(requirement).is(true)?;
        }
    }
    Ok(())
}

fn calls_with_vm() -> Vec<Variant> {
    let rest = Flags::FS | Flags::FILES | Flags::SYSVSEM;
    variants::of_flags([Flags::VM, Flags::VM | Flags::SIGHAND | Flags::THREAD, Flags::VM | rest])
}

case!(Case {
    name: "separation.vm.shared",
    about: "CLONE_VM is refused (EINVAL) while another process shares the memory: it stays shared, and nothing else \
            named is separated.",
    proves: &["EFF-VM-02", "DIFF-03"],
    variants: calls_with_vm,
    run: |t| {
        const ID: &str = "EFF-VM-02";
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        let sharer = VmTask::start(t, Flags::NONE)?;
        sharer.check_shared(t, "before the call", ID)?;
        let start = Start { memory_shared: true, ..Start::of(t.facts()) };
        t.unshare(t.param::<Flags>()).from(start).beside(&[&peer]).proving(ID).as_predicted()?;
        sharer.check_shared(t, "after the call", ID)?;
        check_identities(t, &sharer, Flags::VM, ID)?;
        all([Shared::Fs, Shared::Files, Shared::Sysvsem].map(|what| check_kcmp(t, &peer, what, true, ID)))
    }
});

fn calls_that_succeed() -> Vec<Variant> {
    vec![
        Variant::new("sighand_beside_vm", (Flags::SIGHAND, false)).proving(["EFF-VM-03"]),
        Variant::new("thread_beside_vm", (Flags::THREAD, false)).proving(["EFF-VM-03"]),
        Variant::new("thread_beside_vm_and_sighand", (Flags::THREAD, true)).proving(["EFF-VM-04"]),
    ]
}

case!(Case {
    name: "separation.vm.kept",
    about: "Beside a process that shares the memory, CLONE_THREAD, and CLONE_SIGHAND with unshared handlers, succeed \
            and leave memory and handlers shared as they were.",
    proves: &["EFF-VM-03", "EFF-VM-04"],
    variants: calls_that_succeed,
    run: |t| {
        let (flags, handlers_shared): (Flags, bool) = t.param();
        let (id, shared) = if handlers_shared { ("EFF-VM-04", MEMORY_AND_HANDLERS) } else { ("EFF-VM-03", Flags::VM) };
        let sharer = VmTask::start(t, shared)?;
        sharer.check_shared(t, "before the call", id)?;
        let start = Start { memory_shared: true, handlers_shared, ..Start::of(t.facts()) };
        t.unshare(flags).from(start).proving(id).as_predicted()?;
        sharer.check_shared(t, "after the call", id)?;
        check_identities(t, &sharer, shared, id)
    }
});

case!(Case {
    name: "separation.vm.handlers_shared",
    about: "CLONE_SIGHAND is refused (EINVAL) while another process shares the handlers; they and the memory stay \
            shared.",
    proves: &["EFF-VM-04", "IMP-06"],
    source: "unshare(2), CLONE_SIGHAND",
    run: |t| {
        const ID: &str = "EFF-VM-04";
        let sharer = VmTask::start(t, MEMORY_AND_HANDLERS)?;
        let start = Start { memory_shared: true, handlers_shared: true, ..Start::of(t.facts()) };
        for flags in [Flags::SIGHAND, Flags::SIGHAND | Flags::THREAD, Flags::VM] {
            t.unshare(flags).from(start).proving(ID).as_predicted()?;
        }
        sharer.check_shared(t, "after the calls", ID)?;
        check_identities(t, &sharer, MEMORY_AND_HANDLERS, ID)
    }
});

case!(Case {
    name: "separation.vm.second_thread",
    about: "CLONE_THREAD is refused (EINVAL) while the process has a second thread, which stays; alone again, the \
            caller succeeds.",
    proves: &["MT-02", "EFF-VM-06"],
    source: "unshare(2), CLONE_THREAD",
    run: |t| {
        let thread = IdleThread::start(t)?;
        let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
        t.unshare(Flags::THREAD).from(start).proving("MT-02").as_predicted()?;
        let threads = Call::seen("threads of the process", threads::count());
        t.check(threads).proves("MT-02").is(2)?;
        thread.end();
        wait_until_alone();
        t.unshare(Flags::THREAD).proving("EFF-VM-06").as_predicted()?;
        Ok(())
    }
});

fn lone_calls() -> Vec<Variant> {
    variants::of_flags([Flags::VM, Flags::SIGHAND, Flags::THREAD, Flags::VM | Flags::SIGHAND | Flags::THREAD])
}

/// Puts a number at an address and gives what was there.
pub(super) fn exchange((address, number): (usize, u32)) -> Result<u32, Errno> {
    // SAFETY: callers pass the address of a live, aligned number of their own or of a mapping that is never undone.
    let number_there = unsafe { &*(address as *const AtomicU32) };
    Ok(number_there.swap(number, Ordering::SeqCst))
}

case!(Case {
    name: "separation.vm.alone",
    about: "CLONE_VM, CLONE_SIGHAND and CLONE_THREAD by a single-threaded task with unshared memory change nothing: \
            memory keeps its content, shared mappings stay shared, private ones private, handlers run.",
    proves: &["EFF-VM-01", "DIFF-05"],
    variants: lone_calls,
    run: |t| {
        const ID: &str = "EFF-VM-01";
        // SAFETY: zeroes are a valid number.
        let mapped = unsafe { map_zeroed::<AtomicU32>() };
        let shared = std::ptr::from_ref(t.setup(Call::io("mmap(MAP_SHARED)", mapped))?) as usize;
        let private = Box::new(AtomicU32::new(11));
        let private_at = std::ptr::from_ref(&*private) as usize;
        t.setup(signals::catch(Signal::SIGUSR1))?;
        t.setup(signals::block(Signal::SIGUSR2))?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        t.setup(Call::new("write(shared memory)", exchange((shared, 21))))?;
        t.unshare(t.param::<Flags>()).beside(&[&peer]).proving(ID).as_predicted()?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        // Shared memory, written by each in turn.
        for (side, new, old) in [(other, 22, 21), (caller, 23, 22), (other, 24, 23)] {
            t.check(side.ask(t, "what is in shared memory, read", (shared, new), exchange)?).proves(ID).is(old)?;
        }
        // Private memory: the peer has its own copy, made by fork.
        for (side, new, old) in [(caller, 12, 11), (other, 13, 11), (caller, 14, 12), (other, 15, 13)] {
            t.check(side.ask(t, "what is in private memory, read", (private_at, new), exchange)?).proves(ID).is(old)?;
        }
        t.setup(Call::new("raise(SIGUSR1)", raise(Signal::SIGUSR1)))?;
        t.check(Call::seen("runs of the handler of SIGUSR1", signals::caught())).proves(ID).is(1)?;
        all([Shared::Fs, Shared::Files, Shared::Sysvsem].map(|what| check_kcmp(t, &peer, what, true, ID)))
    }
});
