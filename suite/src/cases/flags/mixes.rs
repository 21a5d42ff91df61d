//! Flags together: valid ones in pairs and all at once, and valid ones with invalid bits (FLAG-46, FLAG-48, FLAG-49
//! and FLAG-51 of the behaviour catalogue, section 1.2).
//!
//! The 2006 document knew four flags and tried them all together; the fifteen of today make 105 pairs. That an
//! unknown bit spoils the whole call with EINVAL, so that old kernels refuse new flags, holds as it did (DIFF-15),
//! though one bit that was refused before 7.1 has a meaning since.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (EINVAL) and 8 (1); unshare(2), ERRORS";

/// Every flag that some kernel accepts.
fn every() -> Flags {
    Flags::KNOWN.into_iter().fold(Flags::NONE, |all, flag| all | flag)
}

fn pairs() -> Vec<Variant> {
    let known = Flags::KNOWN;
    known
        .into_iter()
        .enumerate()
        .flat_map(|(at, first)| known.into_iter().skip(at + 1).map(move |second| (first, second)))
        .map(|(first, second)| {
            let both = first | second;
            if both.contains(Flags::EMPTY) { for_flags(both).proving(["FLAG-48", "FLAG-20"]) } else { for_flags(both) }
        })
        .collect()
}

case!(Case {
    name: "flags.pair",
    about: "Two valid flags in one call, as root and alone, succeed and do what both name, no more and no less; \
            beside a sharer each leaves just what it names.",
    proves: &["FLAG-48"],
    needs: Needs::ROOT,
    // The sweeps have every pair in the quick tier, too.
    from: Tier::Full,
    variants: pairs,
    run: |t| {
        let both = t.param::<Flags>();
        t.in_child(|t| t.unshare(both).proving("FLAG-48").as_predicted())?;
        let sibling = Sibling::start(t, SHARED)?;
        let prediction = t.unshare(both).proving("FLAG-48").prediction()?;
        sibling.check(t, prediction.separated, "FLAG-48")
    }
});

case!(Case {
    name: "flags.all_valid",
    about: "All flags that the kernel accepts, in one call as root, succeed and do what all of them name; with \
            CLONE_NEWTIME and UNSHARE_EMPTY_MNTNS, and without.",
    proves: &["FLAG-46"],
    needs: Needs::ROOT,
    variants: || {
        let old = every() & !Flags::NEWTIME & !Flags::EMPTY;
        let named =
            |name: &str, flags: Flags| Variant::new(name, flags).needing(Needs::NONE.with(feature::CREATE_USER_NS));
        vec![
            named("before_newtime", old),
            named("before_empty_mntns", every() & !Flags::EMPTY),
            named("every", every()),
            Variant::new("without_newuser", old & !Flags::NEWUSER),
        ]
    },
    run: |t| {
        let sibling = Sibling::start(t, SHARED)?;
        let prediction = t.unshare(t.param::<Flags>()).prediction()?;
        sibling.check(t, prediction.separated, "FLAG-46")
    }
});

case!(Case {
    name: "flags.valid_and_invalid",
    about: "A valid flag with any one invalid bit, low or high, gives EINVAL, and no part of the call is carried \
            out: nothing changes, and cwd, umask, root, descriptors and undo list stay shared with a sibling.",
    proves: &["FLAG-49", "ERR-01"],
    quick: one_in(4, 2),
    variants: || variants::of_flags(Flags::KNOWN),
    run: |t| {
        let valid = t.param::<Flags>();
        let kernel = Kernel::of(t.facts());
        let sibling = Sibling::start(t, SHARED)?;
        for bit in Flags::each_bit() {
            if kernel.accepted.contains(bit) {
                continue;
            }
            t.unshare(valid | bit).proving("FLAG-49").as_predicted()?;
        }
        // What a call separates stays separate: one look at the end, which is expensive, is enough.
        sibling.check(t, Flags::NONE, "FLAG-49")
    }
});

/// Text in which a mask reads as in a header.
#[derive(PartialEq, Eq)]
struct Mask(u64);

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

case!(Case {
    name: "flags.mask",
    about: "The bits that an unprivileged caller is not refused with EINVAL are those of the kernel's version: \
            0x7e070f80 since 5.6, 0x7e170f80 since 7.1.",
    proves: &["FLAG-51", "FLAG-53", "DIFF-01", "DIFF-15"],
    run: |t| {
        become_unprivileged(t)?;
        let kernel = Kernel::of(t.facts());
        let expected = Flags::each_bit()
            .filter(|bit| predict(&Start::unprivileged(), *bit, &kernel).result != Err(Errno::EINVAL))
            .fold(Flags::NONE, |mask, bit| mask | bit);
        // All in one task: a flag that succeeds here leaves it as alone as it was, but for the user namespace, which
        // therefore comes last.
        let mut mask = Flags::NONE;
        for bit in Flags::each_bit().filter(|bit| *bit != Flags::NEWUSER).chain([Flags::NEWUSER]) {
            let call = unshare(bit);
            if call.result().err() != Some(Failure::Errno(Errno::EINVAL)) {
                mask |= bit;
            }
        }
        t.check(Call::seen("bits that are not refused with EINVAL", Mask(mask.0))).is(Mask(expected.0))
    }
});

case!(Case {
    name: "flags.random",
    about: "Random sets of flags, drawn from the seed, each in a task of its own beside a sharer, have the result \
            and the whole state that the model predicts, so that no undocumented errno comes.",
    proves: &["RET-05", "FLAG-48"],
    needs: Needs::ROOT.with(feature::CREATE_USER_NS),
    deadline: Duration::from_secs(120),
    run: |t| {
        let sets = match t.tier() {
            Tier::Quick => 16,
            Tier::Full => 128,
            Tier::Exhaustive => 4096,
        };
        // Made here, so that it is the same one in every task.
        t.directory()?;
        let unknown: Vec<Flags> = Flags::each_bit().filter(|bit| !every().contains(*bit)).collect();
        let mut random = fastrand::Rng::with_seed(t.seed());
        for _ in 0..sets {
            let mut flags = Flags(random.u64(..)) & every();
            // Most sets are valid; some have one bit that no kernel accepts.
            if random.u8(..8) == 0 {
                flags |= unknown[random.usize(..unknown.len())];
            }
            t.in_child(|t| {
                let sibling = Sibling::start(t, SHARED)?;
                let prediction = t.unshare(flags).proving("RET-05").prediction()?;
                sibling.check(t, prediction.separated, "RET-05")
            })?;
        }
        Ok(())
    }
});
