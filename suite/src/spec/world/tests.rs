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
fn a_call_without_memory_changes_nothing_of_any_task() {
    let starved = Op::Starved(Flags::NEWUSER | Flags::NEWUTS | Flags::FILES, 3);
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    assert_eq!(world.step(0, &Op::Clone(Flags::FILES, 1)).result, Ok(()));
    let (tasks, spaces) = (world.tasks.clone(), world.spaces.clone());
    let Op::Starved(flags, _) = starved else { return };
    assert_eq!(world.starve(0, flags, Errno::ENOMEM), Outcome::new(Err(Errno::ENOMEM), "FI-12"));
    assert_eq!((&world.tasks, &world.spaces), (&tasks, &spaces));
    // Where there is enough memory after all it is the call itself.
    let mut other = world.clone();
    assert_eq!(world.step(0, &starved), other.step(0, &Op::Unshare(flags)));
    assert_eq!((world.tasks, world.spaces), (other.tasks, other.spaces));
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

/// Takes steps of which each must give what is beside it.
fn play(world: &mut World, steps: &[(usize, Op, Result<(), Errno>)]) {
    for (at, op, result) in steps {
        assert!(world.enabled(*at, op), "{op} by {at}");
        assert_eq!(world.step(*at, op).result, *result, "{op} by {at}");
        check(world);
    }
}

/// The place of a text among [`MAPS`].
fn text(text: &str) -> usize {
    MAPS.iter().position(|(known, _)| known.starts_with(text)).expect("there is such a text")
}

#[test]
fn maps_are_written_by_the_parent_once() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let (whole, sorted, swapped) = (text("0 0 65536"), text("20 3 1"), text("0 65534 1"));
    play(
        &mut world,
        &[
            (0, Op::Clone(Flags::NEWUSER, 1), Ok(())),
            (1, Op::Map(swapped, 1), Err(Errno::EPERM)),
            (0, Op::Map(text("0 0 2"), 1), Err(Errno::EINVAL)),
            (0, Op::Map(swapped, 1), Ok(())),
            (0, Op::Map(whole, 1), Err(Errno::EPERM)),
            (1, Op::Clone(Flags::NEWUSER, 2), Ok(())),
            // Of these IDs the parent has two, which are no range; and who is above that is not asked.
            (1, Op::Map(whole, 2), Err(Errno::EPERM)),
            (0, Op::Map(swapped, 2), Err(Errno::EPERM)),
            (1, Op::Map(text("0 65534 1"), 2), Ok(())),
        ],
    );
    let seen = [1, 2].map(|at: usize| world.task(at).map(|task| world.seen(task.user, task.space(Ns::User))));
    // Root is 65534 to the one, and 0 again to the other.
    assert_eq!(seen, [Some(65534), Some(0)]);
    play(&mut world, &[(0, Op::Clone(Flags::NEWUSER, 3), Ok(())), (0, Op::Map(sorted, 3), Ok(()))]);
    let space = world.task(3).map(|task| task.space(Ns::User)).expect("it lives");
    assert_eq!(World::shown_map(world.map_of(space)), "0 0 2 10 10 1 11 65534 1 12 11 1 14 13 1 20 3 1");
}

#[test]
fn setgroups_is_denied_for_ever() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    play(
        &mut world,
        &[
            (0, Op::Clone(Flags::NEWUSER, 1), Ok(())),
            (1, Op::Setgroups(true), Ok(())),
            (1, Op::Setgroups(false), Ok(())),
            (1, Op::Setgroups(true), Err(Errno::EPERM)),
            (0, Op::Clone(Flags::NEWUSER, 2), Ok(())),
            (0, Op::Map(text("0 0 1"), 2), Ok(())),
            (2, Op::Setgroups(true), Ok(())),
            (2, Op::Setgroups(false), Err(Errno::EPERM)),
            (2, Op::DropSysAdmin, Ok(())),
            (2, Op::Setgroups(true), Err(Errno::EACCES)),
        ],
    );
}

#[test]
fn objects_belong_to_their_namespace() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    // They would outlive the history.
    assert!(!world.enabled(0, &Op::Make(Object::Memory)));
    play(
        &mut world,
        &[
            (0, Op::Unshare(Flags::NEWIPC), Ok(())),
            (0, Op::Make(Object::Memory), Ok(())),
            (0, Op::Clone(Flags::NONE, 1), Ok(())),
            (1, Op::Make(Object::Memory), Err(Errno::EEXIST)),
            (1, Op::BecomeNobody, Ok(())),
            (1, Op::Remove(Object::Memory), Err(Errno::EPERM)),
            (0, Op::Unshare(Flags::NEWIPC), Ok(())),
            (0, Op::Remove(Object::Memory), Err(Errno::ENOENT)),
            (0, Op::Set(0, 300), Ok(())),
        ],
    );
    assert_eq!(
        [0, 1].map(|at: usize| world.task(at).and_then(|task| world.settings(task)).map(|all| all[0])),
        [Some(300), Some(SETTINGS[0].default)]
    );
}

