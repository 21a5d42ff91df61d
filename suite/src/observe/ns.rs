//! The links below `/proc/PID/ns`.

use std::ffi::CStr;

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

            /// The calling thread's link, below `/proc`.
            pub(super) fn path(self) -> &'static CStr {
                let path = match self {
                    $(Ns::$ns => concat!("thread-self/ns/", $link, "\0"),)*
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
