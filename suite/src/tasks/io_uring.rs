//! Threads that the kernel itself adds to a process: the helpers of io_uring(7), by raw system
//! calls.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::prelude::*;

use crate::tasks::threads::{others, yield_until};

/// struct io_uring_params of linux/io_uring.h.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: Offsets,
    cq: Offsets,
}

/// struct io_sqring_offsets; that of the completion ring has the same size.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: [u32; 3],
}

/// The beginning of struct io_uring_sqe, and its size.
#[repr(C)]
#[derive(Default)]
struct Request {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    open_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

const SETUP_SQPOLL: u32 = 1 << 1;
const OP_OPENAT: u8 = 18;
const SQE_ASYNC: u8 = 1 << 4;
const OFFSET_SQ_RING: i64 = 0;
const OFFSET_REQUESTS: i64 = 0x1000_0000;

/// A ring with a helper thread, until it is dropped and the helper has noticed.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
}

/// The kernel's word that helpers are threads of the process that owns the ring (since 5.12, and 5.10.162 among the
/// stable releases); before, they were threads of the kernel.
const FEATURE_NATIVE_WORKERS: u32 = 1 << 9;

impl Ring {
    #[track_caller]
    fn set_up(t: &Test, flags: u32) -> Done<(Ring, Params)> {
        let mut params = Params { flags, sq_thread_idle: 1, ..Params::default() };
        // SAFETY: the parameters live through the call; the descriptor it gives is ours alone.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params) };
        let call = format!("io_uring_setup(1, {flags:#x})");
        let fd = t.setup(Call::new(call, Errno::result(fd)))?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        if params.features & FEATURE_NATIVE_WORKERS == 0 {
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
        Ring::set_up(t, SETUP_SQPOLL).map(|(ring, _)| ring)
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
        let (ring, params) = Ring::set_up(t, 0)?;
        let length = params.sq.array as usize + size_of::<u32>();
        let queue = ring.map(t, length, OFFSET_SQ_RING)?;
        let requests = ring.map(t, size_of::<Request>(), OFFSET_REQUESTS)?;
        let request = Request {
            opcode: OP_OPENAT,
            flags: SQE_ASYNC,
            fd: libc::AT_FDCWD,
            address: path.as_ptr() as u64,
            open_flags: libc::O_RDONLY as u32,
            ..Request::default()
        };
        // SAFETY: both mappings have room for what is written, at the offsets the kernel gave. The
        // request is one of one, and its index is 0.
        unsafe {
            requests.cast::<Request>().write(request);
            let array = queue.add(params.sq.array as usize);
            array.cast::<u32>().write(0);
            let tail = &*queue.add(params.sq.tail as usize).cast::<AtomicU32>();
            tail.fetch_add(1, Ordering::Release);
        }
        // SAFETY: io_uring_enter(2) without a signal mask; the request's path is copied at once.
        let submitted = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring.fd.as_raw_fd(), 1, 0, 0, 0, 0) };
        t.setup(Call::new("io_uring_enter()", Errno::result(submitted)))?;
        yield_until(|| !others().is_empty());
        Ok((ring, fifo))
    }

    /// Maps a part of the ring. The mapping is never undone.
    #[track_caller]
    fn map(&self, t: &Test, length: usize, offset: i64) -> Done<*mut u8> {
        // SAFETY: a fresh mapping of a descriptor of ours.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                self.fd.as_raw_fd(),
                offset,
            )
        };
        let result = if address == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(address.cast()) };
        t.setup(Call::new(format!("mmap(ring, {offset:#x})"), result))
    }
}
