//! A set-user-ID program, and whether execve(2) of it raised the privilege.
//!
//! A tracer would take the privilege away, so nothing traces it: the program ends at once, and its user is read from
//! the zombie before it is reaped.

use std::os::unix::fs::PermissionsExt;

use crate::place::privilege::NOBODY;
use crate::spec::prelude::*;
use crate::tasks::end::wait_unreaped;

/// What a case of set-user-ID programs needs.
pub const NEEDS: Needs = Needs::ROOT.with(feature::SECOND_USER);

/// Such a program: this one, owned by root, on a file system of its own that honours the bit. To be
/// made in a mount namespace of the case's own.
#[derive(Clone, Debug)]
pub struct Program {
    path: CString,
}

impl Program {
    /// Makes it.
    ///
    /// # Errors
    /// It cannot be made: the case is broken; or it is skipped where no_new_privs is set.
    #[track_caller]
    pub fn new(t: &Test) -> Done<Program> {
        if t.setup(Call::new("prctl(PR_GET_NO_NEW_PRIVS)", nix::sys::prctl::get_no_new_privs()))? {
            return Err(t.skip(
                "no_new_privs is set here, so no program raises privilege: run without it \
                 (docker: no --security-opt no-new-privileges)",
            ));
        }
        let point = t.directory()?.join("programs");
        t.setup(Call::io("mkdir(programs)", fs::create_dir(&point)))?;
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        let mounted = nix::mount::mount(Some("programs"), &point, Some("tmpfs"), flags, none);
        t.setup(Call::new("mount(tmpfs)", mounted))?;
        let path: PathBuf = point.join("raise");
        let copied = copy_loaded_part(&path);
        t.setup(Call::io("copy(/proc/self/exe)", copied))?;
        let mode = fs::Permissions::from_mode(0o4755);
        t.setup(Call::io("chmod(04755)", fs::set_permissions(&path, mode)))?;
        let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        Ok(Program { path })
    }

    /// Where it is.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// Executes it. Its arguments make it end at once, without output.
    pub fn execute(&self) -> Call<()> {
        let arguments = [c"unshare-conformance", c"--storm-task", c"999999", c"0"];
        let environment: [CString; 0] = [];
        // Only failure returns.
        let Err(errno) = nix::unistd::execve(&self.path, &arguments, &environment);
        Call::new("execve(set-user-ID program)", Err(errno))
    }
}

#[cfg(target_pointer_width = "64")]
type ProgramHeader = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type ProgramHeader = libc::Elf32_Phdr;

/// Copies the part of this program that the kernel loads, without what only a debugger reads.
fn copy_loaded_part(to: &Path) -> io::Result<()> {
    use std::io::Read;
    // SAFETY: reads the program headers that the kernel mapped for this process, as getauxval(3)
    // gives their address and number.
    let headers = unsafe {
        let (start, count) = (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM));
        std::slice::from_raw_parts(start as *const ProgramHeader, count as usize)
    };
    let end = headers.iter().map(|header| header.p_offset as u64 + header.p_filesz as u64).max();
    let mut program = File::open("/proc/self/exe")?.take(end.unwrap_or(u64::MAX));
    io::copy(&mut program, &mut File::create(to)?).map(drop)
}

/// Waits until the task has ended, and gives the effective user it ended as: 0 if the program was
/// raised, 65534 if not. The task is left to be reaped.
#[track_caller]
pub fn effective_user(t: &Test, pid: Pid) -> Done<u32> {
    match wait_unreaped(pid) {
        Ok(WaitStatus::Exited(_, 1)) => {}
        other => return Err(t.broken("execve(set-user-ID program)", format!("{other:?}"))),
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = t.setup(Call::io("read(/proc/PID/status)", status))?;
    let user = status.lines().find_map(|line| {
        let (_, ids) = line.split_once("Uid:")?;
        ids.split_whitespace().nth(1)?.parse().ok()
    });
    user.ok_or_else(|| t.broken("Uid: in /proc/PID/status", status))
}

/// The user of a program that was not raised.
pub const ORDINARY: u32 = NOBODY;
