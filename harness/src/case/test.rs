//! The child's side: what a case's body can see and do, and how the body is run.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::Pid;

use crate::case::Item;
use crate::case::call::Call;
use crate::case::check::Done;
use crate::place::facts::Facts;
use crate::run::record::{Record, RecordLog};
use crate::suite::Suite;

/// How much of a large space a case looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Enough to see every flag, pair and state; seconds even under emulation.
    Quick,
    /// What a developer waits for.
    Full,
    /// Everything there is.
    Exhaustive,
}

impl Tier {
    /// The name, as options have it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Quick => "quick",
            Tier::Full => "full",
            Tier::Exhaustive => "exhaustive",
        }
    }
}

/// What does not change while cases run; made before the first fork.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The suite that the cases belong to.
    pub suite: &'static Suite,
    /// What is known of the kernel and the place.
    pub facts: Facts,
    /// What draws of a random number start from.
    pub seed: u64,
    /// How much to look at.
    pub tier: Tier,
    /// Where private directories are made.
    pub base: PathBuf,
    /// How much slower than real hardware this machine is, as a factor of deadlines.
    pub slowdown: u32,
    /// What each case's child does before the body, if anything.
    pub before_body: Option<BeforeBody>,
}

/// Prepares a case's child before its body runs. An error makes the case broken.
pub type BeforeBody = fn() -> Result<(), Errno>;

/// What the body of a case is given: its verbs (`check`, `setup`, `note`, `skip`), its parameter,
/// what is known of the kernel, and tasks and directories that vanish with it.
#[derive(Debug)]
pub struct Test {
    log: RecordLog,
    item: Item,
    setting: Arc<Setting>,
    run_seed: u64,
    seed: u64,
    directory: OnceLock<PathBuf>,
}

thread_local! {
    /// What the task at hand is called in diagnostics; none in the case's first task.
    static TASK: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Test {
    pub(crate) fn new(log: RecordLog, item: Item, setting: Arc<Setting>, repetition: u32) -> Self {
        // Each repetition is the run of a seed of its own, which repeats it alone.
        let run_seed = seed_of_repetition(setting.seed, repetition);
        let seed = seed_for(run_seed, &item.name);
        Self { log, item, setting, run_seed, seed, directory: OnceLock::new() }
    }

    pub(crate) fn log(&self) -> RecordLog {
        self.log
    }

    pub(crate) fn proves(&self) -> &[&'static str] {
        self.item.proves()
    }

    pub(crate) fn task_name(&self) -> Option<String> {
        TASK.with_borrow(Clone::clone)
    }

    /// Names the task at hand in the diagnostics of its checks.
    pub fn name_task(&self, name: impl Into<String>) {
        TASK.set(Some(name.into()));
    }

    /// What is known of the kernel and the place.
    pub fn facts(&self) -> &Facts {
        &self.setting.facts
    }

    /// The parameter of the variant that runs; 0 for a case without variants.
    pub fn param(&self) -> u64 {
        self.item.param()
    }

    /// How much of a large space to look at.
    pub fn tier(&self) -> Tier {
        self.setting.tier
    }

    /// What this run of this case draws its random numbers from: derived from `--seed`, the name
    /// and the repetition, so that the same command draws the same.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The seed that `--seed` takes to have this run of the case again: that of the whole run, and one
    /// more for each repetition.
    pub fn run_seed(&self) -> u64 {
        self.run_seed
    }

    /// A time limit for a step, given for real hardware, as this machine needs it.
    pub fn patience(&self, on_hardware: Duration) -> Duration {
        on_hardware * self.setting.slowdown.max(1)
    }

    /// Says how far a long case has come, for whoever watches the run.
    pub fn progress(&self, done: usize, total: usize) {
        let number = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        self.log.set_progress(number(done), number(total));
    }

    /// Tries steps of which nothing is to be reported, and says whether they came to their end: to find
    /// out more of what failed before. No other task of the case may be checking anything meanwhile.
    pub fn attempt(&self, body: impl FnOnce(&Test) -> Done) -> bool {
        let mark = self.log.mark();
        let done = body(self).is_ok();
        self.log.rewind(mark);
        done
    }

    /// A directory of this case's own, made at the first call. The supervisor removes it with all
    /// its content when the case is over.
    ///
    /// # Errors
    /// It cannot be made: the case is broken.
    #[track_caller]
    pub fn directory(&self) -> Done<&Path> {
        if self.directory.get().is_none() {
            let path = self.setting.base.join(DIRECTORY);
            self.log.directory_made();
            self.setup(Call::io("mkdir(private directory)", make_directory(&path)))?;
            let _ = self.directory.set(path);
        }
        Ok(self.directory.get().expect("set above"))
    }
}

/// Name of a case's private directory below [`Setting::base`]. There is one at a time.
pub(crate) const DIRECTORY: &str = "case";

fn make_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(path)?;
    // Cases that become another user go on working here.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
}

