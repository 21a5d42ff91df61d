//! How wide the argument is and by which numbers the call is reached (FLAG-41 to FLAG-47 and FLAG-50 of the behaviour
//! catalogue, section 1.2).
//!
//! The 2006 document declared `unshare(int flags)`, and C libraries still do. The kernel reads an unsigned long,
//! checks all of it, and drops nothing (DIFF-02).

use crate::call::raw::{by_number, number};
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (unshare(int flags), superseded; EINVAL) and 8 (1)";

const X32: &str = "FLAG-54";

/// Tries each set of flags beside a sharer: all must be refused, and everything stay shared.
fn check_refused(t: &Test, sets: impl IntoIterator<Item = Flags>, requirement: &'static str) -> Done {
    let sibling = Sibling::start(t, SHARED)?;
    for flags in sets {
        t.unshare(flags).proving(requirement).as_predicted()?;
    }
    // What a call separates stays separate: one look at the end, which is expensive, is enough.
    sibling.check(t, Flags::NONE, requirement)
}

case!(Case {
    name: "flags.all_bits",
    about: "All 64 bits set give EINVAL and change nothing.",
    proves: &["FLAG-41", "ERR-01"],
    run: |t| check_refused(t, [Flags(u64::MAX)], "FLAG-41")
});

case!(Case {
    name: "flags.high_bit",
    about: "A valid flag with one bit of the upper half gives EINVAL, and what the flag names stays shared: the \
            upper half of the argument is not cut off.",
    proves: &["FLAG-42", "ATOM-19", "DIFF-02"],
    needs: Needs::NONE.with(feature::WIDE_ARGUMENT),
    variants: || variants::of_flags([Flags::FILES, Flags::FS, Flags::NEWUTS]),
    run: |t| {
        let flag = t.param::<Flags>();
        check_refused(t, (32..64).map(|bit| flag | Flags(1 << bit)), "FLAG-42")
    }
});

case!(Case {
    name: "flags.sign_bit",
    about: "Bit 63 gives EINVAL, alone and with a valid flag, and so does -1 as an int would have it, extended by \
            its sign or not.",
    proves: &["FLAG-43", "DIFF-02"],
    needs: Needs::NONE.with(feature::WIDE_ARGUMENT),
    run: |t| {
        let sign = Flags(1 << 63);
        let sets = [sign, sign | Flags::FILES, sign | SHARED, Flags(u64::MAX << 31), Flags(u32::MAX.into())];
        check_refused(t, sets, "FLAG-43")
    }
});

case!(Case {
    name: "flags.signal_number",
    about: "The low byte, where clone(2) takes the signal of the child's exit, takes none here: SIGCHLD and every \
            other signal number give EINVAL, alone and with valid flags.",
    proves: &["FLAG-45", "FLAG-00"],
    run: |t| {
        // Numbers up to 127 are what clone(2) can take; 64 is the last signal.
        let signals = (1..=64).map(Flags);
        check_refused(t, signals.chain([Flags(17) | SHARED, Flags(9) | SHARED]), "FLAG-45")
    }
});

case!(Case {
    name: "flags.signal_128",
    about: "Decimal 128 is CLONE_NEWTIME to unshare(2), although clone(2) would take it for part of a signal number: \
            it acts, or is refused, just as that flag.",
    proves: &["FLAG-47", "FLAG-07"],
    run: |t| {
        t.unshare(Flags(128)).proving("FLAG-47").as_predicted()?;
        t.in_child(|t| {
            become_unprivileged(t)?;
            t.unshare(Flags(128)).from(Start::unprivileged()).proving("FLAG-47").as_predicted()
        })
    }
});

