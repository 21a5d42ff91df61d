//! What goes on in a namespace before its last task ends, and is to keep nothing of it: neither the call that replaces
//! it nor one that makes another kind beside it, nor children, nor objects (ERR-48 of the behaviour catalogue).

use crate::prelude::*;

const SOURCE: &str = "namespaces(7), Namespace lifetime; kernel, kernel/nsproxy.c";
const NEEDS: Needs = limits::NEEDS;
/// What stays counted is waited for.
const DEADLINE: Duration = Duration::from_secs(60);
const ID: &str = "ERR-48";

/// How often a life is lived. What one keeps takes up the room of another, and there is room for two at most.
fn times(t: &Test) -> usize {
    if t.tier() == Tier::Quick { 4 } else { 20 }
}

/// What happens to a namespace before it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Its task makes another of the kind.
    Replaced,
    /// Its task makes others beside it.
    OthersMade,
    /// A child is in it, makes others, and then another of the kind, which has children.
    Inherited,
}

const LIVES: [(&str, Life); 3] =
    [("replaced", Life::Replaced), ("others_made", Life::OthersMade), ("inherited", Life::Inherited)];

impl Life {
    /// How many namespaces of the kind there are at the same time.
    fn room(self) -> u32 {
        if self == Life::OthersMade { 1 } else { 2 }
    }

    /// Whether a namespace of a kind can live so: a user namespace is not replaced but nested, and a task makes one PID
    /// namespace only.
    fn is_for(self, flag: Flags) -> bool {
        match self {
            Life::Replaced => ![Flags::NEWUSER, Flags::NEWPID].contains(&flag),
            Life::OthersMade => true,
            Life::Inherited => flag != Flags::NEWUSER,
        }
    }
}

fn lives() -> Vec<Variant> {
    let all = variants::product::<_, Flags>(&LIVES, &variants::each_kind());
    let possible = |variant: &Variant| {
        let (life, flag): (Life, Flags) = variant.param();
        life.is_for(flag)
    };
    all.into_iter().filter(possible).collect()
}

/// The other kinds that a task can make again and again.
fn others(t: &Test, flag: Flags) -> impl Iterator<Item = Flags> {
    let kinds = KINDS.into_iter().filter(|kind| kind.feature.is_none_or(|feature| t.facts().has(feature)));
    let kinds = kinds.map(|kind| kind.flag).filter(|other| ![Flags::NEWUSER, Flags::NEWPID].contains(other));
    kinds.filter(move |other| *other != flag)
}

#[track_caller]
fn make_others(t: &Test, flag: Flags) -> Done {
    // Twice, so that one of theirs is replaced, too.
    (0..2).flat_map(|_| others(t, flag)).try_for_each(|other| t.check(unshare(other)).proves(ID).succeeds())
}

fn live(t: &Test, life: Life, flag: Flags) -> Done {
    check_room(t, flag, ID)?;
    match life {
        Life::Replaced => check_room(t, flag, ID),
        Life::OthersMade => {
            // Before its first process, the link of a PID namespace leads nowhere (EFF-PID-03).
            let first = (flag == Flags::NEWPID).then(|| Peer::start(t, "process 1", Flags::NONE)).transpose()?;
            let link = Kind::of(flag).expect("a kind of namespace").link;
            let number = || open_link("thread-self", link).and_then(|file| inode_of(&file));
            let text = format!("inode of ns/{}", link.link());
            let made = t.setup(Call::new(text.clone(), number()))?;
            make_others(t, flag)?;
            t.check(Call::new(text, number())).proves(ID).is(made)?;
            // It is counted as long as it is in use.
            t.in_child(|t| t.check(unshare(flag)).proves(ID).fails_with(Errno::ENOSPC))?;
            drop(first);
            Ok(())
        }
        Life::Inherited => t.in_child(|t| {
            make_others(t, flag)?;
            check_room(t, flag, ID)?;
            // With process 1, no other can be made in a PID namespace.
            let children = if flag == Flags::NEWPID { 1 } else { 2 };
            (0..children).try_for_each(|_| t.setup(try_fork()))
        }),
    }
}

case!(Case {
    name: "limits.returned.lives",
    about: "A namespace that was replaced, beside which its task made others again and again, or in which a child did \
            all that, stays the same and is counted until then, and goes with its last task: under a limit with room \
            for no more than one task needs, one task after the other makes one.",
    proves: &[ID],
    needs: NEEDS,
    quick: one_in(3, 2),
    variants: lives,
    run: |t| {
        let (life, flag): (Life, Flags) = t.param();
        if flag == Flags::NEWUSER {
            limits::check_nesting_is_allowed(t)?;
        }
        limits::enter_own_user_namespace(t)?;
        limits::set(t, flag, used(flag) + life.room())?;
        for _ in 0..times(t) {
            t.in_child(|t| live(t, life, flag))?;
        }
        check_room_for(t, flag, life.room(), ID)
    }
});

/// Makes an object and uses it.
type Use = fn() -> Result<(), Errno>;

/// System V objects that remember which process has used them last, and with it that one's PID namespace.
const OBJECTS: [(&str, Use); 3] = [("semaphore", use_semaphore), ("queue", use_queue), ("segment", use_segment)];

fn use_semaphore() -> Result<(), Errno> {
    let up = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
    let semaphore = call!(semget, libc::IPC_PRIVATE, 1, 0o600).map_err(fds::errno)?;
    abi::semop(semaphore, &mut [up]).map(drop).map_err(fds::errno)
}

fn use_queue() -> Result<(), Errno> {
    let message: [libc::c_long; 2] = [1, 0];
    let queue = call!(msgget, libc::IPC_PRIVATE, 0o600).map_err(fds::errno)?;
    call!(msgsnd, queue, message.as_ptr(), 1, 0).map(drop).map_err(fds::errno)
}

fn use_segment() -> Result<(), Errno> {
    let segment = call!(shmget, libc::IPC_PRIVATE, 4096, 0o600).map_err(fds::errno)?;
    call!(shmat, segment, 0, 0).map(drop).map_err(fds::errno)
}

case!(Case {
    name: "limits.returned.objects",
    about: "A System V object goes with its IPC namespace, and holds the PID namespace of who used it no longer: under \
            a limit with room for one PID namespace, one task after the other makes both, with an object that a \
            process there uses.",
    proves: &[ID],
    source: "ipc_namespaces(7); kernel, ipc/namespace.c (free_ipc_ns)",
    needs: NEEDS.with(feature::PID_NS).with(feature::IPC_NS).with(feature::SYSV_IPC),
    variants: || variants::named(&OBJECTS),
    run: |t| {
        let use_one: Use = t.param();
        limits::enter_own_user_namespace(t)?;
        limits::set(t, Flags::NEWPID, used(Flags::NEWPID) + 1)?;
        for _ in 0..times(t) {
            t.in_child(|t| {
                check_room(t, Flags::NEWPID, ID)?;
                t.check(unshare(Flags::NEWIPC)).proves(ID).succeeds()?;
                t.in_child(|t| t.setup(Call::new("use of an object by process 1", use_one())))
            })?;
        }
        t.in_child(|t| check_room(t, Flags::NEWPID, ID))
    }
});
