//! What may be written to the ID maps of a new user namespace, by whom, and what they show (section 3.14 of the
//! behaviour catalogue).

use std::io::Write;

use crate::place::limits::map_everybody_by;
use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7), Defining user and group ID mappings: writing to uid_map and gid_map";
/// A task outside writes maps of any IDs.
const NEEDS: Needs = Needs::ROOT.with(feature::CREATE_USER_NS).with(feature::INITIAL_ROOT).with(feature::MAP_IDS);

/// The maps of a user namespace.
const MAPS: [&str; 3] = ["uid_map", "gid_map", "projid_map"];

/// One write(2) to a file.
fn write((path, text): (String, String)) -> Result<(), Errno> {
    fs::write(path, text).map_err(errno_of)
}

/// Writes a file from its start, and gives the error of a second write through the same descriptor.
fn write_and_go_on((path, text): (String, String)) -> Result<i32, Errno> {
    let mut file = File::options().write(true).open(path).map_err(errno_of)?;
    file.write_all(text.as_bytes()).map_err(errno_of)?;
    Ok(file.write(b"0 0 1").err().and_then(|error| error.raw_os_error()).unwrap_or(0))
}

/// The lines of a map, sorted, with one blank between numbers.
pub(super) fn map_of(path: String) -> Result<Vec<String>, Errno> {
    let text = fs::read_to_string(path).map_err(errno_of)?;
    let mut lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    Ok(lines)
}

/// Has one side write a map of a task.
#[track_caller]
fn write_by(t: &Test, side: Side, pid: Pid, map: &str, text: &str) -> Done<Call<()>> {
    let shown: String = text.chars().take(30).collect();
    side.ask(
        t,
        &format!("write({map} of the namespace, {shown:?})"),
        (format!("/proc/{pid}/{map}"), text.to_owned()),
        write,
    )
}

/// Has one side read a map of a task.
#[track_caller]
fn read_by(t: &Test, side: Side, pid: Pid, map: &str) -> Done<Call<Vec<String>>> {
    side.ask(t, &format!("read({map} of the namespace)"), format!("/proc/{pid}/{map}"), map_of)
}

case!(Case {
    name: "separation.user.maps_are_empty",
    about: "The maps of a new user namespace are empty, to the caller and to a task outside, whose own stay.",
    proves: &["EFF-MAP-01"],
    source: "user_namespaces(7), User and group ID mappings: uid_map and gid_map",
    needs: Needs::NONE.with(feature::CREATE_USER_NS),
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let (own, other) = (getpid(), outside.pid());
        let before: Vec<_> =
            MAPS.iter().map(|map| t.setup(read_by(t, Side::Caller, own, map)?)).collect::<Done<_>>()?;
        if before[0].is_empty() {
            return Err(t.broken("uid_map before the call", "empty"));
        }
        t.unshare(Flags::NEWUSER).as_predicted()?;
        for (map, before) in MAPS.into_iter().zip(before) {
            t.check(read_by(t, Side::Caller, own, map)?).is(vec![])?;
            t.check(read_by(t, Side::Peer(&outside), own, map)?).is(vec![])?;
            t.check(read_by(t, Side::Peer(&outside), other, map)?).is(before)?;
        }
        Ok(())
    }
});

/// The most lines that a map may have.
const MOST_LINES: u32 = 340;

