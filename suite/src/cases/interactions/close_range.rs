//! close_range(2), which unshares descriptors as well (section 8 of the behaviour catalogue).

use crate::prelude::*;

const UNSHARE: u32 = 1 << 1;
const CLOSE_ON_EXEC: u32 = 1 << 2;

/// close_range(2) with CLOSE_RANGE_UNSHARE.
fn close_range(first: u32, last: u32) -> Call<()> {
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

/// The first number of the range, and the greatest that is open.
fn full_tables() -> Vec<Variant> {
    variants::named(&[("word", (64, 127)), ("words", (64, 255)), ("within_a_word", (70, 255))])
}

case!(Case {
    name: "interactions.close_range.lowest_free",
    about: "After CLOSE_RANGE_UNSHARE has closed the upper part of a table without gaps, the caller gets the numbers \
            of that part again, the lowest first; the sharer still has all of them.",
    proves: &["INT-31"],
    source: "close_range(2), CLOSE_RANGE_UNSHARE; open(2); CVE-2024-45025",
    variants: full_tables,
    run: |t| {
        let (first, last): (i32, i32) = t.param();
        let peer = Peer::start(t, "sharer", Flags::FILES)?;
        for fd in (3..=last).filter(|fd| !fds::is_open(*fd)) {
            t.setup(Call::new(format!("dup2(0, {fd})"), dup_to(libc::STDIN_FILENO, fd, 0)))?;
        }
        t.check(close_range(first as u32, u32::MAX)).succeeds()?;
        // More than there were: the table has to grow on the way.
        for expected in first..=2 * last {
            let fd = call!(dup, libc::STDIN_FILENO).map(|fd| fd as i32).map_err(fds::errno);
            t.check(Call::new("dup(0)", fd)).is(expected)?;
        }
        let missing = peer.call(t, "which of those numbers the sharer lacks", (first, last), |(first, last)| {
            Ok((first..=last).filter(|fd| !fds::is_open(*fd)).collect::<Vec<_>>())
        })?;
        t.check(missing).is(vec![])
    }
});

/// Whether each of the descriptors has close-on-exec; EBADF where one is not open.
fn close_on_exec((): ()) -> Result<[bool; 4], Errno> {
    let mut set = [false; 4];
    for (set, fd) in set.iter_mut().zip([BELOW, WITHIN[0], WITHIN[1], ABOVE]) {
        *set = call!(fcntl, fd, libc::F_GETFD).map_err(fds::errno)? & libc::FD_CLOEXEC as usize != 0;
    }
    Ok(set)
}

case!(Case {
    name: "interactions.close_range.close_on_exec",
    about: "close_range(2) with CLOSE_RANGE_UNSHARE and CLOSE_RANGE_CLOEXEC (Linux 5.11) closes nothing: the caller has \
            all descriptors, those of the range with close-on-exec, and the sharer has them as they were.",
    proves: &["INT-32"],
    source: "close_range(2), CLOSE_RANGE_CLOEXEC",
    variants: || variants::named(&[("middle", 150), ("all_above", u32::MAX)]),
    run: |t| {
        const ID: &str = "INT-32";
        let last: u32 = t.param();
        // A range without descriptors.
        let known = call!(close_range, u32::MAX, u32::MAX, CLOSE_ON_EXEC).map_err(fds::errno);
        if known == Err(Errno::EINVAL) {
            return Err(t.skip("this kernel has no CLOSE_RANGE_CLOEXEC (Linux 5.11)"));
        }
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "sharer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        open_all(t)?;
        let marked = call!(close_range, 90, last, UNSHARE | CLOSE_ON_EXEC).map(drop).map_err(fds::errno);
        let text = format!("close_range(90, {last}, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)");
        t.check(Call::new(text, marked)).succeeds()?;
        for (side, expected) in [(caller, [false, true, true, last != 150]), (other, [false; 4])] {
            t.check(side.ask(t, "which of 40, 100, 120 and 200 have close-on-exec", (), close_on_exec)?)
                .is(expected)?;
        }
        check_kcmp(t, &peer, Shared::Files, false, ID)?;
        check_apart(t, &dirs, Probe::Descriptor, (caller, other), ID)
    }
});
