//! The limits as settings: what they take, and whose they are (INT-21, LIM-01, LIM-03, ERR-42 of the behaviour
//! catalogue).

use crate::prelude::*;

const SOURCE: &str = "namespaces(7), The /proc/sys/user directory";

/// The limit as it reads.
fn value(flag: Flags) -> Call<String> {
    let path = limits::path(flag);
    let text = fs::read_to_string(&path).map(|text| text.trim().to_owned());
    Call::io(format!("read({})", path.display()), text)
}

fn write(flag: Flags, text: &str) -> Call<()> {
    let path = limits::path(flag);
    Call::io(format!("write({text:?}) to {}", path.display()), fs::write(&path, text))
}

case!(Case {
    name: "limits.range",
    about: "A limit takes the numbers from 0 to 2147483647 and reads back as what was written; any other number \
            leaves it as it was, and one that is too large is refused with EINVAL.",
    proves: &["LIM-01"],
    needs: limits::NEEDS,
    quick: one_in(2, 1),
    variants: variants::each_kind,
    run: |t| {
        let flag = t.param::<Flags>();
        limits::enter_own_user_namespace(t)?;
        for good in ["0", "1", "2147483646", "2147483647", "17"] {
            t.check(write(flag, good)).succeeds()?;
            t.check(value(flag)).is(good.to_owned())?;
        }
        for large in ["2147483648", "4294967296", "4294967313", "9223372036854775808"] {
            t.check(write(flag, large)).fails_with(Errno::EINVAL)?;
            t.check(value(flag)).is("17".to_owned())?;
        }
        for none in ["-1", "-2147483648", "many"] {
            // Some releases refuse a negative number, others pass over it.
            let refused = write(flag, none).result().is_err();
            let text =
                format!("limit after write({none:?}), which was {}", if refused { "refused" } else { "passed over" });
            t.check(value(flag).called(text)).is("17".to_owned())?;
        }
        Ok(())
    }
});

case!(Case {
    name: "limits.own_set",
    about: "Each user namespace has limits of its own, 2147483647 at first whatever those outside are: setting them \
            changes nobody else's, and takes CAP_SYS_RESOURCE there (EACCES without).",
    proves: &["INT-21"],
    needs: limits::NEEDS,
    run: |t| {
        const CAP_SYS_RESOURCE: u64 = 1 << 24;
        limits::enter_own_user_namespace(t)?;
        for (flag, _) in limits::files(t) {
            t.check(value(flag)).is(limits::HIGHEST.to_string())?;
            limits::set(t, flag, 1000)?;
        }
        t.in_child(|t| {
            limits::enter_nested_user_namespace(t)?;
            for (flag, _) in limits::files(t) {
                t.check(value(flag)).is(limits::HIGHEST.to_string())?;
                t.check(write(flag, "7")).succeeds()?;
                t.check(value(flag)).is("7".to_owned())?;
            }
            Ok(())
        })?;
        for (flag, _) in limits::files(t) {
            t.check(value(flag)).is("1000".to_owned())?;
        }
        t.in_child(|t| {
            let all = Observer::open(t)?.state().capabilities[1];
            let rest = all & !CAP_SYS_RESOURCE;
            t.setup(set_capabilities(rest, rest))?;
            for (flag, path) in limits::files(t) {
                t.check(write(flag, "8")).fails_with(Errno::EACCES)?;
                t.check(value(flag)).is("1000".to_owned())?;
                // Not for lack of a way to the file.
                t.check(Call::io("open(O_RDONLY)", File::open(path).map(drop))).succeeds()?;
            }
            Ok(())
        })
    }
});

fn nr_open() -> Call<String> {
    let path = global::NR_OPEN.path();
    let text = fs::read_to_string(path).map(|text| text.trim().to_owned());
    Call::io(format!("read({path})"), text)
}

case!(Case {
    name: "limits.nr_open_floor",
    about: "On a 64-bit kernel fs.nr_open cannot be set below 64: less is refused with EINVAL and leaves it as it \
            was.",
    proves: &["LIM-03"],
    source: "kernel, fs/file.c",
    needs: Needs::NONE.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| {
        if usize::BITS != 64 {
            return Err(t.skip("the claim is about 64-bit kernels: run the suite's 64-bit build"));
        }
        t.check(set_nr_open("128")).succeeds()?;
        for low in ["63", "1", "0"] {
            t.check(set_nr_open(low)).fails_with(Errno::EINVAL)?;
            t.check(nr_open()).is("128".to_owned())?;
        }
        t.check(set_nr_open("64")).succeeds()?;
        t.check(nr_open()).is("64".to_owned())
    }
});

