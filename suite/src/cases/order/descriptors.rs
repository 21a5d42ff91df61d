//! Which error it is where descriptors cannot be copied (ORD-03 to ORD-05 of the behaviour catalogue).

use crate::prelude::*;
use crate::sharing::sibling::{check_seen, check_shared};

const SOURCE: &str = "2006 design document, 5 and 6; kernel, kernel/fork.c (ksys_unshare)";

/// No kernel accepts it.
const INVALID: Flags = Flags::INVALID;

/// A descriptor beyond the lowest value of fs.nr_open (LIM-03).
const HIGH: i32 = fds::HIGH;

/// Opens a descriptor and lowers fs.nr_open below it; the supervisor puts that back. Whoever shares the table can
/// then not be given a copy of it.
fn put_table_out_of_reach(t: &Test) -> Done {
    t.setup(Call::new(format!("dup2({HIGH})"), dup_to(libc::STDIN_FILENO, HIGH, libc::O_CLOEXEC)))?;
    t.setup(set_nr_open("64"))
}

case!(Case {
    name: "order.descriptors",
    about: "A shared table of descriptors that cannot be copied gives EMFILE before a missing privilege is checked \
            and before a user namespace is made, but after unknown bits, which give EINVAL; nothing changes, and the \
            table stays shared. fork(2) gives EMFILE as well.",
    proves: &["ORD-03", "ORD-04", "ORD-05", "ATOM-12", "ERR-38"],
    needs: Needs::NONE
        .with(feature::INITIAL_ROOT)
        .with(feature::SECOND_USER)
        .with(feature::CREATE_USER_NS)
        .disturbing(global::NR_OPEN),
    variants: || vec![
        Variant::new("before_privilege", (Flags::NEWNS, "ORD-03")).proving(["ORD-03", "ATOM-12", "ERR-38"]),
        Variant::new("before_user", (Flags::NEWUSER | Flags::NEWNS, "ORD-04")).proving(["ORD-04"]),
        Variant::new("after_flags", (INVALID, "ORD-05")).proving(["ORD-05"]),
    ],
    run: |t| {
        // Both stay privileged and outlive the caller, which could not end them.
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let sharer = SharingTask { tid: getpid().as_raw(), made_with: Flags::FS | Flags::FILES };
        t.spawn_sharing("caller", sharer.made_with.0, |t| judge_descriptors(t, &witness, sharer))?.join(t)
    }
});

fn judge_descriptors(t: &Test, witness: &Peer, sharer: SharingTask) -> Done {
    let (flags, requirement): (Flags, &str) = t.param();
    put_table_out_of_reach(t)?;
    t.check(try_fork()).proves("ERR-38").fails_with(Errno::EMFILE)?;
    let root = Start { beyond_nr_open: true, ..Start::of(t.facts()) };
    t.unshare(flags | Flags::FILES).from(root).beside(&[witness]).proving(requirement).as_predicted()?;
    become_unprivileged(t)?;
    let nobody = Start { beyond_nr_open: true, ..Start::unprivileged() };
    t.unshare(flags | Flags::FILES).from(nobody).beside(&[witness]).proving(requirement).as_predicted()?;
    check_shared(t, witness, sharer, Flags::NONE, requirement)?;
    check_seen(t, witness, sharer, Flags::NONE, requirement)?;
    // Without CLONE_FILES, what else there is decides.
    t.unshare(flags).from(nobody).beside(&[witness]).proving(requirement).as_predicted()
}
