//! Calls whose nth allocation fails, one n after the other, each in a process of its own.
//!
//! The kernel counts the allocations of a task's system calls down from what was written to its
//! `fail-nth`, and has the one fail at which it gets to 0. What is left afterwards tells whether the
//! call came that far. Nothing is known of the sites beforehand: they differ with the release and
//! the configuration.

use std::io::Write;

use crate::prelude::*;
use crate::sharing::probe::umask;
use crate::spec::model::memory::without_memory;

/// What a case of failing allocations needs.
pub const NEEDS: Needs = Needs::ROOT
    .with(feature::INITIAL_ROOT)
    .with(feature::FAIL_NTH)
    .disturbing(global::SPARED_ALLOCATIONS)
    .disturbing(global::FAILED_ALLOCATIONS_LOG);

/// A sweep over all sites of a network namespace makes many hundreds, and drops them.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// Has the allocations of the machine that may sleep fail, too, when a task asks for it: those are
/// nearly all. The supervisor puts it back.
#[track_caller]
pub fn allow(t: &Test) -> Done {
    for (global, value) in [
        (global::SPARED_ALLOCATIONS, "N"),
        // A report of each would flood the log in which the supervisor looks for the kernel's own.
        (global::FAILED_ALLOCATIONS_LOG, "0"),
    ] {
        let written = fs::write(global.path(), value);
        let text = format!("write({value}) to {}", global.path());
        t.setup(Call::io(text, written))?;
    }
    Ok(())
}

/// More allocations than any call makes.
pub const BEYOND: u32 = 1_000_000;

/// What a system call of the task at hand came to when the nth allocation was to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the call left in the register.
    pub register: i64,
    /// How many allocations more would have had to be made for one to fail; 0 if one did.
    pub left: u32,
}

/// The switch of the task at hand.
#[derive(Clone, Copy, Debug)]
pub struct FailNth;

impl FailNth {
    /// Opens it. The descriptor stays open.
    #[track_caller]
    pub fn open(t: &Test) -> Done<FailNth> {
        let path = "/proc/thread-self/fail-nth";
        let file = File::options().read(true).write(true).open(path);
        let file = t.setup(Call::io(format!("open({path})"), file))?;
        t.setup(Call::new("dup3(fail-nth)", dup_to(file.as_raw_fd(), fds::FAIL_NTH, libc::O_CLOEXEC)))?;
        // Whatever the two writes and the read touch for the first time is touched here.
        FailNth.write(0);
        FailNth.left();
        Ok(FailNth)
    }

    fn write(self, n: u32) -> bool {
        // Without a leading zero, which would make it octal.
        let mut text = [0u8; 10];
        let mut rest = &mut text[..];
        let _ = write!(rest, "{n}");
        let length = 10 - rest.len();
        // SAFETY: the buffer lives through the call.
        let written = unsafe { libc::pwrite(fds::FAIL_NTH, text.as_ptr().cast(), length, 0) };
        written == length as isize
    }

    fn left(self) -> u32 {
        let mut text = [0u8; 16];
        // SAFETY: the buffer lives through the call.
        let read = unsafe { libc::pread(fds::FAIL_NTH, text.as_mut_ptr().cast(), text.len(), 0) };
        // Where copies to user space can be made to fail as well, this one was the next to.
        if read <= 0 {
            return 1;
        }
        text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |left, digit| left * 10 + u32::from(digit - b'0'))
    }

    /// Calls unshare(2) with the nth allocation failing. Nothing else of the task comes in between.
    #[track_caller]
    pub fn unshare(self, t: &Test, flags: Flags, n: u32) -> Done<Outcome> {
        self.during(t, n, || unshare_raw(flags))
    }

    /// Makes one system call with the nth allocation failing. Nothing else of the task comes in between. The call gives
    /// what unshare(2) leaves in the register: a negative error, or something else.
    #[track_caller]
    pub fn during(self, t: &Test, n: u32, call: impl FnOnce() -> i64) -> Done<Outcome> {
        let armed = self.write(n);
        let register = call();
        let left = self.left();
        // Once more for a kernel in which copies from user space fail as well.
        let disarmed = self.write(0) || self.write(0);
        if armed && disarmed {
            Ok(Outcome { register, left })
        } else {
            Err(t.broken(format!("write({n}) to fail-nth"), "it was not written"))
        }
    }
}

/// What a caller reports to the process that made it.
#[derive(Debug)]
#[repr(C)]
struct Report {
    register: AtomicI64,
    left: AtomicU32,
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Figures {
    flags: Flags,
    /// The calls that failed, by their errors.
    failed: BTreeMap<String, u32>,
    /// The calls that succeeded although an allocation failed.
    tolerated: u32,
    /// How many sites there were the first time.
    sites: u32,
    /// How many were tried.
    tried: u32,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unshare({}) makes {} allocations; of {} that failed", self.flags, self.sites, self.tried)?;
        for (errno, count) in &self.failed {
            write!(f, ", {count} gave {errno}")?;
        }
        write!(f, ", {} were tolerated", self.tolerated)
    }
}

