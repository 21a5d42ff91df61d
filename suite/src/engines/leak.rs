//! What calls leave behind: batches of ever more calls, and the number of the kernel's objects after each.

use crate::observe::objects::gauges::{Gauges, Reading, is_memory};
use crate::observe::objects::growth::{Finding, GROWING, Pair, STEADY, judge, may_grow, stays};
use crate::observe::objects::late_free;
use crate::spec::prelude::*;

/// What a case needs that counts the kernel's objects.
pub const NEEDS: Needs =
    Needs::ROOT.with(feature::OBJECT_COUNTS).with(feature::INITIAL_ROOT).disturbing(global::SLAB_CACHES).alone();

/// How long the kernel mostly takes at most to let go of what nobody uses any more (RULE-05), on real hardware.
pub const RELEASE: Duration = Duration::from_secs(1);

/// How long it may take in the worst case, on real hardware, where [`late_free`] cannot hurry it. Only what seems to
/// leak is waited for that long.
const LATEST: Duration = Duration::from_secs(12);

/// How many calls more are made for the kernel to let go of what it put aside: since 6.12 it frees a network
/// namespace when the next one goes.
const NUDGES: u32 = 2;

/// How many pairs a kind of object gets that shows neither nothing nor growth.
const ENOUGH_PAIRS: usize = STEADY + 2;
/// How many the others get.
const MOST_PAIRS: usize = ENOUGH_PAIRS + GROWING;

/// The kinds of objects that a call holds, with how much of each.
pub type Held = BTreeMap<String, f64>;

/// By how much a gauge has grown.
pub fn gain(before: &Reading, after: &Reading, name: &str) -> i64 {
    after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0)
}

/// How much a unit of growth is: an object, or what a call holds of memory.
fn unit(name: &str, held: f64) -> f64 {
    if is_memory(name) { held } else { 1.0 }
}

/// Measures what is left by a batch of calls, once the kernel had the time to let go of it: so long on real hardware.
#[track_caller]
pub fn left_by(
    t: &Test,
    gauges: &Gauges,
    held: &Held,
    release: Duration,
    (calls, with): (u32, bool),
    batch: &impl Fn(u32, bool) -> Done,
) -> Done<Reading> {
    let names: Vec<String> = held.keys().cloned().collect();
    let before = gauges.read(t, Some(&names))?;
    batch(calls, with)?;
    let mut left = Reading::new();
    // Only what remains is counted again: it takes a cache's processors to count it.
    let mut remaining = names;
    let mut nudges = 0;
    let mut limit = t.time_limit(release);
    let mut pause = Duration::from_micros(500);
    loop {
        let after = gauges.read(t, Some(&remaining))?;
        left.extend(remaining.iter().map(|name| (name.clone(), gain(&before, &after, name))));
        remaining.retain(|name| is_memory(name) || 4 * left[name] >= i64::from(calls));
        if remaining.iter().all(|name| is_memory(name)) || !limit.pause(pause) {
            return Ok(left);
        }
        if nudges < NUDGES && pause > Duration::from_millis(10) {
            nudges += 1;
            batch(1, true)?;
            t.setup(Call::new("have collected objects freed", late_free::hurry()))?;
        }
        pause = (2 * pause).min(Duration::from_millis(50));
    }
}

/// Waits until of what seemed to grow by so many calls nothing is left, or the kernel had all the time that it may
/// take, and says of which kinds something stays.
#[track_caller]
fn staying<'a>(
    t: &Test,
    gauges: &Gauges,
    held: &Held,
    (start, calls): (&Reading, u32),
    mut growing: Vec<&'a String>,
) -> Done<Vec<&'a String>> {
    let mut limit = t.time_limit(LATEST);
    loop {
        let names: Vec<String> = growing.iter().copied().cloned().collect();
        let now = gauges.read(t, Some(&names))?;
        growing.retain(|name| stays(gain(start, &now, name) as f64 / unit(name, held[*name]), calls));
        if growing.is_empty() || !limit.pause(Duration::from_millis(100)) {
            return Ok(growing);
        }
    }
}

/// What batches of ever more calls have shown.
pub struct Findings<'h> {
    held: &'h Held,
    pairs: BTreeMap<&'h String, Vec<Pair>>,
    /// Kinds of which the pairs say neither.
    open: Vec<&'h String>,
    /// Kinds that seemed to grow, and were only freed late.
    late: BTreeSet<&'h String>,
}

