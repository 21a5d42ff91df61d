//! The storm of processes: tasks made by clone(2) that share memory, root and cwd, descriptors,
//! signal handlers and semaphore undo list with their starter and with each other.

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use harness::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::{Sysno, syscall};

use super::executed::Arguments;
use super::plan::{Action, Plan};
use super::report::Figures;
use super::segment::{Mapping, Segment, Slot, Stage, View, Which};
use super::task::{EXECUTED, Orders, UNSHARED, exit_status, mark_umask};
use super::{TASKS, rounds};
use crate::flags::Flags;
use crate::judged::check_changes;
use crate::model::{Kernel, Start, predict, with_implied};
use crate::observe::{Observer, Shared, place_of, sharing};
use crate::semaphores::Semaphore;
use crate::vm_task::{Stack, start_on};

/// What the tasks share.
const SHARING: Flags =
    Flags(Flags::VM.0 | Flags::FS.0 | Flags::FILES.0 | Flags::SIGHAND.0 | Flags::SYSVSEM.0);

/// How long a round may take before it counts as hanging, on real hardware. Rounds take
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The value the semaphore starts from; each task takes one from it, to be undone.
const SEMAPHORE: i32 = 100;

/// What does not change from round to round.
pub(super) struct Stage0<'t> {
    pub(super) t: &'t Test,
    pub(super) mapping: Mapping,
    pub(super) observer: Observer,
    pub(super) directory: &'static CStr,
    pub(super) program: OwnedFd,
    pub(super) arguments: Arguments,
    pub(super) pool: Vec<Flags>,
}

impl<'t> Stage0<'t> {
    /// Prepares all that the tasks will need.
    #[track_caller]
    pub(super) fn prepare(t: &'t Test) -> Done<Self> {
        let directory = t.directory()?.join("mounted");
        t.setup(Call::io("mkdir(mounted)", std::fs::create_dir(&directory)))?;
        let directory = CString::new(directory.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let program = std::fs::File::open("/proc/self/exe");
        let mapping = Mapping::make(t)?;
        Ok(Self {
            t,
            observer: Observer::open(t)?,
            directory: Box::leak(directory.into_boxed_c_str()),
            program: t.setup(Call::io("open(/proc/self/exe)", program))?.into(),
            arguments: Arguments::prepare(mapping.fd(), TASKS),
            pool: pool(t),
            mapping,
        })
    }

    /// The orders of task `number`.
    pub(super) fn orders(&self, number: usize, plan: &Plan, semaphores: i32) -> Orders {
        Orders {
            segment: self.mapping.segment,
            number,
            action: plan.actions[number],
            unsharers: plan.unsharers(),
            observer: self.observer,
            directory: self.directory,
            program: self.program.as_raw_fd(),
            arguments: self.arguments.of(number),
            semaphores,
            marks: true,
        }
    }
}

/// The flags that a storm draws from: all that this kernel accepts and this place allows.
fn pool(t: &Test) -> Vec<Flags> {
    let kernel = Kernel::of(t.facts());
    Flags::KNOWN
        .into_iter()
        .filter(|flag| kernel.effective.contains(*flag))
        .filter(|flag| *flag != Flags::NEWUSER || t.facts().has(Feature::CreateUserNs))
        .collect()
}

/// Runs the storm's rounds.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub fn process_storm(t: &Test) -> Done {
    let stage = Stage0::prepare(t)?;
    let stacks: Vec<Stack> = (0..TASKS).map(|_| Stack::new()).collect();
    let mut random = fastrand::Rng::with_seed(t.seed());
    let mut figures = Figures::default();
    for round in 0..rounds(t.tier()) {
        let plan = Plan::of_processes(&mut random, TASKS, &stage.pool);
        t.name_task(format!(
            "round {round}, repeat with --seed {}",
            t.run_seed()
        ));
        play(&stage, &stacks, &plan, &mut figures)?;
    }
    t.note(figures.line(t.run_seed()));
    Ok(())
}

