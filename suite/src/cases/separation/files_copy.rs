//! Odd tables of descriptors that are copied (section 3.2 of the behaviour catalogue): a number in the making, a
//! table that was once larger, one shared with a parent that sleeps in vfork.

use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_FILES; kernel, fs/file.c";

/// Whether a number names an open descriptor.
fn is_open(fd: i32) -> Call<bool> {
    Call::seen(format!("fcntl({fd}, F_GETFD)"), fds::is_open(fd))
}

/// The lowest number that is free.
fn lowest_free() -> Result<i32, Errno> {
    // SAFETY: takes numbers; the new descriptor is closed at once.
    unsafe {
        let fd = Errno::result(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 0))?;
        libc::close(fd);
        Ok(fd)
    }
}

case!(Case {
    name: "separation.files.open_in_flight",
    about: "While another thread sleeps in open(2), the number of its future descriptor is free in the copy. Once the \
            open returns, the descriptor is in the old table alone.",
    proves: &["EFF-FILES-10"],
    run: |t| {
        let fifo = t.directory()?.join("fifo");
        t.setup(Call::new("mkfifo()", nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600))))?;
        let (thread, go) = (AtomicI32::new(0), AtomicBool::new(false));
        let number = AtomicI32::new(-1);
        std::thread::scope(|scope| {
            let opener = scope.spawn(|| {
                t.name_task("second thread");
                thread.store(gettid().as_raw(), Ordering::Release);
                // Awake all the time, so that once it sleeps it does in open(2).
                yield_until(|| go.load(Ordering::Acquire));
                // Sleeps until somebody opens the other end.
                let opened = File::open(&fifo).map(IntoRawFd::into_raw_fd);
                let fd = t.setup(Call::io("open(fifo)", opened))?;
                all([
                    t.check(Call::seen("the number that open() gave", fd)).is(number.load(Ordering::Acquire)),
                    t.check(is_open(fd)).is(true),
                ])
            });
            yield_until(|| thread.load(Ordering::Acquire) != 0);
            // From here on nothing else is opened: the thread gets the lowest number.
            let path = format!("/proc/self/task/{}/stat", thread.load(Ordering::Acquire));
            let stat = File::open(&path);
            let free = lowest_free().unwrap_or(-1);
            number.store(free, Ordering::Release);
            go.store(true, Ordering::Release);
            yield_until(|| opener.is_finished() || !stat.as_ref().is_ok_and(|stat| !sleeps(stat)));
            let start = Start { threads: Threads::Others, ..Start::of(t.facts()) };
            // Kept open: closing it would give another number free.
            let stat = t.setup(Call::io(format!("open({path})"), stat));
            let judge = || {
                let next = lowest_free();
                if !next.is_ok_and(|next| next != free) {
                    return Err(t.broken("lowest free number while the thread is in open()", format!("{next:?}")));
                }
                t.unshare(Flags::FILES).from(start).as_predicted()?;
                all([
                    t.check(is_open(free)).is(false),
                    t.check(Call::new("the lowest free number in the copy", lowest_free())).is(free),
                    t.check(unsound_descriptors()).is(vec![]),
                ])
            };
            let judged =
                stat.as_ref().map_err(|_| t.broken("second thread", "cannot be watched")).and_then(|_| judge());
            // Whatever came of it, the thread has to go on.
            let other_end = File::options().read(true).write(true).open(&fifo);
            let other_end = t.setup(Call::io("open(fifo, O_RDWR)", other_end));
            let opened = opener.join().unwrap_or_else(|_| Err(t.broken("thread", "panicked")));
            judged.and(opened).and(other_end.map(drop))
        })
    }
});

/// Whether a thread, by its file stat of /proc, sleeps.
fn sleeps(stat: &File) -> bool {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 512];
    let length = stat.read_at(&mut text, 0).unwrap_or(0);
    // Behind the name, which is in parentheses and may hold any character.
    let text = String::from_utf8_lossy(&text[..length]);
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Descriptors of the caller that are listed and do not answer fstat(2).
fn unsound_descriptors() -> Call<Vec<i32>> {
    let listed = fs::read_dir("/proc/thread-self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect::<Vec<i32>>()
    });
    let unsound = listed.map(|numbers| {
        numbers
            .into_iter()
            .filter(|fd| {
                // The list's own descriptor is closed by now.
                // SAFETY: zeroes are a valid stat, which lives through the call.
                let stat = unsafe { libc::fstat(*fd, &mut std::mem::zeroed()) };
                stat != 0 && is_open(*fd).result() == Ok(&true)
            })
            .collect()
    });
    Call::io("descriptors of the copy that fstat() refuses", unsound)
}

case!(Case {
    name: "separation.files.once_larger",
    about: "A table that once had a high number is copied up to its highest present one: the call succeeds even if \
            fs.nr_open was lowered below the high one meanwhile.",
    proves: &["EFF-FILES-12"],
    needs: Needs::NONE.with(feature::INITIAL_ROOT).disturbing(global::NR_OPEN),
    run: |t| {
        /// Below the usual limit on open files, and above what fs.nr_open is lowered to.
        const HIGH: i32 = 1000;
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        t.setup(Call::new(format!("dup3(0, {HIGH})"), dup_to(0, HIGH, libc::O_CLOEXEC)))?;
        t.setup(Call::new("close()", nix::unistd::close(HIGH)))?;
        let path = global::NR_OPEN.path();
        t.setup(Call::io(format!("write({path}, 64)"), fs::write(path, "64")))?;
        t.unshare(Flags::FILES).beside(&[&peer]).as_predicted()?;
        check_kcmp(t, &peer, Shared::Files, false, "EFF-FILES-12")?;
        t.setup(Call::new("dup3(0, 50)", dup_to(0, 50, libc::O_CLOEXEC)))?;
        t.check(peer.call(t, "fcntl(50, F_GETFD) by the peer", (), |()| Ok(fds::is_open(50)))?).is(false)
    }
});

