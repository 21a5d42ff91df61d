//! What a failing call leaves alone, part by part (section 5.1 of the behaviour catalogue): with values that no task
//! has by chance, and with failures that come as late as they can.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 (duplicate everything before anything is switched)";

case!(Case {
    name: "atomicity.state.links",
    about: "A call that asks for everything and fails late leaves all ten namespace links as they were, those of the \
            calling thread and those of its process.",
    proves: &["ATOM-S1", "DIFF-10"],
    variants: Failing::of_everything,
    run: |t| t.in_child(|t| {
        const ID: &str = "ATOM-S1";
        let (_, start, flags) = Failing::enter(t)?;
        let own = std::process::id();
        let look = || Ns::ALL.map(|ns| namespace_of(own, ns).result().copied().unwrap_or(0));
        let before = look();
        for flags in [flags, flags & !Flags::NEWNS, flags & !(Flags::FS | Flags::NEWNS)] {
            t.unshare(flags).from(start).proving(ID).as_predicted()?;
            t.check(Call::seen(
                format!("links in /proc/PID/ns, in the order {:?}, after unshare({flags})", Ns::ALL),
                look(),
            ))
            .proves(ID)
            .is(before)?;
        }
        Ok(())
    })
});

case!(Case {
    name: "atomicity.state.attributes",
    about: "A call that asks for everything and fails late leaves umask, names, IDs, all five sets of capabilities, \
            securebits, no_new_privs, groups, the dumpable attribute and the parent-death signal as they were, each \
            at an unusual value.",
    proves: &["ATOM-S4"],
    variants: Failing::of_everything,
    run: |t| t.in_child(|t| {
        let (late, start, flags) = Failing::enter(t)?;
        umask(Mode::from_bits_truncate(0o137));
        // SECBIT_NO_SETUID_FIXUP, and an ambient, inheritable CAP_CHOWN.
        const SECUREBITS: libc::c_ulong = 1 << 2;
        let kept = t.facts().capabilities;
        let kept = if late == Failing::Privilege { kept & !CAP_SYS_ADMIN } else { kept };
        t.setup(set_all_capabilities(kept, kept, 1))?;
        let groups: Vec<_> = [3, 4, 5].map(Gid::from_raw).into();
        // A user namespace in which setgroups(2) was given up keeps its groups.
        if late != Failing::TimeLimit && t.facts().has(feature::SECOND_USER) {
            t.setup(Call::new("setgroups(3, 4, 5)", setgroups(&groups)))?;
        }
        // SAFETY: prctl takes numbers.
        let results = unsafe {
            [
                ("PR_SET_SECUREBITS", libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0)),
                ("PR_CAP_AMBIENT_RAISE", libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 0, 0, 0)),
                ("PR_CAPBSET_DROP", libc::prctl(libc::PR_CAPBSET_DROP, 1, 0, 0, 0)),
                ("PR_SET_PDEATHSIG", libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0)),
                ("PR_SET_NO_NEW_PRIVS", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
                ("PR_SET_CHILD_SUBREAPER", libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)),
                ("PR_SET_DUMPABLE", libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0)),
            ]
        };
        for (text, result) in results {
            t.setup(Call::new(format!("prctl({text})"), Errno::result(result)))?;
        }
        let observer = Observer::open(t)?;
        let state = observer.state();
        t.check(Call::seen(
            "umask, securebits, dumpable and parent-death signal before",
            (state.umask, state.securebits, state.dumpable, state.death_signal),
        ))
        .is((0o137, SECUREBITS as u32, 0, libc::SIGTERM as u32))?;
        [flags, flags & !Flags::NEWNS, flags & !(Flags::NEWIPC | Flags::NEWUTS | Flags::FS)]
            .into_iter()
            .try_for_each(|flags| t.unshare(flags).from(start).as_predicted())
    })
});

