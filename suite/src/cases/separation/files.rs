//! The table of file descriptors (section 3.2 of the behaviour catalogue).

use nix::fcntl::{FcntlArg, FdFlag};

use crate::prelude::*;

const SOURCE: &str = "2006 design document, 6 and 8 (3); unshare(2), CLONE_FILES";

/// Number of a descriptor above any that a case gets by itself.
const HIGH: i32 = fds::HIGH;

/// A file of the case's own, open for reading and writing, in the caller's table.
#[track_caller]
fn new_file(t: &Test, name: &str) -> Done<i32> {
    let path = t.directory()?.join(name);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = t.setup(Call::io(format!("open({name})"), options.open(path)))?;
    Ok(file.into_raw_fd())
}

/// dup3(2), with the number to get.
#[track_caller]
fn move_to(t: &Test, fd: i32, number: i32) -> Done<i32> {
    t.setup(Call::new(format!("dup3({fd}, {number})"), dup_to(fd, number, libc::O_CLOEXEC)))?;
    t.setup(Call::new("close()", nix::unistd::close(fd)))?;
    Ok(number)
}

/// Runs a nix function on a bare descriptor number.
fn with_fd<V>(fd: i32, function: impl FnOnce(BorrowedFd) -> V) -> V {
    // SAFETY: used for one call; a number that is not open gives EBADF, which is what is judged.
    function(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Whether a number names an open descriptor: its flags.
fn descriptor_flags(fd: i32) -> Result<i32, Errno> {
    call!(fcntl, fd, libc::F_GETFD).map(|flags| flags as i32).map_err(fds::errno)
}

fn set_descriptor_flags((fd, flags): (i32, i32)) -> Result<(), Errno> {
    let flags = FdFlag::from_bits_truncate(flags);
    with_fd(fd, |fd| nix::fcntl::fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop))
}

fn offset(fd: i32) -> Result<i64, Errno> {
    with_fd(fd, |fd| nix::unistd::lseek64(fd, 0, nix::unistd::Whence::SeekCur))
}

fn seek((fd, to): (i32, i64)) -> Result<(), Errno> {
    with_fd(fd, |fd| nix::unistd::lseek64(fd, to, nix::unistd::Whence::SeekSet).map(drop))
}

fn is_append(fd: i32) -> Result<bool, Errno> {
    let bits = with_fd(fd, |fd| nix::fcntl::fcntl(fd, FcntlArg::F_GETFL))?;
    Ok(OFlag::from_bits_truncate(bits).contains(OFlag::O_APPEND))
}

fn set_append((fd, append): (i32, bool)) -> Result<(), Errno> {
    let flags = if append { OFlag::O_APPEND } else { OFlag::empty() };
    with_fd(fd, |fd| nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(flags)).map(drop))
}

fn write_byte(fd: i32) -> Result<(), Errno> {
    with_fd(fd, |fd| nix::unistd::write(fd, b"x").map(drop))
}

/// Reads all that is there at once; EAGAIN when nothing is.
fn read_some(fd: i32) -> Result<usize, Errno> {
    with_fd(fd, |fd| nix::unistd::read(fd, &mut [0; 64]))
}

case!(Case {
    name: "separation.files.opened",
    about: "Tasks that share the table (CLONE_FILES) see what either opens; after unshare(CLONE_FILES) they do not.",
    proves: &["EFF-FILES-01"],
    run: |t| {
        const ID: &str = "EFF-FILES-01";
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let sides = (Side::Caller, Side::Peer(&peer));
        check_shared(t, &dirs, Probe::Descriptor, sides, ID)?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        check_apart(t, &dirs, Probe::Descriptor, sides, ID)?;
        check_apart(t, &dirs, Probe::Descriptor, (sides.1, sides.0), ID)
    }
});

