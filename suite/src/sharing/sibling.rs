//! What the caller shares with another task, seen in two ways: by kcmp(2) where the kernel has it,
//! and by what one of them does and the other sees, always.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::feature;
use harness::prelude::*;
use nix::unistd::gettid;
use syscalls::{Sysno, syscall};

use crate::observe::{Shared, shares};
use crate::spec::flags::Flags;
use crate::tasks::peer::Peer;

/// What kcmp(2) is asked about, by the flag of clone(2) that shares it.
const KINDS: [(Flags, Shared); 5] = [
    (Flags::VM, Shared::Vm),
    (Flags::FS, Shared::Fs),
    (Flags::FILES, Shared::Files),
    (Flags::SIGHAND, Shared::Sighand),
    (Flags::SYSVSEM, Shared::Sysvsem),
];

/// Which of `asked` two tasks share, by kcmp(2). Allocates nothing and writes no errno.
///
/// # Errors
/// As kcmp(2).
pub fn shared_flags(a: i32, b: i32, asked: Flags) -> Result<Flags, Errno> {
    let mut shared = Flags::NONE;
    for (flag, what) in KINDS {
        if asked.contains(flag) && shares(what, a, b)? {
            shared |= flag;
        }
    }
    Ok(shared)
}

/// What can be asked about a task that was made to share `made_with`. The undo list is left out
/// unless it was shared: two tasks that have none would look as if they shared one.
pub fn askable(t: &Test, made_with: Flags) -> Flags {
    let undo = if t.facts().has(feature::SYSV_IPC) { made_with & Flags::SYSVSEM } else { Flags::NONE };
    Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | undo
}

/// Somebody the caller shares with: its task ID, and what was shared when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Sharer {
    /// Its task ID.
    pub tid: i32,
    /// What it was made to share.
    pub made_with: Flags,
}

/// Checks by kcmp(2) what the calling task and a sharer still share, when the caller has left
/// `separated`. The witness asks: in a new user namespace the caller may no longer (EFF-USER-12).
/// Without kcmp(2) nothing is checked.
///
/// # Errors
/// They share more or less: a failed check is on record.
#[track_caller]
pub fn check_shared(t: &Test, witness: &Peer, sharer: Sharer, separated: Flags, requirement: &'static str) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let asked = askable(t, sharer.made_with);
    let caller = gettid().as_raw();
    let text = "what the caller and its sharer share after the call, by kcmp";
    let question = (caller, sharer.tid, asked.0);
    let call =
        witness.call(t, text, question, |(a, b, asked)| shared_flags(a, b, Flags(asked)).map(|shared| shared.0))?;
    t.check(call.map(Flags)).proves(requirement).is(sharer.made_with & asked & !separated)
}

/// Checks by effect what a sharer sees of the calling task's umask and descriptors, when the caller
/// has left `separated`. The witness looks, through /proc: the sharer itself need not do anything.
///
/// # Errors
/// The sharer sees more or less: a failed check is on record.
#[track_caller]
pub fn check_seen(t: &Test, witness: &Peer, sharer: Sharer, separated: Flags, requirement: &'static str) -> Done {
    let shared = sharer.made_with & !separated;
    let tid = sharer.tid;
    let old = set_umask(UMASK_BY_CALLER);
    t.setup(Call::new("dup3()", open_as(libc::STDIN_FILENO, BY_CALLER)))?;
    let (umask, descriptor) = witness.setup(t, "read(/proc/…)", tid, |tid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{tid}/status"));
        let umask = status.ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        });
        let link = std::fs::symlink_metadata(format!("/proc/{tid}/fd/{BY_CALLER}"));
        Ok((umask, link.is_ok()))
    })?;
    set_umask(old);
    close(BY_CALLER);
    let mut seen = Flags::NONE;
    if umask == Some(UMASK_BY_CALLER) {
        seen |= Flags::FS;
    }
    if descriptor {
        seen |= Flags::FILES;
    }
    let text = format!("what {tid} sees change (its umask: CLONE_FS, its descriptors: CLONE_FILES)");
    t.check(Call::seen(text, seen)).proves(requirement).is(shared & (Flags::FS | Flags::FILES))
}

/// A task that shares root, cwd, umask, descriptors and undo list with the caller, and with which
/// it can find out what of that is still so.
#[derive(Debug)]
pub struct Company {
    peer: Peer,
    made_with: Flags,
    /// Two directories, and where both tasks started.
    places: Places,
    chroot: bool,
}

#[derive(Debug)]
struct Places {
    a: OwnedFd,
    b: OwnedFd,
    cwd: OwnedFd,
    root: OwnedFd,
}

