//! Calls in tasks that are interrupted, stopped, frozen or killed, and beside tasks that end (section 7 of the
//! behaviour catalogue).

use crate::engines::race::DEADLINE;
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 8 (4); kernel, kernel/fork.c";

case!(Case {
    name: "races.thread_exit",
    about: "While the only other thread of the process ends, CLONE_THREAD, CLONE_SIGHAND, CLONE_VM and CLONE_NEWUSER \
            give EINVAL, and from some moment on 0: nothing else, and never EINVAL again.",
    proves: &["MT-15"],
    source: "2006 design document, 5 (EINVAL); kernel, kernel/exit.c and kernel/fork.c",
    quick: one_in(2, 0),
    variants: || [Flags::THREAD, Flags::SIGHAND, Flags::VM, Flags::NEWUSER].map(for_flags).into(),
    run: |t| {
        let flag = t.param::<Flags>();
        play(t, 1, |random, barrier| {
            let its = delay(random);
            t.in_child(|t| {
                let other = std::thread::Builder::new().spawn(move || barrier.start(2, its));
                let other = t.setup(Call::io("pthread_create()", other))?;
                t.check(unshare(flag)).fails_with(Errno::EINVAL)?;
                barrier.start(2, 0);
                let mut refused = 0;
                // The thread leaves its group within a moment; a kernel that never lets it go fails.
                let mut limit = t.time_limit(ENOUGH_TO_END);
                loop {
                    let call = unshare(flag);
                    let is_refused = call.result() == Err(Failure::Errno(Errno::EINVAL));
                    if !is_refused || !limit.spend(Duration::ZERO) {
                        t.check(call.called(format!("unshare({flag}) as the other thread ends"))).succeeds()?;
                        break;
                    }
                    refused += 1;
                }
                let _ = other.join();
                barrier.put(0, refused);
                // A second user namespace would take maps that nobody has written.
                if flag != Flags::NEWUSER {
                    t.check(unshare(flag).called(format!("unshare({flag}) after it succeeded once"))).succeeds()?;
                }
                Ok(())
            })?;
            Ok(if barrier.get(0) == 0 { "at once" } else { "refused at first" })
        })
    }
});

/// How long a thread that returns from its function may take to leave its process.
const ENOUGH_TO_END: Duration = Duration::from_secs(2);

/// How large a core dump may get.
const CORE: u64 = 1 << 20;

/// Lets the calling task dump core into its current directory, where dumps go there.
fn allow_core_dump(t: &Test) -> Done {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with(['|', '@']) || pattern.contains('/') {
        return Err(t.skip(format!(
            "core dumps leave the case's directory here (kernel.core_pattern is {:?}): run it in a guest",
            pattern.trim()
        )));
    }
    if setrlimit(Resource::RLIMIT_CORE, CORE, CORE).is_err() {
        return Err(t.skip("core dumps are not allowed here (RLIMIT_CORE): raise the hard limit"));
    }
    Ok(())
}

case!(Case {
    name: "races.core_dump",
    about: "While a sharer of root, cwd and descriptors dumps core, unshare succeeds and separates what it separates \
            in any other state.",
    proves: &["MT-16"],
    source: "core(5); kernel, fs/coredump.c and kernel/fork.c",
    quick: one_in(2, 0),
    variants: || variants::succeeding([Flags::FS, Flags::FILES, Flags::FS | Flags::FILES, Flags::NEWNS]),
    run: |t| {
        allow_core_dump(t)?;
        let directory = t.directory()?;
        play(t, 8, |random, barrier| {
            let (mine, its) = (delay(random) * 8, delay(random));
            t.in_child(|t| {
                t.setup(Call::new("chdir(private directory)", chdir(directory)))?;
                let third = Peer::start(t, "third task", Flags::FS | Flags::FILES)?;
                let mut sharer = barrier.spawn(t, "sharer", Flags::FS | Flags::FILES, |_| {
                    barrier.start(2, its);
                    let _ = kill(getpid(), Signal::SIGSEGV);
                    Ok(())
                })?;
                barrier.start(2, mine);
                let prediction = t.unshare(t.param::<Flags>()).prediction()?;
                check_separated(t, &third, &prediction, "MT-16")?;
                let end = t.setup(Call::new("waitpid()", sharer.wait()))?;
                let dumped = |end: &WaitStatus| match end {
                    WaitStatus::Signaled(_, Signal::SIGSEGV, dumped) => Some(*dumped),
                    _ => None,
                };
                t.check(Call::seen("end of the sharer", end)).holds("death by SIGSEGV", |end| dumped(end).is_some())?;
                barrier.put(0, u64::from(dumped(&end) == Some(true)));
                Ok(())
            })?;
            Ok(["without a core dump", "with a core dump"][barrier.get(0) as usize])
        })
    }
});

case!(Case {
    name: "races.signals",
    about: "Under a storm of timer signals that are caught without SA_RESTART, each flag succeeds and changes just \
            what it names: never EINTR, and nothing done by half.",
    proves: &["RACE-20"],
    quick: one_in(4, 2),
    variants: variants::each_flag,
    run: |t| {
        let flag = t.param::<Flags>();
        // The second call of these finds another state than the first.
        let calls = match t.tier() {
            _ if flag.intersects(Flags::NEWPID | Flags::NEWUSER | Flags::EMPTY) => 1,
            Tier::Quick => 8,
            _ => 20,
        };
        play(t, 8, |_, _| {
            t.in_child(|t| {
                t.setup(signals::catch(Signal::SIGALRM))?;
                t.setup(signals::set_timer(100))?;
                (0..calls).try_for_each(|_| t.unshare(flag).as_predicted())
            })?;
            Ok("of signals")
        })
    }
});