case!(Case {
    name: "separation.files.closed",
    about: "A descriptor closed by one of two sharers is closed for both; after unshare(CLONE_FILES) it stays open in \
            the other.",
    proves: &["EFF-FILES-02"],
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        for (acting, watching) in [(caller, other), (other, caller)] {
            let fd = new_file(t, "control")?;
            acting.must(t, "close()", fd, nix::unistd::close)?;
            t.check(watching.ask(t, "fcntl(F_GETFD)", fd, descriptor_flags)?).fails_with(Errno::EBADF)?;
        }
        let (one, two) = (new_file(t, "one")?, new_file(t, "two")?);
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        for (fd, acting, watching) in [(one, caller, other), (two, other, caller)] {
            acting.must(t, "close()", fd, nix::unistd::close)?;
            t.check(watching.ask(t, "write(1 byte)", fd, write_byte)?).succeeds()?;
            t.check(acting.ask(t, "write(1 byte)", fd, write_byte)?).fails_with(Errno::EBADF)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.files.close_on_exec",
    about: "Close-on-exec flags are copied as they are, and from then on are each task's own.",
    proves: &["EFF-FILES-03"],
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let (set, clear) = (new_file(t, "set")?, new_file(t, "clear")?);
        for (acting, watching) in [(caller, other), (other, caller)] {
            for (fd, flags) in [(clear, libc::FD_CLOEXEC), (clear, 0), (set, 0), (set, libc::FD_CLOEXEC)] {
                acting.must(t, "fcntl(F_SETFD)", (fd, flags), set_descriptor_flags)?;
                t.check(watching.ask(t, "fcntl(F_GETFD)", fd, descriptor_flags)?).is(flags)?;
            }
        }
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        for side in [caller, other] {
            for (fd, flags) in [(set, libc::FD_CLOEXEC), (clear, 0)] {
                t.check(side.ask(t, "fcntl(F_GETFD) after the call", fd, descriptor_flags)?).is(flags)?;
            }
        }
        for (acting, watching) in [(caller, other), (other, caller)] {
            for (fd, before, flags) in [(clear, 0, libc::FD_CLOEXEC), (set, libc::FD_CLOEXEC, 0)] {
                acting.must(t, "fcntl(F_SETFD)", (fd, flags), set_descriptor_flags)?;
                t.check(watching.ask(t, "fcntl(F_GETFD)", fd, descriptor_flags)?).is(before)?;
                acting.must(t, "fcntl(F_SETFD)", (fd, before), set_descriptor_flags)?;
            }
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.files.numbers",
    about: "Every descriptor, high ones and those behind gaps included, is copied under its number and names the same \
            open file in both tasks; no other number is open.",
    proves: &["EFF-FILES-04"],
    run: |t| {
        // Beside and at the boundaries of the words the kernel keeps its bit maps in.
        const NUMBERS: [i32; 8] = [31, 32, 64, 65, 127, 128, HIGH, 256];
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let mut files = Vec::new();
        for number in NUMBERS {
            let fd = move_to(t, new_file(t, &number.to_string())?, number)?;
            files.push((fd, t.setup(Call::new("fstat()", fds::file_of(fd)))?));
        }
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        for (fd, file) in files {
            for side in [Side::Caller, Side::Peer(&peer)] {
                t.check(side.ask(t, &format!("fstat({fd})"), fd, fds::file_of)?).is(file)?;
                let gap = fd + 2;
                if !NUMBERS.contains(&gap) {
                    t.check(side.ask(t, &format!("fstat({gap})"), gap, fds::file_of)?).fails_with(Errno::EBADF)?;
                }
            }
            // The same open file, not the same file opened anew: the offset is one.
            let to = i64::from(fd) + 1000;
            Side::Peer(&peer).must(t, "lseek()", (fd, to), seek)?;
            t.check(Call::new(format!("lseek({fd}, 0, SEEK_CUR)"), offset(fd))).is(to)?;
            if t.facts().has(feature::KCMP) {
                let (a, b) = (getpid().as_raw(), peer.pid().as_raw());
                // SAFETY: kcmp on numbers; 0 is KCMP_FILE.
                let order = unsafe { libc::syscall(libc::SYS_kcmp, a, b, 0, fd, fd) };
                t.check(Call::new(format!("kcmp(KCMP_FILE, {fd}, {fd})"), Errno::result(order))).is(0)?;
            }
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.files.offset",
    about: "File offset and status flags belong to the open file: they stay shared after unshare(CLONE_FILES).",
    proves: &["EFF-FILES-05"],
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let fd = new_file(t, "file")?;
        t.setup(Call::new("lseek()", seek((fd, 7))))?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let mut expected = 7;
        t.check(other.ask(t, "lseek(SEEK_CUR)", fd, offset)?).is(expected)?;
        for (acting, watching) in [(caller, other), (other, caller)] {
            acting.must(t, "write(1 byte)", fd, write_byte)?;
            expected += 1;
            t.check(watching.ask(t, "lseek(SEEK_CUR)", fd, offset)?).is(expected)?;
            for append in [true, false] {
                acting.must(t, "fcntl(F_SETFL)", (fd, append), set_append)?;
                t.check(watching.ask(t, "O_APPEND of fcntl(F_GETFL)", fd, is_append)?).is(append)?;
            }
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.files.kcmp",
    about: "kcmp(2) reports the table as shared before unshare(CLONE_FILES), and as not shared after it.",
    proves: &["EFF-FILES-06"],
    needs: Needs::NONE.with(feature::KCMP),
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES | Flags::SYSVSEM)?;
        check_kcmp(t, &peer, Shared::Files, true, "EFF-FILES-06")?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        check_kcmp(t, &peer, Shared::Files, false, "EFF-FILES-06")?;
        check_kcmp(t, &peer, Shared::Fs, true, "EFF-FS-12")
    }
});

case!(Case {
    name: "separation.files.posix_lock",
    about: "A POSIX record lock belongs to the table it was taken through, after unshare(CLONE_FILES) the other \
            task's: the caller conflicts with its own lock and cannot drop it by close(2); the other task can.",
    proves: &["EFF-FILES-07"],
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let (fd, again) = (new_file(t, "locked")?, new_file(t, "locked")?);
        let set = |side: Side, fd: i32| side.ask(t, "fcntl(F_SETLK, F_WRLCK)", (libc::F_SETLK, fd), write_lock);
        t.setup(set(caller, fd)?)?;
        // One table is one owner.
        t.check(set(other, fd)?).succeeds()?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        t.check(set(caller, fd)?).fails_with(Errno::EAGAIN)?;
        t.check(set(other, fd)?).succeeds()?;
        caller.must(t, "close()", fd, nix::unistd::close)?;
        t.check(set(caller, again)?).fails_with(Errno::EAGAIN)?;
        other.must(t, "close()", fd, nix::unistd::close)?;
        t.check(set(caller, again)?).succeeds()
    }
});

/// Kinds of locks that the open file owns.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Lock {
    Ofd,
    Flock,
}

fn lock_open_file((kind, fd): (Lock, i32)) -> Result<(), Errno> {
    if let Lock::Ofd = kind {
        return write_lock((libc::F_OFD_SETLK, fd));
    }
    call!(flock, fd, libc::LOCK_EX | libc::LOCK_NB).map(drop).map_err(fds::errno)
}

case!(Case {
    name: "separation.files.open_file_lock",
    about: "unshare(CLONE_FILES) does not touch the locks of an open file (OFD locks, flock(2)): neither task \
            conflicts with them, and they last until both have closed the descriptor.",
    proves: &["EFF-FILES-08"],
    variants: || variants::named(&[("ofd", Lock::Ofd), ("flock", Lock::Flock)]),
    run: |t| {
        let kind: Lock = t.param();
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let (fd, again) = (new_file(t, "locked")?, new_file(t, "locked")?);
        let set = |side: Side, fd: i32| side.ask(t, "lock of the open file", (kind, fd), lock_open_file);
        t.setup(set(caller, fd)?)?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        t.check(set(caller, fd)?).succeeds()?;
        t.check(set(other, fd)?).succeeds()?;
        t.check(set(caller, again)?).fails_with(Errno::EAGAIN)?;
        caller.must(t, "close()", fd, nix::unistd::close)?;
        t.check(set(caller, again)?).fails_with(Errno::EAGAIN)?;
        other.must(t, "close()", fd, nix::unistd::close)?;
        t.check(set(caller, again)?).succeeds()
    }
});

fn add_to_event_counter((fd, number): (i32, u64)) -> Result<(), Errno> {
    with_fd(fd, |fd| nix::unistd::write(fd, &number.to_ne_bytes()).map(drop))
}

fn take_event_counter(fd: i32) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    with_fd(fd, |fd| nix::unistd::read(fd, &mut bytes))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// What an epoll set reports at once, by the data each event carries.
fn ready_of(epoll: i32) -> Result<Vec<u64>, Errno> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: the array lives through the call and has the length given.
    let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 8, 0) };
    let count = Errno::result(count)? as usize;
    Ok(events[..count].iter().map(|event| event.u64).collect())
}