fn page_size() -> usize {
    // SAFETY: takes a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Ranges of one ID each, no two of which touch.
fn lines(count: u32) -> String {
    (0..count).map(|i| format!("{0} {0} 1\n", 2 * i)).collect()
}

case!(Case {
    name: "separation.user.malformed_maps",
    about: "A map without a line, with other than three numbers, an empty range, ranges that overlap, too many lines, a \
            page of text, or written beyond the file's start is refused (EINVAL) and maps nothing, even if root writes \
            it. Blanks around the numbers do not matter.",
    proves: &["EFF-MAP-02", "EFF-MAP-12", "EFF-MAP-15"],
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let own = getpid();
        t.unshare(Flags::NEWUSER).proving("EFF-MAP-02").as_predicted()?;
        let page = page_size();
        let malformed = [
            "\n".to_owned(),
            "0".to_owned(),
            "0 0".to_owned(),
            "a 0 1".to_owned(),
            "0 0 x".to_owned(),
            "0 0 1 1".to_owned(),
            "0 0 0".to_owned(),
            "0 100 10\n5 200 10".to_owned(),
            "0 100 10\n50 105 10".to_owned(),
            // By one ID, at either end and on either side.
            "0 100 10\n9 200 10".to_owned(),
            "9 200 10\n0 100 10".to_owned(),
            "0 100 10\n50 109 10".to_owned(),
            "0 109 10\n50 100 10".to_owned(),
            "0 4294967295 1".to_owned(),
            "4294967290 0 10".to_owned(),
            "0 4294967290 10".to_owned(),
            // Behind as many right ones as the kernel keeps in the map itself.
            lines(5) + "x",
            lines(6) + "x",
            lines(MOST_LINES + 1),
            format!("{:page$}", "0 0 1"),
        ];
        for map in MAPS {
            let id = if map == "projid_map" { "EFF-MAP-12" } else { "EFF-MAP-02" };
            for text in &malformed {
                t.check(write_by(t, Side::Peer(&outside), own, map, text)?).proves(id).fails_with(Errno::EINVAL)?;
            }
            let beyond = outside.call(
                t,
                &format!("whether pwrite({map}, at offset 1) is refused with EINVAL or ESPIPE"),
                format!("/proc/{own}/{map}"),
                |path| {
                    let file = fs::OpenOptions::new().write(true).open(path).map_err(errno_of)?;
                    let written = std::os::unix::fs::FileExt::write_at(&file, b"0 0 1", 1).map_err(errno_of);
                    Ok(matches!(written, Err(Errno::EINVAL | Errno::ESPIPE)))
                },
            )?;
            t.check(beyond).proves(id).is(true)?;
            t.check(read_by(t, Side::Caller, own, map)?).proves(id).is(vec![])?;
            // What is right about as much as it can be is taken.
            let last = page - 1;
            let right = format!("{:last$}", " \t0  0\t1");
            let file = (format!("/proc/{own}/{map}"), right);
            let text = format!("write({map} of the namespace), and the error of another write where it ended");
            let further = outside.call(t, &text, file, write_and_go_on)?;
            t.check(further).proves("EFF-MAP-15").is(libc::EINVAL)?;
            t.check(read_by(t, Side::Caller, own, map)?).proves(id).is(vec!["0 0 1".to_owned()])?;
        }
        Ok(())
    }
});

/// Real, effective and saved user of a task.
fn users_of(pid: i32) -> Result<Vec<u32>, Errno> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(errno_of)?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).ok_or(Errno::EPROTO)?;
    Ok(line.split_whitespace().take(3).filter_map(|id| id.parse().ok()).collect())
}

case!(Case {
    name: "separation.user.many_ranges",
    about: "Root outside can map any IDs in as many as 340 ranges, in any order; each number inside is then one user, \
            and it is the one outside that the range says.",
    proves: &["EFF-MAP-03"],
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        // Ended by this task, as the caller becomes users who may not.
        t.spawn("caller", |t| {
            let own = getpid();
            t.unshare(Flags::NEWUSER).as_predicted()?;
            // Not in order on either side, and the caller's own last.
            let user = |i: u32| 1000 + (i * 7) % MOST_LINES;
            let ranges: Vec<String> = (1..MOST_LINES)
                .rev()
                .map(|i| format!("{i} {} 1", user(i)))
                .chain([format!("2000 {} 1", t.facts().uid)])
                .collect();
            t.check(write_by(t, Side::Peer(&outside), own, "uid_map", &ranges.join("\n"))?).succeeds()?;
            let mut sorted = ranges;
            sorted.sort();
            t.check(read_by(t, Side::Caller, own, "uid_map")?).is(sorted)?;
            t.check(Call::seen("geteuid()", geteuid().as_raw())).is(2000)?;
            for i in [1, 2, 111, MOST_LINES - 1] {
                // The system call: the C library has all threads call it.
                let set = call!(setresuid, i, i, i).map(drop).map_err(fds::errno);
                t.check(Call::new(format!("setresuid({i})"), set)).succeeds()?;
                t.check(Call::seen("geteuid()", geteuid().as_raw())).is(i)?;
                let seen = outside.call(t, "users of the caller, as seen outside", own.as_raw(), users_of)?;
                t.check(seen).is(vec![user(i); 3])?;
            }
            Ok(())
        })?
        .join(t)
    }
});