/// A state from which callers are made, one for each call.
#[derive(Debug)]
pub struct Fixture {
    start: Start,
    observer: Observer,
    semaphore: Option<Semaphore>,
    umask: u32,
    report: &'static Report,
    /// A new user namespace needs a record of what its user has in it (ERR-40).
    users_record: bool,
    /// What is done in each caller before it is looked at.
    enter: fn(&Test) -> Done,
}

/// The semaphore of which each caller takes one.
const SEMAPHORE: i32 = 100;

/// How many sites the quick tier tries: all, but for network namespaces.
const QUICK_SITES: usize = 100;

/// How often a site is looked for that must be there. What the kernel keeps at hand and refills now
/// and then makes an allocation more before it, and can have one round pass over it.
const SEARCHES: usize = 50;

impl Fixture {
    /// The state that the task at hand is in.
    #[track_caller]
    pub fn of(t: &Test, start: Start) -> Done<Fixture> {
        let semaphore = Semaphore::where_there(t, SEMAPHORE)?;
        // SAFETY: zeroes are a valid report.
        let report = t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed::<Report>() }))?;
        let users_record = t.facts().has(feature::CREATE_USER_NS) && kernel::user_namespaces_count(t)?;
        let observer = Observer::open(t)?;
        Ok(Fixture { start, observer, semaphore, umask: umask(), report, users_record, enter: |_| Ok(()) })
    }

    /// Whether one of the failing allocations of CLONE_NEWUSER must give EAGAIN (ERR-40, FI-09).
    pub fn users_record(&self) -> bool {
        self.users_record
    }

    /// The same, with a step that each caller takes first.
    pub fn entering(self, enter: fn(&Test) -> Done) -> Fixture {
        Fixture { enter, ..self }
    }

    /// Makes a caller, which calls with the nth allocation failing and is judged.
    fn call(&self, t: &Test, flags: Flags, n: u32, id: &'static str) -> Done<Outcome> {
        let caller = t.spawn_sharing("caller", SHARED.0, |t| self.judge(t, flags, n, id))?;
        let judged = caller.join(t);
        let found = Trace::CALLER.find(self.umask);
        // The caller's, if the table is still shared.
        fds::close(fds::FAIL_NTH);
        judged?;
        let outcome = Outcome {
            register: self.report.register.load(Ordering::Acquire),
            left: self.report.left.load(Ordering::Acquire),
        };
        let separated = self.prediction(t, flags, outcome.register == 0).separated;
        let text = format!(
            "what its maker still shares with the caller after {} (its umask: CLONE_FS, its descriptors: CLONE_FILES)",
            called(flags, n, outcome)
        );
        t.check(Call::seen(text, found)).proves(id).is(SHARED & (Flags::FS | Flags::FILES) & !separated)?;
        if let Some(semaphore) = &self.semaphore {
            // The undo list was shared, and its last user is still there.
            let when = format!("after the end of the caller of {}", called(flags, n, outcome));
            semaphore.check_value(t, &when, SEMAPHORE - 1, id)?;
            t.setup(Call::new("semctl(SETVAL)", undo::set(semaphore.id(), SEMAPHORE)))?;
        }
        Ok(outcome)
    }

    /// What the model says of a call that did or did not succeed.
    fn prediction(&self, t: &Test, flags: Flags, success: bool) -> Prediction {
        if success { predict(&self.start, flags, &Kernel::of(t.facts())) } else { Prediction::nothing() }
    }

    /// The caller's life.
    fn judge(&self, t: &Test, flags: Flags, n: u32, id: &'static str) -> Done {
        if let Some(semaphore) = &self.semaphore {
            let taken = take_with_undo(semaphore.id());
            t.setup(Call::new("semop(-1, SEM_UNDO)", taken))?;
        }
        (self.enter)(t)?;
        let fail_nth = FailNth::open(t)?;
        let before = self.observer.state();
        let outcome = fail_nth.unshare(t, flags, n)?;
        let after = self.observer.state();
        self.report.register.store(outcome.register, Ordering::Release);
        self.report.left.store(outcome.left, Ordering::Release);
        let call = Call::zero_on_success(called(flags, n, outcome), outcome.register);
        let result = call.result().map(drop);
        self.check_result(t, call, flags, outcome, id)?;
        let prediction = self.prediction(t, flags, result.is_ok());
        check_changes(t, flags, id, &prediction, &before, &after)?;
        if result.is_ok() {
            // Before its first process, the link of a PID namespace may lead nowhere (EFF-PID-03).
            for kind in KINDS.into_iter().filter(|kind| flags.contains(kind.flag) && kind.flag != Flags::NEWPID) {
                let text = format!("inode of ns/{} after {}", kind.link.link(), called(flags, n, outcome));
                t.check(Call::seen(text, after.namespaces[kind.link as usize])).proves(id).is_not(0)?;
            }
        }
        if result.is_err() && t.facts().has(feature::KCMP) {
            let asked = if self.semaphore.is_some() { SHARED } else { SHARED & !Flags::SYSVSEM };
            let shared = shared_flags(getpid().as_raw(), getppid().as_raw(), asked);
            let text = format!("what the caller and its maker share after {}, by kcmp", called(flags, n, outcome));
            t.check(Call::new(text, shared)).proves(id).is(asked)?;
        }
        t.setup(Call::new("umask(), dup3()", Trace::CALLER.leave(SHARED)))
    }

    #[track_caller]
    fn check_result(&self, t: &Test, call: Call<()>, flags: Flags, outcome: Outcome, id: &'static str) -> Done {
        if outcome.left > 0 {
            return t.check(call).proves(id).succeeds();
        }
        let allowed = without_memory(flags, self.users_record);
        let (fine, said) = match call.result() {
            Ok(()) => (true, "0".to_owned()),
            Err(failure @ Failure::Errno(errno)) => {
                (allowed.as_ref().is_none_or(|allowed| allowed.contains(&errno)), format!("{failure:?}"))
            }
            Err(failure) => (false, format!("{failure:?}")),
        };
        let names =
            |allowed: Vec<Errno>| allowed.iter().map(|errno| format!("{errno:?}")).collect::<Vec<_>>().join(" or ");
        let errors = allowed.map_or("an errno".to_owned(), names);
        t.check(Call::seen(call.text().to_owned(), Said(said)))
            .proves(id)
            .holds(&format!("{errors}, or 0 where the call does without"), |_| fine)
            .map(drop)
    }

    /// Has the allocations of these calls fail one after the other: all of them, or in the quick
    /// tier a choice by the seed. Each caller is judged.
    ///
    /// # Errors
    /// Something differs: a failed check is on record. Or nothing failed: the case is broken.
    #[track_caller]
    pub fn sweep(&self, t: &Test, flags: Flags, id: &'static str) -> Done<Figures> {
        let count = self.count(t, flags, id)?;
        let mut figures = Figures { flags, sites: count, ..Figures::default() };
        for n in chosen(t, count) {
            let outcome = self.call(t, flags, n, id)?;
            // There are fewer this time: what a kernel keeps at hand it need not allocate.
            if outcome.left > 0 {
                continue;
            }
            figures.tried += 1;
            match Call::zero_on_success("", outcome.register).result() {
                Ok(()) => figures.tolerated += 1,
                Err(failure) => *figures.failed.entry(format!("{failure:?}")).or_default() += 1,
            }
        }
        t.note(figures.to_string());
        if figures.failed.is_empty() {
            return Err(t.broken(
                format!("unshare({flags}) with failing allocations"),
                format!("no call failed ({figures}): nothing is shown of calls that do"),
            ));
        }
        Ok(figures)
    }

    /// Checks that among the sites of these calls there is one whose failure gives this error.
    #[track_caller]
    pub fn sweep_for(&self, t: &Test, flags: Flags, errno: Errno, id: &'static str) -> Done {
        let mut sites: Vec<u32> = (1..=self.count(t, flags, id)?).collect();
        // In one and the same order, the refills come at the same sites each time.
        let mut random = fastrand::Rng::with_seed(t.seed());
        let (mut tried, mut found) = (0, 0);
        for _ in 0..SEARCHES {
            random.shuffle(&mut sites);
            for n in &sites {
                let outcome = self.call(t, flags, *n, id)?;
                tried += u32::from(outcome.left == 0);
                found += u32::from(outcome.register == -(errno as i64));
            }
            if found > 0 {
                break;
            }
        }
        let text = format!("how many of {tried} calls of unshare({flags}) with one allocation failing gave {errno:?}");
        t.note(format!("{text}: {found}"));
        t.check(Call::seen(text, found)).proves(id).holds("one at least", |count| *count > 0).map(drop)
    }

    /// How many allocations the call makes in a caller, with none of them failing.
    #[track_caller]
    pub fn count(&self, t: &Test, flags: Flags, id: &'static str) -> Done<u32> {
        Ok(BEYOND - self.call(t, flags, BEYOND, id)?.left)
    }
}

/// The sites to try.
fn chosen(t: &Test, count: u32) -> Vec<u32> {
    let mut all: Vec<u32> = (1..=count).collect();
    if t.tier() > Tier::Quick || all.len() <= QUICK_SITES {
        return all;
    }
    fastrand::Rng::with_seed(t.seed()).shuffle(&mut all);
    all.truncate(QUICK_SITES);
    all.sort_unstable();
    all
}

fn called(flags: Flags, n: u32, outcome: Outcome) -> String {
    match outcome.left {
        0 => format!("unshare({flags}) with allocation {n} failing"),
        _ => format!("unshare({flags}) with no allocation failing"),
    }
}
