//! Finds, names and removes what outlives its case.
//!
//! Costs one or two system calls per case if nothing leaked.

use nix::mount::{MntFlags, umount2};
use nix::sys::wait::{Id, waitid};

use crate::case::test::DIRECTORY;
use crate::common::*;
use crate::run::proc_stat::{Stat, numbers};

/// Something that outlived its case. It was removed unless the text says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Its kind.
    pub kind: LeakKind,
    /// Description.
    pub what: String,
}

/// The kinds of things that can outlive a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// A descendant that was still running.
    Process,
    /// A mount in the supervisor's mount namespace.
    Mount,
    /// A System V shared memory segment, semaphore set or message queue.
    Ipc,
    /// A file or directory outside the case's private directory.
    File,
    /// A global kernel setting that was not restored.
    Setting,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            LeakKind::Process => "process",
            LeakKind::Mount => "mount",
            LeakKind::Ipc => "IPC object",
            LeakKind::File => "file",
            LeakKind::Setting => "setting",
        };
        write!(f, "{kind} {}", self.what)
    }
}

/// Watches one supervisor's processes, mounts, IPC objects and base directory.
#[derive(Debug)]
pub struct LeakWatch {
    base: PathBuf,
    /// None where the kernel has no such file: mounts are not watched there.
    mountinfo: Option<File>,
    mounts: BTreeMap<u64, String>,
    ipc: Option<IpcCounts>,
}

type IpcCounts = [i32; 3];

