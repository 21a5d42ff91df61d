//! The program that runs a guest: starts it, reads its channels, and ends it whatever happens.

use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::killpg;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use vm::machine::{Channel, SysRq};

use super::session::{Input, MachineEnd};
use super::{keeper, signals};
use crate::prelude::*;

/// The longest line; what exceeds it is the next line.
const LONGEST_LINE: u64 = 1 << 20;
/// How much is read of a channel at once.
const READ_AT_ONCE: usize = 64 * 1024;
/// How many such batches may wait to be read; a guest that prints faster is throttled, not cut.
const BATCHES_AHEAD: usize = 16;
/// How long this process must have stood still, beyond what it waited for, to say so. No scheduler keeps a task waiting
/// that long, and no kernel reports a lockup that is much shorter.
const STANDSTILL: Duration = Duration::from_secs(5);
/// How long reading the last output of an ended machine may take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How many of the last lines of the program's standard error are quoted.
const WORDS_QUOTED: usize = 3;
/// The descriptor at which the program inherits the guest's image.
const IMAGE_FD: i32 = 9;

/// A directory that this user may write to, whatever the umask is.
fn working_directory() -> io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("unshare-conformance-").tempdir()?;
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700))?;
    Ok(directory)
}

/// A running guest. Killed when dropped.
pub struct Machine {
    child: Child,
    reaped: bool,
    inputs: Receiver<Vec<Input>>,
    /// Received and not yet read.
    waiting: VecDeque<Input>,
    /// While this end of it is open, user-mode Linux lives; see [`keeper`].
    _lifeline: Option<OwnedFd>,
    readers: Vec<JoinHandle<()>>,
    /// The ends by which characters reach the guest's ports.
    keyboards: Vec<(Role, UnixStream)>,
    /// The control channel, where the machine has one.
    pub monitor: Option<UnixStream>,
    /// How its console takes a magic SysRq.
    pub sysrq: Option<SysRq>,
    /// Whether it has an interrupt for kernels that serve no others.
    pub has_nmi: bool,
    words: Arc<Mutex<Vec<u8>>>,
    clock: Clock,
    /// How long this process stood still since this was last taken, and with it the guest, whose ports nobody read.
    pub stood_still: Option<Duration>,
    /// When a machine that is known to be lost is given up.
    give_up: Option<Instant>,
    /// Working files of the program; user-mode Linux only.
    _directory: Option<tempfile::TempDir>,
}

impl Machine {
    /// Starts a guest with this kernel and image.
    pub fn start(kernel: &Kernel, image: &OwnedFd, options: &Options) -> Result<Machine> {
        let description = vm::machine::Machine::for_kernel(kernel);
        description.check_installed()?;
        let is_process = kernel.kind() == Kind::UserMode;
        let directory = is_process.then(working_directory);
        let directory = directory.transpose().context("cannot create a directory for the guest")?;
        let place = directory.as_ref().map_or(Path::new("/nonexistent"), |directory| directory.path());
        let initramfs = PathBuf::from(format!("/proc/self/fd/{IMAGE_FD}"));
        let invocation = description.invocation(kernel, &initramfs, place, options)?;

        let (sender, inputs) = bounded(BATCHES_AHEAD);
        let mut places = vec![(duplicate(image)?, IMAGE_FD)];
        let mut ours = Vec::new();
        for Channel { role, fd } in &invocation.channels {
            let (near, far) = UnixStream::pair().context("cannot create a channel for the guest")?;
            places.push((duplicate(&far)?, *fd));
            ours.push((*role, near));
        }
        let lifeline = is_process.then(keeper::Lifeline::new).transpose();
        let lifeline = lifeline.context("cannot create the pipe that ends the guest with this process")?;
        let mut child = spawn(&invocation.program, &invocation.arguments, &places, lifeline.as_ref())
            .with_context(|| format!("cannot start {}", invocation.program.to_string_lossy()))?;
        drop(places);

        let words = Arc::new(Mutex::new(Vec::new()));
        let errors = child.stderr.take();
        // From here on the child is killed however this goes on.
        let mut machine = Machine {
            child,
            reaped: false,
            inputs,
            waiting: VecDeque::new(),
            _lifeline: lifeline.map(|lifeline| lifeline.ours),
            readers: Vec::new(),
            keyboards: Vec::new(),
            monitor: None,
            sysrq: description.sysrq(),
            has_nmi: description.has_nmi(),
            words: Arc::clone(&words),
            clock: Clock(now()),
            stood_still: None,
            give_up: None,
            _directory: directory,
        };
        machine.readers.extend(errors.map(|errors| read_words(errors, words)));
        for (role, stream) in ours {
            if role == Role::Monitor {
                machine.monitor = Some(stream);
                continue;
            }
            let keyboard = stream.try_clone().context("cannot use a channel of the guest")?;
            machine.keyboards.push((role, keyboard));
            machine.readers.push(read_lines(stream, role, sender.clone()));
        }
        signals::subscribe(sender)?;
        Ok(machine)
    }