fn play(stage: &Stage0, stacks: &[Stack], plan: &Plan, figures: &mut Figures) -> Done {
    let t = stage.t;
    stage.mapping.clear();
    let semaphores = if t.facts().has(Feature::SysvIpc) {
        Some(Semaphore::new(t, SEMAPHORE)?)
    } else {
        None
    };
    let semaphore_id = semaphores.as_ref().map_or(-1, Semaphore::id);
    let orders: Vec<Orders> = (0..plan.actions.len())
        .map(|number| stage.orders(number, plan, semaphore_id))
        .collect();
    let own = stage.observer.state();
    let own_directory = place_of(stage.directory);

    let mut crew = Crew::start(t, stage.mapping.segment, &orders, stacks)?;
    let result = crew
        .run_round(t)
        .and_then(|()| judge_unsharers(t, &crew, &orders))
        .and_then(|()| crew.end_round(t));
    if result.is_err() {
        crew.kill_all();
        return result;
    }
    judge_endings(t, &crew, &orders)?;
    let tasks: Vec<_> = orders
        .iter()
        .map(|order| order.action)
        .zip(crew.slots())
        .collect();
    figures.add(&tasks);

    // The starter shared everything with everybody, and nothing of it may have changed.
    let nothing = predict(&Start::default(), Flags::NONE, &Kernel::of(t.facts()));
    let now = stage.observer.state();
    check_changes(t, Flags::NONE, "RACE-01", &nothing, &own, &now)?;
    t.check(Call::seen(
        "mount that the starter sees",
        place_of(stage.directory),
    ))
    .is(own_directory)?;
    if let Some(semaphores) = semaphores {
        judge_semaphore(t, &semaphores)?;
    }
    Ok(())
}

/// All tasks are gone but the starter, which shares their undo list: nothing may have been undone
/// yet, and all of it must be when the last sharer leaves (EFF-SEM-03, EFF-SEM-04, RACE-08).
fn judge_semaphore(t: &Test, semaphore: &Semaphore) -> Done {
    let taken = SEMAPHORE - TASKS as i32;
    semaphore.check_value(t, "with the last sharer alive", taken, "EFF-SEM-03")?;
    t.check(crate::sys::unshare(Flags::SYSVSEM))
        .proves("RACE-01")
        .succeeds()?;
    semaphore.check_value(t, "when the last sharer has left", SEMAPHORE, "EFF-SEM-04")
}

/// The tasks of a round, seen from their starter.
struct Crew<'o> {
    segment: &'static Segment,
    orders: &'o [Orders],
    pids: Vec<Pid>,
    endings: Vec<Option<WaitStatus>>,
    deadline: Instant,
}

