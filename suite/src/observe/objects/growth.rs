//! Whether something grows with the number of calls, by a sequence of measurements on a machine
//! that does other things, too.
//!
//! One threshold would not do: what other processes allocate meanwhile may be more than a leak, and
//! is no leak. Each measurement is a pair: what was gained by a number of calls, and by doing all the
//! same without the calls. From pair to pair the number of calls doubles, so that a leak doubles and
//! noise does not. The question is answered as soon as several pairs in a row say the same.

use std::fmt;

/// A pair of measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The number of calls.
    pub calls: u32,
    /// What was gained, in units of what one leaking call would leave at least.
    pub with: f64,
    /// What was gained without the calls.
    pub without: f64,
}

impl Pair {
    /// What each call left.
    pub fn per_call(&self) -> f64 {
        (self.with - self.without) / f64::from(self.calls)
    }
}

/// What pairs say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// Nothing grows with the number of calls.
    Steady,
    /// Each call leaves so much.
    Grows(f64),
    /// Undecided so far: more calls are needed.
    Unclear,
}

/// How many pairs in a row must show next to nothing.
pub const STEADY: usize = 3;
/// How many in a row must show growth. Each of them compares twice the calls of the one before, so
/// the last has 32 times as many as the first: noise that is taken for growth would have had to
/// double five times in step with them.
pub const GROWING: usize = 6;

/// How many pairs in a row that agree to the object are enough: each with the same whole number of objects per call, and
/// none without the calls. Nobody else allocates here, and noise would have had to double, too.
const EXACT: usize = 4;

/// The smallest growth per call that counts. Objects come whole, but for what noise takes away. It is
/// above a half: what is freed a measurement late is gained by half, since the next has twice the calls.
const LEAST: f64 = 0.6;

/// What is next to nothing, per call.
const NOTHING: f64 = 0.35;

/// Whether the last pairs look like growth, so that more of them are worth their time.
pub fn may_grow(pairs: &[Pair]) -> bool {
    let last = &pairs[pairs.len().saturating_sub(2)..];
    last.iter().all(|pair| pair.per_call() >= LEAST)
}

/// Judges pairs in the order in which they were measured.
pub fn judge(pairs: &[Pair]) -> Finding {
    let last = |count: usize| pairs.len().checked_sub(count).map(|from| &pairs[from..]);
    if last(STEADY).is_some_and(|pairs| pairs.iter().all(|pair| pair.per_call().abs() < NOTHING)) {
        return Finding::Steady;
    }
    if let Some(pairs) = last(EXACT) {
        let per_call = pairs[0].per_call();
        let agrees = |pair: &Pair| pair.without == 0.0 && pair.with == per_call * f64::from(pair.calls);
        if per_call >= 1.0 && per_call.fract() == 0.0 && pairs.iter().all(agrees) {
            return Finding::Grows(per_call);
        }
    }
    let Some(pairs) = last(GROWING) else {
        return Finding::Unclear;
    };
    let mut growth: Vec<f64> = pairs.iter().map(Pair::per_call).collect();
    growth.sort_by(f64::total_cmp);
    let (least, median, most) = (growth[0], growth[GROWING / 2], growth[GROWING - 1]);
    // What one call leaves every call leaves: noise of about the size of one measurement is far from
    // that of another.
    if least >= LEAST && most <= 2.0 * least.max(1.0) { Finding::Grows(median) } else { Finding::Unclear }
}

