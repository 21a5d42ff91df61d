//! The sources ask for the architecture, and make calls that some of them lack, in one room only: `harness/src/abi`.

use std::path::{Path, PathBuf};

/// Calls that not every architecture has: newer ones have the call that stands after it alone (asm-generic/unistd.h),
/// s390 and 64-bit powerpc lack semop(2), riscv renameat(2), and on s390
/// clone(2) has another order of arguments and mmap(2) takes a structure.
const NOT_EVERYWHERE: &str = "access alarm arch_prctl chmod chown clone creat dup2 epoll_create epoll_wait eventfd fork \
    futimesat getdents getpgrp getrlimit inotify_init lchown link lstat mkdir mknod mmap open pause pipe poll readlink rename \
    renameat rmdir select semop setrlimit signalfd stat symlink time unlink utime utimes vfork";

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("harness/src/abi") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of raw calls in a line: `call!(NAME`, `Sysno::NAME`, `SYS_NAME`.
fn calls(line: &str) -> impl Iterator<Item = &str> {
    ["call!(", "Sysno::", "SYS_"].into_iter().flat_map(move |before| {
        line.match_indices(before).map(move |(at, _)| {
            let name = &line[at + before.len()..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
            &name[..end]
        })
    })
}

fn objection(line: &str) -> Option<String> {
    if line.contains("target_arch") || line.contains("target_endian") {
        return Some("asks for the architecture".to_owned());
    }
    if line.contains("syscalls::raw") || line.contains("syscalls::syscall") {
        return Some("makes a call past harness::abi::syscall".to_owned());
    }
    let call = calls(line).find(|call| NOT_EVERYWHERE.split_ascii_whitespace().any(|name| name == *call))?;
    Some(format!("makes the call {call}, which not every architecture has"))
}

#[test]
fn only_one_room_knows_architectures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut files = Vec::new();
    for directory in ["harness/src", "suite/src"] {
        sources(&root.join(directory), &mut files);
    }
    assert!(files.len() > 100);
    let mut objections = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text");
        for (number, line) in text.lines().enumerate() {
            if let Some(objection) = objection(line) {
                objections.push(format!("{}:{} {objection}", path.display(), number + 1));
            }
        }
    }
    assert!(objections.is_empty(), "put this into harness/src/abi:\n{}", objections.join("\n"));
}

#[test]
fn what_is_meant_is_noticed() {
    let noticed = ["call!(open, path)", "let n = Sysno::dup2;", "libc::SYS_fork,", "#[cfg(target_arch = \"arm\")]"];
    assert!(noticed.iter().all(|line| objection(line).is_some()));
    let allowed = ["call!(openat, path)", "libc::SYS_clone3", "fn open(path: &CStr)", "call!(dup3, 0, 1, 0)"];
    assert_eq!(allowed.map(objection), [None, None, None, None]);
}
