//! A sweep finds a kernel that lies, says so in the fewest flags, and says nothing of one that does
//! not. The kernel is played by the model itself.

use super::*;
use crate::engines::sweep::sets::sets;

const KERNEL: Kernel = Kernel::FULL;

const IDS: [i32; 3] = [7, 7, 1];

/// A kernel that does what the model says to a task in a state.
struct Honest {
    start: Start,
    sharing: Sharing,
    before: State,
}

impl Honest {
    fn new(start: Start) -> Self {
        let namespaces = [1; 10];
        let before = State { namespaces, ..State::default() };
        Self { start, sharing: Sharing::default(), before }
    }

    fn sharing(start: Start, made_with: Flags) -> Self {
        let sharing = Sharing {
            made_with,
            asked: Flags::VM | Flags::FS | Flags::FILES | Flags::SIGHAND | made_with,
            traceable: Flags::FS | Flags::FILES,
            undo: Undo::None,
        };
        Self { sharing, ..Honest::new(start) }
    }

    fn call(&self, flags: Flags) -> Seen {
        let prediction = predict(&self.start, flags, &KERNEL);
        let mut after = State { ids: IDS, ..self.before };
        for part in prediction.must_change.iter() {
            match part {
                Part::CwdMount => after.cwd.mount += 1,
                Part::RootMount => after.root.mount += 1,
                link => after.namespaces[link as usize] += 1,
            }
        }
        let shared = self.sharing.made_with & !prediction.separated;
        let left = prediction.separated.contains(Flags::SYSVSEM);
        let asked = self.sharing.asked;
        Seen {
            end: End::Exited,
            register: register_of(prediction.result),
            made: 1,
            ids: IDS,
            after,
            shared: (asked != Flags::NONE).then_some(Ok(shared & asked)),
            traces: shared & self.sharing.traceable,
            semaphore: Some(SEMAPHORE - i32::from(!left)),
            semaphore_at_end: Some(SEMAPHORE),
            memory: None,
            sharer: None,
        }
    }

    /// Sweeps a kernel that is this one but for `lie`.
    fn sweep(&self, tier: Tier, mut lie: impl FnMut(Flags, &mut Seen)) -> Findings {
        let judge = Judge { start: &self.start, kernel: &KERNEL, sharing: &self.sharing, before: &self.before };
        let sets = sets(tier, 1, &self.start, &KERNEL, true);
        let found = find(&judge, &sets, &mut |flags| {
            let mut seen = self.call(flags);
            lie(flags, &mut seen);
            Ok(seen)
        });
        found.expect("the call can be made")
    }
}

/// The states that these tests are about.
fn states() -> [Honest; 6] {
    let lone = Start::default();
    let pending = Sharing { undo: Undo::Own, ..Sharing::default() };
    [
        Honest::new(lone),
        Honest::new(Start::unprivileged()),
        Honest::new(Start { children_elsewhere: true, ..lone }),
        Honest { sharing: pending, ..Honest::new(lone) },
        Honest::sharing(lone, Flags::FS),
        Honest::sharing(Start { threads: Threads::Others, ..lone }, Flags::FILES),
    ]
}

fn flags_and_rows(found: &Findings) -> Vec<(Flags, &'static str)> {
    let first = |finding: &Finding| (finding.flags, finding.mismatches[0].requirement);
    found.list.iter().map(first).collect()
}

fn assert_all_are_pairs(found: &Findings, row: &str) {
    assert!(!found.list.is_empty());
    for (flags, requirement) in flags_and_rows(found) {
        assert_eq!((flags.0.count_ones(), requirement), (2, row), "{flags}");
    }
}

#[test]
fn nothing_is_said_of_a_kernel_that_does_what_the_model_says() {
    for state in states() {
        for tier in [Tier::Quick, Tier::Full, Tier::Exhaustive] {
            let found = state.sweep(tier, |_, _| ());
            assert!(found.list.is_empty(), "{:?}", found.list);
            assert_eq!(found.differing, 0);
            assert!(found.compared > 20);
        }
    }
}