extern "C" fn carry_out(orders: *mut c_void) -> c_int {
    // SAFETY: the orders outlive every task of the round.
    let orders = unsafe { &*orders.cast::<Orders>() };
    // SAFETY: takes a signal number: no task outlives the case.
    let _ = unsafe { syscall!(Sysno::prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    orders.carry_out()
}

impl<'o> Crew<'o> {
    fn start(
        t: &Test,
        segment: &'static Segment,
        orders: &'o [Orders],
        stacks: &[Stack],
    ) -> Done<Self> {
        let mut crew = Crew {
            segment,
            orders,
            pids: Vec::new(),
            endings: vec![None; orders.len()],
            deadline: Instant::now() + t.patience(PATIENCE),
        };
        for (order, stack) in orders.iter().zip(stacks) {
            let argument = std::ptr::from_ref(order).cast_mut().cast();
            // SAFETY: the stack is used by this task alone until it is reaped; the orders and the
            // segment outlive it; its body allocates nothing and writes no errno.
            match unsafe { start_on(t, SHARING, stack, carry_out, argument) } {
                Ok(pid) => crew.pids.push(pid),
                Err(stop) => {
                    crew.kill_all();
                    return Err(stop);
                }
            }
        }
        Ok(crew)
    }

    fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        self.segment.slots[..self.orders.len()].iter()
    }

    /// Begins the round and waits until every task that unshares has looked twice.
    fn run_round(&mut self, t: &Test) -> Done {
        self.wait_until(t, "all tasks are ready", |_, slot| {
            slot.stage() >= Stage::Ready
        })?;
        release(&self.segment.go);
        self.wait_until(t, "all unshare calls have returned", |order, slot| {
            !matches!(order.action, Action::Unshare(_)) || slot.stage() >= Stage::Done
        })?;
        release(&self.segment.settle);
        self.wait_until(
            t,
            "all tasks that unshared have looked again",
            |order, slot| {
                !matches!(order.action, Action::Unshare(_)) || slot.stage() >= Stage::Settled
            },
        )
    }

    /// Lets the tasks end and waits for every one.
    fn end_round(&mut self, t: &Test) -> Done {
        release(&self.segment.end);
        loop {
            self.reap();
            if self.endings.iter().all(Option::is_some) {
                return Ok(());
            }
            if Instant::now() > self.deadline {
                let missing = self
                    .pids
                    .iter()
                    .zip(&self.endings)
                    .filter(|(_, e)| e.is_none());
                let missing: Vec<_> = missing.map(|(pid, _)| pid.to_string()).collect();
                return t
                    .check(Call::seen("tasks that have not ended", missing.join(", ")))
                    .proves("RACE-01")
                    .is(String::new());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn reap(&mut self) {
        for (pid, ending) in self.pids.iter().zip(&mut self.endings) {
            if ending.is_none() {
                let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
                match waitpid(*pid, Some(flags)) {
                    Ok(WaitStatus::StillAlive) => {}
                    Ok(status) => *ending = Some(status),
                    Err(_) => *ending = Some(WaitStatus::StillAlive),
                }
            }
        }
    }

    fn wait_until(&self, t: &Test, what: &str, reached: impl Fn(&Orders, &Slot) -> bool) -> Done {
        loop {
            let seen = self.segment.progress.value.load(Ordering::Acquire);
            let missing: Vec<_> = self
                .orders
                .iter()
                .zip(self.slots())
                .filter(|(order, slot)| !reached(order, slot))
                .map(|(order, slot)| {
                    format!(
                        "task {} {:?} is {:?}",
                        order.number,
                        order.action,
                        slot.stage()
                    )
                })
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > self.deadline {
                return t
                    .check(Call::seen(format!("whether {what}"), missing.join("; ")))
                    .proves("RACE-01")
                    .is(String::new());
            }
            let _ = self
                .segment
                .progress
                .wait_for(seen, Duration::from_millis(50));
        }
    }

    fn kill_all(&mut self) {
        for (pid, ending) in self.pids.iter().zip(&self.endings) {
            if ending.is_none() {
                let _ = kill(*pid, Signal::SIGKILL);
                let _ = waitpid(*pid, Some(WaitPidFlag::__WALL));
            }
        }
    }
}

fn release(futex: &futex::Futex<futex::Shared>) {
    futex.value.store(1, Ordering::Release);
    futex.wake(i32::MAX);
}

/// Compares every task that unshared with the model, and its marks with what it no longer shares.
fn judge_unsharers(t: &Test, crew: &Crew, orders: &[Orders]) -> Done {
    let start = Start {
        handlers_shared: true,
        memory_shared: true,
        ..Start::of(t.facts())
    };
    let own = nix::unistd::getpid().as_raw();
    for ((order, slot), pid) in orders.iter().zip(crew.slots()).zip(&crew.pids) {
        let Action::Unshare(flags) = order.action else {
            continue;
        };
        judge_one(
            t,
            flags,
            &start,
            slot,
            order.number,
            mark_umask(order.number),
        )?;
        if t.facts().has(Feature::Kcmp) {
            let separated = predict(&start, flags, &Kernel::of(t.facts())).separated;
            for (what, flag) in [
                (Shared::Fs, Flags::FS),
                (Shared::Files, Flags::FILES),
                (Shared::Sysvsem, Flags::SYSVSEM),
                (Shared::Vm, Flags::VM),
                (Shared::Sighand, Flags::SIGHAND),
            ] {
                t.check(sharing(what, own, pid.as_raw()).called(format!(
                    "whether task {} shares {} after unshare({flags})",
                    order.number,
                    what.clone_flag()
                )))
                .proves("RACE-01")
                .is(!separated.contains(flag))?;
            }
        }
    }
    Ok(())
}

/// Compares one task that unshared with the model.
pub(super) fn judge_one(
    t: &Test,
    flags: Flags,
    start: &Start,
    slot: &Slot,
    number: usize,
    umask: u32,
) -> Done {
    let prediction = predict(start, flags, &Kernel::of(t.facts()));
    let result = slot.result.load(Ordering::Acquire);
    t.check(Call::zero_on_success(
        format!("unshare({flags}) by task {number}"),
        result,
    ))
    .proves("RACE-01")
    .gives(prediction.result)?;
    let (before, after) = (slot.view(Which::Before), slot.view(Which::After));
    check_changes(
        t,
        flags,
        "RACE-01",
        &prediction,
        &before.state,
        &after.state,
    )?;
    let marking = slot.marking.load(Ordering::Acquire);
    t.check(Call::zero_on_success(
        format!("marks of task {number} after unshare({flags})"),
        marking,
    ))
    .proves("RACE-01")
    .succeeds()?;
    if slot.stage() < Stage::Settled {
        return Ok(());
    }
    let settled = slot.view(Which::Settled);
    let mine = |flag: Flags| prediction.result.is_ok() && with_implied(flags).contains(flag);
    let seen = |what: &str| {
        format!("{what} of task {number} after unshare({flags}), when all had left their marks")
    };
    let expected = |own: bool, mark: u32, other: u32| if own { mark } else { other };
    t.check(Call::seen(seen("umask"), settled.state.umask))
        .proves("RACE-01")
        .is(expected(mine(Flags::FS), umask, before.state.umask))?;
    t.check(Call::seen(seen("marked descriptors"), settled.marks))
        .proves("RACE-01")
        .is(if mine(Flags::FILES) { 1 << number } else { 0 })?;
    let name = String::from_utf8_lossy(&settled.state.host_name)
        .trim_end_matches('\0')
        .to_owned();
    let other = String::from_utf8_lossy(&before.state.host_name)
        .trim_end_matches('\0')
        .to_owned();
    t.check(Call::seen(seen("host name"), name))
        .proves("RACE-01")
        .is(if mine(Flags::NEWUTS) {
            format!("s-{}", (b'0' + number as u8) as char)
        } else {
            other
        })?;
    judge_mount(
        t,
        flags,
        &before,
        &after,
        &settled,
        number,
        mine(Flags::NEWNS),
    )
}

/// A task with a mount namespace of its own sees its own mount and nobody else's.
fn judge_mount(
    t: &Test,
    flags: Flags,
    before: &View,
    after: &View,
    settled: &View,
    number: usize,
    separated: bool,
) -> Done {
    let text = format!(
        "mount on the directory of task {number} after unshare({flags}), when all had left their marks"
    );
    if separated && flags.contains(Flags::EMPTY) {
        return t
            .check(Call::seen(text, settled.directory.inode))
            .proves("RACE-01")
            .is(0);
    }
    if separated {
        return t
            .check(Call::seen(text, settled.directory))
            .proves("RACE-01")
            .holds("a mount of its own", |place| {
                place.inode != 0 && place.device != after.directory.device
            })
            .map(drop);
    }
    t.check(Call::seen(text, settled.directory))
        .proves("RACE-01")
        .is(before.directory)
}

/// Every task must have ended as its action says.
fn judge_endings(t: &Test, crew: &Crew, orders: &[Orders]) -> Done {
    for ((order, slot), ending) in orders.iter().zip(crew.slots()).zip(&crew.endings) {
        let number = order.number;
        if order.action == Action::Exec {
            t.check(Call::zero_on_success(
                format!("execve by task {number}"),
                slot.result.load(Ordering::Acquire),
            ))
            .proves("RACE-01")
            .succeeds()?;
        }
        let expected = match order.action {
            Action::Exec => EXECUTED,
            Action::Exit | Action::ExitThread => exit_status(number),
            Action::Unshare(_) => UNSHARED,
        };
        let status = match ending {
            Some(WaitStatus::Exited(_, status)) => format!("status {status}"),
            other => format!("{other:?}"),
        };
        t.check(Call::seen(
            format!("end of task {number}, {:?}", order.action),
            status,
        ))
        .proves("RACE-01")
        .is(format!("status {expected}"))?;
        if order.action == Action::Exec {
            t.check(Call::seen(
                format!("threads of the program that task {number} executed"),
                slot.threads.load(Ordering::Acquire),
            ))
            .proves("RACE-01")
            .is(1)?;
        }
    }
    Ok(())
}
