//! System V objects and POSIX message queues (section 3.8 of the behaviour catalogue), in an IPC namespace that
//! clone(2) made for the case, so that every object vanishes with it.

use super::ipc_mqueue::mq_open;
use super::vm::exchange;
use crate::prelude::*;

const SOURCE: &str = "unshare(2), CLONE_NEWIPC; ipc_namespaces(7)";
const NEEDS: Needs = Needs::ROOT.with(feature::SYSV_IPC).with(feature::IPC_NS);

/// Keys of the case's objects; the namespace is its own.
const KEY: i32 = 0x75_6e_73_68;
const OTHER_KEY: i32 = KEY + 1;

/// The kinds of System V objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Memory,
    Semaphores,
    Queue,
}

/// Each kind, with the call that makes one.
const EACH_KIND: [(&str, (Kind, &str)); 3] =
    [("shm", (Kind::Memory, "shmget")), ("sem", (Kind::Semaphores, "semget")), ("msg", (Kind::Queue, "msgget"))];

/// Size of a segment.
const SIZE: usize = 4096;

/// shmget, semget or msgget.
fn get((kind, key, create): (Kind, i32, bool)) -> Result<i32, Errno> {
    let flags = if create { libc::IPC_CREAT | libc::IPC_EXCL | 0o666 } else { 0 };
    // SAFETY: all three take numbers.
    Errno::result(unsafe {
        match kind {
            Kind::Memory => libc::shmget(key, SIZE, flags),
            Kind::Semaphores => libc::semget(key, 1, flags),
            Kind::Queue => libc::msgget(key, flags),
        }
    })
}

/// IPC_STAT of an ID. For a segment it gives the number of attachments, else 0.
fn stat((kind, id): (Kind, i32)) -> Result<u64, Errno> {
    // SAFETY: zeroes are valid; each structure lives through its call. semctl takes a union of pointers.
    unsafe {
        match kind {
            Kind::Memory => segments::attachments(id),
            Kind::Semaphores => {
                let mut data: libc::semid_ds = std::mem::zeroed();
                Errno::result(libc::semctl(id, 0, libc::IPC_STAT, &raw mut data)).map(|_| 0)
            }
            Kind::Queue => {
                let mut data: libc::msqid_ds = std::mem::zeroed();
                Errno::result(libc::msgctl(id, libc::IPC_STAT, &raw mut data)).map(|_| 0)
            }
        }
    }
}

case!(Case {
    name: "separation.ipc.objects",
    about: "Tasks in one IPC namespace find each other's objects by key and ID. After unshare(CLONE_NEWIPC) the caller \
            finds no old object (ENOENT by key, EINVAL by ID), the old namespace keeps them, and one key may name an \
            object on each side.",
    proves: &["EFF-IPC-01", "EFF-IPC-02", "EFF-IPC-04"],
    variants: || variants::named(&EACH_KIND),
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let (kind, name): (Kind, &str) = t.param();
        let peer = Peer::start(t, "peer", Flags::FS | Flags::FILES)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let find = |side: Side, key: i32| side.ask(t, &format!("{name}(key {key:#x})"), (kind, key, false), get);
        let look = |side: Side, id: i32| side.ask(t, "IPC_STAT of the ID", (kind, id), stat);
        let make = |side: Side, key: i32| {
            side.ask(t, &format!("{name}(key {key:#x}, IPC_CREAT|IPC_EXCL)"), (kind, key, true), get)
        };
        // One object of each, so that IDs of the two namespaces differ.
        let (first, id) = (t.setup(make(caller, OTHER_KEY)?)?, t.setup(make(other, KEY)?)?);
        t.check(find(caller, KEY)?).proves("EFF-IPC-01").is(id)?;
        t.check(find(other, OTHER_KEY)?).proves("EFF-IPC-01").is(first)?;
        t.unshare(Flags::NEWIPC).beside(&[&peer]).proving("EFF-IPC-01").as_predicted()?;
        for key in [KEY, OTHER_KEY] {
            t.check(find(caller, key)?).proves("EFF-IPC-01").fails_with(Errno::ENOENT)?;
        }
        for id in [first, id] {
            t.check(look(caller, id)?).proves("EFF-IPC-02").fails_with(Errno::EINVAL)?;
            t.check(look(other, id)?).proves("EFF-IPC-02").succeeds()?;
        }
        t.check(find(other, KEY)?).proves("EFF-IPC-01").is(id)?;
        // New objects, in both directions.
        let new = t.check(make(caller, KEY)?).proves("EFF-IPC-04").succeeds()?;
        t.check(find(caller, KEY)?).proves("EFF-IPC-04").is(new)?;
        t.check(find(other, KEY)?).proves("EFF-IPC-04").is(id)?;
        const INSIDE: i32 = KEY + 2;
        const OUTSIDE: i32 = KEY + 3;
        t.check(make(caller, INSIDE)?).proves("EFF-IPC-04").succeeds()?;
        t.check(find(other, INSIDE)?).proves("EFF-IPC-04").fails_with(Errno::ENOENT)?;
        t.check(make(other, OUTSIDE)?).proves("EFF-IPC-04").succeeds()?;
        t.check(find(caller, OUTSIDE)?).proves("EFF-IPC-04").fails_with(Errno::ENOENT)
    })
});

