//! Namespaces made, looked at, entered and counted by several tasks at once (section 7 of the behaviour catalogue).

use crate::engines::race::{DEADLINE, WORDS};
use crate::prelude::*;

/// How many tasks race for how many namespaces.
const TASKS: u32 = 6;
const ROOM: u32 = 3;

case!(Case {
    name: "races.limit",
    about: "Six tasks each ask for a namespace where the limit has room for three: three get one, the others get \
            ENOSPC, and when all are gone there is room for three again.",
    proves: &["RACE-10"],
    source: "namespaces(7), The /proc/sys/user directory; kernel, kernel/ucount.c",
    needs: limits::NEEDS,
    quick: one_in(3, 1),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        play(t, 8, |random, barrier| {
            let delays: Vec<u32> = (0..TASKS).map(|_| delay(random)).collect();
            t.in_child(|t| {
                limits::enter_own_user_namespace(t)?;
                limits::set(t, flag, ROOM + used(flag))?;
                let tasks = delays
                    .iter()
                    .map(|wait| {
                        barrier.spawn(t, "task", Flags::NONE, |t| {
                            barrier.start(TASKS, *wait);
                            let call = unshare(flag);
                            if call.result().is_ok() {
                                barrier.words[0].fetch_add(1, Ordering::AcqRel);
                            }
                            barrier.finish();
                            barrier.wait_until_over();
                            match call.result() {
                                Ok(()) => t.check(call).succeeds(),
                                Err(_) => t.check(call).fails_with(Errno::ENOSPC),
                            }
                        })
                    })
                    .collect::<Done<Vec<_>>>()?;
                barrier.wait_until_finished(TASKS);
                let made = barrier.get(0);
                barrier.end();
                all(tasks.into_iter().map(|task| task.join(t)))?;
                t.check(Call::seen(format!("tasks of {TASKS} that got a namespace"), made)).is(ROOM.into())?;
                check_room_for(t, flag, ROOM, "RACE-10")
            })?;
            Ok("of six tasks")
        })
    }
});

case!(Case {
    name: "races.net.killed",
    about: "A task that makes and leaves one network namespace after the other is killed at a random moment, again \
            and again: it dies, and no namespace stays counted.",
    proves: &["RACE-11", "RACE-25"],
    source: "kernel, net/core/net_namespace.c (the lock there can be interrupted by a fatal signal)",
    needs: limits::NEEDS.with(feature::NET_NS),
    run: |t| {
        const ID: &str = "RACE-11";
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            limits::set(t, Flags::NEWNET, ROOM)?;
            play(t, 2, |random, barrier| {
                let calls = random.u32(1..4);
                let wait = 4 * delay(random);
                let mut task = barrier.spawn(t, "task", Flags::NONE, |t| {
                    loop {
                        barrier.finish();
                        let call = unshare(Flags::NEWNET);
                        // Those that this very task has left may still be counted.
                        if call.result() != Err(Failure::Errno(Errno::ENOSPC)) {
                            t.check(call).proves(ID).succeeds()?;
                        }
                    }
                })?;
                barrier.wait_until_finished(calls);
                barrier.start(1, wait);
                t.setup(Call::new("kill(SIGKILL)", kill(task.pid(), Signal::SIGKILL)))?;
                let end = t.setup(Call::new("waitpid()", task.wait()))?;
                t.check(Call::seen("end of the task", end))
                    .proves("RACE-25")
                    .holds("death by SIGKILL", |end| matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)))?;
                Ok("killed")
            })?;
            check_room_for(t, Flags::NEWNET, ROOM, ID)
        })
    }
});

/// The link of UTS and of IPC that a task has had so far, in turns, from word 0 on.
fn note_links(barrier: &Barrier, observer: &Observer, at: usize) {
    barrier.put(2 * at, observer.namespace_inode(Ns::Uts));
    barrier.put(2 * at + 1, observer.namespace_inode(Ns::Ipc));
}

/// How many calls the task makes that others look at, and the word that says it has made the last.
const CALLS: usize = WORDS / 2 - 2;
const MOVED: usize = WORDS - 1;

/// Moves on from one UTS and IPC namespace to the next until the race is over, and stays there.
fn move_on(t: &Test, barrier: &Barrier) -> Done {
    let observer = Observer::open(t)?;
    note_links(barrier, &observer, 0);
    barrier.finish();
    let mut done = Ok(());
    for at in 1..=CALLS {
        if done.is_err() || barrier.is_over() {
            break;
        }
        let call = unshare(Flags::NEWUTS | Flags::NEWIPC | Flags::NEWNS);
        note_links(barrier, &observer, at);
        let moved = [0, 1].map(|kind| barrier.get(2 * at + kind) != barrier.get(2 * at - 2 + kind));
        done = all([
            t.check(call).succeeds(),
            t.check(Call::seen("whether the task is in other UTS and IPC namespaces than before", moved))
                .is([true, true]),
        ]);
    }
    barrier.put(MOVED, 1);
    barrier.wait_until_finished(2);
    done
}