case!(Case {
    name: "separation.user.map_once",
    about: "A map that is written stays: a second write is refused (EPERM) to the caller and to root outside.",
    proves: &["EFF-MAP-04", "EFF-MAP-12"],
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let own = getpid();
        t.unshare(Flags::NEWUSER).proving("EFF-MAP-04").as_predicted()?;
        for map in MAPS {
            let id = if map == "projid_map" { "EFF-MAP-12" } else { "EFF-MAP-04" };
            t.check(write_by(t, Side::Peer(&outside), own, map, "0 0 10")?).proves(id).succeeds()?;
            for text in ["0 0 10", "20 20 1"] {
                for side in [Side::Caller, Side::Peer(&outside)] {
                    t.check(write_by(t, side, own, map, text)?).proves(id).fails_with(Errno::EPERM)?;
                }
            }
            t.check(read_by(t, Side::Caller, own, map)?).proves(id).is(vec!["0 0 10".to_owned()])?;
        }
        Ok(())
    }
});

const CAP_SETGID: u64 = 1 << 6;
const CAP_SETUID: u64 = 1 << 7;

case!(Case {
    name: "separation.user.map_privilege",
    about: "To map its own IDs the caller has to keep CAP_SYS_ADMIN of the new namespace (else EPERM), and neither \
            CAP_SETUID nor CAP_SETGID.",
    proves: &["EFF-MAP-05"],
    source: "user_namespaces(7), Defining user and group ID mappings; kernel, kernel/user_namespace.c (map_write)",
    needs: Needs::NONE.with(feature::CREATE_USER_NS).with(feature::SECOND_USER),
    run: |t| {
        become_unprivileged(t)?;
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        let full = all_capabilities(t)?;
        t.setup(write_own("setgroups", "deny"))?;
        let maps = [("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))];
        t.setup(set_capabilities(full & !CAP_SYS_ADMIN, full))?;
        for (map, text) in &maps {
            t.check(write_own(map, text).called(format!("write({map}) without CAP_SYS_ADMIN")))
                .fails_with(Errno::EPERM)?;
        }
        let without = full & !CAP_SETUID & !CAP_SETGID;
        t.setup(set_capabilities(without, without))?;
        for (map, text) in &maps {
            t.check(write_own(map, text)).succeeds()?;
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.user.map_from_afar",
    about: "A map can be written from inside and from the parent namespace, and not from farther outside, even by root \
            (EPERM). What the parent namespace has no ID for cannot be mapped (EPERM).",
    proves: &["EFF-MAP-06", "EFF-MAP-07", "EFF-MAP-12"],
    run: |t| {
        let far = Peer::start(t, "task of the initial namespace", Flags::NONE)?;
        t.setup(unshare(Flags::NEWUSER))?;
        map_everybody_by(t, &far)?;
        let own = getpid();
        t.setup(write_by(t, Side::Peer(&far), own, "projid_map", "0 0 65536")?)?;
        let near = Peer::start(t, "task of the parent namespace", Flags::NONE)?;
        t.unshare(Flags::NEWUSER).from(limits::start(t, Flags::NONE)).proving("EFF-MAP-06").as_predicted()?;
        for map in MAPS {
            let (from_afar, unmapped) =
                if map == "projid_map" { ("EFF-MAP-12", "EFF-MAP-12") } else { ("EFF-MAP-06", "EFF-MAP-07") };
            let far = write_by(t, Side::Peer(&far), own, map, "0 5 1")?;
            t.check(far).proves(from_afar).fails_with(Errno::EPERM)?;
            for text in ["0 65536 1", "0 65530 10", "0 5 1\n1 70000 1"] {
                let refused = write_by(t, Side::Peer(&near), own, map, text)?;
                t.check(refused).proves(unmapped).fails_with(Errno::EPERM)?;
            }
            let accepted = write_by(t, Side::Peer(&near), own, map, "0 5 1\n1 65535 1")?;
            t.check(accepted).proves(from_afar).succeeds()?;
        }
        Ok(())
    }
});

const CAP_SETFCAP: u64 = 1 << 31;

case!(Case {
    name: "separation.user.map_of_root_by_parent",
    about: "A task of the parent namespace needs CAP_SETFCAP there to map its user 0 (else EPERM), and no other.",
    proves: &["EFF-MAP-08"],
    run: |t| {
        let all = t.facts().capabilities;
        t.setup(set_capabilities(all & !CAP_SETFCAP, all))?;
        let required = kernel::map_of_root_requires_setfcap(t)?;
        t.setup(set_capabilities(all, all))?;
        if !required {
            return Err(t.skip("this kernel requires no CAP_SETFCAP to map user 0 (Linux 5.12)"));
        }
        let [with, without] =
            [Peer::start(t, "root", Flags::NONE)?, Peer::start(t, "root without CAP_SETFCAP", Flags::NONE)?];
        without.setup(t, "capset()", t.facts().capabilities & !CAP_SETFCAP, |left| {
            set_capabilities(left, left).answer()
        })?;
        let own = getpid();
        t.unshare(Flags::NEWUSER).as_predicted()?;
        for text in ["0 0 1", "0 0 10", "5 5 1\n0 0 1", "5 5 1\n6 6 1\n7 7 1\n8 8 1\n9 9 1\n0 0 1"] {
            t.check(write_by(t, Side::Peer(&without), own, "uid_map", text)?).fails_with(Errno::EPERM)?;
        }
        t.check(write_by(t, Side::Peer(&with), own, "uid_map", "0 0 10")?).succeeds()?;
        // Groups are not asked for it.
        t.check(write_by(t, Side::Peer(&without), own, "gid_map", "0 0 10")?).succeeds()
    }
});

case!(Case {
    name: "separation.user.map_by_another_user",
    about: "Whoever entered the namespace and is another user than made it cannot map itself (EPERM); its maker can.",
    proves: &["EFF-MAP-09"],
    source: "user_namespaces(7), Defining user and group ID mappings; kernel, kernel/user_namespace.c (6.0)",
    needs: NEEDS.with(feature::SECOND_USER),
    run: |t| {
        let other = Peer::start(t, "another user", Flags::NONE)?;
        let user = other.setup(t, "setresuid(), keeping capabilities", t.facts().capabilities, |all| {
            prctl::set_keepcaps(true)?;
            let id = Uid::from_raw(54_321);
            setresuid(id, id, id)?;
            set_capabilities(all, all).answer()?;
            prctl::set_dumpable(true)?;
            Ok(geteuid().as_raw())
        })?;
        t.spawn("caller", |t| {
            let own = getpid();
            become_unprivileged(t)?;
            let uid = geteuid();
            t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
            other.setup(t, "setns(the caller's user namespace)", own.as_raw(), |pid| {
                enter(&open_link(pid, Ns::User)?)?;
                // Else its file is root's.
                prctl::set_dumpable(true)
            })?;
            // Its own file, as another's is not its to open.
            let refused = other.call(t, "write(uid_map), mapping itself", user, |user| {
                write(("/proc/self/uid_map".to_owned(), format!("0 {user} 1")))
            })?;
            t.check(refused).fails_with(Errno::EPERM)?;
            t.check(write_own("uid_map", &format!("0 {uid} 1"))).succeeds()
        })?
        .join(t)
    }
});

case!(Case {
    name: "separation.user.views_of_a_map",
    about: "A map shows IDs outside as the reader knows them, to those inside as the parent namespace does: a task of \
            another namespace sees its own, and 4294967295 where it has none. The initial namespace maps all to itself, \
            for good (EPERM).",
    proves: &["EFF-MAP-10", "EFF-MAP-11", "EFF-MAP-16"],
    source: "user_namespaces(7), User and group ID mappings: uid_map and gid_map, Unmapped user and group IDs",
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let beside = Peer::start(t, "task of another namespace", Flags::NONE)?;
        t.setup(unshare_by(t, &beside, Flags::NEWUSER)?)?;
        let own = getpid();
        t.unshare(Flags::NEWUSER).proving("EFF-MAP-10").as_predicted()?;
        for map in ["uid_map", "gid_map"] {
            t.setup(write_by(t, Side::Peer(&outside), beside.pid(), map, "7 100000 5\n0 0 1")?)?;
            t.setup(write_by(t, Side::Peer(&outside), own, map, "0 100000 10\n50 200000 1")?)?;
            let views = [
                (Side::Caller, ["0 100000 10", "50 200000 1"]),
                (Side::Peer(&outside), ["0 100000 10", "50 200000 1"]),
                (Side::Peer(&beside), ["0 7 10", "50 4294967295 1"]),
            ];
            for (side, expected) in views {
                t.check(read_by(t, side, own, map)?).proves("EFF-MAP-10").is(expected.map(str::to_owned).into())?;
            }
            // One level further in, a map shows what the parent namespace has.
            let initial = read_by(t, Side::Peer(&outside), outside.pid(), map)?;
            t.check(initial).proves("EFF-MAP-11").is(vec!["0 0 4294967295".to_owned()])?;
            let page = page_size();
            for text in ["0 0 1".to_owned(), format!("{:page$}", "0 0 1")] {
                let refused = write_by(t, Side::Peer(&outside), outside.pid(), map, &text)?;
                t.check(refused).proves("EFF-MAP-16").fails_with(Errno::EPERM)?;
            }
        }
        Ok(())
    }
});

case!(Case {
    name: "separation.user.project_ids",
    about: "An ordinary user's task can map any project IDs of the parent namespace, without a capability and once.",
    proves: &["EFF-MAP-12"],
    source: "user_namespaces(7), Project ID mappings: projid_map",
    needs: Needs::NONE.with(feature::CREATE_USER_NS).with(feature::SECOND_USER),
    run: |t| {
        become_unprivileged(t)?;
        t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
        t.setup(set_capabilities(0, 0))?;
        t.check(write_own("projid_map", "0 0 0")).fails_with(Errno::EINVAL)?;
        t.check(write_own("projid_map", "0 5 10\n20 100 2")).succeeds()?;
        t.check(write_own("projid_map", "0 5 10")).fails_with(Errno::EPERM)?;
        t.check(read_by(t, Side::Caller, getpid(), "projid_map")?).is(vec!["0 5 10".to_owned(), "20 100 2".to_owned()])
    }
});

/// allow or deny.
fn setgroups_file() -> Call<String> {
    let text = fs::read_to_string("/proc/self/setgroups");
    Call::io("read(/proc/self/setgroups)", text.map(|text| text.trim().to_owned()))
}

/// What is written to the setgroups file, in turn, and what comes of it; None: root outside writes gid_map.
type Turns = &'static [(Option<&'static str>, Result<(), Errno>)];

const DENIED: Turns = &[
    (Some("maybe"), Err(Errno::EINVAL)),
    (Some("allow"), Ok(())),
    (Some("deny"), Ok(())),
    (Some("deny"), Ok(())),
    (Some("allow"), Err(Errno::EPERM)),
    (None, Ok(())),
    (Some("allow"), Err(Errno::EPERM)),
];
const ALLOWED: Turns =
    &[(Some("allow"), Ok(())), (None, Ok(())), (Some("deny"), Err(Errno::EPERM)), (Some("allow"), Ok(()))];

case!(Case {
    name: "separation.user.setgroups_file",
    about: "Until gid_map is written setgroups(2) can be denied, for good: allow is refused afterwards (EPERM). Once it \
            is written, deny is refused (EPERM). Writing takes CAP_SYS_ADMIN (EACCES).",
    proves: &["EFF-MAP-13"],
    source: "user_namespaces(7), The /proc/pid/setgroups file",
    variants: || variants::named(&[("denied", DENIED), ("allowed", ALLOWED)]),
    run: |t| {
        let turns: Turns = t.param();
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let own = getpid();
        if t.setup(setgroups_file())? != "allow" {
            return Err(t.skip("setgroups(2) is denied in this user namespace"));
        }
        t.unshare(Flags::NEWUSER).as_predicted()?;
        t.check(setgroups_file()).is("allow".to_owned())?;
        let full = all_capabilities(t)?;
        t.setup(set_capabilities(full & !CAP_SYS_ADMIN, full))?;
        let refused = write_own("setgroups", "deny").called("write(/proc/self/setgroups, deny) without CAP_SYS_ADMIN");
        t.check(refused).fails_with(Errno::EACCES)?;
        t.setup(set_capabilities(full, full))?;
        let mut denied = false;
        let mut mapped = false;
        for &(text, expected) in turns {
            match text {
                Some(text) => {
                    t.check(write_own("setgroups", text)).gives(expected)?;
                    denied |= text == "deny" && expected.is_ok();
                }
                None => {
                    t.setup(write_by(t, Side::Peer(&outside), own, "gid_map", "0 0 10")?)?;
                    mapped = true;
                }
            }
            t.check(setgroups_file()).is(if denied { "deny" } else { "allow" }.to_owned())?;
            let may = if mapped && !denied { Ok(()) } else { Err(Errno::EPERM) };
            t.check(Call::new("setgroups([3])", setgroups(&[Gid::from_raw(3)]))).gives(may)?;
        }
        Ok(())
    }
});

/// The system calls that set IDs, with the same one everywhere.
fn set_ids(user: bool, id: u32) -> Vec<Call<()>> {
    let groups = [id];
    let set = |name: &str, result: Result<usize, syscalls::Errno>| {
        Call::new(format!("{name}({id})"), result.map(drop).map_err(fds::errno))
    };
    if user {
        return vec![
            set("setuid", call!(setuid, id)),
            set("setreuid", call!(setreuid, id, id)),
            set("setresuid", call!(setresuid, id, id, id)),
        ];
    }
    vec![
        set("setgid", call!(setgid, id)),
        set("setregid", call!(setregid, id, id)),
        set("setresgid", call!(setresgid, id, id, id)),
        set("setgroups", call!(setgroups, 1, groups.as_ptr())),
    ]
}

/// The file system user or group before, when it is asked to become another.
fn set_file_system_id(user: bool, id: u32) -> Call<u32> {
    let (name, before) = if user { ("setfsuid", call!(setfsuid, id)) } else { ("setfsgid", call!(setfsgid, id)) };
    Call::new(format!("{name}({id}), the former one"), before.map(|id| id as u32).map_err(fds::errno))
}

case!(Case {
    name: "separation.user.only_mapped_ids",
    about: "Before the maps are written no call can set a user or group, and afterwards only mapped ones (EINVAL; \
            setfsuid(2) and setfsgid(2) do nothing).",
    proves: &["EFF-MAP-14"],
    source: "user_namespaces(7), Interaction with system calls that change process UIDs or GIDs",
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        // Ended by this task, as the caller becomes users who may not.
        t.spawn("caller", |t| {
            let own = getpid();
            t.unshare(Flags::NEWUSER).as_predicted()?;
            let refused = |user: bool, id: u32, mapped: bool| -> Done {
                for call in set_ids(user, id) {
                    // Which is refused as such until gid_map is written.
                    let early = !mapped && call.text().starts_with("setgroups");
                    t.check(call).fails_with(if early { Errno::EPERM } else { Errno::EINVAL })?;
                }
                let before = t.setup(set_file_system_id(user, u32::MAX))?;
                t.setup(set_file_system_id(user, id))?;
                t.check(set_file_system_id(user, u32::MAX)).is(before)
            };
            for (user, map) in [(true, "uid_map"), (false, "gid_map")] {
                for id in [0, 7, 65_534] {
                    refused(user, id, false)?;
                }
                t.setup(write_by(t, Side::Peer(&outside), own, map, "0 0 1\n7 1007 2")?)?;
                for id in [1, 6, 9, 1007, 65_534] {
                    refused(user, id, true)?;
                }
            }
            for (user, id) in [(false, 7), (false, 8), (true, 8)] {
                t.setup(set_file_system_id(user, id))?;
                t.check(set_file_system_id(user, u32::MAX)).is(id)?;
                for call in set_ids(user, id) {
                    t.check(call).succeeds()?;
                }
            }
            Ok(())
        })?
        .join(t)
    }
});