case!(Case {
    name: "separation.files.live_objects",
    about: "A pipe, socket pair, event counter and epoll set opened before work on, in each task and between them.",
    proves: &["EFF-FILES-09"],
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let pipe = t.setup(Call::new("pipe2(O_NONBLOCK)", nix::unistd::pipe2(OFlag::O_NONBLOCK)))?;
        let (output, input) = (pipe.0.as_raw_fd(), pipe.1.as_raw_fd());
        let mut pair = [0; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        // SAFETY: the array takes two descriptors. eventfd and epoll take numbers.
        let (made, counter, epoll) = unsafe {
            (
                libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()),
                libc::eventfd(0, libc::EFD_NONBLOCK),
                libc::epoll_create1(0),
            )
        };
        t.setup(Call::new("socketpair(AF_UNIX)", Errno::result(made)))?;
        let counter = t.setup(Call::new("eventfd()", Errno::result(counter)))?;
        let epoll = t.setup(Call::new("epoll_create1()", Errno::result(epoll)))?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 77 };
        // SAFETY: the event lives through the call.
        let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, output, &raw mut event) };
        t.setup(Call::new("epoll_ctl(ADD)", Errno::result(added)))?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        for (acting, watching) in [(caller, other), (other, caller)] {
            for side in [acting, watching] {
                t.check(side.ask(t, "epoll_wait(empty pipe)", epoll, ready_of)?).is(vec![])?;
            }
            t.check(acting.ask(t, "write(pipe)", input, write_byte)?).succeeds()?;
            for side in [acting, watching] {
                t.check(side.ask(t, "epoll_wait(filled pipe)", epoll, ready_of)?).is(vec![77])?;
            }
            t.check(watching.ask(t, "read(pipe)", output, read_some)?).is(1)?;
            for (near, far) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                t.check(acting.ask(t, "write(socket)", near, write_byte)?).succeeds()?;
                t.check(watching.ask(t, "read(socket)", far, read_some)?).is(1)?;
            }
            t.check(acting.ask(t, "write(eventfd, 5)", (counter, 5), add_to_event_counter)?).succeeds()?;
            t.check(watching.ask(t, "read(eventfd)", counter, take_event_counter)?).is(5)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.files.not_shared",
    about: "unshare(CLONE_FILES) on a table that is not, or no longer, shared succeeds and changes nothing.",
    proves: &["EFF-FILES-11", "RET-02"],
    run: |t| {
        move_to(t, new_file(t, "file")?, HIGH)?;
        t.unshare(Flags::FILES).proving("EFF-FILES-11").as_predicted()?;
        Peer::start(t, "peer", Flags::FILES)?.end();
        for _ in 0..2 {
            t.unshare(Flags::FILES).proving("RET-02").as_predicted()?;
        }
        t.check(Call::new("fcntl(200, F_GETFD)", descriptor_flags(HIGH))).proves("EFF-FILES-11").is(libc::FD_CLOEXEC)
    }
});

