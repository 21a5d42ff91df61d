//! Ends user-mode Linux with this process, however this one ends.
//!
//! Its guest's processes are processes of this machine that it traces. Those outlive it when it is
//! killed, so a signal on the death of its parent is not enough. A process in its group, the keeper,
//! waits for the end of a pipe whose other end only this process holds, and then kills the group.
//! When the guest ends before, the group is killed with the keeper in it.

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::prelude::*;

/// A pipe that ends when this process does.
pub struct Lifeline {
    /// The end that this process keeps.
    pub ours: OwnedFd,
    theirs: OwnedFd,
}

impl Lifeline {
    /// Makes one.
    pub fn new() -> nix::Result<Self> {
        pipe2(OFlag::O_CLOEXEC).map(|(theirs, ours)| Self { ours, theirs })
    }

    /// The arguments of [`start`]: numbers of this process's and the keeper's end, which can be copied into another
    /// process.
    pub fn descriptors(&self) -> [i32; 2] {
        [self.ours.as_raw_fd(), self.theirs.as_raw_fd()]
    }
}

/// Starts the keeper of the calling process's group, between fork and exec: only system calls are
/// made. It is nobody's child, so that the program need not wait for it.
pub fn start(lifeline: [i32; 2]) -> io::Result<()> {
    // SAFETY: the copies of this process make system calls and end.
    unsafe {
        let between = Errno::result(libc::fork())?;
        if between == 0 {
            match libc::fork() {
                0 => keep(lifeline),
                -1 => libc::_exit(1),
                _ => libc::_exit(0),
            }
        }
        let mut status = 0;
        while Errno::result(libc::waitpid(between, &raw mut status, 0)) == Err(Errno::EINTR) {}
        if status != 0 {
            return Err(Errno::EAGAIN.into());
        }
    }
    Ok(())
}

/// Waits for the end of the pipe, then kills the group, this process with it.
fn keep([ours, theirs]: [i32; 2]) -> ! {
    let pipe = theirs as u32;
    let mut byte = 0_u8;
    // SAFETY: system calls; all descriptors of this copy are its own.
    unsafe {
        // What it held open would look alive to whoever waits for its end. Before Linux 5.9 there
        // is no such call; then the other end of the pipe is closed at least.
        libc::syscall(libc::SYS_close_range, 0, pipe - 1, 0);
        libc::syscall(libc::SYS_close_range, pipe + 1, u32::MAX, 0);
        libc::close(ours);
        while Errno::result(libc::read(theirs, (&raw mut byte).cast(), 1)) == Err(Errno::EINTR) {}
        libc::kill(0, libc::SIGKILL);
        libc::_exit(0)
    }
}
