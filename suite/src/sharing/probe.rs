//! Probes: something one task does that another sees if, and only if, they share a resource.
//!
//! All paths are relative to the current directory, which always is one of those laid out for
//! probes, so that they work in any root directory and in any copy of a mount namespace. What is
//! looked at is the thing itself (inode, mask, descriptor), never a path alone.

use std::cell::Cell;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::sethostname;

use crate::observe::{Shared, fds};
use crate::spec::prelude::*;
use crate::tasks::side::Side;

/// What can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// The current directory, by chdir(2).
    Cwd,
    /// The umask, by umask(2).
    Umask,
    /// The root directory, by chroot(2).
    Root,
    /// The table of descriptors, by dup2(2).
    Descriptor,
    /// The mounts, by mount(2).
    Mount,
    /// The host name, by sethostname(2).
    HostName,
    /// The NIS domain name, by setdomainname(2).
    DomainName,
}

/// Whether one task sees what another did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sight {
    /// It does.
    Seen,
    /// It does not.
    Unseen,
}

impl From<bool> for Sight {
    fn from(seen: bool) -> Self {
        if seen { Sight::Seen } else { Sight::Unseen }
    }
}

/// How many probes one case can make.
const PROBES: u32 = fds::TRACES - 2;

/// A umask and a descriptor that no task has by chance: what one task leaves and another finds if they share them.
/// By raw system calls, also in a task that shares its memory.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The umask.
    pub umask: u32,
    /// The number of the descriptor.
    pub descriptor: i32,
}

impl Trace {
    /// That of a caller for its sibling.
    pub const CALLER: Trace = Trace::numbered(PROBES);
    /// That of a sibling for its caller.
    pub const SIBLING: Trace = Trace::numbered(PROBES + 1);

    /// One of those for cases and their siblings.
    const fn numbered(number: u32) -> Trace {
        assert!(number < fds::TRACES);
        Trace { umask: 0o100 + number, descriptor: fds::TRACE + number as i32 }
    }

    /// That of a task of a storm.
    pub const fn of_task(number: usize) -> Trace {
        Trace { umask: 0o100 + number as u32, descriptor: fds::STORM_TRACE + number as i32 }
    }

    /// Leaves it in the calling task's umask and table of descriptors, as far as `which` names CLONE_FS and
    /// CLONE_FILES.
    ///
    /// # Errors
    /// As dup3(2).
    pub fn leave(self, which: Flags) -> Result<(), Errno> {
        if which.contains(Flags::FS) {
            set_umask(self.umask);
        }
        if which.contains(Flags::FILES) {
            fds::dup_to(libc::STDIN_FILENO, self.descriptor, 0)?;
        }
        Ok(())
    }

    /// Which of CLONE_FS and CLONE_FILES the calling task shares with one that has left it. Removes it, and puts the
    /// umask back to `old`.
    pub fn find(self, old: u32) -> Flags {
        let mut found = Flags::NONE;
        if set_umask(old) == self.umask {
            found |= Flags::FS;
        }
        if fds::is_open(self.descriptor) {
            found |= Flags::FILES;
            fds::close(self.descriptor);
        }
        found
    }
}

/// Sets the calling task's umask and gives the one it had. Writes no errno.
pub fn set_umask(mask: u32) -> u32 {
    call!(umask, mask).unwrap_or(0) as u32
}

/// The calling task's umask. The only call that tells it also sets it.
pub fn umask() -> u32 {
    let current = set_umask(0);
    set_umask(current);
    current
}

/// The directories that probes need, and the number of the next probe.
#[derive(Debug)]
pub struct ProbeDirs {
    next: Cell<u32>,
}

impl ProbeDirs {
    /// Makes the directories that these probes need below the case's own, and goes to one of them.
    #[track_caller]
    pub fn make(t: &Test, probes: &[Probe]) -> Done<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let base = t.directory()?;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o777);
        let make = |kind: &str, n: u32| {
            let path = base.join(directory(kind, n));
            t.setup(Call::io("mkdir(for probes)", builder.create(path)))
        };
        make("cwd", 0)?;
        for kind in [(Probe::Cwd, "cwd"), (Probe::Root, "root"), (Probe::Mount, "mnt")] {
            if probes.contains(&kind.0) {
                (0..PROBES).try_for_each(|n| make(kind.1, n))?;
            }
        }
        t.setup(Call::new("chdir(cwd/0)", chdir(&base.join("cwd/0"))))?;
        Ok(Self { next: Cell::new(1) })
    }

    /// A number that no probe has had yet.
    ///
    /// # Panics
    /// The case makes more probes than there is room for.
    fn fresh(&self) -> u32 {
        let number = self.next.get();
        assert!(number < PROBES, "raise probe::PROBES");
        self.next.set(number + 1);
        number
    }
}

