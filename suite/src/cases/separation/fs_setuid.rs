//! A set-user-ID program and a shared root and current directory (section 3.1 of the behaviour catalogue).
//!
//! Who shares them could move the program's ground under its feet, so execve(2) does not raise privilege then.

use crate::prelude::*;

/// The effective user of a task.
pub(super) fn effective_user(pid: Pid) -> Call<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        let uids = text.lines().find_map(|line| line.strip_prefix("Uid:"));
        uids.and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok()).unwrap_or(u32::MAX)
    });
    Call::io("effective user after execve(a set-user-ID program of root's)", status)
}

/// Goes on where a task that is traced gains privilege all the same.
///
/// # Errors
/// It would gain none: the case is skipped.
#[track_caller]
pub(super) fn must_trace(t: &Test) -> Done {
    if feature::may_trace(t.facts()) {
        return Ok(());
    }
    Err(t.skip("CAP_SYS_PTRACE is missing, without which a traced task gains nothing: run as root outside containers"))
}

/// What the caller shares, and whether it leaves that.
const STATES: [(&str, (Flags, bool)); 3] =
    [("not_shared", (Flags::NONE, false)), ("shared", (Flags::FS, false)), ("unshared", (Flags::FS, true))];

case!(Case {
    name: "separation.fs.set_user_id",
    about: "An ordinary user's task that shares root and cwd with another process is not raised by root's set-user-ID \
            program. After unshare(CLONE_FS) it is, like a task that never shared them.",
    proves: &["EFF-FS-13"],
    source: "execve(2), Effect on process attributes; kernel, fs/exec.c (check_unsafe_exec)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::SECOND_USER),
    quick: one_in(2, 0),
    variants: || variants::named(&STATES),
    run: |t| {
        t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            let (sharing, leaves): (Flags, bool) = t.param();
            must_trace(t)?;
            let program = Program::new(t)?;
            let executed = Executed::of(t, "caller", sharing, program.path(), |t| {
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
