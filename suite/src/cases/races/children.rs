//! Namespaces that only the caller's children enter, and new user namespaces, raced for by those who make, enter and
//! set them up (section 7 of the behaviour catalogue).

use std::io::Write;

use crate::engines::race::DEADLINE;
use crate::place::clock::nanoseconds_by_vdso;
use crate::prelude::*;

/// Forks a child that ends at once with its own process ID as exit status, and gives that. Raw calls: the caller may
/// have further threads.
fn pid_of_child() -> Result<i32, Errno> {
    // As fork(2). The child makes two raw calls on its copy of the memory, and ends.
    // SAFETY: shares nothing.
    let pid = unsafe { abi::fork(libc::SIGCHLD as u64) }.map_err(fds::errno)?;
    if pid == 0 {
        let own = call!(getpid).unwrap_or(255);
        let _ = call!(exit_group, own);
    }
    match waitpid(Pid::from_raw(pid as i32), Some(WaitPidFlag::__WALL))? {
        WaitStatus::Exited(_, own) => Ok(own),
        _ => Err(Errno::ECHILD),
    }
}

case!(Case {
    name: "races.pid.two_threads",
    about: "Two threads of one process call unshare(CLONE_NEWPID) and fork at the same time: each gets a PID \
            namespace of its own, in which its first child is process 1.",
    proves: &["RACE-14"],
    source: "pid_namespaces(7); kernel, kernel/nsproxy.c and kernel/pid_namespace.c",
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        play(t, 1, |random, barrier| {
            let delays = [delay(random), delay(random)];
            t.in_child(|t| {
                let observer = Observer::open(t)?;
                let old = observer.namespace_inode(Ns::PidForChildren);
                let part = |at: usize| {
                    barrier.start(2, delays[at]);
                    let call = unshare(Flags::NEWPID);
                    let child = pid_of_child();
                    // The namespace lives as long as the thread, though its first process is gone.
                    barrier.put(at, observer.namespace_inode(Ns::PidForChildren));
                    barrier.finish();
                    barrier.wait_until_finished(2);
                    t.check(call).succeeds()?;
                    t.check(Call::new("process ID of the first child", child)).is(1)
                };
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| part(1));
                    let first = part(0);
                    let second = other.join().unwrap_or_else(|_| Err(t.broken("thread", "panicked")));
                    first.and(second)
                })?;
                t.check(Call::seen("ns/pid_for_children of both threads", [barrier.get(0), barrier.get(1)]))
                    .holds("two namespaces, none of them the old", |[a, b]| a != b && *a != old && *b != old)
                    .map(drop)
            })?;
            Ok("with two namespaces")
        })
    }
});

