//! Random histories of several tasks against the model of a world: what nobody thought of.

use crate::engines::walk::walk;
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

case!(Case {
    name: "walks",
    about: "Random histories of up to six tasks, which share what clone(2) can share and unshare, join, leave, map, \
            limit and mount in any order: after each step result, errno and the whole state of all tasks, and what \
            each pair of them shares, are as the model says.",
    proves: &[
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
        "EFF-UTS-01",
        "EFF-IPC-04",
        "EFF-IPC-05",
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
    ],
    // A task that joins a mount namespace is at its topmost root.
    needs: Needs::ROOT.with(feature::ROOT_IN_SIGHT),
    work: work,
    variants: || Mix::ALL.map(|(mix, name)| Variant::new(name, mix)).into(),
    run: |t| {
        let stage = |t: &Test| walk(t, t.param());
        // Mounts and the host name are changed.
        let own = (Flags::NEWNS | Flags::NEWUTS) & Kernel::of(t.facts()).effective;
        in_own_namespaces(t, own, stage)
    },
});
