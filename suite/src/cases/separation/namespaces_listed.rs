//! What listns(2) says of namespaces that the call makes (section 3 of the behaviour catalogue).

use std::net::{Ipv4Addr, UdpSocket};

use crate::observe::nsfd::{id_of, list_namespaces, list_some, listns_exists};
use crate::prelude::*;

const SOURCE: &str = "kernel, kernel/nstree.c";
const NEEDS: Needs = limits::NEEDS.with(feature::INITIAL_ROOT);

/// How long a namespace may still be active when its last task has ended (RULE-05), on real hardware.
const RELEASE: Duration = Duration::from_secs(10);

/// Goes on where listns(2) shows this task, root outside containers, the namespaces that it is not in.
#[track_caller]
fn all_are_listed(t: &Test) -> Done {
    /// The number of the initial PID namespace (linux/nsfs.h).
    const INITIAL: u64 = 0xefff_fffc;
    listns_exists(t)?;
    if t.setup(namespace_of(getpid(), Ns::Pid))? != INITIAL {
        return Err(
            t.skip("listns() shows all namespaces only in the initial PID namespace: run it outside containers")
        );
    }
    Ok(())
}

/// Makes a namespace, with a child in it where only children are.
#[track_caller]
fn child_of(t: &Test, flag: Flags) -> Done<Option<Peer>> {
    let for_children = Flags::NEWPID | Flags::NEWTIME;
    for_children.contains(flag).then(|| Peer::start(t, "first child", Flags::NONE)).transpose()
}

/// The ID of a task's namespace of the kind that a flag makes.
fn id_by((pid, flag): (i32, u64)) -> Result<u64, Errno> {
    let link = Kind::of(Flags(flag)).ok_or(Errno::EINVAL)?.link;
    open_link(pid, link).and_then(|link| id_of(&link))
}

case!(Case {
    name: "separation.namespaces.not_listed",
    about: "Root of a new user namespace is shown its own UTS namespace by listns(2), and none of those outside that \
            it is not in.",
    proves: &["EFF-GEN-11"],
    needs: NEEDS.with(feature::UTS_NS),
    run: |t| {
        listns_exists(t)?;
        let other = Peer::start(t, "task in another UTS namespace", Flags::NONE)?;
        t.check(unshare_by(t, &other, Flags::NEWUTS)?).succeeds()?;
        let hidden = t.setup(Call::new("ioctl(NS_GET_ID)", id_by((other.pid().as_raw(), Flags::NEWUTS.0))))?;
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            t.unshare(Flags::NEWUTS).from(limits::start(t, Flags::NONE)).as_predicted()?;
            let own = id_by((getpid().as_raw(), Flags::NEWUTS.0));
            let own = t.setup(Call::new("ioctl(NS_GET_ID)", own))?;
            let ids = Call::new("listns(CLONE_NEWUTS)", list_namespaces((Flags::NEWUTS.0, 0, 64)));
            t.check(ids)
                .holds(&format!("{own} and not {hidden}"), |ids| ids.contains(&own) && !ids.contains(&hidden))
                .map(drop)
        })
    }
});

/// Opens a socket and leaves it open. Gives its descriptor.
fn leave_socket((): ()) -> Result<i32, Errno> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(errno_of)?;
    Ok(socket.into_raw_fd())
}