/// The lowest value fs.nr_open takes (LIM-03).
const LOWEST_NR_OPEN: &str = "64";

/// Lowers fs.nr_open below an open descriptor; the supervisor puts it back.
#[track_caller]
fn lower_nr_open(t: &Test) -> Done {
    let path = global::NR_OPEN.path();
    t.setup(Call::io(format!("write({path}, 64)"), fs::write(path, LOWEST_NR_OPEN)))
}

case!(Case {
    name: "separation.files.beyond_nr_open",
    about: "A shared table with a descriptor beyond fs.nr_open is not copied (EMFILE), and stays shared.",
    proves: &["ERR-36", "DIFF-09"],
    source: "man-pages do not have it; kernel, fs/file.c",
    needs: Needs::NONE.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| {
        const ID: &str = "ERR-36";
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        move_to(t, new_file(t, "file")?, HIGH)?;
        lower_nr_open(t)?;
        let start = Start { beyond_nr_open: true, ..Start::of(t.facts()) };
        t.unshare(Flags::FILES).from(start).beside(&[&peer]).proving(ID).as_predicted()?;
        check_shared(t, &dirs, Probe::Descriptor, (Side::Caller, Side::Peer(&peer)), ID)?;
        check_kcmp(t, &peer, Shared::Files, true, ID)
    }
});