impl Probe {
    /// Root, current directory and umask: what CLONE_FS shares.
    pub const FS: [Probe; 3] = [Probe::Cwd, Probe::Umask, Probe::Root];

    /// The probe's name as part of a case's name.
    pub fn slug(self) -> &'static str {
        match self {
            Probe::Cwd => "cwd",
            Probe::Umask => "umask",
            Probe::Root => "root",
            Probe::Descriptor => "descriptor",
            Probe::Mount => "mount",
            Probe::HostName => "host_name",
            Probe::DomainName => "domain_name",
        }
    }

    /// Whether this probe can be made here: some take CAP_SYS_ADMIN and the like.
    pub fn is_possible(self, facts: &Facts) -> bool {
        let privileged = facts.has(feature::SYS_ADMIN) && facts.has(feature::SANDBOX);
        match self {
            Probe::Cwd | Probe::Umask | Probe::Descriptor => true,
            Probe::Root | Probe::Mount => privileged,
            Probe::HostName | Probe::DomainName => privileged && facts.has(feature::UTS_NS),
        }
    }

    /// Whether a call that goes as predicted ends the sharing that this probe shows.
    pub fn is_separated_by(self, prediction: &Prediction) -> bool {
        match self {
            Probe::Cwd | Probe::Umask | Probe::Root => prediction.separated.contains(Flags::FS),
            Probe::Descriptor => prediction.separated.contains(Flags::FILES),
            Probe::Mount => prediction.must_change.contains(Part::MntNs),
            Probe::HostName | Probe::DomainName => prediction.must_change.contains(Part::UtsNs),
        }
    }

    /// What kcmp(2) calls the resource, where it knows one.
    pub fn resource(self) -> Option<Shared> {
        match self {
            Probe::Cwd | Probe::Umask | Probe::Root => Some(Shared::Fs),
            Probe::Descriptor => Some(Shared::Files),
            _ => None,
        }
    }

    /// How the probe is made, as one would write it in C.
    fn deed(self, n: u32) -> String {
        match self {
            Probe::Cwd => format!("chdir(../{n})"),
            Probe::Umask => format!("umask({:#o})", Trace::numbered(n).umask),
            Probe::Root => format!("chroot(../../root/{n})"),
            Probe::Descriptor => format!("dup2(0, {})", Trace::numbered(n).descriptor),
            Probe::Mount => format!("mount(tmpfs, ../../mnt/{n})"),
            Probe::HostName => format!("sethostname({})", name(n)),
            Probe::DomainName => format!("setdomainname({})", name(n)),
        }
    }

    /// Has one side make the probe.
    #[track_caller]
    fn make(self, t: &Test, side: Side, n: u32) -> Done {
        side.must(t, &self.deed(n), (self, n), make)
    }

    /// Whether `watching` sees the probe that `acting` made.
    #[track_caller]
    fn sight(self, t: &Test, n: u32, acting: Side, watching: Side) -> Done<Call<Sight>> {
        let text = format!("{} by {acting}, as seen", self.deed(n));
        watching.ask(t, &text, (self, n), |(probe, n)| is_there(probe, n).map(Sight::from))
    }

    /// Has the side that made a probe take back what would stay.
    #[track_caller]
    fn erase(self, t: &Test, side: Side, n: u32) -> Done {
        side.must(t, "undo of a probe", (self, n), erase)
    }
}

fn name(n: u32) -> String {
    format!("probe-{n}")
}

/// A probe's directory, below the case's own.
fn directory(kind: &str, n: u32) -> String {
    format!("{kind}/{n}")
}

/// The same from one of them.
fn other(kind: &str, n: u32) -> String {
    format!("../../{}", directory(kind, n))
}

