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
    let asked = askable(t, sibling.made_with);
    if asked == Flags::NONE {
        return Ok(());
    }
    let question = (gettid().as_raw(), sibling.tid, asked.0);
    let call =
        witness.call(t, BY_KCMP, question, |(a, b, asked)| shared_flags(a, b, Flags(asked)).map(|shared| shared.0))?;
    t.check(call.map(Flags)).proves(requirement).is(sibling.made_with & asked & !separated)
}

const BY_KCMP: &str = "what the caller and its sibling share after the call, by kcmp";

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
    let asked = match t.facts().has(feature::SHOWN_UMASK) {
        true => Flags::FS | Flags::FILES,
        false => Flags::FILES,
    };
    let mut seen = Flags::NONE;
    if umask == Some(Trace::CALLER.umask) {
        seen |= Flags::FS;
    }
    if descriptor {
        seen |= Flags::FILES;
    }
    let text = format!("what {tid} sees change (its umask: CLONE_FS, its descriptors: CLONE_FILES)");
    t.check(Call::seen(text, seen)).proves(requirement).is(shared & asked)
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

/// Leaves one side's traces of these trials. Its places are this directory.
fn act(trials: &[Trial], by_caller: bool, directory: i32) -> Result<(), Errno> {
    trials.iter().try_for_each(|trial| match trial {
        Trial::Umask => trace(by_caller).leave(Flags::FS),
        Trial::Cwd => go_to(directory),
        Trial::Root => make_root(directory),
        Trial::Descriptor => trace(by_caller).leave(Flags::FILES),
    })
}

/// Which of these trials the calling side sees the traces of that the other left.
fn sees(trials: &[Trial], by_caller: bool, directory: Identity) -> Result<Vec<bool>, Errno> {
    let seen = |trial: &Trial| {
        Ok(match trial {
            Trial::Umask => umask() == trace(by_caller).umask,
            Trial::Cwd => fds::file_at(".")? == directory,
            Trial::Root => fds::file_at("/")? == directory,
            Trial::Descriptor => fds::is_open(trace(by_caller).descriptor),
        })
    };
    trials.iter().map(seen).collect()
}

/// What the sibling is to do when the caller has left its traces. One question for all of it: each takes as long as two
/// changes of address space, which are what is slow under emulation.
#[derive(Debug, Serialize, Deserialize)]
struct Exchange {
    /// Of which it looks for the caller's traces, then leaves its own.
    trials: Vec<Trial>,
    /// Where the caller is.
    theirs: Identity,
    /// Where it is to be itself.
    own: i32,
    /// Two tasks, and what of theirs to compare by kcmp(2).
    kcmp: (i32, i32, u64),
}

/// Which traces the sibling saw, and what is shared, or the number of kcmp(2)'s error.
type Exchanged = (Vec<bool>, Result<u64, i32>);

fn exchange(Exchange { trials, theirs, own, kcmp: (a, b, asked) }: Exchange) -> Result<Exchanged, Errno> {
    let shared = shared_flags(a, b, Flags(asked)).map(|shared| shared.0).map_err(|errno| errno as i32);
    let seen = sees(&trials, true, theirs)?;
    act(&trials, false, own)?;
    Ok((seen, shared))
}

/// Puts everything back; the root only if there is one to put back.
fn restore((umask, cwd, root): (u32, i32, Option<i32>)) -> Result<(), Errno> {
    root.map_or(Ok(()), make_root)?;
    fds::close(Trace::CALLER.descriptor);
    fds::close(Trace::SIBLING.descriptor);
    set_umask(umask);
    go_to(cwd)
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
        let asked = askable(t, self.made_with);
        let (seen, by_kcmp) = self.exchange(t, asked)?;
        let by_kcmp = Call::new(BY_KCMP, by_kcmp.map(Flags).map_err(Errno::from_raw));
        all([
            if asked == Flags::NONE { Ok(()) } else { t.check(by_kcmp).proves(requirement).is(shared & asked) },
            t.check(Call::seen("what the siblings see of each other", seen))
                .proves(requirement)
                .is(self.all_of(shared)),
        ])
    }

    /// Finds out by experiment what each side sees of what the other does. Puts cwd, root and
    /// umask back.
    #[track_caller]
    pub fn seen(&self, t: &Test) -> Done<Vec<&'static str>> {
        self.exchange(t, Flags::NONE).map(|(seen, _)| seen)
    }

    /// The same, and which of `asked` the tasks share by kcmp(2).
    #[track_caller]
    fn exchange(&self, t: &Test, asked: Flags) -> Done<(Vec<&'static str>, Result<u64, i32>)> {
        let Places { a, b, cwd, root } = &self.places;
        let old = umask();
        let (trials, names): (Vec<Trial>, Vec<[&str; 2]>) = self.trials().unzip();
        let place = |directory: &OwnedFd| t.setup(Call::new("fstat(directory)", fds::file_of(directory.as_raw_fd())));
        let (of_caller, of_sibling) = (place(a)?, place(b)?);
        let kcmp = (gettid().as_raw(), self.peer.pid().as_raw(), asked.0);
        let question = Exchange { trials: trials.clone(), theirs: of_caller, own: b.as_raw_fd(), kcmp };
        t.setup(Call::new("umask(), chroot(), chdir(), dup3() by the caller", act(&trials, true, a.as_raw_fd())))?;
        let (by_sibling, shared) =
            self.peer.setup(t, "umask(), chroot(), chdir(), dup3() by the sibling", question, exchange)?;
        let by_caller = t.setup(Call::new("stat() by the caller", sees(&trials, false, of_sibling)))?;
        let back = (old, cwd.as_raw_fd(), self.chroot.then_some(root.as_raw_fd()));
        for side in [Side::Caller, Side::Peer(&self.peer)] {
            side.must(t, "putting everything back", back, restore)?;
        }
        let seen = names.iter().zip(by_sibling.iter().zip(&by_caller));
        let seen = seen.flat_map(|([callers, siblings], (by_sibling, by_caller))| {
            [(by_sibling, callers), (by_caller, siblings)].into_iter().filter(|(seen, _)| **seen).map(|(_, name)| *name)
        });
        Ok((seen.collect(), shared))
    }

    fn trials(&self) -> impl Iterator<Item = (Trial, [&'static str; 2])> {
        Trial::ALL.into_iter().filter(|(trial, _)| self.chroot || !matches!(trial, Trial::Root))
    }

    /// What [`seen`](Self::seen) finds when just these are shared.
    fn all_of(&self, shared: Flags) -> Vec<&'static str> {
        self.trials().filter(|(trial, _)| shared.contains(trial.flag())).flat_map(|(_, names)| names).collect()
    }
}