/// Ends the race, and waits until the task has noted the last of its links.
fn stop_moving(barrier: &Barrier) {
    barrier.end();
    yield_until(|| barrier.get(MOVED) != 0);
}

/// The pairs of links that the task has had.
fn noted(barrier: &Barrier) -> BTreeSet<(u64, u64)> {
    (0..=CALLS).map(|at| (barrier.get(2 * at), barrier.get(2 * at + 1))).filter(|pair| pair.0 != 0).collect()
}

case!(Case {
    name: "races.proc.readers",
    about: "While a task moves from namespace to namespace, another reads its files in /proc: every read succeeds, \
            and every link it sees is one that the task had.",
    proves: &["RACE-12"],
    source: "namespaces(7), The /proc/pid/ns/ directory; kernel, fs/proc/namespaces.c and fs/proc/base.c",
    needs: Needs::ROOT.with(feature::UTS_NS).with(feature::IPC_NS),
    run: |t| {
        play(t, 8, |random, barrier| {
            let task = barrier.spawn(t, "task", Flags::NONE, |t| move_on(t, barrier))?;
            barrier.wait_until_finished(1);
            let pid = task.pid();
            let mut seen = BTreeSet::new();
            let mut files = vec!["status", "mountinfo", "mounts", "cgroup", "limits"];
            if t.facts().has(feature::TIME_NS) {
                files.push("timens_offsets");
            }
            for _ in 0..random.u32(20..60) {
                for (kind, ns) in [Ns::Uts, Ns::Ipc].into_iter().enumerate() {
                    seen.insert((kind, t.check(namespace_of(pid, ns)).succeeds()?));
                }
                let file = files[random.usize(..files.len())];
                let read = fs::read_to_string(format!("/proc/{pid}/{file}"));
                t.check(Call::io(format!("read(/proc/PID/{file})"), read.map(|text| text.len()))).succeeds()?;
                for link in ["cwd", "root", "exe", "ns/mnt"] {
                    let read = fs::read_link(format!("/proc/{pid}/{link}"));
                    t.check(Call::io(format!("readlink(/proc/PID/{link})"), read)).succeeds()?;
                }
                for directory in ["fd", "fdinfo", "task"] {
                    let read = fs::read_dir(format!("/proc/{pid}/{directory}")).map(Iterator::count);
                    t.check(Call::io(format!("readdir(/proc/PID/{directory})"), read)).succeeds()?;
                }
            }
            stop_moving(barrier);
            barrier.finish();
            task.join(t)?;
            let had = noted(barrier);
            let strange: Vec<_> =
                seen.iter().filter(|(kind, inode)| !had.iter().any(|pair| [pair.0, pair.1][*kind] == *inode)).collect();
            t.check(Call::seen("links seen (UTS 0, IPC 1) that the task never had", strange)).is(vec![])?;
            Ok("of reading")
        })
    }
});

case!(Case {
    name: "races.setns.follower",
    about: "While a task moves from namespace to namespace, another follows it by setns(2), with a descriptor of the \
            process or of a link: it succeeds, and where it gets is where the task was; with a descriptor of the \
            process both namespaces are those of one moment.",
    proves: &["RACE-13"],
    source: "setns(2); kernel, kernel/nsproxy.c",
    needs: Needs::ROOT.with(feature::UTS_NS).with(feature::IPC_NS),
    // The parameter says whether it is by a link.
    variants: || vec![Variant::new("pidfd", false), Variant::new("link", true)],
    run: |t| {
        let by_link: bool = t.param();
        play(t, 8, |random, barrier| {
            let task = barrier.spawn(t, "task", Flags::NONE, |t| move_on(t, barrier))?;
            let pid = task.pid();
            let times = random.usize(10..60);
            let follower = barrier.spawn(t, "follower", Flags::NONE, |t| {
                let observer = Observer::open(t)?;
                barrier.wait_until_finished(1);
                let mut places = BTreeSet::new();
                let process = t.setup(Call::new("pidfd_open()", open_process(pid)))?;
                for _ in 0..times {
                    if by_link {
                        for ns in [Ns::Uts, Ns::Ipc] {
                            let file = t.setup(Call::new("open(link)", open_link(pid, ns)))?;
                            t.check(Call::new(format!("setns(ns/{} of a task)", ns.link()), enter(&file)))
                                .succeeds()?;
                        }
                    } else {
                        let kinds = libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
                        let entered = call!(setns, process.as_raw_fd(), kinds).map_err(fds::errno);
                        t.check(Call::new("setns(pidfd, CLONE_NEWUTS|CLONE_NEWIPC)", entered)).succeeds()?;
                    }
                    places.insert((observer.namespace_inode(Ns::Uts), observer.namespace_inode(Ns::Ipc)));
                }
                stop_moving(barrier);
                let had = noted(barrier);
                let possible = |place: &(u64, u64)| {
                    if by_link {
                        had.iter().any(|pair| pair.0 == place.0) && had.iter().any(|pair| pair.1 == place.1)
                    } else {
                        had.contains(place)
                    }
                };
                let strange: Vec<_> = places.iter().filter(|place| !possible(place)).collect();
                t.check(Call::seen("namespaces (UTS, IPC) entered in which the task never was", strange)).is(vec![])
            })?;
            let done = follower.join(t);
            barrier.end();
            barrier.finish();
            all([done, task.join(t)])?;
            Ok("of following")
        })
    }
});

