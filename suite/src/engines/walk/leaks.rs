//! What histories leave behind: the same ones are played again and again, and the kernel's objects counted.
//!
//! Nobody looks at the tasks meanwhile, so that a history takes a fraction of the time; only results are compared. A
//! reference that is not given back, by whichever call of whichever task, shows as objects that grow in number with the
//! times the history was played.

use super::shrink::Shrink;
use super::*;
use crate::engines::leak::{Findings, Held, RELEASE, left_by};
use crate::observe::objects::gauges::{Gauges, is_memory, is_of};
use crate::observe::objects::growth::stays;

/// How many different histories are played, unless the user says how many steps.
fn count(tier: Tier) -> usize {
    match tier {
        Tier::Quick => 4,
        Tier::Full => 8,
        Tier::Exhaustive => 100,
    }
}

/// How often all histories are played for a kind of object to be under suspicion, one time after the other.
const ROUNDS: [u32; 3] = [1, 2, 4];
/// How often a history is played to find out whether it is the one that leaves something, and in the first pair of
/// measurements that prove it.
const TIMES: u32 = 4;
/// How many kinds of objects under suspicion are looked into.
const MOST_KINDS: usize = 3;
/// How long it may take to find and to shrink a history, on real hardware.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long what a history may have left is waited for while one is sought, on real hardware. What is found is measured.
const GLANCE: Duration = Duration::from_millis(100);

/// Caches of which the kernel keeps objects until it needs the memory: dentries, inodes and what these hold (shrinkers),
/// areas of memory that were stacks of tasks (`lazy_max_pages`, mm/vmalloc.c), and what indexes or describes pages.
const KEPT: [&str; 5] = ["dentry", "vmap_area", "radix_tree_node", "buffer_head", "kernfs_node_cache"];

/// Whether the number of objects in a cache means something.
fn is_telling(name: &str) -> bool {
    !is_memory(name) && !name.contains("inode") && !KEPT.iter().any(|kept| is_of(name, kept))
}

/// Draws a history by the model alone.
fn draw(t: &Test, theatre: &Theatre, visited: &mut Visited, number: usize) -> Vec<Step> {
    let (mix, _) = Mix::ALL[number % Mix::ALL.len()];
    let mut draw = Draw::new(mix, t.seed().wrapping_add(number as u64), t.facts(), theatre.offers);
    let mut world = theatre.start.clone();
    let mut steps = Vec::new();
    while steps.len() < STEPS {
        let (at, op) = draw.next(&world, visited);
        if let Some(task) = world.task(at) {
            visited.note(&world, task, &op);
        }
        world.step(at, &op);
        steps.push(Step { at, op, with_next: false });
    }
    steps
}

/// Plays steps without looking at the tasks, up to the first one with another result than the model's, which walks that
/// look report. Gives those before it, once `at_end` was called with all tasks alive that are left.
#[track_caller]
fn play(t: &Test, theatre: &Theatre, steps: &[Step], at_end: impl FnOnce() -> Done) -> Done<Vec<Step>> {
    let stage = Stage::new(t, theatre)?;
    let mut world = theatre.start.clone();
    let mut played = Vec::new();
    for step in steps {
        if !world.enabled(step.at, &step.op) {
            continue;
        }
        let result = stage.take(&world, step.at, &step.op)?;
        let taken = Taken::new(&mut world, step.at, step.op, stage.starved(step.at, &step.op, result));
        if taken.differs(result).is_some() {
            break;
        }
        played.push(*step);
    }
    at_end()?;
    Ok(played)
}

/// Plays each history once, and leaves what it could not be played to. Gives the kinds of objects that there are, and
/// checks that more of them are counted while tasks of histories live: held or left, they look the same.
#[track_caller]
fn rehearse(t: &Test, theatre: &Theatre, gauges: &Gauges, histories: &mut [Vec<Step>]) -> Done<Held> {
    let before = gauges.read(t, None)?;
    let (mut steps, mut held) = (0, BTreeSet::new());
    for (number, history) in histories.iter_mut().enumerate() {
        *history = play(t, theatre, history, || {
            // One of each mix is enough.
            if number < Mix::ALL.len() {
                let during = gauges.read(t, None)?.into_iter();
                held.extend(
                    during.filter(|(name, count)| count > before.get(name).unwrap_or(&0)).map(|(name, _)| name),
                );
            }
            Ok(())
        })?;
        steps += history.len();
    }
    held.retain(|name| is_telling(name));
    t.note(format!("{steps} steps in {} histories hold objects of {} caches", histories.len(), held.len()));
    t.check(Call::seen("the kernel's objects that tasks of histories hold are counted", !held.is_empty())).is(true)?;
    Ok(before.into_iter().filter(|(name, count)| *count > 0 && is_telling(name)).map(|(name, _)| (name, 1.0)).collect())
}

