//! Files and programs of other users in a new user namespace (section 3.15 of the behaviour catalogue).

use std::os::unix::fs::{PermissionsExt, chown};

use crate::prelude::*;

const SOURCE: &str = "user_namespaces(7)";
/// A task outside makes files of any users, and writes maps of them.
const NEEDS: Needs = Needs::ROOT
    .with(feature::CREATE_USER_NS)
    .with(feature::INITIAL_ROOT)
    .with(feature::MAP_IDS)
    .with(feature::SECOND_USER);

/// Has a task outside write both maps of the caller's user namespace.
#[track_caller]
fn map_by(t: &Test, outside: &Peer, users: &str, groups: &str) -> Done {
    let maps = (getpid().as_raw(), users.to_owned(), groups.to_owned());
    outside.setup(t, "write(maps)", maps, |(pid, users, groups)| {
        fs::write(format!("/proc/{pid}/uid_map"), users).map_err(errno_of)?;
        fs::write(format!("/proc/{pid}/gid_map"), groups).map_err(errno_of)
    })
}

/// A file of this user and group with this mode.
#[track_caller]
fn new_file(t: &Test, name: &str, (user, group): (u32, u32), mode: u32) -> Done<PathBuf> {
    let path = t.directory()?.join(name);
    t.setup(Call::io(format!("write({name})"), fs::write(&path, "text")))?;
    t.setup(Call::io(format!("chown({name}, {user}:{group})"), chown(&path, Some(user), Some(group))))?;
    t.setup(Call::io(
        format!("chmod({name}, {mode:o})"),
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)),
    ))?;
    Ok(path)
}

const CAP_CHOWN: u64 = 1;
const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
const CAP_FOWNER: u64 = 1 << 3;

case!(Case {
    name: "separation.user.powers_over_files",
    about: "Capabilities inside reach files whose user and group are both mapped; CAP_FOWNER asks for the user alone. \
            All others are as they are to an ordinary user.",
    proves: &["EFF-CRED-04"],
    source: "user_namespaces(7), Accessing files and Operation of file-related capabilities",
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let (mapped, unmapped) = (1000, 5000);
        let owners = [(mapped, mapped), (mapped, unmapped), (unmapped, mapped), (unmapped, unmapped)];
        let files = owners
            .iter()
            .map(|owner| new_file(t, &format!("{}-{}", owner.0, owner.1), *owner, 0))
            .collect::<Done<Vec<_>>>()?;
        t.unshare(Flags::NEWUSER).as_predicted()?;
        map_by(t, &outside, "0 0 1\n10 1000 2", "0 0 1\n10 1000 2")?;
        let full = all_capabilities(t)?;
        let allowed = |yes: bool, errno: Errno| if yes { Ok(()) } else { Err(errno) };
        for (path, (user, group)) in files.iter().zip(owners) {
            let (user, group) = (user == mapped, group == mapped);
            for (capabilities, may) in [(full, true), (full & !CAP_DAC_OVERRIDE & !CAP_DAC_READ_SEARCH, false)] {
                t.setup(set_capabilities(capabilities, full))?;
                let read = Call::io(format!("read({})", path.display()), fs::read(path).map(drop));
                t.check(read).gives(allowed(may && user && group, Errno::EACCES))?;
            }
            for (capabilities, may) in [(full & !CAP_FOWNER, false), (full, true)] {
                t.setup(set_capabilities(capabilities, full))?;
                let changed = fs::set_permissions(path, fs::Permissions::from_mode(0o20));
                t.check(Call::io(format!("chmod({}, 020)", path.display()), changed))
                    .gives(allowed(may && user, Errno::EPERM))?;
            }
            for (capabilities, may) in [(full & !CAP_CHOWN, false), (full, true)] {
                t.setup(set_capabilities(capabilities, full))?;
                let changed = chown(path, Some(11), Some(11));
                t.check(Call::io(format!("chown({}, 11:11)", path.display()), changed))
                    .gives(allowed(may && user && group, Errno::EPERM))?;
            }
        }
        Ok(())
    }
});

/// User and group of a file.
fn owner_of_file(path: PathBuf) -> Result<(u32, u32), Errno> {
    let status = fs::metadata(path).map_err(errno_of)?;
    Ok((status.uid(), status.gid()))
}

