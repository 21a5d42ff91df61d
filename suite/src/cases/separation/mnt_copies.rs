//! Odd trees that are copied, and what of a mount namespace outlives what (section 3.5 of the behaviour catalogue).

use std::io::{Read, Seek};

use super::mnt::mount_tmpfs;
use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWNS; mount_namespaces(7); kernel, fs/namespace.c";
const NEEDS: Needs = Needs::ROOT;

fn new_tmpfs(point: &str) -> Call<()> {
    Call::new(format!("mount(tmpfs, {point})"), mount_tmpfs(point.to_owned()))
}

case!(Case {
    name: "separation.mnt.detached_cwd",
    about: "A cwd on a detached mount (MNT_DETACH) has no copy: the caller stays there, and can make and read files.",
    proves: &["EFF-MNT-09"],
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_directory(t, "inner")?;
        t.setup(new_tmpfs(&point))?;
        t.setup(Call::new("chdir(inner)", chdir(point.as_str())))?;
        t.setup(Call::new("umount(inner, MNT_DETACH)", umount2(point.as_str(), MntFlags::MNT_DETACH)))?;
        t.setup(Call::io("write(./before)", fs::write("before", "text")))?;
        let peer = Peer::start(t, "peer", Flags::FS)?;
        let start = Start { cwd_detached: true, ..Start::of(t.facts()) };
        t.unshare(Flags::NEWNS).from(start).beside(&[&peer]).as_predicted()?;
        t.check(Call::io("read(./before)", fs::read_to_string("before"))).is("text".to_owned())?;
        t.check(Call::io("write(./after)", fs::write("after", "text"))).succeeds()
    })
});

/// A mount without its ID and its parent's.
fn looks(line: &MountLine) -> String {
    format!("{} [{}] {}", line.place.join(" "), line.propagation.join(" "), line.source)
}

/// How many mounts there are of each kind and of each kind upon which other.
fn census(list: &[MountLine]) -> BTreeMap<(String, Option<String>), usize> {
    let by_id: BTreeMap<u64, &MountLine> = list.iter().map(|line| (line.id, line)).collect();
    let mut census = BTreeMap::new();
    for line in list {
        let parent = by_id.get(&line.parent).map(|parent| looks(parent));
        *census.entry((looks(line), parent)).or_default() += 1;
    }
    census
}

#[derive(Clone, Copy)]
enum Tree {
    OvermountedRoot,
    RootOnCoveredMount,
    Thousands,
}

const TREES: [(&str, Tree); 3] = [
    ("overmounted_root", Tree::OvermountedRoot),
    ("root_on_covered_mount", Tree::RootOnCoveredMount),
    ("thousands", Tree::Thousands),
];

case!(Case {
    name: "separation.mnt.odd_trees",
    about: "The copy is complete, with new IDs, if a mount covers the root, if the caller's root is on a covered \
            mount, and with thousands of mounts (hundreds in the quick tier).",
    proves: &["EFF-MNT-21"],
    variants: || variants::named(&TREES),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let point = new_directory(t, "inner")?;
        t.setup(new_tmpfs(&point))?;
        let proc = t.setup(Call::io("open(/proc)", File::open("/proc")))?;
        let mut start = Start::of(t.facts());
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        match t.param() {
            Tree::OvermountedRoot => t.setup(new_tmpfs("/"))?,
            Tree::RootOnCoveredMount => {
                new_directory(t, "inner/below")?;
                t.setup(new_tmpfs(&format!("{point}/below")))?;
                t.setup(Call::new("chdir(inner)", chdir(point.as_str())))?;
                t.setup(new_tmpfs(&point))?;
                t.setup(Call::new("chroot(.)", chroot(".")))?;
                start.chrooted = true;
            }
            Tree::Thousands => {
                let many = if t.tier() == Tier::Quick { 300 } else { 3000 };
                for at in 0..many {
                    let path = format!("{point}/{at}");
                    t.setup(Call::io("mkdir()", fs::create_dir(&path)))?;
                    let bound = mount(Some(path.as_str()), path.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>);
                    t.setup(Call::new("mount(MS_BIND)", bound))?;
                }
            }
        }
        let table = || -> Result<Vec<MountLine>, Errno> {
            // The caller may have no /proc below its root.
            let file = openat(&proc, "thread-self/mountinfo", OFlag::O_RDONLY, Mode::empty())?;
            let text = io::read_to_string(File::from(file)).map_err(|_| Errno::EIO)?;
            Ok(mounts::parse(&text))
        };
        let before = t.setup(Call::new("read(mountinfo)", table()))?;
        t.unshare(Flags::NEWNS).from(start).beside(&[&peer]).as_predicted()?;
        let after = t.setup(Call::new("read(mountinfo)", table()))?;
        t.check(Call::seen("number of mounts in the copy", after.len())).is(before.len())?;
        let (old, new) = (census(&before), census(&after));
        let differing: Vec<_> = old.iter().filter(|(what, count)| new.get(what) != Some(count)).take(3).collect();
        t.check(Call::seen("mounts that the copy lacks", differing)).is(vec![])?;
        let ids: BTreeSet<u64> = before.iter().map(|line| line.id).collect();
        let reused = after.iter().filter(|line| ids.contains(&line.id)).count();
        t.check(Call::seen("mounts of the copy with an ID of the original", reused)).is(0)
    })
});

