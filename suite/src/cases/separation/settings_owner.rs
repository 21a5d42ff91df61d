//! Who may change the settings of a new namespace (sections 3.8 and 3.10 of the behaviour catalogue).

use crate::observe::nsfd::enter;
use crate::prelude::*;

const SOURCE: &str = "kernel, ipc/ipc_sysctl.c, ipc/mq_sysctl.c and kernel/pid.c";
const NEEDS: Needs = Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::CREATE_USER_NS).with(feature::SECOND_USER);

/// The setting of PID namespaces, which may have another owner than those of IPC namespaces.
const OF_PID_NAMESPACES: &str = "kernel/pid_max";

/// Settings below /proc/sys, of which a kernel may lack some.
const SETTINGS: [&str; 6] = [
    "kernel/shmmax",
    "kernel/sem_next_id",
    "kernel/msg_next_id",
    "kernel/shm_next_id",
    "fs/mqueue/msg_max",
    OF_PID_NAMESPACES,
];

/// Whose ID in the new user namespace the caller's user and group become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Owner,
    Group,
    Other,
}

const CAP_CHECKPOINT_RESTORE: u64 = 1 << 40;

/// User and group of a file.
fn ids_of(path: String) -> Result<(u32, u32), Errno> {
    fs::metadata(path).map(|data| (data.uid(), data.gid())).map_err(errno_of)
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
            user namespace that owns them, if they are shown as its own, as all of an IPC namespace are or none; user 7, of \
            group 0 or another, cannot (EACCES), and can read them. Nor can root outside, once it has entered and given up \
            all capabilities.",
    proves: &["EFF-IPC-13"],
    needs: NEEDS.with(feature::PID_NS).with(feature::SYSV_IPC),
    variants: || variants::named(&[("user_0", Who::Owner), ("group_0", Who::Group), ("neither", Who::Other)]),
    run: |t| {
        // Who looks from outside keeps its powers, and is ended by one who has them, too.
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let visitor = Peer::start(t, "visitor", Flags::NONE)?;
        t.spawn("caller", |t| judge(t, &outside, &visitor, t.param()))?.join(t)
    }
});

fn judge(t: &Test, outside: &Peer, visitor: &Peer, who: Who) -> Done {
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
    let there = SETTINGS.into_iter().filter(|setting| Path::new("/proc/sys").join(setting).exists());
    let there: Vec<_> = there.map(|setting| (setting, format!("/proc/sys/{setting}"))).collect();
    if who == Who::Other {
        // It is for what checkpoints take alone.
        first.setup(t, "capset(CAP_CHECKPOINT_RESTORE)", (), |()| {
            set_capabilities(CAP_CHECKPOINT_RESTORE, CAP_CHECKPOINT_RESTORE).answer()
        })?;
        for (_, path) in there.iter().filter(|(setting, _)| !setting.ends_with("next_id")) {
            let text = format!("open({path}, O_WRONLY) with CAP_CHECKPOINT_RESTORE alone");
            t.check(first.call(t, &text, path.clone(), open_for_writing)?).fails_with(Errno::EACCES)?;
        }
    }
    first.setup(t, "capset(none)", (), drop_capabilities)?;
    judge_visitor(t, visitor, &first, who, &there)?;
    let mut owners = Vec::new();
    for (setting, path) in there {
        let read = first.call(t, &format!("read({path})"), path.clone(), |path| sysctl::read(&path).map(drop))?;
        t.check(read).succeeds()?;
        // In older kernels some of them belong to root outside.
        let (owner, group) = t.setup(first.call(t, &format!("stat({path})"), path.clone(), ids_of)?)?;
        if setting != OF_PID_NAMESPACES {
            owners.push((setting, owner, group));
        }
        let opened = first.call(t, &format!("open({path}, O_WRONLY)"), path, open_for_writing)?;
        match who {
            // Those for checkpoints take a capability.
            Who::Owner if owner != 0 || setting.ends_with("next_id") => {}
            Who::Owner => t.check(opened).succeeds()?,
            Who::Group | Who::Other => t.check(opened).fails_with(Errno::EACCES)?,
        }
    }
    let first_ones = owners.first().map(|(_, owner, group)| (*owner, *group));
    all(owners.into_iter().map(|(setting, owner, group)| {
        let text = format!("user and group of {setting}, as those of all settings of the IPC namespace");
        t.check(Call::seen(text, Some((owner, group)))).is(first_ones)
    }))
}

/// Has root outside enter the new IPC namespace, where no capability is left to it.
fn judge_visitor(t: &Test, visitor: &Peer, first: &Peer, who: Who, there: &[(&str, String)]) -> Done {
    // Links of other users' tasks are open to those who may trace them.
    if !feature::may_trace(t.facts()) {
        return Ok(());
    }
    visitor.setup(t, "unshare(CLONE_FS)", (), |()| unshare(Flags::FS).answer())?;
    visitor.setup(t, "setns(ns/ipc of process 1)", first.pid().as_raw(), |pid| enter(&open_link(pid, Ns::Ipc)?))?;
    visitor.setup(t, "capset(none)", (), drop_capabilities)?;
    for (setting, path) in there.iter().filter(|(setting, _)| *setting != OF_PID_NAMESPACES) {
        let (user, group) = t.setup(visitor.call(t, &format!("stat({path}) from outside"), path.clone(), ids_of)?)?;
        if who == Who::Owner {
            if user != 0 && !setting.ends_with("next_id") {
                let text = format!("open({path}, O_WRONLY) by root outside");
                t.check(visitor.call(t, &text, path.clone(), open_for_writing)?).fails_with(Errno::EACCES)?;
            }
            continue;
        }
        // The user namespace has no user 0 whose they could be.
        t.check(Call::seen(format!("user of {path}, from outside"), user)).is(0)?;
        if who == Who::Other {
            t.check(Call::seen(format!("group of {path}, from outside"), group)).is(0)?;
        }
    }
    Ok(())
}
