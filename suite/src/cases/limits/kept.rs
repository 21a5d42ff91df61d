//! What keeps a namespace whose tasks have ended, and so counted (section 3.19 of the behaviour catalogue).

use crate::place::limits::{enter_nested_user_namespace, wait_for_late_ones};
use crate::prelude::*;

const SOURCE: &str = "namespaces(7), Namespace lifetime";
const NEEDS: Needs = limits::NEEDS;

/// Under this number the tasks of these cases share a descriptor, which nothing else of a case has.
const KEPT: i32 = 40;

/// Keeps a task's namespace by a descriptor that the case shares.
#[track_caller]
fn keep(t: &Test, task: impl fmt::Display, ns: Ns) -> Done {
    let link = t.setup(Call::new(format!("open(ns/{})", ns.link()), open_link(task, ns)))?;
    // SAFETY: nothing else of the case has this number.
    let kept = unsafe { libc::dup3(link.as_raw_fd(), KEPT, libc::O_CLOEXEC) };
    t.setup(Call::new("dup3()", Errno::result(kept))).map(drop)
}

/// Two namespaces, one inside the other; the inner one is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    PidByOneBelow,
    UserByOneBelow,
    UserByOneOwned,
    PidByProc,
}

const WAYS: [(&str, Kept); 4] = [
    ("pid.by_one_below", Kept::PidByOneBelow),
    ("user.by_one_below", Kept::UserByOneBelow),
    ("user.by_one_owned", Kept::UserByOneOwned),
    ("pid.by_proc", Kept::PidByProc),
];

/// Mounts a file system of the calling task's own namespace.
fn mount_own((kind, point): (String, String)) -> Result<(), Errno> {
    mount(Some(kind.as_str()), point.as_str(), Some(kind.as_str()), MsFlags::empty(), None::<&str>)
}

case!(Case {
    name: "limits.kept",
    about: "A PID or user namespace without tasks stays counted as long as one below it is kept, or one that it owns, or \
            while a proc of it is mounted: the next one is refused with ENOSPC, and allowed once that is gone.",
    proves: &["EFF-LIFE-01"],
    needs: NEEDS.with(feature::PID_NS).with(feature::UTS_NS),
    variants: || variants::named(&WAYS),
    run: |t| {
        let way: Kept = t.param();
        let (flag, count) = match way {
            Kept::PidByOneBelow => (Flags::NEWPID, 2),
            Kept::UserByOneBelow => (Flags::NEWUSER, 2),
            Kept::UserByOneOwned => (Flags::NEWUSER, 1),
            Kept::PidByProc => (Flags::NEWPID, 1),
        };
        let point = new_directory(t, "point")?;
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, used(flag) + count)?;
        let maker = |t: &Test| -> Done {
            match way {
                Kept::PidByOneBelow => {
                    t.setup(unshare(Flags::NEWPID))?;
                    let first = Peer::start(t, "process 1", Flags::NONE)?;
                    t.setup(unshare_by(t, &first, Flags::NEWPID)?)?;
                    // Before its first process, the link leads nowhere (EFF-PID-03).
                    first.setup(t, "fork()", (), |()| try_fork().answer())?;
                    keep(t, first.pid(), Ns::PidForChildren)
                }
                Kept::UserByOneBelow => {
                    enter_nested_user_namespace(t)?;
                    enter_nested_user_namespace(t)?;
                    keep(t, "thread-self", Ns::User)
                }
                Kept::UserByOneOwned => {
                    enter_nested_user_namespace(t)?;
                    t.setup(unshare(Flags::NEWUTS))?;
                    keep(t, "thread-self", Ns::Uts)
                }
                Kept::PidByProc => {
                    t.setup(unshare(Flags::NEWPID))?;
                    let first = Peer::start(t, "process 1", Flags::NONE)?;
                    let mounted = first.call(t, "mount(proc)", ("proc".to_owned(), point.clone()), mount_own)?;
                    if mounted.result() == Err(Failure::Errno(Errno::EPERM)) {
                        return Err(t.skip("this place covers up parts of /proc, so no other can be mounted"));
                    }
                    t.setup(mounted)
                }
            }
        };
        t.spawn_sharing("maker", Flags::FILES.0, maker)?.join(t)?;
        // A kernel that lets go of it, though late, has done so once one that ended later is gone.
        wait_for_late_ones(t, flag)?;
        for _ in 0..3 {
            t.unshare(flag).from(limits::start(t, flag)).as_predicted()?;
        }
        if way == Kept::PidByProc {
            t.setup(Call::new("umount(proc)", nix::mount::umount(point.as_str())))?;
        } else {
            // SAFETY: the maker left it to this task.
            drop(unsafe { OwnedFd::from_raw_fd(KEPT) });
        }
        // The one that was kept and the one that kept it.
        check_room_for(t, flag, count, "EFF-LIFE-01")
    }
});

