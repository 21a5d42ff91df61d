//! What a locked mount hides stays hidden (section 3.5 of the behaviour catalogue): each way by which the caller, who
//! owns the copy of the mounts by a new user namespace, could take the lid off.

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::mnt::mount_tmpfs;
use crate::place::mount_api;
use crate::prelude::*;

const SOURCE: &str = "mount_namespaces(7), Restrictions on mount namespaces";
const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS);

const NONE: Option<&str> = None;

/// Mounts of the old namespace: one with a directory in it, where another hides a file.
struct Mounts {
    /// Where the outer one is mounted.
    outer: String,
    /// Where the other one is, below.
    lid: String,
    /// Directories on which the caller can mount.
    free: [String; 2],
    /// A task of the old namespace.
    outside: Peer,
    /// The caller's user and group there.
    ids: (u32, u32),
}

/// The file, from where the outer mount is.
const SECRET: &str = "lid/secret";

impl Mounts {
    #[track_caller]
    fn new(t: &Test) -> Done<Self> {
        let outer = new_directory(t, "outer")?;
        let free = [new_directory(t, "free")?, new_directory(t, "second")?];
        t.setup(Call::new("mount(tmpfs, outer)", mount_tmpfs(outer.clone())))?;
        new_directory(t, "outer/new")?;
        let private = mount(NONE, outer.as_str(), NONE, MsFlags::MS_PRIVATE, NONE);
        t.setup(Call::new("mount(outer, MS_PRIVATE)", private))?;
        let lid = new_directory(t, "outer/lid")?;
        t.setup(Call::io("write(outer/lid/secret)", fs::write(format!("{outer}/{SECRET}"), "secret")))?;
        t.setup(Call::new("mount(tmpfs, outer/lid)", mount_tmpfs(lid.clone())))?;
        let private = mount(NONE, lid.as_str(), NONE, MsFlags::MS_PRIVATE, NONE);
        t.setup(Call::new("mount(outer/lid, MS_PRIVATE)", private))?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        Ok(Self { outer, lid, free, outside, ids: (geteuid().as_raw(), getegid().as_raw()) })
    }

    /// Checks that the file is not to be seen below any of the places where the outer mount is, or may be by now.
    #[track_caller]
    fn check_hidden(&self, t: &Test) -> Done {
        all([&self.outer, &self.free[0], &self.free[1]].map(|place| {
            let found = fds::file_at(&format!("{place}/{SECRET}"));
            t.check(Call::new("stat(the hidden file)", found.map(drop))).fails_with(Errno::ENOENT)
        }))
    }

    /// That it was there all the time: the task outside lifts the lid of the old namespace.
    #[track_caller]
    fn check_there(&self, t: &Test) -> Done {
        let lift = |lid: String| umount2(lid.as_str(), MntFlags::empty());
        self.outside.setup(t, "umount(outer/lid)", self.lid.clone(), lift)?;
        let path = format!("{}/{SECRET}", self.outer);
        self.outside.setup(t, "stat(outer/lid/secret)", path, |path| fds::file_at(&path).map(drop))
    }

    /// A directory, of the outer mount or a copy of it, that stays open.
    #[track_caller]
    fn open(&self, t: &Test, place: &str) -> Done<File> {
        t.setup(Call::io("open(a directory of the outer mount)", File::open(place)))
    }

    /// Tries the ways that take one call, and which every other place must refuse as well.
    #[track_caller]
    fn check_refused(&self, t: &Test, when: &str) -> Done {
        let calls = [
            ("umount(lid)", umount2(self.lid.as_str(), MntFlags::empty())),
            ("umount(lid, MNT_DETACH)", umount2(self.lid.as_str(), MntFlags::MNT_DETACH)),
            ("mount(outer, MS_BIND)", bind(&self.outer, &self.free[0], MsFlags::empty())),
        ];
        all(calls.map(|(text, result)| t.check(Call::new(format!("{text} {when}"), result)).fails_with(Errno::EINVAL)))
    }
}