/// What a vfork child does, and whether it leaves what it shares first.
struct Errand {
    leaves: bool,
    descriptor: i32,
}

/// Raw system calls only: the memory is the parent's.
fn close_and_go(errand: &Errand) -> i64 {
    let result = if errand.leaves { unshare_raw(Flags::FILES | Flags::FS) } else { 0 };
    // SAFETY: the calls take a number and a string.
    unsafe {
        let _ = syscall!(Sysno::close, errand.descriptor);
        let _ = syscall!(Sysno::chdir, c"/".as_ptr());
        let _ = syscall!(Sysno::umask, 0o123);
    }
    result
}

case!(Case {
    name: "separation.files.vfork_child",
    about: "A vfork child that shares table, current directory and umask changes its parent's, but not after \
            unshare(CLONE_FILES|CLONE_FS).",
    proves: &["EFF-FILES-14"],
    variants: || variants::named(&[("shared", false), ("unshared", true)]),
    run: |t| {
        let directory = t.directory()?.to_owned();
        t.setup(Call::new("chdir(the case's directory)", chdir(&directory)))?;
        let file = t.setup(Call::io("open(file)", File::create(directory.join("file"))))?;
        let leaves: bool = t.param();
        let errand = Errand { leaves, descriptor: file.as_raw_fd() };
        let mask = || {
            let mask = umask(Mode::empty());
            umask(mask);
            mask.bits()
        };
        let before = mask();
        let end = in_vfork_child_sharing(t, Flags::FILES | Flags::FS, &errand, close_and_go)?;
        t.check(Call::zero_on_success("unshare(CLONE_FILES|CLONE_FS) by a vfork child", end.result)).succeeds()?;
        let expected = if leaves { (true, directory, before) } else { (false, "/".into(), 0o123) };
        let fd = file.into_raw_fd();
        let open = t.setup(is_open(fd))?;
        let cwd = t.setup(Call::new("getcwd()", getcwd()))?;
        t.check(Call::seen("the parent's descriptor (whether open), cwd and umask", (open, cwd, mask()))).is(expected)
    }
});

case!(Case {
    name: "separation.files.failed_copy",
    about: "A call that fails when it has copied the table keeps nothing open: once the one writing end of a pipe is \
            closed, the reading end is at its end.",
    proves: &["EFF-FILES-16"],
    source: "2006 design document, 6 (failure leaves nothing behind); kernel, kernel/fork.c",
    needs: Needs::ROOT.with(feature::PID_NS),
    run: |t| {
        let peer = Peer::start(t, "peer", Flags::FILES)?;
        let start = second_pid(t)?;
        let pipe = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC);
        let (output, input) = t.setup(Call::new("pipe2(O_NONBLOCK)", pipe))?;
        for _ in 0..2 {
            t.unshare(Flags::FILES | Flags::NEWPID).from(start).beside(&[&peer]).as_predicted()?;
        }
        drop(input);
        t.check(Call::new("read(pipe)", nix::unistd::read(&output, &mut [0; 1]))).is(0)
    }
});

case!(Case {
    name: "separation.files.none_open",
    about: "A shared table in which nothing is open can be copied: the first descriptor of the copy is number 0, and \
            is not in the other.",
    proves: &["EFF-FILES-17"],
    run: |t| {
        // Threads, which report by memory alone.
        let seen = std::thread::scope(|scope| {
            let other = std::thread::Builder::new().spawn_scoped(scope, || {
                let own = unshare_raw(Flags::FILES);
                let closed = call!(close_range, 0, u32::MAX, 0).map(drop).map_err(fds::errno);
                let copied = std::thread::scope(|scope| {
                    let caller = std::thread::Builder::new().spawn_scoped(scope, || {
                        let copied = unshare_raw(Flags::FILES);
                        // SAFETY: takes numbers.
                        (copied, unsafe { libc::eventfd(0, 0) })
                    })?;
                    Ok(caller.join().unwrap_or((-1, -1)))
                });
                (own, closed, copied, fds::is_open(0))
            })?;
            Ok(other.join().ok())
        });
        let seen = t.setup(Call::io("start a thread", seen))?;
        let (own, closed, copied, open) = seen.ok_or_else(|| t.broken("thread", "panicked"))?;
        let (copied, first) = t.setup(Call::io("start a third thread", copied))?;
        t.setup(Call::zero_on_success("unshare(CLONE_FILES) by a second thread", own))?;
        if closed == Err(Errno::ENOSYS) {
            return Err(t.skip("close_range(2) does not exist (Linux 5.9)"));
        }
        t.setup(Call::new("close_range(all) by the second thread", closed))?;
        t.check(Call::zero_on_success("unshare(CLONE_FILES) by a third thread", copied)).succeeds()?;
        t.check(Call::seen("eventfd() by the third thread", first)).is(0)?;
        t.check(Call::seen("whether the second thread has it", open)).is(false)
    }
});
