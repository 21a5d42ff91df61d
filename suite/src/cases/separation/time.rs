//! Time namespaces (section 3.11 of the behaviour catalogue): the caller's clocks stay, those of its future children
//! are shifted.

use crate::place::clock::{SHIFT, nanoseconds, nanoseconds_by_vdso};
use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWTIME; time_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::TIME_NS);

/// CLOCK_MONOTONIC and CLOCK_BOOTTIME, each by the system call and by the C library, which reads them in the vDSO
/// without entering the kernel.
const CLOCKS: [(&str, i32, bool); 4] = [
    ("CLOCK_MONOTONIC by system call", libc::CLOCK_MONOTONIC, false),
    ("CLOCK_MONOTONIC by vDSO", libc::CLOCK_MONOTONIC, true),
    ("CLOCK_BOOTTIME by system call", libc::CLOCK_BOOTTIME, false),
    ("CLOCK_BOOTTIME by vDSO", libc::CLOCK_BOOTTIME, true),
];

/// A clock in seconds.
fn seconds((clock, vdso): (i32, bool)) -> Result<i64, Errno> {
    if vdso { nanoseconds_by_vdso(clock) } else { nanoseconds(clock) }.map(|now| now / SECOND)
}

/// All four readings of a task.
#[track_caller]
fn readings(t: &Test, side: Side) -> Done<[i64; 4]> {
    let mut all = [0; 4];
    for (reading, (name, clock, vdso)) in all.iter_mut().zip(CLOCKS) {
        *reading = side.must(t, name, (clock, vdso), seconds)?;
    }
    Ok(all)
}

/// Checks all four readings of a task against those taken earlier, shifted by so many seconds. A case ends long
/// before half of the shift has passed.
#[track_caller]
fn check_shift(t: &Test, side: Side, earlier: [i64; 4], shift: i64, requirement: &'static str) -> Done {
    check_shifts(t, side, earlier, [shift; 4], requirement)
}

/// The same with a shift for each reading.
#[track_caller]
fn check_shifts(t: &Test, side: Side, earlier: [i64; 4], shifts: [i64; 4], requirement: &'static str) -> Done {
    for (((name, clock, vdso), earlier), shift) in CLOCKS.into_iter().zip(earlier).zip(shifts) {
        let since = side.ask(t, &format!("{name}, as read"), (clock, vdso), seconds)?.map(|now| now - earlier);
        let expected = format!("{shift} seconds and little more since it was read before the call");
        t.check(since).proves(requirement).holds(&expected, |passed| (shift..shift + SHIFT / 2).contains(passed))?;
    }
    Ok(())
}

/// Writes the offsets of the namespace that the caller's children will be in.
fn write_offsets(monotonic: i64, boottime: i64) -> Call<()> {
    let path = "/proc/self/timens_offsets";
    // proc_pid_timens_offsets(5): names since 5.6, numbers as well; each line seconds, nanoseconds.
    let text = format!("monotonic {monotonic} 0\nboottime {boottime} 0\n");
    Call::io(format!("write({path}, {text:?})"), fs::write(path, &text))
}

case!(Case {
    name: "separation.time.caller_stays",
    about: "The caller gets another link time_for_children, and keeps its time namespace and clocks whatever the new \
            offsets.",
    proves: &["EFF-TIME-01", "EFF-TIME-02"],
    run: |t| {
        let observer = Observer::open(t)?;
        let older = Peer::start(t, "older child", Flags::NONE)?;
        let own = observer.namespace_inode(Ns::Time);
        let (mine, its) = (readings(t, Side::Caller)?, readings(t, Side::Peer(&older))?);
        t.unshare(Flags::NEWTIME).beside(&[&older]).proving("EFF-TIME-01").as_predicted()?;
        t.setup(write_offsets(SHIFT, SHIFT))?;
        t.check(observer.namespace(Ns::Time)).proves("EFF-TIME-01").is(own)?;
        t.check(observer.namespace(Ns::TimeForChildren)).proves("EFF-TIME-01").is_not(own)?;
        check_shift(t, Side::Caller, mine, 0, "EFF-TIME-02")?;
        check_shift(t, Side::Peer(&older), its, 0, "EFF-GEN-03")
    }
});

case!(Case {
    name: "separation.time.offsets",
    about: "The new namespace's offsets can be written repeatedly until the first task enters it (then EACCES).",
    proves: &["EFF-TIME-03", "EFF-TIME-04"],
    source: "time_namespaces(7), /proc/pid/timens_offsets",
    run: |t| {
        const ID: &str = "EFF-TIME-03";
        let before = readings(t, Side::Caller)?;
        t.unshare(Flags::NEWTIME).proving(ID).as_predicted()?;
        t.check(write_offsets(7 * SHIFT, 7 * SHIFT)).proves(ID).succeeds()?;
        t.check(write_offsets(SHIFT, SHIFT)).proves(ID).succeeds()?;
        let first = Peer::start(t, "first child", Flags::NONE)?;
        t.check(write_offsets(2 * SHIFT, 2 * SHIFT)).proves(ID).fails_with(Errno::EACCES)?;
        check_shift(t, Side::Peer(&first), before, SHIFT, "EFF-TIME-04")?;
        let second = Peer::start(t, "second child", Flags::NONE)?;
        check_shift(t, Side::Peer(&second), before, SHIFT, "EFF-TIME-04")
    }
});