    /// The next input, or `None` after `patience` without any.
    pub fn next(&mut self, patience: Duration) -> Option<Input> {
        let end = Instant::now() + patience;
        let end = self.give_up.map_or(end, |give_up| give_up.min(end));
        let mut turn = Duration::ZERO;
        loop {
            self.stood_still = self.clock.stood_still(now(), turn).or(self.stood_still);
            if let Some(input) = self.waiting.pop_front() {
                return Some(input);
            }
            // Short turns: the end of the program is looked for between them.
            turn = end.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            if let Ok(batch) = self.inputs.recv_timeout(turn) {
                self.waiting.extend(batch);
                continue;
            }
            if self.has_ended() {
                return Some(self.last_words());
            }
            if Instant::now() >= end {
                self.stood_still = self.clock.stood_still(now(), turn).or(self.stood_still);
                return None;
            }
        }
    }

    /// Whether there is unread input.
    pub fn has_more(&self) -> bool {
        !self.waiting.is_empty() || !self.inputs.is_empty()
    }

    /// Puts these back to be read next.
    pub fn put_back(&mut self, inputs: Vec<Input>) {
        for input in inputs.into_iter().rev() {
            self.waiting.push_front(input);
        }
    }

    /// Limits the remaining time of a machine that is known to be lost.
    pub fn grace(&mut self, patience: Duration) {
        self.give_up.get_or_insert(Instant::now() + patience);
    }

    /// Where characters can be sent to a port, if there is this one.
    pub fn keyboard(&mut self, port: Role) -> Option<&mut UnixStream> {
        self.keyboards.iter_mut().find(|(role, _)| *role == port).map(|(_, stream)| stream)
    }

    /// The process ID of the program that makes the guest.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of the program's standard error, as one line.
    pub fn words(&self) -> String {
        let words = locked(&self.words);
        let text = String::from_utf8_lossy(&words);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        lines[lines.len().saturating_sub(WORDS_QUOTED)..].join("; ")
    }

    /// Whether the program is gone. It is not reaped yet, so that its process group is still its own.
    fn has_ended(&self) -> bool {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(Pid::from_raw(self.child.id() as i32)), peek),
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
        )
    }

    /// The unread output of a machine that is gone, then its end.
    fn last_words(&mut self) -> Input {
        // User-mode Linux leaves processes behind, which hold the channels open.
        if !self.reaped {
            self.kill();
        }
        let end = Instant::now() + LAST_WORDS;
        loop {
            let read = self.readers.iter().all(JoinHandle::is_finished);
            if let Ok(batch) = self.inputs.recv_timeout(Duration::from_millis(5)) {
                self.waiting.extend(batch);
            }
            if let Some(input) = self.waiting.pop_front() {
                return input;
            }
            if read || Instant::now() >= end {
                break;
            }
        }
        let status = self.child.wait();
        self.reaped = true;
        let words = self.words();
        Input::Ended(match status {
            Ok(status) => match status.signal() {
                Some(signal) => MachineEnd::Killed(signal, words),
                None => MachineEnd::Exited(status.code().unwrap_or(-1), words),
            },
            Err(error) => MachineEnd::Exited(-1, error.to_string()),
        })
    }

    /// Kills the program and whatever it has started; must not be called once it is reaped.
    fn kill(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.kill();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// The time since boot, which goes on while the machine is suspended.
fn now() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// When this process was last seen running.
struct Clock(Duration);

impl Clock {
    /// For how long it did not run since it was last asked, beyond the time for which it wanted to wait.
    fn stood_still(&mut self, now: Duration, waited: Duration) -> Option<Duration> {
        let over = now.saturating_sub(self.0).saturating_sub(waited);
        self.0 = now;
        (over > STANDSTILL).then_some(over)
    }
}

/// A copy of a descriptor out of the way of the low numbers that the program expects.
fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(64))?;
    // SAFETY: the copy is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn spawn(
    program: &std::ffi::OsStr,
    arguments: &[std::ffi::OsString],
    places: &[(OwnedFd, i32)],
    lifeline: Option<&keeper::Lifeline>,
) -> io::Result<Child> {
    let places: Vec<(i32, i32)> = places.iter().map(|(fd, place)| (fd.as_raw_fd(), *place)).collect();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for this process, which then ends the guest in its own way.
        .process_group(0);
    let lifeline = lifeline.map(keeper::Lifeline::descriptors);
    // SAFETY: system calls that may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // However this process ends, the guest ends with it.
            match lifeline {
                Some(lifeline) => keeper::start(lifeline)?,
                None => Errno::result(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop)?,
            }
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            places.iter().try_for_each(|&(from, to)| Ok(Errno::result(libc::dup2(from, to)).map(drop)?))
        });
    }
    command.spawn()
}