/// A descriptor of the network namespace of a socket.
fn namespace_of_socket(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the request takes no argument and gives a new descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

case!(Case {
    name: "separation.namespaces.revived",
    about: "A network namespace that only a socket keeps is not listed by listns(2), nor is its owner; with a \
            descriptor of it, from the socket, both are, until that is closed.",
    proves: &["EFF-GEN-10"],
    needs: NEEDS.with(feature::NET_NS),
    run: |t| {
        all_are_listed(t)?;
        let maker = Peer::start(t, "maker", Flags::FILES)?;
        let made = Flags::NEWUSER | Flags::NEWNET;
        maker.setup(t, &format!("unshare({made})"), made.0, |flags| unshare(Flags(flags)).answer())?;
        let socket = maker.setup(t, "socket()", (), leave_socket)?;
        // SAFETY: the maker left it to this task.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let id = |ns: Ns| open_link(maker.pid(), ns).and_then(|link| id_of(&link));
        let net = t.setup(Call::new("ioctl(NS_GET_ID) of the network namespace", id(Ns::Net)))?;
        let owner = t.setup(Call::new("ioctl(NS_GET_ID) of its owner", id(Ns::User)))?;
        let listed = || {
            let is = |flag: Flags, id: u64| list_namespaces((flag.0, 0, 64)).map(|ids| ids.contains(&id));
            Ok((is(Flags::NEWNET, net)?, is(Flags::NEWUSER, owner)?))
        };
        let check_listed = |when: &str, are: bool| {
            // A task that has ended has left its namespaces a moment later, at most.
            t.wait_until(Duration::from_secs(1), || listed() == Ok((are, are)));
            let text = format!("whether listns() has the network namespace, and its owner, {when}");
            t.check(Call::new(text, listed())).is((are, are))
        };
        check_listed("while the maker is in them", true)?;
        maker.end();
        check_listed("when only the socket is left", false)?;
        for _ in 0..2 {
            let link = t.setup(Call::new("ioctl(SIOCGSKNS)", namespace_of_socket(&socket)))?;
            check_listed("while a descriptor is open", true)?;
            drop(link);
            check_listed("when the descriptor is closed", false)?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.namespaces.listed",
    about: "listns(2) finds the new namespace among those of its kind, and among those of all kinds, and once, however \
            many are asked for at a time, and although one made before it is only kept by a descriptor; after the end \
            of its last task no more. Nothing comes after the greatest ID.",
    proves: &["EFF-GEN-09"],
    variants: variants::each_kind,
    run: |t| {
        const AT_A_TIME: [usize; 2] = [1, 64];
        all_are_listed(t)?;
        let flag = t.param::<Flags>();
        // Who may see namespaces that it is not in itself.
        let witness = Peer::start(t, "witness", Flags::NONE)?;
        let barrier = Barrier::new(t)?;
        let list_of = |kinds: Flags, owner: u64, count: usize, when: &str| {
            let text = format!("listns({kinds}), {count} at a time, {when}");
            witness.call(t, &text, (kinds.0, owner, count), list_namespaces)
        };
        let list = |owner: u64, count: usize, when: &str| list_of(flag, owner, count, when);
        t.in_child(|t| {
            limits::enter_own_user_namespace(t)?;
            let owner =
                t.setup(Call::new("ioctl(NS_GET_ID)", open_link("thread-self", Ns::User).and_then(|f| id_of(&f))))?;
            // Its namespace is nobody's any more, but for the descriptor.
            let older = Peer::start(t, "task in an older namespace", Flags::NONE)?;
            older.setup(t, "unshare()", flag.0, |flag| unshare(Flags(flag)).answer())?;
            let kept = Kind::of(flag).map(|kind| open_link(older.pid(), kind.link));
            older.end();
            t.unshare(flag).from(limits::start(t, Flags::NONE)).as_predicted()?;
            let child = child_of(t, flag)?;
            let task = child.as_ref().map_or(getpid(), Peer::pid);
            let id =
                t.setup(witness.call(t, "ioctl(NS_GET_ID) of the new namespace", (task.as_raw(), flag.0), id_by)?)?;
            // 0 is all kinds.
            let queries = [flag, Flags::NONE].into_iter().flat_map(|kinds| [owner, 0].map(|owner| (kinds, owner)));
            for ((kinds, owner), count) in queries.flat_map(|query| AT_A_TIME.map(|count| (query, count))) {
                t.check(list_of(kinds, owner, count, "after the call")?)
                    .holds(&format!("each ID greater than the one before, and {id} among them"), |ids| {
                        ids.contains(&id) && ids.is_sorted_by(|one, next| one < next)
                    })?;
            }
            drop(kept);
            barrier.put(0, id);
            barrier.put(1, owner);
            Ok(())
        })?;
        let id = barrier.get(0);
        let mut found = Vec::new();
        t.wait_until(RELEASE, || {
            found = list(0, 64, "").and_then(|call| t.setup(call)).unwrap_or_default();
            !found.contains(&id)
        });
        t.check(Call::seen(format!("whether listns({flag}) has it after its end"), found.contains(&id))).is(false)?;
        // Nor is the user namespace listed that owned it.
        let owner = barrier.get(1);
        let owners = || witness.call(t, "listns(CLONE_NEWUSER)", (Flags::NEWUSER.0, 0, 64), list_namespaces);
        t.wait_until(RELEASE, || {
            found = owners().and_then(|call| t.setup(call)).unwrap_or_default();
            !found.contains(&owner)
        });
        t.check(Call::seen("whether listns(CLONE_NEWUSER) has the owner after its end", found.contains(&owner)))
            .is(false)?;
        // The witness's own is there as before.
        let own =
            t.setup(witness.call(t, "ioctl(NS_GET_ID) of the witness", (witness.pid().as_raw(), flag.0), id_by)?)?;
        t.check(list(0, 64, "after all")?)
            .holds(&format!("{own} of the witness among them"), |ids| ids.contains(&own))?;
        let text = format!("listns({flag}) of what comes after the greatest ID");
        t.check(witness.call(t, &text, (flag.0, 0, 64, u64::MAX), list_some)?).is(vec![])
    }
});

/// Makes the calling task user and group 0 of a new user namespace, and gives that one's ID.
fn enter_new((): ()) -> Result<u64, Errno> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(Flags::NEWUSER).answer()?;
    for (file, text) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))]
    {
        write_own(file, &text).answer()?;
    }
    id_by((getpid().as_raw(), Flags::NEWUSER.0))
}

