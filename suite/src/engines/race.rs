//! Races between a few tasks: they meet at a barrier, begin together, and afterwards everything must
//! be as one of the possible orders would have left it.
//!
//! A race has no time in it. Who is first is left to chance and to delays drawn from the seed, a
//! check accepts every outcome that some order allows, and nothing else.

use crate::prelude::*;

pub use crate::tasks::barrier::{Barrier, WORDS};

/// Races take well below a second; this is for the many rounds of the highest tier.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// From which weight on the quick tier is content with one round: so much happens in each.
const HEAVY: u32 = 16;

/// How many rounds a tier has. Rounds in which much happens cost as many of the others as `weight`
/// says.
pub fn rounds(tier: Tier, weight: u32) -> u32 {
    let (light, least) = match tier {
        Tier::Quick => (6, if weight < HEAVY { 2 } else { 1 }),
        Tier::Full => (80, 3),
        Tier::Exhaustive => (4000, 3),
    };
    (light / weight).max(least)
}

/// Plays the rounds of a race. Each gets random numbers of the case's seed and a cleared barrier, and
/// says how it ended; how often it ended how is noted.
///
/// # Errors
/// A round showed what a conforming kernel does not do.
pub fn play(
    t: &Test,
    weight: u32,
    mut round: impl FnMut(&mut fastrand::Rng, &'static Barrier) -> Done<&'static str>,
) -> Done {
    let barrier = Barrier::new(t)?;
    let mut random = fastrand::Rng::with_seed(t.seed());
    let mut endings = BTreeMap::<_, u32>::new();
    for number in 0..rounds(t.tier(), weight) {
        let seed = t.run_seed();
        t.name_task(format!("round {number}, repeat with --seed {seed}"));
        barrier.clear();
        *endings.entry(round(&mut random, barrier)?).or_default() += 1;
    }
    let endings: Vec<_> = endings.iter().map(|(how, n)| format!("{n} {how}")).collect();
    t.note(format!("rounds: {}", endings.join(", ")));
    Ok(())
}

/// A delay after the start, in steps of the processor's: mostly short, so that calls meet.
pub fn delay(random: &mut fastrand::Rng) -> u32 {
    let most = 1 << random.u32(4..14);
    random.u32(..most)
}