case!(Case {
    name: "atomicity.state.semaphore_waiter",
    about: "A call that names CLONE_SYSVSEM or CLONE_NEWIPC and fails gives nothing back to a semaphore, so that a \
            task which waits for it goes on waiting; once a call succeeds, it is woken.",
    proves: &["ATOM-S5"],
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::SYSV_IPC).with(feature::IPC_NS),
    variants: || variants::of_flags([Flags::SYSVSEM, Flags::NEWIPC]),
    run: |t| {
        const ID: &str = "ATOM-S5";
        let flag = t.param::<Flags>();
        let semaphore = Semaphore::new(t, 1)?;
        let id = semaphore.id();
        let waiters = || Call::new("semctl(GETNCNT)", undo::control(id, libc::GETNCNT));
        t.spawn("caller", |t| {
            semaphore.add_with_undo(t, Side::Caller, -1)?;
            let waiter = t.spawn("waiter", |t| t.setup(Call::new("semop(-1)", undo::add((id, -1, true)))))?;
            while t.setup(waiters())? == 0 {
                std::thread::yield_now();
            }
            let start = second_pid(t)?;
            for flags in [flag | Flags::NEWPID, flag | Flags::TOP, flag | Flags::FILES | Flags::FS | Flags::NEWPID] {
                t.unshare(flags).from(start).as_predicted()?;
                semaphore.check_value(t, &format!("after unshare({flags})"), 0, ID)?;
                t.check(waiters().called(format!("tasks that wait for the semaphore after unshare({flags})"))).is(1)?;
            }
            t.check(unshare(flag)).succeeds()?;
            // Woken by what was given back: it ends.
            waiter.join(t)
        })?
        .join(t)?;
        semaphore.check_value(t, "after the waiter took it", 0, ID)
    }
});

case!(Case {
    name: "atomicity.state.segments",
    about: "With kernel.shm_rmid_forced at 1, CLONE_NEWIPC in a call that fails leaves the caller's unattached \
            segments alive; in a call that succeeds it removes them.",
    proves: &["ATOM-S6", "ATOM-15"],
    source: "kernel, ipc/shm.c; proc(5), shm_rmid_forced",
    // The setting is that of the IPC namespace, but may be written in the initial user namespace alone.
    needs: Needs::ROOT.with(feature::PID_NS).with(feature::SYSV_IPC).with(feature::IPC_NS).with(feature::INITIAL_ROOT),
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        const ID: &str = "ATOM-15";
        t.setup(segments::force_removal())?;
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        for _ in 0..2 {
            t.setup(Call::new("shmget(IPC_PRIVATE)", new_segment(())))?;
        }
        let start = second_pid(t)?;
        let seen =
            |when: &str| witness.call(t, &format!("segments in the old IPC namespace {when}"), (), segments::count);
        for flags in [
            Flags::NEWIPC | Flags::NEWPID,
            Flags::NEWIPC | Flags::SYSVSEM | Flags::NEWPID,
            Flags::NEWIPC | Flags::INVALID,
        ] {
            t.unshare(flags).from(start).proving(ID).as_predicted()?;
            t.check(seen(&format!("after unshare({flags})"))?).proves("ATOM-S6").is(2)?;
        }
        t.unshare(Flags::NEWIPC).from(start).proving(ID).as_predicted()?;
        t.check(seen("after unshare(CLONE_NEWIPC)")?).proves(ID).is(0)
    })
});