/// Opens a file, which keeps the memory of the opener's user namespace, and leaves it open. Gives its descriptor.
fn leave_file((): ()) -> Result<i32, Errno> {
    File::open("/dev/null").map(IntoRawFd::into_raw_fd).map_err(errno_of)
}

/// Who uses a user namespace, and for how long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    Children,
    MovedOn,
    NestedOne,
}

const USERS: [(&str, Users); 3] =
    [("children", Users::Children), ("moved_on", Users::MovedOn), ("nested_one", Users::NestedOne)];

case!(Case {
    name: "separation.namespaces.owner_listed",
    about: "listns(2) lists a user namespace while a task is in it, when children of that task have ended there, when \
            the task has moved on to a nested one, and when namespaces of a nested one come and go; after the last of \
            these no more, although a file that was opened in it is still open.",
    proves: &["EFF-GEN-12"],
    source: "kernel, kernel/nscommon.c and kernel/nsproxy.c",
    needs: NEEDS.with(feature::UTS_NS),
    variants: || variants::named(&USERS),
    run: |t| {
        const TIMES: usize = 3;
        all_are_listed(t)?;
        limits::check_nesting_is_allowed(t)?;
        let check_listed = |when: &str, ids: &[u64], are: &[bool]| {
            let listed = || {
                let all = list_namespaces((Flags::NEWUSER.0, 0, 64))?;
                Ok(ids.iter().map(|id| all.contains(id)).collect::<Vec<_>>())
            };
            // A task that has ended has left its namespaces a moment later, at most.
            t.wait_until(Duration::from_secs(1), || listed().as_deref() == Ok(are));
            t.check(Call::new(format!("whether listns() has the user namespaces {when}"), listed())).is(are.to_vec())
        };
        let task = Peer::start(t, "task inside", Flags::FILES)?;
        let outer = task.setup(t, "unshare(CLONE_NEWUSER)", (), enter_new)?;
        let mut files = vec![task.setup(t, "open()", (), leave_file)?];
        check_listed("with a task in it", &[outer], &[true])?;
        let mut ids = vec![outer];
        match t.param() {
            Users::Children => {
                for _ in 0..TIMES {
                    task.setup(t, "fork()", (), |()| try_fork().answer())?;
                    check_listed("when a child of that task has ended", &ids, &[true])?;
                }
            }
            Users::MovedOn => {
                ids.push(task.setup(t, "unshare(CLONE_NEWUSER)", (), enter_new)?);
                files.push(task.setup(t, "open()", (), leave_file)?);
                check_listed("when the task is in the second", &ids, &[true, true])?;
            }
            Users::NestedOne => {
                let nested = Peer::start(t, "task further in", Flags::FILES)?;
                nested
                    .setup(t, "setns(CLONE_NEWUSER)", task.pid().as_raw(), |pid| enter(&open_link(pid, Ns::User)?))?;
                ids.push(nested.setup(t, "unshare(CLONE_NEWUSER)", (), enter_new)?);
                files.push(nested.setup(t, "open()", (), leave_file)?);
                for _ in 0..TIMES {
                    t.check(unshare_by(t, &nested, Flags::NEWUTS)?).succeeds()?;
                    check_listed("when the second has a new UTS namespace", &ids, &[true, true])?;
                }
                nested.end();
                check_listed("when no task is in the second", &ids, &[true, false])?;
            }
        }
        task.end();
        let none = vec![false; ids.len()];
        check_listed("when no task is in any, but a file open", &ids, &none)?;
        for file in files {
            // SAFETY: the tasks left them to this one.
            drop(unsafe { OwnedFd::from_raw_fd(file) });
        }
        Ok(())
    }
});
