//! What a file of cases needs: `use crate::prelude::*;`.

pub use harness::place::rlimit::{getrlimit, setrlimit};
pub use nix::fcntl::{OFlag, openat};
pub use nix::mount::{MntFlags, MsFlags, mount, umount2};
pub use nix::sys::prctl;
pub use nix::sys::ptrace;
pub use nix::sys::resource::Resource;
pub use nix::sys::socket::{AddressFamily, SockFlag, SockType};
pub use nix::sys::stat::{Mode, umask};
pub use nix::unistd::{getgid, gethostname, getuid, sethostname};

pub use crate::call::check::{Judged, Said, Unshare, check_changes, expect_claimed};
pub use crate::call::failing::{Failing, everything, second_pid};
pub use crate::call::raw::{unshare, unshare_ia32, unshare_raw};
pub use crate::call::variants;
pub use crate::engines::race::{self, Barrier, delay, play};
pub use crate::engines::thread_states::{THREADS_SHARE, each_flag, for_flags, judge, this_thread, thread};
pub use crate::observe::fds::{self, dup_to};
pub use crate::observe::kcmp::{askable, shared_flags};
pub use crate::observe::mounts::{self, MountLine, is_mounted, mount_at, mounts, mounts_of, new_directory};
pub use crate::observe::nsfd::{enter, inode_of, open_link, open_process};
pub use crate::observe::{self, Observer, Place, Shared, State, differences, kernel, namespace_of, place_of};
pub use crate::place::cgroup::{ControlGroup, group_of, move_into, own_groups};
pub use crate::place::limits::{self, check_room, check_room_for, set_nr_open, unshare_by, used, write_own};
pub use crate::place::lock::write_lock;
pub use crate::place::mount_api::{enter_chroot, leave_chroot, mount_tmpfs};
pub use crate::place::privilege::{
    CAP_SYS_ADMIN, NOBODY, all_capabilities, become_somebody_else, become_unprivileged, set_all_capabilities,
    set_capabilities,
};
pub use crate::place::seccomp::{self, wait_for_stop, was_trapped};
pub use crate::place::segments::{self, new_segment};
pub use crate::place::sysctl;
pub use crate::sharing::probe::{
    Probe, ProbeDirs, Trace, check_apart, check_as_predicted, check_shared, set_domain_name,
};
pub use crate::sharing::sibling::{SHARED, SharingTask, Sibling};
pub use crate::sharing::undo::{self, Semaphore, take_with_undo};
pub use crate::spec::prelude::*;
pub use crate::tasks::end::{has_ended, try_fork};
pub use crate::tasks::executed::Executed;
pub use crate::tasks::io_uring::Ring;
pub use crate::tasks::peer::Peer;
pub use crate::tasks::setuid_exec::{self, Program, effective_user};
pub use crate::tasks::shm::{Word, map_file, map_zeroed};
pub use crate::tasks::side::{Side, check_kcmp, check_separated, in_own_namespaces};
pub use crate::tasks::signals;
pub use crate::tasks::threads::{
    self, FinishedThread, IdleThread, in_second_thread, others, wait_until_alone, without_leader, yield_until,
};
pub use crate::tasks::vm::{self, Stack, VmTask, in_vfork_child_sharing, start_on};

/// The source of a case that names none. A file whose cases have one in common has a constant of this name of its own.
pub const SOURCE: &str = "";
/// What a case needs that says nothing of it, likewise.
pub const NEEDS: Needs = Needs::NONE;
/// How long a case may take that says nothing of it, likewise.
pub const DEADLINE: Duration = harness::case::Case::DEADLINE;

/// [`harness::case!`] for a file whose cases have their source, their needs or their deadline in common: what a case
/// leaves out is the file's `SOURCE`, `NEEDS` or `DEADLINE`.
macro_rules! case {
    (Case { $($field:ident : $value:expr),* $(,)? }) => {
        const _: () = {
            #[::harness::linkme::distributed_slice(::harness::case::CASES)]
            #[linkme(crate = ::harness::linkme)]
            static CASE: ::harness::case::Case = ::harness::case::Case {
                $($field: $value,)*
                ..::harness::case::Case {
                    source: SOURCE,
                    needs: NEEDS,
                    deadline: DEADLINE,
                    ..::harness::case::Case::declared_at(::std::file!(), ::std::line!())
                }
            };
        };
    };
}
pub(crate) use case;