case!(Case {
    name: "flags.number",
    about: "unshare(2) has the number that its architecture gave it (272 on x86-64, 303 on s390, 282 on powerpc, \
            337 on arm, 97 on arm64, riscv and all newer ones), and the kernel knows it.",
    proves: &["FLAG-50", "FLAG-52"],
    source: "2006 design document, 6 (system call numbers); syscalls(2)",
    run: |t| {
        // Were the number another call's, 0 would not be both accepted and without effect, an invalid flag would not
        // be EINVAL, and CLONE_FILES would not separate the descriptors.
        let enter = |flags: Flags| by_number(number(), flags);
        let id = if [97, 272, 310].contains(&number()) { "FLAG-50" } else { "FLAG-52" };
        let sibling = Sibling::start(t, SHARED)?;
        for flags in [Flags::NONE, Flags::TOP, Flags::FILES] {
            let prediction = t.unshare(flags).by(enter).proving(id).prediction()?;
            sibling.check(t, prediction.separated, id)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "flags.x32",
    about: "The x32 entry of x86-64 (number 272 with bit 30) does the same as the 64-bit one, upper half of the \
            argument included, on a kernel that has it, by which getpid(2) works; on others it gives ENOSYS and does \
            nothing.",
    proves: &[X32],
    source: "kernel, arch/x86/entry/syscalls/syscall_64.tbl and arch/x86/Kconfig (X86_X32_ABI)",
    needs: Needs::NONE.with(feature::X32),
    run: |t| {
        let enter = |flags: Flags| by_number(i64::from(!abi::NUMBER_MASK) | number(), flags);
        let observer = Observer::open(t)?;
        let sibling = Sibling::start(t, SHARED)?;
        let is_there = feature::getpid_by_x32() >= 0;
        for flags in [Flags::NONE, Flags::TOP, Flags::FILES | Flags::INVALID, Flags::FILES, SHARED] {
            let separated = if is_there {
                t.unshare(flags).by(enter).proving(X32).prediction()?.separated
            } else {
                let before = observer.state();
                t.check(enter(flags)).proves(X32).fails_with(Errno::ENOSYS)?;
                check_changes(t, flags, X32, &Prediction::nothing(), &before, &observer.state())?;
                Flags::NONE
            };
            sibling.check(t, separated, X32)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "flags.ia32",
    about: "The 32-bit entry of x86 (int 0x80, number 310) does the same as the 64-bit one, for 0, every known flag \
            and every other of its 32 bits; bits above cannot be expressed.",
    proves: &["FLAG-44"],
    needs: Needs::NONE.with(feature::IA32),
    quick: one_in(3, 0),
    variants: || [Flags::NONE, SHARED]
        .into_iter()
        .chain((0..32).map(|bit| Flags(1 << bit)))
        .map(|flags| match flags {
            Flags::NONE => for_flags(flags).proving(["FLAG-44", "FLAG-40", "FLAG-50"]),
            _ => for_flags(flags).proving(["FLAG-44"]),
        })
        .collect(),
    run: |t| {
        let flags = t.param::<Flags>();
        let sibling = Sibling::start(t, SHARED)?;
        let prediction = t.unshare(flags).by(unshare_ia32).proving("FLAG-44").prediction()?;
        sibling.check(t, prediction.separated, "FLAG-44")
    }
});

case!(Case {
    name: "flags.ia32_upper_half",
    about: "The 32-bit entry of x86 cuts off what the register has above its 32 bits: with any of them set a flag does \
            what it does without, and bit 31 gives EINVAL.",
    proves: &["FLAG-53"],
    needs: Needs::NONE.with(feature::IA32),
    run: |t| {
        const ALL: Flags = Flags(u64::MAX << 32);
        let sibling = Sibling::start(t, SHARED)?;
        let mut separated = Flags::NONE;
        for (flags, above) in [(Flags::NONE, ALL), (Flags(1 << 31), ALL), (Flags::FILES, Flags(1 << 32)), (SHARED, ALL)]
        {
            let enter = |flags: Flags| unshare_ia32(flags | above);
            separated |= t.unshare(flags).by(enter).proving("FLAG-53").prediction()?.separated;
            sibling.check(t, separated, "FLAG-53")?;
        }
        Ok(())
    }
});
