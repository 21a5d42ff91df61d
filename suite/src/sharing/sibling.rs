//! What the caller shares with another task, seen in two ways: by kcmp(2) where the kernel has it,
//! and by what one of them does and the other sees, always.

use crate::observe::fds;
pub use crate::observe::kcmp::{askable, shared_flags};
use crate::sharing::probe::{Trace, set_umask, umask};
use crate::spec::prelude::*;
use crate::tasks::peer::Peer;
use crate::tasks::side::Side;

/// Everything that a sibling which is no thread can share with the caller, but for the memory.
pub const SHARED: Flags = Flags(Flags::FS.0 | Flags::FILES.0 | Flags::SYSVSEM.0);

/// Somebody the caller shares with: its task ID, and what was shared when it was made.
#[derive(Clone, Copy, Debug)]
pub struct SharingTask {
    /// Its task ID.
    pub tid: i32,
    /// What it was made to share.
    pub made_with: Flags,
}

/// Checks by kcmp(2) what the calling task and a sibling still share, when the caller has left
/// `separated`. The witness asks: in a new user namespace the caller may no longer (EFF-USER-12).
/// Without kcmp(2) nothing is checked.
#[track_caller]
pub fn check_shared(
    t: &Test,
    witness: &Peer,
    sibling: SharingTask,
    separated: Flags,
    requirement: &'static str,
) -> Done {
    if !t.facts().has(feature::KCMP) {
        return Ok(());
    }
    let asked = askable(t, sibling.made_with);
    let caller = gettid().as_raw();
    let text = "what the caller and its sibling share after the call, by kcmp";
    let question = (caller, sibling.tid, asked.0);
    let call =
        witness.call(t, text, question, |(a, b, asked)| shared_flags(a, b, Flags(asked)).map(|shared| shared.0))?;
    t.check(call.map(Flags)).proves(requirement).is(sibling.made_with & asked & !separated)
}

