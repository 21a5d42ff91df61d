//! What calls made, the kernel lets go of again: after success when the last task has left it, after a failure at
//! once. Told by the number of the kernel's own objects, which nobody sees from outside until the memory is gone.
//!
//! Each case first has tasks hold what the call makes, and so learns which kinds of objects this kernel makes of it,
//! and that it would see them: held or leaked, they look the same.

use crate::engines::fail_nth::{self, FailNth};
use crate::engines::leak::{Findings, Held, NEEDS, gain};
use crate::engines::race::DEADLINE;
use crate::observe::objects::gauges::{Gauges, LEAST_MEMORY, Reading, is_memory, is_of};
use crate::prelude::*;

const SOURCE: &str =
    "2006 design document, 6 (failure leaves nothing behind); kernel, kernel/nsproxy.c and kernel/fork.c";

/// What callers share with the task that makes them. An undo list that is to go with the call is their own.
fn sharing(flags: Flags) -> Flags {
    (Flags::FS | Flags::FILES | Flags::SYSVSEM) & !(flags & Flags::SYSVSEM)
}

/// How many tasks hold what a call makes while that is learnt, at first.
const HOLDERS: u32 = 6;

/// How often that number is doubled where others allocate and free too much to see what they hold.
const DOUBLINGS: u32 = 2;

/// The number of calls in the first pair of measurements.
fn first(t: &Test) -> u32 {
    match t.tier() {
        Tier::Quick => 4,
        Tier::Full => 8,
        Tier::Exhaustive => 64,
    }
}

/// How often so many holders more are compared with how it was before them.
const STEPS: usize = 2;

/// Measures what is gained by so many tasks that did `act` and live on, again and again. Nobody ends meanwhile: what
/// the kernel frees later would seem to be lost.
#[track_caller]
fn gained_by_holders(
    t: &Test,
    gauges: &Gauges,
    count: u32,
    sharing: Flags,
    act: impl Fn(&Test) -> Done,
) -> Done<BTreeMap<String, Spread>> {
    let barrier = Barrier::new(t)?;
    let mut holders = Vec::new();
    let mut readings = Vec::new();
    // What tasks before them leave to be freed goes with the first step, which is not counted.
    for step in 0..=STEPS as u32 + 1 {
        if step > 0 {
            for _ in 0..count {
                holders.push(barrier.spawn(t, "holder", sharing, |t| {
                    act(t)?;
                    barrier.finish();
                    // Until it is killed.
                    loop {
                        nix::unistd::pause();
                    }
                })?);
            }
            barrier.wait_until_finished(step * count);
        }
        readings.push(gauges.read(t, None)?);
    }
    let names = readings[0].keys().cloned();
    Ok(names
        .map(|name| {
            let each = |pair: &[Reading]| gain(&pair[0], &pair[1], &name) as f64 / f64::from(count);
            let spread = Spread::of(readings[1..].windows(2).map(each).collect());
            (name, spread)
        })
        .collect())
}

/// Numbers in order.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut numbers: Vec<f64>) -> Spread {
        numbers.sort_by(f64::total_cmp);
        Spread { least: numbers[0], median: numbers[numbers.len() / 2], most: numbers[numbers.len() - 1] }
    }

    fn width(&self) -> f64 {
        self.most - self.least
    }
}

/// The caches that these flags certainly take an object of.
fn essential(flags: Flags) -> Vec<&'static str> {
    let namespaces = Flags::PRIVILEGED | Flags::EMPTY;
    let by_flags = [
        (Flags::FS, "fs_cache"),
        (Flags::FILES, "files_cache"),
        (Flags::NEWUSER, "user_namespace"),
        (Flags::NEWNS, "mnt_cache"),
        (Flags::NEWNET, "net_namespace"),
        (namespaces, "nsproxy"),
    ];
    by_flags.into_iter().filter(|(some, _)| flags.intersects(*some)).map(|(_, cache)| cache).collect()
}