case!(Case {
    name: "separation.mnt.open_mountinfo",
    about: "A mountinfo opened before the call lists the old namespace; one opened after it lists the new.",
    proves: &["EFF-MNT-20"],
    source: "kernel, fs/proc_namespace.c",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (theirs, ours) = (new_directory(t, "theirs")?, new_directory(t, "ours")?);
        let path = "/proc/thread-self/mountinfo";
        let mut file = t.setup(Call::io(format!("open({path})"), File::open(path)))?;
        let mut read = || {
            let mut text = String::new();
            let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
            Call::io("read(mountinfo opened before the call)", read.map(|_| mounts::parse(&text)))
        };
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        t.setup(new_tmpfs(&ours))?;
        peer.setup(t, "mount(tmpfs, theirs)", theirs.clone(), mount_tmpfs)?;
        let old = peer.setup(t, "read(mountinfo) in the old namespace", (), |()| mounts_of("thread-self"))?;
        t.check(read()).is(old)?;
        let new = t.setup(Call::new("read(mountinfo)", mounts_of("thread-self")))?;
        let has = |point: &String| new.iter().any(|line| line.point() == point);
        let text = "mountinfo opened afterwards (whether it has the caller's mount, the peer's)";
        t.check(Call::seen(text, (has(&ours), has(&theirs)))).is((true, false))
    })
});

/// Whether poll(2) says that the mounts which an open mountinfo lists have changed, within so many milliseconds.
fn has_changed(file: &File, patience: c_int) -> Result<bool, Errno> {
    let mut polled = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLPRI, revents: 0 };
    // SAFETY: one structure, which lives through the call.
    Errno::result(unsafe { libc::poll(&raw mut polled, 1, patience) })?;
    Ok(polled.revents & libc::POLLPRI != 0)
}

case!(Case {
    name: "separation.mnt.polled",
    about: "poll(2) of a mountinfo opened after the call tells of mounts in the new namespace alone, and of one opened \
            before, of those in the old.",
    proves: &["EFF-MNT-36"],
    source: "proc_pid_mounts(5); kernel, fs/proc_namespace.c",
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let (theirs, ours) = (new_directory(t, "theirs")?, new_directory(t, "ours")?);
        let private = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
        t.setup(Call::new("mount(/, MS_REC|MS_PRIVATE)", private))?;
        let path = "/proc/thread-self/mountinfo";
        let old = t.setup(Call::io(format!("open({path})"), File::open(path)))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::NEWNS).beside(&[&peer]).as_predicted()?;
        let new = t.setup(Call::io(format!("open({path})"), File::open(path)))?;
        let check = |when: &str, patience: c_int, expected: (bool, bool)| {
            let changed = has_changed(&old, patience).and_then(|old| Ok((old, has_changed(&new, patience)?)));
            let text = format!("whether mounts changed (old namespace, new namespace) {when}, by poll()");
            t.check(Call::new(text, changed)).is(expected)
        };
        // That it waits counts, too: only then it is entered in the namespace's queue.
        check("after nothing", 1, (false, false))?;
        peer.setup(t, "mount(tmpfs, theirs)", theirs, mount_tmpfs)?;
        check("after a mount in the old one", 0, (true, false))?;
        t.setup(new_tmpfs(&ours))?;
        check("after a mount in the new one", 0, (false, true))
    })
});

case!(Case {
    name: "separation.mnt.end_of_namespace",
    about: "A file system mounted only in the new namespace goes with its last task, or when its last open file is \
            closed.",
    proves: &["EFF-MNT-18"],
    source: "namespaces(7), Namespace lifetime",
    run: |t| {
        let point = new_directory(t, "inner")?;
        // The watch does not hold the file system, and tells when it is gone. The caller's descriptors are this
        // task's, too.
        // SAFETY: inotify_init1 takes a number; the descriptor is new.
        let watch = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        let watch = t.setup(Call::new("inotify_init1()", Errno::result(watch)))?;
        // SAFETY: the descriptor is new and nobody else's.
        let mut watch = unsafe { File::from_raw_fd(watch) };
        /// Number of the descriptor that keeps the file.
        const KEPT: i32 = 40;
        t.spawn_sharing("caller", Flags::FILES.0, |t| {
            t.unshare(Flags::NEWNS).as_predicted()?;
            t.setup(new_tmpfs(&point))?;
            let path = CString::new(point.clone()).unwrap_or_default();
            // SAFETY: the path is a string.
            let added = unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_UNMOUNT) };
            t.setup(Call::new("inotify_add_watch(inner)", Errno::result(added)))?;
            t.setup(Call::io("write(inner/file)", fs::write(format!("{point}/file"), "kept")))?;
            let file = t.setup(Call::io("open(inner/file)", File::open(format!("{point}/file"))))?;
            // SAFETY: nothing else of the case has this number.
            let kept = unsafe { libc::dup3(file.as_raw_fd(), KEPT, libc::O_CLOEXEC) };
            t.setup(Call::new("dup3()", Errno::result(kept))).map(drop)
        })?
        .join(t)?;
        // SAFETY: the caller left it to this task.
        let mut kept = unsafe { File::from_raw_fd(KEPT) };
        let mut gone = || {
            let mut events = [0u8; 512];
            match watch.read(&mut events) {
                Ok(length) if length >= 16 => {
                    let mask = u32::from_ne_bytes([events[4], events[5], events[6], events[7]]);
                    mask & libc::IN_UNMOUNT != 0
                }
                _ => false,
            }
        };
        let mut text = String::new();
        // A kernel that takes it away while it is used would have by then.
        std::thread::sleep(Duration::from_millis(20));
        let read = kept.read_to_string(&mut text);
        t.check(Call::io("read(file of the namespace that ended)", read.map(|_| text))).is("kept".to_owned())?;
        t.check(Call::seen("whether the file system is gone (IN_UNMOUNT) while a file is open", gone())).is(false)?;
        drop(kept);
        let is_gone = t.wait_until(Duration::from_secs(5), gone);
        t.check(Call::seen("whether the file system is gone (IN_UNMOUNT) after its last file was closed", is_gone))
            .is(true)
    }
});
