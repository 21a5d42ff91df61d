//! The empty mount namespace (UNSHARE_EMPTY_MNTNS, Linux 7.1; section 3.6 of the behaviour catalogue).
//!
//! The caller loses every path with the call, /proc's, too: what is read there is read through descriptors opened
//! before, or by a peer that stays behind.

use nix::fcntl::open;

use crate::place::mount_api::{attach, listed_mounts, new_tmpfs, root_mount};
use crate::prelude::*;

const SOURCE: &str = "kernel, fs/namespace.c (copy_mnt_ns) and fs/nullfs.c; kselftest, filesystems/empty_mntns";
const NEEDS: Needs = Needs::ROOT.with(feature::EMPTY_MNT_NS);

/// The file system that is the root of all mounts since 7.0: it has one directory, which nothing can be made in.
const NULL_FS_MAGIC: u64 = 0x4e55_4c4c;

/// The mounts of the calling task, as a peer reads them.
#[track_caller]
fn mounts_seen_by(t: &Test, peer: &Peer) -> Done<Vec<MountLine>> {
    let own = gettid().as_raw();
    peer.setup(t, "read(/proc/PID/mountinfo of the caller)", own, mounts_of)
}

/// Skips what is only so where the root of all mounts is the null file system. Asked before the call, so that one
/// which does nothing is not taken for that.
#[track_caller]
fn root_is_null_fs(t: &Test) -> Done {
    match t.setup(root_mount())? {
        (_, NULL_FS_MAGIC) => Ok(()),
        (_, other) => Err(t.skip(format!(
            "the root of all mounts is a file system of type {other:#x} here, not the null file system: \
             boot a kernel that mounts its root over that one"
        ))),
    }
}

case!(Case {
    name: "separation.empty.one_mount",
    about: "The new namespace has one mount, on the root file system of the old namespace. Its root is the caller's \
            root and current directory, wherever that was.",
    proves: &["EFF-EMPTY-01", "EFF-EMPTY-02", "EFF-EMPTY-14"],
    run: |t| {
        let directory = t.directory()?;
        t.setup(Call::new("chdir(the case's directory)", chdir(directory)))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (root, _) = t.setup(root_mount())?;
        t.unshare(Flags::EMPTY).beside(&[&peer]).proving("EFF-EMPTY-01").as_predicted()?;
        let lines = mounts_seen_by(t, &peer)?;
        let points: Vec<_> = lines.iter().map(|line| line.point().to_owned()).collect();
        t.check(Call::seen("mounts of the caller in mountinfo", points))
            .proves("EFF-EMPTY-01")
            .is(vec!["/".to_owned()])?;
        t.check(listed_mounts()).proves("EFF-EMPTY-01").holds("one mount", |ids| ids.len() == 1)?;
        let (cwd, top) = (place_of(c"."), place_of(c"/"));
        t.check(Call::seen("cwd (file system, inode, mount)", cwd)).proves("EFF-EMPTY-02").is(top)?;
        t.check(Call::seen("mount ID of the root", top.mount)).proves("EFF-EMPTY-02").is(lines[0].id)?;
        t.check(Call::new("getcwd()", getcwd())).proves("EFF-EMPTY-02").is("/".into())?;
        t.check(Call::seen("device of the root", top.device)).proves("EFF-EMPTY-14").is(root)
    }
});

case!(Case {
    name: "separation.empty.nothing_there",
    about: "Old paths are gone (ENOENT); the root directory lists nothing, and nothing can be made in it (ENOENT).",
    proves: &["EFF-EMPTY-03", "EFF-EMPTY-04", "EFF-EMPTY-05"],
    run: |t| {
        let directory = t.directory()?.to_owned();
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        root_is_null_fs(t)?;
        t.unshare(Flags::EMPTY).beside(&[&peer]).proving("EFF-EMPTY-03").as_predicted()?;
        let access = |path: &Path| {
            let found = nix::unistd::access(path, nix::unistd::AccessFlags::F_OK);
            t.check(Call::new(format!("access({}, F_OK)", path.display()), found))
                .proves("EFF-EMPTY-03")
                .fails_with(Errno::ENOENT)
        };
        let made = File::options().write(true).create(true).truncate(true).open("/file").map(drop);
        let names = fs::read_dir("/").and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        });
        all([
            access("/proc".as_ref()),
            access(&directory),
            t.check(Call::io("open(/file, O_CREAT)", made)).proves("EFF-EMPTY-04").fails_with(Errno::ENOENT),
            t.check(Call::io("names in /", names)).proves("EFF-EMPTY-05").is(vec![]),
        ])
    }
});

