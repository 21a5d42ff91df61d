//! unshare(CLONE_FILES) against sharers that change the table meanwhile (section 7 of the behaviour catalogue). The
//! copy must be the table as it was at one moment.

use std::io::{IoSlice, IoSliceMut};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::close;

use crate::observe::fds::is_open;
use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 and 8 (4); kernel, fs/file.c";

/// The file that most descriptors name, and the ends of a socket pair.
const FILE: RawFd = 30;
const SOCKETS: (RawFd, RawFd) = (31, 32);
/// The caller's own, once the table is its own.
const OWN: RawFd = 33;
/// One descriptor moves to and fro between these: at any moment at least one of them is open.
const NEAR: RawFd = 40;
const FAR: RawFd = 90;
/// What was copied of it.
const WHERE: [&str; 4] = ["without it", "with it at the first place", "with it at the second", "with it at both"];
/// No number beyond is used by the sharer of the first race.
const END: RawFd = 128;

fn dup2(from: RawFd, to: RawFd) -> Result<(), Errno> {
    call!(dup3, from, to, 0).map(drop).map_err(fds::errno)
}

fn inode(fd: RawFd) -> Result<u64, Errno> {
    fds::file_of(fd).map(|(_, inode)| inode)
}

/// Opens a file as [`FILE`] and gives its inode.
#[track_caller]
fn open_file(t: &Test) -> Done<u64> {
    let path = t.directory()?.join("file");
    let file = t.setup(Call::io("open(file)", File::create(path)))?;
    t.setup(Call::new("dup2(file)", dup2(file.as_raw_fd(), FILE)))?;
    t.setup(Call::new("fstat(file)", inode(FILE)))
}

/// Sends a descriptor through the socket pair and receives it under a new number.
fn pass(fd: RawFd) -> Result<RawFd, Errno> {
    let rights = [fd];
    let message = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(SOCKETS.0, &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)?;
    let mut byte = [0];
    let mut room = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let received = recvmsg::<()>(SOCKETS.1, &mut parts, Some(&mut room), MsgFlags::empty())?;
    let found = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    found.ok_or(Errno::ENOMSG)
}

/// The sharer of the first race: moves one descriptor to and fro, duplicates, passes and closes others.
fn change_table(t: &Test, barrier: &Barrier) -> Done {
    let mut at = (NEAR, FAR);
    while !barrier.is_over() {
        t.check(Call::new("dup2() by the sharer", dup2(at.0, at.1))).succeeds()?;
        t.check(Call::new("close() by the sharer", close(at.0))).succeeds()?;
        at = (at.1, at.0);
        let passed = t.check(Call::new("sendmsg(SCM_RIGHTS), recvmsg()", pass(FILE))).succeeds()?;
        t.check(Call::new("close(received descriptor)", close(passed))).succeeds()?;
        barrier.finish();
    }
    t.check(Call::seen("whether the moved descriptor is at its two places", (is_open(at.0), is_open(at.1))))
        .is((true, false))?;
    t.check(Call::seen("whether the sharer has what the caller opened afterwards", is_open(OWN))).is(false)
}

/// Checks that the copy is the table of one moment, and that every number is either a descriptor that works or free.
/// Gives where the moved descriptor was.
fn check_copy(t: &Test, file: u64) -> Done<usize> {
    let places = (is_open(NEAR), is_open(FAR));
    t.check(Call::seen("whether a descriptor that is always at one of two places is in the copy", places))
        .is_not((false, false))?;
    for fd in 3..END {
        if [SOCKETS.0, SOCKETS.1, OWN].contains(&fd) {
            t.check(Call::seen(format!("whether {fd} is open"), is_open(fd))).is(true)?;
        } else if fd == FILE || is_open(fd) {
            t.check(Call::new(format!("inode by fstat({fd})"), inode(fd))).is(file)?;
        } else {
            // A number that the sharer had reserved but not filled must not stay taken.
            // SAFETY: F_DUPFD takes a number.
            let free = Errno::result(unsafe { libc::fcntl(FILE, libc::F_DUPFD, fd) });
            t.check(Call::new(format!("fcntl(F_DUPFD, {fd}) where nothing is open"), free)).is(fd)?;
            t.setup(Call::new("close()", close(fd)))?;
        }
    }
    Ok(usize::from(places.0) + 2 * usize::from(places.1))
}

