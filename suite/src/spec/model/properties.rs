//! What holds of the model in every state and for every set of flags: tried, not sampled, since both
//! are few. Rules meet in pairs: states that differ from a lone root's in two ways are tried with
//! all sets of up to three flags, as are kernels that lack something.

use super::*;

const FEATURES: u64 = 0x7e17_0f80;

/// Kernels that differ in what the model looks at.
const KERNELS: [Kernel; 5] = [
    Kernel::FULL,
    // Before 7.1.
    kernel(0x7e07_0f80, 0x7e07_0f80, false),
    // Debian's switch.
    kernel(FEATURES, FEATURES, true),
    // Nothing but the oldest flags built in.
    kernel(FEATURES, 0x0003_0f00, false),
    // No user namespaces.
    kernel(FEATURES, FEATURES & !0x1000_0000, false),
];

const fn kernel(accepted: u64, effective: u64, user_takes_root: bool) -> Kernel {
    Kernel {
        accepted: Flags(accepted),
        effective: Flags(effective),
        user_takes_root,
        empty_for_all: false,
        unseen: Parts::NONE,
    }
}

/// What makes a state other than a lone root's.
const WAYS: [fn(&mut Start); 14] = [
    |s| s.threads = Threads::Others,
    |s| s.threads = Threads::LeaderGone,
    |s| s.handlers_shared = true,
    |s| s.memory_shared = true,
    |s| (s.sys_admin, s.initial_admin) = (false, false),
    |s| s.initial_admin = false,
    |s| s.chrooted = true,
    |s| s.ids_mapped = false,
    |s| s.children_elsewhere = true,
    |s| s.beyond_nr_open = true,
    |s| s.exhausted |= Flags::NEWUSER,
    |s| s.exhausted |= Flags::NEWNS,
    |s| s.exhausted |= Flags::NEWPID,
    |s| s.exhausted |= Flags::NEWTIME,
];

fn state(ways: &[fn(&mut Start)]) -> Start {
    let mut start = Start::default();
    ways.iter().for_each(|way| way(&mut start));
    start
}

fn simple_states() -> impl Iterator<Item = Start> {
    [Start::default()].into_iter().chain(WAYS.map(|way| state(&[way])))
}

/// Those, and states of two ways.
fn all_states() -> impl Iterator<Item = Start> {
    let pairs = |(at, one)| WAYS[at + 1..].iter().map(move |two| state(&[one, *two]));
    simple_states().chain(WAYS.into_iter().enumerate().flat_map(pairs))
}

fn for_small_sets(mut holds: impl FnMut(&Start, Flags, &Kernel, &Prediction)) {
    let sets: Vec<Flags> = Flags::every_set().filter(|flags| flags.0.count_ones() <= 3).collect();
    for kernel in &KERNELS {
        for start in all_states() {
            for flags in &sets {
                holds(&start, *flags, kernel, &predict(&start, *flags, kernel));
            }
        }
    }
}

fn for_all(mut holds: impl FnMut(&Start, Flags, &Kernel, &Prediction)) {
    let [kernel, ..] = &KERNELS;
    for start in simple_states() {
        for flags in Flags::every_set() {
            holds(&start, flags, kernel, &predict(&start, flags, kernel));
        }
    }
    for_small_sets(holds);
}

#[test]
fn a_refused_call_changes_nothing() {
    for_all(|_, flags, _, prediction| {
        if prediction.result.is_err() {
            let changed = prediction.must_change | prediction.may_change;
            assert_eq!((changed, prediction.separated), (Parts::NONE, Flags::NONE), "{flags}");
        }
    });
}

#[test]
fn an_unknown_bit_spoils_every_call() {
    for kernel in KERNELS {
        for start in all_states() {
            for bit in (0..64).map(|bit| Flags(1 << bit)) {
                if kernel.accepted.contains(bit) {
                    continue;
                }
                for known in [Flags::NONE].into_iter().chain(Flags::KNOWN) {
                    let debian = kernel.user_takes_root && known == Flags::NEWUSER && !start.initial_admin;
                    // Debian's switch alone comes first (ORD-10).
                    let expected = if debian { Errno::EPERM } else { Errno::EINVAL };
                    assert_eq!(predict(&start, known | bit, &kernel).result, Err(expected));
                }
            }
        }
    }
}