/// Sets the NIS domain name.
pub fn set_domain_name(name: &str) -> Result<(), Errno> {
    call!(setdomainname, name.as_ptr(), name.len()).map(drop).map_err(fds::errno)
}

/// The NIS domain name of the caller.
pub fn domain_name() -> Result<String, Errno> {
    let uname = nix::sys::utsname::uname()?;
    Ok(uname.domainname().to_string_lossy().into_owned())
}

fn make((probe, n): (Probe, u32)) -> Result<(), Errno> {
    match probe {
        Probe::Cwd => chdir(other("cwd", n).as_str()),
        Probe::Umask => Trace::numbered(n).leave(Flags::FS),
        Probe::Root => chroot(other("root", n).as_str()),
        Probe::Descriptor => Trace::numbered(n).leave(Flags::FILES),
        Probe::Mount => {
            mount(Some("probe"), other("mnt", n).as_str(), Some("tmpfs"), MsFlags::empty(), Some("size=64k"))
        }
        Probe::HostName => sethostname(name(n)),
        Probe::DomainName => set_domain_name(&name(n)),
    }
}

fn is_there(probe: Probe, n: u32) -> Result<bool, Errno> {
    let same = |a: &str, b: &str| Ok(fds::file_at(a)? == fds::file_at(b)?);
    match probe {
        Probe::Cwd => same(".", &other("cwd", n)),
        Probe::Root => same("/", &other("root", n)),
        Probe::Umask => Ok(umask() == Trace::numbered(n).umask),
        Probe::Descriptor => Ok(fds::is_open(Trace::numbered(n).descriptor)),
        Probe::Mount => {
            let ((here, _), (above, _)) = (fds::file_at(&other("mnt", n))?, fds::file_at("../../mnt")?);
            Ok(here != above)
        }
        Probe::HostName => Ok(nix::unistd::gethostname()?.to_string_lossy() == name(n)),
        Probe::DomainName => Ok(domain_name()? == name(n)),
    }
}

fn erase((probe, n): (Probe, u32)) -> Result<(), Errno> {
    match probe {
        Probe::Descriptor => nix::unistd::close(Trace::numbered(n).descriptor),
        Probe::Mount => umount2(other("mnt", n).as_str(), MntFlags::empty()),
        // The next probe takes the place of this one.
        _ => Ok(()),
    }
}

/// Checks that what one side does the other sees, in both directions.
#[track_caller]
pub fn check_shared(t: &Test, dirs: &ProbeDirs, probe: Probe, (a, b): (Side, Side), requirement: &'static str) -> Done {
    for (acting, watching) in [(a, b), (b, a)] {
        let n = dirs.fresh();
        probe.make(t, acting, n)?;
        let sight = probe.sight(t, n, acting, watching)?;
        t.check(sight).proves(requirement).is(Sight::Seen)?;
        probe.erase(t, acting, n)?;
    }
    Ok(())
}

/// Checks that neither side sees what the other does, and that each keeps what it did itself.
#[track_caller]
pub fn check_apart(t: &Test, dirs: &ProbeDirs, probe: Probe, (a, b): (Side, Side), requirement: &'static str) -> Done {
    let (of_a, of_b) = (dirs.fresh(), dirs.fresh());
    probe.make(t, a, of_a)?;
    let sight = probe.sight(t, of_a, a, b)?;
    t.check(sight).proves(requirement).is(Sight::Unseen)?;
    probe.make(t, b, of_b)?;
    for (n, acting, watching, expected) in
        [(of_b, b, a, Sight::Unseen), (of_a, a, a, Sight::Seen), (of_b, b, b, Sight::Seen)]
    {
        let sight = probe.sight(t, n, acting, watching)?;
        t.check(sight).proves(requirement).is(expected)?;
    }
    probe.erase(t, a, of_a)?;
    probe.erase(t, b, of_b)
}

/// Checks that the sides are apart in what the call separated, and share the rest as before.
#[track_caller]
pub fn check_as_predicted(
    t: &Test,
    dirs: &ProbeDirs,
    probe: Probe,
    sides: (Side, Side),
    prediction: &Prediction,
    requirement: &'static str,
) -> Done {
    if probe.is_separated_by(prediction) {
        check_apart(t, dirs, probe, sides, requirement)
    } else {
        check_shared(t, dirs, probe, sides, requirement)
    }
}
