//! Threads that the kernel itself adds to a process: the helpers of io_uring(7).

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
        let (tail, array) = (params.sq_off.tail as usize, params.sq_off.array as usize);
        let queue = ring.map(t, array + size_of::<u32>(), IORING_OFF_SQ_RING)?;
        let requests = ring.map(t, size_of::<io_uring_sqe>(), IORING_OFF_SQES)?;
        let request = io_uring_sqe {
            opcode: IoringOp::Openat,
            flags: IoringSqeFlags::ASYNC,
            fd: CWD.as_raw_fd(),
            addr_or_splice_off_in: addr_or_splice_off_in_union { addr: io_uring_ptr::new(path.as_ptr() as *mut _) },
            op_flags: op_flags_union { open_flags: OFlags::RDONLY },
            ..io_uring_sqe::default()
        };
        // SAFETY: both mappings have room for what is written, at the offsets the kernel gave. The
        // request is one of one, and its index is 0.
        unsafe {
            requests.cast::<io_uring_sqe>().write(request);
            queue.add(array).cast::<u32>().write(0);
            (*queue.add(tail).cast::<AtomicU32>()).fetch_add(1, Ordering::Release);
        }
        // SAFETY: the request's path is copied at once.
        let submitted = unsafe { io_uring_enter(&ring.fd, 1, 0, IoringEnterFlags::empty()) };
        t.setup(Call::io("io_uring_enter()", submitted.map_err(io::Error::from)))?;
        yield_until(|| !others().is_empty());
        Ok((ring, fifo))
    }

    /// Maps a part of the ring. The mapping is never undone.
    #[track_caller]
    fn map(&self, t: &Test, length: usize, offset: u64) -> Done<*mut u8> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a fresh mapping of a descriptor of ours.
        let address = unsafe { mmap(std::ptr::null_mut(), length, protection, flags, &self.fd, offset) };
        let address = address.map(|address| address.cast()).map_err(io::Error::from);
        t.setup(Call::io(format!("mmap(ring, {offset:#x})"), address))
    }
}