/// Learns what a call holds, by tasks that make it and live on beside tasks that live without it. Only what all steps
/// agree on counts: the rest is somebody else's.
#[track_caller]
fn learn(
    t: &Test,
    gauges: &Gauges,
    flags: Flags,
    with: impl Fn(&Test) -> Done,
    without: impl Fn(&Test) -> Done,
) -> Done<Held> {
    for count in (0..=DOUBLINGS).map(|doubling| HOLDERS << doubling) {
        let idle = gained_by_holders(t, gauges, count, sharing(flags), &without)?;
        let held: Held = gained_by_holders(t, gauges, count, sharing(flags), &with)?
            .into_iter()
            .filter_map(|(name, holding)| {
                let idle = idle.get(&name)?;
                let least = if is_memory(&name) { LEAST_MEMORY } else { 0.75 };
                let agreed = holding.least - idle.most >= least - 0.4
                    && holding.median - idle.median >= least
                    && holding.width() <= 0.4 + 0.1 * holding.median
                    && idle.width() <= 0.4 + 0.1 * idle.median;
                agreed.then_some((name, holding.median - idle.median))
            })
            .collect();
        let seen = held.keys().any(|name| !is_memory(name));
        if seen && essential(flags).into_iter().all(|cache| held.keys().any(|name| is_of(name, cache))) {
            return Ok(held);
        }
    }
    Err(t.skip(
        "the kernel's objects that tasks hold after the call cannot be told from those of other processes, and no \
         more could a leak: run it on a quieter machine, or in a guest (--kernel …)",
    ))
}

/// Checks that no kind of what a call holds grows with the number of calls, by [`Findings`].
#[track_caller]
fn check_nothing_left(
    t: &Test,
    gauges: &Gauges,
    held: &Held,
    what: &str,
    (id, first): (&'static str, u32),
    batch: impl Fn(u32, bool) -> Done,
) -> Done {
    let findings = Findings::measure(t, gauges, held, first, batch)?;
    let kinds: Vec<String> = held.iter().map(|(name, held)| format!("{held:.1} {name}")).collect();
    t.note(format!("one call holds {}", kinds.join(", ")));
    findings.check(t, &format!("call of {what}"), id)
}

/// The flags that make something, each alone.
fn making() -> Vec<Variant> {
    variants::succeeding(
        Flags::KNOWN.into_iter().filter(|flag| ![Flags::VM, Flags::SIGHAND, Flags::THREAD].contains(flag)),
    )
}

/// All of them that this kernel has and that get on with each other.
fn all_making(t: &Test) -> Flags {
    let apart = Flags::EMPTY | Flags::SYSVSEM;
    Flags::KNOWN
        .into_iter()
        .filter(|flag| (Flags::PRIVILEGED | Flags::NEWUSER | Flags::FS | Flags::FILES).contains(*flag))
        .filter(|flag| !apart.contains(*flag) && Kernel::of(t.facts()).effective.contains(*flag))
        .fold(Flags::NONE, |all, flag| all | flag)
}

/// A caller that succeeds: what its flags name it shares with its maker, and has an undo list.
fn succeed(t: &Test, flags: Flags, semaphore: Option<&Semaphore>, calls: bool) -> Done {
    if let Some(semaphore) = semaphore {
        t.setup(Call::new("semop(-1, SEM_UNDO)", take_with_undo(semaphore.id())))?;
    }
    // Without the call, all the same is done.
    t.check(unshare(if calls { flags } else { Flags::NONE })).succeeds()
}

fn success(t: &Test, flags: Flags) -> Done {
    let gauges = Gauges::open(t)?;
    let sysvsem = flags.contains(Flags::SYSVSEM);
    let semaphore = if sysvsem { Some(Semaphore::new(t, 30_000)?) } else { None };
    let act = |t: &Test, calls| succeed(t, flags, semaphore.as_ref(), calls);
    // The undo list is the task's before the call already, and no longer afterwards.
    let held = if sysvsem {
        learn(t, &gauges, flags, |t| act(t, false), |t| succeed(t, flags, None, false))?
    } else {
        learn(t, &gauges, flags, |t| act(t, true), |t| act(t, false))?
    };
    let what = format!("unshare({flags}), with the caller gone");
    check_nothing_left(t, &gauges, &held, &what, ("LEAK-01", first(t)), |calls, with| {
        for _ in 0..calls {
            t.spawn_sharing("caller", sharing(flags).0, |t| act(t, with))?.join(t)?;
        }
        Ok(())
    })
}

case!(Case {
    name: "leaks.success",
    about: "When the tasks have ended that got something of their own by the call, the kernel has let go of it: the \
            number of its objects of each kind that the call makes does not grow with the number of calls.",
    proves: &["LEAK-01"],
    from: Tier::Exhaustive,
    work: |_| 100,
    variants: making,
    run: |t| success(t, t.param::<Flags>())
});

case!(Case {
    name: "leaks.success.all",
    about: "The same with all flags in one call.",
    proves: &["LEAK-01"],
    needs: NEEDS.with(feature::CREATE_USER_NS),
    from: Tier::Full,
    work: |_| 200,
    run: |t| success(t, all_making(t))
});

fn failures() -> Vec<Variant> {
    let kept = making().into_iter().filter(|variant| variant.param::<Flags>() != Flags::SYSVSEM);
    Failing::variants(kept.collect(), |_| &[])
}

fn failure(t: &Test, failing: Failing, flag: Flags) -> Done {
    let flags = failing.flags(flag);
    let gauges = Gauges::open(t)?;
    let root = t.directory()?;
    let held = learn(t, &gauges, flag, |t| succeed(t, flag, None, true), |t| succeed(t, flag, None, false))?;
    let what = format!("unshare({flags}) that fails");
    check_nothing_left(t, &gauges, &held, &what, ("LEAK-02", first(t)), |calls, with| {
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            let prepared = failing.prepare(t, flag, Flags::FS | Flags::FILES, root)?;
            let expected = predict(&prepared.start, flags, &Kernel::of(t.facts())).result;
            for _ in 0..calls {
                if with {
                    t.check(unshare(flags)).proves("LEAK-02").gives(expected)?;
                } else {
                    t.check(unshare(Flags::NONE)).proves("LEAK-02").succeeds()?;
                }
            }
            Ok(())
        })
    })
}

