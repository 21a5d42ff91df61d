//! unshare(2) and the calls that make and end tasks and programs: clone, execve, exit (section 8 of the behaviour
//! catalogue).

use crate::prelude::*;

case!(Case {
    name: "interactions.clone.shares_the_new",
    about: "A task made by clone(CLONE_FS|CLONE_FILES) after unshare(CLONE_FS|CLONE_FILES) shares the caller's new \
            root, cwd, umask and descriptors, and nothing with the former sharer.",
    proves: &["INT-02"],
    source: "clone(2), CLONE_FS; kernel, kernel/fork.c",
    run: |t| {
        const ID: &str = "INT-02";
        let both = Flags::FS | Flags::FILES;
        let dirs = ProbeDirs::make(t, &[Probe::Cwd])?;
        let former = Peer::start(t, "former sharer", both)?;
        t.unshare(both).beside(&[&former]).as_predicted()?;
        let new = Peer::start(t, "new sharer", both)?;
        for (peer, shared) in [(&new, true), (&former, false)] {
            check_kcmp(t, peer, Shared::Fs, shared, ID)?;
            check_kcmp(t, peer, Shared::Files, shared, ID)?;
        }
        for probe in [Probe::Cwd, Probe::Umask, Probe::Descriptor] {
            check_shared(t, &dirs, probe, (Side::Caller, Side::Peer(&new)), ID)?;
            check_apart(t, &dirs, probe, (Side::Peer(&new), Side::Peer(&former)), ID)?;
        }
        Ok(())
    }
});

/// clone(2) with these flags. A child, which no conforming kernel makes here, ends at once.
fn clone(flags: Flags) -> Call<()> {
    // SAFETY: no CLONE_VM and no flag that takes a pointer; the process has one thread.
    let result = unsafe { fork_sharing(flags.0) };
    if let Ok(pid) = result {
        if pid.as_raw() == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let _ = waitpid(pid, Some(WaitPidFlag::__WALL));
    }
    Call::new(format!("clone({flags}|SIGCHLD)"), result.map(drop))
}

case!(Case {
    name: "interactions.clone.contradiction",
    about: "clone(2) refuses a new namespace together with what must not be shared across it (EINVAL), since its \
            CLONE_FS and CLONE_SYSVSEM share; those of unshare(2) separate, and the same pair succeeds.",
    proves: &["INT-03"],
    source: "clone(2), ERRORS; 2006 design document, 4; kernel, kernel/fork.c",
    variants: || {
        let pairs = [Flags::NEWNS | Flags::FS, Flags::NEWUSER | Flags::FS, Flags::NEWIPC | Flags::SYSVSEM];
        let undo = |variant: Variant| match variant.param::<Flags>().contains(Flags::SYSVSEM) {
            true => variant.needing(Needs::NONE.with(feature::SYSV_IPC)),
            false => variant,
        };
        variants::succeeding(pairs).into_iter().map(undo).collect()
    },
    run: |t| {
        let flags = t.param::<Flags>();
        t.check(clone(flags)).fails_with(Errno::EINVAL)?;
        t.unshare(flags).as_predicted()
    }
});

/// What a task knew of itself before it executed a program, by the order of [`Ns::ALL`].
#[repr(C)]
struct Before {
    namespaces: [AtomicU64; Ns::ALL.len()],
    umask: AtomicU64,
}

/// A number for a descriptor that stays open, and one for a descriptor that closes on exec.
const STAYS: i32 = 150;
const CLOSES: i32 = 151;

/// The descriptors [`STAYS`] and [`CLOSES`] of a task, those that are open.
fn descriptors_of(task: impl fmt::Display, whose: &str) -> Call<BTreeSet<i32>> {
    let list = fs::read_dir(format!("/proc/{task}/fd")).map(|entries| {
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|fd: &i32| (STAYS..=CLOSES).contains(fd))
            .collect()
    });
    Call::io(format!("descriptors {STAYS} and {CLOSES} of {whose}"), list)
}

fn open_both() -> Result<(), Errno> {
    dup_to(0, STAYS, 0)?;
    dup_to(0, CLOSES, libc::O_CLOEXEC)
}

case!(Case {
    name: "interactions.execve.keeps",
    about: "execve(2) keeps what unshare(2) separated: all namespaces (but the time namespace, which it enters since \
            Linux 6.2), umask and descriptors; it closes what closes on exec in the caller's table, and not in that \
            of the former sharer.",
    proves: &["INT-05"],
    source: "execve(2), Effect on process attributes; kernel, fs/exec.c",
    // In an empty mount namespace there is nothing to execute.
    quick: one_in(4, 2),
    variants: || variants::succeeding(Flags::KNOWN.into_iter().filter(|flag| *flag != Flags::EMPTY)),
    run: |t| {
        let flags = t.param::<Flags>() | Flags::FS | Flags::FILES;
        let enters = flags.contains(Flags::NEWTIME) && kernel::exec_enters_time_namespace(t)?;
        // SAFETY: zeroes are valid.
        let before = t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed::<Before>() }))?;
        t.setup(Call::new("dup3()", open_both()))?;
        let executed = Executed::sharing(t, "caller", Flags::FS | Flags::FILES, |t| {
            let observer = Observer::open(t)?;
            t.unshare(flags).as_predicted()?;
            umask(Mode::from_bits_truncate(0o031));
            let state = observer.state();
            for (word, ns) in before.namespaces.iter().zip(Ns::ALL) {
                word.store(state.namespace(ns), Ordering::Release);
            }
            before.umask.store(state.umask.into(), Ordering::Release);
            Ok(())
        })?;
        let pid = executed.pid();
        let of = |ns: Ns| before.namespaces[ns as usize].load(Ordering::Acquire);
        for ns in Ns::ALL {
            let expected = of(if ns == Ns::Time && enters { Ns::TimeForChildren } else { ns });
            // A link that leads nowhere, or that this kernel lacks.
            if expected == 0 {
                continue;
            }
            t.check(namespace_of(pid, ns).called(format!("ns/{} after execve()", ns.link()))).is(expected)?;
        }
        let status = t.setup(Call::io("read(status)", fs::read_to_string(format!("/proc/{pid}/status"))))?;
        let umask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("Umask:")?.trim(), 8).ok());
        t.check(Call::seen("umask after execve()", umask)).is(Some(before.umask.load(Ordering::Acquire)))?;
        t.check(descriptors_of(pid, "the executed program")).is([STAYS].into())?;
        t.check(descriptors_of("self", "the former sharer")).is([STAYS, CLOSES].into())
    }
});

