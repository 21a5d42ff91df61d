//! Control groups of a case's own, in a cgroup2 hierarchy.
//!
//! A cgroup is seen by everybody and outlives the processes that made it, so its name says whose it
//! is: whoever comes next removes those whose maker is gone.

use std::path::{Path, PathBuf};

use harness::prelude::*;

/// How the names of our groups begin; the process ID of the maker follows.
const PREFIX: &str = "unshare-conformance.";

/// A group of the case's own with one inside it. Both are removed when dropped by their maker.
#[derive(Debug)]
pub struct ControlGroup {
    outer: PathBuf,
    maker: u32,
}

/// Where the hierarchy is mounted, writable.
fn hierarchy() -> Result<PathBuf, Errno> {
    crate::observe::mounts::mounts()?
        .into_iter()
        .filter(|mount| mount.source.starts_with("cgroup2 ") && mount.place[1] == "/")
        .map(|mount| PathBuf::from(mount.point()))
        .find(|path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok())
        .ok_or(Errno::ENOENT)
}

/// Removes groups whose maker no longer exists. One that is in use cannot be removed.
fn remove_stale(hierarchy: &Path) {
    let Ok(entries) = std::fs::read_dir(hierarchy) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let maker = path.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&path);
        }
    }
}

fn remove(outer: &Path) {
    let _ = std::fs::remove_dir(outer.join("inner"));
    let _ = std::fs::remove_dir(outer);
}

impl ControlGroup {
    /// Makes a group and one inside it.
    #[track_caller]
    pub fn new(t: &Test) -> Done<Self> {
        let hierarchy = t.setup(Call::new("find(writable cgroup2)", hierarchy()))?;
        remove_stale(&hierarchy);
        let maker = std::process::id();
        let outer = hierarchy.join(format!("{PREFIX}{maker}"));
        let group = Self { outer, maker };
        t.setup(Call::io("mkdir(cgroup)", std::fs::create_dir_all(group.inner())))?;
        Ok(group)
    }

    /// The outer group's directory.
    pub fn outer(&self) -> &Path {
        &self.outer
    }

    /// The inner group's directory.
    pub fn inner(&self) -> PathBuf {
        self.outer.join("inner")
    }

    /// The inner group's path in the hierarchy, as proc_pid_cgroup(5) has it in the outermost
    /// cgroup namespace that sees the whole of the mounted hierarchy.
    pub fn path_of_inner(&self) -> String {
        let name = self.outer.file_name().unwrap_or_default().to_string_lossy();
        format!("/{name}/inner")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        if self.maker == std::process::id() {
            remove(&self.outer);
        }
    }
}

/// Moves a process into a group.
///
/// # Errors
/// As write(2) to cgroup.procs.
pub fn move_into(group: &Path, pid: nix::unistd::Pid) -> Call<()> {
    let file = group.join("cgroup.procs");
    let moved = std::fs::write(&file, pid.to_string());
    Call::io(format!("write({}, {pid})", file.display()), moved)
}

/// The path of a task's group in the cgroup2 hierarchy, as the calling task sees it.
///
/// # Errors
/// /proc/PID/cgroup cannot be read.
pub fn group_of(task: String) -> Result<String, Errno> {
    let text = std::fs::read_to_string(format!("/proc/{task}/cgroup")).map_err(errno_of)?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned).ok_or(Errno::ENOENT)
}

/// The paths of the calling task's groups in every hierarchy.
///
/// # Errors
/// /proc/thread-self/cgroup cannot be read.
pub fn own_groups((): ()) -> Result<Vec<String>, Errno> {
    let text = std::fs::read_to_string("/proc/thread-self/cgroup").map_err(errno_of)?;
    Ok(text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned())).collect())
}
