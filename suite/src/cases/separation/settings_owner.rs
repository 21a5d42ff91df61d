//! Who may change the settings of a new namespace (sections 3.8 and 3.10 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "kernel, ipc/ipc_sysctl.c, ipc/mq_sysctl.c and kernel/pid.c";
const NEEDS: Needs = Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::CREATE_USER_NS).with(feature::SECOND_USER);

/// Settings below /proc/sys, of which a kernel may lack some.
const SETTINGS: [&str; 6] = [
    "kernel/shmmax",
    "kernel/sem_next_id",
    "kernel/msg_next_id",
    "kernel/shm_next_id",
    "fs/mqueue/msg_max",
    "kernel/pid_max",
];

/// Whose ID in the new user namespace the caller's user and group become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Owner,
    Group,
    Other,
}

/// Opens a setting for writing, and writes nothing.
fn open_for_writing(path: String) -> Result<(), Errno> {
    File::options().write(true).open(path).map(drop).map_err(errno_of)
}

fn drop_capabilities((): ()) -> Result<(), Errno> {
    set_capabilities(0, 0).answer()
}

case!(Case {
    name: "separation.settings.owner",
    about: "Without capabilities the settings of new IPC and PID namespaces can be opened for writing by user 0 of the \
            user namespace that owns them, if they are shown as its own; user 7, of group 0 or another, cannot (EACCES), and can read them.",
    proves: &["EFF-IPC-13"],
    needs: NEEDS.with(feature::PID_NS).with(feature::SYSV_IPC),
    variants: || variants::named(&[("user_0", Who::Owner), ("group_0", Who::Group), ("neither", Who::Other)]),
    run: |t| {
        // Who looks from outside keeps its powers, and is ended by one who has them, too.
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.spawn("caller", |t| judge(t, &outside, t.param()))?.join(t)
    }
});

fn judge(t: &Test, outside: &Peer, who: Who) -> Done {
    // Whoever is root outside may write in any case.
    become_unprivileged(t)?;
    let (uid, gid) = (geteuid(), getegid());
    let flags = Flags::NEWUSER | Flags::NEWIPC | Flags::NEWPID;
    t.unshare(flags).from(Start::unprivileged()).beside(&[outside]).as_predicted()?;
    let (user, group) = match who {
        Who::Owner => (0, 0),
        Who::Group => (7, 0),
        Who::Other => (7, 8),
    };
    for (file, text) in [("uid_map", format!("{user} {uid} 1")), ("gid_map", format!("{group} {gid} 1"))] {
        let path = format!("/proc/{}/{file}", getpid());
        outside.setup(t, &format!("write({path})"), (path, text), |(path, text)| {
            fs::write(path, text).map_err(errno_of)
        })?;
    }
    let first = Peer::start(t, "process 1", Flags::NONE)?;
    first.setup(t, "capset(none)", (), drop_capabilities)?;
    for setting in SETTINGS {
        let path = format!("/proc/sys/{setting}");
        if !Path::new(&path).exists() {
            continue;
        }
        let read = first.call(t, &format!("read({path})"), path.clone(), |path| sysctl::read(&path).map(drop))?;
        t.check(read).succeeds()?;
        // In older kernels some of them belong to root outside.
        let owner = first.call(t, &format!("stat({path}): its user"), path.clone(), |path| {
            fs::metadata(path).map(|data| data.uid()).map_err(errno_of)
        })?;
        let owner = t.setup(owner)?;
        let opened = first.call(t, &format!("open({path}, O_WRONLY)"), path, open_for_writing)?;
        match who {
            // Those for checkpoints take a capability.
            Who::Owner if owner != 0 || setting.ends_with("next_id") => {}
            Who::Owner => t.check(opened).succeeds()?,
            Who::Group | Who::Other => t.check(opened).fails_with(Errno::EACCES)?,
        }
    }
    Ok(())
}