/// Whether of all that so many calls seemed to leave, so much is left for good. Either all of it is, or
/// nothing: half of it tells one from the other, whatever others allocated meanwhile.
pub fn stays(left: f64, calls: u32) -> bool {
    left >= f64::from(calls) / 2.0
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} by {} calls ({:.0} without)", self.with, self.calls, self.without)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Measures as a case does, until there is an answer, on a machine where this comes on top of
    /// each measurement.
    fn measure(leak: f64, first: u32, seed: u64, noise: impl Fn(&mut fastrand::Rng) -> f64) -> Finding {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut noise = || noise(&mut random);
        let mut pairs = Vec::new();
        for stage in 0..20 {
            let calls = first << stage;
            pairs.push(Pair { calls, with: leak * f64::from(calls) + noise(), without: noise() });
            match judge(&pairs) {
                Finding::Unclear => {}
                finding => return finding,
            }
        }
        Finding::Unclear
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Noise of any size, even far above what is looked for, is never taken for a leak.
        #[test]
        fn noise_never_fails(seed: u64, first in 4u32..64, size in 0.0..5000f64) {
            let finding = measure(0.0, first, seed, |random| (random.f64() - 0.5) * size);
            prop_assert_eq!(finding, Finding::Steady);
        }

        /// Nor is noise that comes in rare, large pieces.
        #[test]
        fn bursts_never_fail(seed: u64, first in 4u32..64, size in 0.0..5000f64) {
            let burst = |random: &mut fastrand::Rng| if random.u32(..4) == 0 { size * random.f64() } else { 0.0 };
            let finding = measure(0.0, first, seed, burst);
            prop_assert!(!matches!(finding, Finding::Grows(_)), "{:?}", finding);
        }

        /// Nor a machine on which everything grows all the time: it does so without the calls, too.
        #[test]
        fn growth_of_others_never_fails(seed: u64, first in 4u32..64, speed in 0.0..500f64) {
            let finding = measure(0.0, first, seed, |random| speed * (0.9 + 0.2 * random.f64()));
            prop_assert!(!matches!(finding, Finding::Grows(_)), "{:?}", finding);
        }

        /// One object per call, or a few, always shows, with as much noise as that.
        #[test]
        fn a_leak_always_fails(seed: u64, first in 4u32..64, leak in 1u32..6, size in 0.0..1f64) {
            let size = size * f64::from(first * leak) / 4.0;
            let finding = measure(f64::from(leak), first, seed, |random| (random.f64() - 0.5) * size);
            let Finding::Grows(per_call) = finding else { return Err(TestCaseError::fail(format!("{finding:?}"))) };
            prop_assert!((per_call - f64::from(leak)).abs() < 0.5);
        }
    }

    #[test]
    fn noise_far_above_a_leak_hardly_ever_hides_it() {
        let grows = |seed| matches!(measure(1.0, 8, seed, |random| (random.f64() - 0.5) * 100.0), Finding::Grows(_));
        let hidden = (0..10_000).filter(|seed| !grows(*seed)).count();
        assert!(hidden < 100, "{hidden} of 10000");
    }

    #[test]
    fn three_pairs_are_enough_where_nothing_happens() {
        let pair = |calls| Pair { calls, with: 1.0, without: 0.0 };
        assert_eq!(judge(&[pair(4), pair(8)]), Finding::Unclear);
        assert_eq!(judge(&[pair(4), pair(8), pair(16)]), Finding::Steady);
    }

    #[test]
    fn four_pairs_that_agree_to_the_object_are_enough() {
        let pair = |calls, with: u32| Pair { calls, with: with.into(), without: 0.0 };
        let exact = [pair(1, 3), pair(2, 6), pair(4, 12), pair(8, 24)];
        assert_eq!(judge(&exact), Finding::Grows(3.0));
        assert_eq!(judge(&exact[..3]), Finding::Unclear);
        assert_eq!(judge(&[exact[0], exact[1], exact[2], pair(8, 25)]), Finding::Unclear);
        let beside_others = Pair { without: 1.0, ..pair(8, 24) };
        assert_eq!(judge(&[exact[0], exact[1], exact[2], beside_others]), Finding::Unclear);
    }

    #[test]
    fn what_is_freed_in_the_end_does_not_stay() {
        // Two calls by others, none of 504 left; all of 504 left, but for what others freed meanwhile.
        assert!(!stays(2.0, 504));
        assert!(stays(504.0 - 120.0, 504));
    }

    #[test]
    fn growth_that_does_not_double_is_none() {
        let pairs: Vec<_> = [4, 8, 16, 32, 64, 128].map(|calls| Pair { calls, with: 128.0, without: 0.0 }).into();
        assert_eq!(judge(&pairs), Finding::Unclear);
    }
}
