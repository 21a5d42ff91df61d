//! A set-user-ID program and a shared root and current directory (section 3.1 of the behaviour catalogue).
//!
//! Who shares them could move the program's ground under its feet, so execve(2) does not raise privilege then.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;

use nix::mount::{MsFlags, mount};

use crate::place::privilege::NOBODY;
use crate::prelude::*;
use crate::tasks::executed::Executed;
use crate::tasks::side::in_own_namespaces;

const CAP_SYS_PTRACE: u64 = 1 << 19;

/// A program that execve(2) loads and that has no instructions: nothing of it is to run.
fn empty_program() -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    const ADDRESS: u64 = 0x40_0000;
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    const SIZE: u64 = 4096;
    // Whatever machine this is: class, byte order and machine are this program's own.
    let mut own = [0u8; 20];
    std::fs::File::open("/proc/self/exe")?.read_exact(&mut own)?;
    let mut program = own[..16].to_vec();
    program.extend(2u16.to_ne_bytes()); // ET_EXEC
    program.extend(&own[18..20]);
    program.extend(1u32.to_ne_bytes());
    for number in [ADDRESS + HEADER + SEGMENT, HEADER, 0] {
        program.extend(number.to_ne_bytes());
    }
    program.extend(0u32.to_ne_bytes());
    for number in [HEADER as u16, SEGMENT as u16, 1, 64, 0, 0] {
        program.extend(number.to_ne_bytes());
    }
    program.extend(1u32.to_ne_bytes()); // PT_LOAD
    program.extend(5u32.to_ne_bytes()); // readable and executable
    for number in [0, ADDRESS, ADDRESS, SIZE, SIZE, SIZE] {
        program.extend(number.to_ne_bytes());
    }
    program.resize(SIZE as usize, 0);
    Ok(program)
}

/// The effective user of a task.
fn effective_user(pid: nix::unistd::Pid) -> Call<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|uid| uid.parse().ok()).unwrap_or(u32::MAX)
    });
    Call::io("effective user after execve(a set-user-ID program of root's)", status)
}

/// What the caller shares, and whether it leaves that.
const STATES: [(&str, (Flags, bool)); 3] =
    [("not_shared", (Flags::NONE, false)), ("shared", (Flags::FS, false)), ("unshared", (Flags::FS, true))];

case!(Case {
    name: "separation.fs.set_user_id",
    about: "While another process shares its root and current directory, an ordinary user's task does not become root \
            by executing root's set-user-ID program. After unshare(CLONE_FS) it does, as a task that never shared \
            them.",
    proves: &["EFF-FS-13"],
    source: "execve(2), Effect on process attributes; kernel, fs/exec.c (check_unsafe_exec)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::SECOND_USER),
    variants: || variants::named(&STATES),
    run: |t| {
        let directory = t.directory()?.to_owned();
        in_own_namespaces(t, Flags::NEWNS, |t| {
            let (sharing, leaves): (Flags, bool) = t.param();
            if t.facts().capabilities & CAP_SYS_PTRACE == 0 {
                return Err(t.skip("CAP_SYS_PTRACE is missing, without which a traced task gains nothing: run as root outside containers"));
            }
            if nix::sys::prctl::get_no_new_privs() == Ok(true) {
                return Err(
                    t.skip("no_new_privs is set, so that no program raises privilege: start the suite without it")
                );
            }
            // Mounted without nosuid.
            let mounted = mount(Some("case"), &directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755"));
            t.setup(Call::new("mount(tmpfs)", mounted))?;
            let path = directory.join("program");
            let bytes = t.setup(Call::io("read(/proc/self/exe)", empty_program()))?;
            t.setup(Call::io("write(program)", std::fs::write(&path, bytes)))?;
            let mode = std::fs::Permissions::from_mode(0o4755);
            t.setup(Call::io("chmod(program, 04755)", std::fs::set_permissions(&path, mode)))?;
            let name = CString::new(path.to_string_lossy().into_owned()).unwrap_or_default();
            let executed = Executed::of(t, "caller", sharing, &name, |t| {
                become_unprivileged(t)?;
                if leaves {
                    t.unshare(Flags::FS).from(Start::unprivileged()).as_predicted()?;
                }
                Ok(())
            })?;
            let expected = if sharing == Flags::NONE || leaves { 0 } else { NOBODY };
            t.check(effective_user(executed.pid())).is(expected)
        })
    }
});
