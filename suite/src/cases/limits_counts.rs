//! The limits themselves: what they take, whose they are, and that a full one refuses (ERR-30,
//! ERR-32, INT-21, INT-23, INT-24, LIM rows of the behaviour catalogue).

use std::os::fd::AsRawFd;
use std::path::Path;

use crate::limits;
use crate::model::Start;
use crate::namespace_file::open_link;
use crate::prelude::*;
use crate::privilege::set_capabilities;
use crate::side::{check_call_beside, in_own_namespaces};

const SOURCE: &str = "namespaces(7), The /proc/sys/user directory; unshare(2), ERRORS (ENOSPC)";

/// Root in a user namespace of its own, where these kinds of namespace are used up.
fn start(t: &Test, exhausted: Flags) -> Start {
    Start {
        initial_admin: false,
        exhausted,
        ..Start::of(t.facts())
    }
}

case! {
    name: "limits.zero",
    about: "A limit of 0 refuses even the first namespace of its kind with ENOSPC, and changes \
            nothing; raised, it allows one.",
    proves: &["ERR-32"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: limits::each_kind,
    run: |t| {
        const ID: &str = "ERR-32";
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        limits::set(t, flag, 0)?;
        check_call_beside(t, &observer, &start(t, flag), flag, ID, &[&peer])?;
        limits::set(t, flag, limits::used(flag) + 1)?;
        check_call_beside(t, &observer, &start(t, Flags::NONE), flag, ID, &[&peer]).map(drop)
    }
}

case! {
    name: "limits.reached",
    about: "While another task of the same user holds as many namespaces of a kind as its limit \
            allows, one more is refused with ENOSPC and nothing changes, neither in the caller nor \
            in that task; when it has ended, there is room again.",
    proves: &["ERR-30"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: limits::each_kind,
    run: |t| {
        const ID: &str = "ERR-30";
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        let holder = Peer::start(t, "holder", Flags::NONE)?;
        limits::set(t, flag, limits::used(flag) + 1)?;
        t.check(limits::unshare_by(t, &holder, flag)?).proves(ID).succeeds()?;
        check_call_beside(t, &observer, &start(t, flag), flag, ID, &[&holder])?;
        holder.end();
        limits::check_room(t, flag, ID)
    }
}

/// The kinds that a task can replace again and again: a user namespace is nested, and a second PID
/// namespace is refused for another reason.
fn replaceable() -> Vec<Variant> {
    limits::each_kind()
        .into_iter()
        .filter(|variant| ![Flags::NEWUSER.0, Flags::NEWPID.0].contains(&variant.param))
        .collect()
}

case! {
    name: "limits.replacing",
    about: "A task that replaces its namespace needs room for two, since the new one is counted \
            before the old is let go: with room for one, the second call gives ENOSPC and changes \
            nothing.",
    proves: &["ERR-30"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: replaceable,
    run: |t| {
        const ID: &str = "ERR-30";
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        if flag != Flags::NEWNS {
            // The mount namespace is the user namespace's own already.
            check_call(t, &observer, &start(t, Flags::NONE), flag, ID)?;
        }
        limits::set(t, flag, 1)?;
        for _ in 0..3 {
            check_call(t, &observer, &start(t, flag), flag, ID)?;
        }
        limits::set(t, flag, 2)?;
        check_call(t, &observer, &start(t, Flags::NONE), flag, ID).map(drop)
    }
}

case! {
    name: "limits.alive_not_calls",
    about: "What is counted are namespaces that exist, not calls: a task that goes on replacing its \
            namespace never meets a limit of two.",
    proves: &["INT-23"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: replaceable,
    run: |t| {
        const ID: &str = "INT-23";
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, 2)?;
        for _ in 0..30 {
            limits::check_room(t, flag, ID)?;
        }
        // Nobody else was there to make it succeed.
        limits::set(t, flag, 0)?;
        let observer = Observer::open(t)?;
        check_call(t, &observer, &start(t, flag), flag, ID).map(drop)
    }
}

case! {
    name: "limits.lowered",
    about: "A limit can be set below what is in use: those who have a namespace keep it, and the \
            next one is refused with ENOSPC until the limit is above the use again.",
    proves: &["LIM-02"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: limits::each_kind,
    run: |t| {
        const ID: &str = "LIM-02";
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        let holders = [Peer::start(t, "first holder", Flags::NONE)?, Peer::start(t, "second holder", Flags::NONE)?];
        for holder in &holders {
            t.setup(limits::unshare_by(t, holder, flag)?)?;
        }
        let both: Vec<_> = holders.iter().collect();
        for limit in [1, 0, limits::used(flag) + 2] {
            limits::set(t, flag, limit)?;
            check_call_beside(t, &observer, &start(t, flag), flag, ID, &both)?;
        }
        limits::set(t, flag, limits::used(flag) + 3)?;
        check_call_beside(t, &observer, &start(t, Flags::NONE), flag, ID, &both).map(drop)
    }
}

/// The limit as it reads.
fn value(flag: Flags) -> Call<String> {
    let path = limits::path(flag);
    let text = std::fs::read_to_string(&path).map(|text| text.trim().to_owned());
    Call::io(format!("read({})", path.display()), text)
}

fn write(flag: Flags, text: &str) -> Call<()> {
    let path = limits::path(flag);
    let written = std::fs::write(&path, text);
    Call::io(format!("write({text:?}) to {}", path.display()), written)
}

case! {
    name: "limits.range",
    about: "A limit takes the numbers from 0 to 2147483647 and reads back as what was written; any \
            other number leaves it as it was, and one that is too large is refused with EINVAL.",
    proves: &["LIM-01"],
    source: SOURCE,
    needs: limits::NEEDS,
    variants: limits::each_kind,
    run: |t| {
        let flag = Flags(t.param());
        limits::enter_own_user_namespace(t)?;
        for good in ["0", "1", "2147483646", "2147483647", "17"] {
            t.check(write(flag, good)).succeeds()?;
            t.check(value(flag)).is(good.to_owned())?;
        }
        for large in ["2147483648", "4294967296", "4294967313", "9223372036854775808"] {
            t.check(write(flag, large)).fails_with(Errno::EINVAL)?;
            t.check(value(flag)).is("17".to_owned())?;
        }
        for none in ["-1", "-2147483648", "many"] {
            // Some releases refuse a negative number, others pass over it.
            let refused = write(flag, none).result().is_err();
            let text = format!("limit after write({none:?}), which was {}",
                if refused { "refused" } else { "passed over" });
            t.check(value(flag).called(text)).is("17".to_owned())?;
        }
        Ok(())
    }
}

case! {
    name: "limits.own_set",
    about: "Each user namespace has limits of its own, 2147483647 at first whatever those outside \
            are: setting them changes nobody else's, and takes CAP_SYS_RESOURCE there (EACCES \
            without).",
    proves: &["INT-21"],
    source: SOURCE,
    needs: limits::NEEDS,
    run: |t| {
        const ID: &str = "INT-21";
        const CAP_SYS_RESOURCE: u64 = 1 << 24;
        limits::enter_own_user_namespace(t)?;
        for (flag, _) in limits::files(t) {
            t.check(value(flag)).proves(ID).is(limits::HIGHEST.to_string())?;
            limits::set(t, flag, 1000)?;
        }
        t.in_child(|t| {
            limits::enter_nested_user_namespace(t)?;
            for (flag, _) in limits::files(t) {
                t.check(value(flag)).proves(ID).is(limits::HIGHEST.to_string())?;
                t.check(write(flag, "7")).proves(ID).succeeds()?;
                t.check(value(flag)).proves(ID).is("7".to_owned())?;
            }
            Ok(())
        })?;
        for (flag, _) in limits::files(t) {
            t.check(value(flag)).proves(ID).is("1000".to_owned())?;
        }
        t.in_child(|t| {
            let all = Observer::open(t)?.state().capabilities[1];
            let rest = all & !CAP_SYS_RESOURCE;
            t.setup(set_capabilities(rest, rest))?;
            for (flag, path) in limits::files(t) {
                t.check(write(flag, "8")).proves(ID).fails_with(Errno::EACCES)?;
                t.check(value(flag)).proves(ID).is("1000".to_owned())?;
                // Not for lack of a way to the file.
                t.check(Call::io("open(O_RDONLY)", std::fs::File::open(path).map(drop))).proves(ID).succeeds()?;
            }
            Ok(())
        })
    }
}

/// How a namespace without tasks is kept.
const BY_DESCRIPTOR: u64 = 0;
const BY_MOUNT: u64 = 1 << 40;

fn kept_kinds() -> Vec<Variant> {
    [(BY_DESCRIPTOR, "descriptor"), (BY_MOUNT, "bind_mount")]
        .into_iter()
        .flat_map(|(how, name)| {
            limits::each_kind().into_iter().map(move |variant| Variant {
                name: format!("{name}.{}", variant.name),
                param: variant.param | how,
                ..variant
            })
        })
        // A mount namespace can be bound only in one that is older, and the order of two of them is
        // not certain (RULE-10).
        .filter(|variant| variant.param != BY_MOUNT | Flags::NEWNS.0)
        .collect()
}

/// The link to what `flag` makes.
fn link_of(flag: Flags) -> Ns {
    match flag {
        Flags::NEWUSER => Ns::User,
        Flags::NEWNS => Ns::Mnt,
        Flags::NEWUTS => Ns::Uts,
        Flags::NEWIPC => Ns::Ipc,
        Flags::NEWPID => Ns::PidForChildren,
        Flags::NEWCGROUP => Ns::Cgroup,
        Flags::NEWNET => Ns::Net,
        _ => Ns::TimeForChildren,
    }
}

case! {
    name: "limits.pinned",
    about: "A namespace whose tasks have all ended stays counted as long as an open descriptor or a \
            bind mount keeps it: the next one is refused with ENOSPC, and allowed once that is gone.",
    proves: &["INT-24"],
    source: "namespaces(7), Namespace lifetime and The /proc/sys/user directory",
    needs: limits::NEEDS,
    variants: kept_kinds,
    run: |t| {
        const ID: &str = "INT-24";
        let by_mount = t.param() & BY_MOUNT != 0;
        let flag = Flags(t.param() & !BY_MOUNT);
        let target = t.directory()?.join("namespace");
        t.setup(Call::io("open(O_CREAT)", std::fs::File::create(&target)))?;
        limits::enter_own_user_namespace(t)?;
        let observer = Observer::open(t)?;
        limits::set(t, flag, limits::used(flag) + 1)?;
        let maker = Peer::start(t, "maker", Flags::NONE)?;
        t.setup(limits::unshare_by(t, &maker, flag)?)?;
        if flag == Flags::NEWPID {
            // Before its first process, the link leads nowhere (EFF-PID-03).
            maker.setup(t, "fork()", (), |()| {
                // SAFETY: the peer is single-threaded; its child ends at once.
                if let nix::unistd::ForkResult::Parent { child } = unsafe { nix::unistd::fork()? } {
                    nix::sys::wait::waitpid(child, None)?;
                    return Ok(());
                }
                // SAFETY: ends the child without destructors.
                unsafe { libc::_exit(0) }
            })?;
        }
        let link = link_of(flag);
        let file = t.setup(Call::new(format!("open({})", link.link()), open_link(maker.pid(), link)))?;
        let mut kept = Some(file);
        if by_mount {
            let from = format!("/proc/self/fd/{}", kept.as_ref().map_or(-1, AsRawFd::as_raw_fd));
            let none: Option<&str> = None;
            let bound = nix::mount::mount(Some(from.as_str()), &target, none, nix::mount::MsFlags::MS_BIND, none);
            t.setup(Call::new("mount(MS_BIND)", bound))?;
            kept = None;
        }
        maker.end();
        // Long enough for what is let go late to be let go.
        std::thread::sleep(t.patience(std::time::Duration::from_millis(30)));
        for _ in 0..3 {
            check_call(t, &observer, &start(t, flag), flag, ID)?;
        }
        drop(kept);
        if by_mount {
            t.setup(Call::new("umount()", nix::mount::umount(&target)))?;
        }
        limits::check_room(t, flag, ID)
    }
}

fn write_nr_open(value: &str) -> Call<()> {
    let path = Global::NrOpen.path();
    Call::io(format!("write({path}, {value})"), std::fs::write(path, value))
}

fn nr_open() -> Call<String> {
    let path = Global::NrOpen.path();
    let text = std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    Call::io(format!("read({path})"), text)
}

case! {
    name: "limits.nr_open_floor",
    about: "On a 64-bit kernel fs.nr_open cannot be set below 64: less is refused with EINVAL and \
            leaves it as it was.",
    proves: &["LIM-03"],
    source: "kernel, fs/file.c",
    needs: Needs::NONE.with(Feature::InitialRoot).disturbing(Global::NrOpen),
    run: |t| {
        if usize::BITS != 64 {
            return Err(t.skip("the claim is about 64-bit kernels: run the suite's 64-bit build"));
        }
        t.check(write_nr_open("128")).succeeds()?;
        for low in ["63", "1", "0"] {
            t.check(write_nr_open(low)).fails_with(Errno::EINVAL)?;
            t.check(nr_open()).is("128".to_owned())?;
        }
        t.check(write_nr_open("64")).succeeds()?;
        t.check(nr_open()).is("64".to_owned())
    }
}

case! {
    name: "limits.mount_max",
    about: "fs.mount-max refuses further mounts (ENOSPC) but not CLONE_NEWNS: a copy of more mounts \
            than it allows succeeds and is complete.",
    proves: &["ERR-42"],
    source: "proc_sys_fs(5), mount-max; kernel, fs/namespace.c",
    needs: Needs::ROOT.with(Feature::InitialRoot).disturbing(Global::MountMax),
    run: |t| {
        let target = t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| judge_copy_beyond_mount_max(t, target))
    }
}

fn judge_copy_beyond_mount_max(t: &Test, target: &Path) -> Done {
    const ID: &str = "ERR-42";
    let observer = Observer::open(t)?;
    let mount = || {
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        let mounted = nix::mount::mount(none, target, Some("tmpfs"), flags, none);
        Call::new("mount(tmpfs)", mounted)
    };
    // In the order of their names: that of the list is nobody's promise.
    let points = || -> Done<Vec<String>> {
        let mounts = t.setup(Call::new("read(mountinfo)", crate::mount_table::mounts()))?;
        let mut points: Vec<_> = mounts.iter().map(|mount| mount.point().to_owned()).collect();
        points.sort();
        Ok(points)
    };
    for _ in 0..3 {
        t.setup(mount())?;
    }
    let before = points()?;
    let path = Global::MountMax.path();
    t.setup(Call::io(format!("write({path}, 2)"), std::fs::write(path, "2")))?;
    t.check(mount()).proves(ID).fails_with(Errno::ENOSPC)?;
    for _ in 0..2 {
        check_call(t, &observer, &Start::of(t.facts()), Flags::NEWNS, ID)?;
    }
    t.check(Call::seen("mount points in the copy", points()?)).proves(ID).is(before)
}
