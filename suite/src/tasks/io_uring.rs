//! Threads that the kernel itself adds to a process, the helpers of io_uring(7); and its requests.

use crate::spec::prelude::*;
use rustix::fs::CWD;
use rustix::io_uring::*;
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::tasks::threads::{others, yield_until};

/// A ring with a helper thread, until it is dropped and the helper has noticed.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
}

impl Ring {
    #[track_caller]
    fn set_up(t: &Test, flags: IoringSetupFlags) -> Done<(Ring, io_uring_params)> {
        let mut params = io_uring_params::default();
        (params.flags, params.sq_thread_idle) = (flags, 1);
        let call = format!("io_uring_setup(1, {:#x})", flags.bits());
        // SAFETY: the parameters ask for nothing that lies in memory.
        let fd = unsafe { io_uring_setup(1, &mut params) }.map_err(io::Error::from);
        let fd = t.setup(Call::io(call, fd))?;
        // Since 5.12, and 5.10.162 among the stable releases, helpers are threads of the process that owns the ring;
        // before, they were threads of the kernel.
        if !params.features.contains(IoringFeatureFlags::NATIVE_WORKERS) {
            return Err(t.skip("on this kernel io_uring's helpers are no threads of the process (Linux 5.12)"));
        }
        Ok((Ring { fd }, params))
    }

    /// A ring whose submissions are watched by a kernel helper (IORING_SETUP_SQPOLL).
    ///
    /// # Errors
    /// It cannot be made: the case is broken, or skipped where the helper is no thread of the
    /// process.
    #[track_caller]
    pub fn with_poller(t: &Test) -> Done<Ring> {
        Ring::set_up(t, IoringSetupFlags::SQPOLL).map(|(ring, _)| ring)
    }

    /// A ring with a request that keeps a worker of the kernel's busy: to open a FIFO, which nobody
    /// writes to. Gives the FIFO, too, once the worker is there.
    ///
    /// # Errors
    /// As [`with_poller`](Self::with_poller).
    #[track_caller]
    pub fn with_worker(t: &Test) -> Done<(Ring, PathBuf)> {
        let fifo = t.directory()?.join("fifo");
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        t.setup(Call::new("mkfifo()", nix::unistd::mkfifo(&fifo, mode)))?;
        let path = CString::new(fifo.as_os_str().as_bytes()).expect("a path without a zero byte");
        let (ring, params) = Ring::set_up(t, IoringSetupFlags::empty())?;
        let mut queue = t.setup(Call::new("mmap(ring)", Queue::of(&ring.fd, params)))?;
        let request = io_uring_sqe {
            opcode: IoringOp::Openat,
            flags: IoringSqeFlags::ASYNC,
            fd: CWD.as_raw_fd(),
            addr_or_splice_off_in: addr_or_splice_off_in_union { addr: io_uring_ptr::new(path.as_ptr() as *mut _) },
            op_flags: op_flags_union { open_flags: OFlags::RDONLY },
            ..io_uring_sqe::default()
        };
        // The request's path is copied at once.
        t.setup(Call::new("io_uring_enter()", queue.submit(&[request])))?;
        yield_until(|| !others().is_empty());
        Ok((ring, fifo))
    }
}

/// The requests of a ring, and how they end.
#[derive(Debug)]
pub struct Queue {
    fd: OwnedFd,
    params: io_uring_params,
    /// Both queues, of requests and of their ends.
    rings: *mut u8,
    requests: *mut io_uring_sqe,
}

impl Queue {
    /// A ring with room for so many requests, which asks for no helpers.
    ///
    /// # Errors
    /// As io_uring_setup(2) and mmap(2).
    pub fn new(entries: u32) -> Result<Queue, Errno> {
        let mut params = io_uring_params::default();
        // SAFETY: the parameters ask for nothing that lies in memory.
        let fd = unsafe { io_uring_setup(entries, &mut params) }.map_err(io_errno)?;
        Queue::of(&fd, params)
    }

    /// The queues of a ring.
    fn of(fd: &OwnedFd, params: io_uring_params) -> Result<Queue, Errno> {
        let fd = fd.try_clone().map_err(errno_of)?;
        let requests = params.sq_off.array as usize + params.sq_entries as usize * size_of::<u32>();
        let ends = params.cq_off.cqes as usize + params.cq_entries as usize * size_of::<io_uring_cqe>();
        // One mapping has both since Linux 5.4 (IORING_FEAT_SINGLE_MMAP).
        let rings = map(&fd, requests.max(ends), IORING_OFF_SQ_RING)?;
        let requests = map(&fd, params.sq_entries as usize * size_of::<io_uring_sqe>(), IORING_OFF_SQES)?.cast();
        Ok(Queue { fd, params, rings, requests })
    }

    /// The number at this offset of the queues.
    fn number(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel gave the offset, of an aligned number within the mapping, which is never undone.
        unsafe { &*self.rings.add(offset as usize).cast::<AtomicU32>() }
    }