#[test]
fn a_failing_call_that_damages_the_place_is_shrunk_to_the_two_flags_that_do_it() {
    let state = Honest::new(Start { children_elsewhere: true, ..Start::default() });
    let found = state.sweep(Tier::Quick, |flags, seen| {
        if seen.register != 0 && flags.contains(Flags::NEWNS) {
            seen.after.cwd.mount += 1;
        }
    });
    for finding in &found.list {
        // Whatever makes it fail is as good as anything else.
        assert!(finding.flags.contains(Flags::NEWNS) && finding.flags.0.count_ones() == 2);
        assert_eq!(finding.mismatches.len(), 1);
    }
    let by_pid = found.list.iter().find(|finding| finding.flags.contains(Flags::NEWPID));
    let mismatch = &by_pid.expect("one of them").mismatches[0];
    assert_eq!(mismatch.requirement, "ATOM-01");
    assert_eq!(mismatch.expected, "EINVAL, no change");
    assert_eq!(mismatch.actual, "EINVAL, and mount ID of the cwd went from 0 to 1");
}

#[test]
fn a_bit_that_is_ignored_is_found_by_itself() {
    for state in states() {
        let found = state.sweep(Tier::Full, |flags, seen| {
            if flags.0 >> 32 != 0 {
                *seen = state.call(Flags(flags.0 & 0xffff_ffff));
            }
        });
        assert!(found.list.iter().any(|finding| finding.flags.0.count_ones() == 1));
        for (flags, row) in flags_and_rows(&found) {
            assert!(flags.0 >> 32 != 0 && flags.0.count_ones() <= 2, "{flags}");
            assert_eq!(row, "ERR-01");
        }
        assert!(found.list.len() <= ENOUGH);
    }
}

#[test]
fn success_without_effect_is_found_for_every_flag() {
    let state = Honest::new(Start::default());
    for ns in [Ns::Mnt, Ns::Uts, Ns::Ipc, Ns::PidForChildren, Ns::Net, Ns::User, Ns::Cgroup] {
        let found = state.sweep(Tier::Quick, |_, seen| {
            seen.after.namespaces[ns as usize] = state.before.namespaces[ns as usize];
        });
        // The mount namespace has two flags.
        let expected = if ns == Ns::Mnt { 2 } else { 1 };
        assert_eq!(found.list.len(), expected, "{ns:?}: {:?}", found.list);
        assert_eq!(found.list[0].flags.0.count_ones(), 1);
        assert_eq!(found.list[0].mismatches[0].requirement, "EFF-GEN-01");
    }
}

#[test]
fn a_pair_that_is_refused_is_found_in_the_quick_tier() {
    let state = Honest::new(Start::default());
    for (at, one) in Flags::KNOWN.into_iter().enumerate() {
        for two in Flags::KNOWN.into_iter().skip(at + 1) {
            let pair = one | two;
            let found = state.sweep(Tier::Quick, |flags, seen| {
                if flags.contains(pair) && seen.register == 0 {
                    *seen = Seen { register: -12, after: State { ids: IDS, ..state.before }, ..seen.clone() };
                }
            });
            let flags: Vec<_> = found.list.iter().map(|finding| finding.flags).collect();
            assert_eq!(flags, [pair]);
            assert_eq!(found.list[0].mismatches[0].actual, "ENOMEM");
        }
    }
}

#[test]
fn privilege_that_is_not_asked_for_is_found() {
    let state = Honest::new(Start::unprivileged());
    let root = Honest::new(Start::default());
    let found = state.sweep(Tier::Quick, |flags, seen| *seen = root.call(flags));
    let rows: Vec<_> = flags_and_rows(&found);
    assert_eq!(rows.len(), ENOUGH);
    assert!(rows.iter().all(|(flags, row)| *row == "ERR-20" && flags.0.count_ones() == 1));
    let mismatches = &found.list[0].mismatches;
    assert_eq!((&*mismatches[0].expected, &*mismatches[0].actual), ("EPERM", "0"));
}