fn bind(from: &str, to: &str, more: MsFlags) -> Result<(), Errno> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | more, NONE)
}

fn shift(from: &str, to: &str) -> Result<(), Errno> {
    mount(Some(from), to, NONE, MsFlags::MS_MOVE, NONE)
}

/// Checks that the file is not to be seen below a directory that is open.
#[track_caller]
fn check_hidden_below(t: &Test, directory: impl AsFd, when: &str) -> Done {
    let opened = openat(directory, SECRET, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let text = format!("openat(an open directory, lid/secret) {when}");
    t.check(Call::new(text, opened.map(drop))).fails_with(Errno::ENOENT)
}

/// open_tree(2) with OPEN_TREE_CLONE.
fn tree(text: &'static str, path: &str, more: OpenTreeFlags) -> Call<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | more;
    Call::io(text, open_tree(CWD, path, flags).map_err(io::Error::from))
}

/// A way to the file, which the kernel must bar.
type Way = fn(&Test, &Mounts) -> Done;

const WAYS: [(&str, Way); 13] = [
    ("bind", |t, m| {
        let bound = bind(&m.outer, &m.free[0], MsFlags::empty());
        t.check(Call::new("mount(outer, MS_BIND)", bound)).fails_with(Errno::EINVAL)?;
        // Nothing is mounted below this directory of it.
        let bound = bind(&format!("{}/new", m.outer), &m.free[0], MsFlags::empty());
        t.check(Call::new("mount(outer/new, MS_BIND)", bound)).succeeds()
    }),
    ("bind_recursive", |t, m| {
        let [first, second] = &m.free;
        t.check(Call::new("mount(outer, MS_BIND|MS_REC)", bind(&m.outer, first, MsFlags::MS_REC))).succeeds()?;
        m.check_hidden(t)?;
        let lifted = umount2(format!("{first}/lid").as_str(), MntFlags::MNT_DETACH);
        t.check(Call::new("umount(the copied lid, MNT_DETACH)", lifted)).fails_with(Errno::EINVAL)?;
        t.check(Call::new("mount(the copy, MS_MOVE)", shift(first, second))).succeeds()?;
        let open = m.open(t, second)?;
        m.check_hidden(t)?;
        t.check(Call::new("umount(the copy, MNT_DETACH)", umount2(second.as_str(), MntFlags::MNT_DETACH)))
            .succeeds()?;
        check_hidden_below(t, &open, "after that")
    }),
    ("unbindable", |t, m| {
        let set = mount(NONE, m.lid.as_str(), NONE, MsFlags::MS_UNBINDABLE, NONE);
        t.check(Call::new("mount(lid, MS_UNBINDABLE)", set)).succeeds()?;
        let copied = bind(&m.outer, &m.free[0], MsFlags::MS_REC);
        t.check(Call::new("mount(outer, MS_BIND|MS_REC) over an unbindable lid", copied)).fails_with(Errno::EPERM)
    }),
    ("move", |t, m| {
        let free = &m.free[0];
        t.check(Call::new("mount(outer, MS_MOVE)", shift(&m.outer, free))).fails_with(Errno::EINVAL)?;
        t.check(Call::new("mount(lid, MS_MOVE)", shift(&m.lid, free))).fails_with(Errno::EINVAL)?;
        let moved = move_mount(CWD, m.lid.as_str(), CWD, free.as_str(), MoveMountFlags::empty());
        t.check(Call::io("move_mount(lid)", moved.map_err(io::Error::from))).fails_with(Errno::EINVAL)
    }),
    ("unmount", |t, m| {
        all([MntFlags::empty(), MntFlags::MNT_DETACH, MntFlags::MNT_EXPIRE, MntFlags::MNT_EXPIRE].map(|flags| {
            t.check(Call::new(format!("umount(lid, {flags:?})"), umount2(m.lid.as_str(), flags)))
                .fails_with(Errno::EINVAL)
        }))
    }),
    ("open_tree", |t, m| {
        t.check(tree("open_tree(outer, OPEN_TREE_CLONE)", &m.outer, OpenTreeFlags::empty()).map(drop))
            .fails_with(Errno::EINVAL)
    }),
    ("open_tree_recursive", |t, m| {
        let text = "open_tree(outer, OPEN_TREE_CLONE|AT_RECURSIVE)";
        let copy = t.check(tree(text, &m.outer, OpenTreeFlags::AT_RECURSIVE)).succeeds()?;
        check_hidden_below(t, &copy, "in the copy")?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = t.setup(Call::new("openat(the copy, .)", openat(&copy, ".", flags, Mode::empty())))?;
        drop(copy);
        check_hidden_below(t, &open, "after the copy is closed")
    }),
    ("pivot_root", |t, m| {
        let open = m.open(t, &m.outer)?;
        t.check(Call::new("chroot(outer)", chroot(m.outer.as_str()))).succeeds()?;
        t.check(Call::new("mount(tmpfs, /new)", mount_tmpfs("/new".to_owned()))).succeeds()?;
        t.check(Call::new("chdir(/new)", chdir("/new"))).succeeds()?;
        // The old root is then mounted on the new one, which is locked in its place.
        t.check(Call::new("pivot_root(., .)", nix::unistd::pivot_root(".", "."))).succeeds()?;
        t.check(Call::new("umount(the old root, MNT_DETACH)", umount2(".", MntFlags::MNT_DETACH))).succeeds()?;
        check_hidden_below(t, &open, "after the old root is unmounted")
    }),
    ("copied_again", |t, m| {
        t.unshare(Flags::NEWNS).as_predicted()?;
        m.check_refused(t, "in a further copy")
    }),
    ("nested", |t, m| {
        limits::map_ids(t, m.ids.0, m.ids.1)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).as_predicted()?;
        m.check_refused(t, "in a copy of a nested user namespace")
    }),
    ("entered", |t, m| {
        let visitor = Peer::start(t, "visitor", Flags::NONE)?;
        let enter_all = |pid: i32| {
            // The user namespace is the visitor's own already.
            let ns = File::open(format!("/proc/{pid}/ns/mnt")).map_err(errno_of)?;
            nix::sched::setns(&ns, nix::sched::CloneFlags::CLONE_NEWNS)
        };
        t.check(visitor.call(t, "setns(the caller's mount namespace)", getpid().as_raw(), enter_all)?).succeeds()?;
        let lift = |lid: String| umount2(lid.as_str(), MntFlags::MNT_DETACH);
        t.check(visitor.call(t, "umount(lid, MNT_DETACH) after setns()", m.lid.clone(), lift)?)
            .fails_with(Errno::EINVAL)?;
        let places = (m.outer.clone(), m.free[0].clone());
        let copy = |(from, to): (String, String)| bind(&from, &to, MsFlags::empty());
        t.check(visitor.call(t, "mount(outer, MS_BIND) after setns()", places, copy)?).fails_with(Errno::EINVAL)
    }),
    ("rename", |t, m| {
        let renamed = fs::rename(&m.lid, format!("{}/elsewhere", m.outer));
        t.check(Call::io("rename(lid, elsewhere)", renamed)).fails_with(Errno::EBUSY)?;
        t.check(Call::io("rmdir(lid)", fs::remove_dir(&m.lid))).fails_with(Errno::EBUSY)
    }),
    // Whether that is allowed depends on the release. What is below may be taken away by nobody all the same.
    ("beneath", |t, m| {
        const MOVE_MOUNT_BENEATH: u32 = 0x200;
        let under = t.setup(mount_api::new_tmpfs())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::from_bits_retain(MOVE_MOUNT_BENEATH);
        let moved = move_mount(&under, c"", CWD, m.lid.as_str(), flags).is_ok();
        let mut lifted = 0;
        while umount2(m.lid.as_str(), MntFlags::MNT_DETACH).is_ok() {
            lifted += 1;
            if lifted > usize::from(moved) {
                break;
            }
        }
        t.check(Call::seen("mounts taken away from the covered directory", lifted))
            .holds("no more than were put there", |lifted| *lifted <= usize::from(moved))
            .map(drop)
    }),
];