/// What draws of a repetition start from, in a run of this seed: a run of that seed repeats it alone.
pub fn seed_of_repetition(seed: u64, repetition: u32) -> u64 {
    seed.wrapping_add(u64::from(repetition))
}

/// FNV-1a over the parts: stable across builds and machines, unlike std's hasher.
fn seed_for(seed: u64, name: &str) -> u64 {
    seed.to_le_bytes()
        .into_iter()
        .chain(name.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Runs a case in the process at hand, which its supervisor has just forked, and ends the process.
pub(crate) fn run_and_exit(test: &Test, supervisor: Pid) -> ! {
    prepare_process(supervisor);
    run_body(test, || {
        if let Some(prepare) = test.setting.before_body {
            test.setup(Call::new("preparation of the body", prepare()))?;
        }
        (test.item.case.run)(test)
    });
    // SAFETY: ends the process without running the supervisor's destructors or exit handlers.
    unsafe { libc::_exit(0) }
}

/// A process group of its own, signals as a fresh program has them, no file descriptors but the
/// three standard ones, and death when the supervisor dies.
fn prepare_process(supervisor: Pid) {
    let _ = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
    die_with_parent(supervisor);
    // Rust's start-up ignores SIGPIPE and catches SIGSEGV and SIGBUS to tell of stack overflows.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for changed in [Signal::SIGPIPE, Signal::SIGSEGV, Signal::SIGBUS] {
        // SAFETY: installs the default action.
        let _ = unsafe { nix::sys::signal::sigaction(changed, &default) };
    }
    let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // SAFETY: closes what belongs to the supervisor; this process never uses it.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// Has the kernel kill this process when the task that forked it ends.
pub(crate) fn die_with_parent(parent: Pid) {
    // SAFETY: prctl(PR_SET_PDEATHSIG) takes a signal number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // It may have ended before the line above. A task in a new PID namespace sees 0.
    let seen = nix::unistd::getppid();
    if seen != parent && seen.as_raw() != 0 {
        // SAFETY: nothing of this process is worth an orderly end.
        unsafe { libc::_exit(1) };
    }
}

/// Runs the body and writes the final record, whatever way the body ends.
fn run_body(test: &Test, body: impl FnOnce() -> Done) {
    match catch(body) {
        // Stop has its own record; the body came to its end all the same.
        Ok(Ok(()) | Err(_)) => test.log.finish(),
        Err(message) => test.log.write(&Record::Panicked { message }),
    }
}

/// Runs `body`, turning a panic into its message and place.
pub(crate) fn catch<V>(body: impl FnOnce() -> V) -> Result<V, String> {
    thread_local! {
        static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| MESSAGE.set(info.to_string())));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    std::panic::set_hook(previous);
    result.map_err(|_| {
        let message = MESSAGE.take().replace('\n', " ");
        message.strip_prefix("panicked at ").unwrap_or(&message).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_every_part() {
        let seed = seed_for(1, "a.b");
        assert_eq!(seed, seed_for(1, "a.b"));
        assert_ne!(seed, seed_for(2, "a.b"));
        assert_ne!(seed, seed_for(1, "a.c"));
    }

    #[test]
    fn a_panic_keeps_its_message_and_place() {
        let message = catch(|| panic!("no such thing")).unwrap_err();
        assert!(message.contains("no such thing"), "{message}");
        assert!(message.contains("test.rs"), "{message}");
    }
}