case!(Case {
    name: "limits.mount_max",
    about: "The limit fs.mount-max refuses further mounts (ENOSPC) but not CLONE_NEWNS: a copy of more mounts than \
            it allows succeeds and is complete.",
    proves: &["ERR-42"],
    source: "proc_sys_fs(5), mount-max; kernel, fs/namespace.c",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).disturbing(global::MOUNT_MAX),
    run: |t| {
        let target = t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| judge_copy_beyond_mount_max(t, target))
    }
});

fn judge_copy_beyond_mount_max(t: &Test, target: &Path) -> Done {
    let mount = || mount_tmpfs(target);
    // Sorted by name: the order of the list is not guaranteed.
    let points = || -> Done<Vec<String>> {
        let mounts = t.setup(Call::new("read(mountinfo)", mounts()))?;
        let mut points: Vec<_> = mounts.iter().map(|mount| mount.point().to_owned()).collect();
        points.sort();
        Ok(points)
    };
    for _ in 0..3 {
        t.setup(mount())?;
    }
    let before = points()?;
    let path = global::MOUNT_MAX.path();
    t.setup(Call::io(format!("write({path}, 2)"), fs::write(path, "2")))?;
    t.check(mount()).fails_with(Errno::ENOSPC)?;
    for _ in 0..2 {
        t.unshare(Flags::NEWNS).as_predicted()?;
    }
    t.check(Call::seen("mount points in the copy", points()?)).is(before)
}

/// The errors, 0 for none, of a mount of one file system and of a tree of three, without and with peers, by limits from
/// one number on.
fn fill((base, from): (String, usize)) -> Result<Vec<[i32; 4]>, Errno> {
    let none = None::<&str>;
    let errno = |result: Result<(), Errno>| result.err().map_or(0, |errno| errno as i32);
    let free = format!("{base}/free");
    let made_and_undone = |point: &str, result: Result<(), Errno>| {
        if result.is_ok() {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
        errno(result)
    };
    let with_limit = |limit: usize| -> Result<[i32; 4], Errno> {
        fs::write(global::MOUNT_MAX.path(), limit.to_string()).map_err(errno_of)?;
        let shared = format!("{base}/shared/below");
        let tree = MsFlags::MS_BIND | MsFlags::MS_REC;
        Ok([
            made_and_undone(&free, mount(Some("case"), free.as_str(), Some("tmpfs"), MsFlags::empty(), none)),
            made_and_undone(&free, mount(Some(format!("{base}/tree").as_str()), free.as_str(), none, tree, none)),
            made_and_undone(&shared, mount(Some("case"), shared.as_str(), Some("tmpfs"), MsFlags::empty(), none)),
            made_and_undone(&shared, mount(Some(format!("{base}/tree").as_str()), shared.as_str(), none, tree, none)),
        ])
    };
    // More than in the namespaces that the peers are in, which have room when this one has none.
    const MORE: usize = 3;
    for _ in 0..MORE {
        mount(Some("case"), free.as_str(), Some("tmpfs"), MsFlags::empty(), none)?;
    }
    let errors = (from..from + MORE + 10).map(with_limit).collect();
    for _ in 0..MORE {
        umount2(free.as_str(), MntFlags::MNT_DETACH)?;
    }
    errors
}

case!(Case {
    name: "limits.mount_max_counts",
    about: "In the new namespace fs.mount-max refuses (ENOSPC) just those mounts that it refuses in a copy that clone(2) \
            has made: copied mounts count, and so do all of a tree and those of the peers.",
    proves: &["ERR-44"],
    source: "proc_sys_fs(5), mount-max; kernel, fs/namespace.c (count_mounts)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).disturbing(global::MOUNT_MAX),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let none = None::<&str>;
        let private = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        let base = new_directory(t, "base")?;
        t.setup(mount_tmpfs(Path::new(&base)))?;
        for name in ["free", "tree", "shared", "peer"] {
            new_directory(t, &format!("base/{name}"))?;
        }
        t.setup(mount_tmpfs(Path::new(&format!("{base}/tree"))))?;
        for name in ["a", "b"] {
            let inner = new_directory(t, &format!("base/tree/{name}"))?;
            t.setup(mount_tmpfs(Path::new(&inner)))?;
        }
        let (shared, peer) = (format!("{base}/shared"), format!("{base}/peer"));
        t.setup(mount_tmpfs(Path::new(&shared)))?;
        new_directory(t, "base/shared/below")?;
        t.setup(Call::new("mount(MS_SHARED)", mount(none, shared.as_str(), none, MsFlags::MS_SHARED, none)))?;
        let bound = mount(Some(shared.as_str()), peer.as_str(), none, MsFlags::MS_BIND, none);
        t.setup(Call::new("mount(MS_BIND)", bound))?;
        // Some are out of sight, so that the limits begin below the number, and end above it.
        let from = t.setup(Call::new("read(mountinfo)", mounts()))?.len().saturating_sub(1);
        let control = Peer::start(t, "task made by clone(2)", Flags::NEWNS)?;
        let expected = control.setup(t, "mounts in a copy made by clone(2)", (base.clone(), from), fill)?;
        t.unshare(Flags::NEWNS).as_predicted()?;
        let text = "errors of mounts of one and three, without and with peers";
        t.check(Call::new(text, fill((base, from)))).is(expected)
    })
});