/// How many levels of user and of PID namespaces are made: nearly what the kernel allows (33 and 32), since the suite
/// itself may run some levels down.
const USER_LEVELS: u32 = 28;
const PID_LEVELS: u32 = 26;

/// Makes one user namespace in the other, each with its user mapped.
fn nest_users(t: &Test) -> Done {
    for level in 0..USER_LEVELS {
        t.check(unshare(Flags::NEWUSER).called(format!("unshare(CLONE_NEWUSER) at level {level}")))
            .proves("RACE-23")
            .succeeds()?;
        for (file, text) in [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")] {
            let written = fs::write(format!("/proc/self/{file}"), text);
            t.setup(Call::io(format!("write({text:?}) to {file}"), written))?;
        }
    }
    Ok(())
}

/// Has process 1 of each PID namespace make the next.
fn nest_pids(t: &Test, level: u32) -> Done {
    if level == PID_LEVELS {
        return Ok(());
    }
    t.check(unshare(Flags::NEWPID).called(format!("unshare(CLONE_NEWPID) at level {level}")))
        .proves("RACE-23")
        .succeeds()?;
    t.in_child(|t| nest_pids(t, level + 1))
}

case!(Case {
    name: "races.nesting",
    about: "Two tasks nest user namespaces and two nest PID namespaces, nearly as deep as it goes, at the same time, \
            and end: all of it is made and released.",
    proves: &["RACE-23"],
    source: "kernel, kernel/user_namespace.c and kernel/pid_namespace.c (release goes up level by level)",
    needs: limits::NEEDS.with(feature::PID_NS),
    run: |t| {
        const ID: &str = "RACE-23";
        limits::check_nesting_is_allowed(t)?;
        play(t, 20, |random, barrier| {
            let delays: Vec<u32> = (0..4).map(|_| delay(random)).collect();
            t.in_child(|t| {
                limits::enter_own_user_namespace(t)?;
                limits::set(t, Flags::NEWUSER, 2 * USER_LEVELS)?;
                limits::set(t, Flags::NEWPID, 2 * PID_LEVELS)?;
                let tasks = delays
                    .iter()
                    .enumerate()
                    .map(|(at, wait)| {
                        barrier.spawn(t, "nesting task", Flags::NONE, move |t| {
                            barrier.start(4, *wait);
                            if at % 2 == 0 { nest_users(t) } else { nest_pids(t, 0) }
                        })
                    })
                    .collect::<Done<Vec<_>>>()?;
                all(tasks.into_iter().map(|task| task.join(t)))?;
                // All levels were counted in this user namespace, too: they are gone.
                check_room_for(t, Flags::NEWUSER, 4, ID)?;
                limits::set(t, Flags::NEWPID, 2)?;
                check_room_for(t, Flags::NEWPID, 2, ID)
            })?;
            Ok("of four tasks")
        })
    }
});

/// How many namespaces each of four tasks holds.
fn hoard(tier: Tier) -> u32 {
    match tier {
        Tier::Quick => 8,
        Tier::Full => 60,
        Tier::Exhaustive => 250,
    }
}

case!(Case {
    name: "races.mass_exit",
    about: "Four tasks that hold many namespaces each, up to the limit, end at once: all of them are released, and \
            as many can be made again.",
    proves: &["RACE-24"],
    source: "kernel, kernel/nsproxy.c and kernel/ucount.c",
    needs: limits::NEEDS,
    quick: one_in(2, 0),
    variants: || variants::succeeding([Flags::NEWUTS, Flags::NEWIPC, Flags::NEWNS]),
    run: |t| {
        const HOLDERS: u32 = 4;
        let flag = t.param::<Flags>();
        let link = Kind::of(flag).expect("a kind of namespace").link;
        let each = hoard(t.tier());
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            limits::set(t, flag, HOLDERS * each + used(flag))?;
            play(t, 40, |_, barrier| {
                let holders = (0..HOLDERS)
                    .map(|_| {
                        barrier.spawn(t, "holder", Flags::NONE, |t| {
                            let mut limit = t.time_limit(Duration::from_secs(20));
                            let mut held: Vec<File> = Vec::new();
                            while held.len() < each as usize {
                                // Those of the round before may still be on their way out.
                                t.check(limits::unshare_within(flag, &mut limit)).succeeds()?;
                                held.push(t.setup(Call::new("open(link)", open_link("thread-self", link)))?);
                            }
                            barrier.finish();
                            barrier.wait_until_over();
                            Ok(())
                        })
                    })
                    .collect::<Done<Vec<_>>>()?;
                barrier.wait_until_finished(HOLDERS);
                let beyond = t.in_child(|t| {
                    t.check(unshare(flag).called("unshare() beyond what is held")).fails_with(Errno::ENOSPC)
                });
                barrier.end();
                all(holders.into_iter().map(|holder| holder.join(t)))?;
                beyond?;
                Ok("of four tasks")
            })
        })
    }
});
