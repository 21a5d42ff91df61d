//! Whether the kernel lacks what a step of set-up asks for, as a control shows that makes the same request and does not
//! use unshare(2). A kernel that is no Linux may lack much that Linux has had for decades.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::place::refused::in_child;
use crate::spec::prelude::Flags;

/// A request that steps make: words of theirs, what it is called, and the same request as a control.
struct Request {
    words: &'static [&'static str],
    name: &'static str,
    control: fn() -> Result<(), Errno>,
}

const REQUESTS: [Request; 9] = [
    Request {
        words: &["PR_SET_CHILD_SUBREAPER"],
        name: "prctl(PR_SET_CHILD_SUBREAPER)",
        control: || {
            prctl([libc::PR_SET_CHILD_SUBREAPER, 1, 0]).and_then(|()| prctl([libc::PR_SET_CHILD_SUBREAPER, 0, 0]))
        },
    },
    Request {
        words: &["PR_SET_SECUREBITS"],
        name: "prctl(PR_SET_SECUREBITS)",
        control: || prctl([libc::PR_SET_SECUREBITS, 0, 0]),
    },
    Request {
        words: &["PR_CAP_AMBIENT"],
        name: "prctl(PR_CAP_AMBIENT)",
        control: || prctl([libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0]),
    },
    Request { words: &["PR_SET_SECCOMP, SECCOMP_MODE_STRICT"], name: "seccomp's strict mode", control: strict_mode },
    Request {
        words: &["NEW_LISTENER"],
        name: "SECCOMP_FILTER_FLAG_NEW_LISTENER",
        control: || {
            const MODE_FILTER: usize = 1;
            const NEW_LISTENER: usize = 8;
            // SAFETY: there is no filter at the null pointer: a kernel that knows the flag says EFAULT.
            let result = unsafe { libc::syscall(libc::SYS_seccomp, MODE_FILTER, NEW_LISTENER, 0usize) };
            match Errno::result(result) {
                Ok(_) | Err(Errno::EFAULT) => Ok(()),
                Err(errno) => Err(errno),
            }
        },
    },
    Request {
        words: &["personality("],
        name: "personality(ADDR_NO_RANDOMIZE)",
        // SAFETY: takes a number; the child that asks ends.
        control: || Errno::result(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) }).map(drop),
    },
    Request { words: &["lock of the open file"], name: "locks of open files (F_OFD_SETLK)", control: open_file_lock },
    Request {
        words: &["close_range(all)"],
        name: "a close_range(2) that takes the highest number",
        control: || {
            const NONE_OPEN: usize = 1 << 30;
            // SAFETY: closes nothing: no descriptor has such a number, or one above.
            let result = unsafe { libc::syscall(libc::SYS_close_range, NONE_OPEN, u32::MAX as usize, 0usize) };
            Errno::result(result).map(drop)
        },
    },
    Request { words: &["waitid()"], name: "a waitid(2) that tells of stopped tracees", control: wait_for_a_tracee },
];

/// Why the kernel answers a step of set-up like this to everybody; none if a control gets another answer.
pub fn request(call: &str, errno: Errno) -> Option<String> {
    // gVisor says EACCES where it would have to make the file.
    if matches!(errno, Errno::ENOENT | Errno::EACCES) {
        return missing_file(call);
    }
    let lacks = matches!(errno, Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT);
    let has = |request: &&Request| request.words.iter().any(|word| call.contains(word));
    let (name, answer) = match REQUESTS.iter().filter(|_| lacks).find(has) {
        Some(request) => (request.name, in_child(Flags::NONE, request.control)),
        None if lacks && call.starts_with("io_uring_setup(") => {
            ("such rings of io_uring", in_child(Flags::NONE, || io_uring(call)))
        }
        None => return None,
    };
    (answer == Some(Err(errno))).then(|| format!("this kernel lacks {name} ({errno:?})"))
}

/// Files of /proc that a step names, fully or by the last part, and that the supervisor does not find either. A path in
/// which the step writes PID or TID for a number, or leaves something out, names no file.
fn missing_file(call: &str) -> Option<String> {
    let is_whole = |path: &&str| !path.contains('…') && !path.split('/').any(|part| matches!(part, "PID" | "TID"));
    let words = call.split([' ', '(', ')', ',', '"', ':']);
    let named = words.filter(|word| word.starts_with("/proc/")).filter(is_whole).map(str::to_owned);
    let of_task = ["projid_map", "setgroups"].into_iter().filter(|file| call.contains(file));
    let mut files = named.chain(of_task.map(|file| format!("/proc/self/{file}")));
    let missing = files.find(|path| Path::new(path).try_exists().is_ok_and(|there| !there))?;
    Some(format!("this kernel has no {missing}"))
}

fn prctl([option, one, two]: [i32; 3]) -> Result<(), Errno> {
    // SAFETY: these take numbers.
    Errno::result(unsafe { libc::prctl(option, one, two, 0, 0) }).map(drop)
}

fn strict_mode() -> Result<(), Errno> {
    prctl([libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT as i32, 0])?;
    // SAFETY: the one call that the mode still allows.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}

fn open_file_lock() -> Result<(), Errno> {
    let file = std::fs::File::open("/proc/self/exe").map_err(|_| Errno::EIO)?;
    let mut lock =
        libc::flock { l_type: libc::F_RDLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock))?;
    lock.l_type = libc::F_UNLCK as i16;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}

fn wait_for_a_tracee() -> Result<(), Errno> {
    // SAFETY: the process is single-threaded.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            // SAFETY: ends the child without destructors.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            let look = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
            let looked = waitid(Id::Pid(child), look).map(drop);
            let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
            let _ = waitpid(child, Some(WaitPidFlag::__WALL));
            looked
        }
    }
}

/// The ring that the step names by its flags: `io_uring_setup(1, 0x2)`.
fn io_uring(call: &str) -> Result<(), Errno> {
    let flags = call.split_once("0x").and_then(|(_, hex)| u32::from_str_radix(hex.trim_end_matches(')'), 16).ok());
    // struct io_uring_params of linux/io_uring.h, whose third word has the flags.
    let mut parameters = [0u32; 30];
    parameters[2] = flags.unwrap_or(0);
    // SAFETY: the parameters live through the call and have the structure's size; the child that asks ends.
    Errno::result(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1usize, parameters.as_mut_ptr()) }).map(drop)
}