case!(Case {
    name: "races.pid.first_child",
    about: "Two tasks whose children go to the same new PID namespace fork at the same time: one of the children is \
            process 1, the other is process 2 or cannot be made, since process 1 is not there yet (EINVAL) or has \
            ended (ENOMEM).",
    proves: &["RACE-15"],
    source: "pid_namespaces(7); kernel, kernel/pid.c",
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        // No other call makes this state. That the link leads nowhere is judged elsewhere (EFF-PID-03); here it only
        // means that no second task gets there.
        t.in_child(|t| {
            t.check(unshare(Flags::NEWPID)).succeeds()?;
            match open_link("thread-self", Ns::PidForChildren) {
                Err(Errno::ENOENT) => Err(t.skip(
                    "on this kernel no second task can have its children in a PID namespace that has no process yet \
                     (Linux 7.1)",
                )),
                _ => Ok(()),
            }
        })?;
        play(t, 1, |random, barrier| {
            let (mine, its) = (delay(random), delay(random));
            t.in_child(|t| {
                let caller = std::process::id();
                let report = |at: usize, child: Result<i32, Errno>| {
                    barrier.put(at, child.map_or_else(|errno| ERRNO + errno as u64, |pid| pid as u64));
                };
                let other = barrier.spawn(t, "other task", Flags::NONE, |t| {
                    barrier.wait_until_finished(1);
                    let file = t.setup(Call::new("open(pid_for_children)", open_link(caller, Ns::PidForChildren)))?;
                    t.setup(Call::new("setns(pid_for_children)", enter(&file)))?;
                    barrier.start(2, its);
                    report(1, pid_of_child());
                    Ok(())
                })?;
                t.check(unshare(Flags::NEWPID)).succeeds()?;
                barrier.finish();
                barrier.start(2, mine);
                report(0, pid_of_child());
                other.join(t)
            })?;
            let mut children = [barrier.get(0), barrier.get(1)];
            children.sort_unstable();
            let text = "process IDs of the two children (1000 and more: errno)";
            let [_, second] = t.check(Call::seen(text, children)).holds(
                "1, and 2, 1022 (EINVAL), 1012 (ENOMEM) or 1010 (killed with process 1)",
                |[first, second]| {
                    let fates = [Errno::EINVAL, Errno::ENOMEM, Errno::ECHILD];
                    *first == 1 && (*second == 2 || fates.iter().any(|errno| *second == ERRNO + *errno as u64))
                },
            )?;
            const NOT_YET: u64 = ERRNO + Errno::EINVAL as u64;
            Ok(match second {
                2 => "with processes 1 and 2",
                NOT_YET => "in which process 1 was not there yet",
                _ => "in which process 1 ended first",
            })
        })
    }
});

/// Added to an errno, where a process ID may stand as well.
const ERRNO: u64 = 1000;

/// Writes to one of the files that set up another task's user namespace.
fn write_map(task: u32, file: &str, text: &str) -> Result<(), Errno> {
    let opened = fs::OpenOptions::new().write(true).open(format!("/proc/{task}/{file}"));
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(errno_of)
}

/// Attaches to a task and lets it go on.
fn attach_and_detach(task: u32) -> Result<(), Errno> {
    let pid = Pid::from_raw(task as i32);
    ptrace::attach(pid)?;
    waitpid(pid, Some(WaitPidFlag::__WALL))?;
    ptrace::detach(pid, None)
}