case!(Case {
    name: "separation.user.owners_of_files",
    about: "Inside, a file's user and group read as mapped, or as the overflow ID; a new file belongs outside to whom \
            its maker is there.",
    proves: &["EFF-CRED-07"],
    source: "user_namespaces(7), User and group ID mappings and Unmapped user and group IDs",
    run: |t| {
        let outside = Peer::start(t, "task outside", Flags::NONE)?;
        let directory = t.directory()?.to_owned();
        t.setup(Call::io("chmod(0777)", fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))))?;
        let overflow = |name: &str| Ok(t.setup(sysctl::number(&format!("/proc/sys/kernel/overflow{name}")))? as u32);
        let overflow = (overflow("uid")?, overflow("gid")?);
        let known = new_file(t, "known", (1003, 2004), 0o644)?;
        let unknown = new_file(t, "unknown", (7000, 7000), 0o644)?;
        t.spawn("caller", |t| {
            t.unshare(Flags::NEWUSER).as_predicted()?;
            let seen = |path: &Path| Call::new(format!("stat({})", path.display()), owner_of_file(path.to_owned()));
            t.check(seen(&known)).is(overflow)?;
            map_by(t, &outside, "0 0 1\n10 1000 10", "0 0 1\n20 2000 10")?;
            t.check(seen(&known)).is((13, 24))?;
            t.check(seen(&unknown)).is(overflow)?;
            let (uid, gid) = (Uid::from_raw(15), Gid::from_raw(26));
            t.setup(Call::new("setresgid(26)", setresgid(gid, gid, gid)))?;
            t.setup(Call::new("setresuid(15)", setresuid(uid, uid, uid)))?;
            let made = directory.join("made");
            t.check(Call::io("write(a new file)", fs::write(&made, "text"))).succeeds()?;
            t.check(seen(&made)).is((15, 26))?;
            t.check(outside.call(t, "stat(it) outside", made, owner_of_file)?).is((1005, 2006))
        })?
        .join(t)
    }
});

/// A program that can be executed by whoever is traced, in a mount namespace of its own.
#[track_caller]
fn new_program(t: &Test) -> Done<(Program, PathBuf)> {
    if !feature::may_trace(t.facts()) {
        return Err(t.skip(
            "CAP_SYS_PTRACE is missing, without which a traced task gains nothing: run as root outside containers",
        ));
    }
    let program = Program::new(t)?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(program.path().to_bytes()));
    Ok((program, path))
}

/// The effective user of a task, and its permitted and effective capabilities.
fn raised_to(pid: Pid) -> Call<(u32, [String; 2])> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map(|text| {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let user = field("Uid:").split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or(u32::MAX);
        let set = |name: &str| format!("{:x}", u64::from_str_radix(field(name).trim(), 16).unwrap_or(u64::MAX));
        (user, [set("CapPrm:"), set("CapEff:")])
    });
    Call::io("effective user (as seen outside), CapPrm, CapEff after execve", status)
}

/// The program's user and group, to which of the namespace they are mapped, and whom an execution raises to what.
type Raising = (Option<u32>, Option<u32>, bool, bool);

const RAISINGS: [(&str, Raising); 4] = [
    ("of_its_root", (Some(0), Some(5), true, true)),
    ("of_another_user", (Some(7), Some(5), true, false)),
    ("of_an_unmapped_user", (None, Some(5), false, false)),
    ("of_an_unmapped_group", (Some(7), None, false, false)),
];

case!(Case {
    name: "separation.user.set_user_id",
    about: "A set-user-ID program raises a task inside to the program's user, with all capabilities if that is user 0 \
            there. If user or group of the program is not mapped, it runs and raises nothing.",
    proves: &["EFF-CRED-05", "EFF-CRED-09"],
    source: "user_namespaces(7), Set-user-ID and set-group-ID programs; capabilities(7), Per-user-namespace programs",
    variants: || variants::named(&RAISINGS),
    run: |t| {
        t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            let (user, group, raises, gains): Raising = t.param();
            let outside = Peer::start(t, "task outside", Flags::NONE)?;
            let full = all_capabilities(t)?;
            let (program, path) = new_program(t)?;
            t.setup(Call::io("chown(program, 1000:1000)", chown(&path, Some(1000), Some(1000))))?;
            let mode = fs::Permissions::from_mode(0o4755);
            t.setup(Call::io("chmod(program, 04755)", fs::set_permissions(&path, mode)))?;
            let map = |id: Option<u32>, own: u32| {
                let program = id.map_or(String::new(), |id| format!("{id} 1000 1\n"));
                format!("{program}20 {own} 1")
            };
            let executed = Executed::of(t, "caller", Flags::NONE, program.path(), |t| {
                become_unprivileged(t)?;
                t.unshare(Flags::NEWUSER).from(Start::unprivileged()).as_predicted()?;
                map_by(t, &outside, &map(user, geteuid().as_raw()), &map(group, getegid().as_raw()))?;
                t.setup(set_capabilities(0, 0))
            })?;
            let expected =
                (if raises { 1000 } else { NOBODY }, [if gains { full } else { 0 }; 2].map(|set| format!("{set:x}")));
            let id = if gains { "EFF-CRED-09" } else { "EFF-CRED-05" };
            t.check(raised_to(executed.pid())).proves(id).is(expected)
        })
    }
});

