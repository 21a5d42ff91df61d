//! Random histories of several tasks against the model of a world: what nobody thought of.

use crate::engines::walk::{leaks, walk, walk_starving};
use crate::engines::{fail_nth, leak};
use crate::prelude::*;
use crate::spec::world::Mix;

const SOURCE: &str = "unshare(2), clone(2), setns(2), namespaces(7); kernel/fork.c, kernel/nsproxy.c";

/// Tasks that hang are found one by one; this is only the last resort.
const DEADLINE: Duration = Duration::from_secs(3600);

/// About as long as this many ordinary cases.
fn work(tier: Tier) -> u32 {
    match tier {
        Tier::Quick => 6,
        Tier::Full => 300,
        Tier::Exhaustive => 20_000,
    }
}

/// What a mismatch can violate.
const MODEL: [&str; 38] = [
    "EFF-GEN-01",
    "EFF-GEN-07",
    "EFF-FS-01",
    "EFF-FS-06",
    "EFF-FILES-01",
    "EFF-FILES-06",
    "EFF-FILES-07",
    "EFF-SEM-01",
    "EFF-SEM-05",
    "EFF-VM-02",
    "EFF-MNT-02",
    "EFF-MNT-04",
    "EFF-MNT-05",
    "EFF-MNT-07",
    "EFF-MNT-08",
    "EFF-MNT-12",
    "EFF-MNT-13",
    "EFF-USER-01",
    "EFF-USER-02",
    "EFF-USER-03",
    "EFF-USER-04",
    "EFF-USER-07",
    "EFF-USER-28",
    "EFF-UTS-01",
    "EFF-IPC-04",
    "EFF-IPC-05",
    "EFF-IPC-13",
    "EFF-PID-02",
    "EFF-TIME-03",
    "EFF-TIME-04",
    "EFF-TIME-09",
    "ATOM-S1",
    "ATOM-S2",
    "ATOM-S3",
    "ATOM-S4",
    "ATOM-S5",
    "ATOM-S7",
    "ATOM-S9",
];

/// The same, where allocations fail.
const MODEL_WITHOUT_MEMORY: [&str; MODEL.len() + 1] = {
    let mut all = ["FI-12"; MODEL.len() + 1];
    all.split_at_mut(MODEL.len()).0.copy_from_slice(&MODEL);
    all
};

/// Walks where mounts and the host name may be changed.
fn on_own_stage(t: &Test, walk: impl Fn(&Test) -> Done) -> Done {
    let own = (Flags::NEWNS | Flags::NEWUTS) & Kernel::of(t.facts()).effective;
    in_own_namespaces(t, own, walk)
}

case!(Case {
    name: "walks",
    about: "Random histories of up to six tasks, which share what clone(2) can share and unshare, join, leave, map, \
            limit and mount in any order: after each step result, errno and the whole state of all tasks, and what \
            each pair of them shares, are as the model says.",
    proves: &MODEL,
    // A task that joins a mount namespace is at its topmost root.
    needs: Needs::ROOT.with(feature::ROOT_IN_SIGHT),
    work: work,
    variants: || Mix::ALL.map(|(mix, name)| Variant::new(name, mix)).into(),
    run: |t| on_own_stage(t, |t| walk(t, t.param())),
});

case!(Case {
    name: "walks.no_memory",
    about: "Random histories in which allocations of unshare(2) fail, one each in most calls: such a call succeeds in \
            full, or gives an error of those for want of memory and changes nothing of any task.",
    proves: &MODEL_WITHOUT_MEMORY,
    source: "unshare(2), ERRORS (ENOMEM); 2006 design document, 6",
    needs: fail_nth::NEEDS.with(feature::ROOT_IN_SIGHT),
    work: work,
    run: |t| {
        fail_nth::allow(t)?;
        on_own_stage(t, walk_starving)
    },
});

case!(Case {
    name: "walks.leaks",
    about: "When histories are played again and again, with all their tasks gone in between, the kernel lets go of what \
            they made: the number of its objects of each kind does not grow with the number of times.",
    proves: &["LEAK-01"],
    source: "unshare(2), clone(2), setns(2); kernel/nsproxy.c, kernel/fork.c; slabinfo(5)",
    needs: leak::NEEDS.with(feature::ROOT_IN_SIGHT),
    from: Tier::Full,
    work: |tier| work(tier) / 2,
    run: |t| on_own_stage(t, |t| leaks(t, false)),
});

case!(Case {
    name: "walks.leaks_no_memory",
    about: "When histories in which allocations of unshare(2) fail are played again and again, with all their tasks gone \
            in between, the kernel lets go of what they made.",
    proves: &["LEAK-03"],
    source: "unshare(2), ERRORS (ENOMEM); 2006 design document, 6; slabinfo(5)",
    needs: leak::NEEDS.and(fail_nth::NEEDS).with(feature::ROOT_IN_SIGHT),
    from: Tier::Full,
    work: |tier| work(tier) / 2,
    run: |t| {
        fail_nth::allow(t)?;
        on_own_stage(t, |t| leaks(t, true))
    },
});
