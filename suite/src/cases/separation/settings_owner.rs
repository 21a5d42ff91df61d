//! Whose the settings of a new namespace are, and who may change them (sections 3.8 to 3.10 of the behaviour
//! catalogue).

use super::mnt::mount_new;
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

fn whoever() -> Vec<Variant> {
    variants::named(&[("user_0", Who::Owner), ("group_0", Who::Group), ("neither", Who::Other)])
}

impl Who {
    /// The caller's user and group in the new user namespace, which has no others.
    fn ids(self) -> (u32, u32) {
        match self {
            Who::Owner => (0, 0),
            Who::Group => (7, 0),
            Who::Other => (7, 8),
        }
    }
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
            user namespace that owns them, if they are shown as its own, as all of an IPC namespace are or none; user \
            7, of group 0 or another, cannot (EACCES), and can read them. Nor can root outside, once it has entered \
            and given up all capabilities.",
    proves: &["EFF-IPC-13"],
    needs: NEEDS.with(feature::PID_NS).with(feature::SYSV_IPC),
    variants: whoever,
    run: |t| {
        // Who looks from outside keeps its powers, and is ended by one who has them, too.
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let visitor = Peer::start(t, "visitor", Flags::NONE)?;
        t.spawn("caller", |t| judge(t, &outside, &visitor, t.param()))?.join(t)
    }
});

/// Makes these namespaces as an ordinary user, and has a task outside map that user and its group. Gives the two, as
/// they are outside.
fn enter_as(t: &Test, outside: &Peer, flags: Flags, who: Who) -> Done<(u32, u32)> {
    become_unprivileged(t)?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    t.unshare(flags).from(Start::unprivileged()).beside(&[outside]).as_predicted()?;
    let (user, group) = who.ids();
    for (file, text) in [("uid_map", format!("{user} {uid} 1")), ("gid_map", format!("{group} {gid} 1"))] {
        let path = format!("/proc/{}/{file}", getpid());
        outside.setup(t, &format!("write({path})"), (path, text), |(path, text)| {
            fs::write(path, text).map_err(errno_of)
        })?;
    }
    Ok((uid, gid))
}