impl LeakWatch {
    /// Takes the baseline. `own_ipc` says that no other process shares the IPC namespace; otherwise, an object cannot
    /// be attributed to a case.
    ///
    /// # Errors
    /// /proc/self/mountinfo cannot be read, though it is there.
    pub fn start(base: &Path, own_ipc: bool) -> io::Result<Self> {
        let mountinfo = match File::open("/proc/self/mountinfo") {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io::Error::other(format!("/proc/self/mountinfo: {error}"))),
        };
        let mut watch = Self { base: base.to_owned(), mountinfo, mounts: BTreeMap::new(), ipc: None };
        watch.mounts_changed();
        watch.mounts = watch.read_mounts()?;
        if own_ipc {
            watch.ipc = ipc_counts();
        }
        Ok(watch)
    }

    /// Finds, names and removes what outlived the last case.
    pub fn sweep(&mut self, had_directory: bool) -> Vec<Leak> {
        let found = [
            (LeakKind::Process, kill_leaked_processes()),
            (LeakKind::Mount, self.remove_leaked_mounts()),
            (LeakKind::Ipc, self.remove_leaked_ipc()),
            (LeakKind::File, self.remove_files(had_directory)),
        ];
        found.into_iter().flat_map(|(kind, names)| names.into_iter().map(move |what| Leak { kind, what })).collect()
    }

    /// Whether the mount table changed since it was last read: then an open mountinfo polls as POLLPRI
    /// (proc_pid_mountinfo(5)).
    fn mounts_changed(&self) -> bool {
        let Some(mountinfo) = &self.mountinfo else {
            return false;
        };
        let mut fds = [PollFd::new(mountinfo.as_fd(), PollFlags::POLLPRI)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
    }

    fn read_mounts(&mut self) -> io::Result<BTreeMap<u64, String>> {
        let Some(mountinfo) = &mut self.mountinfo else {
            return Ok(BTreeMap::new());
        };
        let mut text = String::new();
        mountinfo.rewind()?;
        mountinfo.read_to_string(&mut text)?;
        let mount = |line: &str| {
            let mut fields = line.split(' ');
            Some((fields.next()?.parse().ok()?, fields.nth(3)?.to_owned()))
        };
        Ok(text.lines().filter_map(mount).collect())
    }

    fn remove_leaked_mounts(&mut self) -> Vec<String> {
        if !self.mounts_changed() {
            return Vec::new();
        }
        let Ok(now) = self.read_mounts() else {
            return Vec::new();
        };
        // Newest first: a mount can be on top of an older leaked one.
        let new = now.iter().rev().filter(|(id, _)| !self.mounts.contains_key(id));
        let unmounted = new.map(|(_, path)| match umount2(path.as_str(), MntFlags::MNT_DETACH) {
            Ok(()) => path.clone(),
            Err(errno) => format!("{path} (cannot be unmounted: {errno:?})"),
        });
        let lost = self.mounts.iter().filter(|(id, _)| !now.contains_key(id));
        let lost = lost.map(|(_, path)| format!("{path} disappeared from the supervisor's namespace"));
        let leaks = unmounted.chain(lost).collect();
        self.mounts_changed();
        if let Ok(after) = self.read_mounts() {
            self.mounts = after;
        }
        leaks
    }

    fn remove_leaked_ipc(&mut self) -> Vec<String> {
        let mut leaks = Vec::new();
        if self.ipc.is_none() || ipc_counts() == self.ipc {
            return leaks;
        }
        for (file, name) in [("shm", "shared memory segment"), ("sem", "semaphore set"), ("msg", "message queue")] {
            let text = fs::read_to_string(format!("/proc/sysvipc/{file}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let mut fields = line.split_whitespace();
                let (Some(key), Some(Ok(id))) = (fields.next(), fields.next().map(str::parse)) else {
                    continue;
                };
                // SAFETY: IPC_RMID takes no pointer.
                unsafe {
                    match file {
                        "shm" => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                        "sem" => libc::semctl(id, 0, libc::IPC_RMID),
                        _ => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                    };
                }
                leaks.push(format!("{name} {id} with key {key}"));
            }
        }
        self.ipc = ipc_counts();
        leaks
    }

    fn remove_files(&self, had_directory: bool) -> Vec<String> {
        let private = self.base.join(DIRECTORY);
        let mut leaks = Vec::new();
        if had_directory && let Err(error) = remove_tree(&private) {
            leaks.push(format!("{} (cannot be removed: {error})", private.display()));
        }
        for entry in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = remove_tree(&path);
            leaks.push(path.display().to_string());
        }
        leaks
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// How long to wait for processes to die after SIGKILL.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Kills all descendants of this process, which is a child subreaper.
fn kill_leaked_processes() -> Vec<String> {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    // The common case takes one system call.
    if waitid(Id::All, any).is_err() {
        return Vec::new();
    }
    kill_children_but(&[])
}

/// Kills and reaps this process's children except `spared` and, since it is a subreaper, all their descendants. Returns
/// those that were still running.
pub(crate) fn kill_children_but(spared: &[Pid]) -> Vec<String> {
    let mut named: BTreeMap<Pid, String> = BTreeMap::new();
    let mut limit = TimeLimit::new(KILL_PATIENCE);
    let stubborn = loop {
        let mut alive = false;
        for child in children().into_iter().filter(|pid| !spared.contains(pid)) {
            // A process that has already exited is reaped here and is no leak.
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            if let Ok(WaitStatus::StillAlive) = waitpid(child, Some(flags)) {
                alive = true;
                named.entry(child).or_insert_with(|| describe_process(child));
                let _ = kill(child, Signal::SIGKILL);
            }
        }
        if !alive {
            break false;
        }
        // Nothing depends on the duration.
        if !limit.pause(Duration::from_micros(200)) {
            break true;
        }
    };
    let remark = if stubborn { " (survived SIGKILL and may still run)" } else { "" };
    named.into_values().map(|what| what + remark).collect()
}

fn describe_process(pid: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    format!("{pid} ({}: {})", name.trim(), command.trim())
}

fn children() -> Vec<Pid> {
    let own = std::process::id() as i32;
    if let Ok(list) = fs::read_to_string(format!("/proc/{own}/task/{own}/children")) {
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        return pids.map(Pid::from_raw).collect();
    }
    // Without CONFIG_PROC_CHILDREN: check the parent of every process.
    let is_child = |pid: &i32| Stat::read(&format!("/proc/{pid}")).is_some_and(|stat| stat.parent == own);
    let all = numbers("/proc").into_iter();
    all.filter(is_child).map(Pid::from_raw).collect()
}

/// `SHM_INFO` of linux/shm.h, which the libc crate lacks.
const SHM_INFO: i32 = 14;

fn ipc_counts() -> Option<IpcCounts> {
    let [mut shm, mut sem, mut msg] = [[0_i32; 32]; 3];
    // SAFETY: SHM_INFO, SEM_INFO and MSG_INFO fill structures of less than 128 bytes; the buffers outlive the calls.
    let results = unsafe {
        [
            libc::shmctl(0, SHM_INFO, shm.as_mut_ptr().cast()),
            libc::semctl(0, 0, libc::SEM_INFO, sem.as_mut_ptr()),
            libc::msgctl(0, libc::MSG_INFO, msg.as_mut_ptr().cast()),
        ]
    };
    // The first field of shm_info and msginfo and the eighth of seminfo (semusz) hold how many there are.
    results.iter().all(|result| *result >= 0).then_some([shm[0], sem[7], msg[0]])
}

/// Where a process hangs, according to /proc.
pub(crate) fn where_it_hangs(pid: Pid) -> Vec<String> {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}"))
            .map(|text| text.trim().replace('\n', " < "))
            .unwrap_or_default()
    };
    let stat = Stat::read(&format!("/proc/{pid}"));
    let state = stat.map_or_else(|| "?".to_owned(), |stat| stat.state);
    [("state", state), ("wchan", read("wchan")), ("syscall", read("syscall")), ("stack", read("stack"))]
        .into_iter()
        .filter(|(_, text)| !text.is_empty() && text != "0")
        .map(|(what, text)| format!("hanging process {pid}: {what} {text}"))
        .collect()
}