case!(Case {
    name: "separation.time.forked_child",
    about: "A child forked after the call is in the new namespace: its monotonic and boot-time clocks are shifted by \
            their offsets, by system call and vDSO; the caller's are not.",
    proves: &["EFF-TIME-04", "EFF-GEN-03"],
    source: "time_namespaces(7)",
    run: |t| {
        const ID: &str = "EFF-TIME-04";
        let observer = Observer::open(t)?;
        let before = readings(t, Side::Caller)?;
        t.unshare(Flags::NEWTIME).proving(ID).as_predicted()?;
        t.setup(write_offsets(SHIFT, 3 * SHIFT))?;
        let child = Peer::start(t, "child", Flags::NONE)?;
        let new = observer.namespace_inode(Ns::TimeForChildren);
        for ns in [Ns::Time, Ns::TimeForChildren] {
            let link = namespace_of(child.pid(), ns).called(format!("the child's ns/{}", ns.link()));
            t.check(link).proves(ID).is(new)?;
        }
        check_shifts(t, Side::Peer(&child), before, [SHIFT, SHIFT, 3 * SHIFT, 3 * SHIFT], ID)?;
        check_shift(t, Side::Caller, before, 0, "EFF-TIME-02")
    }
});

/// CLOCK_MONOTONIC, for a task that shares the caller's memory: nothing but the system call.
fn monotonic_in_vfork_child() -> i64 {
    nanoseconds(libc::CLOCK_MONOTONIC).map_or(-1, |now| now / SECOND)
}

case!(Case {
    name: "separation.time.memory_sharing_child",
    about: "A child that shares the caller's memory (vfork) shares the page of its clocks: until Linux 6.2 it is \
            refused (EINVAL), since then it stays in the caller's time namespace, with clocks that are not shifted.",
    proves: &["EFF-TIME-05"],
    source: "clone(2), ERRORS (EINVAL); time_namespaces(7)",
    run: |t| {
        let allowed = kernel::exec_enters_time_namespace(t)?;
        let before = readings(t, Side::Caller)?[0];
        t.unshare(Flags::NEWTIME).as_predicted()?;
        t.setup(write_offsets(SHIFT, SHIFT))?;
        if !allowed {
            // clone(2) without a stack of its own for the child is enough to be refused.
            // SAFETY: a child, if there is one against all expectation, ends at once on the caller's stack while the
            // caller sleeps in vfork.
            let made = unsafe {
                let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
                let stack = vec![0u8; 64 * 1024].leak();
                libc::clone(end_at_once, stack.as_mut_ptr().add(60 * 1024).cast(), flags, std::ptr::null_mut())
            };
            return t.check(Call::new("clone(CLONE_VM|CLONE_VFORK)", Errno::result(made))).fails_with(Errno::EINVAL);
        }
        let now = vm::in_vfork_child(t, monotonic_in_vfork_child)?;
        t.check(Call::seen("CLOCK_MONOTONIC in a vfork child, since before the call", now - before))
            .holds("little more than 0 seconds", |passed| (0..SHIFT / 2).contains(passed))
            .map(drop)
    }
});

extern "C" fn end_at_once(_: *mut c_void) -> c_int {
    0
}

case!(Case {
    name: "separation.time.execve",
    about: "execve(2) by the caller moves it into the new time namespace since Linux 6.2; all other links stay.",
    proves: &["EFF-TIME-07", "DOC-09", "DIFF-16"],
    source: "time_namespaces(7)",
    run: |t| {
        const ID: &str = "EFF-TIME-07";
        let moves = kernel::exec_enters_time_namespace(t)?;
        let observer = Observer::open(t)?;
        let own: Vec<_> = Ns::ALL.map(|ns| observer.namespace_inode(ns)).into();
        let (read, write) = t.setup(Call::new("pipe()", nix::unistd::pipe()))?;
        let executed = Executed::after(t, "caller", |t| {
            t.unshare(Flags::NEWTIME).proving(ID).as_predicted()?;
            let new = observer.namespace_inode(Ns::TimeForChildren);
            let told = nix::unistd::write(&write, &new.to_ne_bytes());
            t.setup(Call::new("write(pipe)", told)).map(drop)
        })?;
        let mut bytes = [0; 8];
        t.setup(Call::new("read(pipe)", nix::unistd::read(&read, &mut bytes)))?;
        let new = u64::from_ne_bytes(bytes);
        let expected = |ns: Ns| match ns {
            Ns::Time if moves => new,
            Ns::TimeForChildren => new,
            _ => own[ns as usize],
        };
        for ns in Ns::ALL.into_iter().filter(|ns| expected(*ns) != 0) {
            let seen = namespace_of(executed.pid(), ns);
            let text = format!("ns/{} of the caller after execve", ns.link());
            t.check(seen.called(text)).proves(ID).is(expected(ns))?;
        }
        Ok(())
    }
});
