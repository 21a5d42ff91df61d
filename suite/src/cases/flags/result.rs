//! What a successful call returns, how often, and what doing it again gives (RET-01 to RET-03 of the behaviour
//! catalogue, section 2.1); and what CLONE_THREAD, CLONE_SIGHAND and CLONE_VM do for a task that is alone, which is
//! nothing (EFF-VM-01).
//!
//! That unshare(2) makes no new process and acts on its caller only holds as the 2006 document has it (DIFF-16).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (return value) and 8 (1); unshare(2), RETURN VALUE";

/// Looks for a child of any kind, alive or dead, without waiting for it.
fn any_child() -> Call<()> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    Call::new("waitid(P_ALL, …, WNOHANG)", waitid(Id::All, flags).map(drop))
}

case!(Case {
    name: "flags.returns_once",
    about: "A successful call returns 0, once, in its caller: no further task comes out of it.",
    proves: &["RET-01", "DIFF-16"],
    quick: one_in(4, 1),
    variants: || [Flags::NONE].into_iter().chain(Flags::KNOWN).map(for_flags).collect(),
    run: |t| {
        let flags = t.param::<Flags>();
        // SAFETY: zeroes are a valid counter.
        let mapped = unsafe { map_zeroed::<AtomicU32>() };
        let returns = t.setup(Call::io("mmap(MAP_SHARED)", mapped))?;
        // In a child, so that what might come out of the call would be its child or sibling.
        t.in_child(|t| {
            t.unshare(flags)
                .by(|flags| {
                    let call = unshare(flags);
                    returns.fetch_add(1, Ordering::SeqCst);
                    call
                })
                .proving("RET-01")
                .as_predicted()?;
            t.check(any_child()).fails_with(Errno::ECHILD)
        })?;
        t.check(any_child()).fails_with(Errno::ECHILD)?;
        t.check(Call::seen("returns from the call", returns.load(Ordering::SeqCst))).is(1)
    }
});

case!(Case {
    name: "flags.repeat.nothing_shared",
    about: "CLONE_FS, CLONE_FILES and CLONE_SYSVSEM give 0 however often they are called by a task that shares \
            nothing, and change nothing: its record locks, which belong to the table of descriptors, stay its own.",
    proves: &["RET-02", "EFF-FS-09", "EFF-SEM-12"],
    variants: || [
        for_flags(Flags::FS).proving(["RET-02", "EFF-FS-09"]),
        for_flags(Flags::FILES).proving(["RET-02"]),
        for_flags(Flags::SYSVSEM).proving(["RET-02", "EFF-SEM-12"]),
        for_flags(Flags::FS | Flags::FILES | Flags::SYSVSEM).proving(["RET-02"]),
    ]
    .into(),
    run: |t| {
        let path = t.directory()?.join("locked");
        let file = t.setup(Call::io("open(locked)", File::create(&path)))?;
        let lock = |file: &File| Call::new("fcntl(F_SETLK, F_WRLCK)", write_lock((libc::F_SETLK, file.as_raw_fd())));
        t.setup(lock(&file))?;
        for _ in 0..3 {
            t.unshare(t.param::<Flags>()).proving("RET-02").as_predicted()?;
            // Another process, whose table is another one, finds the lock held.
            t.in_child(|t| {
                let held = lock(&file).called("fcntl(F_SETLK) by a child on the caller's lock");
                t.check(held).fails_with(Errno::EAGAIN)
            })?;
            t.check(lock(&file).called("fcntl(F_SETLK) on a lock of its own")).succeeds()?;
        }
        Ok(())
    }
});

case!(Case {
    name: "flags.repeat.namespace",
    about: "A task can leave a namespace any number of times: each call gives 0 and another namespace than the one \
            before. CLONE_NEWPID is the exception: its second call gives EINVAL.",
    proves: &["RET-03"],
    needs: Needs::ROOT,
    quick: one_in(2, 0),
    variants: || Flags::PRIVILEGED
        .iter()
        .map(|flag| match flag {
            Flags::NEWPID => for_flags(flag).proving(["ERR-08"]),
            Flags::EMPTY => for_flags(flag).needing(Needs::NONE.with(feature::EMPTY_MNT_NS)),
            _ => for_flags(flag),
        })
        .collect(),
    run: |t| {
        let flag = t.param::<Flags>();
        let requirement = if flag == Flags::NEWPID { "ERR-08" } else { "RET-03" };
        let mut start = Start::of(t.facts());
        for _ in 0..3 {
            let prediction = t.unshare(flag).from(start).proving(requirement).prediction()?;
            start.children_elsewhere |= prediction.must_change.contains(Part::PidForChildrenNs);
        }
        Ok(())
    }
});

case!(Case {
    name: "flags.alone",
    about: "For a task that is alone CLONE_THREAD, CLONE_SIGHAND and CLONE_VM succeed and do nothing: its handlers \
            still run, its blocked signals stay blocked, its memory keeps what was written, and memory it shares by \
            mmap(2) stays shared.",
    proves: &["EFF-VM-01", "MT-01"],
    source: "2006 design document, 5 (CLONE_VM, superseded) and 8 (1); unshare(2), CLONE_VM",
    variants: || [Flags::THREAD, Flags::SIGHAND, Flags::VM, Flags::THREAD | Flags::SIGHAND | Flags::VM]
        .into_iter()
        .map(for_flags)
        .collect(),
    run: |t| {
        t.setup(signals::catch(Signal::SIGUSR1))?;
        t.setup(signals::block(Signal::SIGUSR2))?;
        // SAFETY: zeroes are a valid counter.
        let mapped = unsafe { map_zeroed::<AtomicU32>() };
        let common = t.setup(Call::io("mmap(MAP_SHARED)", mapped))?;
        let sibling = Peer::start(t, "sibling", Flags::NONE)?;
        let address = std::ptr::from_ref(common) as usize;
        let own = Box::new(AtomicU32::new(7));

        t.unshare(t.param::<Flags>()).proving("EFF-VM-01").as_predicted()?;

        t.setup(Call::new("raise(SIGUSR1)", raise(Signal::SIGUSR1)))?;
        t.check(Call::seen("signals caught by the old handler", signals::caught())).is(1)?;
        t.check(Call::seen("private memory", own.load(Ordering::SeqCst))).is(7)?;
        common.store(8, Ordering::SeqCst);
        let seen = sibling.setup(t, "read(shared mapping)", address, |address: usize| {
            // SAFETY: the mapping is at the same place in the sibling, which was forked after it.
            Ok(unsafe { &*(address as *const AtomicU32) }.fetch_add(1, Ordering::SeqCst))
        })?;
        t.check(Call::seen("the caller's write, as its sibling sees it", seen)).is(8)?;
        t.check(Call::seen("the sibling's write", common.load(Ordering::SeqCst))).is(9)
    }
});
