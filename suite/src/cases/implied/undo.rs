//! CLONE_NEWIPC leaves the semaphore undo list behind, as CLONE_SYSVSEM does by name: the pending adjustments are
//! applied at the call, in the old IPC namespace (IMP-07, EFF-SEM-09 and EFF-SEM-10 of the behaviour catalogue). No
//! other flag touches them.
//!
//! The 2006 document had CLONE_SYSVSEM refused as not implemented; it has worked since 2.6.26 (DIFF-04).

use crate::engines::thread_states::for_flags;
use crate::prelude::*;
use crate::spec::model::{Kernel, predict};

const SOURCE: &str = "2006 design document, 5 (CLONE_SYSVSEM, superseded) and 8 (2); unshare(2), CLONE_NEWIPC and \
                      CLONE_SYSVSEM";

const NEEDS: Needs = Needs::ROOT.with(feature::SYSV_IPC);

/// What the semaphore starts from, and what each operation takes off until it is undone.
const FULL: i32 = 5;
const TAKEN: i32 = 2;

/// A set of one semaphore in the IPC namespace of the case's first task; removed when dropped.
struct Semaphore(i32);

impl Semaphore {
    #[track_caller]
    fn make(t: &Test) -> Done<Self> {
        let mode = libc::IPC_CREAT | 0o600;
        // SAFETY: semget(2) takes numbers.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, mode) };
        let semaphore = Semaphore(t.setup(Call::new("semget()", Errno::result(id)))?);
        // SAFETY: SETVAL takes a number.
        let set = unsafe { libc::semctl(semaphore.0, 0, libc::SETVAL, FULL) };
        t.setup(Call::new("semctl(SETVAL)", Errno::result(set)))?;
        Ok(semaphore)
    }

    /// Its value, in the old namespace.
    fn value(&self) -> Call<i32> {
        // SAFETY: GETVAL takes nothing.
        let value = unsafe { libc::semctl(self.0, 0, libc::GETVAL) };
        Call::new("semctl(GETVAL) in the old IPC namespace", Errno::result(value))
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID takes nothing.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

/// Takes something off the semaphore, to be given back when the undo list is.
fn take(semaphore: i32) -> Result<(), Errno> {
    let mut operation = libc::sembuf { sem_num: 0, sem_op: -TAKEN as i16, sem_flg: libc::SEM_UNDO as i16 };
    // SAFETY: one live operation.
    Errno::result(unsafe { libc::semop(semaphore, &raw mut operation, 1) }).map(drop)
}

/// Has the peer call unshare(2).
#[track_caller]
fn unshare_in(t: &Test, caller: &Peer, flags: Flags) -> Done<Call<()>> {
    let text = format!("unshare({flags})");
    let register = caller.setup(t, &text, flags.0, |flags| Ok(crate::call::raw::unshare_raw(Flags(flags))))?;
    Ok(Call::zero_on_success(text, register))
}

fn requirement(flags: Flags) -> &'static str {
    if flags == (Flags::NEWIPC | Flags::SYSVSEM) {
        "IMP-11"
    } else if flags.contains(Flags::NEWIPC) {
        "IMP-07"
    } else if flags == Flags::SYSVSEM {
        "EFF-SEM-01"
    } else {
        "IMP-10"
    }
}

case!(Case {
    name: "implied.undo",
    about: "A task that took from a semaphore with SEM_UNDO gives it back when it calls CLONE_NEWIPC or \
            CLONE_SYSVSEM, at once and while it lives, as an observer in the old IPC namespace sees. Any other flag \
            leaves the adjustment pending until exit.",
    proves: &["IMP-07"],
    source: SOURCE,
    needs: NEEDS,
    variants: || Flags::KNOWN
        .into_iter()
        .chain([Flags::NEWIPC | Flags::SYSVSEM])
        .map(|flags| {
            let ids = match requirement(flags) {
                "IMP-07" => vec!["IMP-07", "EFF-SEM-09", "EFF-IPC-10", "DIFF-07"],
                id => vec![id],
            };
            for_flags(flags).proving(ids)
        })
        .collect(),
    run: |t| {
        let flags = t.param::<Flags>();
        let prediction = predict(&Start::of(t.facts()), flags, &Kernel::of(t.facts()));
        let semaphore = Semaphore::make(t)?;
        let caller = Peer::start(t, "caller", Flags::NONE)?;
        caller.setup(t, "semop(-2, SEM_UNDO)", semaphore.0, take)?;
        t.check(semaphore.value()).proves("EFF-SEM-01").is(FULL - TAKEN)?;
        let call = unshare_in(t, &caller, flags)?;
        let given_back = prediction.separated.contains(Flags::SYSVSEM);
        let proved = requirement(flags);
        all([
            t.check(call).proves(proved).gives(prediction.result),
            t.check(semaphore.value()).proves(proved).is(if given_back { FULL } else { FULL - TAKEN }),
        ])?;
        caller.end();
        t.check(semaphore.value().called("semctl(GETVAL) after the caller's end")).proves(proved).is(FULL)
    }
});

case!(Case {
    name: "implied.undo_shared",
    about: "Where the undo list is shared, CLONE_NEWIPC and CLONE_SYSVSEM by one sharer apply nothing: the list \
            stays with the other, and what both took is given back when that one leaves it, in the old IPC \
            namespace.",
    proves: &["IMP-07", "EFF-SEM-03", "EFF-SEM-04", "EFF-SEM-10"],
    source: SOURCE,
    needs: NEEDS,
    variants: || [
        for_flags(Flags::NEWIPC).proving(["IMP-07", "EFF-SEM-10"]),
        for_flags(Flags::SYSVSEM).proving(["EFF-SEM-03", "EFF-SEM-04"]),
        for_flags(Flags::NEWIPC | Flags::SYSVSEM).proving(["IMP-11", "EFF-SEM-10"]),
    ]
    .into(),
    run: |t| {
        let flags = t.param::<Flags>();
        let prediction = predict(&Start::of(t.facts()), flags, &Kernel::of(t.facts()));
        let semaphore = Semaphore::make(t)?;
        let caller = Peer::start(t, "caller", Flags::SYSVSEM)?;
        caller.setup(t, "semop(-2, SEM_UNDO)", semaphore.0, take)?;
        t.setup(Call::new("semop(-2, SEM_UNDO)", take(semaphore.0)))?;
        let both_taken = FULL - 2 * TAKEN;
        t.check(semaphore.value()).is(both_taken)?;
        t.check(unshare_in(t, &caller, flags)?).gives(prediction.result)?;
        t.check(semaphore.value()).is(both_taken)?;
        if t.facts().has(feature::KCMP) {
            let (own, other) = (std::process::id() as i32, caller.pid().as_raw());
            t.check(observe::sharing(observe::Shared::Sysvsem, own, other)).is(false)?;
        }
        // This task was the last to hold the list.
        t.check(unshare(Flags::SYSVSEM)).succeeds()?;
        t.check(semaphore.value()).is(FULL)
    }
});
