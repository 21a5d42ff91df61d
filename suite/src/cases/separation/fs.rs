//! Root, current directory and umask (section 3.1 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 and 8 (3); unshare(2), CLONE_FS";

/// Each of the three, with its requirement.
fn each_mark() -> Vec<Variant> {
    let mark =
        |probe: Probe, id| Variant::new(probe.slug(), (probe, id)).proving([id, "EFF-FS-04", "EFF-FS-05", "EFF-FS-07"]);
    let root = mark(Probe::Root, "EFF-FS-03").needing(Needs::ROOT);
    vec![mark(Probe::Cwd, "EFF-FS-01"), mark(Probe::Umask, "EFF-FS-02"), root]
}

case!(Case {
    name: "separation.fs.private",
    about: "Current directory, umask and root, changed by one of two tasks that share them (CLONE_FS), change for \
            both. unshare(CLONE_FS) keeps their values, and later changes by either do not reach the other.",
    proves: &["EFF-FS-01", "EFF-FS-02", "EFF-FS-03", "EFF-FS-04", "EFF-FS-05", "EFF-FS-07"],
    variants: each_mark,
    run: |t| {
        let (probe, id): (Probe, &str) = t.param();
        let dirs = ProbeDirs::make(t, &[probe])?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        let sides = (Side::Caller, Side::Peer(&peer));
        check_shared(t, &dirs, probe, sides, "EFF-FS-04")?;
        t.unshare(Flags::FS).beside(&[&peer]).proving("EFF-FS-05").as_predicted()?;
        check_apart(t, &dirs, probe, sides, id)?;
        // The same seen from the other end (EFF-FS-07).
        check_apart(t, &dirs, probe, (sides.1, sides.0), "EFF-FS-07")
    }
});

case!(Case {
    name: "separation.fs.kcmp",
    about: "kcmp(2) reports root, cwd and umask as shared before unshare(CLONE_FS), and as not shared after it.",
    proves: &["EFF-FS-06"],
    source: "kcmp(2), KCMP_FS; unshare(2), CLONE_FS",
    needs: Needs::NONE.with(feature::KCMP),
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        check_kcmp(t, &peer, Shared::Fs, true, "EFF-FS-06")?;
        t.unshare(Flags::FS).beside(&[&peer]).as_predicted()?;
        check_kcmp(t, &peer, Shared::Fs, false, "EFF-FS-06")?;
        check_kcmp(t, &peer, Shared::Files, true, "EFF-FS-12")
    }
});

