//! What the rooms above `spec` have in common: `use crate::spec::prelude::*;`.

pub use std::cell::UnsafeCell;
pub use std::collections::{BTreeMap, BTreeSet};
pub use std::ffi::{CStr, CString, c_int, c_void};
pub use std::fmt;
pub use std::fs::{self, File};
pub use std::io;
pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
pub use std::os::unix::ffi::OsStrExt;
pub use std::os::unix::fs::MetadataExt;
pub use std::path::{Path, PathBuf};
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::time::{Duration, Instant};

pub use harness::abi::syscall;
pub use harness::case::task::fork_sharing;
pub use harness::prelude::{
    Call, Check, Done, Errno, Facts, Failure, Needs, Stop, Task, Test, Tier, TimeLimit, Variant, Version, all,
    errno_of, one_in,
};
pub use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
pub use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
pub use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, chroot, fork, getcwd, getegid, geteuid, getpid, getppid, gettid, setgroups,
    setresgid, setresuid,
};
pub use serde::de::DeserializeOwned;
pub use serde::{Deserialize, Serialize};
pub use syscalls::Sysno;

pub use harness::abi::{self, number};

pub use crate::feature::{self, global};
pub use crate::spec::flags::Flags;
pub use crate::spec::model::{self, Kernel, Part, Parts, Prediction, Start, Threads, predict, with_implied};
pub use crate::spec::namespaces::{KINDS, Kind, Ns, needs_of, passing};
pub use crate::spec::time::{SECOND, Time, sleep};

/// A raw system call, by its name. Only for arguments that are numbers, strings that live on, or structures on the
/// caller's stack that are valid for this call and live through it.
macro_rules! call {
    ($name:ident $(, $argument:expr)*) => {
        // SAFETY: the arguments are what the macro's users keep to.
        unsafe { harness::abi::syscall!(harness::abi::number::$name $(, $argument)*) }
    };
}
pub(crate) use call;
