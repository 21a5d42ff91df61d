//! How long IPC objects live, and settings of the new namespace (section 3.8 of the behaviour catalogue). The old
//! namespace is one that clone(2) made for the case.

use super::ipc::{attach, detach};
use crate::place::segments::{RMID_FORCED, attachments, force_removal};
use crate::prelude::*;

const NEEDS: Needs = Needs::ROOT.with(feature::SYSV_IPC).with(feature::IPC_NS);

/// Settings of an IPC namespace could be written in a user namespace's only since 5.19.
const NEEDS_SETTINGS: Needs = NEEDS.with(feature::INITIAL_ROOT);

fn forced_or_not() -> Vec<Variant> {
    vec![
        Variant::new("forced", true).proving(["EFF-IPC-08"]).needing(NEEDS_SETTINGS),
        Variant::new("not_forced", false).proving(["EFF-IPC-09"]),
    ]
}

case!(Case {
    name: "separation.ipc.rmid_forced",
    about: "With kernel.shm_rmid_forced the call destroys the caller's unattached segments, and its attached ones once \
            they are detached; without it none. Segments of another task stay.",
    proves: &["EFF-IPC-08", "EFF-IPC-09"],
    source: "proc_sys_kernel(5), shm_rmid_forced; kernel, ipc/shm.c",
    variants: forced_or_not,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let forced: bool = t.param();
        let id = if forced { "EFF-IPC-08" } else { "EFF-IPC-09" };
        if forced {
            sysctl::must_be_writable(t, RMID_FORCED)?;
            t.setup(Call::new(format!("write({RMID_FORCED}, 1)"), sysctl::write(RMID_FORCED, "1")))?;
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let make = |side: Side| side.must(t, "shmget()", (), new_segment);
        let (alone, held_here, held_there, others) = (make(caller)?, make(caller)?, make(caller)?, make(other)?);
        let here = caller.must(t, "shmat()", held_here, attach)?;
        let there = other.must(t, "shmat()", held_there, attach)?;
        // What is judged is what a task sees that stays in the old namespace.
        let look = |what: &str, segment: i32| other.ask(t, &format!("IPC_STAT of {what}"), segment, attachments);
        let gone = |call: Call<u64>, gone: bool| match gone {
            true => t.check(call).proves(id).fails_with(Errno::EINVAL),
            false => t.check(call).proves(id).succeeds().map(drop),
        };
        gone(look("a segment before the call", alone)?, false)?;
        t.unshare(Flags::NEWIPC).beside(&[&peer]).proving(id).as_predicted()?;
        gone(look("a segment that nobody has attached", alone)?, forced)?;
        gone(look("a segment that the caller has attached", held_here)?, false)?;
        gone(look("a segment that the peer has attached", held_there)?, false)?;
        gone(look("a segment that the peer made", others)?, false)?;
        caller.must(t, "shmdt()", here, detach)?;
        other.must(t, "shmdt()", there, detach)?;
        gone(look("a segment that the caller has detached", held_here)?, forced)?;
        gone(look("a segment that the peer has detached", held_there)?, forced)
    })
});

