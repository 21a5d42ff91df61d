//! What the memory of a new table held before must not show in it (section 3.2 of the behaviour catalogue).

use std::os::unix::net::UnixDatagram;
use std::sync::RwLock;
use std::sync::mpsc::channel;

use super::mnt::stay_on_this_cpu;
use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_FILES; kernel, fs/file.c (dup_fd)";

/// Beyond what a table has room for that ends in one of the cases, so that the copy has to grow to take it.
const BEYOND: i32 = 300;

/// Each number that is open, with its flag and what it names. The flags are asked for all numbers: what is open only by
/// half answers that call first.
fn open_ones() -> Vec<(i32, i32, (u64, u64))> {
    let flags = |fd: i32| call!(fcntl, fd, libc::F_GETFD).ok().map(|flags| flags as i32);
    let file = |fd: i32| fds::file_of(fd).unwrap_or_default();
    let open: Vec<_> = (0..2 * BEYOND).filter_map(|fd| Some((fd, flags(fd)?))).collect();
    open.into_iter().map(|(fd, flags)| (fd, flags, file(fd))).collect()
}

/// The lowest number that is free, and whether it is closed to programs that are executed.
fn next_number() -> Result<(i32, i32), Errno> {
    let fd = call!(fcntl, 0, libc::F_DUPFD, 0).map_err(fds::errno)? as i32;
    let flags = call!(fcntl, fd, libc::F_GETFD).map_err(fds::errno)? as i32;
    fds::close(fd);
    Ok((fd, flags))
}

/// Shows that the limits of the place let a table grow so far.
#[track_caller]
fn must_reach_beyond(t: &Test) -> Done {
    t.setup(Call::new(format!("dup3(0, {BEYOND})"), dup_to(0, BEYOND, libc::O_CLOEXEC)))?;
    fds::close(BEYOND);
    Ok(())
}