const SEQUENCES: [(&str, &[Flags]); 3] = [
    ("empty", &[Flags::EMPTY, Flags::EMPTY]),
    ("empty-newns", &[Flags(Flags::EMPTY.0 | Flags::NEWNS.0), Flags::EMPTY]),
    ("newns", &[Flags::NEWNS, Flags::NEWNS]),
];

case!(Case {
    name: "separation.empty.again",
    about: "In the empty namespace further calls succeed, with or without UNSHARE_EMPTY_MNTNS: each gives a new \
            one-mount namespace.",
    proves: &["EFF-EMPTY-06"],
    variants: || variants::named(&SEQUENCES),
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::EMPTY).beside(&[&peer]).as_predicted()?;
        for flags in t.param::<&[Flags]>() {
            // An unbindable root is copied like any other.
            let set = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_UNBINDABLE, None::<&str>);
            t.setup(Call::new("mount(/, MS_UNBINDABLE)", set))?;
            t.unshare(*flags).beside(&[&peer]).as_predicted()?;
            t.check(listed_mounts()).holds("one mount", |ids| ids.len() == 1)?;
            let lines = mounts_seen_by(t, &peer)?;
            t.check(Call::seen("number of mounts in mountinfo", lines.len())).is(1)?;
        }
        Ok(())
    }
});

fn ways_to_a_user_namespace() -> Vec<Variant> {
    vec![
        Variant::new("afterwards", true).proving(["EFF-EMPTY-07"]),
        Variant::new("in_one_call", false).proving(["EFF-EMPTY-08"]).needing(Needs::NONE.with(feature::SECOND_USER)),
    ]
}

case!(Case {
    name: "separation.empty.user_namespace",
    about: "The empty root does not count as a chroot: CLONE_NEWUSER succeeds afterwards. Without privilege the call \
            fails (EPERM), and succeeds together with CLONE_NEWUSER.",
    proves: &["EFF-EMPTY-07", "EFF-EMPTY-08"],
    source: "kernel, kernel/user_namespace.c and kernel/nsproxy.c",
    needs: NEEDS.with(feature::CREATE_USER_NS),
    variants: ways_to_a_user_namespace,
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        if t.param::<bool>() {
            t.unshare(Flags::EMPTY).beside(&[&peer]).proving("EFF-EMPTY-07").as_predicted()?;
            return t.unshare(Flags::NEWUSER).beside(&[&peer]).proving("EFF-EMPTY-07").as_predicted();
        }
        t.spawn("caller", |t| {
            const ID: &str = "EFF-EMPTY-08";
            become_unprivileged(t)?;
            let start = Start::unprivileged();
            t.unshare(Flags::EMPTY).from(start).beside(&[&peer]).proving(ID).as_predicted()?;
            t.unshare(Flags::NEWUSER | Flags::EMPTY).from(start).beside(&[&peer]).proving(ID).as_predicted()?;
            t.check(listed_mounts()).proves(ID).holds("one mount", |ids| ids.len() == 1).map(drop)
        })?
        .join(t)
    }
});