case!(Case {
    name: "limits.mount_max_of_a_peer",
    about: "A mount in the new namespace is refused (ENOSPC) when the namespace of a peer has no room by fs.mount-max, \
            though the caller's has, and a slave there as well, which comes after the peer.",
    proves: &["ERR-46"],
    source: "proc_sys_fs(5), mount-max; kernel, fs/pnode.c (propagate_mnt)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).disturbing(global::MOUNT_MAX),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        /// So many mounts more than the caller's has the namespace of the peer.
        const MORE: usize = 20;
        let none = None::<&str>;
        let private = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        let base = new_directory(t, "base")?;
        t.setup(mount_tmpfs(Path::new(&base)))?;
        let [free, shared, slave] = ["free", "shared", "slave"].map(|name| format!("{base}/{name}"));
        for point in [&free, &shared, &slave] {
            t.setup(Call::io("mkdir()", fs::create_dir(point)))?;
        }
        t.setup(mount_tmpfs(Path::new(&shared)))?;
        let below = format!("{shared}/below");
        t.setup(Call::io("mkdir(below)", fs::create_dir(&below)))?;
        t.setup(Call::new("mount(MS_SHARED)", mount(none, shared.as_str(), none, MsFlags::MS_SHARED, none)))?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&outside]).as_predicted()?;
        let bound = mount(Some(shared.as_str()), slave.as_str(), none, MsFlags::MS_BIND, none);
        t.setup(Call::new("mount(slave, MS_BIND)", bound))?;
        t.setup(Call::new("mount(MS_SLAVE)", mount(none, slave.as_str(), none, MsFlags::MS_SLAVE, none)))?;
        for _ in 0..=MORE {
            outside.setup(t, "mount(tmpfs, free)", free.clone(), mount_by_path)?;
        }
        // Some mounts are out of sight: the caller's are so many that a limit of one more lets it have one more.
        let visible = t.setup(Call::new("read(mountinfo)", mounts()))?.len();
        let set = |limit: usize| {
            let path = global::MOUNT_MAX.path();
            t.setup(Call::io(format!("write({path}, {limit})"), fs::write(path, limit.to_string())))
        };
        let mut limit = visible;
        loop {
            set(limit)?;
            match mount_by_path(free.clone()) {
                Ok(()) => break,
                Err(Errno::ENOSPC) => limit += 1,
                Err(errno) => return t.setup(Call::new("mount(tmpfs, free)", Err(errno))),
            }
        }
        // Room for some here, and for none there.
        set(limit + MORE / 2)?;
        let full = outside.call(t, "mount(tmpfs, free)", free, mount_by_path)?;
        if full.result() != Err(Failure::Errno(Errno::ENOSPC)) {
            return Err(t.broken("a mount of the peer's beyond the limit", format!("{full:?}")));
        }
        t.check(mount_tmpfs(Path::new(&below)).called("mount(tmpfs) below the shared mount"))
            .fails_with(Errno::ENOSPC)?;
        t.check(Call::new("whether anything is mounted below the slave", is_mounted(format!("{slave}/below"))))
            .is(false)
    })
});

fn mount_by_path(point: String) -> Result<(), Errno> {
    mount(Some("case"), point.as_str(), Some("tmpfs"), MsFlags::empty(), None::<&str>)
}

case!(Case {
    name: "limits.mount_max_of_the_empty",
    about: "The one mount of an empty namespace (UNSHARE_EMPTY_MNTNS) counts: with fs.mount-max at 2 there is room for one \
            more, and the next is refused (ENOSPC).",
    proves: &["ERR-47"],
    source: "proc_sys_fs(5), mount-max; kernel, fs/namespace.c (copy_mnt_ns)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::EMPTY_MNT_NS).disturbing(global::MOUNT_MAX),
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let path = global::MOUNT_MAX.path();
        t.setup(Call::io(format!("write({path}, 2)"), fs::write(path, "2")))?;
        t.unshare(Flags::EMPTY).beside(&[&peer]).as_predicted()?;
        t.check(mount_tmpfs(Path::new("/"))).succeeds()?;
        t.check(mount_tmpfs(Path::new("/")).called("mount(tmpfs, /) beyond the limit")).fails_with(Errno::ENOSPC)
    }
});
