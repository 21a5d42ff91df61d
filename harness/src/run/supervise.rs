//! The supervisor's side of one case: forks it, watches it, and observes how it ends.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::case::test::run_and_exit;
use crate::common::*;
use crate::place::inherited::FILE_SIZE_LIMIT;
use crate::run::leftovers::{KILL_PATIENCE, Leak, LeakKind, LeakWatch, where_it_hangs};
use crate::run::patience::{Patience, Tasks};
use crate::run::record::Records;
use crate::suite::Wrong;

/// How a case's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It exited.
    Exited {
        /// With this status.
        status: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal's name.
        signal: String,
    },
    /// It ran past its deadline.
    TimedOut {
        /// The deadline, or how long it was waited for.
        after: Duration,
        /// Where it hung, according to /proc.
        hints: Vec<String>,
        /// Whether it survived SIGKILL.
        survived: bool,
    },
    /// The supervisor died while the case ran.
    SupervisorLost {
        /// How the supervisor ended.
        how: String,
    },
}

/// Everything observed in one run of a case; the input of [`judge`](crate::verdict::judge::judge).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What its tasks recorded.
    pub records: Records,
    /// How its process ended.
    pub ending: Ending,
    /// What outlived it.
    pub leaks: Vec<Leak>,
    /// What it printed to its standard output and error.
    pub output: String,
    /// Why its first step that went wrong says nothing of the kernel: the place, as a control shows, refuses it.
    pub refused: Option<String>,
    /// What the kernel said while it ran.
    pub kernel: News,
    /// From fork to the end of cleaning up.
    pub duration: Duration,
}

impl Observation {
    /// Nothing but how a case ended.
    pub(crate) fn new(ending: Ending) -> Self {
        Self {
            records: Records::default(),
            ending,
            leaks: Vec::new(),
            output: String::new(),
            refused: None,
            kernel: News::default(),
            duration: Duration::ZERO,
        }
    }
}

/// Makes this process a child subreaper, where the kernel knows such: elsewhere process 1 adopts what leaks, and it is
/// not found.
///
/// # Errors
/// As prctl(2).
pub(crate) fn adopt_orphans() -> io::Result<()> {
    match set_child_subreaper(true) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// How many bytes of output are kept.
const OUTPUT_KEPT: u64 = 16 * 1024;

/// Runs cases one after the other, each in its own child of a single-threaded process.
#[derive(Debug)]
pub struct Supervisor {
    setting: Arc<Setting>,
    log: RecordLog,
    leaks: LeakWatch,
    output: File,
    /// Its namespaces, open: each look at a link of a child that is still in them finds the kernel's file made.
    _namespaces: Vec<File>,
}

impl Supervisor {
    /// Makes this process a supervisor: standard input from /dev/null, output to memory, child subreaper, limited file
    /// sizes.
    ///
    /// # Errors
    /// A step failed; the text names it.
    pub fn start(setting: Setting, log: RecordLog, own_ipc: bool) -> io::Result<Self> {
        adopt_orphans()?;
        let leaks = LeakWatch::start(&setting.base, own_ipc)?;
        let output = capture_output()?;
        // A kernel without this limit runs the cases as well.
        let _ = getrlimit(Resource::RLIMIT_FSIZE).and_then(|(_, hard)| {
            let limit = FILE_SIZE_LIMIT.min(hard);
            setrlimit(Resource::RLIMIT_FSIZE, limit, limit)
        });
        nix::unistd::chdir(&setting.base)?;
        let links = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
        let _namespaces = links.filter_map(|link| File::open(link.path()).ok()).collect();
        Ok(Self { setting: Arc::new(setting), log, leaks, output, _namespaces })
    }

    /// Runs one case once, to its end or its deadline.
    pub fn run(&mut self, item: &Item, repetition: u32, deadline: Duration) -> Observation {
        let start = Instant::now();
        self.log.clear();
        let kept = save_globals(self.setting.suite, item.needs());
        let test = Test::new(self.log, item.clone(), Arc::clone(&self.setting), repetition);
        let supervisor = nix::unistd::getpid();
        // SAFETY: the process is single-threaded.
        let ending = match unsafe { fork() } {
            Ok(ForkResult::Child) => run_and_exit(&test, supervisor),
            Ok(ForkResult::Parent { child }) => watch(child, self.patience(deadline), self.log),
            Err(errno) => Ending::SupervisorLost { how: format!("fork: {errno:?}") },
        };
        let mut observation = Observation::new(ending);
        observation.leaks = self.leaks.sweep(self.log.has_directory());
        observation.leaks.extend(restore_globals(&kept));
        observation.records = self.log.read();
        observation.refused = self.refused(&observation);
        observation.output = self.take_output();
        observation.duration = start.elapsed();
        observation
    }

    fn patience(&self, deadline: Duration) -> Patience {
        let patience = Patience::new(deadline, Tasks::Descendants);
        if self.setting.own_kernel { patience.on_slow_machine(self.setting.slowdown.max(1)) } else { patience }
    }

    /// Why the place made the case go wrong, if it did.
    fn refused(&self, Observation { records, ending, .. }: &Observation) -> Option<String> {
        let step = records.first_error().or(match ending {
            Ending::SupervisorLost { how } => {
                how.split_once(": ").map(|(call, gave)| (call.to_owned(), gave.to_owned(), true))
            }
            _ => None,
        });
        let is_setup = step.as_ref().is_some_and(|(.., setup)| *setup);
        let step = step.as_ref().map(|(call, actual, _)| (call.as_str(), actual.as_str()));
        let went_wrong = step.is_some() || !records.finished || *ending != (Ending::Exited { status: 0 });
        let wrong = Wrong { step, is_setup, aside: self.log.aside() };
        let why = went_wrong.then(|| (self.setting.suite.refused)(&self.setting.facts, &wrong))??;
        Some(match step {
            Some((call, actual)) => format!("{why} ({call}: {actual})"),
            None => why,
        })
    }

    fn take_output(&mut self) -> String {
        let size = self.output.metadata().map_or(0, |metadata| metadata.len());
        if size == 0 {
            return String::new();
        }
        let mut kept = Vec::new();
        let _ = self.output.rewind();
        let _ = (&self.output).take(OUTPUT_KEPT).read_to_end(&mut kept);
        let _ = self.output.set_len(0);
        let mut text = String::from_utf8_lossy(&kept).into_owned();
        if size > OUTPUT_KEPT {
            text.push_str(&format!("\n… {} more bytes", size - OUTPUT_KEPT));
        }
        text
    }
}

/// Redirects standard output and error to a memory file, which is read after each case.
fn capture_output() -> io::Result<File> {
    let output = match memfd_create(c"output", MFdFlags::MFD_CLOEXEC) {
        Ok(output) => output,
        // A filter refuses it, or the kernel lacks it. Without any file the output is lost.
        Err(_) => tempfile::tempfile().or_else(|_| File::options().read(true).write(true).open("/dev/null"))?.into(),
    };
    // Several processes write to it: none may overwrite the other.
    nix::fcntl::fcntl(&output, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_APPEND))?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(&output)?;
    dup2_stderr(&output)?;
    Ok(output.into())
}

