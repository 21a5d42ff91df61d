//! Set-user-ID programs and the mounts that they are executed from (section 3.5 of the behaviour catalogue).

use super::fs_setuid::{effective_user, must_trace};
use crate::prelude::*;

/// Which mount the program is executed from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mount {
    /// One of the new namespace.
    New,
    /// One of the new namespace that has the option nosuid.
    NoSuid,
    /// One of the old namespace, by a descriptor that was opened before the call.
    Old,
}

const MOUNTS: [(&str, Mount); 3] = [("new", Mount::New), ("nosuid", Mount::NoSuid), ("old", Mount::Old)];

case!(Case {
    name: "separation.mnt.set_user_id",
    about: "Root's set-user-ID program raises an ordinary user in the new namespace, but neither on a mount that was copied \
            with nosuid nor through a descriptor that leads to the mount in the old namespace.",
    proves: &["EFF-MNT-37"],
    source: "mount(2), MS_NOSUID; execve(2); kernel, fs/namespace.c (mnt_may_suid)",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::SECOND_USER),
    variants: || variants::named(&MOUNTS),
    run: |t| {
        t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            let from: Mount = t.param();
            must_trace(t)?;
            let program = Program::new(t)?;
            if from == Mount::NoSuid {
                let point = t.directory()?.join("programs");
                let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID;
                let set = mount(None::<&str>, &point, None::<&str>, flags, None::<&str>);
                t.setup(Call::new("mount(programs, MS_REMOUNT|MS_BIND|MS_NOSUID)", set))?;
            }
            let opened = open_path(program.path());
            let opened = t.setup(Call::new("open(program, O_PATH)", opened))?;
            let path = match from {
                Mount::Old => CString::new(format!("/proc/self/fd/{}", opened.as_raw_fd())).unwrap_or_default(),
                Mount::New | Mount::NoSuid => program.path().to_owned(),
            };
            let executed = Executed::of(t, "caller", Flags::NONE, &path, |t| {
                t.unshare(Flags::NEWNS).as_predicted()?;
                become_unprivileged(t)
            })?;
            t.check(effective_user(executed.pid())).is(if from == Mount::New { 0 } else { NOBODY })
        })
    }
});

/// Opens what a path names, without reading it.
fn open_path(path: &CStr) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}