case!(Case {
    name: "atomicity.state.descriptors",
    about: "CLONE_FILES in a call that fails leaves the descriptors, their close-on-exec flags and the record locks \
            as they were: the locks are still those of the table that caller and sharer have, and no third task gets \
            them.",
    proves: &["ATOM-S7"],
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        let path = t.directory()?.join("locked");
        let file = t.setup(Call::io("open(locked)", File::create(path)))?;
        let fd = file.as_raw_fd();
        for (number, flags) in [(100, 0), (101, libc::O_CLOEXEC)] {
            t.setup(Call::new("dup3()", dup_to(fd, number, flags)))?;
        }
        let sharer = Peer::start(t, "sharer", Flags::FILES)?;
        let third = Peer::start(t, "third task", Flags::NONE)?;
        t.setup(Call::new("fcntl(F_SETLK)", write_lock((libc::F_SETLK, fd))))?;
        let start = second_pid(t)?;
        for flags in [
            Flags::FILES | Flags::NEWPID,
            Flags::FILES | Flags::INVALID,
            Flags::FILES | Flags::FS | Flags::NEWUTS | Flags::NEWPID,
        ] {
            t.unshare(flags).from(start).as_predicted()?;
            for (side, expected) in
                [(Side::Caller, Ok(())), (Side::Peer(&sharer), Ok(())), (Side::Peer(&third), Err(Errno::EAGAIN))]
            {
                let text = format!("fcntl(F_SETLK) after unshare({flags})");
                t.check(side.ask(t, &text, (libc::F_SETLK, fd), write_lock)?).gives(expected)?;
            }
            check_kcmp(t, &sharer, Shared::Files, true, "ATOM-S7")?;
        }
        Ok(())
    }
});

/// Mounts of a task without what tells only of the looking task.
fn table((): ()) -> Result<Vec<MountLine>, Errno> {
    mounts()
}

case!(Case {
    name: "atomicity.state.mounts",
    about: "CLONE_NEWNS in a call that fails leaves the mounts of the caller's namespace and their peer groups as \
            they were, and those of another namespace that is in the same peer groups: no mount comes, goes or \
            changes.",
    proves: &["ATOM-S9", "ATOM-S3"],
    variants: Failing::of_everything,
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        const ID: &str = "ATOM-S9";
        let base = PathBuf::from(new_directory(t, "shared")?);
        t.setup(mount_tmpfs(&base))?;
        let none = None::<&str>;
        t.setup(Call::new("mount(MS_SHARED)", mount(none, &base, none, MsFlags::MS_SHARED, none)))?;
        let below = base.join("below");
        t.setup(Call::io("mkdir(below)", fs::create_dir(&below)))?;
        t.setup(mount_tmpfs(&below))?;
        let beside = Peer::start(t, "task in the same mount namespace", Flags::NONE)?;
        let other = Peer::start(t, "task in a peer mount namespace", Flags::NEWNS)?;
        // In a mount namespace of its own user namespace the caller leaves this one.
        let (_, start, flags) = Failing::enter(t)?;
        let look = |peer: &Peer| peer.setup(t, "read(mountinfo)", (), table);
        let before = (t.setup(Call::new("read(mountinfo)", mounts()))?, look(&beside)?, look(&other)?);
        let here = |path: &str| Call::io(format!("inode of {path}"), fs::metadata(path).map(|stat| stat.ino()));
        let places = (t.setup(here("."))?, t.setup(here("/"))?);
        for flags in [flags | Flags::NEWNS, flags] {
            t.unshare(flags).from(start).proving(ID).as_predicted()?;
            for (whose, now, before) in [
                ("the caller's mount namespace", t.setup(Call::new("read(mountinfo)", mounts()))?, &before.0),
                ("the mount namespace it may have left before", look(&beside)?, &before.1),
                ("a peer mount namespace", look(&other)?, &before.2),
            ] {
                let changed: Vec<_> = now
                    .iter()
                    .filter(|line| !before.contains(line))
                    .chain(before.iter().filter(|line| !now.contains(line)))
                    .map(|line| format!("{line:?}"))
                    .collect();
                t.check(Call::seen(
                    format!("mounts of {whose} that came, went or changed with unshare({flags})"),
                    changed,
                ))
                .proves(ID)
                .is(vec![])?;
            }
            t.check(here(".")).proves("ATOM-S3").is(places.0)?;
            t.check(here("/")).proves("ATOM-S3").is(places.1)?;
        }
        Ok(())
    })
});