case!(Case {
    name: "races.user.maps",
    about: "While a task calls unshare(CLONE_NEWUSER), two others write its uid_map and gid_map, and one attaches to \
            it by ptrace(2): each map is written once and is the one whose write succeeded, and the task has no \
            power over its old namespaces.",
    proves: &["RACE-16"],
    source: "user_namespaces(7); kernel, kernel/user_namespace.c and kernel/ptrace.c",
    needs: Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::UTS_NS).with(feature::MAP_IDS),
    run: |t| {
        play(t, 2, |random, barrier| {
            let delays: Vec<u32> = (0..4).map(|_| delay(random)).collect();
            let caller = barrier.spawn(t, "caller", Flags::NONE, |t| {
                barrier.start(4, delays[0]);
                let call = unshare(Flags::NEWUSER);
                barrier.finish();
                t.check(call).succeeds()?;
                barrier.wait_until_over();
                let name = gethostname().unwrap_or_default();
                t.check(Call::new("sethostname() in the old UTS namespace", sethostname(name))).fails_with(Errno::EPERM)
            })?;
            let target = caller.pid().as_raw() as u32;
            let writers = (1..3)
                .map(|at: usize| (at, delays[at]))
                .map(|(at, wait)| {
                    barrier.spawn(t, "writer", Flags::NONE, move |t| {
                        barrier.start(4, wait);
                        let mut won = 0;
                        for (bit, file) in [(1, "uid_map"), (2, "gid_map")] {
                            loop {
                                // Before the call the map is that of a namespace set up long ago: EPERM, too.
                                let last = barrier.is_finished(1);
                                match write_map(target, file, &format!("{} 0 1", 10 * at)) {
                                    Ok(()) => won |= bit,
                                    Err(Errno::EPERM) if !last => continue,
                                    Err(Errno::EPERM) => {}
                                    other => t.check(Call::new(format!("write({file})"), other)).succeeds()?,
                                }
                                break;
                            }
                        }
                        barrier.put(at, won);
                        Ok(())
                    })
                })
                .collect::<Done<Vec<_>>>()?;
            let denier = barrier.spawn(t, "writer of setgroups", Flags::NONE, |t| {
                // Not before the call: the file would be that of the user namespace at hand.
                barrier.wait_until_finished(1);
                match write_map(target, "setgroups", "deny") {
                    Ok(()) => barrier.put(3, 1),
                    // The gid_map was there first.
                    Err(Errno::EPERM) => {}
                    other => t.check(Call::new("write(deny) to setgroups", other)).succeeds()?,
                }
                Ok(())
            })?;
            barrier.start(4, delays[3]);
            let attached = attach_and_detach(target);
            writers.into_iter().chain([denier]).try_for_each(|writer| writer.join(t))?;
            let setgroups = fs::read_to_string(format!("/proc/{target}/setgroups")).unwrap_or_default();
            let maps = ["uid_map", "gid_map"]
                .map(|file| fs::read_to_string(format!("/proc/{target}/{file}")).unwrap_or_default());
            barrier.end();
            caller.join(t)?;
            t.check(Call::new("ptrace(PTRACE_ATTACH)", attached)).succeeds()?;
            // A user namespace inherits that setgroups(2) is denied.
            let inherited = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
            let denied = inherited || barrier.get(3) == 1;
            t.check(Call::seen("setgroups", setgroups.trim().to_owned()))
                .is(if denied { "deny" } else { "allow" }.to_owned())?;
            for (bit, (file, map)) in [1, 2].into_iter().zip(["uid_map", "gid_map"].into_iter().zip(maps)) {
                let winners: Vec<_> = (1..3).filter(|at| barrier.get(*at) & bit != 0).collect();
                let map: Vec<_> = map.split_whitespace().map(str::to_owned).collect();
                let expected: Vec<Vec<String>> =
                    winners.iter().map(|at| [(10 * at).to_string(), "0".to_owned(), "1".to_owned()].into()).collect();
                t.check(Call::seen(format!("{file}, for every write that succeeded"), expected)).is(vec![map])?;
            }
            Ok(if barrier.get(1) == 0 || barrier.get(2) == 0 { "with one winner" } else { "with two" })
        })
    }
});

/// What a vfork child is to call, one after the other.
struct Calls(Vec<Flags>);

/// Makes all calls; gives the first that fails, and its result.
fn call_all(calls: &Calls) -> (Flags, i64) {
    for flags in &calls.0 {
        let register = unshare_raw(*flags);
        if register != 0 {
            return (*flags, register);
        }
    }
    (Flags::NONE, 0)
}

case!(Case {
    name: "races.vfork.parent_intact",
    about: "While its parent waits, a vfork child that shares memory, root and cwd, descriptors and undo list with \
            it calls unshare many times; the parent goes on with all its own state.",
    proves: &["RACE-17"],
    source: "vfork(2); kernel, kernel/fork.c",
    needs: Needs::ROOT,
    run: |t| {
        let observer = Observer::open(t)?;
        let start = Start { memory_shared: true, ..Start::of(t.facts()) };
        let kernel = Kernel::of(t.facts());
        // A second CLONE_NEWPID is refused; an empty mount namespace and a user namespace would have later calls
        // refused.
        let pool: Vec<Flags> = Flags::KNOWN
            .into_iter()
            .filter(|flag| ![Flags::NEWPID, Flags::NEWUSER, Flags::EMPTY].contains(flag))
            .filter(|flag| predict(&start, *flag, &kernel).result.is_ok())
            .collect();
        play(t, 4, |random, _| {
            let mut one = || pool[random.usize(..pool.len())];
            let calls = Calls((0..30).map(|_| one() | one()).collect());
            let word = random.u64(..);
            let kept = std::hint::black_box(Box::new(word));
            let before = observer.state();
            let sharing = Flags::FS | Flags::FILES | Flags::SYSVSEM;
            let (flags, register) = in_vfork_child_sharing(t, sharing, &calls, call_all)?.result;
            let after = observer.state();
            t.check(Call::zero_on_success(format!("unshare({flags}) by the vfork child"), register)).succeeds()?;
            t.check(Call::seen("a word in the parent's memory", *kept)).is(word)?;
            check_changes(t, flags, "RACE-17", &Prediction::nothing(), &before, &after)?;
            Ok("of 30 calls")
        })
    }
});

