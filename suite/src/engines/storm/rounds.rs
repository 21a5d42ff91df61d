//! The rounds of a storm, and the fixture that they have in common.

use harness::place::facts::{TAINT_OF_OTHERS, taint};

use super::exec_probe::Arguments;
use super::*;

/// How long a round may take before it counts as hanging, on real hardware. Rounds take
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What does not change from round to round.
pub(super) struct Fixture<'t> {
    pub(super) t: &'t Test,
    pub(super) segment: &'static Segment,
    pub(super) observer: Observer,
    pub(super) directory: &'static CStr,
    pub(super) disturbed: Vec<&'static CStr>,
    umask: u32,
    pub(super) program: OwnedFd,
    pub(super) arguments: Arguments,
    pub(super) pool: Vec<Flags>,
    /// The CPUs that tasks may run on.
    cpus: Vec<usize>,
}

impl<'t> Fixture<'t> {
    /// Prepares all that the tasks will need.
    #[track_caller]
    pub(super) fn prepare(t: &'t Test) -> Done<Self> {
        let directory = make_directory(t, "mounted")?;
        // One for each: of two that unmount the same, one finds it gone.
        let disturbed = (0..MOST_TASKS).map(|number| make_directory(t, &format!("disturbed-{number}")));
        let disturbed = disturbed.collect::<Done<Vec<_>>>()?;
        let observer = Observer::open(t)?;
        let program = File::open("/proc/self/exe");
        Ok(Self {
            t,
            umask: observer.state().umask,
            observer,
            directory,
            disturbed,
            program: t.setup(Call::io("open(/proc/self/exe)", program))?.into(),
            segment: Segment::make(t)?,
            arguments: Arguments::prepare(fds::SEGMENT, MOST_TASKS),
            pool: pool(t),
            cpus: cpus(t)?,
        })
    }

    /// The orders of task `number`.
    pub(super) fn orders(&self, number: usize, actions: &'static [Action], spread: bool, semaphores: i32) -> Orders {
        let cpus = self.cpus.len();
        Orders {
            segment: self.segment,
            number,
            action: actions[number],
            actions,
            unsharers: unsharers(actions),
            cpu: (spread && cpus > 1).then(|| self.cpus[number % cpus]),
            umask: self.umask,
            disturbed: self.disturbed[number],
            observer: self.observer,
            directory: self.directory,
            program: self.program.as_raw_fd(),
            arguments: self.arguments.of(number),
            semaphores,
        }
    }
}

/// The flags that a storm draws from: all that this kernel accepts and this place allows.
pub fn pool(t: &Test) -> Vec<Flags> {
    let kernel = Kernel::of(t.facts());
    Flags::KNOWN
        .into_iter()
        .filter(|flag| kernel.effective.contains(*flag))
        .filter(|flag| *flag != Flags::NEWUSER || t.facts().has(feature::CREATE_USER_NS))
        .collect()
}

/// The CPUs that the calling task may run on.
#[track_caller]
fn cpus(t: &Test) -> Done<Vec<usize>> {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0));
    let set = t.setup(Call::new("sched_getaffinity()", set))?;
    let all = 0..nix::sched::CpuSet::count();
    Ok(all.filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

#[track_caller]
fn make_directory(t: &Test, name: &str) -> Done<&'static CStr> {
    let path = t.directory()?.join(name);
    t.setup(Call::io(format!("mkdir({name})"), fs::create_dir(&path)))?;
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    Ok(Box::leak(path.into_boxed_c_str()))
}

/// Plays as many rounds as the tier has, each drawn from the seed, and notes their figures.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub(super) fn play_rounds(
    t: &Test,
    draw: impl Fn(&mut fastrand::Rng, &[Flags]) -> Plan,
    play: impl Fn(&Fixture, &Plan, &mut Figures) -> Done,
) -> Done {
    let fixture = Fixture::prepare(t)?;
    let mut random = fastrand::Rng::with_seed(t.seed());
    let mut figures = Figures::default();
    for round in 0..rounds(t.tier()) {
        let plan = draw(&mut random, &fixture.pool);
        t.name_task(format!("round {round}, repeat with --seed {}", t.run_seed()));
        let mut play_once = |plan: &Plan| -> Done {
            fixture.segment.clear();
            let starter = Starter::look(&fixture);
            let health = Health::of_kernel();
            play(&fixture, plan, &mut figures)?;
            starter.check_untouched(&fixture)?;
            health.check_unchanged(t)
        };
        if let Err(stop) = play_once(&plan) {
            shrink(t, plan, |plan| play_once(plan));
            return Err(stop);
        }
        t.progress(round as usize + 1, rounds(t.tier()) as usize);
    }
    t.note(figures.line(t.run_seed()));
    Ok(())
}