    /// Gives the kernel these requests, for which the ring must have room. What they point to must live until they end.
    ///
    /// # Errors
    /// As io_uring_enter(2).
    pub fn submit(&mut self, requests: &[io_uring_sqe]) -> Result<(), Errno> {
        let tail = self.number(self.params.sq_off.tail);
        for request in requests {
            let index = tail.load(Ordering::Relaxed) % self.params.sq_entries;
            // SAFETY: the index is one of the ring's.
            unsafe { self.requests.add(index as usize).write(*request) };
            self.number(self.params.sq_off.array + index * size_of::<u32>() as u32).store(index, Ordering::Relaxed);
            tail.fetch_add(1, Ordering::Release);
        }
        // SAFETY: the caller sees to it that what the requests point to lives on.
        let taken = unsafe { io_uring_enter(&self.fd, requests.len() as u32, 0, IoringEnterFlags::empty()) };
        match taken.map_err(io_errno)? as usize {
            all if all == requests.len() => Ok(()),
            _ => Err(Errno::EAGAIN),
        }
    }

    /// Waits until so many requests have ended, and gives what each that has ended until now ended with: a negative
    /// errno, or what the request says.
    ///
    /// # Errors
    /// As io_uring_enter(2); EINTR also where fewer have ended, which are then forgotten.
    pub fn wait(&mut self, count: u32) -> Result<Vec<i32>, Errno> {
        // SAFETY: no request is given.
        unsafe { io_uring_enter(&self.fd, 0, count, IoringEnterFlags::GETEVENTS) }.map_err(io_errno)?;
        let (head, tail) = (self.number(self.params.cq_off.head), self.number(self.params.cq_off.tail));
        let mut results = Vec::new();
        while head.load(Ordering::Relaxed) != tail.load(Ordering::Acquire) {
            let index = head.load(Ordering::Relaxed) % self.params.cq_entries;
            let place = self.params.cq_off.cqes as usize + index as usize * size_of::<io_uring_cqe>();
            // SAFETY: the kernel has written this entry, within the mapping.
            results.push(unsafe { (*self.rings.add(place).cast::<io_uring_cqe>()).res });
            head.fetch_add(1, Ordering::Release);
        }
        // A signal that comes when some have ended is no error of the call.
        if results.len() < count as usize { Err(Errno::EINTR) } else { Ok(results) }
    }

    /// Has [`wait_until`](Self::wait_until) go by this clock (Linux 6.12).
    ///
    /// # Errors
    /// As io_uring_register(2): EINVAL where there is no such choice.
    pub fn set_clock(&self, clock: i32) -> Result<(), Errno> {
        // struct io_uring_clock_register of linux/io_uring.h.
        let argument = [clock as u32, 0, 0, 0];
        let argument = argument.as_ptr().cast();
        // SAFETY: the argument lives through the call.
        let set = unsafe { io_uring_register(&self.fd, IoringRegisterOp::RegisterClock, argument, 0) };
        set.map(drop).map_err(io_errno)
    }

    /// Waits for a request to end until the ring's clock has this time (IORING_ENTER_ABS_TIMER, Linux 6.12), where none
    /// was given.
    ///
    /// # Errors
    /// As io_uring_enter(2), but for ETIME.
    pub fn wait_until(&self, until: &Time) -> Result<(), Errno> {
        let ts = io_uring_ptr::new(std::ptr::from_ref(until).cast_mut().cast());
        let argument = io_uring_getevents_arg { ts, ..io_uring_getevents_arg::default() };
        let flags = IoringEnterFlags::GETEVENTS | IoringEnterFlags::EXT_ARG | IoringEnterFlags::ABS_TIMER;
        // SAFETY: the argument lives through the call.
        match unsafe { io_uring_enter_arg(&self.fd, 0, 1, flags, Some(&argument)) }.map_err(io_errno) {
            Err(Errno::ETIME) => Ok(()),
            Err(errno) => Err(errno),
            Ok(_) => Err(Errno::EPROTO),
        }
    }
}

/// A request that ends at this time, or after it, as the flags say. The time is read when the request is given.
pub fn time_request(operation: IoringOp, time: &Time, flags: IoringTimeoutFlags) -> io_uring_sqe {
    let time = io_uring_ptr::new(std::ptr::from_ref(time).cast_mut().cast());
    io_uring_sqe {
        opcode: operation,
        fd: -1,
        addr_or_splice_off_in: addr_or_splice_off_in_union { addr: time },
        len: len_union { len: 1 },
        op_flags: op_flags_union { timeout_flags: flags },
        ..io_uring_sqe::default()
    }
}

fn io_errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Maps a part of a ring. The mapping is never undone.
fn map(fd: &OwnedFd, length: usize, offset: u64) -> Result<*mut u8, Errno> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
    // SAFETY: a fresh mapping of a descriptor of ours.
    let address = unsafe { mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
    address.map(|address| address.cast()).map_err(io_errno)
}