/// CLOCK_MONOTONIC in seconds.
fn monotonic() -> Result<i64, Errno> {
    nanoseconds_by_vdso(libc::CLOCK_MONOTONIC).map(|now| now / SECOND)
}

/// By how much the n-th write shifts the clock, in seconds: more than a case lasts.
const STEP: i64 = 100_000;

case!(Case {
    name: "races.time.offsets",
    about: "While a task forks its first child after unshare(CLONE_NEWTIME), another writes offsets of the new time \
            namespace, until it is too late (EACCES): the child's clock has exactly the offset of the last write \
            that succeeded.",
    proves: &["RACE-18"],
    source: "time_namespaces(7); kernel, kernel/time/namespace.c",
    needs: Needs::ROOT.with(feature::TIME_NS),
    run: |t| {
        play(t, 1, |random, barrier| {
            let (mine, its) = (4 * delay(random), delay(random));
            let caller = barrier.spawn(t, "caller", Flags::NONE, |t| {
                let observer = Observer::open(t)?;
                let old = observer.namespace_inode(Ns::TimeForChildren);
                t.check(unshare(Flags::NEWTIME)).succeeds()?;
                t.check(observer.namespace(Ns::TimeForChildren)).is_not(old)?;
                barrier.start(2, mine);
                let child = barrier.spawn(t, "first child", Flags::NONE, |t| {
                    barrier.put(1, t.setup(Call::new("clock_gettime()", monotonic()))? as u64);
                    Ok(())
                })?;
                barrier.end();
                child.join(t)?;
                barrier.put(2, t.setup(Call::new("clock_gettime()", monotonic()))? as u64);
                let offsets = fs::read_to_string("/proc/self/timens_offsets");
                let offsets = t.setup(Call::io("read(timens_offsets)", offsets))?;
                let offset = offsets
                    .lines()
                    .find_map(|line| line.strip_prefix("monotonic")?.split_whitespace().next()?.parse::<i64>().ok());
                barrier.put(3, offset.unwrap_or(-1) as u64);
                barrier.wait_until_finished(1);
                Ok(())
            })?;
            let target = caller.pid().as_raw() as u32;
            barrier.start(2, its);
            let mut last = 0;
            loop {
                let late = barrier.is_over();
                match write_map(target, "timens_offsets", &format!("monotonic {} 0", last + STEP)) {
                    Ok(()) if late => {
                        return t
                            .check(Call::new("write(timens_offsets) after the first child was made", Ok(())))
                            .fails_with(Errno::EACCES)
                            .map(|()| "");
                    }
                    Ok(()) => last += STEP,
                    Err(Errno::EACCES) => break,
                    other => t.check(Call::new("write(timens_offsets)", other)).succeeds()?,
                }
            }
            barrier.finish();
            caller.join(t)?;
            t.check(Call::seen("offset in timens_offsets", barrier.get(3) as i64)).is(last)?;
            t.check(Call::seen(
                "seconds that the child's clock is ahead",
                barrier.get(1) as i64 - barrier.get(2) as i64,
            ))
            .holds(&format!("{last}, and less than {} off", STEP / 2), |ahead| (ahead - last).abs() < STEP / 2)?;
            Ok(if last == 0 { "with no write in time" } else { "with writes in time" })
        })
    }
});