/// Plays histories a number of times, or as often nothing but their beginning.
#[track_caller]
fn play_all(t: &Test, theatre: &Theatre, histories: &[Vec<Step>], (times, with): (u32, bool)) -> Done {
    for history in (0..times).flat_map(|_| histories) {
        play(t, theatre, if with { history } else { &[] }, || Ok(()))?;
    }
    Ok(())
}

/// The kinds of which each round of histories seems to leave an object. Those of one cache's own come first: they say
/// most.
#[track_caller]
fn suspects(
    t: &Test,
    theatre: &Theatre,
    gauges: &Gauges,
    mut open: Held,
    histories: &[Vec<Step>],
) -> Done<Vec<String>> {
    for rounds in ROUNDS {
        let left = left_by(t, gauges, &open, RELEASE, (rounds, true), &|times, with| {
            play_all(t, theatre, histories, (times, with))
        })?;
        open.retain(|name, _| stays(left[name] as f64, rounds));
        if open.is_empty() {
            break;
        }
    }
    let mut names: Vec<String> = open.into_keys().collect();
    names.sort_by_key(|name| name.starts_with("kmalloc"));
    Ok(names)
}

/// The first history that leaves an object of a kind whenever it is played, with the fewest steps that still do.
#[track_caller]
fn find_culprit(
    t: &Test,
    theatre: &Theatre,
    gauges: &Gauges,
    held: &Held,
    histories: &[Vec<Step>],
) -> Done<Option<Vec<Step>>> {
    let leaves_one = |steps: &[Step]| {
        let (taken, history) = (play(t, theatre, steps, || Ok(()))?, [steps.to_vec()]);
        let left = left_by(t, gauges, held, GLANCE, (TIMES, true), &|times, with| {
            play_all(t, theatre, &history, (times, with))
        })?;
        Ok(left.values().all(|left| stays(*left as f64, TIMES)).then_some((taken, ())))
    };
    let mut shrink = Shrink::new(t, PATIENCE, leaves_one);
    for history in histories {
        if let Some(found) = shrink.play(history)? {
            return Ok(Some(shrink.shrink(found)?.0));
        }
    }
    Ok(None)
}

/// Plays histories of all mixes again and again, and checks that they leave nothing. What seems to grow is narrowed down
/// to a few steps, and then measured. `starving`: with calls whose allocations fail.
pub fn leaks(t: &Test, starving: bool) -> Done {
    let theatre = &Theatre::new(t, starving)?;
    let gauges = Gauges::open(t)?;
    let histories = t.steps().map_or(count(t.tier()), |steps| steps.div_ceil(STEPS));
    let mut visited = Visited::default();
    let mut histories: Vec<Vec<Step>> = (0..histories).map(|number| draw(t, theatre, &mut visited, number)).collect();
    let kinds = rehearse(t, theatre, &gauges, &mut histories)?;
    for name in suspects(t, theatre, &gauges, kinds, &histories)?.into_iter().take(MOST_KINDS) {
        let held = Held::from([(name.clone(), 1.0)]);
        let Some(steps) = find_culprit(t, theatre, &gauges, &held, &histories)? else { continue };
        let history = [steps];
        let findings =
            Findings::measure(t, &gauges, &held, TIMES, |times, with| play_all(t, theatre, &history, (times, with)))?;
        if findings.growing().next().is_some() {
            t.note(format!(
                "an object of the cache {name} is left whenever these steps were taken and all tasks ended:"
            ));
            let [steps] = history;
            shrink::tell(t, &steps);
            let id = if starving { "LEAK-03" } else { "LEAK-01" };
            return findings.check(t, "history of these steps", id);
        }
    }
    Ok(())
}
