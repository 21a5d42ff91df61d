//! A row of the table of thread and sharing states (section 6 of the behaviour catalogue): every
//! flag is tried in the row's state, each in a process of its own.

use crate::prelude::*;
use crate::sharing::sibling::{check_seen, check_shared};

/// What threads share with each other.
pub const THREADS_SHARE: Flags =
    Flags(Flags::VM.0 | Flags::FS.0 | Flags::FILES.0 | Flags::SIGHAND.0 | Flags::SYSVSEM.0);

/// What a whole row tries beside 0 and each flag alone: refused flags together with flags that
/// would have separated something.
const MIXED: [Flags; 4] = [
    Flags(Flags::THREAD.0 | Flags::FS.0 | Flags::FILES.0),
    Flags(Flags::SIGHAND.0 | Flags::FS.0 | Flags::FILES.0),
    Flags(Flags::VM.0 | Flags::FS.0 | Flags::FILES.0 | Flags::SYSVSEM.0),
    Flags(Flags::NEWUSER.0 | Flags::NEWNS.0 | Flags::FILES.0 | Flags::NEWUTS.0),
];

/// A variant for 0, for every known flag and for some mixes. Each proves the row's requirement,
/// and that of one flag also what `more` says of sets that have it.
pub fn each_flag(row: &'static str, more: &[(Flags, &'static [&'static str])]) -> Vec<Variant> {
    let sets = [Flags::NONE].into_iter().chain(Flags::KNOWN).chain(MIXED);
    let variant = |flags: Flags| {
        let mut proves = vec![row];
        proves.extend((flags == Flags::NONE).then_some("FLAG-40"));
        let of_flag = more.iter().filter(|(set, _)| flags.0.is_power_of_two() && set.contains(flags));
        proves.extend(of_flag.flat_map(|(_, ids)| *ids));
        for_flags(flags).proving(proves)
    };
    sets.map(variant).collect()
}

/// A variant named after its flags, with what they need of the machine.
pub fn for_flags(flags: Flags) -> Variant {
    let variant = Variant::new(flags.slug(), flags);
    if flags.contains(Flags::NEWUSER) { variant.needing(Needs::NONE.with(feature::CREATE_USER_NS)) } else { variant }
}

/// Tries the variant's flags in the calling task, which is in the state that `start` describes:
/// result and whole state are compared with the model, and what is shared with each of `sharers`
/// must be what was shared before, less what the model says was left.
#[track_caller]
pub fn judge(t: &Test, row: &'static str, start: &Start, witness: &Peer, sharers: &[SharingTask]) -> Done<Prediction> {
    let check_sharing = |separated| {
        all(sharers.iter().flat_map(|sharer| {
            [check_shared(t, witness, *sharer, separated, row), check_seen(t, witness, *sharer, separated, row)]
        }))
    };
    check_sharing(Flags::NONE)?;
    let prediction = t.unshare(t.param()).from(*start).proving(row).prediction()?;
    check_sharing(prediction.separated)?;
    Ok(prediction)
}

/// The calling thread, as a sharer of its process's other threads.
pub fn this_thread() -> SharingTask {
    thread(gettid().as_raw())
}

/// A thread of the caller's process, as a sharer.
pub fn thread(tid: i32) -> SharingTask {
    SharingTask { tid, made_with: THREADS_SHARE }
}