case!(Case {
    name: "separation.files.not_shared_beyond_nr_open",
    about: "A table that is not shared is not copied: with a descriptor beyond fs.nr_open the call succeeds.",
    proves: &["EFF-FILES-11", "ERR-38"],
    source: "man-pages do not have it; kernel, fs/file.c",
    needs: Needs::NONE.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| {
        move_to(t, new_file(t, "file")?, HIGH)?;
        lower_nr_open(t)?;
        t.unshare(Flags::FILES).proving("EFF-FILES-11").as_predicted()
    }
});

fn unrelated_flags() -> Vec<Variant> {
    variants::succeeding(Flags::KNOWN.into_iter().filter(|flag| *flag != Flags::FILES))
}

case!(Case {
    name: "separation.files.kept_by",
    about: "No flag but CLONE_FILES gives the caller a table of its own.",
    proves: &["EFF-FILES-13"],
    quick: one_in(4, 1),
    variants: unrelated_flags,
    run: |t| {
        const ID: &str = "EFF-FILES-13";
        let dirs = ProbeDirs::make(t, &[])?;
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let sides = (Side::Caller, Side::Peer(&peer));
        t.unshare(t.param::<Flags>()).beside(&[&peer]).as_predicted()?;
        check_kcmp(t, &peer, Shared::Files, true, ID)?;
        check_shared(t, &dirs, Probe::Descriptor, sides, ID)
    }
});

case!(Case {
    name: "separation.files.inherited",
    about: "After unshare(CLONE_FILES) fork(2) copies the caller's own table, and execve(2) keeps it but for \
            close-on-exec; neither child has what the former sharer opens.",
    proves: &["EFF-FILES-15"],
    run: |t| {
        const OWN: i32 = 150;
        const CLOSED: i32 = 151;
        const PEERS: i32 = 152;
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        t.setup(Call::new("dup3()", dup_to(0, OWN, 0).and_then(|()| dup_to(0, CLOSED, libc::O_CLOEXEC))))?;
        peer.setup(t, "dup3() by the peer", (), |()| dup_to(0, PEERS, 0))?;
        let open_in = |pid: Pid, whose: &str| {
            let open = |fd: &i32| fs::symlink_metadata(format!("/proc/{pid}/fd/{fd}")).is_ok();
            let list: Vec<_> = (OWN..=PEERS).filter(open).collect();
            Call::seen(format!("descriptors 150 to 152 {whose}"), list)
        };
        let forked = Peer::start(t, "forked child", Flags::NONE)?;
        t.check(open_in(forked.pid(), "of a forked child")).is(vec![OWN, CLOSED])?;
        let executed = Executed::after(t, "executed child", |_| Ok(()))?;
        t.check(open_in(executed.pid(), "after fork and execve")).is(vec![OWN])?;
        t.check(open_in(peer.pid(), "of the former sharer")).is(vec![PEERS])
    }
});
