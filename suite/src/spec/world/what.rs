//! What of a world can differ from the model.

use crate::spec::prelude::*;
use crate::spec::world::Op;

/// What differs. Tasks have the numbers of their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What a step gives to the task that takes it.
    Result(usize, Op),
    /// A task does not go on.
    End(usize),
    /// Which namespace a link of a task leads to.
    Link(Ns, usize),
    /// Where a root or current directory is.
    Place(Where, usize),
    /// Which mount it is on.
    Mount(Where, usize),
    /// What the model has as a value.
    Value(Value, usize),
    /// A part of a task's state that was not to change.
    Other(Part, usize),
    /// Whether two tasks share what this flag of clone(2) names.
    Shared(Flags, usize, usize),
    /// Whether a task sees one of the world's mounts.
    There(Mounted, usize),
    /// The propagation of one of the world's mounts, as a task sees it.
    Propagation(Mounted, usize),
    /// The options of the world's mount, as a task sees it.
    Options(usize),
    /// The semaphore's value.
    Semaphore,
    /// Whether the world's file is locked.
    Lock,
    /// Which user namespace owns the namespace of a task.
    Owner(Ns, usize),
    /// Which namespace is the parent of a task's.
    Parent(Ns, usize),
    /// The ID maps of a task's user namespace, whether it denies setgroups(2), and who owns it.
    Maps(usize),
    /// The offset that children of a task will have.
    Offset(usize),
}

/// A directory of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// The current one.
    Cwd,
    /// The root.
    Root,
}

impl Where {
    /// Both.
    pub const ALL: [Where; 2] = [Where::Cwd, Where::Root];

    /// Its link below /proc/PID.
    pub fn link(self) -> &'static str {
        match self {
            Where::Cwd => "cwd",
            Where::Root => "root",
        }
    }
}

/// One of the world's mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// The one that its directories are on.
    Base,
    /// What [`Op::Mount`] mounts on it.
    Child,
}

impl Mounted {
    /// Both.
    pub const ALL: [Mounted; 2] = [Mounted::Base, Mounted::Child];
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mounted::Base => "the world's mount",
            Mounted::Child => "what is mounted on the world's mount",
        })
    }
}

/// What the model has as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Real, effective, saved and file system user ID.
    Uids,
    /// The same of groups.
    Gids,
    /// Effective capabilities.
    Effective,
    /// Permitted capabilities.
    Permitted,
    /// The umask.
    Umask,
    /// The no_new_privs attribute.
    NoNewPrivs,
    /// The securebits.
    Securebits,
    /// Whether it is process 1 of its PID namespace.
    ProcessOne,
    /// The objects of its IPC namespace.
    Objects,
    /// The settings of its IPC namespace.
    Settings,
    /// By how many seconds its CLOCK_MONOTONIC differs from the stage's.
    Clock,
    /// The same of CLOCK_BOOTTIME.
    BootClock,
    /// The host name.
    HostName,
    /// Which of the world's descriptors are open.
    Descriptors,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Uids => "user IDs",
            Value::Gids => "group IDs",
            Value::Effective => "effective capabilities",
            Value::Permitted => "permitted capabilities",
            Value::Umask => "umask",
            Value::NoNewPrivs => "no_new_privs",
            Value::Securebits => "securebits",
            Value::ProcessOne => "process 1 of its PID namespace",
            Value::Objects => "IPC objects",
            Value::Settings => "IPC settings",
            Value::Clock => "offset of CLOCK_MONOTONIC",
            Value::BootClock => "offset of CLOCK_BOOTTIME",
            Value::HostName => "host name",
            Value::Descriptors => "descriptors",
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Result(at, op) => write!(f, "{op} by task {at}"),
            What::End(at) => write!(f, "task {at}"),
            What::Link(ns, at) => write!(f, "ns/{} of task {at}", ns.link()),
            What::Place(place, at) => write!(f, "{} of task {at}", place.link()),
            What::Mount(place, at) => write!(f, "mount of the {} of task {at}", place.link()),
            What::Value(value, at) => write!(f, "{value} of task {at}"),
            What::Other(part, at) => write!(f, "{part} of task {at}"),
            What::Shared(flag, a, b) => write!(f, "what {flag} names, of tasks {a} and {b}"),
            What::There(mounted, at) => write!(f, "{mounted}, of task {at}"),
            What::Propagation(mounted, at) => write!(f, "propagation of {mounted}, of task {at}"),
            What::Options(at) => write!(f, "options of the world's mount, of task {at}"),
            What::Semaphore => f.write_str("the semaphore"),
            What::Lock => f.write_str("the record lock"),
            What::Owner(ns, at) => write!(f, "owner of ns/{} of task {at}", ns.link()),
            What::Parent(ns, at) => write!(f, "parent of ns/{} of task {at}", ns.link()),
            What::Maps(at) => write!(f, "user namespace of task {at}"),
            What::Offset(at) => write!(f, "timens_offsets of task {at}"),
        }
    }
}