case!(Case {
    name: "leaks.failure",
    about: "A call that fails late, when it has made what other flags ask for, lets go of that: the number of the \
            kernel's objects of each kind that those flags make does not grow with the number of calls.",
    proves: &["LEAK-02"],
    needs: NEEDS.and(limits::NEEDS),
    from: Tier::Exhaustive,
    work: |_| 60,
    variants: failures,
    run: |t| {
        let (failing, flag) = t.param::<(Failing, Flags)>();
        failure(t, failing, flag)
    }
});

case!(Case {
    name: "leaks.failure.all",
    about: "The same with all flags in one call, which fails at the last.",
    proves: &["LEAK-02"],
    needs: NEEDS.and(limits::NEEDS).with(feature::TIME_NS),
    from: Tier::Full,
    work: |_| 100,
    run: |t| failure(t, Failing::TimeLimit, all_making(t) & !Flags::NEWTIME)
});

/// Has each allocation of the call fail in turn, again and again.
fn no_memory(t: &Test, flags: Flags) -> Done {
    fail_nth::allow(t)?;
    let gauges = Gauges::open(t)?;
    let held = learn(t, &gauges, flags, |t| succeed(t, flags, None, true), |t| succeed(t, flags, None, false))?;
    let what = format!("unshare({flags}) for each allocation that fails");
    // One round makes hundreds of calls, of which perhaps one leaves something.
    let barrier = Barrier::new(t)?;
    check_nothing_left(t, &gauges, &held, &what, ("LEAK-03", 1), |rounds, with| {
        for _ in 0..rounds {
            let mut next = 1;
            while next > 0 {
                t.in_child(|t| {
                    let fail_nth = FailNth::open(t)?;
                    barrier.put(0, 0);
                    for n in (next..).take_while(|_| with) {
                        let outcome = fail_nth.unshare(t, flags, n as u32)?;
                        if outcome.left > 0 {
                            break;
                        }
                        // One that does without the allocation has its namespaces now: another task goes on.
                        if outcome.register == 0 {
                            barrier.put(0, n + 1);
                            break;
                        }
                    }
                    Ok(())
                })?;
                next = barrier.get(0);
            }
        }
        Ok(())
    })
}

case!(Case {
    name: "leaks.no_memory",
    about: "A call of which an allocation fails lets go of what it had made: the number of the kernel's objects of each \
            kind that its flags make does not grow when each allocation fails in turn, again and again.",
    proves: &["LEAK-03"],
    source: "unshare(2), ERRORS (ENOMEM); 2006 design document, 6; slabinfo(5)",
    deadline: fail_nth::DEADLINE,
    needs: NEEDS.and(fail_nth::NEEDS).with(feature::CREATE_USER_NS),
    from: Tier::Full,
    work: |_| 200,
    // Of a network namespace's hundreds of allocations the kernel lets go so late that it takes many minutes.
    run: |t| no_memory(t, all_making(t) & !Flags::NEWNET)
});
