//! close_range(2), which unshares descriptors as well (section 8 of the behaviour catalogue).

use crate::prelude::*;

/// close_range(2) with CLOSE_RANGE_UNSHARE.
fn close_range(first: u32, last: u32) -> Call<()> {
    const UNSHARE: u32 = 1 << 1;
    let result = call!(close_range, first, last, UNSHARE).map(drop).map_err(fds::errno);
    Call::new(format!("close_range({first}, {last}, CLOSE_RANGE_UNSHARE)"), result)
}

/// Descriptors that a range takes in the middle, and others on both sides of it.
const BELOW: i32 = 40;
const WITHIN: [i32; 2] = [100, 120];
const ABOVE: i32 = 200;

#[track_caller]
fn open_all(t: &Test) -> Done {
    [BELOW, WITHIN[0], WITHIN[1], ABOVE]
        .into_iter()
        .try_for_each(|fd| t.setup(Call::new(format!("dup2(0, {fd})"), dup_to(libc::STDIN_FILENO, fd, 0))))
}

/// Which of the descriptors one side has.
#[track_caller]
fn check_open(t: &Test, side: Side, expected: [bool; 4], requirement: &'static str) -> Done {
    let open = side.ask(t, "which of 40, 100, 120 and 200 are open", (), |()| {
        Ok([BELOW, WITHIN[0], WITHIN[1], ABOVE].map(fds::is_open))
    })?;
    t.check(open).proves(requirement).is(expected)
}

case!(Case {
    name: "interactions.close_range.unshares",
    about: "close_range(2) with CLOSE_RANGE_UNSHARE first does what unshare(CLONE_FILES) does: the range is closed \
            for the caller alone, all else is copied, and from then on the tables are apart.",
    proves: &["INT-17"],
    source: "close_range(2), CLOSE_RANGE_UNSHARE",
    variants: || variants::named(&[("middle", 150), ("all_above", u32::MAX)]),
    run: |t| {
        const ID: &str = "INT-17";
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "sharer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        open_all(t)?;
        let last: u32 = t.param();
        t.check(close_range(90, last)).succeeds()?;
        check_open(t, caller, [true, false, false, last == 150], ID)?;
        check_open(t, other, [true; 4], ID)?;
        check_kcmp(t, &peer, Shared::Files, false, ID)?;
        check_apart(t, &dirs, Probe::Descriptor, (caller, other), ID)
    }
});

case!(Case {
    name: "interactions.close_range.beyond_nr_open",
    about: "A shared table with a descriptor beyond fs.nr_open cannot be copied by CLOSE_RANGE_UNSHARE either \
            (EMFILE), and stays shared; but what is to be closed to the end is not copied, so that a range which \
            takes that descriptor succeeds.",
    proves: &["INT-17"],
    source: "close_range(2), CLOSE_RANGE_UNSHARE; kernel, fs/file.c",
    needs: Needs::NONE.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| {
        const ID: &str = "INT-17";
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "sharer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        open_all(t)?;
        t.setup(set_nr_open("64"))?;
        t.check(close_range(90, 150)).fails_with(Errno::EMFILE)?;
        check_open(t, caller, [true; 4], ID)?;
        check_shared(t, &dirs, Probe::Descriptor, (caller, other), ID)?;
        check_kcmp(t, &peer, Shared::Files, true, ID)?;
        // What remains has to fit below the limit of 64 by its numbers, on older kernels by the range's.
        t.check(close_range(50, u32::MAX)).succeeds()?;
        check_open(t, caller, [true, false, false, false], ID)?;
        check_open(t, other, [true; 4], ID)?;
        check_kcmp(t, &peer, Shared::Files, false, ID)
    }
});