fn judge(t: &Test, outside: &Peer, visitor: &Peer, who: Who) -> Done {
    // Whoever is root outside may write in any case.
    let (_, gid) = enter_as(t, outside, Flags::NEWUSER | Flags::NEWIPC | Flags::NEWPID, who)?;
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
    judge_visitor(t, visitor, &first, (who, gid), &there)?;
    let mut owners = Vec::new();
    for (setting, path) in there {
        let read = first.call(t, &format!("read({path})"), path.clone(), |path| sysctl::read(&path).map(drop))?;
        t.check(read).succeeds()?;
        // In older kernels some of them belong to root outside.
        let (owner, group) = t.setup(first.call(t, &format!("stat({path})"), path.clone(), ids_of)?)?;
        if setting != OF_PID_NAMESPACES {
            owners.push((setting, owner, group));
        } else if who == Who::Owner {
            let text = format!("group of {setting}, which is the user's number, too");
            t.check(Call::seen(text, group)).is(owner)?;
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

/// What `look` gives in a child, which is in the namespaces that the calling task has for children.
fn by_child<R: Serialize + DeserializeOwned>(look: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
    let (read, write) = nix::unistd::pipe()?;
    feature::in_child(0, || {
        let answer = look().map_err(|errno| errno as i32);
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        i32::from(nix::unistd::write(&write, &text).is_err())
    })?;
    drop(write);
    let mut text = [0; 256];
    let length = nix::unistd::read(&read, &mut text)?;
    let answer: Result<R, i32> = serde_json::from_slice(&text[..length]).map_err(|_| Errno::EBADMSG)?;
    answer.map_err(Errno::from_raw)
}

/// User and group of a setting of the PID namespace that this process is in, and how it ends (0: well) when a root
/// without capabilities, who is of that group, opens it for writing.
fn look_in_pid_namespace((pid, path): (i32, String)) -> Result<(u32, u32, i32), Errno> {
    enter(&open_link(pid, Ns::Pid)?)?;
    by_child(|| {
        let (user, group) = ids_of(path.clone())?;
        let member = Gid::from_raw(group);
        setgroups(&[])?;
        setresgid(member, member, member)?;
        drop_capabilities(())?;
        Ok((user, group, open_for_writing(path).err().map_or(0, |errno| errno as i32)))
    })
}

/// Has root outside look from within the new PID namespace.
fn judge_visitor_of_pids(t: &Test, visitor: &Peer, first: &Peer, (who, gid): (Who, u32), path: &str) -> Done {
    let look = (first.pid().as_raw(), path.to_owned());
    let text = format!("stat({path}) and open() from outside, in the PID namespace");
    let (user, group, opened) = t.setup(visitor.call(t, &text, look, look_in_pid_namespace)?)?;
    let expected = match who {
        // In older kernels there is one for all, which is root's outside.
        Who::Owner if user != 0 => Some(gid),
        Who::Group if group != 0 => Some(gid),
        Who::Owner | Who::Group => None,
        Who::Other => Some(0),
    };
    let Some(expected) = expected else { return Ok(()) };
    t.check(Call::seen(format!("group of {path}, from outside"), group)).is(expected)?;
    if who == Who::Other {
        // The user namespace has no user 0 whose it could be.
        return t.check(Call::seen(format!("user of {path}, from outside"), user)).is(0);
    }
    let text = format!("error of open({path}, O_WRONLY) by root outside, as one of its group");
    t.check(Call::seen(text, opened)).is(libc::EACCES)
}

/// Has root outside enter the new IPC namespace, where no capability is left to it.
fn judge_visitor(t: &Test, visitor: &Peer, first: &Peer, (who, gid): (Who, u32), there: &[(&str, String)]) -> Done {
    // Links of other users' tasks are open to those who may trace them.
    if !feature::may_trace(t.facts()) {
        return Ok(());
    }
    visitor.setup(t, "unshare(CLONE_FS)", (), |()| unshare(Flags::FS).answer())?;
    if let Some((_, path)) = there.iter().find(|(setting, _)| *setting == OF_PID_NAMESPACES) {
        judge_visitor_of_pids(t, visitor, first, (who, gid), path)?;
    }
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

/// Files of a network namespace: settings, and below a sysfs those of its loopback device, of which a kernel may lack
/// some.
const OF_NETWORKS: [&str; 4] = [
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/lo/forwarding",
    "/proc/sys/net/unix/max_dgram_qlen",
];
const OF_DEVICES: [&str; 4] =
    ["class/net/lo", "class/net/lo/mtu", "class/net/lo/queues/rx-0", "class/net/lo/queues/tx-0"];

case!(Case {
    name: "separation.settings.network_owner",
    about: "The settings of a new network namespace, and in a sysfs the files of its devices, belong to user 0 and \
            group 0 of the user namespace that owns it; where that has no user 0, or group 0, to root's outside.",
    proves: &["EFF-NET-12"],
    source: "kernel, net/core/net_namespace.c (net_ns_get_ownership) and net/sysctl_net.c",
    needs: NEEDS.with(feature::NET_NS),
    variants: whoever,
    run: |t| {
        let sysfs = new_directory(t, "sysfs")?;
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        // Ended by this task, which has the power to.
        t.spawn("caller", |t| judge_network(t, &outside, t.param(), &sysfs))?.join(t)
    }
});

fn judge_network(t: &Test, outside: &Peer, who: Who, sysfs: &str) -> Done {
    let (uid, gid) = enter_as(t, outside, Flags::NEWUSER | Flags::NEWNS, who)?;
    // Whose a device is that is there from the start is settled then, so the maps come first.
    t.unshare(Flags::NEWNET).from(limits::start(t, Flags::NONE)).as_predicted()?;
    let mounted = mount_new("sysfs", sysfs).result().is_ok();
    if !mounted {
        t.note("no sysfs can be mounted here, so that only settings were looked at");
    }
    let devices: &[&str] = if mounted { &OF_DEVICES } else { &[] };
    let devices = devices.iter().map(|file| format!("{sysfs}/{file}"));
    let there = |path: &String| Path::new(path).exists();
    let (user, group) = who.ids();
    let inside = (user == 0, group == 0);
    for path in OF_NETWORKS.into_iter().map(str::to_owned).chain(devices.clone()).filter(there) {
        let ids = ids_of(path.clone()).map(|(user, group)| (user == 0, group == 0));
        t.check(Call::new(format!("whether user and group of {path} are 0"), ids)).is(inside)?;
    }
    // Roots of other users' tasks are open to those who may trace them.
    if !feature::may_trace(t.facts()) {
        return Ok(());
    }
    let outer = (if inside.0 { uid } else { 0 }, if inside.1 { gid } else { 0 });
    for path in devices.filter(there) {
        let seen = format!("/proc/{}/root{path}", getpid());
        t.check(outside.call(t, &format!("user and group of {path}, from outside"), seen, ids_of)?).is(outer)?;
    }
    Ok(())
}
