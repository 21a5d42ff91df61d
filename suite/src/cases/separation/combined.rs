//! Several resources in one call: every combination of the document's four (mount namespace, file system information,
//! descriptors, memory), with the semaphore undo list beside them, and pairs of namespaces.

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 8 (3)";

/// The document's four, and CLONE_SYSVSEM, each with what it proves.
const PARTS: [(Flags, &str); 5] = [
    (Flags::NEWNS, "EFF-MNT-03"),
    (Flags::FS, "EFF-FS-01"),
    (Flags::FILES, "EFF-FILES-01"),
    (Flags::VM, "EFF-VM-01"),
    (Flags::SYSVSEM, "EFF-SEM-03"),
];

/// Every set of those flags but the empty one.
fn combinations() -> Vec<Variant> {
    let some = |bits: u32| PARTS.into_iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1);
    let sets = (1..1 << PARTS.len()).map(|bits| some(bits).fold(Flags::NONE, |flags, (_, (flag, _))| flags | flag));
    variants::succeeding(sets)
        .into_iter()
        .map(|variant| {
            let separated = with_implied(variant.param());
            let proved = PARTS.into_iter().filter(|(flag, _)| separated.contains(*flag)).map(|(_, id)| id);
            variant.proving(proved.chain(["DIFF-13"]).collect::<Vec<_>>())
        })
        .collect()
}

/// The probes that can be made here.
fn probes(t: &Test) -> impl Iterator<Item = Probe> {
    [Probe::Cwd, Probe::Umask, Probe::Root, Probe::Descriptor, Probe::Mount]
        .into_iter()
        .filter(|probe| probe.is_possible(t.facts()))
}

/// What is said of a probe in this group of cases.
fn requirement(probe: Probe) -> &'static str {
    match probe {
        Probe::Cwd => "EFF-FS-01",
        Probe::Umask => "EFF-FS-02",
        Probe::Root => "EFF-FS-03",
        Probe::Descriptor => "EFF-FILES-01",
        _ => "EFF-MNT-03",
    }
}

/// One combination, by a caller that shares root, cwd, umask, descriptors and undo list with a peer and, if
/// `memory_shared`, its memory with another process.
fn judge_combination(t: &Test, memory_shared: bool) -> Done {
    let flags = t.param::<Flags>();
    let dirs = ProbeDirs::make(t, &probes(t).collect::<Vec<_>>())?;
    let has_semaphores = t.facts().has(feature::SYSV_IPC) && t.facts().has(feature::SANDBOX);
    let semaphore = has_semaphores.then(|| Semaphore::new(t, 10)).transpose()?;
    let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
    let (caller, other) = (Side::Caller, Side::Peer(&peer));
    let sharer = memory_shared.then(|| VmTask::start(t, Flags::NONE)).transpose()?;
    for probe in probes(t) {
        check_shared(t, &dirs, probe, (caller, other), requirement(probe))?;
    }
    if let Some(semaphore) = &semaphore {
        semaphore.add_with_undo(t, caller, -2)?;
        semaphore.add_with_undo(t, other, -3)?;
    }
    let mut pattern = vec![0x5au8; 64 * 1024];
    pattern[1] = 0xa5;
    let copy = std::hint::black_box(pattern.clone());

    let start = Start { memory_shared, ..Start::of(t.facts()) };
    let prediction = t.unshare(flags).from(start).beside(&[&peer]).proving("DIFF-13").prediction()?;

    let memory = Call::seen("whether the caller's memory has its old content", pattern == copy);
    t.check(memory).proves("EFF-VM-01").is(true)?;
    if let Some(sharer) = &sharer {
        sharer.check_shared(t, "after the call", "EFF-VM-02")?;
    }
    for (what, flag, id) in [
        (Shared::Fs, Flags::FS, "EFF-FS-06"),
        (Shared::Files, Flags::FILES, "EFF-FILES-06"),
        (Shared::Sysvsem, Flags::SYSVSEM, "EFF-SEM-05"),
    ] {
        if flag != Flags::SYSVSEM || has_semaphores {
            check_kcmp(t, &peer, what, !prediction.separated.contains(flag), id)?;
        }
    }
    for probe in probes(t) {
        check_as_predicted(t, &dirs, probe, (caller, other), &prediction, requirement(probe))?;
    }
    if let Some(semaphore) = &semaphore {
        semaphore.check_value(t, "after the call", 5, "EFF-SEM-03")?;
        semaphore.add_with_undo(t, caller, -1)?;
        semaphore.add_with_undo(t, other, -1)?;
        drop(sharer);
        peer.end();
        // A list that was left to the peer is applied with the peer's last step; one still shared is not.
        let left = prediction.separated.contains(Flags::SYSVSEM);
        let expected = if left { 9 } else { 3 };
        semaphore.check_value(t, "after the peer's exit", expected, "EFF-SEM-04")?;
    }
    Ok(())
}

/// Runs a combination where its mounts stay its own, if mounts can be made at all.
fn in_own_mounts(t: &Test, body: fn(&Test) -> Done) -> Done {
    t.directory()?;
    if Probe::Mount.is_possible(t.facts()) { in_own_namespaces(t, Flags::NEWNS, body) } else { body(t) }
}

case!(Case {
    name: "separation.combined.four",
    about: "Every combination of CLONE_NEWNS, CLONE_FS, CLONE_FILES, CLONE_VM and CLONE_SYSVSEM, by a caller that \
            shares all but its memory, separates what is named or implied, in both directions, and nothing else.",
    proves: &["DIFF-13"],
    quick: one_in(5, 2),
    variants: combinations,
    run: |t| in_own_mounts(t, |t| judge_combination(t, false)),
});

case!(Case {
    name: "separation.combined.memory_shared",
    about: "With memory shared, too, every combination with CLONE_VM is refused and separates nothing; the others \
            separate the same as before and leave the memory shared.",
    proves: &["DIFF-13", "EFF-VM-02"],
    from: Tier::Full,
    variants: combinations,
    run: |t| in_own_mounts(t, |t| judge_combination(t, true)),
});

fn pairs() -> Vec<Variant> {
    let flags = KINDS.map(|kind| kind.flag);
    let pairs = (1..flags.len()).flat_map(|at| flags[..at].iter().map(move |one| *one | flags[at]));
    let all = flags.into_iter().fold(Flags::NONE, |all, flag| all | flag);
    let all = Variant::new("all_eight", all).needing(needs_of(all));
    variants::succeeding(pairs).into_iter().chain([all]).collect()
}

case!(Case {
    name: "separation.combined.namespaces",
    about: "A call with any two namespaces, or all eight, changes exactly their links, and none of another task.",
    proves: &["EFF-GEN-01"],
    source: "unshare(2), DESCRIPTION; namespaces(7)",
    // The sweeps have every pair in the quick tier, too.
    from: Tier::Full,
    variants: pairs,
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        let prediction = t.unshare(t.param::<Flags>()).beside(&[&peer]).prediction()?;
        check_separated(t, &peer, &prediction, "EFF-GEN-01")
    }
});