/// Checks by effect what a sibling sees of the calling task's umask and descriptors, when the caller
/// has left `separated`. The witness looks, through /proc: the sibling itself need not do anything.
#[track_caller]
pub fn check_seen(t: &Test, witness: &Peer, sibling: SharingTask, separated: Flags, requirement: &'static str) -> Done {
    let shared = sibling.made_with & !separated;
    let tid = sibling.tid;
    let old = umask();
    let left = Trace::CALLER.leave(Flags::FS | Flags::FILES);
    t.setup(Call::new("umask(), dup3()", left))?;
    let (umask, descriptor) = witness.setup(t, "read(/proc/…)", tid, |tid: i32| {
        let status = fs::read_to_string(format!("/proc/{tid}/status"));
        let umask = status.ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        });
        let link = fs::symlink_metadata(format!("/proc/{tid}/fd/{}", Trace::CALLER.descriptor));
        Ok((umask, link.is_ok()))
    })?;
    Trace::CALLER.find(old);
    let mut seen = Flags::NONE;
    if umask == Some(Trace::CALLER.umask) {
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
pub struct Sibling {
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

/// What one side changes and the other looks at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Trial {
    Umask,
    Cwd,
    Root,
    Descriptor,
}

impl Trial {
    /// Each, with what tells that the sibling sees the caller's and the caller the sibling's.
    const ALL: [(Trial, [&str; 2]); 4] = [
        (Trial::Umask, ["the caller's umask", "the sibling's umask"]),
        (Trial::Cwd, ["the caller's cwd", "the sibling's cwd"]),
        (Trial::Root, ["the caller's root", "the sibling's root"]),
        (Trial::Descriptor, ["the caller's descriptor", "the sibling's descriptor"]),
    ];

    /// The flag of clone(2) that shares it.
    fn flag(self) -> Flags {
        if matches!(self, Trial::Descriptor) { Flags::FILES } else { Flags::FS }
    }
}

fn trace(by_caller: bool) -> Trace {
    if by_caller { Trace::CALLER } else { Trace::SIBLING }
}

fn act((trial, by_caller, directory): (Trial, bool, i32)) -> Result<(), Errno> {
    match trial {
        Trial::Umask => trace(by_caller).leave(Flags::FS),
        Trial::Cwd => go_to(directory),
        Trial::Root => make_root(directory),
        Trial::Descriptor => trace(by_caller).leave(Flags::FILES),
    }
}

fn sees((trial, by_caller, directory): (Trial, bool, Identity)) -> Result<bool, Errno> {
    Ok(match trial {
        Trial::Umask => umask() == trace(by_caller).umask,
        Trial::Cwd => identity(".")? == directory,
        Trial::Root => identity("/")? == directory,
        Trial::Descriptor => fds::is_open(trace(by_caller).descriptor),
    })
}

/// Puts everything back; the root only if there is one to put back.
fn restore((umask, cwd, root): (u32, i32, Option<i32>)) -> Result<(), Errno> {
    root.map_or(Ok(()), make_root)?;
    fds::close(Trace::CALLER.descriptor);
    fds::close(Trace::SIBLING.descriptor);
    set_umask(umask);
    go_to(cwd)
}

fn identity(path: &str) -> Result<Identity, Errno> {
    nix::sys::stat::stat(path).map(|stat| (stat.st_dev, stat.st_ino))
}

fn go_to(directory: i32) -> Result<(), Errno> {
    call!(fchdir, directory).map(drop).map_err(fds::errno)
}

fn make_root(directory: i32) -> Result<(), Errno> {
    go_to(directory)?;
    chroot(".")
}

impl Sibling {
    /// Makes the task. It shares `sharing` (of FS, FILES, SYSVSEM) with the caller.
    #[track_caller]
    pub fn start(t: &Test, sharing: Flags) -> Done<Self> {
        let base = t.directory()?;
        let open = |path: &Path| {
            use nix::fcntl::{OFlag, open};
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = open(path, flags, nix::sys::stat::Mode::empty());
            t.setup(Call::new(format!("open({}, O_PATH)", path.display()), opened))
        };
        let make = |name: &str| {
            let path = base.join(name);
            t.setup(Call::io(format!("mkdir({name})"), fs::create_dir_all(&path)))?;
            open(&path)
        };
        let places = Places { a: make("a")?, b: make("b")?, cwd: open(".".as_ref())?, root: open("/".as_ref())? };
        Ok(Self {
            peer: Peer::start(t, "sibling", sharing)?,
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

    /// Checks by kcmp(2) and by effect what the caller and its sibling still share, when the caller
    /// has left `separated`. Puts cwd, root and umask back.
    #[track_caller]
    pub fn check(&self, t: &Test, separated: Flags, requirement: &'static str) -> Done {
        let shared = self.made_with & !separated;
        let sibling = SharingTask { tid: self.peer.pid().as_raw(), made_with: self.made_with };
        let seen = self.seen(t)?;
        all([
            check_shared(t, &self.peer, sibling, separated, requirement),
            t.check(Call::seen("what the siblings see of each other", seen))
                .proves(requirement)
                .is(self.all_of(shared)),
        ])
    }

    /// Finds out by experiment what each side sees of what the other does. Puts cwd, root and
    /// umask back.
    #[track_caller]
    pub fn seen(&self, t: &Test) -> Done<Vec<&'static str>> {
        let Places { a, b, cwd, root } = &self.places;
        let (caller, sibling) = (Side::Caller, Side::Peer(&self.peer));
        let old = umask();
        let mut seen = Vec::new();
        for (trial, names) in self.trials() {
            for (acting, watching, directory, name) in [(caller, sibling, a, names[0]), (sibling, caller, b, names[1])]
            {
                let stat = nix::sys::stat::fstat(directory).map(|stat| (stat.st_dev, stat.st_ino));
                let place = t.setup(Call::new("fstat(directory)", stat))?;
                let by_caller = matches!(acting, Side::Caller);
                acting.must(t, &format!("change of {name}"), (trial, by_caller, directory.as_raw_fd()), act)?;
                if watching.must(t, &format!("look at {name}"), (trial, by_caller, place), sees)? {
                    seen.push(name);
                }
            }
        }
        let back = (old, cwd.as_raw_fd(), self.chroot.then_some(root.as_raw_fd()));
        [caller, sibling].into_iter().try_for_each(|side| side.must(t, "putting everything back", back, restore))?;
        Ok(seen)
    }

    fn trials(&self) -> impl Iterator<Item = (Trial, [&'static str; 2])> {
        Trial::ALL.into_iter().filter(|(trial, _)| self.chroot || !matches!(trial, Trial::Root))
    }

    /// What [`seen`](Self::seen) finds when just these are shared.
    fn all_of(&self, shared: Flags) -> Vec<&'static str> {
        self.trials().filter(|(trial, _)| shared.contains(trial.flag())).flat_map(|(_, names)| names).collect()
    }
}