case!(Case {
    name: "races.files.changed",
    about: "While a sharer moves a descriptor by dup2 and close, and passes others to itself through a socket, \
            unshare(CLONE_FILES) succeeds and copies the table of one moment: the moved descriptor is in it, all \
            others work, and no number stays taken by nothing.",
    proves: &["RACE-03"],
    deadline: race::DEADLINE,
    run: |t| {
        let file = open_file(t)?;
        let (a, b) = t.setup(Call::io("socketpair()", UnixStream::pair()))?;
        for (from, to) in [(a.as_raw_fd(), SOCKETS.0), (b.as_raw_fd(), SOCKETS.1)] {
            t.setup(Call::new("dup2(socket)", dup2(from, to)))?;
        }
        drop((a, b));
        // What the harness keeps open stays as it is: the copies are looked at in children.
        play(t, 2, |random, barrier| {
            let (mine, warm_up) = (delay(random), random.u32(1..20));
            t.in_child(|t| {
                for fd in (3..END).filter(|fd| ![FILE, SOCKETS.0, SOCKETS.1].contains(fd)) {
                    let _ = close(fd);
                }
                t.setup(Call::new("dup2(file)", dup2(FILE, NEAR)))?;
                let sharer = barrier.spawn(t, "sharer", Flags::FILES, |t| change_table(t, barrier))?;
                barrier.wait_until_finished(warm_up);
                barrier.start(1, mine);
                let call = unshare(Flags::FILES);
                let own = dup2(FILE, OWN);
                barrier.wait_until_finished(warm_up + 5);
                barrier.end();
                t.check(call).succeeds()?;
                t.setup(Call::new("dup2(file)", own))?;
                sharer.join(t)?;
                barrier.put(0, check_copy(t, file)? as u64);
                Ok(())
            })?;
            Ok(WHERE[barrier.get(0) as usize])
        })
    }
});

/// The sharer of the second race opens from here on upwards, and closes down again.
const BASE: RawFd = 64;
const TOP: RawFd = 1000;

/// How far up the table of this place may grow, at most to [`TOP`].
fn top(t: &Test) -> Done<RawFd> {
    let limit = t.setup(Call::new("getrlimit(RLIMIT_NOFILE)", getrlimit(Resource::RLIMIT_NOFILE)))?;
    let ceiling = fs::read_to_string(global::NR_OPEN.path());
    let ceiling = t.setup(Call::io("read(/proc/sys/fs/nr_open)", ceiling))?.trim().parse().unwrap_or(0);
    let top = limit.0.min(ceiling).min(TOP as u64) as RawFd;
    // At least one step of growth.
    if top <= 2 * BASE {
        return Err(
            t.skip(format!("no more than {top} descriptors may be open here: raise RLIMIT_NOFILE and fs.nr_open"))
        );
    }
    Ok(top)
}

/// Grows the table step by step, and shrinks what is open, until the race is over.
fn grow_and_shrink(t: &Test, barrier: &Barrier, most: RawFd, may_fail: bool) -> Done {
    while !barrier.is_over() {
        let mut top = BASE;
        while top < most {
            let grown = dup2(FILE, top);
            // dup2(2) gives EBADF for a number beyond the limit.
            if may_fail && grown == Err(Errno::EBADF) {
                break;
            }
            t.check(Call::new(format!("dup2({FILE}, {top}) by the sharer"), grown)).succeeds()?;
            top += 1;
            barrier.finish();
        }
        for fd in (BASE..top).rev() {
            t.check(Call::new(format!("close({fd}) by the sharer"), close(fd))).succeeds()?;
        }
    }
    Ok(())
}

/// One round: unshare(CLONE_FILES) while a sharer grows the table. Gives whether it succeeded.
fn race_growth(t: &Test, barrier: &'static Barrier, files: (u64, RawFd), delays: (u32, u32), limited: bool) -> Done {
    let (file, most) = files;
    for fd in BASE..most {
        let _ = close(fd);
    }
    let _ = close(OWN);
    let sharer = barrier.spawn(t, "sharer", Flags::FILES, |t| {
        grow_and_shrink(t, barrier, most, limited)?;
        barrier.put(1, u64::from(is_open(OWN)));
        Ok(())
    })?;
    barrier.wait_until_finished(delays.0);
    barrier.start(1, delays.1);
    let call = unshare(Flags::FILES);
    let own = dup2(FILE, OWN);
    barrier.end();
    let refused = call.result() == Err(Failure::Errno(Errno::EMFILE));
    if !(limited && refused) {
        t.check(call).succeeds()?;
    }
    t.setup(Call::new("dup2(file)", own))?;
    sharer.join(t)?;
    t.check(Call::seen("whether the sharer has what the caller opened afterwards", barrier.get(1) == 1)).is(refused)?;
    let open: Vec<_> = (BASE..most).filter(|fd| is_open(*fd)).collect();
    let expected: Vec<_> = (BASE..most).take(open.len()).collect();
    t.check(Call::seen("descriptors in the copy of a table that grows one by one", open.clone())).is(expected)?;
    for fd in open {
        t.check(Call::new(format!("inode by fstat({fd})"), inode(fd))).is(file)?;
    }
    barrier.put(0, if refused { 2 } else { 1 });
    Ok(())
}