/// `security.capability` as it is stored: the revision and whether it takes effect, permitted and inheritable
/// capabilities in two halves, and user 0 of the namespace that it is for.
fn capability_attribute(revision: u32, permitted: u32, root: Option<u32>) -> Vec<u8> {
    const EFFECTIVE: u32 = 1;
    let words = [revision << 24 | EFFECTIVE, permitted, 0, 0, 0].into_iter().chain(root);
    words.flat_map(u32::to_le_bytes).collect()
}

const ATTRIBUTE: &CStr = c"security.capability";

fn set_attribute(path: &Path, value: &[u8]) -> Result<(), Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    call!(setxattr, path.as_ptr(), ATTRIBUTE.as_ptr(), value.as_ptr(), value.len(), 0).map(drop).map_err(fds::errno)
}

fn attribute_of(path: PathBuf) -> Result<Vec<u8>, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let mut value = [0u8; 64];
    let length = call!(getxattr, path.as_ptr(), ATTRIBUTE.as_ptr(), value.as_mut_ptr(), value.len());
    length.map(|length| value[..length].to_vec()).map_err(fds::errno)
}

/// Who executes the program: a member of the namespace, one of a namespace further in, or a task outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Executor {
    Member,
    FurtherIn,
    Outside,
}

const EXECUTORS: [(&str, Executor); 3] =
    [("member", Executor::Member), ("further_in", Executor::FurtherIn), ("outside", Executor::Outside)];

case!(Case {
    name: "separation.user.file_capabilities",
    about: "File capabilities that are set inside are recorded for the namespace's user 0, and help those in it and \
            further in, and nobody outside. On a file of an unmapped user they cannot be set (EPERM).",
    proves: &["EFF-CRED-08"],
    source: "capabilities(7), Namespaced file capabilities",
    variants: || variants::named(&EXECUTORS),
    run: |t| {
        t.directory()?;
        in_own_namespaces(t, Flags::NEWNS, |t| {
            const CAP_NET_RAW: u32 = 1 << 13;
            const ROOT: u32 = 100_000;
            let executor: Executor = t.param();
            let outside = Peer::start(t, "task outside", Flags::NONE)?;
            let (program, path) = new_program(t)?;
            let foreign = new_file(t, "foreign", (5000, 5000), 0o755)?;
            t.setup(Call::io("chown(program)", chown(&path, Some(ROOT), Some(ROOT))))?;
            let mode = fs::Permissions::from_mode(0o755);
            t.setup(Call::io("chmod(program, 0755)", fs::set_permissions(&path, mode)))?;
            let plain = capability_attribute(2, CAP_NET_RAW, None);
            let map = format!("0 {ROOT} 10\n20 {NOBODY} 1\n30 0 1");
            let setter = |t: &Test| -> Done {
                t.unshare(Flags::NEWUSER).as_predicted()?;
                map_by(t, &outside, &map, &map)?;
                let set = |path: &Path| Call::new("setxattr(security.capability)", set_attribute(path, &plain));
                t.check(set(&foreign).called("setxattr(security.capability) of a file of an unmapped user"))
                    .fails_with(Errno::EPERM)?;
                let set = set(&path);
                if set.result() == Err(Failure::Errno(Errno::EOPNOTSUPP)) {
                    return Err(t.skip("this kernel's tmpfs has no such attributes (CONFIG_TMPFS_XATTR)"));
                }
                t.check(set).succeeds()?;
                let inside = Call::new("getxattr(security.capability) inside", attribute_of(path.clone()));
                t.check(inside).is(plain.clone())?;
                let stored = outside.call(t, "getxattr(security.capability) outside", path.clone(), attribute_of)?;
                t.check(stored).is(capability_attribute(3, CAP_NET_RAW, Some(ROOT)))
            };
            let executed = match executor {
                Executor::Outside => {
                    t.spawn("caller", setter)?.join(t)?;
                    Executed::of(t, "ordinary task outside", Flags::NONE, program.path(), become_unprivileged)?
                }
                _ => Executed::of(t, "caller", Flags::NONE, program.path(), |t| {
                    setter(t)?;
                    let id = Uid::from_raw(20);
                    t.setup(Call::new("setresuid(20)", setresuid(id, id, id)))?;
                    if executor == Executor::FurtherIn {
                        let start = Start { initial_admin: false, sys_admin: false, ..Start::of(t.facts()) };
                        t.unshare(Flags::NEWUSER).from(start).as_predicted()?;
                    }
                    t.setup(set_capabilities(0, 0))
                })?,
            };
            let gained = if executor == Executor::Outside { 0 } else { CAP_NET_RAW };
            t.check(raised_to(executed.pid())).is((NOBODY, [gained; 2].map(|set| format!("{set:x}"))))
        })
    }
});