/// A directory's device and inode.
type Identity = (u64, u64);

const CAP_SYS_CHROOT: u64 = 1 << 18;

/// Has a vfork child leave marks that its parent finds if they still share root and descriptors:
/// raw system calls only.
pub fn leave_marks() {
    // SAFETY: umask(2) and dup3(2) take numbers; nobody's descriptor has this one.
    unsafe {
        let _ = syscall!(Sysno::umask, UMASK_BY_CALLER);
        let _ = syscall!(Sysno::dup3, libc::STDIN_FILENO, BY_CALLER, 0);
    }
}

/// Which of CLONE_FS and CLONE_FILES the calling task's umask and descriptors tell of marks that
/// [`leave_marks`] left. Removes them, and puts the umask back to `old`.
pub fn find_marks(old: u32) -> Flags {
    let mut found = Flags::NONE;
    if set_umask(old) == UMASK_BY_CALLER {
        found |= Flags::FS;
    }
    if is_open(BY_CALLER) {
        found |= Flags::FILES;
        close(BY_CALLER);
    }
    found
}

/// Numbers for descriptors that one side opens and the other looks for.
const BY_CALLER: i32 = 50;
const BY_PEER: i32 = 51;

/// Umasks that nobody has by chance.
const UMASK_BY_CALLER: u32 = 0o021;
const UMASK_BY_PEER: u32 = 0o012;

fn identity(path: &str) -> Result<Identity, Errno> {
    nix::sys::stat::stat(path).map(|stat| (stat.st_dev, stat.st_ino))
}

fn go_to(directory: i32) -> Result<(), Errno> {
    // SAFETY: fchdir(2) takes a number.
    Errno::result(unsafe { libc::fchdir(directory) }).map(drop)
}

fn make_root(directory: i32) -> Result<(), Errno> {
    go_to(directory)?;
    nix::unistd::chroot(".")
}

fn set_umask(mask: u32) -> u32 {
    use nix::sys::stat::{Mode, umask};
    umask(Mode::from_bits_truncate(mask)).bits()
}

fn open_as(directory: i32, number: i32) -> Result<(), Errno> {
    // SAFETY: dup3(2) onto a number that is kept for this.
    Errno::result(unsafe { libc::dup3(directory, number, libc::O_CLOEXEC) }).map(drop)
}

fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

fn close(number: i32) {
    // SAFETY: the number is kept for this; that it is not open is no error here.
    unsafe { libc::close(number) };
}

impl Company {
    /// Makes the task. It shares `sharing` (of FS, FILES, SYSVSEM) with the caller.
    ///
    /// # Errors
    /// A step did not work: the case is broken.
    #[track_caller]
    pub fn start(t: &Test, sharing: Flags) -> Done<Self> {
        let base = t.directory()?;
        let open = |path: &std::path::Path| {
            use nix::fcntl::{OFlag, open};
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = open(path, flags, nix::sys::stat::Mode::empty());
            t.setup(Call::new(format!("open({}, O_PATH)", path.display()), opened))
        };
        let make = |name: &str| {
            let path = base.join(name);
            t.setup(Call::io(format!("mkdir({name})"), std::fs::create_dir_all(&path)))?;
            open(&path)
        };
        let places = Places { a: make("a")?, b: make("b")?, cwd: open(".".as_ref())?, root: open("/".as_ref())? };
        Ok(Self {
            peer: Peer::start(t, "sharer", sharing)?,
            made_with: sharing,
            places,
            chroot: t.facts().capabilities & CAP_SYS_CHROOT != 0,
        })
    }

    /// The same, for a caller that may not chroot(2): the root is left out.
    pub fn without_root(mut self) -> Self {
        self.chroot = false;
        self
    }

    /// The task.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Checks by kcmp(2) and by effect what the caller and its company still share, when the caller
    /// has left `separated`. Puts cwd, root and umask back.
    ///
    /// # Errors
    /// They share more or less: a failed check is on record.
    #[track_caller]
    pub fn check(&self, t: &Test, separated: Flags, requirement: &'static str) -> Done {
        let shared = self.made_with & !separated;
        let sharer = Sharer { tid: self.peer.pid().as_raw(), made_with: self.made_with };
        let seen = self.seen(t)?;
        all([
            check_shared(t, &self.peer, sharer, separated, requirement),
            t.check(Call::seen("what the sharers see of each other", seen)).proves(requirement).is(self.all_of(shared)),
        ])
    }