/// A child that has a table of its own, opens all its numbers up to one, closed to programs that are executed, and ends.
fn end_a_table(last: i32) -> Result<(), Errno> {
    // SAFETY: the process has one thread, and the child makes system calls alone.
    match unsafe { fork() }? {
        ForkResult::Child => {
            (3..=last).filter(|number| !fds::is_open(*number)).for_each(|number| {
                let _ = dup_to(0, number, libc::O_CLOEXEC);
            });
            // SAFETY: ends the child without destructors.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => waitpid(child, None).map(drop),
    }
}

/// The highest number of a table that ends, and of the caller's, if it is to be higher than it is. Up to 63 the numbers
/// are in the table itself; those up to 150 take a list that has room up to 255.
const TABLES: [(&str, (i32, Option<i32>)); 4] = [
    ("small_after_small", (63, None)),
    ("small_after_large", (255, None)),
    ("large_after_small", (63, Some(150))),
    ("large_after_large", (255, Some(150))),
];

case!(Case {
    name: "separation.files.after_another",
    about: "A table that is copied right after another one has ended on the same CPU, whose memory it gets, has what the \
            caller's had and nothing of the other's: no number more, the lowest one free, and it grows.",
    proves: &["EFF-FILES-18"],
    variants: || variants::named(&TABLES),
    run: |t| {
        let (ended, own): (i32, Option<i32>) = t.param();
        must_reach_beyond(t)?;
        // What is freed on a CPU is what is taken there next.
        t.setup(Call::new("sched_setaffinity(this CPU)", stay_on_this_cpu()))?;
        // Others take memory of the same kind meanwhile, now and then.
        for _ in 0..8 {
            let peer = Peer::start(t, "peer", Flags::FILES)?;
            // A child has at least what the caller has.
            let grow = || own.map_or(Ok(()), |own| t.setup(Call::new(format!("dup3(0, {own})"), dup_to(0, own, 0))));
            if own.is_some_and(|own| own < ended) {
                grow()?;
            }
            t.setup(Call::new(format!("fork() of a child with numbers up to {ended}"), end_a_table(ended)))?;
            grow()?;
            let before = (open_ones(), t.setup(Call::new("fcntl(F_DUPFD)", next_number()))?);
            t.check(Call::zero_on_success("unshare(CLONE_FILES)", unshare_raw(Flags::FILES))).succeeds()?;
            t.check(Call::seen("open numbers, their flags and files", open_ones())).is(before.0)?;
            t.check(Call::new("lowest free number and its flag", next_number())).is(before.1)?;
            t.check(Call::new(format!("dup3(0, {BEYOND})"), dup_to(0, BEYOND, 0))).succeeds()?;
            t.check(Call::seen("whether it is open", fds::is_open(BEYOND))).is(true)?;
            fds::close(BEYOND);
            if let Some(own) = own {
                fds::close(own);
            }
            peer.end();
        }
        Ok(())
    }
});

/// Fills memory of the kernel with ones and gives it back, as far as the place lets it: pages of pipes, which are single,
/// and of messages, which are in rows of two, four and eight.
fn leave_ones_in_memory() {
    const PAGE: usize = 4096;
    let ones = [0xff; 16 * PAGE];
    let pipes = || nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok();
    let pipes: Vec<_> = (0..60).map_while(|_| pipes()).collect();
    for (_, input) in &pipes {
        while nix::unistd::write(input, &ones[..PAGE]).is_ok() {}
    }
    // The first four pages of a message are in a row by themselves.
    let pairs: Vec<_> = (0..60).map_while(|_| UnixDatagram::pair().ok()).collect();
    for (at, (input, _)) in pairs.iter().enumerate() {
        let _ = input.set_nonblocking(true);
        let pages = 4 + [2, 4, 8][at % 3];
        while input.send(&ones[..pages * PAGE]).is_ok() {}
    }
}

/// What a thread saw of its copy: the result of the call, the open numbers, the next one, and whether it could grow.
type Copied = (i64, Vec<i32>, Result<(i32, i32), Errno>, Result<(), Errno>);

fn copy_and_grow() -> Copied {
    let result = unshare_raw(Flags::FILES);
    let open = (0..BEYOND).filter(|fd| fds::is_open(*fd)).collect();
    (result, open, next_number(), dup_to(0, BEYOND, libc::O_CLOEXEC))
}

case!(Case {
    name: "separation.files.many_copies",
    about: "Each of many threads gets a copy that has what the table had and can grow, whatever the memory contained \
            that the kernel takes for so many tables.",
    proves: &["EFF-FILES-18"],
    run: |t| {
        /// More than there is room for without new memory.
        const THREADS: usize = 100;
        must_reach_beyond(t)?;
        // What is freed on a CPU is what is taken there next.
        t.setup(Call::new("sched_setaffinity(this CPU)", stay_on_this_cpu()))?;
        let open: Vec<_> = (0..BEYOND).filter(|fd| fds::is_open(*fd)).collect();
        let next = t.setup(Call::new("fcntl(F_DUPFD)", next_number()))?;
        // Nobody calls before all have started, which takes a descriptor of a C library, and nobody ends before all have
        // called, so that no memory is used twice.
        let (all_started, all_called, ready) = (RwLock::new(()), RwLock::new(()), AtomicUsize::new(0));
        let mut refused = None;
        let seen: Vec<Copied> = std::thread::scope(|scope| {
            let (starting, calling) = (all_started.write(), all_called.write());
            let (send, receive) = channel();
            // A place may allow less of them.
            let started = (0..THREADS).map_while(|_| {
                let (send, before, after, ready) = (send.clone(), &all_started, &all_called, &ready);
                let body = move || {
                    ready.fetch_add(1, Ordering::AcqRel);
                    drop(before.read());
                    let _ = send.send(copy_and_grow());
                    drop(after.read());
                };
                let small = std::thread::Builder::new().stack_size(64 * 1024);
                small.spawn_scoped(scope, body).map_err(|error| refused = Some(error)).ok()
            });
            let started = started.count();
            yield_until(|| ready.load(Ordering::Acquire) == started);
            leave_ones_in_memory();
            drop(starting);
            let seen = receive.iter().take(started).collect();
            drop(calling);
            seen
        });
        if let Some(error) = refused.filter(|_| seen.is_empty()) {
            t.setup(Call::io("pthread_create()", Err(error)))?;
        }
        for (result, numbers, lowest, grown) in seen {
            t.check(Call::zero_on_success("unshare(CLONE_FILES) by a thread", result)).succeeds()?;
            t.check(Call::seen("open numbers in its copy", numbers)).is(open.clone())?;
            t.check(Call::new("lowest free number and its flag", lowest)).is(next)?;
            t.check(Call::new(format!("dup3(0, {BEYOND}) in its copy"), grown)).succeeds()?;
        }
        Ok(())
    }
});
