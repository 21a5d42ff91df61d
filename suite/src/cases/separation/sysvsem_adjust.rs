//! What becomes of a semaphore when unshare(2) applies the adjustments of an undo list (section 3.4 of the behaviour
//! catalogue): limits, sleepers, removed sets, the last operator.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_SYSVSEM; semop(2), SEM_UNDO; kernel, ipc/sem.c";
const NEEDS: Needs = Needs::NONE.with(feature::SYSV_IPC);

/// The greatest value of a semaphore (semop(2), SEMVMX).
const SEMVMX: i32 = 32767;

case!(Case {
    name: "separation.sysvsem.wakes_sleeper",
    about: "A task that waits for a semaphore's value wakes up when unshare(CLONE_SYSVSEM) applies an adjustment to \
            it.",
    proves: &["EFF-SEM-06"],
    run: |t| {
        let semaphore = Semaphore::new(t, 5)?;
        let id = semaphore.id();
        semaphore.add_with_undo(t, Side::Caller, -2)?;
        let text = "semop(-4) of a semaphore that is 3, and 5 after the caller's adjustment";
        let sleeper = t.spawn("sleeper", |t| t.check(Call::new(text, undo::add((id, -4, true)))).succeeds())?;
        while t.setup(Call::new("semctl(GETNCNT)", undo::control(id, libc::GETNCNT)))? == 0 {
            std::thread::yield_now();
        }
        t.unshare(Flags::SYSVSEM).as_predicted()?;
        // No second try could tell a sleeper that was woken up from one that looks again.
        let awake = t.wait_until(Duration::from_secs(5), || has_ended(sleeper.pid()));
        t.check(Call::seen(format!("whether the sleeper woke up in {text}"), awake)).is(true)?;
        sleeper.join(t)?;
        semaphore.check_value(t, "after the sleeper took 4 of 5", 1, "EFF-SEM-06")
    }
});

/// The value at the start, what is added with SEM_UNDO and without, and the value after the adjustment.
type Limit = (i32, i16, i16, i32);

const LIMITS: [(&str, Limit); 2] = [("above", (5, -2, (SEMVMX - 4) as i16, SEMVMX)), ("below", (5, 2, -6, 0))];

case!(Case {
    name: "separation.sysvsem.limits",
    about: "An adjustment beyond a semaphore's greatest value, or below 0, stops there, and the call succeeds.",
    proves: &["EFF-SEM-07"],
    variants: || variants::named(&LIMITS),
    run: |t| {
        let (start, undone, kept, end): Limit = t.param();
        let semaphore = Semaphore::new(t, start)?;
        semaphore.add_with_undo(t, Side::Caller, undone)?;
        t.setup(Call::new(format!("semop({kept:+})"), undo::add((semaphore.id(), kept, false))))?;
        t.unshare(Flags::SYSVSEM).as_predicted()?;
        semaphore.check_value(t, &format!("after an adjustment by {}", -undone), end, "EFF-SEM-07")
    }
});

case!(Case {
    name: "separation.sysvsem.removed_set",
    about: "With a removed set in the list the call succeeds: other sets' adjustments are applied, and a newer set is \
            left alone.",
    proves: &["EFF-SEM-08"],
    run: |t| {
        const ID: &str = "EFF-SEM-08";
        let (removed, stays) = (Semaphore::new(t, 5)?, Semaphore::new(t, 5)?);
        for semaphore in [&removed, &stays] {
            semaphore.add_with_undo(t, Side::Caller, -2)?;
        }
        t.setup(Call::new("semctl(IPC_RMID)", undo::control(removed.id(), libc::IPC_RMID)))?;
        let younger = Semaphore::new(t, 7)?;
        t.unshare(Flags::SYSVSEM).as_predicted()?;
        stays.check_value(t, "of the set that was not removed", 5, ID)?;
        younger.check_value(t, "of a set made after the removal", 7, ID)
    }
});

case!(Case {
    name: "separation.sysvsem.last_operator",
    about: "The adjustment makes the process that calls unshare(CLONE_SYSVSEM) the semaphore's last operator (GETPID).",
    proves: &["EFF-SEM-11"],
    run: |t| {
        let semaphore = Semaphore::new(t, 5)?;
        let id = semaphore.id();
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        semaphore.add_with_undo(t, Side::Caller, -2)?;
        Side::Peer(&peer).must(t, "semop(+1)", (id, 1, false), undo::add)?;
        let last = || Call::new("semctl(GETPID)", undo::control(id, libc::GETPID));
        t.check(last()).is(peer.pid().as_raw())?;
        t.unshare(Flags::SYSVSEM).as_predicted()?;
        semaphore.check_value(t, "after the adjustment", 6, "EFF-SEM-11")?;
        t.check(last()).is(getpid().as_raw())
    }
});

case!(Case {
    name: "separation.sysvsem.one_of_a_set",
    about: "Of a set of several semaphores only that is adjusted on which the caller operated with SEM_UNDO.",
    proves: &["EFF-SEM-01"],
    run: |t| {
        expect_claimed(t, Flags::SYSVSEM)?;
        // SAFETY: numbers alone.
        let made = || Errno::result(unsafe { libc::semget(libc::IPC_PRIVATE, 3, 0o600) });
        let id = t.setup(Call::new("semget(IPC_PRIVATE, 3)", made()))?;
        let change = |number: u16, by: i16, flags: i32| {
            let mut operation = libc::sembuf { sem_num: number, sem_op: by, sem_flg: flags as i16 };
            // SAFETY: the operation lives through the call.
            Call::new(
                format!("semop({number}, {by:+})"),
                Errno::result(unsafe { libc::semop(id, &raw mut operation, 1) }),
            )
        };
        t.setup(change(0, 5, 0))?;
        t.setup(change(1, 4, libc::SEM_UNDO))?;
        t.setup(change(2, 3, 0))?;
        t.unshare(Flags::SYSVSEM).as_predicted()?;
        // SAFETY: these commands take no argument.
        let values = [0, 1, 2].map(|number| unsafe { libc::semctl(id, number, libc::GETVAL) });
        let removed = undo::control(id, libc::IPC_RMID);
        t.check(Call::seen("semctl(GETVAL) of each semaphore of the set", values)).is([5, 0, 3])?;
        t.setup(Call::new("semctl(IPC_RMID)", removed)).map(drop)
    }
});