    /// Finds out by experiment what each side sees of what the other does. Puts cwd, root and
    /// umask back.
    ///
    /// # Errors
    /// A step did not work: the case is broken.
    #[track_caller]
    pub fn seen(&self, t: &Test) -> Done<Vec<&'static str>> {
        let mut seen = self.seen_of_fs(t)?;
        seen.extend(self.seen_of_files(t)?);
        Ok(seen)
    }

    /// What [`seen`](Self::seen) finds when just these are shared.
    fn all_of(&self, shared: Flags) -> Vec<&'static str> {
        const FS: [&str; 4] = ["the caller's umask", "the sharer's umask", "the caller's cwd", "the sharer's cwd"];
        const ROOT: [&str; 2] = ["the caller's root", "the sharer's root"];
        const FILES: [&str; 2] = ["the caller's descriptor", "the sharer's descriptor"];
        let fs = shared.contains(Flags::FS);
        [(&FS[..], fs), (&ROOT[..], fs && self.chroot), (&FILES[..], shared.contains(Flags::FILES))]
            .into_iter()
            .filter(|(_, seen)| *seen)
            .flat_map(|(what, _)| what.iter().copied())
            .collect()
    }

    /// Has each side change umask, cwd and root and the other look: what was seen.
    fn seen_of_fs(&self, t: &Test) -> Done<Vec<&'static str>> {
        let Places { a, b, cwd, root } = &self.places;
        let identity_of = |directory: &OwnedFd| {
            let stat = nix::sys::stat::fstat(directory);
            t.setup(Call::new("fstat(directory)", stat.map(|stat| (stat.st_dev, stat.st_ino))))
        };
        let (at_a, at_b) = (identity_of(a)?, identity_of(b)?);
        let (a, b) = (a.as_raw_fd(), b.as_raw_fd());
        let (cwd, root) = (cwd.as_raw_fd(), root.as_raw_fd());
        let peer = &self.peer;
        let mut seen = Vec::new();
        let mut note = |saw: bool, what| {
            if saw {
                seen.push(what);
            }
        };

        let old = set_umask(UMASK_BY_CALLER);
        let peers = peer.setup(t, "umask()", (), |()| {
            let mask = set_umask(0);
            set_umask(mask);
            Ok(mask)
        })?;
        note(peers == UMASK_BY_CALLER, "the caller's umask");
        peer.setup(t, "umask(012)", (), |()| Ok(set_umask(UMASK_BY_PEER)))?;
        note(set_umask(old) == UMASK_BY_PEER, "the sharer's umask");
        peer.setup(t, "umask(old)", old, |old| Ok(set_umask(old)))?;

        t.setup(Call::new("fchdir(a)", go_to(a)))?;
        let peers = peer.setup(t, "stat(.)", (), |()| identity("."))?;
        note(peers == at_a, "the caller's cwd");
        peer.setup(t, "fchdir(b)", b, go_to)?;
        let own = t.setup(Call::new("stat(.)", identity(".")))?;
        note(own == at_b, "the sharer's cwd");

        if self.chroot {
            t.setup(Call::new("fchdir(a), chroot(.)", make_root(a)))?;
            let peers = peer.setup(t, "stat(/)", (), |()| identity("/"))?;
            note(peers == at_a, "the caller's root");
            peer.setup(t, "fchdir(b), chroot(.)", b, make_root)?;
            let own = t.setup(Call::new("stat(/)", identity("/")))?;
            note(own == at_b, "the sharer's root");
            t.setup(Call::new("fchdir(root), chroot(.)", make_root(root)))?;
            peer.setup(t, "fchdir(root), chroot(.)", root, make_root)?;
        }
        t.setup(Call::new("fchdir(cwd)", go_to(cwd)))?;
        peer.setup(t, "fchdir(cwd)", cwd, go_to)?;
        Ok(seen)
    }

    /// Has each side open a descriptor and the other look for it: what was seen.
    fn seen_of_files(&self, t: &Test) -> Done<Vec<&'static str>> {
        let a = self.places.a.as_raw_fd();
        let peer = &self.peer;
        let mut seen = Vec::new();
        t.setup(Call::new("dup3(a)", open_as(a, BY_CALLER)))?;
        if peer.setup(t, "fcntl(F_GETFD)", (), |()| Ok(is_open(BY_CALLER)))? {
            seen.push("the caller's descriptor");
        }
        peer.setup(t, "dup3(a)", a, |a| open_as(a, BY_PEER))?;
        if is_open(BY_PEER) {
            seen.push("the sharer's descriptor");
        }
        peer.setup(t, "close()", (), |()| {
            close(BY_CALLER);
            close(BY_PEER);
            Ok(())
        })?;
        close(BY_CALLER);
        close(BY_PEER);
        Ok(seen)
    }
}