case!(Case {
    name: "separation.ipc.two_namespaces",
    about: "A task that made segments in two IPC namespaces with kernel.shm_rmid_forced takes those of both with it by \
            exit and by unshare(CLONE_NEWIPC).",
    proves: &["EFF-IPC-12"],
    source: "kernel, ipc/shm.c (corrected in 5.16)",
    needs: NEEDS_SETTINGS,
    variants: || variants::named(&[("exit", false), ("unshare", true)]),
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        sysctl::must_be_writable(t, RMID_FORCED)?;
        let near = Peer::start(t, "task in the first namespace", Flags::NONE)?;
        let far = Peer::start(t, "task in the second namespace", Flags::NEWIPC)?;
        for peer in [&near, &far] {
            peer.setup(t, "write(shm_rmid_forced, 1)", (), |()| sysctl::write(RMID_FORCED, "1"))?;
        }
        let second = t.setup(Call::new("open(ns/ipc)", open_link(far.pid(), Ns::Ipc)))?;
        let by_unshare: bool = t.param();
        // The one that leaves lives on, so that what unshare did is not mistaken for what exit does.
        let maker = Peer::start(t, "maker", Flags::NONE)?;
        let (a, b) = maker.setup(t, "shmget(), setns(second), shmget()", second.as_raw_fd(), |second| {
            let first = new_segment(())?;
            call!(setns, second, libc::CLONE_NEWIPC).map_err(fds::errno)?;
            Ok((first, new_segment(())?))
        })?;
        let look = |peer: &Peer, id: i32| {
            peer.call(t, &format!("IPC_STAT of what was made there, by the {}", peer.name()), id, attachments)
        };
        t.check(look(&near, a)?).is(0)?;
        t.check(look(&far, b)?).is(0)?;
        if by_unshare {
            t.check(unshare_by(t, &maker, Flags::NEWIPC)?).succeeds()?;
        } else {
            maker.end();
        }
        all([t.check(look(&near, a)?).fails_with(Errno::EINVAL), t.check(look(&far, b)?).fails_with(Errno::EINVAL)])
    })
});

/// Settings of an IPC namespace, and a value that none of them has by default.
const SETTINGS: [(&str, &str); 13] = [
    ("/proc/sys/kernel/msgmax", "9999"),
    ("/proc/sys/kernel/msgmnb", "19999"),
    ("/proc/sys/kernel/msgmni", "1234"),
    ("/proc/sys/kernel/sem", "1234\t56789\t123\t456"),
    ("/proc/sys/kernel/shmmax", "123456789"),
    ("/proc/sys/kernel/shmall", "1234567"),
    ("/proc/sys/kernel/shmmni", "1234"),
    ("/proc/sys/kernel/shm_rmid_forced", "1"),
    ("/proc/sys/fs/mqueue/msg_max", "123"),
    ("/proc/sys/fs/mqueue/msgsize_max", "7777"),
    ("/proc/sys/fs/mqueue/queues_max", "123"),
    ("/proc/sys/fs/mqueue/msg_default", "7"),
    ("/proc/sys/fs/mqueue/msgsize_default", "777"),
];

/// Values of all settings that the kernel has.
fn settings((): ()) -> Result<Vec<(String, String)>, Errno> {
    let read = |(path, _): (&str, _)| match sysctl::read(path) {
        Ok(value) => Some(Ok((path.to_owned(), value))),
        Err(Errno::ENOENT) => None,
        Err(errno) => Some(Err(errno)),
    };
    SETTINGS.into_iter().filter_map(read).collect()
}

case!(Case {
    name: "separation.ipc.maker_ends",
    about: "Without kernel.shm_rmid_forced in the new namespace, a segment stays when the task ends that called unshare and \
            made it; with it, it is gone, while the namespace goes on.",
    proves: &["EFF-IPC-08", "EFF-IPC-09"],
    source: "proc_sys_kernel(5), shm_rmid_forced; kernel, ipc/shm.c (exit_shm)",
    variants: forced_or_not,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let forced: bool = t.param();
        let [maker, other] = [Peer::start(t, "maker", Flags::NONE)?, Peer::start(t, "other", Flags::NONE)?];
        let old = t.setup(namespace_of(getpid(), Ns::Ipc))?;
        t.check(unshare_by(t, &maker, Flags::NEWIPC)?).succeeds()?;
        t.check(namespace_of(maker.pid(), Ns::Ipc)).is_not(old)?;
        other.setup(t, "setns(the new one)", maker.pid().as_raw(), |pid| enter(&open_link(pid, Ns::Ipc)?))?;
        if forced {
            sysctl::must_be_writable(t, RMID_FORCED)?;
            maker.setup(t, "write(1) to shm_rmid_forced", (), |()| force_removal().answer())?;
        }
        let segment = maker.setup(t, "shmget()", (), new_segment)?;
        let look = || other.call(t, "IPC_STAT of the segment", segment, attachments);
        t.check(look()?).is(0)?;
        maker.end();
        if forced { t.check(look()?).fails_with(Errno::EINVAL) } else { t.check(look()?).is(0) }
    })
});

