//! The child's side: what the body of a case can use, and how the body runs.

use std::any::Any;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::Pid;

use crate::case::Item;
use crate::case::call::Call;
use crate::case::check::Done;
use crate::place::facts::Facts;
use crate::run::patience::TimeLimit;
use crate::run::record::{Record, RecordLog};
use crate::suite::Suite;

/// How much of a large space a case covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Every requirement, every start state and every kind of fault, with a sample of what differs by a flag alone; takes
    /// seconds even under emulation.
    Quick,
    /// What a developer waits for.
    Full,
    /// Everything.
    Exhaustive,
}

impl Tier {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Quick => "quick",
            Tier::Full => "full",
            Tier::Exhaustive => "exhaustive",
        }
    }
}

/// What stays the same while cases run; made before the first fork.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The suite that the cases belong to.
    pub suite: &'static Suite,
    /// Facts about the kernel and the place.
    pub facts: Facts,
    /// Random seed of the run.
    pub seed: u64,
    /// How much of large spaces to cover.
    pub tier: Tier,
    /// How many steps each walk has, instead of the tier's number.
    pub steps: Option<usize>,
    /// Where private directories are created.
    pub base: PathBuf,
    /// Factor for deadlines: how much slower than real hardware this machine is.
    pub slowdown: u32,
    /// The kernel runs nothing but this run.
    pub own_kernel: bool,
    /// Runs in each case's child before the body, if set.
    pub before_body: Option<BeforeBody>,
}

/// Prepares a case's child before its body runs. An error makes the case broken.
pub type BeforeBody = fn() -> Result<(), Errno>;

/// What the body of a case works with: verbs (`check`, `setup`, `note`, `skip`), its parameter, facts, and tasks and
/// directories that are removed after it.
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
    /// Name of the current task in diagnostics; none in the case's first task.
    static TASK: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Test {
    pub(crate) fn new(log: RecordLog, item: Item, setting: Arc<Setting>, repetition: u32) -> Self {
        // Each repetition has a seed of its own, so that it can be repeated alone.
        let run_seed = seed_of_repetition(setting.seed, repetition);
        let seed = seed_for(run_seed, &item.name);
        Self { log, item, setting, run_seed, seed, directory: OnceLock::new() }
    }

    pub(crate) fn log(&self) -> RecordLog {
        self.log
    }

    /// The requirements that this run of the case proves.
    pub fn proves(&self) -> &[&'static str] {
        self.item.proves()
    }

    pub(crate) fn task_name(&self) -> Option<String> {
        TASK.with_borrow(Clone::clone)
    }

    /// Names the current task in the diagnostics of its checks.
    pub fn name_task(&self, name: impl Into<String>) {
        TASK.set(Some(name.into()));
    }

    /// Facts about the kernel and the place.
    pub fn facts(&self) -> &Facts {
        &self.setting.facts
    }

    /// Whether the kernel runs nothing but this run, so that whatever it says of itself is of these cases.
    pub fn has_own_kernel(&self) -> bool {
        self.setting.own_kernel
    }

    /// The parameter of the variant that runs.
    ///
    /// # Panics
    /// The case has no variants, or theirs is of another type.
    pub fn param<P: Any + Clone>(&self) -> P {
        self.item.variant.as_ref().expect("only a case with variants has a parameter").param()
    }

    /// How much of a large space to cover.
    pub fn tier(&self) -> Tier {
        self.setting.tier
    }

    /// How many steps a walk has to have, if the tier does not decide.
    pub fn steps(&self) -> Option<usize> {
        self.setting.steps
    }

    /// Random seed of this run of this case, derived from `--seed`, the name and the repetition: the same command draws
    /// the same numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The `--seed` that repeats this run of the case: the seed of the whole run plus the repetition.
    pub fn run_seed(&self) -> u64 {
        self.run_seed
    }

    /// Scales a time limit for real hardware to this machine.
    pub fn patience(&self, on_hardware: Duration) -> Duration {
        on_hardware * self.setting.slowdown.max(1)
    }

    /// A limit on what the calling task waits for, given for real hardware.
    pub fn time_limit(&self, on_hardware: Duration) -> TimeLimit {
        TimeLimit::new(self.patience(on_hardware))
    }

    /// Waits until a condition holds, which is looked at every millisecond, and says whether it does within a limit
    /// for real hardware. Only time counts in which the calling task could run.
    pub fn wait_until(&self, on_hardware: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let mut limit = self.time_limit(on_hardware);
        loop {
            if holds() {
                return true;
            }
            if !limit.pause(Duration::from_millis(1)) {
                return holds();
            }
        }
    }

    /// How much of its deadline the case has used so far, to about a second: what a task cannot measure in which the
    /// clock may have jumped.
    pub fn passed(&self) -> Duration {
        self.log.passed()
    }

    /// Reports the progress of a long case.
    pub fn progress(&self, done: usize, total: usize) {
        let number = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        self.log.set_progress(number(done), number(total));
    }

    /// Runs steps without reporting them and returns whether they completed: to investigate an earlier failure. No
    /// other task of the case may check anything meanwhile.
    pub fn attempt(&self, body: impl FnOnce(&Test) -> Done) -> bool {
        let mark = self.log.mark();
        let done = body(self).is_ok();
        self.log.rewind(mark);
        done
    }

    /// A private directory of this case, created by the first call. The supervisor removes it with its content after
    /// the case.
    ///
    /// # Errors
    /// It cannot be created: the case is broken.
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
    // Cases that become another user keep using it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
}

/// Seed of a repetition in a run with this seed: a run with the result repeats it alone.
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

/// Runs a case in this process, which its supervisor has just forked, and exits.
pub(crate) fn run_and_exit(test: &Test, supervisor: Pid) -> ! {
    prepare_process(supervisor);
    test.log.adopt();
    run_body(test, || {
        if let Some(prepare) = test.setting.before_body {
            test.setup(Call::new("preparation of the body", prepare()))?;
        }
        (test.item.case.run)(test)
    });
    // SAFETY: ends the process without running the supervisor's destructors or exit handlers.
    unsafe { libc::_exit(0) }
}

/// Sets up a process group, no blocked signals, only the three standard descriptors, and death with the supervisor,
/// which has [all else](crate::place::inherited) in order.
fn prepare_process(supervisor: Pid) {
    let _ = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
    die_with_parent(supervisor);
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

/// Runs the body and writes the final record, however the body ends.
fn run_body(test: &Test, body: impl FnOnce() -> Done) {
    match catch(body) {
        // Stop has its own record; the body completed all the same.
        Ok(Ok(()) | Err(_)) => test.log.finish(),
        Err(message) => test.log.write(&Record::Panicked(message)),
    }
}

/// Runs `body`; turns a panic into its location and message.
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