#[test]
fn implied_flags_imply_nothing_more() {
    for flags in Flags::every_set() {
        let all = with_implied(flags);
        assert_eq!(with_implied(all), all);
        assert!(all.contains(flags));
        for one in flags.iter() {
            assert!(all.contains(with_implied(one)), "{one} in {flags}");
        }
    }
}

#[test]
fn implied_flags_may_be_written_out() {
    for_all(|start, flags, kernel, prediction| {
        let all = with_implied(flags);
        // IMP-11; a flag that this kernel lacks cannot be implied, and is refused when written out.
        let written_out = predict(start, all, kernel);
        assert_eq!(written_out.result, prediction.result, "{flags}");
        assert_eq!(written_out.must_change, prediction.must_change, "{flags}");
        assert_eq!(written_out.separated, prediction.separated, "{flags}");
    });
}

#[test]
fn more_flags_never_turn_a_refusal_into_success_but_for_the_privilege_of_newuser() {
    for_small_sets(|start, flags, kernel, prediction| {
        let Err(errno) = prediction.result else {
            return;
        };
        for more in Flags::KNOWN {
            if predict(start, flags | more, kernel).result.is_ok() {
                // PRIV-04 is the only exception.
                assert_eq!((more, errno), (Flags::NEWUSER, Errno::EPERM), "{flags} in {start:?}");
                assert!(!start.sys_admin, "{flags} in {start:?}");
            }
        }
    });
}

#[test]
fn newuser_is_refused_only_for_what_is_documented_of_it() {
    for_all(|start, flags, kernel, prediction| {
        if flags.contains(Flags::NEWUSER) || prediction.result.is_err() {
            return;
        }
        let with = predict(start, flags | Flags::NEWUSER, kernel);
        let allowed = match with.result {
            Ok(()) => true,
            Err(Errno::EINVAL) => {
                start.threads != Threads::Alone
                    || !kernel.effective.contains(Flags::NEWUSER)
                    || !kernel.accepted.contains(Flags::NEWUSER)
            }
            Err(Errno::ENOSPC) => start.exhausted.contains(Flags::NEWUSER),
            Err(Errno::EPERM) => {
                start.chrooted || !start.ids_mapped || (kernel.user_takes_root && !start.initial_admin)
            }
            Err(_) => false,
        };
        assert!(allowed, "{flags} in {start:?}: {:?}", with.result);
    });
}

#[test]
fn success_changes_and_separates_what_its_flags_do_one_by_one() {
    for_all(|start, flags, kernel, prediction| {
        if prediction.result.is_err() {
            return;
        }
        let lone = Start::default();
        let parts = flags.iter().map(|flag| predict(&lone, flag, kernel));
        let (must, separated) =
            parts.fold((Parts::NONE, Flags::NONE), |(must, left), one| (must | one.must_change, left | one.separated));
        assert_eq!(prediction.must_change, must, "{flags} in {start:?}");
        assert_eq!(prediction.separated, separated, "{flags} in {start:?}");
    });
}

#[test]
fn a_worse_state_never_helps() {
    let lone = Start::default();
    for_all(|_, flags, kernel, prediction| {
        // Whatever succeeds anywhere succeeds for a lone root.
        if prediction.result.is_ok() {
            assert_eq!(predict(&lone, flags, kernel).result, Ok(()), "{flags}");
        }
    });
}

#[test]
fn no_part_must_change_and_may_change_as_well() {
    for_all(|_, flags, _, prediction| {
        let both = prediction.must_change - (prediction.must_change - prediction.may_change);
        assert_eq!(both, Parts::NONE, "{flags}");
    });
}

#[test]
fn every_expectation_follows_from_a_row_of_the_catalogue() {
    let mut seen = std::collections::BTreeSet::new();
    for_small_sets(|_, flags, _, prediction| {
        seen.insert(prediction.because);
        let changed = prediction.must_change | prediction.may_change;
        let parts = Part::ALL.into_iter().filter(|part| part.is_link()).chain(changed.iter());
        for part in parts.chain([Part::Cwd, Part::Umask, Part::Descriptors]) {
            seen.insert(rows::of_part(part, prediction, flags));
        }
        for shared in [Flags::FS, Flags::FILES, Flags::SYSVSEM, Flags::VM] {
            seen.insert(rows::of_sharing(shared, prediction, flags));
        }
        seen.insert(rows::of_semaphore(prediction, flags));
    });
    for id in seen.into_iter().chain([rows::OF_OTHERS]) {
        assert!(crate::spec::requirements::find(id).is_some(), "{id}");
    }
}
