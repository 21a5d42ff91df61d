//! Memory that stays shared whatever becomes of an address space, and futexes in it.
//!
//! Tasks that share their memory share thread-local storage too, and with it errno: [`Word`] never writes it.

use futex::{Futex, Shared};

use crate::spec::prelude::*;

/// Maps a `T` of zeroes that the caller shares with every process forked from it later. The
/// mapping is never undone.
///
/// # Errors
/// As mmap(2).
///
/// # Safety
/// Zeroes must be a valid `T`.
pub unsafe fn map_zeroed<T: Sync>() -> io::Result<&'static T> {
    // SAFETY: by this function's own condition.
    unsafe { map(None) }
}

/// Maps a `T` from a memory file, shared with all who map it.
///
/// # Errors
/// As mmap(2).
///
/// # Safety
/// The file must be large enough, and what it contains a valid `T`.
pub unsafe fn map_file<T: Sync>(file: BorrowedFd) -> io::Result<&'static T> {
    // SAFETY: by this function's own conditions.
    unsafe { map(Some(file)) }
}

/// Makes a `T` of zeroes in a memory file, which keeps this descriptor and survives execve(2): an executed program maps it
/// again.
///
/// # Safety
/// Zeroes must be a valid `T`.
#[track_caller]
pub unsafe fn map_kept<T: Sync>(t: &Test, name: &CStr, descriptor: i32) -> Done<&'static T> {
    let made = nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
    let file = t.setup(Call::new("memfd_create()", made))?;
    t.setup(Call::new("dup3(memory file)", crate::observe::fds::dup_to(file.as_raw_fd(), descriptor, 0)))?;
    let size = size_of::<T>() as libc::off_t;
    t.setup(Call::new("ftruncate(memory file)", nix::unistd::ftruncate(&file, size)))?;
    // SAFETY: the file has just been made as large, of zeroes, which are valid by this function's own condition.
    t.setup(Call::io("mmap(memory file)", unsafe { map_file(file.as_fd()) }))
}

unsafe fn map<T>(file: Option<BorrowedFd>) -> io::Result<&'static T> {
    let anonymous = if file.is_none() { libc::MAP_ANONYMOUS } else { 0 };
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | anonymous);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe {
        let fd = file.map_or(-1, |file| file.as_raw_fd());
        libc::mmap(std::ptr::null_mut(), size_of::<T>(), protection, flags, fd, 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: by the conditions of the callers; a page is aligned for every type of ours.
    Ok(unsafe { &*address.cast() })
}

/// A futex word in shared memory. Writes no errno.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(Futex<Shared>);

impl Word {
    /// A word with this value.
    pub fn new(value: u32) -> Self {
        Self(Futex::new(value))
    }

    /// Its address, for the kernel.
    pub fn as_ptr(&self) -> *const u32 {
        self.0.value.as_ptr()
    }

    /// Its value.
    pub fn get(&self) -> u32 {
        self.0.value.load(Ordering::Acquire)
    }

    /// Sets it without waking anybody.
    pub fn reset(&self, value: u32) {
        self.0.value.store(value, Ordering::Release);
    }

    /// Sets it and wakes all who wait for it.
    pub fn set(&self, value: u32) {
        self.reset(value);
        self.wake();
    }

    /// Adds one and wakes all who wait for it. Gives the new value.
    pub fn advance(&self) -> u32 {
        let value = self.0.value.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake();
        value
    }

    fn wake(&self) {
        // The crate's call writes errno on failure only, and waking at a mapped word cannot fail.
        self.0.wake(i32::MAX);
    }

    /// Waits until the value is another one than `seen`, and gives it.
    pub fn wait_while(&self, seen: u32) -> u32 {
        loop {
            match self.get() {
                value if value != seen => return value,
                _ => self.wait(seen, None),
            }
        }
    }

    /// The same, for no longer than `patience`: then the value is still `seen`.
    pub fn wait_for(&self, seen: u32, patience: Duration) -> u32 {
        if self.get() == seen {
            self.wait(seen, Some(patience));
        }
        self.get()
    }

    fn wait(&self, seen: u32, patience: Option<Duration>) {
        let time = patience
            .map(|patience| Time { seconds: patience.as_secs() as i64, nanoseconds: patience.subsec_nanos().into() });
        let timeout = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word and the timeout, if there is one, outlive the call.
        let _ = unsafe { syscall!(number::futex, &raw const self.0.value, libc::FUTEX_WAIT, seen, timeout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_wakes_when_the_word_is_set_and_when_its_patience_ends() {
        let word = Word::new(0);
        assert_eq!(word.wait_for(0, Duration::from_millis(1)), 0);
        assert_eq!(word.wait_for(1, Duration::from_secs(3600)), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(word.wait_while(0), 1));
            assert_eq!(word.advance(), 1);
        });
    }

    #[test]
    fn a_wait_writes_no_errno() {
        let word = Word::new(0);
        Errno::EDOM.set();
        // Once for a wrong value, once for a timeout.
        word.wait(1, None);
        word.wait(0, Some(Duration::from_micros(1)));
        word.advance();
        assert_eq!(Errno::last(), Errno::EDOM);
    }
}