fn draw_growth(random: &mut fastrand::Rng) -> (u32, u32) {
    (random.u32(0..2 * TOP as u32), delay(random))
}

case!(Case {
    name: "races.files.growth",
    about: "While a sharer opens ever higher descriptors, so that the table grows, and closes them again, \
            unshare(CLONE_FILES) succeeds, and the copy has a first part of them without a gap, all of which work.",
    proves: &["RACE-04"],
    deadline: race::DEADLINE,
    run: |t| {
        let files = (open_file(t)?, top(t)?);
        play(t, 2, |random, barrier| {
            let delays = draw_growth(random);
            t.in_child(|t| race_growth(t, barrier, files, delays, false))?;
            Ok("copied")
        })
    }
});

case!(Case {
    name: "races.files.growth_under_nr_open",
    about: "The same while fs.nr_open goes up and down: the call succeeds, or gives EMFILE and leaves the table \
            shared.",
    proves: &["RACE-04"],
    needs: Needs::NONE.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    deadline: race::DEADLINE,
    run: |t| {
        let files = (open_file(t)?, top(t)?);
        play(t, 4, |random, barrier| {
            let delays = draw_growth(random);
            let limiter = barrier.spawn(t, "limiter", Flags::NONE, |t| {
                while !barrier.is_over() {
                    t.setup(set_nr_open("512"))?;
                    t.setup(set_nr_open("1048576"))?;
                }
                Ok(())
            })?;
            let done = t.in_child(|t| race_growth(t, barrier, files, delays, true));
            barrier.end();
            done?;
            limiter.join(t)?;
            Ok(if barrier.get(0) == 2 { "refused" } else { "copied" })
        })
    }
});

/// The descriptors of the calling task.
fn descriptors((): ()) -> Result<BTreeSet<i32>, Errno> {
    Ok((3..256).filter(|fd| is_open(*fd)).collect())
}

case!(Case {
    name: "races.files.request_in_flight",
    about: "A request to open a file that the caller gave to io_uring before unshare(CLONE_FILES), and that \
            completes afterwards, opens it in the old table: a sharer gets the descriptor, and the caller does not.",
    proves: &["RACE-26"],
    source: "kernel, io_uring/io_uring.c and fs/file.c",
    needs: Needs::NONE.with(feature::IO_URING),
    variants: || vec![
        Variant::new("files", Flags::FILES),
        Variant::new("files-fs", Flags::FILES | Flags::FS),
        Variant::new("files-newns", Flags::FILES | Flags::NEWNS).needing(Needs::ROOT),
    ],
    run: |t| {
        let peer = Peer::start(t, "sharer", Flags::FILES)?;
        let (_ring, fifo) = Ring::with_worker(t)?;
        let before = peer.setup(t, "descriptors", (), descriptors)?;
        t.check(unshare(t.param::<Flags>())).succeeds()?;
        let own = t.setup(Call::new("descriptors", descriptors(())))?;
        t.check(Call::seen("descriptors of the caller, copied", own.clone())).is(before.clone())?;
        // The writer that the request waits for. It opens nothing while nobody reads (ENXIO).
        let writer = t.spawn("writer", |t| {
            use nix::fcntl::open;
            let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
            loop {
                match open(&fifo, flags, Mode::empty()) {
                    Err(Errno::ENXIO) => std::thread::yield_now(),
                    other => return t.setup(Call::new("open(fifo, O_WRONLY)", other)).map(drop),
                }
            }
        })?;
        writer.join(t)?;
        // The request's end is a moment later. If it never comes, the case's deadline does.
        let opened = loop {
            let peers: BTreeSet<_> = peer.setup(t, "descriptors", (), descriptors)?;
            let caller = t.setup(Call::new("descriptors", descriptors(())))?;
            if peers != before || caller != own {
                break (peers.difference(&before).count(), caller.difference(&own).count());
            }
            std::thread::yield_now();
        };
        t.check(Call::seen("descriptors opened by the request (in the old table, in the caller's)", opened)).is((1, 0))
    }
});
