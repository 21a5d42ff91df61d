//! Starts the program that makes a guest, reads its channels, and ends it whatever happens.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use vm::kernel::Kernel;
use vm::machine::{Channel, Options, Role};

use super::signals;

/// Something that a guest, or the program that makes it, said.
#[derive(Debug)]
pub enum Input {
    /// A line of the kernel's console.
    Console(String),
    /// A line of the results channel.
    Results(String),
    /// This process was told to end.
    Signal(i32),
    /// The machine is gone and nothing more will come.
    Ended(MachineEnd),
}

/// How the program that makes the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineEnd {
    /// It exited with this status; its words, if it had any.
    Exited(i32, String),
    /// A signal ended it; its words, if it had any.
    Killed(i32, String),
}

/// The longest line that is taken as one; the rest is the next.
const LONGEST_LINE: u64 = 1 << 20;
/// Lines that may wait to be looked at; a guest that prints faster is held up, not cut.
const LINES_AHEAD: usize = 4096;
/// The descriptor at which the program inherits the guest's image.
const IMAGE_FD: i32 = 9;

/// A running guest. Killed when dropped.
pub struct Machine {
    child: Child,
    inputs: Receiver<Input>,
    monitor: Option<UnixStream>,
    errors: Option<std::thread::JoinHandle<String>>,
    /// When a machine that is known to be lost is given up.
    give_up: Option<Instant>,
    /// What the program needs to put somewhere.
    _directory: tempfile::TempDir,
}

impl Machine {
    /// Starts a guest with this kernel and image.
    ///
    /// # Errors
    /// The program is missing, does not take these options, or cannot be started.
    pub fn start(kernel: &Kernel, image: &OwnedFd, options: &Options) -> anyhow::Result<Machine> {
        let machine = vm::machine::Machine::for_kernel(kernel)?;
        machine.locate()?;
        let directory = tempfile::Builder::new()
            .prefix("unshare-conformance-")
            .tempdir()
            .context("cannot make a directory for the guest")?;
        let initramfs = PathBuf::from(format!("/proc/self/fd/{IMAGE_FD}"));
        let invocation = machine.invocation(kernel, &initramfs, directory.path(), options)?;

        let (sender, inputs) = bounded(LINES_AHEAD);
        let mut places = vec![(duplicate(image.as_raw_fd())?, IMAGE_FD)];
        let mut ours = Vec::new();
        for Channel { role, fd } in &invocation.channels {
            let (near, far) = UnixStream::pair().context("cannot make a channel for the guest")?;
            places.push((duplicate(far.as_raw_fd())?, *fd));
            ours.push((*role, near));
        }
        let mut child = spawn(&invocation.program, &invocation.arguments, &places)
            .with_context(|| format!("cannot start {}", invocation.program.to_string_lossy()))?;
        drop(places);

        let mut monitor = None;
        for (role, stream) in ours {
            match role {
                Role::Console => read_lines(stream, sender.clone(), Input::Console),
                Role::Results => read_lines(stream, sender.clone(), Input::Results),
                Role::Monitor => monitor = Some(stream),
            }
        }
        let errors = child.stderr.take().map(read_errors);
        signals::subscribe(sender)?;
        Ok(Machine {
            child,
            inputs,
            monitor,
            errors,
            give_up: None,
            _directory: directory,
        })
    }

    /// The next thing said, or nothing when `patience` has passed without any.
    pub fn next(&mut self, patience: Duration) -> Option<Input> {
        let end = Instant::now() + patience;
        let end = self.give_up.map_or(end, |give_up| give_up.min(end));
        loop {
            // Short turns: the end of the program is looked for between them.
            let turn = end
                .saturating_duration_since(Instant::now())
                .min(Duration::from_millis(100));
            match self.inputs.recv_timeout(turn) {
                Ok(input) => return Some(input),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                // What it said before it ended may still be on its way.
                if let Ok(input) = self.inputs.recv_timeout(Duration::from_millis(50)) {
                    return Some(input);
                }
                return Some(Input::Ended(self.end(status)));
            }
            if Instant::now() >= end {
                return None;
            }
        }
    }

    /// Gives a machine that is known to be lost only so much longer.
    pub fn grace(&mut self, patience: Duration) {
        self.give_up.get_or_insert(Instant::now() + patience);
    }

    /// The control channel, where the machine has one.
    pub fn monitor(&mut self) -> Option<&mut UnixStream> {
        self.monitor.as_mut()
    }

    /// The process ID of the program that makes the guest.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends every process of the machine. User-mode Linux runs each process of its guest in one of
    /// the host's, and they stay when the kernel is killed; they would also keep its standard error
    /// open.
    fn kill_group(&self) {
        let group = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
    }

    fn end(&mut self, status: ExitStatus) -> MachineEnd {
        use std::os::unix::process::ExitStatusExt;
        self.kill_group();
        let words = self
            .errors
            .take()
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default();
        match status.signal() {
            Some(signal) => MachineEnd::Killed(signal, words),
            None => MachineEnd::Exited(status.code().unwrap_or(-1), words),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill_group();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of a descriptor out of the way of the low numbers that the program expects.
fn duplicate(fd: i32) -> anyhow::Result<OwnedFd> {
    use std::os::fd::{BorrowedFd, FromRawFd};
    // SAFETY: the caller's descriptor is open; the copy is ours alone.
    unsafe {
        let copy = fcntl(BorrowedFd::borrow_raw(fd), FcntlArg::F_DUPFD_CLOEXEC(64))?;
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

fn spawn(
    program: &std::ffi::OsStr,
    arguments: &[std::ffi::OsString],
    places: &[(OwnedFd, i32)],
) -> std::io::Result<Child> {
    let places: Vec<(i32, i32)> = places
        .iter()
        .map(|(fd, place)| (fd.as_raw_fd(), *place))
        .collect();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for this process, which then ends the guest in its own way.
        .process_group(0);
    // SAFETY: system calls that may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // However this process ends, the guest ends with it.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            places
                .iter()
                .try_for_each(|&(from, to)| match libc::dup2(from, to) {
                    -1 => Err(std::io::Error::last_os_error()),
                    _ => Ok(()),
                })
        });
    }
    command.spawn()
}

/// Reads lines in a thread of its own. A last line without an end is given as it is.
fn read_lines(stream: UnixStream, sender: Sender<Input>, input: fn(String) -> Input) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        loop {
            let mut bytes = Vec::new();
            match reader
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut bytes)
            {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.is_empty() && sender.send(input(text.to_owned())).is_err() {
                break;
            }
        }
    });
}

fn read_errors(errors: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = errors.take(64 * 1024).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    })
}

/// A file in memory with this content, open at its beginning.
///
/// # Errors
/// No memory.
pub fn memory_file(name: &str, content: &[u8]) -> anyhow::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::io::Write;
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)
        .context("cannot keep the guest's image in memory")?;
    let mut file = File::from(fd);
    file.write_all(content)
        .context("cannot keep the guest's image in memory")?;
    Ok(file.into())
}