#[test]
fn settings_are_those_of_root_of_the_owner() {
    const MAP: usize = 2;
    assert_eq!(MAPS[MAP].0, "0 65534 1\n65534 0 1");
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    play(
        &mut world,
        &[
            (0, Op::Clone(Flags::NEWUSER | Flags::NEWIPC, 1), Ok(())),
            // The namespace has no root yet.
            (1, Op::Set(0, 300), Ok(())),
            (1, Op::Set(NEXT_ID, 301), Ok(())),
            (1, Op::Make(Object::Messages), Ok(())),
            (0, Op::Map(MAP, 1), Ok(())),
            (1, Op::Set(0, 302), Err(Errno::EACCES)),
            // It is root of the namespace by its capabilities, too, for what asks for those.
            (1, Op::Set(NEXT_ID, 303), Ok(())),
            (1, Op::DropAll, Ok(())),
            (1, Op::Set(NEXT_ID, 304), Err(Errno::EACCES)),
            (0, Op::BecomeNobody, Ok(())),
            (0, Op::Unshare(Flags::NEWIPC), Err(Errno::EPERM)),
        ],
    );
    let settings = world.task(1).and_then(|task| world.settings(task)).map(|all| [all[0], all[NEXT_ID]]);
    assert_eq!(settings, Some([300, 303]));
    // Where it was not found out whose they are, nobody asks.
    world.rooted_settings = None;
    assert!(!world.enabled(1, &Op::Set(0, 305)));
}

#[test]
fn who_has_made_a_child_by_vfork_waits() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let child = Op::Clone(VFORK | Flags::VM, 1);
    play(&mut world, &[(0, child, Ok(())), (1, Op::Unshare(Flags::FS), Ok(()))]);
    assert!(!world.enabled(0, &Op::NoNewPrivs) && world.waits_for(1) == Some(0));
    play(&mut world, &[(1, Op::Exit, Ok(())), (0, Op::Reap(1), Ok(())), (0, child, Ok(())), (1, Op::Exec, Ok(()))]);
    assert_eq!(world.waits_for(1), None);
}

#[test]
fn options_of_a_copy_for_another_user_namespace_are_fixed() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let [ro, times] = [Options(1), Options::NOATIME];
    let both = Options(ro.0 | times.0);
    play(
        &mut world,
        &[
            (0, Op::Remount(ro), Ok(())),
            (0, Op::Clone(Flags::NEWUSER | Flags::NEWNS, 1), Ok(())),
            (1, Op::Remount(Options::default()), Err(Errno::EPERM)),
            (1, Op::Remount(both), Err(Errno::EPERM)),
            (1, Op::Remount(Options(ro.0 | 2)), Ok(())),
            (1, Op::Remount(ro), Ok(())),
            (0, Op::Remount(times), Ok(())),
            // Access times stay as they are unless they are named.
            (0, Op::Remount(Options::default()), Ok(())),
        ],
    );
    let options = [0, 1].map(|at: usize| world.task(at).and_then(|task| world.tree(task.space(Ns::Mnt))));
    assert_eq!(
        options.map(|tree| tree.map(|tree| tree.base.options.told())),
        [Some("rw,noatime".to_owned()), Some("ro".to_owned())]
    );
}

#[test]
fn offsets_can_be_written_until_a_task_enters() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    let errors =
        OFFSETS.iter().enumerate().filter_map(|(which, (_, made))| Some((0, Op::Offset(which), Err(made.err()?))));
    let errors: Vec<(usize, Op, Result<(), Errno>)> = errors.collect();
    play(
        &mut world,
        &[(0, Op::Unshare(Flags::NEWTIME), Ok(())), (0, Op::Offset(0), Ok(())), (0, Op::Offset(1), Ok(()))],
    );
    play(&mut world, &errors);
    play(&mut world, &[(0, Op::Clone(Flags::NONE, 1), Ok(())), (0, Op::Offset(0), Err(Errno::EACCES))]);
    assert_eq!([0, 1].map(|at: usize| world.task(at).map(|task| world.clocks(task))), [Some([0, 0]), Some([7, 1000])]);
}

#[test]
fn execve_closes_what_is_to_be_closed() {
    let mut world = World::new(Kernel::FULL, FULL, Flags::NONE);
    play(
        &mut world,
        &[
            (0, Op::Open(20, true), Ok(())),
            (0, Op::Open(300, false), Ok(())),
            (0, Op::NoRoot, Ok(())),
            (0, Op::Clone(Flags::FILES, 1), Ok(())),
            (1, Op::Exec, Ok(())),
        ],
    );
    let tables = [0, 1].map(|at: usize| world.task(at).map(|task| world.files[&task.files].told()));
    assert_eq!(tables, [Some("20 (closing on exec), 300".to_owned()), Some("300".to_owned())]);
    // Root is nobody to it.
    assert_eq!(world.task(1).map(|task| task.caps.effective), Some(0));
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

#[test]
fn what_takes_several_steps_is_drawn() {
    let (mut long_maps, mut refused_settings, mut refused_ids) = (0, 0, 0);
    for seed in 0..100 {
        for (_, _, op, outcome, _) in history(Mix::Users, seed, 40) {
            match op {
                Op::Map(which, _) if MAPS[which].1.len() > 5 => long_maps += usize::from(outcome.result.is_ok()),
                Op::Set(NEXT_ID, _) => refused_ids += usize::from(outcome.result.is_err()),
                Op::Set(..) => refused_settings += usize::from(outcome.result.is_err()),
                _ => {}
            }
        }
    }
    let all = [long_maps, refused_settings, refused_ids];
    assert!(all.iter().all(|times| *times > 5), "long maps, refused settings and IDs: {all:?}");
}