case!(Case {
    name: "limits.not_kept",
    about: "An IPC namespace without tasks goes although its mqueue file system is still mounted: there is room again.",
    proves: &["EFF-LIFE-01"],
    source: "namespaces(7), Namespace lifetime; kernel, ipc/mqueue.c and ipc/namespace.c",
    needs: NEEDS.with(feature::IPC_NS).with(feature::POSIX_MQUEUE),
    run: |t| {
        let point = new_directory(t, "point")?;
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWIPC, 1)?;
        let maker = |t: &Test| -> Done {
            t.unshare(Flags::NEWIPC).from(limits::start(t, Flags::NONE)).as_predicted()?;
            t.setup(Call::new("mount(mqueue)", mount_own(("mqueue".to_owned(), point.clone()))))
        };
        t.spawn("maker", maker)?.join(t)?;
        t.check(Call::new("whether it is mounted", is_mounted(point.clone()))).is(true)?;
        check_room(t, Flags::NEWIPC, "EFF-LIFE-01")?;
        t.setup(Call::new("umount(mqueue)", nix::mount::umount(point.as_str())))
    }
});

case!(Case {
    name: "limits.not_kept_by_segments",
    about: "An IPC namespace goes with the task that has made a segment in it, with kernel.shm_rmid_forced, which takes \
            the segment along, and without: there is room again.",
    proves: &["EFF-LIFE-06"],
    source: "namespaces(7), Namespace lifetime; proc_sys_kernel(5), shm_rmid_forced; kernel, ipc/shm.c (exit_shm)",
    needs: NEEDS.with(feature::IPC_NS).with(feature::SYSV_IPC),
    variants: || variants::named(&[("forced", true), ("not_forced", false)]),
    run: |t| {
        let forced: bool = t.param();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWIPC, 1)?;
        let maker = |t: &Test| -> Done {
            t.unshare(Flags::NEWIPC).from(limits::start(t, Flags::NONE)).as_predicted()?;
            if forced {
                sysctl::must_be_writable(t, segments::RMID_FORCED)?;
                t.setup(segments::force_removal())?;
            }
            t.setup(Call::new("shmget()", new_segment(()))).map(drop)
        };
        t.spawn("maker", maker)?.join(t)?;
        check_room(t, Flags::NEWIPC, "EFF-LIFE-06")
    }
});

/// The number in the file of a limit.
fn limit_of(flag: Flags) -> Call<i64> {
    let path = limits::path(flag);
    sysctl::number(&path.to_string_lossy())
}

case!(Case {
    name: "limits.defaults",
    about: "In a guest, whose settings nobody has changed, the limits of the initial user namespace are half of \
            kernel.threads-max, and those of a new one the highest number.",
    proves: &["EFF-LIFE-03", "INT-21"],
    source: "namespaces(7), The /proc/sys/user directory",
    needs: NEEDS.with(feature::INITIAL_ROOT),
    run: |t| {
        if !t.has_own_kernel() {
            return Err(t.skip("the limits of a machine may have been changed: use --kernel"));
        }
        let half = t.setup(sysctl::number("/proc/sys/kernel/threads-max"))? / 2;
        for (flag, _) in limits::files(t) {
            t.check(limit_of(flag)).proves("EFF-LIFE-03").is(half)?;
        }
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        t.unshare(Flags::NEWUSER).as_predicted()?;
        for (flag, path) in limits::files(t) {
            t.check(limit_of(flag)).proves("INT-21").is(i64::from(limits::HIGHEST))?;
            let still = outside.call(t, &format!("read({}) outside", path.display()), path, |path| {
                sysctl::read_number(&path.to_string_lossy())
            })?;
            t.check(still).proves("EFF-LIFE-03").is(half)?;
        }
        Ok(())
    }
});
