//! The mounts of a task's mount namespace, as proc_pid_mountinfo(5) lists them.

use crate::spec::prelude::*;

/// Makes a directory of the case's own, to mount something on, and gives its absolute path.
#[track_caller]
pub fn new_directory(t: &Test, name: &str) -> Done<String> {
    let path = t.directory()?.join(name);
    let made = fs::create_dir_all(&path);
    t.setup(Call::io(format!("mkdir({name})"), made))?;
    Ok(path.to_string_lossy().into_owned())
}

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountLine {
    /// The mount's ID.
    pub id: u64,
    /// The ID of the mount it is attached to.
    pub parent: u64,
    /// Device, root in the file system, mount point and options.
    pub place: [String; 4],
    /// The optional fields, the propagation: `shared:7`, `master:7`, `unbindable`.
    pub propagation: Vec<String>,
    /// File system, source and options of the file system.
    pub source: String,
}

impl MountLine {
    /// Where it is mounted.
    pub fn point(&self) -> &str {
        &self.place[2]
    }

    /// The number of the peer group it is in (`shared:`), or that it receives from (`master:`).
    pub fn group(&self, kind: &str) -> Option<u64> {
        self.propagation.iter().find_map(|field| field.strip_prefix(kind)?.strip_prefix(':')?.parse().ok())
    }

    fn parse(line: &str) -> Option<Self> {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').map(str::to_owned);
        let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self {
            id,
            parent,
            place: [fields.next()?, fields.next()?, fields.next()?, fields.next()?],
            propagation: fields.collect(),
            source: source.to_owned(),
        })
    }
}

/// All mounts that the calling task sees, in the kernel's order.
///
/// # Errors
/// The file cannot be read.
pub fn mounts() -> Result<Vec<MountLine>, Errno> {
    mounts_of("thread-self")
}

/// All mounts that a task sees.
///
/// # Errors
/// The file cannot be read.
pub fn mounts_of(task: impl fmt::Display) -> Result<Vec<MountLine>, Errno> {
    let text = fs::read_to_string(format!("/proc/{task}/mountinfo")).map_err(errno_of)?;
    Ok(parse(&text))
}

/// The mounts that the content of a mountinfo file lists.
pub fn parse(text: &str) -> Vec<MountLine> {
    text.lines().filter_map(MountLine::parse).collect()
}

/// The topmost mount at this absolute path; ENOENT when there is none.
///
/// # Errors
/// There is none, or the file cannot be read.
pub fn mount_at(point: String) -> Result<MountLine, Errno> {
    mounts()?.into_iter().rfind(|line| line.point() == point).ok_or(Errno::ENOENT)
}

/// Whether anything is mounted at this absolute path.
///
/// # Errors
/// The file cannot be read.
pub fn is_mounted(point: String) -> Result<bool, Errno> {
    Ok(mounts()?.iter().any(|line| line.point() == point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_are_told_from_the_rest() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime shared:2 master:1 - ext3 /dev/root rw";
        let mount = MountLine::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.point(), "/mnt2");
        assert_eq!(mount.group("shared"), Some(2));
        assert_eq!(mount.group("master"), Some(1));
        assert_eq!(mount.source, "ext3 /dev/root rw");
        let private = MountLine::parse("1 1 0:2 / / rw - rootfs rootfs rw").unwrap();
        assert!(private.propagation.is_empty());
    }
}
