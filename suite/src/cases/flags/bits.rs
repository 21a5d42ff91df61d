//! All 64 bits of the argument, alone and mixed (sections 1.1 and 1.2 of the behaviour catalogue).
//!
//! The 2006 document knew four flags; the kernel has accepted more since: SYSVSEM (2.6.26), UTS and IPC (2.6.19), NET
//! (2.6.24), USER and PID (3.8), CGROUP (4.6), TIME (5.6) and an empty mount namespace (7.1). What holds as it did in
//! 2006 is that an unknown bit gives EINVAL (DIFF-01, DIFF-15).

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 5 (EINVAL) and 8 (1); unshare(2), ERRORS";

/// The requirement that speaks of a bit.
fn requirement(bit: u32) -> &'static str {
    const IDS: [&str; 32] = [
        "FLAG-07", "FLAG-08", "FLAG-09", "FLAG-10", "FLAG-11", "FLAG-12", "FLAG-13", "FLAG-14", "FLAG-15", "FLAG-16",
        "FLAG-17", "FLAG-18", "FLAG-19", "FLAG-20", "FLAG-21", "FLAG-22", "FLAG-23", "FLAG-24", "FLAG-25", "FLAG-26",
        "FLAG-27", "FLAG-28", "FLAG-29", "FLAG-30", "FLAG-31", "FLAG-32", "FLAG-33", "FLAG-34", "FLAG-35", "FLAG-36",
        "FLAG-37", "FLAG-38",
    ];
    match bit {
        0..7 => "FLAG-00",
        7..38 => IDS[bit as usize - 7],
        _ => "FLAG-38",
    }
}

fn each_bit() -> Vec<Variant> {
    (0..64)
        .map(|bit| {
            let flag = Flags(1 << bit);
            let variant =
                Variant::new(format!("{bit:02}_{}", flag.slug()), flag).proving([requirement(bit), "FLAG-51"]);
            let variant = variant.needing(passing(flag));
            if flag == Flags::NEWUSER { variant.needing(Needs::NONE.with(feature::CREATE_USER_NS)) } else { variant }
        })
        .collect()
}

case!(Case {
    name: "flags.root",
    about: "One bit alone, as root: a flag the kernel knows succeeds and changes just what it names; any other bit \
            is refused with EINVAL and changes nothing.",
    proves: &["FLAG-51"],
    needs: Needs::ROOT,
    quick: one_in(2, 1),
    variants: each_bit,
    run: |t| {
        let flag = t.param::<Flags>();
        t.unshare(flag).from(Start::default()).proving(requirement(flag.0.trailing_zeros())).as_predicted()
    }
});

case!(Case {
    name: "flags.unprivileged",
    about: "One bit alone, without any capability: namespaces give EPERM (CLONE_NEWUSER excepted), other known flags \
            succeed, unknown bits give EINVAL as for root.",
    proves: &["FLAG-51", "PRIV-01", "PRIV-03"],
    quick: one_in(2, 0),
    variants: || each_bit()
        .into_iter()
        .map(|mut variant| {
            if variant.param::<Flags>().intersects(Flags::PRIVILEGED | Flags::NEWUSER) {
                variant.proves.push("DIFF-08");
            }
            variant
        })
        .collect(),
    run: |t| {
        let flag = t.param::<Flags>();
        become_unprivileged(t)?;
        let start = Start::unprivileged();
        t.unshare(flag).from(start).proving(requirement(flag.0.trailing_zeros())).as_predicted()
    }
});