case!(Case {
    name: "separation.ipc.left_behind",
    about: "With kernel.shm_rmid_forced, a task that leaves a segment in a new IPC namespace whose last task it is, and \
            enters the old one by setns(2), ends like any other.",
    proves: &["EFF-IPC-12"],
    source: "kernel, ipc/shm.c (corrected in 5.16)",
    needs: NEEDS_SETTINGS,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        sysctl::must_be_writable(t, RMID_FORCED)?;
        let old = t.setup(Call::new("open(ns/ipc)", open_link("thread-self", Ns::Ipc)))?;
        // The new namespace is taken apart while the task ends: nobody else may hold it.
        for _ in 0..4 {
            t.in_child(|t| {
                t.setup(unshare(Flags::NEWIPC))?;
                t.setup(force_removal())?;
                t.setup(Call::new("shmget()", new_segment(())))?;
                t.check(Call::new("setns(the old one)", enter(&old))).succeeds()
            })?;
        }
        Ok(())
    })
});

case!(Case {
    name: "separation.ipc.limits",
    about: "The new namespace starts with the kernel's default limits, not the old one's, and each keeps its own: the \
            next new one starts with the defaults, too.",
    proves: &["EFF-IPC-05"],
    source: "ipc_namespaces(7); kernel, ipc/",
    needs: NEEDS_SETTINGS,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        sysctl::must_be_writable(t, SETTINGS[0].0)?;
        // This namespace is fresh: clone(2) made it just now.
        let defaults = t.setup(Call::new("read(settings)", settings(())))?;
        for (path, value) in SETTINGS {
            if defaults.iter().any(|(found, _)| found == path) {
                t.setup(Call::new(format!("write({path}, {value})"), sysctl::write(path, value)))?;
            }
        }
        let changed = t.setup(Call::new("read(settings)", settings(())))?;
        if let Some((same, _)) = changed.iter().zip(&defaults).find(|(a, b)| a == b) {
            return Err(
                t.broken("settings of the old namespace after they were written", format!("{same:?} as before"))
            );
        }
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWIPC).beside(&[&peer]).as_predicted()?;
        // One by one, so that a report names those that differ.
        let each_is_default = |which: &str, values: Vec<(String, String)>| {
            all(values.into_iter().zip(&defaults).map(|((path, value), (_, default))| {
                t.check(Call::seen(format!("{path} in {which}"), value)).is(default.clone())
            }))
        };
        let read = Call::new("read(settings) in the new namespace", settings(()));
        let new = t.check(read).holds("as many as before", |new| new.len() == defaults.len())?;
        each_is_default("the new namespace", new)?;
        // What is true of the old one: other values than these.
        t.check(Call::new("write(msgmax, 8888)", sysctl::write(SETTINGS[0].0, "8888"))).succeeds()?;
        let old = peer.setup(t, "read(settings) in the old namespace", (), settings)?;
        t.check(Call::seen("settings of the old namespace", old)).is(changed.clone())?;
        for (path, value) in SETTINGS {
            if defaults.iter().any(|(found, _)| found == path) {
                let text = format!("write({path}, {value}) in the new namespace");
                t.check(Call::new(text, sysctl::write(path, value))).succeeds()?;
            }
        }
        t.check(Call::new("read(settings) in the new namespace", settings(()))).is(changed)?;
        t.check(unshare_by(t, &peer, Flags::NEWIPC)?).succeeds()?;
        let next = peer.call(t, "read(settings) in the next new namespace", (), settings)?;
        each_is_default("the next new namespace", t.check(next).succeeds()?)
    })
});
