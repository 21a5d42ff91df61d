//! POSIX message queues as files, and what is left of a namespace's objects when it ends (section 3.8 of the
//! behaviour catalogue).

use super::mnt::mount_new;
use crate::prelude::*;

/// Makes a queue of this name for one message, of so many bytes. Gives its descriptor.
pub(super) fn make_queue((name, bytes): (String, i64)) -> Result<i32, Errno> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    mq_open(&name, flags, 1, bytes)
}

/// mq_open(2) of a queue for so many messages, of so many bytes. Gives its descriptor.
pub(super) fn mq_open(name: &CStr, flags: i32, messages: i64, bytes: i64) -> Result<i32, Errno> {
    // SAFETY: zeroes are a valid mq_attr.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    (attributes.mq_maxmsg, attributes.mq_msgsize) = (messages as _, bytes as _);
    call!(mq_open, name.as_ptr(), flags, 0o600, &raw const attributes).map(|queue| queue as i32).map_err(fds::errno)
}

/// The names in a directory, in order.
fn names_in(directory: String) -> Result<Vec<String>, Errno> {
    let entries = fs::read_dir(directory).map_err(errno_of)?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

case!(Case {
    name: "separation.ipc.mqueue_mount",
    about: "A mqueue mount made before the call shows the old namespace's queues; one made after it the new one's.",
    proves: &["EFF-IPC-07"],
    source: "mq_overview(7); ipc_namespaces(7)",
    needs: Needs::ROOT.with(feature::POSIX_MQUEUE).with(feature::IPC_NS),
    run: |t| {
        let (old, new) = (new_directory(t, "old")?, new_directory(t, "new")?);
        in_own_namespaces(t, Flags::NEWIPC | Flags::NEWNS, |t| {
            t.setup(mount_new("mqueue", &old))?;
            let peer = Peer::start(t, "peer", Flags::NONE)?;
            let (caller, other) = (Side::Caller, Side::Peer(&peer));
            let make = |side: Side, name: &str| side.must(t, "mq_open(O_CREAT)", (name.to_owned(), 8), make_queue);
            let list = |side: Side, directory: &String, which: &str| {
                side.ask(t, &format!("queues in the mount made {which} the call, listed"), directory.clone(), names_in)
            };
            make(caller, "first")?;
            t.unshare(Flags::NEWIPC).beside(&[&peer]).as_predicted()?;
            make(caller, "inside")?;
            make(other, "outside")?;
            t.check(mount_new("mqueue", &new).called("mount(mqueue) after the call")).succeeds()?;
            for side in [caller, other] {
                t.check(list(side, &old, "before")?).is(vec!["first".to_owned(), "outside".to_owned()])?;
                t.check(list(side, &new, "after")?).is(vec!["inside".to_owned()])?;
            }
            Ok(())
        })
    }
});

/// The kinds of objects whose memory is charged to their maker, who may have one of the case's size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Charged {
    /// A POSIX queue (RLIMIT_MSGQUEUE).
    Queue,
    /// A locked segment (RLIMIT_MEMLOCK).
    Segment,
}

/// Bytes of the message of a queue: the greatest that is allowed by default. What else a queue is charged is little
/// beside it.
pub(super) const MESSAGE: i64 = 8192;

/// The capability that lifts the limit on locked memory.
const CAP_IPC_LOCK: u64 = 1 << 14;

pub(super) fn page_size() -> u64 {
    // SAFETY: sysconf takes a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Sets a limit that one object keeps to, and two do not.
fn limit_to_one(kind: Charged) -> Result<(), Errno> {
    let (limit, bytes) = match kind {
        Charged::Queue => (Resource::RLIMIT_MSGQUEUE, MESSAGE as u64 * 3 / 2),
        Charged::Segment => (Resource::RLIMIT_MEMLOCK, page_size()),
    };
    setrlimit(limit, bytes, bytes)
}

/// Makes an object that stays until it is removed, or its namespace ends.
fn make_charged(kind: Charged) -> Result<(), Errno> {
    match kind {
        Charged::Queue => nix::unistd::close(make_queue(("charged".to_owned(), MESSAGE))?),
        Charged::Segment => make_locked_segment().map(drop),
    }
}

/// Makes a segment of one page and locks it. Gives its ID.
pub(super) fn make_locked_segment() -> Result<i32, Errno> {
    // SAFETY: the calls take numbers.
    unsafe {
        let size = page_size() as usize;
        let id = Errno::result(libc::shmget(libc::IPC_PRIVATE, size, libc::IPC_CREAT | 0o600))?;
        let locked = Errno::result(libc::shmctl(id, libc::SHM_LOCK, std::ptr::null_mut()));
        if locked.is_err() {
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        }
        locked.map(|_| id)
    }
}

/// Each kind, with the errno of one too many.
fn kinds_of_objects() -> Vec<Variant> {
    vec![
        Variant::new("queue", (Charged::Queue, Errno::EMFILE)).needing(Needs::NONE.with(feature::POSIX_MQUEUE)),
        Variant::new("segment", (Charged::Segment, Errno::ENOMEM)).needing(Needs::NONE.with(feature::SYSV_IPC)),
    ]
}

/// The lists of objects that a task sees.
fn lists() -> String {
    ["shm", "sem", "msg"].map(|kind| fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default()).concat()
}

case!(Case {
    name: "separation.ipc.end_of_namespace",
    about: "A new IPC namespace ends with its last task: its objects go, and what they were charged to their maker \
            comes back. The old namespace's objects stay.",
    proves: &["EFF-IPC-11"],
    source: "ipc_namespaces(7); getrlimit(2), RLIMIT_MSGQUEUE and RLIMIT_MEMLOCK",
    needs: Needs::ROOT.with(feature::IPC_NS).with(feature::INITIAL_ROOT).with(feature::SECOND_USER),
    variants: kinds_of_objects,
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let (kind, refusal): (Charged, Errno) = t.param();
        if t.facts().has(feature::SYSV_IPC) {
            t.setup(Call::new("shmget()", new_segment(())))?;
        }
        let before = lists();
        become_somebody_else(t, t.facts().capabilities & !CAP_IPC_LOCK)?;
        t.setup(Call::new("setrlimit(room for one object)", limit_to_one(kind)))?;
        // Where the next object is to be made; its namespace is clone(2)'s.
        let elsewhere = Peer::start(t, "task elsewhere", Flags::NEWIPC)?;
        let inside = t.spawn("caller", |t| {
            t.unshare(Flags::NEWIPC).as_predicted()?;
            t.setup(Call::new("making an object in the new namespace", make_charged(kind)))?;
            // While the namespace lives, its object counts.
            let second =
                elsewhere.call(t, "making another elsewhere, while the new namespace lives", kind, make_charged)?;
            t.check(second).fails_with(refusal)
        })?;
        inside.join(t)?;
        // A namespace is taken apart a little later than its last task ends (RULE-05).
        let mut limit = t.time_limit(Duration::from_secs(5));
        let make = || elsewhere.call(t, "making another elsewhere, after the new namespace's end", kind, make_charged);
        let mut made = make()?;
        while made.result().is_err() && limit.pause(Duration::from_millis(2)) {
            made = make()?;
        }
        t.check(made).succeeds()?;
        t.check(Call::seen("/proc/sysvipc/{shm,sem,msg} of the old namespace", lists())).is(before)
    })
});