/// How many calls a task makes while it is stopped and let go on.
const CALLS: u32 = 12;

fn ways_to_stop() -> Vec<Variant> {
    [("network_namespaces", Flags::NEWNET), ("mount_namespaces", Flags::NEWNS)]
        .into_iter()
        .flat_map(|(name, flag)| {
            [
                Variant::new(format!("{name}_stopped"), (flag, false)).needing(needs_of(flag)),
                Variant::new(format!("{name}_frozen"), (flag, true)).needing(needs_of(flag).and(ControlGroup::NEEDS)),
            ]
        })
        .collect()
}

/// Freezes or thaws a cgroup.
fn freeze(group: &Path, frozen: bool) -> Call<()> {
    let path = group.join("cgroup.freeze");
    let text = if frozen { "1" } else { "0" };
    Call::io(format!("write({text}) to cgroup.freeze"), fs::write(path, text))
}

fn is_frozen(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events")).is_ok_and(|text| text.contains("frozen 1"))
}

case!(Case {
    name: "races.stopped",
    about: "A task that makes namespace after namespace while it is stopped by SIGSTOP or frozen by its cgroup, and \
            let go on, again and again, completes every call.",
    proves: &["RACE-21"],
    source: "kernel, net/core/net_namespace.c and fs/namespace.c; signal(7); cgroups(7)",
    needs: Needs::ROOT,
    quick: one_in(3, 0),
    variants: ways_to_stop,
    run: |t| {
        let (flag, by_group): (Flags, bool) = t.param();
        let group = if by_group { Some(ControlGroup::new(t)?) } else { None };
        play(t, 16, |random, barrier| {
            let task = barrier.spawn(t, "task", Flags::NONE, |t| {
                barrier.start(2, 0);
                let mut done = Ok(());
                for _ in 0..CALLS {
                    done = done.and_then(|()| t.unshare(flag).as_predicted());
                }
                barrier.finish();
                done
            })?;
            if let Some(group) = &group {
                t.setup(move_into(&group.inner(), task.pid()))?;
            }
            barrier.start(2, 0);
            let mut stops = 0;
            while !barrier.is_finished(1) {
                let wait = delay(random);
                if let Some(group) = &group {
                    t.setup(freeze(&group.inner(), true))?;
                    yield_until(|| is_frozen(&group.inner()) || barrier.is_finished(1));
                    t.setup(freeze(&group.inner(), false))?;
                } else {
                    t.setup(Call::new("kill(SIGSTOP)", kill(task.pid(), Signal::SIGSTOP)))?;
                    (0..wait).for_each(|_| std::hint::spin_loop());
                    t.setup(Call::new("kill(SIGCONT)", kill(task.pid(), Signal::SIGCONT)))?;
                }
                stops += 1;
                (0..wait).for_each(|_| std::hint::spin_loop());
            }
            task.join(t)?;
            Ok(if stops > 3 { "with many stops" } else { "with few stops" })
        })
    }
});

case!(Case {
    name: "races.killed",
    about: "A task that makes one set of namespaces after the other is killed, or made to dump core, at a random \
            moment: it ends.",
    proves: &["RACE-25"],
    source: "kernel, kernel/fork.c and kernel/exit.c",
    needs: Needs::ROOT,
    variants: || variants::named(&[("killed", Signal::SIGKILL), ("core_dump", Signal::SIGSEGV)]),
    run: |t| {
        let signal: Signal = t.param();
        if signal == Signal::SIGSEGV {
            allow_core_dump(t)?;
        }
        let directory = t.directory()?;
        let kernel = Kernel::of(t.facts());
        let pool: Vec<Flags> = Flags::KNOWN
            .into_iter()
            .filter(|flag| {
                kernel.effective.contains(*flag) && !flag.intersects(Flags::NEWUSER | Flags::EMPTY | Flags::NEWPID)
            })
            .collect();
        play(t, 2, |random, barrier| {
            let flags = (0..6).fold(Flags::NONE, |flags, _| flags | pool[random.usize(..pool.len())]);
            let (calls, wait) = (random.u32(1..4), 8 * delay(random));
            let mut task = barrier.spawn(t, "task", Flags::FS | Flags::FILES, |t| {
                t.setup(Call::new("chdir(private directory)", chdir(directory)))?;
                loop {
                    barrier.finish();
                    t.check(unshare(flags)).succeeds()?;
                }
            })?;
            barrier.wait_until_finished(calls);
            barrier.start(1, wait);
            t.setup(Call::new("kill()", kill(task.pid(), signal)))?;
            let end = t.setup(Call::new("waitpid()", task.wait()))?;
            t.check(Call::seen(format!("end of a task in unshare({flags}) after a {signal}"), end))
                .holds("death by the signal", |end| matches!(end, WaitStatus::Signaled(_, by, _) if *by == signal))?;
            Ok("ended")
        })
    }
});