case!(Case {
    name: "separation.mnt.hidden",
    about: "In a copy that a new user namespace owns a file below a copied mount stays hidden, whatever the caller does \
            with either mount.",
    proves: &["EFF-MNT-22"],
    variants: || {
        let needs = |name| if name == "nested" { NEEDS.with(feature::MAP_IDS) } else { NEEDS };
        WAYS.iter().map(|(name, way)| Variant::new(*name, *way).needing(needs(*name))).collect()
    },
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let way: Way = t.param();
        let mounts = Mounts::new(t)?;
        t.unshare(Flags::NEWUSER | Flags::NEWNS).beside(&[&mounts.outside]).as_predicted()?;
        mounts.check_hidden(t)?;
        way(t, &mounts)?;
        mounts.check_hidden(t)?;
        mounts.check_there(t)
    })
});

/// How the last task of a mount namespace leaves it.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Exits,
    IsKilled,
    Unshares,
}

const LEAVES: [(&str, Leaves); 3] =
    [("exits", Leaves::Exits), ("is_killed", Leaves::IsKilled), ("unshares", Leaves::Unshares)];

case!(Case {
    name: "separation.mnt.hidden_after_end",
    about: "When the last task of a copy that a new user namespace owns leaves it, a file below a copied mount stays \
            hidden also from a task that has a directory of that copy open.",
    proves: &["EFF-MNT-23"],
    source: "kernel, fs/namespace.c (umount_tree)",
    variants: || variants::named(&LEAVES),
    run: |t| in_own_namespaces(t, Flags::NEWNS, |t| {
        let leaves: Leaves = t.param();
        expect_claimed(t, Flags::NEWUSER | Flags::NEWNS)?;
        let mounts = Mounts::new(t)?;
        // SAFETY: zeroes are valid.
        let opened: &Word = t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed() }))?;
        let mut last = t.spawn_sharing("last task", Flags::FILES.0, |t| {
            t.unshare(Flags::NEWUSER | Flags::NEWNS).as_predicted()?;
            let open = mounts.open(t, &mounts.outer)?;
            check_hidden_below(t, &open, "while the copy has a task")?;
            if let Leaves::Unshares = leaves {
                t.unshare(Flags::NEWNS).as_predicted()?;
                check_hidden_below(t, &open, "after unshare(CLONE_NEWNS)")?;
            }
            // The descriptor is the other task's, too, and stays open.
            opened.set(open.into_raw_fd() as u32);
            while let Leaves::IsKilled = leaves {
                nix::unistd::pause();
            }
            Ok(())
        })?;
        match leaves {
            Leaves::IsKilled => {
                if !t.wait_until(Duration::from_secs(10), || opened.get() != 0 || has_ended(last.pid())) {
                    return Err(t.broken("the last task", "does not come to its end"));
                }
                last.kill();
            }
            Leaves::Exits | Leaves::Unshares => last.join(t)?,
        }
        if opened.get() == 0 {
            return Err(t.broken("the last task", "has ended early"));
        }
        // SAFETY: the descriptor was opened above, and nobody closes it.
        let open = unsafe { BorrowedFd::borrow_raw(opened.get() as RawFd) };
        t.setup(Call::new("openat(outer, new)", openat(open, "new", OFlag::O_PATH, Mode::empty()).map(drop)))?;
        check_hidden_below(t, open, "after the last task has left")?;
        mounts.check_there(t)
    })
});