/// What the kernel says of itself when it is unwell. Looked at after each round, so that what it wrote
/// to its log belongs to a round, and with it to a seed.
struct Health {
    taint: u64,
    lockdep_gave_up: bool,
}

impl Health {
    fn of_kernel() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        // After its first complaint lockdep says nothing more; it sets no taint.
        let lockdep_gave_up = read("/proc/lockdep_stats")
            .lines()
            .any(|line| line.trim_start().starts_with("debug_locks:") && line.trim_end().ends_with(" 0"));
        Self { taint: taint() & !TAINT_OF_OTHERS, lockdep_gave_up }
    }

    fn check_unchanged(self, t: &Test) -> Done {
        let now = Health::of_kernel();
        // On a shared host it may be of others: the kernel's log, which the harness reads, tells.
        if !t.has_own_kernel() {
            if (now.taint, now.lockdep_gave_up) != (self.taint, self.lockdep_gave_up) {
                t.note("the kernel became unwell in this round, or others made it so");
            }
            return Ok(());
        }
        check_is(t, "/proc/sys/kernel/tainted after the round", now.taint, self.taint)?;
        check_is(t, "whether lockdep complained in the round", now.lockdep_gave_up, self.lockdep_gave_up)
    }
}

/// How often a smaller round is played to see whether it shows the failure, too.
const PLAYED: usize = 5;
/// How many rounds are played to make one smaller that failed.
const MOST_PLAYED: usize = 400;

/// Takes tasks away from a round that failed as long as it fails all the same, and notes what is left.
fn shrink(t: &Test, mut plan: Plan, mut play: impl FnMut(&Plan) -> Done) {
    let mut played = 0;
    let drawn = plan.actions.len();
    // By the clock: how far it comes is no verdict.
    let deadline = Instant::now() + t.patience(PATIENCE);
    loop {
        let fails = |plan: &Plan| {
            (0..PLAYED).any(|_| {
                played += 1;
                played < MOST_PLAYED && Instant::now() < deadline && !t.attempt(|_| play(plan))
            })
        };
        match plan.smaller().into_iter().find(fails) {
            Some(smaller) => plan = smaller,
            None => break,
        }
    }
    t.note(format!(
        "the round had {drawn} tasks; the fewest that still failed, of {played} rounds played for that: {:?}",
        plan.actions
    ));
}

/// The task that starts the others, as it was before the round. Whatever they do, nothing of it may
/// change, also of what it shared with all of them.
struct Starter {
    state: State,
    mount: Place,
}

impl Starter {
    fn look(fixture: &Fixture) -> Self {
        Self { state: fixture.observer.state(), mount: place_of(fixture.directory) }
    }

    fn check_untouched(&self, fixture: &Fixture) -> Done {
        let t = fixture.t;
        let now = fixture.observer.state();
        let nothing = Prediction::nothing();
        check_changes(t, Flags::NONE, "RACE-01", &nothing, &self.state, &now)?;
        check_is(t, "mount that the starter sees", place_of(fixture.directory), self.mount)
    }
}

/// Waits until no task is missing any more. Gives up when the tasks have `ended`, or are out of patience.
pub(super) fn wait_until(
    t: &Test,
    segment: &Segment,
    patience: &mut Patience,
    what: &str,
    ended: impl Fn() -> bool,
    missing: impl Fn() -> Vec<String>,
) -> Done {
    loop {
        let seen = segment.progress.get();
        let missing = missing();
        if missing.is_empty() {
            return Ok(());
        }
        if ended() || patience.is_over() {
            return check_is(t, format!("whether {what}"), missing.join("; "), String::new());
        }
        segment.progress.wait_for(seen, Duration::from_millis(50));
    }
}

/// The tasks that have not come as far as `reached` asks.
pub(super) fn missing<'s>(
    who: &str,
    tasks: impl Iterator<Item = (Action, &'s Slot)>,
    reached: impl Fn(Action, &Slot) -> bool,
) -> Vec<String> {
    tasks
        .enumerate()
        .filter(|(_, (action, slot))| !reached(*action, slot))
        .map(|(number, (action, slot))| format!("{who} {number} {action:?} is {:?}", slot.stage()))
        .collect()
}