/// shmat(2), as a number.
pub(super) fn attach(id: i32) -> Result<usize, Errno> {
    // SAFETY: the kernel chooses the address.
    let address = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if address as isize == -1 { Err(Errno::last()) } else { Ok(address as usize) }
}

pub(super) fn detach(address: usize) -> Result<(), Errno> {
    // SAFETY: nothing else uses the segment at this address.
    Errno::result(unsafe { libc::shmdt(address as *const c_void) }).map(drop)
}

case!(Case {
    name: "separation.ipc.attached",
    about: "A segment attached before the call stays attached and shared; it can be detached, and the old namespace \
            then counts one attachment less.",
    proves: &["EFF-IPC-03"],
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        let id = t.setup(Call::new("shmget()", get((Kind::Memory, KEY, true))))?;
        let here = caller.must(t, "shmat()", id, attach)?;
        let there = other.must(t, "shmat()", id, attach)?;
        let attachments = || other.ask(t, "shm_nattch of IPC_STAT", (Kind::Memory, id), stat);
        t.setup(Call::new("write(segment)", exchange((here, 1))))?;
        t.check(attachments()?).is(2)?;
        t.unshare(Flags::NEWIPC).beside(&[&peer]).as_predicted()?;
        t.check(attachments()?).is(2)?;
        for (side, address, new, old) in [(other, there, 2, 1), (caller, here, 3, 2), (other, there, 4, 3)] {
            t.check(side.ask(t, "what is in the segment, read", (address, new), exchange)?).is(old)?;
        }
        t.check(caller.ask(t, "shmdt()", here, detach)?).succeeds()?;
        t.check(attachments()?).is(1)?;
        t.check(other.ask(t, "shmdt()", there, detach)?).succeeds()?;
        t.check(attachments()?).is(0)
    })
});

/// Name of a queue, for the system call, which takes it without the slash.
const QUEUE: &CStr = c"unshare-conformance";

/// Opens the case's queue.
fn open_queue(create: bool) -> Result<i32, Errno> {
    let flags = if create { libc::O_CREAT | libc::O_EXCL } else { 0 } | libc::O_RDWR | libc::O_NONBLOCK;
    mq_open(QUEUE, flags, 4, 8)
}

fn send((queue, byte): (i32, u8)) -> Result<(), Errno> {
    call!(mq_timedsend, queue, [byte].as_ptr(), 1, 0, 0).map(drop).map_err(fds::errno)
}

fn receive(queue: i32) -> Result<u8, Errno> {
    let mut message = [0u8; 8];
    call!(mq_timedreceive, queue, message.as_mut_ptr(), message.len(), 0, 0).map_err(fds::errno)?;
    Ok(message[0])
}

case!(Case {
    name: "separation.ipc.posix_queue",
    about: "A POSIX message queue opened before the call works on; its name is free in the caller's new namespace \
            (ENOENT), and names another queue when made there.",
    proves: &["EFF-IPC-04", "EFF-IPC-06"],
    needs: Needs::ROOT.with(feature::POSIX_MQUEUE).with(feature::IPC_NS),
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        const ID: &str = "EFF-IPC-06";
        let queue = t.setup(Call::new("mq_open(O_CREAT)", open_queue(true)))?;
        let peer = Peer::start(t, "peer", Flags::NONE)?;
        let (caller, other) = (Side::Caller, Side::Peer(&peer));
        other.must(t, "mq_open()", false, open_queue)?;
        t.unshare(Flags::NEWIPC).beside(&[&peer]).proving(ID).as_predicted()?;
        t.check(caller.ask(t, "mq_open()", false, open_queue)?).proves(ID).fails_with(Errno::ENOENT)?;
        t.check(other.ask(t, "mq_open()", false, open_queue)?).proves(ID).succeeds()?;
        for (from, to, byte) in [(caller, other, 1), (other, caller, 2)] {
            t.check(from.ask(t, "mq_send()", (queue, byte), send)?).proves(ID).succeeds()?;
            t.check(to.ask(t, "mq_receive()", queue, receive)?).proves(ID).is(byte)?;
        }
        let new =
            t.check(caller.ask(t, "mq_open(O_CREAT|O_EXCL)", true, open_queue)?).proves("EFF-IPC-04").succeeds()?;
        t.check(caller.ask(t, "mq_send(new queue)", (new, 3), send)?).proves("EFF-IPC-04").succeeds()?;
        t.check(other.ask(t, "mq_receive(old queue)", queue, receive)?).proves("EFF-IPC-04").fails_with(Errno::EAGAIN)
    })
});