case!(Case {
    name: "separation.empty.thread",
    about: "A call by a second thread leaves the first its namespace, root, current directory and paths.",
    proves: &["EFF-EMPTY-09"],
    run: |t| {
        let directory = t.directory()?.to_owned();
        t.setup(Call::new("chdir(the case's directory)", chdir(&directory)))?;
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let before = observer.state();
        in_second_thread(t, || {
            let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
            t.unshare(Flags::EMPTY).from(start).beside(&[&peer]).as_predicted()?;
            t.check(listed_mounts()).holds("one mount", |ids| ids.len() == 1).map(drop)
        })?;
        // With the first thread that it makes, the C library catches a signal.
        let changed: Vec<_> = differences(&before, &observer.state())
            .into_iter()
            .filter(|difference| difference.part != Part::Signals)
            .map(|difference| difference.to_string())
            .collect();
        t.check(Call::seen("what changed in the first thread", changed)).is(vec![])?;
        let seen = fs::metadata(&directory).map(|m| m.is_dir());
        t.check(Call::io("stat(the case's directory) by the first thread", seen)).is(true)
    }
});

case!(Case {
    name: "separation.empty.new_root",
    about: "The caller can build a new root: fsopen and fsmount a tmpfs, move_mount it over /, fchdir and chroot \
            there. It can make files there, which tasks outside do not see.",
    proves: &["EFF-EMPTY-10"],
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::EMPTY).beside(&[&peer]).as_predicted()?;
        let root: OwnedFd = t.check(new_tmpfs()).succeeds()?;
        t.check(attach(&root, c"/")).succeeds()?;
        t.check(Call::new("fchdir(the new mount)", nix::unistd::fchdir(&root))).succeeds()?;
        t.check(Call::new("chroot(.)", chroot("."))).succeeds()?;
        t.check(Call::io("write(/file)", fs::write("/file", "here"))).succeeds()?;
        t.check(Call::io("read(/file)", fs::read_to_string("/file"))).is("here".to_owned())?;
        let mounts: Vec<_> = mounts_seen_by(t, &peer)?
            .iter()
            .map(|line| (line.point().to_owned(), line.source.starts_with("tmpfs ")))
            .collect();
        t.check(Call::seen("mounts of the caller (where, whether a tmpfs)", mounts))
            .is(vec![("/".to_owned(), true)])?;
        let seen = peer.call(t, "whether /file is there for the peer", (), |()| Ok(Path::new("/file").exists()))?;
        t.check(seen).is(false)
    }
});

case!(Case {
    name: "separation.empty.old_descriptors",
    about: "Descriptors opened before stay usable: relative to them the caller makes, reads and finds files.",
    proves: &["EFF-EMPTY-13"],
    run: |t| {
        let directory = t.directory()?.to_owned();
        t.setup(Call::io("mkdir(a)", fs::create_dir(directory.join("a"))))?;
        t.setup(Call::io("write(a/file)", fs::write(directory.join("a/file"), "old")))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let old = t.setup(Call::new("open(the case's directory)", open(&directory, flags, Mode::empty())))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        t.unshare(Flags::EMPTY).beside(&[&peer]).as_predicted()?;
        let file = t
            .check(Call::new("openat(old directory, a/file)", openat(&old, "a/file", OFlag::O_RDONLY, Mode::empty())))
            .succeeds()?;
        let text = io::read_to_string(File::from(file));
        t.check(Call::io("read(a/file)", text)).is("old".to_owned())?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
        let made = openat(&old, "a/new", flags, Mode::from_bits_truncate(0o600)).map(drop);
        t.check(Call::new("openat(old directory, a/new, O_CREAT)", made)).succeeds()?;
        let path = directory.join("a/new").to_string_lossy().into_owned();
        t.check(peer.call(t, "whether the peer sees a/new", path, |path| Ok(Path::new(&path).exists()))?).is(true)?;
        // By its path it is gone, and the descriptor is no way back for the paths.
        t.check(Call::new("fchdir(old directory)", nix::unistd::fchdir(&old))).succeeds()?;
        t.check(Call::io("stat(a) in it", fs::metadata("a").map(|m| m.is_dir()))).is(true)?;
        t.check(Call::io("stat(the directory's absolute path)", fs::metadata(&directory).map(drop)))
            .fails_with(Errno::ENOENT)
    }
});
