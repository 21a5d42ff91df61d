//! Control groups of a case's own, in a cgroup2 hierarchy.
//!
//! A cgroup is seen by everybody and outlives the processes that made it, so its maker and their children hold a lock
//! on it: whoever comes next removes those that nobody holds.

use std::fs::create_dir;

use crate::spec::prelude::*;

use crate::observe::nsfd::{inode_of, open_link};

/// How the names of our groups begin. The process ID of the maker follows, and its PID namespace.
const PREFIX: &str = "unshare-conformance.";

/// A group of the case's own with one inside it. Both are removed when dropped by their maker.
#[derive(Debug)]
pub struct ControlGroup {
    outer: PathBuf,
    maker: u32,
    _held: File,
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

/// Removes the groups of earlier runs and cases that nobody holds any more. One with a process in it stays.
pub fn remove_stale() {
    if let Ok(hierarchy) = hierarchy() {
        remove_stale_in(&hierarchy);
    }
}

fn remove_stale_in(hierarchy: &Path) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let path = entry.path();
        // The lock is held until the group is gone: nobody may take it up meanwhile.
        if ours
            && let Ok(directory) = File::open(&path)
            && directory.try_lock().is_ok()
        {
            remove(&path);
        }
    }
}

/// Makes a group that is held, with one inside it.
fn make(outer: &Path) -> io::Result<File> {
    create_dir(outer)?;
    let held = File::open(outer)?;
    held.lock_shared()?;
    create_dir(outer.join("inner"))?;
    Ok(held)
}

fn remove(outer: &Path) {
    let _ = fs::remove_dir(outer.join("inner"));
    let _ = fs::remove_dir(outer);
}

impl ControlGroup {
    /// What a case needs to make one.
    pub const NEEDS: Needs = Needs::NONE.with(feature::CGROUP2).disturbing(global::CONTROL_GROUPS);

    /// Makes a group and one inside it.
    #[track_caller]
    pub fn new(t: &Test) -> Done<Self> {
        let hierarchy = t.setup(Call::new("find(writable cgroup2)", hierarchy()))?;
        let maker = std::process::id();
        // Groups of containers that see no more than their own process IDs are side by side.
        let namespace =
            t.setup(Call::new("stat(/proc/self/ns/pid)", open_link("self", Ns::Pid).and_then(|link| inode_of(&link))))?;
        let outer = hierarchy.join(format!("{PREFIX}{maker}.{namespace}"));
        remove_stale_in(&hierarchy);
        // Between mkdir(2) and flock(2) another run may take it for stale.
        let made = make(&outer).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => make(&outer),
            _ => Err(error),
        });
        let held = t.setup(Call::io("mkdir(cgroup)", made))?;
        Ok(Self { outer, maker, _held: held })
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
pub fn move_into(group: &Path, pid: Pid) -> Call<()> {
    let file = group.join("cgroup.procs");
    let moved = fs::write(&file, pid.to_string());
    Call::io(format!("write({}, {pid})", file.display()), moved)
}

/// The path of a task's group in the cgroup2 hierarchy, as the calling task sees it.
///
/// # Errors
/// /proc/PID/cgroup cannot be read.
pub fn group_of(task: String) -> Result<String, Errno> {
    let text = fs::read_to_string(format!("/proc/{task}/cgroup")).map_err(errno_of)?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned).ok_or(Errno::ENOENT)
}

/// The paths of the calling task's groups in every hierarchy.
///
/// # Errors
/// /proc/thread-self/cgroup cannot be read.
pub fn own_groups((): ()) -> Result<Vec<String>, Errno> {
    let text = fs::read_to_string("/proc/thread-self/cgroup").map_err(errno_of)?;
    Ok(text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_nobody_holds_are_removed() {
        let hierarchy = tempfile::tempdir().expect("a directory");
        let path = |name: &str| hierarchy.path().join(name);
        let held = make(&path("unshare-conformance.1.2")).expect("made");
        drop(make(&path("unshare-conformance.3.4")).expect("made"));
        create_dir(path("unshare-conformance.5")).expect("made by an earlier version");
        create_dir(path("system.slice")).expect("made by others");
        remove_stale_in(hierarchy.path());
        let left = || {
            let entries = fs::read_dir(hierarchy.path()).expect("readable").flatten();
            entries.map(|entry| entry.file_name()).collect::<BTreeSet<_>>()
        };
        assert_eq!(left(), ["system.slice".into(), "unshare-conformance.1.2".into()].into());
        drop(held);
        remove_stale_in(hierarchy.path());
        assert_eq!(left(), ["system.slice".into()].into());
    }
}
