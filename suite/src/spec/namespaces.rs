//! The kinds of namespace, one row each: all that differs between them and is the same for every case.

use crate::feature;
use std::ffi::CStr;

use harness::case::needs::{Feature, Needs};

use super::flags::Flags;

macro_rules! links {
    ($($(#[$about:meta])* $ns:ident $link:literal)*) => {
        /// The links below `/proc/thread-self/ns`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Ns {
            $($(#[$about])* $ns,)*
        }

        impl Ns {
            /// All ten links.
            pub const ALL: [Ns; 10] = [$(Ns::$ns),*];

            /// The link's name.
            pub fn link(self) -> &'static str {
                match self {
                    $(Ns::$ns => $link,)*
                }
            }

            /// The link, below a task's directory of `/proc`.
            pub(crate) fn path(self) -> &'static CStr {
                let path = match self {
                    $(Ns::$ns => concat!("ns/", $link, "\0"),)*
                };
                CStr::from_bytes_with_nul(path.as_bytes()).unwrap_or_default()
            }
        }
    };
}

links! {
    /// Mount namespace.
    Mnt "mnt"
    /// UTS namespace.
    Uts "uts"
    /// IPC namespace.
    Ipc "ipc"
    /// PID namespace of the task.
    Pid "pid"
    /// PID namespace of its future children.
    PidForChildren "pid_for_children"
    /// Network namespace.
    Net "net"
    /// User namespace.
    User "user"
    /// Cgroup namespace.
    Cgroup "cgroup"
    /// Time namespace of the task.
    Time "time"
    /// Time namespace of its future children.
    TimeForChildren "time_for_children"
}

/// One kind of namespace.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The flag that makes one.
    pub flag: Flags,
    /// The link of the caller that a successful call changes: of its children for PID and time.
    pub link: Ns,
    /// The file of its limit, below /proc/sys/user.
    pub limit: &'static str,
    /// What says that the kernel has this kind; `None` for mount namespaces, which are always built in.
    pub feature: Option<Feature>,
    /// Whether a call with this flag alone requires CAP_SYS_ADMIN (PRIV-03).
    pub privileged: bool,
}

/// All eight kinds, in the order in which a call makes them (section 2.5 of the behaviour catalogue).
pub const KINDS: [Kind; 8] = [
    kind(Flags::NEWUSER, Ns::User, "max_user_namespaces", Some(feature::USER_NS)),
    kind(Flags::NEWNS, Ns::Mnt, "max_mnt_namespaces", None),
    kind(Flags::NEWUTS, Ns::Uts, "max_uts_namespaces", Some(feature::UTS_NS)),
    kind(Flags::NEWIPC, Ns::Ipc, "max_ipc_namespaces", Some(feature::IPC_NS)),
    kind(Flags::NEWPID, Ns::PidForChildren, "max_pid_namespaces", Some(feature::PID_NS)),
    kind(Flags::NEWCGROUP, Ns::Cgroup, "max_cgroup_namespaces", Some(feature::CGROUP_NS)),
    kind(Flags::NEWNET, Ns::Net, "max_net_namespaces", Some(feature::NET_NS)),
    kind(Flags::NEWTIME, Ns::TimeForChildren, "max_time_namespaces", Some(feature::TIME_NS)),
];

const fn kind(flag: Flags, link: Ns, limit: &'static str, feature: Option<Feature>) -> Kind {
    Kind { flag, link, limit, feature, privileged: flag.0 != Flags::NEWUSER.0 }
}

impl Kind {
    /// The kind that this one flag makes; `None` for a flag that makes no namespace, and for sets.
    pub fn of(flag: Flags) -> Option<Kind> {
        KINDS.into_iter().find(|kind| kind.flag == flag)
    }

    /// What the kernel must offer for this kind to exist, whoever asks.
    pub fn built_in(self) -> Needs {
        self.feature.map_or(Needs::NONE, |feature| Needs::NONE.with(feature))
    }
}

/// What it takes to pass these flags: those of the upper half have no place in the argument of a 32-bit program.
pub fn passing(flags: Flags) -> Needs {
    const LOWER_HALF: Flags = Flags(u32::MAX as u64);
    if LOWER_HALF.contains(flags) { Needs::NONE } else { Needs::NONE.with(feature::WIDE_ARGUMENT) }
}

/// What a call with these flags requires of the machine in order to succeed, beyond what every case requires.
pub fn needs_of(flags: Flags) -> Needs {
    let kinds = KINDS.into_iter().filter(|kind| flags.contains(kind.flag)).map(|kind| match kind.privileged {
        true => Needs::ROOT.and(kind.built_in()),
        false => Needs::NONE.with(feature::CREATE_USER_NS),
    });
    let empty = flags.contains(Flags::EMPTY).then(|| Needs::ROOT.with(feature::EMPTY_MNT_NS));
    kinds.chain(empty).fold(Needs::NONE, Needs::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_the_flags_that_make_namespaces() {
        let made: Flags = KINDS.into_iter().map(|kind| kind.flag).collect();
        assert_eq!(made | Flags::EMPTY, Flags::PRIVILEGED | Flags::NEWUSER);
    }
}