case!(Case {
    name: "interactions.execve.unshares_descriptors",
    about: "execve(2) by a task that shares its descriptors gives it a table of its own, without any unshare(2): \
            what closes on exec closes for it, and stays open for the sharer.",
    proves: &["INT-18"],
    source: "execve(2), Effect on process attributes; kernel, fs/exec.c",
    run: |t| {
        t.setup(Call::new("dup3()", open_both()))?;
        let executed = Executed::sharing(t, "caller", Flags::FILES, |_| Ok(()))?;
        let (pid, sharer) = (executed.pid().as_raw(), std::process::id() as i32);
        t.check(descriptors_of(pid, "the executed program")).is([STAYS].into())?;
        t.check(descriptors_of("self", "its former sharer")).is([STAYS, CLOSES].into())?;
        if t.facts().has(feature::KCMP) {
            t.check(observe::sharing(Shared::Files, pid, sharer)).is(false)?;
        }
        Ok(())
    }
});

/// Stops the calling task until it gets SIGCONT.
fn stop_here(t: &Test) -> Done {
    t.setup(Call::new("raise(SIGSTOP)", raise(Signal::SIGSTOP)))
}

fn wait_until_stopped(t: &Test, task: Pid) -> Done {
    let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::__WALL;
    t.setup(Call::new("waitpid(WUNTRACED)", waitpid(task, Some(flags)))).map(drop)
}

/// Who leaves the sharing of root and cwd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaver {
    Nobody,
    Caller,
    Sharer,
}

case!(Case {
    name: "interactions.execve.set_user_id",
    about: "A set-user-ID program is not raised while another process shares root and cwd with its caller; after \
            unshare(CLONE_FS) by the caller, or by the sharer, it is.",
    proves: &["INT-19"],
    source: "execve(2); kernel, fs/exec.c",
    needs: setuid_exec::NEEDS,
    quick: one_in(2, 0),
    variants: || variants::named(&[
        ("shared", Leaver::Nobody),
        ("caller_left", Leaver::Caller),
        ("sharer_left", Leaver::Sharer),
    ]),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let leaver: Leaver = t.param();
        let program = Program::new(t)?;
        let mut caller = t.spawn_sharing("caller", Flags::FS.0, |t| {
            become_unprivileged(t)?;
            match leaver {
                Leaver::Nobody => {}
                Leaver::Caller => t.check(unshare(Flags::FS)).succeeds()?,
                Leaver::Sharer => {
                    // The case's first task is the sharer: it leaves before this one goes on.
                    stop_here(t)?;
                }
            }
            t.setup(program.execute())
        })?;
        if leaver == Leaver::Sharer {
            wait_until_stopped(t, caller.pid())?;
            t.check(unshare(Flags::FS)).succeeds()?;
            t.setup(Call::new("kill(SIGCONT)", kill(caller.pid(), Signal::SIGCONT)))?;
        }
        let user = effective_user(t, caller.pid())?;
        caller.kill();
        let expected = if leaver == Leaver::Nobody { setuid_exec::ORDINARY } else { 0 };
        t.check(Call::seen("effective user of the set-user-ID program", user)).is(expected)
    })
});

case!(Case {
    name: "interactions.exit.releases",
    about: "When the caller exits, its namespace goes: where the limit has room for one, there is none while the \
            caller lives and room again afterwards. A task that shared root, cwd, descriptors and undo list with it \
            keeps all of its state.",
    proves: &["INT-06"],
    source: "namespaces(7), Namespace lifetime; kernel, kernel/exit.c",
    needs: limits::NEEDS,
    quick: one_in(3, 0),
    variants: || variants::each_kind_but(&[Flags::NEWUSER]),
    run: |t| {
        const ID: &str = "INT-06";
        let flag = t.param::<Flags>();
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            limits::set(t, flag, 1 + used(flag))?;
            let observer = Observer::open(t)?;
            let before = observer.state();
            let caller = t.spawn_sharing("caller", (Flags::FS | Flags::FILES | Flags::SYSVSEM).0, |t| {
                t.check(unshare(flag)).succeeds()?;
                stop_here(t)
            })?;
            wait_until_stopped(t, caller.pid())?;
            t.in_child(|t| {
                let call = unshare(flag).called(format!("unshare({flag}) while the caller lives"));
                t.check(call).fails_with(Errno::ENOSPC)
            })?;
            t.setup(Call::new("kill(SIGCONT)", kill(caller.pid(), Signal::SIGCONT)))?;
            caller.join(t)?;
            check_room_for(t, flag, 1, ID)?;
            check_changes(t, flag, ID, &Prediction::nothing(), &before, &observer.state())
        })
    }
});
