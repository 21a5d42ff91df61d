//! The model keeps its own rules, whatever the history.

use proptest::prelude::*;

use super::*;

fn facts() -> Facts {
    Facts::default()
}

/// A history of so many steps.
fn history(mix: Mix, seed: u64, steps: usize) -> Vec<(World, usize, Op, Outcome, World)> {
    let (mut world, mut draw, mut visited) =
        (World::new(Kernel::FULL, FULL, Flags::NONE), Draw::new(mix, seed, &facts(), Offers::ALL), Visited::default());
    let mut history = Vec::new();
    for _ in 0..steps {
        let (at, op) = draw.next(&world, &visited);
        if let Some(task) = world.task(at) {
            visited.note(&world, task, &op);
        }
        let before = world.clone();
        let outcome = world.step(at, &op);
        history.push((before, at, op, outcome, world.clone()));
    }
    history
}

/// What every world holds to.
fn check(world: &World) {
    for (_, task) in world.alive() {
        assert!(world.fs.contains_key(&task.fs) && world.files.contains_key(&task.files), "{task:?}");
        assert!(task.undo.is_none_or(|undo| world.undo.contains_key(&undo) || world.semaphore <= SEMAPHORE));
        assert!(world.processes.contains_key(&task.process));
        for link in Ns::ALL {
            assert!(world.spaces.contains_key(&task.space(link)), "{link:?}");
        }
    }
    // Nothing is lost: what the semaphore lacks is what lists remember.
    let pending: i32 = world.undo.values().sum();
    assert_eq!(world.semaphore + pending, SEMAPHORE);
    // Nobody receives from a group that is no more, and who receives from one has no part in it.
    let trees = world.trees();
    let mounts: Vec<Mount> = trees.iter().flat_map(|(_, tree)| [Some(tree.base), tree.child]).flatten().collect();
    for mount in &mounts {
        let lives = |group| mounts.iter().any(|other| other.group == Some(group));
        assert!(mount.master.is_none_or(lives), "{trees:?}");
        assert!(mount.group.is_none() || (mount.group != mount.master && !mount.unbindable), "{mount:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn worlds_keep_their_rules(seed: u64, mix in 0..Mix::ALL.len()) {
        for (before, at, op, outcome, after) in history(Mix::ALL[mix].0, seed, 80) {
            check(&after);
            // A call that is refused changes nothing, but for the current directory of a chroot that may not be.
            if outcome.result.is_err() && !matches!(op, Op::Chroot(_)) {
                let known = World { next: before.next, failed: before.failed.clone(), ..after.clone() };
                prop_assert_eq!(&known, &before, "{:?} by {}", op, at);
            }
            // unshare(2) touches nobody but its caller, and the semaphore.
            if let Op::Unshare(_) = op {
                for other in (0..TASKS).filter(|other| *other != at) {
                    prop_assert_eq!(&after.tasks[other], &before.tasks[other]);
                }
                let Some(task) = after.task(at) else { panic!("the caller is gone") };
                prop_assert_eq!(task.process, before.tasks[at].as_ref().map_or(0, |task| task.process));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn steps_at_the_same_time_can_be_taken_in_both_orders(seed: u64, mix in 0..Mix::ALL.len()) {
        let mut draw = Draw::new(Mix::ALL[mix].0, seed, &facts(), Offers::ALL);
        let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
        let visited = Visited::default();
        for _ in 0..120 {
            let (at, op) = draw.next(&world, &visited);
            let Some((other, beside)) = draw.beside(&world, (at, &op)) else {
                world.step(at, &op);
                continue;
            };
            prop_assert!(world.may_race((other, &beside), (at, &op)));
            let ends = [[(at, op), (other, beside)], [(other, beside), (at, op)]].map(|order| {
                let mut end = world.clone();
                for (at, op) in order {
                    assert!(end.enabled(at, &op), "{op} by {at}");
                    end.step(at, &op);
                }
                check(&end);
                end
            });
            [world, _] = ends;
        }
    }
}

/// What came first must show at once, in results or in what tasks see: a model that took the wrong order would accuse the
/// kernel later.
#[test]
fn steps_whose_order_does_not_show_are_not_taken_at_the_same_time() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let [own, files] = [Flags::NEWNS, Flags::FILES].map(Op::Unshare);
    assert_eq!(world.step(0, &Op::Clone(Flags::FILES, 1)).result, Ok(()));
    assert!(world.may_race((1, &own), (0, &Op::Mount)) && world.may_race((0, &files), (1, &files)));
    // Whether its copy has the new mount, a task that is chrooted does not see.
    assert_eq!(world.step(1, &Op::Chroot(Dir::B)).result, Ok(()));
    assert!(!world.may_race((1, &own), (0, &Op::Mount)) && world.may_race((1, &own), (0, &Op::HostName(1))));
    // Both may leave the table that has the lock.
    assert_eq!(world.step(0, &Op::Lock).result, Ok(()));
    assert!(!world.may_race((0, &files), (1, &files)) && world.may_race((0, &files), (1, &Op::Unlock)));
    // A file is opened meanwhile, under a number of the other one's table.
    assert!(!world.may_race((0, &Op::Setns(Ns::Uts, 0)), (1, &Op::Open(20, false))));
}

/// What nobody is in may still count, until the kernel has let go of it: such a call is not drawn.
#[test]
fn limits_count_what_is_certain() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    for op in [Op::Unshare(Flags::NEWUSER), Op::MapSelf, Op::Limit(Flags::NEWUTS, 2)] {
        assert!(world.enabled(0, &op), "{op}");
        assert_eq!(world.step(0, &op).result, Ok(()), "{op}");
    }
    let uts = Op::Unshare(Flags::NEWUTS);
    assert_eq!(world.step(0, &uts).result, Ok(()));
    // A second one, which the first has left when it is there.
    assert!(world.enabled(0, &uts));
    assert_eq!(world.step(0, &uts).result, Ok(()));
    // The first may be gone or not.
    assert!(!world.enabled(0, &uts) && world.enabled(0, &Op::Unshare(Flags::NEWIPC)));
    // Somebody keeps the second.
    assert_eq!(world.step(0, &Op::Clone(Flags::NONE, 1)).result, Ok(()));
    assert!(!world.enabled(0, &uts));
    let none = Op::Limit(Flags::NEWUTS, 1);
    assert_eq!(world.step(0, &none).result, Ok(()));
    assert!(world.enabled(0, &uts));
    assert_eq!(world.step(0, &uts).result, Err(Errno::ENOSPC));
    // The same account, from a user namespace below.
    assert_eq!(world.step(1, &Op::Unshare(Flags::NEWUSER | Flags::NEWUTS)).result, Err(Errno::ENOSPC));
}

#[test]
fn a_record_lock_belongs_to_the_table_of_descriptors() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let mut step = |at, op| world.step(at, &op).result;
    assert_eq!(step(0, Op::Clone(Flags::FILES, 1)), Ok(()));
    assert_eq!([step(0, Op::Lock), step(1, Op::Lock)], [Ok(()), Ok(())]);
    assert_eq!(step(1, Op::Unshare(Flags::FILES)), Ok(()));
    assert_eq!([step(1, Op::Lock), step(0, Op::Lock)], [Err(Errno::EAGAIN), Ok(())]);
    assert_eq!([step(1, Op::Unlock), step(1, Op::Lock)], [Ok(()), Err(Errno::EAGAIN)]);
    assert_eq!([step(0, Op::Unlock), step(1, Op::Lock)], [Ok(()), Ok(())]);
    // Its end takes it along.
    assert_eq!([step(0, Op::Lock), step(1, Op::Exit), step(0, Op::Lock)], [Err(Errno::EAGAIN), Ok(()), Ok(())]);
}

#[test]
fn one_call_is_todays_model() {
    let world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let task = world.task(0).expect("the first task");
    assert_eq!(world.start(task), Start { ..Start::default() });
}

/// What histories of so many steps see of the model, one for each seed.
fn seen(mix: Mix, seeds: std::ops::Range<u64>, steps: usize) -> Visited {
    let mut visited = Visited::default();
    for seed in seeds {
        let mut draw = Draw::new(mix, seed, &facts(), Offers::ALL);
        let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
        for _ in 0..steps {
            let (at, op) = draw.next(&world, &visited);
            visited.note(&world, world.task(at).expect("it is alive"), &op);
            world.step(at, &op);
        }
    }
    visited
}

#[test]
fn walks_see_much_of_the_model() {
    for (mix, name) in Mix::ALL {
        let visited = seen(mix, 0..20, 50);
        assert!(visited.states() > 100 && visited.transitions() > 300, "{name}: {visited:?}");
    }
}

/// Prints how much of the model walks of some lengths see, against a walk of the model alone that is much longer.
#[test]
#[ignore = "measures: cargo test --release -p suite --lib transitions -- --ignored --nocapture"]
fn transitions_that_there_are() {
    let walk = |mix, first: u64, steps: u64| seen(mix, first..first + steps / 40, 40);
    for (mix, name) in Mix::ALL {
        let all = walk(mix, 1 << 32, 200_000);
        println!("{name}: {} states and {} transitions in 200,000 steps", all.states(), all.transitions());
        for steps in [120, 12_000] {
            let some = walk(mix, 0, steps);
            let share = 100.0 * some.shared_with(&all) as f64 / all.transitions() as f64;
            println!("  {steps} steps: {} states, {} transitions, {share:.1} %", some.states(), some.transitions());
        }
    }
}