/// Waits for a case's process until its deadline, then kills its process group.
fn watch(child: Pid, mut patience: Patience, log: RecordLog) -> Ending {
    // The child does the same: whoever is first, the group exists before it is killed.
    let _ = nix::unistd::setpgid(child, child);
    let (pidfd, deadline) = (pidfd_open(child), patience.limit());
    while !patience.is_over() {
        if wait_until_dead(child, pidfd.as_ref(), patience.left()) {
            return reap(child);
        }
        log.set_passed(patience.passed());
    }
    let hints = where_it_hangs(child);
    // Less than the deadline where the whole machine slept.
    let after = if patience.age() < deadline { Duration::from_secs(patience.age().as_secs()) } else { deadline };
    let _ = killpg(child, Signal::SIGKILL);
    patience.renew(KILL_PATIENCE);
    let mut survived = true;
    while survived && !patience.is_over() {
        survived = !wait_until_dead(child, pidfd.as_ref(), patience.left());
    }
    if !survived {
        reap(child);
    }
    Ending::TimedOut { after, hints, survived }
}

/// A descriptor of a process; none where the kernel, or a filter, refuses it.
pub(crate) fn pidfd_open(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes numbers; the descriptor it gives is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Whether the child dies before `patience` has passed.
pub(crate) fn wait_until_dead(child: Pid, pidfd: Option<&OwnedFd>, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if let Some(pidfd) = pidfd {
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(_) if left.is_zero() => return false,
                Err(_) => continue,
            }
        }
        // Without pidfd_open(2): poll.
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match nix::sys::wait::waitid(nix::sys::wait::Id::Pid(child), peek) {
            Ok(WaitStatus::StillAlive) if left.is_zero() => return false,
            Ok(WaitStatus::StillAlive) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            _ => return true,
        }
    }
}

/// How long a wait without pidfd_open(2) pauses between two looks: at first, and at most. Kernels that lack the call
/// may take long for each look.
const FIRST_PAUSE: Duration = Duration::from_micros(300);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

fn reap(child: Pid) -> Ending {
    match wait_for(child) {
        Ok(WaitStatus::Exited(_, status)) => Ending::Exited { status },
        Ok(WaitStatus::Signaled(_, signal, _)) => Ending::Killed { signal: signal.as_str().to_owned() },
        Ok(other) => Ending::SupervisorLost { how: format!("waitpid: {other:?}") },
        Err(errno) => Ending::SupervisorLost { how: format!("waitpid: {errno:?}") },
    }
}

/// The value of each global setting that these needs allow to change.
pub(crate) fn save_globals(suite: &Suite, needs: Needs) -> Vec<(Global, String)> {
    let value = |global: Global| Some((global, fs::read_to_string(global.path()).ok()?));
    needs.disturbed(suite).filter(|global| global.has_value()).filter_map(value).collect()
}

/// Restores global settings. A setting that a case left changed is no leak, since the case may have been killed; one
/// that cannot be restored is.
pub(crate) fn restore_globals(kept: &[(Global, String)]) -> Vec<Leak> {
    kept.iter()
        .filter(|(global, value)| fs::read_to_string(global.path()).ok().as_ref() != Some(value))
        .filter_map(|(global, value)| {
            let error = fs::write(global.path(), value).err()?;
            Some(Leak {
                kind: LeakKind::Setting,
                what: format!("{} cannot be restored to {}: {error}", global.path(), value.trim()),
            })
        })
        .collect()
}
