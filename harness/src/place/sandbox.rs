//! A supervisor's sandbox: namespaces in which its cases may mount, create IPC objects and set the host name, and a
//! temporary directory.
//!
//! It is made by clone(2), for an ordinary user inside a user namespace. If that fails, the cases that need it are
//! skipped.

use crate::common::*;
use crate::place::inherited;

/// What kind of sandbox a supervisor has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Mount, IPC and UTS namespaces made with the caller's CAP_SYS_ADMIN.
    Privileged,
    /// The same, inside a user namespace in which the caller is user 0.
    UserNamespace,
    /// None.
    None {
        /// Why there is none.
        why: String,
    },
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::None { why: "not asked for".to_owned() }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sandbox::Privileged => f.write_str("own mount, IPC and UTS namespaces"),
            Sandbox::UserNamespace => {
                f.write_str("own mount, IPC and UTS namespaces inside a user namespace (not run as root)")
            }
            Sandbox::None { why } => write!(f, "none ({why})"),
        }
    }
}

/// Flags for the namespaces of a sandbox, as far as the kernel has them.
fn flags() -> u64 {
    [("mnt", libc::CLONE_NEWNS), ("ipc", libc::CLONE_NEWIPC), ("uts", libc::CLONE_NEWUTS)]
        .into_iter()
        .filter(|(link, _)| fs::symlink_metadata(format!("/proc/self/ns/{link}")).is_ok())
        .fold(0, |flags, (_, flag)| flags | flag as u64)
}

/// The kinds of sandbox, the best first.
pub(crate) fn kinds() -> [Sandbox; 3] {
    [Sandbox::Privileged, Sandbox::UserNamespace, Sandbox::default()]
}

/// Forks a process into a sandbox of this kind. The child then calls [`furnish`].
///
/// # Errors
/// As clone(2).
pub(crate) fn fork_into(sandbox: &Sandbox) -> Result<Pid, Errno> {
    let flags = match sandbox {
        Sandbox::Privileged => flags(),
        Sandbox::UserNamespace => flags() | libc::CLONE_NEWUSER as u64,
        Sandbox::None { .. } => 0,
    };
    // SAFETY: no CLONE_VM; the reporting process is single-threaded.
    unsafe { fork_sharing(flags) }
}

/// Makes the sandbox usable from inside: maps IDs, stops mount propagation to and from the host, and creates a
/// memory-backed base directory of this name. Returns the base directory.
///
/// # Errors
/// A step failed; the text names it.
pub(crate) fn furnish(sandbox: &Sandbox, name: &str, ids: (u32, u32), fallback: &Path) -> io::Result<PathBuf> {
    fn step<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> io::Error {
        move |error| io::Error::other(format!("{what}: {}", error.into()))
    }
    match sandbox {
        Sandbox::None { .. } => return Ok(fallback.to_owned()),
        Sandbox::UserNamespace => map_ids(ids).map_err(step("mapping the user"))?,
        Sandbox::Privileged => {}
    }
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(step("making the mounts of the sandbox private"))?;
    // Where it is refused, the facts tell of the /proc there is.
    let _ = inherited::mount_own_proc();
    // The base hides a directory of the host, in this namespace only: nothing is left however the run ends.
    let cover = ["/tmp", "/var/tmp", "/mnt", "/run"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/");
    mount(Some(name), cover, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755,size=256m"))
        .map_err(step("mounting a tmpfs for the sandbox"))?;
    let base = Path::new(cover).join(name);
    fs::create_dir(&base).map_err(step("making the base directory"))?;
    Ok(base)
}

/// Maps user and group 0 of the current user namespace to these IDs outside.
fn map_ids((uid, gid): (u32, u32)) -> io::Result<()> {
    // An unprivileged process must disable setgroups(2) before it writes gid_map (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}