case!(Case {
    name: "separation.fs.three_sharers",
    about: "Of three tasks that share root, cwd and umask, unshare(CLONE_FS) by one leaves the other two sharing.",
    proves: &["EFF-FS-08"],
    run: |t| {
        const ID: &str = "EFF-FS-08";
        let dirs = ProbeDirs::make(t, &[Probe::Cwd])?;
        let one = Peer::start(t, "first peer", Flags::FS)?;
        let two = Peer::start(t, "second peer", Flags::FS)?;
        let (caller, a, b) = (Side::Caller, Side::Peer(&one), Side::Peer(&two));
        for sides in [(caller, a), (caller, b), (a, b)] {
            check_shared(t, &dirs, Probe::Cwd, sides, ID)?;
        }
        t.unshare(Flags::FS).beside(&[&one, &two]).as_predicted()?;
        for probe in [Probe::Cwd, Probe::Umask] {
            check_apart(t, &dirs, probe, (caller, a), ID)?;
            check_apart(t, &dirs, probe, (b, caller), ID)?;
            check_shared(t, &dirs, probe, (a, b), ID)?;
        }
        for peer in [&one, &two] {
            check_kcmp(t, peer, Shared::Fs, false, ID)?;
        }
        if t.facts().has(feature::KCMP) {
            let (a, b) = (one.pid().as_raw(), two.pid().as_raw());
            t.check(observe::sharing(Shared::Fs, a, b)).is(true)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.fs.last_sharer",
    about: "unshare(CLONE_FS) by the last sharer, once the other has exited or unshared, succeeds and changes nothing, \
            however often.",
    proves: &["EFF-FS-09", "RET-02"],
    variants: || variants::named(&[("exited", true), ("unshared", false)]),
    run: |t| {
        const ID: &str = "EFF-FS-09";
        let dirs = ProbeDirs::make(t, &[Probe::Cwd])?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        check_shared(t, &dirs, Probe::Cwd, (Side::Caller, Side::Peer(&peer)), "EFF-FS-04")?;
        let peer = if t.param::<bool>() {
            peer.end();
            None
        } else {
            t.check(unshare_by(t, &peer, Flags::FS)?).proves(ID).succeeds()?;
            Some(peer)
        };
        let peers: Vec<_> = peer.iter().collect();
        t.unshare(Flags::FS).beside(&peers).proving(ID).as_predicted()?;
        t.unshare(Flags::FS).beside(&peers).proving("RET-02").as_predicted()?;
        if let Some(peer) = &peer {
            check_apart(t, &dirs, Probe::Cwd, (Side::Caller, Side::Peer(peer)), ID)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.fs.thread",
    about: "unshare(CLONE_FS) by a second thread detaches that thread alone: the first thread, which /proc/self shows, \
            goes on sharing.",
    proves: &["EFF-FS-10", "DOC-10"],
    run: |t| {
        const ID: &str = "EFF-FS-10";
        let dirs = ProbeDirs::make(t, &[Probe::Cwd])?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        let base = t.directory()?.join("cwd");
        let inode = |name: &str| {
            let path = if name.starts_with('/') { name.into() } else { base.join(name) };
            Call::io(format!("stat({name})"), fs::metadata(path).map(|m| m.ino()))
        };
        let (start, own, apart) = (t.setup(inode("0"))?, t.setup(inode("20"))?, t.setup(inode("21"))?);
        t.check(inode("/proc/self/cwd")).proves(ID).is(start)?;
        in_second_thread(t, || {
            let threaded = Start { threads: Threads::Others, ..Start::of(t.facts()) };
            t.unshare(Flags::FS).from(threaded).beside(&[&peer]).proving(ID).as_predicted()?;
            t.setup(Call::new("chdir(../21)", chdir("../21")))?;
            t.check(inode("/proc/thread-self/cwd")).proves(ID).is(apart)?;
            t.check(inode("/proc/self/cwd")).proves(ID).is(start)
        })?;
        // The first thread, and the peer that shares with it.
        t.check(inode("/proc/self/cwd")).proves(ID).is(start)?;
        t.setup(Call::new("chdir(../20)", chdir("../20")))?;
        t.check(inode("/proc/self/cwd")).proves(ID).is(own)?;
        check_shared(t, &dirs, Probe::Cwd, (Side::Caller, Side::Peer(&peer)), ID)?;
        check_shared(t, &dirs, Probe::Umask, (Side::Caller, Side::Peer(&peer)), ID)?;
        check_kcmp(t, &peer, Shared::Fs, true, ID)
    }
});

/// The requirement by which this flag leaves CLONE_FS's resources shared: one for namespaces, one for the rest.
fn kept_by(flag: Flags) -> &'static str {
    if flag.intersects(Flags::PRIVILEGED) { "EFF-FS-11" } else { "EFF-FS-12" }
}

fn unrelated_flags() -> Vec<Variant> {
    let implying = Flags::FS | Flags::NEWNS | Flags::EMPTY | Flags::NEWUSER;
    variants::succeeding(Flags::KNOWN.into_iter().filter(|flag| !flag.intersects(implying)))
        .into_iter()
        .map(|variant| {
            let id = kept_by(variant.param());
            variant.proving([id])
        })
        .collect()
}

case!(Case {
    name: "separation.fs.kept_by",
    about: "A flag that neither is CLONE_FS nor implies it leaves root, current directory and umask shared.",
    proves: &["EFF-FS-11", "EFF-FS-12"],
    quick: one_in(4, 0),
    variants: unrelated_flags,
    run: |t| {
        let flags = t.param::<Flags>();
        let id = kept_by(flags);
        let dirs = ProbeDirs::make(t, &Probe::FS)?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        let sides = (Side::Caller, Side::Peer(&peer));
        let prediction = t.unshare(flags).beside(&[&peer]).proving(id).prediction()?;
        check_kcmp(t, &peer, Shared::Fs, true, id)?;
        for probe in Probe::FS.into_iter().filter(|probe| probe.is_possible(t.facts())) {
            check_as_predicted(t, &dirs, probe, sides, &prediction, id)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.fs.removed_cwd",
    about: "A call from a removed current directory succeeds, and the directory stays the caller's current one.",
    proves: &["EFF-FS-14"],
    variants: || variants::succeeding([Flags::FS, Flags::NEWNS]),
    run: |t| {
        let gone = t.directory()?.join("gone");
        t.setup(Call::io("mkdir(gone)", fs::create_dir(&gone)))?;
        t.setup(Call::new("chdir(gone)", chdir(&gone)))?;
        t.setup(Call::io("rmdir(gone)", fs::remove_dir(&gone)))?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        // The whole state is compared, and with it the inode of the current directory.
        t.unshare(t.param::<Flags>()).beside(&[&peer]).as_predicted()?;
        let cwd = || Call::new("getcwd()", getcwd());
        t.check(cwd()).fails_with(Errno::ENOENT)?;
        // It is the caller's own now.
        t.setup(Call::new("chdir(/)", chdir("/")))?;
        let call = peer.call(t, "getcwd() by the peer", (), |()| getcwd().map(drop))?;
        t.check(call).fails_with(Errno::ENOENT)
    }
});

case!(Case {
    name: "separation.fs.lets_go",
    about: "The root and current directory that a call copied before it failed, and those that CLONE_NEWNS replaced, \
            keep no mount busy: where nobody else is, the file system can be unmounted.",
    proves: &["EFF-FS-15"],
    source: "2006 design document, 6 (failure leaves nothing behind); umount(2), EBUSY",
    needs: Needs::ROOT.with(feature::PID_NS),
    variants: || variants::named(&[("copied", true), ("replaced", false)]),
    run: |t| {
        let fails: bool = t.param();
        let point = new_directory(t, "point")?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            let peer = Peer::start(t, "peer", if fails { Flags::FS } else { Flags::NONE })?;
            t.setup(mount_tmpfs(Path::new(&point)))?;
            // What is done with it in one namespace must not concern the other.
            let private = mount(None::<&str>, point.as_str(), None::<&str>, MsFlags::MS_PRIVATE, None::<&str>);
            t.setup(Call::new("mount(MS_PRIVATE)", private))?;
            t.setup(Call::new("chdir(the mount)", chdir(point.as_str())))?;
            if fails {
                let start = second_pid(t)?;
                t.unshare(Flags::FS | Flags::NEWPID).from(start).beside(&[&peer]).as_predicted()?;
                t.setup(Call::new("chdir(/)", chdir("/")))?;
            } else {
                t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
            }
            let unmount = || peer.call(t, "umount()", point.clone(), |point| nix::mount::umount(point.as_str()));
            // Somebody may be looking at the tasks' directories right now.
            t.wait_until(Duration::from_secs(2), || {
                !unmount().is_ok_and(|call| call.result() == Err(Failure::Errno(Errno::EBUSY)))
            });
            let mounted = peer.call(t, "whether it is mounted", point.clone(), is_mounted)?;
            t.check(mounted).is(false)
        })
    }
});
