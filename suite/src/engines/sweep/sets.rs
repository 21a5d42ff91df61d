//! Which sets of flags a tier tries in a state.

use std::collections::HashSet;

use crate::prelude::*;

/// The sets to try, without repetition, in an order that only the arguments decide. Each tier has
/// all of the one before it. `each_alone` asks for every flag by itself in the quick tier, too: where
/// what one flag implies could be another one's doing.
pub fn sets(tier: Tier, seed: u64, start: &Start, kernel: &Kernel, each_alone: bool) -> Vec<Flags> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sets = quick(&mut random, start, kernel);
    if each_alone || tier >= Tier::Full {
        sets.extend(Flags::KNOWN);
    }
    if tier >= Tier::Full {
        sets.extend(unknown_bits());
        for _ in 0..FULL {
            sets.push(draw(&mut random));
        }
        for _ in 0..FULL / 16 {
            sets.push(draw(&mut random) | draw_unknown(&mut random));
        }
    }
    if tier == Tier::Exhaustive {
        sets.extend(Flags::every_set());
        let known = || [Flags::NONE].into_iter().chain(Flags::KNOWN);
        sets.extend(unknown_bits().flat_map(|bit| known().map(move |flag| bit | flag)));
    }
    let mut seen = HashSet::new();
    sets.retain(|flags| seen.insert(*flags));
    sets
}

/// How many sets the full tier draws.
const FULL: usize = 2048;

/// How many sets the quick tier draws with a bit that no kernel accepts.
const QUICK_UNKNOWN: usize = 2;

fn quick(random: &mut fastrand::Rng, start: &Start, kernel: &Kernel) -> Vec<Flags> {
    let all = every_flag();
    let mut sets = vec![Flags::NONE];
    sets.extend(covering(start, kernel));
    sets.extend([all & kernel.accepted, all]);
    for _ in 0..QUICK_UNKNOWN {
        // With nothing else to be refused for.
        let harmless = draw(random).iter().fold(Flags::NONE, |set, flag| {
            let wider = set | flag;
            let succeeds = predict(start, wider, kernel).result.is_ok();
            if succeeds { wider } else { set }
        });
        sets.push(harmless | draw_unknown(random));
    }
    sets
}

fn every_flag() -> Flags {
    Flags::KNOWN.into_iter().collect()
}

/// The bits of the argument that are no known flag.
fn unknown_bits() -> impl Iterator<Item = Flags> {
    let known = every_flag();
    Flags::each_bit().filter(move |bit| !known.contains(*bit))
}

fn draw_unknown(random: &mut fastrand::Rng) -> Flags {
    let bits: Vec<Flags> = unknown_bits().collect();
    bits[random.usize(..bits.len())]
}

/// A set with half of the flags or a quarter: in most states a large one is refused for the first
/// flag that is, and hides what the others do.
fn draw(random: &mut fastrand::Rng) -> Flags {
    let half = Flags(random.u64(..));
    let sparse = random.bool();
    let other = if sparse { Flags(random.u64(..)) } else { half };
    let left_out = if random.u8(..4) == 0 { Flags::NONE } else { Flags::NEWNET };
    half & other & every_flag() & !left_out
}

/// No more flags than this in a set that covers pairs, so that one of them hides few others.
const WIDTH: u32 = 8;

/// Sets in which each flag is at least once, and each pair of flags together, with the result that
/// the model gives for the flag or the pair alone: what succeeds is in a set that does, and what is
/// refused is not covered by a set that is refused for something else.
fn covering(start: &Start, kernel: &Kernel) -> Vec<Flags> {
    let result = |flags| predict(start, flags, kernel).result;
    // Each with its result: to ask the model each time would take longer than the calls.
    let mut open: Vec<_> = pairs().chain(Flags::KNOWN).map(|few| (few, result(few))).collect();
    let mut sets = Vec::new();
    while let Some(&(few, wanted)) = open.first() {
        let covers = |set: Flags, (few, given): (Flags, Result<(), Errno>)| given == wanted && set.contains(few);
        let count = |set: Flags| open.iter().filter(|few| covers(set, **few)).count();
        let mut set = few;
        while set.0.count_ones() < WIDTH {
            let wider = Flags::KNOWN.into_iter().map(|flag| set | flag).filter(|wider| result(*wider) == wanted);
            match wider.map(|wider| (count(wider), wider)).max_by_key(|(count, _)| *count) {
                Some((more, wider)) if more > count(set) => set = wider,
                _ => break,
            }
        }
        open.retain(|few| !covers(set, *few));
        sets.push(set);
    }
    sets
}

fn pairs() -> impl Iterator<Item = Flags> {
    let known = Flags::KNOWN.into_iter().enumerate();
    known.flat_map(|(at, one)| Flags::KNOWN.into_iter().skip(at + 1).map(move |two| one | two))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Kernel = Kernel::FULL;

    fn states() -> Vec<Start> {
        let lone = Start::default();
        vec![
            lone,
            Start::unprivileged(),
            Start { threads: Threads::Others, ..lone },
            Start { children_elsewhere: true, ..lone },
            Start { exhausted: Flags::NEWUTS, chrooted: true, ..lone },
        ]
    }

    #[test]
    fn quick_has_every_flag_and_every_pair_with_its_own_result() {
        for start in states() {
            let sets = sets(Tier::Quick, 1, &start, &KERNEL, false);
            let result = |flags| predict(&start, flags, &KERNEL).result;
            for few in pairs().chain(Flags::KNOWN) {
                let covered = sets.iter().any(|set| set.contains(few) && result(*set) == result(few));
                assert!(covered, "{few} in {start:?}");
            }
            assert!(sets.len() < 30, "{} sets in {start:?}", sets.len());
        }
    }

    #[test]
    fn each_tier_has_all_of_the_one_before() {
        let start = Start::default();
        let [quick, full, exhaustive] =
            [Tier::Quick, Tier::Full, Tier::Exhaustive].map(|tier| sets(tier, 1, &start, &KERNEL, false));
        assert!(quick.iter().all(|set| full.contains(set)));
        assert!((1500..3000).contains(&full.len()), "{}", full.len());
        let exhaustive: HashSet<_> = exhaustive.into_iter().collect();
        assert!(full.iter().filter(|set| set.0 & !0x7e17_0f80 == 0).all(|set| exhaustive.contains(set)));
        assert!(Flags::every_set().all(|set| exhaustive.contains(&set)));
        for bit in Flags::each_bit() {
            assert!(exhaustive.contains(&bit));
            assert!(Flags::KNOWN.into_iter().all(|flag| exhaustive.contains(&(bit | flag))));
        }
    }

    #[test]
    fn a_seed_gives_the_same_sets() {
        let start = Start::default();
        let of = |seed| sets(Tier::Full, seed, &start, &KERNEL, false);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}