#[test]
fn an_implied_flag_that_is_forgotten_is_found() {
    let state = Honest::sharing(Start::default(), Flags::FS);
    let found = state.sweep(Tier::Quick, |flags, seen| {
        if !flags.contains(Flags::FS) {
            seen.shared = Some(Ok(Flags::FS));
        }
    });
    let mut rows = flags_and_rows(&found);
    rows.sort();
    let expected = [(Flags::NEWNS, "IMP-01"), (Flags::EMPTY, "IMP-02"), (Flags::NEWUSER, "IMP-03")];
    assert_eq!(rows, expected);
}

#[test]
fn a_failing_call_that_separates_is_found() {
    let start = Start { threads: Threads::Others, ..Start::default() };
    let state = Honest::sharing(start, Flags::FILES);
    let found = state.sweep(Tier::Quick, |flags, seen| {
        if seen.register != 0 && flags.contains(Flags::FILES) {
            seen.traces = Flags::NONE;
        }
    });
    assert_all_are_pairs(&found, "ATOM-S2");
}

#[test]
fn adjustments_that_are_applied_by_a_failing_call_are_found() {
    let start = Start { children_elsewhere: true, ..Start::default() };
    let sharing = Sharing { undo: Undo::Own, ..Sharing::default() };
    let state = Honest { sharing, ..Honest::new(start) };
    let found = state.sweep(Tier::Quick, |flags, seen| {
        if seen.register != 0 && flags.contains(Flags::SYSVSEM) {
            seen.semaphore = Some(SEMAPHORE);
        }
    });
    assert_all_are_pairs(&found, "ATOM-S5");
}

#[test]
fn a_call_that_kills_is_found() {
    let state = Honest::new(Start::default());
    let deadly = Flags::NEWNET | Flags::FILES;
    let found = state.sweep(Tier::Quick, |flags, seen| {
        if flags.contains(deadly) {
            seen.end = End::Died("SIGSEGV".to_owned());
        }
    });
    let flags: Vec<_> = found.list.iter().map(|finding| finding.flags).collect();
    assert_eq!(flags, [deadly]);
    assert_eq!(found.list[0].mismatches[0].kind, Kind::Death);
}

#[test]
fn the_first_call_that_hangs_ends_the_sweep() {
    let state = Honest::new(Start::default());
    let mut hung = 0;
    let found = state.sweep(Tier::Full, |flags, seen| {
        if flags.contains(Flags::NEWNET) {
            seen.end = End::Hung;
            hung += 1;
        }
    });
    let [finding] = &found.list[..] else {
        panic!("{:?}", found.list);
    };
    assert!(finding.flags.contains(Flags::NEWNET));
    assert_eq!((finding.mismatches[0].kind, hung), (Kind::Hang, 1));
}

#[test]
fn two_causes_are_told_apart_and_a_flood_is_cut_short() {
    let state = Honest::new(Start::default());
    let found = state.sweep(Tier::Full, |flags, seen| {
        if flags.contains(Flags::NEWUTS | Flags::NEWNET) {
            seen.register = -12;
        } else if flags.contains(Flags::FILES) {
            seen.after.umask = 0o77;
        }
    });
    let flags: Vec<_> = found.list.iter().map(|finding| finding.flags).collect();
    assert!(flags.contains(&(Flags::NEWUTS | Flags::NEWNET)), "{flags:?}");
    assert!(flags.contains(&Flags::FILES), "{flags:?}");

    let mut answers = 0;
    let found = state.sweep(Tier::Full, |_, seen| {
        answers += 1;
        seen.register = -1000 - answers;
    });
    assert_eq!(found.list.len(), ENOUGH);
    assert_eq!(found.differing, found.compared);
    assert!(found.unexplained > 0);
}
