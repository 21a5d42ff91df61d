//! A security module of the case's own: a BPF program at the hook that is asked before a user
//! namespace is made (Linux 6.1), which refuses one process and nobody else.
//!
//! It is made of bpf(2) alone: where the hook is, the kernel tells by its type information.

use crate::spec::prelude::*;

use crate::observe::nsfd::{inode_of, open_link};

/// The kernel's type information.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// The function that stands for the hook.
const HOOK: &[u8] = b"bpf_lsm_userns_create";

/// The inode of the initial PID namespace, the same on every kernel (include/linux/proc_ns.h).
const INITIAL_PID_NS: u64 = 0xeffffffc;

const PROG_LOAD: c_int = 5;
const RAW_TRACEPOINT_OPEN: c_int = 17;
const TYPE_LSM: u32 = 29;
const ATTACH_LSM: u32 = 27;
const GET_CURRENT_PID_TGID: i32 = 14;

/// The program at its hook. It is gone when this is dropped, or its process ends.
#[derive(Debug)]
pub struct Refusal {
    _program: OwnedFd,
    _link: OwnedFd,
}

/// One instruction: opcode, registers, offset, immediate.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, offset: i16, immediate: i32) -> Instruction {
    // Register 0 is the only one used.
    Instruction { code, registers: 0, offset, immediate }
}

/// What bpf(2) takes to load a program, up to the last field that is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log: [u64; 2],
    kernel_and_flags: [u32; 2],
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    types: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
    lines: u64,
    line_count: u32,
    attach_to: u32,
}

/// What it takes to attach one.
#[repr(C)]
struct Attach {
    name: u64,
    program: u32,
    padding: u32,
}

fn bpf<T>(command: c_int, attributes: &T) -> Result<OwnedFd, Errno> {
    let size = size_of::<T>();
    // SAFETY: the attributes, and what they point to, live through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    let fd = Errno::result(fd)? as i32;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program that gives `-errno` to the process `pid` and 0 to all others.
fn program(pid: u32, errno: Errno) -> [Instruction; 7] {
    const CALL: u8 = 0x85;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_IF_EQUAL: u8 = 0x15;
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    [
        instruction(CALL, 0, GET_CURRENT_PID_TGID),
        instruction(SHIFT_RIGHT, 0, 32),
        instruction(JUMP_IF_EQUAL, 2, pid as i32),
        instruction(MOVE, 0, 0),
        instruction(EXIT, 0, 0),
        instruction(MOVE, 0, -(errno as i32)),
        instruction(EXIT, 0, 0),
    ]
}

/// The number of a function in the kernel's type information (Documentation/bpf/btf.rst).
fn find_function(types: &[u8], name: &[u8]) -> Option<u32> {
    const HEADER: usize = 24;
    const FUNCTION: u32 = 12;
    let word = |at: usize| {
        let bytes = types.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let header = word(4)? as usize;
    if header < HEADER {
        return None;
    }
    let (first, length) = (header + word(8)? as usize, word(12)? as usize);
    let strings = header + word(16)? as usize;
    let mut at = first;
    let mut number = 1;
    while at < first + length {
        let (name_at, info) = (word(at)? as usize, word(at + 4)?);
        let (kind, members) = (info >> 24 & 0x7f, (info & 0xff_ffff) as usize);
        if kind == FUNCTION {
            let text = types.get(strings + name_at..)?;
            if text.starts_with(name) && text.get(name.len()) == Some(&0) {
                return Some(number);
            }
        }
        let rest = match kind {
            // Integers, variables, tags of declarations.
            1 | 14 | 17 => 4,
            3 => 12,
            // Structures, unions, sections, 64-bit enumerations.
            4 | 5 | 15 | 19 => 12 * members,
            // Enumerations, parameters of functions.
            6 | 13 => 8 * members,
            _ => 0,
        };
        at += 12 + rest;
        number += 1;
    }
    None
}

impl Refusal {
    /// Has the kernel refuse the calling process user namespaces with `errno`.
    ///
    /// # Errors
    /// This kernel has no such hook, or the place does not allow it: the case is skipped.
    pub fn install(t: &Test, errno: Errno) -> Done<Self> {
        const MODULES: &str = "/sys/kernel/security/lsm";
        let modules = fs::read_to_string(MODULES).unwrap_or_default();
        if !modules.trim().split(',').any(|module| module == "bpf") {
            return Err(t.skip(format!(
                "the security module \"bpf\" is not active ({MODULES}): boot with CONFIG_BPF_LSM \
                 and lsm=…,bpf"
            )));
        }
        if open_link("self", Ns::Pid).and_then(|file| inode_of(&file)) != Ok(INITIAL_PID_NS) {
            return Err(t.skip("not in the initial PID namespace: run outside containers"));
        }
        let hook = fs::read(TYPES).ok().and_then(|types| find_function(&types, HOOK));
        let Some(hook) = hook else {
            return Err(
                t.skip(format!("{TYPES} knows no hook for user namespaces: Linux 6.1 with CONFIG_DEBUG_INFO_BTF"))
            );
        };
        let refused = |what: &str, errno: Errno| {
            t.skip(format!("{what} is refused here ({errno:?}): run as root, with CONFIG_BPF_JIT"))
        };
        let program = load(hook, errno).map_err(|errno| refused("bpf(BPF_PROG_LOAD)", errno))?;
        let attach = Attach { name: 0, program: program.as_raw_fd() as u32, padding: 0 };
        let link = bpf(RAW_TRACEPOINT_OPEN, &attach).map_err(|errno| refused("bpf(BPF_RAW_TRACEPOINT_OPEN)", errno))?;
        Ok(Self { _program: program, _link: link })
    }
}

fn load(hook: u32, errno: Errno) -> Result<OwnedFd, Errno> {
    let instructions = program(std::process::id(), errno);
    let mut load = Load {
        kind: TYPE_LSM,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        licence: c"Dual MIT/GPL".as_ptr() as u64,
        attach_type: ATTACH_LSM,
        attach_to: hook,
        ..Load::default()
    };
    load.name[..12].copy_from_slice(b"unshare_conf");
    bpf(PROG_LOAD, &load)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type information with these types, each with what follows it.
    fn types(entries: &[(u32, u32, usize)], strings: &[u8]) -> Vec<u8> {
        let body: Vec<u8> = entries
            .iter()
            .flat_map(|(name, info, rest)| {
                let mut entry = Vec::new();
                for word in [*name, *info, 0] {
                    entry.extend(word.to_le_bytes());
                }
                entry.extend(std::iter::repeat_n(0xff, *rest));
                entry
            })
            .collect();
        let length = body.len() as u32;
        let mut file = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, strings.len() as u32] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(body);
        file.extend(strings);
        file
    }

    #[test]
    fn a_function_is_found_behind_types_of_every_size() {
        let strings = b"\0int\0hook\0hook_more\0";
        let entries = [
            (1, 1 << 24, 4),
            (5, 4 << 24 | 2, 24),
            (0, 13 << 24 | 3, 24),
            (10, 12 << 24, 0),
            (0, 19 << 24 | 1, 12),
            (5, 12 << 24 | 1, 0),
        ];
        let file = types(&entries, strings);
        assert_eq!(find_function(&file, b"hook"), Some(6));
        assert_eq!(find_function(&file, b"hook_more"), Some(4));
        assert_eq!(find_function(&file, b"int"), None);
        assert_eq!(find_function(&file[..40], b"hook"), None);
        assert_eq!(find_function(&[], b"hook"), None);
    }
}