impl<'h> Findings<'h> {
    /// Has batches of ever more calls made until it is clear of each kind of object whether calls leave one. `batch`
    /// makes so many calls, or does all the same without them; the first pair of measurements is of `first` calls.
    #[track_caller]
    pub fn measure(
        t: &Test,
        gauges: &Gauges,
        held: &'h Held,
        first: u32,
        batch: impl Fn(u32, bool) -> Done,
    ) -> Done<Self> {
        let mut random = fastrand::Rng::with_seed(t.seed());
        let open = held.keys().collect();
        let mut findings = Findings { held, pairs: BTreeMap::new(), open, late: BTreeSet::new() };
        let mut made = 0;
        // What is allocated once and stays is allocated here.
        batch(1, true)?;
        let names: Vec<String> = held.keys().cloned().collect();
        let start = gauges.read(t, Some(&names))?;
        for stage in 0..MOST_PAIRS {
            let calls = first << stage;
            made += calls;
            let measure = |with| left_by(t, gauges, held, RELEASE, (calls, with), &batch);
            // In either order: what one leaves to be freed later, the other would seem to gain.
            let (with, without) = if random.bool() {
                let with = measure(true)?;
                (with, measure(false)?)
            } else {
                let without = measure(false)?;
                (measure(true)?, without)
            };
            for (name, held) in held {
                let unit = unit(name, *held);
                findings.pairs.entry(name).or_default().push(Pair {
                    calls,
                    with: with[name] as f64 / unit,
                    without: without[name] as f64 / unit,
                });
            }
            let Findings { pairs, open, late, .. } = &mut findings;
            open.retain(|name| judge(&pairs[*name]) == Finding::Unclear);
            let grows = |name: &&String| !late.contains(name) && matches!(judge(&pairs[*name]), Finding::Grows(_));
            let growing: Vec<&String> = held.keys().filter(grows).collect();
            if !growing.is_empty() {
                let staying = staying(t, gauges, held, (&start, made), growing.clone())?;
                late.extend(growing.into_iter().filter(|name| !staying.contains(name)));
                if !staying.is_empty() {
                    break;
                }
            }
            let enough = |name: &&String| match (is_memory(name), stage + 1 >= ENOUGH_PAIRS) {
                // Memory comes in pages and is everybody's: it takes many calls to say something of it.
                (true, _) if t.tier() < Tier::Exhaustive => true,
                (_, enough) => enough && !may_grow(&pairs[*name]),
            };
            if open.iter().all(enough) {
                break;
            }
        }
        Ok(findings)
    }

    /// What was found of a kind.
    fn of(&self, name: &String) -> Finding {
        if self.late.contains(name) { Finding::Steady } else { judge(&self.pairs[name]) }
    }

    /// The kinds that grow.
    pub fn growing(&self) -> impl Iterator<Item = &'h String> {
        self.held.keys().filter(|name| matches!(self.of(name), Finding::Grows(_)))
    }

    /// Checks each kind that could be judged: nothing may be left per `what`. Notes the others.
    ///
    /// # Errors
    /// Skips the case if that was none.
    #[track_caller]
    pub fn check(&self, t: &Test, what: &str, id: &'static str) -> Done {
        let told = |name: &String| {
            let shown: Vec<String> = self.pairs[name].iter().map(Pair::to_string).collect();
            format!("{name} {}", shown.join(", "))
        };
        let mut seen = 0;
        for (name, held) in self.held {
            let text = if is_memory(name) {
                format!("memory ({name}, in {held:.0} KiB that one call holds) left per {what}")
            } else {
                format!("objects of the cache {name} left per {what}")
            };
            match self.of(name) {
                Finding::Unclear => {}
                Finding::Steady => {
                    seen += usize::from(!is_memory(name));
                    t.check(Call::seen(text, 0.0)).proves(id).is(0.0)?;
                }
                Finding::Grows(per_call) => {
                    t.note(format!("left: {}", told(name)));
                    t.check(Call::seen(text, (per_call * 10.0).round() / 10.0)).proves(id).is(0.0)?;
                }
            }
        }
        let unclear: Vec<&str> = self.open.iter().map(|name| name.as_str()).collect();
        if !unclear.is_empty() {
            t.note(format!("not judged, others allocate and free too much: {}", unclear.join(", ")));
        }
        if seen == 0 {
            return Err(t.skip(
                "other processes allocate and free so much that no count of the kernel's objects says anything: \
                 run it on a quieter machine, or in a guest (--kernel …)",
            ));
        }
        Ok(())
    }
}