/// Reads lines in a thread of its own and passes on batches of them, and a last line without an end.
fn read_lines(stream: UnixStream, role: Role, sender: Sender<Vec<Input>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::with_capacity(READ_AT_ONCE, stream);
        let mut batch = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
            let over = matches!(read, Ok(0) | Err(_));
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.is_empty() {
                batch.push(Input::Line(role, text.to_owned()));
            }
            // The next line would have to be waited for.
            if (over || !reader.buffer().contains(&b'\n')) && !batch.is_empty() {
                let batch = std::mem::take(&mut batch);
                if sender.send(batch).is_err() {
                    break;
                }
            }
            if over {
                break;
            }
        }
    })
}

/// Reads the program's standard error in a thread of its own; keeps the end of it.
fn read_words(mut errors: impl Read + Send + 'static, words: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    const KEPT: usize = 16 * 1024;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = errors.read(&mut buffer) {
            let mut words = locked(&words);
            words.extend_from_slice(&buffer[..length]);
            let surplus = words.len().saturating_sub(KEPT);
            words.drain(..surplus);
        }
    })
}

/// This image as a file in memory.
pub fn in_memory(image: &Initramfs) -> Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let why = "cannot keep the guest's image in memory";
    let file = File::from(memfd_create("initramfs", MFdFlags::MFD_CLOEXEC).context(why)?);
    image.write_to(&file).context(why)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::guest::console::ConsoleLog;
    use crate::mutation::config;

    #[test]
    fn a_process_that_was_stopped_notices() {
        let second = Duration::from_secs(1);
        let mut clock = Clock(second);
        assert_eq!(clock.stood_still(2 * second, second), None);
        assert_eq!(clock.stood_still(22 * second, Duration::ZERO), Some(20 * second));
        assert_eq!(clock.stood_still(22 * second, Duration::ZERO), None);
    }

    proptest! {
        #![proptest_config(config(40))]

        /// Whatever bytes a guest's console gives: all of its lines, each once, and the file has them.
        #[test]
        fn any_bytes_are_lines(bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..600)) {
            let (near, mut far) = UnixStream::pair()?;
            let (sender, inputs) = bounded(BATCHES_AHEAD);
            let reader = read_lines(near, Role::Console, sender);
            far.write_all(&bytes)?;
            drop(far);
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("console");
            let mut log = ConsoleLog::create(&path).expect("a file");
            let mut lines = Vec::new();
            for input in inputs.iter().flatten() {
                if let Input::Line(_, line) = input {
                    log.line(&line);
                    lines.push(line);
                }
            }
            prop_assert!(reader.join().is_ok());
            log.tail();
            let pieces = bytes.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
            let expected: Vec<_> =
                pieces.map(|line| line.trim_end_matches('\r').to_owned()).filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(&lines, &expected);
            prop_assert_eq!(std::fs::read_to_string(&path)?, lines.iter().map(|line| line.clone() + "\n").collect::<String>());
        }
    }
}
