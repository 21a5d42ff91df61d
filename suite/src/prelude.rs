//! What a file of cases needs: `use crate::prelude::*;`.

pub use std::collections::{BTreeMap, BTreeSet};
pub use std::ffi::{CStr, CString, c_int, c_void};
pub use std::fs::{self, File};
pub use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
pub use std::os::unix::ffi::OsStrExt;
pub use std::os::unix::fs::MetadataExt;
pub use std::path::{Path, PathBuf};
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::time::{Duration, Instant};

pub use harness::prelude::{Call, Done, Errno, Failure, Needs, Task, Test, Tier, Variant, all, errno_of};
pub use nix::fcntl::{OFlag, openat};
pub use nix::mount::{MntFlags, MsFlags, mount, umount2};
pub use nix::sys::prctl;
pub use nix::sys::signal::{Signal, kill, raise};
pub use nix::sys::stat::{Mode, umask};
pub use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
pub use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, chroot, fork, getcwd, getegid, geteuid, getpid, getppid, gettid, setgroups,
    setresuid,
};
pub use serde::{Deserialize, Serialize};
pub use syscalls::{Sysno, syscall};

pub use crate::call::check::{Judged, Unshare, check_changes};
pub use crate::call::failing::{Failing, everything, second_pid};
pub use crate::call::raw::{unshare, unshare_ia32, unshare_raw};
pub use crate::call::variants;
pub use crate::engines::race::{self, Barrier, delay, play};
pub use crate::engines::thread_states::for_flags;
pub use crate::feature::{self, global};
pub use crate::observe::fds::{self, dup_to};
pub use crate::observe::mounts::{MountLine, is_mounted, mounts, new_directory};
pub use crate::observe::nsfd::{enter, inode_of, open_link};
pub use crate::observe::{self, Ns, Observer, Shared, State, kernel, namespace_of, place_of};
pub use crate::place::cgroup::{ControlGroup, group_of, move_into, own_groups};
pub use crate::place::limits::{self, check_room, check_room_for, unshare_by};
pub use crate::place::lock::write_lock;
pub use crate::place::mount_api::{enter_chroot, leave_chroot, mount_tmpfs};
pub use crate::place::privilege::{
    CAP_SYS_ADMIN, NOBODY, all_capabilities, become_somebody_else, become_unprivileged, set_all_capabilities,
    set_capabilities,
};
pub use crate::place::segments::{self, new_segment};
pub use crate::place::sysctl;
pub use crate::sharing::probe::{Probe, ProbeDirs, Trace, check_apart, check_as_predicted, check_shared};
pub use crate::sharing::sibling::{SHARED, Sibling};
pub use crate::sharing::undo::Semaphore;
pub use crate::spec::flags::Flags;
pub use crate::spec::model::{self, Kernel, Part, Parts, Prediction, Start, Threads, predict};
pub use crate::spec::namespaces::{KINDS, Kind, needs_of};
pub use crate::tasks::end::try_fork;
pub use crate::tasks::executed::Executed;
pub use crate::tasks::peer::Peer;
pub use crate::tasks::shm::map_zeroed;
pub use crate::tasks::side::{Side, check_kcmp, check_separated, in_own_namespaces};
pub use crate::tasks::signals;
pub use crate::tasks::threads::{FinishedThread, IdleThread, in_second_thread, wait_until_alone, yield_until};
pub use crate::tasks::vm::{self, VmTask, in_vfork_child_sharing};

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
