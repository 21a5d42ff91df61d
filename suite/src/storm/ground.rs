//! The ground of a storm: what its rounds have in common.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futex::{Futex, Shared};
use harness::prelude::*;

use super::executed::Arguments;
use super::plan::Plan;
use super::report::Figures;
use super::segment::Mapping;
use super::task::Orders;
use super::{TASKS, rounds};
use crate::flags::Flags;
use crate::judged::check_changes;
use crate::model::{Kernel, Prediction};
use crate::observe::{Observer, Place, State, place_of};

/// How long a round may take before it counts as hanging, on real hardware. Rounds take
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What does not change from round to round.
pub(super) struct Ground<'t> {
    pub(super) t: &'t Test,
    pub(super) mapping: Mapping,
    pub(super) observer: Observer,
    pub(super) directory: &'static CStr,
    pub(super) program: OwnedFd,
    pub(super) arguments: Arguments,
    pub(super) pool: Vec<Flags>,
}

impl<'t> Ground<'t> {
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

/// How a round is drawn.
pub(super) type Draw = fn(&mut fastrand::Rng, usize, &[Flags]) -> Plan;

/// Plays as many rounds as the tier has, each drawn from the seed, and notes their figures.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub(super) fn play_rounds(
    t: &Test,
    draw: Draw,
    play: impl Fn(&Ground, &Plan, &mut Figures) -> Done,
) -> Done {
    let ground = Ground::prepare(t)?;
    let mut random = fastrand::Rng::with_seed(t.seed());
    let mut figures = Figures::default();
    for round in 0..rounds(t.tier()) {
        let plan = draw(&mut random, TASKS, &ground.pool);
        t.name_task(format!(
            "round {round}, repeat with --seed {}",
            t.run_seed()
        ));
        ground.mapping.clear();
        let starter = Starter::look(&ground);
        play(&ground, &plan, &mut figures)?;
        starter.check_untouched(&ground)?;
    }
    t.note(figures.line(t.run_seed()));
    Ok(())
}

/// The task that starts the others, as it was before the round. Whatever they do, nothing of it may
/// change, also of what it shared with all of them.
struct Starter {
    state: State,
    mount: Place,
}

impl Starter {
    fn look(ground: &Ground) -> Self {
        Self {
            state: ground.observer.state(),
            mount: place_of(ground.directory),
        }
    }

    fn check_untouched(&self, ground: &Ground) -> Done {
        let t = ground.t;
        let now = ground.observer.state();
        let nothing = Prediction::nothing();
        check_changes(t, Flags::NONE, "RACE-01", &nothing, &self.state, &now)?;
        t.check(Call::seen(
            "mount that the starter sees",
            place_of(ground.directory),
        ))
        .proves("RACE-01")
        .is(self.mount)
    }
}

/// Sets a futex and wakes all who wait for it.
pub(super) fn release(futex: &Futex<Shared>) {
    futex.value.store(1, Ordering::Release);
    futex.wake(i32::MAX);
}
