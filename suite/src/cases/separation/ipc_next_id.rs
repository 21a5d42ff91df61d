//! IDs that are asked for with sem_next_id, msg_next_id and shm_next_id, which each IPC namespace has of its own
//! (section 3.8 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "kernel, Documentation/admin-guide/sysctl/kernel.rst; CVE-2026-52923";
const NEEDS: Needs = Needs::ROOT.with(feature::SYSV_IPC).with(feature::IPC_NS);

/// A kind of object: the first word of its calls and files, and the numbers of the calls that make and control it.
type Kind = (&'static str, Sysno, Sysno);

const KINDS_OF_OBJECTS: [Kind; 3] = [
    ("sem", Sysno::semget, Sysno::semctl),
    ("msg", Sysno::msgget, Sysno::msgctl),
    ("shm", Sysno::shmget, Sysno::shmctl),
];

fn path(kind: &str) -> String {
    format!("/proc/sys/kernel/{kind}_next_id")
}

/// The setting in the namespace of the calling task.
fn read(kind: String) -> Result<String, Errno> {
    fs::read_to_string(path(&kind)).map(|text| text.trim().to_owned()).map_err(errno_of)
}

/// Makes an object without a key. Its ID is the number that the kernel returned, negative or not.
fn make((name, get, _): Kind) -> Result<i32, Errno> {
    const SIZE: usize = 4096;
    let private = libc::IPC_PRIVATE as usize;
    // SAFETY: all take numbers.
    let id = unsafe {
        match name {
            "msg" => syscall!(get, private, libc::IPC_CREAT | 0o600),
            "sem" => syscall!(get, private, 1, libc::IPC_CREAT | 0o600),
            _ => syscall!(get, private, SIZE, libc::IPC_CREAT | 0o600),
        }
    };
    id.map(|id| id as i32).map_err(fds::errno)
}

/// Removes an object by its ID.
fn remove((name, _, control): Kind, id: i32) -> Result<(), Errno> {
    // SAFETY: IPC_RMID takes numbers.
    let removed = unsafe {
        match name {
            "sem" => syscall!(control, id, 0, libc::IPC_RMID),
            _ => syscall!(control, id, libc::IPC_RMID, 0),
        }
    };
    removed.map(drop).map_err(fds::errno)
}

/// The IDs that /proc/sysvipc lists of this kind.
fn listed(kind: &str) -> Result<Vec<i32>, Errno> {
    let text = fs::read_to_string(format!("/proc/sysvipc/{kind}")).map_err(errno_of)?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect())
}

case!(Case {
    name: "separation.ipc.next_id",
    about: "In a new IPC namespace the ID for the next object can be set, and the old namespace's setting stays. Of two \
            objects that ask for the greatest ID the second gets another valid one, or none (ENOSPC): it is listed and \
            can be removed by it. In a guest only.",
    proves: &["EFF-IPC-14"],
    // A kernel that gets it wrong warns, and no other case is to be blamed for that.
    needs: NEEDS.alone(),
    variants: || KINDS_OF_OBJECTS.map(|kind| Variant::new(kind.0, kind)).into(),
    run: |t| {
        if !t.has_own_kernel() {
            return Err(t.skip("a kernel that gets it wrong keeps an object that nobody can remove: use --kernel"));
        }
        if !Path::new(&path(t.param::<Kind>().0)).exists() {
            return Err(t.skip("this kernel has no such setting: CONFIG_CHECKPOINT_RESTORE"));
        }
        let taint = || fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
        let before = taint();
        let done = in_own_namespaces(t, Flags::NEWIPC, ask_twice);
        if done.is_err() {
            // A kernel thread ends the namespace with the object that nobody can remove, and warns then.
            t.wait_until(Duration::from_secs(2), || taint() != before);
        }
        done
    },
});

fn ask_twice(t: &Test) -> Done {
    let kind: Kind = t.param();
    let name = kind.0;
    let peer = Peer::start(t, "peer", Flags::NONE)?;
    t.unshare(Flags::NEWIPC).beside(&[&peer]).as_predicted()?;
    let mut made = Vec::new();
    for which in ["first", "second"] {
        let written = fs::write(path(name), i32::MAX.to_string());
        t.check(Call::io(format!("write({name}_next_id, {})", i32::MAX), written)).succeeds()?;
        let theirs = peer.call(t, &format!("{name}_next_id of the old namespace"), name.to_owned(), read)?;
        t.check(theirs).is("-1".to_owned())?;
        let text = format!("{name}get(), the {which}");
        match make(kind) {
            Err(Errno::ENOSPC) if which == "second" => {}
            result => {
                let id = t.check(Call::new(text, result)).holds("0 and more", |id| *id >= 0)?;
                made.push(id);
            }
        }
    }
    t.check(Call::seen(format!("the ID of the first {name}"), made[0])).is(i32::MAX)?;
    made.sort_unstable();
    let ids = listed(name).map(|mut ids| {
        ids.sort_unstable();
        ids
    });
    t.check(Call::new(format!("IDs that /proc/sysvipc/{name} lists"), ids)).is(made.clone())?;
    all(made
        .into_iter()
        .map(|id| t.check(Call::new(format!("{name}ctl({id}, IPC_RMID)"), remove(kind, id))).succeeds()))
}
