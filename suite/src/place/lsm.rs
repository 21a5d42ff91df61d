//! BPF LSM programs that the suite attaches, with bpf(2) alone. BTF IDs and offsets in structures come from the kernel's
//! type information.

use std::fmt;

use crate::spec::prelude::*;

use crate::observe::nsfd::{inode_of, open_link};

/// The kernel's type information.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// The active security modules.
const MODULES: &str = "/sys/kernel/security/lsm";

/// The function that stands for the hook before a user namespace is made (Linux 6.1).
const USERNS_CREATE: &[u8] = b"bpf_lsm_userns_create";

/// The function that stands for the hook before a capability is granted.
const CAPABLE: &[u8] = b"bpf_lsm_capable";

/// The inode of the initial PID namespace, the same on every kernel (include/linux/proc_ns.h).
const INITIAL_PID_NS: u64 = 0xeffffffc;

const PROG_LOAD: c_int = 5;
const RAW_TRACEPOINT_OPEN: c_int = 17;
const TYPE_LSM: u32 = 29;
const ATTACH_LSM: u32 = 27;
const GET_CURRENT_PID_TGID: i32 = 14;

/// A program at its hook. It is gone when this is dropped, or its process ends.
#[derive(Debug)]
pub struct Hooked {
    _program: OwnedFd,
    _link: OwnedFd,
}

/// One instruction: opcode, registers, offset, immediate.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Instruction {
    code: u8,
    /// The target in the lower half, the source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const CALL: u8 = 0x85;
const EXIT: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };
const JUMP_IF_EQUAL: u8 = 0x15;
const LOAD_32: u8 = 0x61;
const LOAD_64: u8 = 0x79;
const MOVE: u8 = 0xb7;
const SHIFT_RIGHT: u8 = 0x77;

/// On register 0.
const fn instruction(code: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: 0, offset, immediate }
}

/// From where register 1 points to, into register 1.
const fn load_by_1(code: u8, offset: i16) -> Instruction {
    Instruction { code, registers: 0x11, offset, immediate: 0 }
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

fn raw_bpf<T>(command: c_int, attributes: &mut T) -> Result<i64, Errno> {
    let size = size_of::<T>();
    // SAFETY: the attributes, and what they point to, live through the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) as i64 })
}

fn bpf<T>(command: c_int, attributes: &mut T) -> Result<OwnedFd, Errno> {
    let fd = raw_bpf(command, attributes)? as i32;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program that gives `-errno` to the process `pid` and 0 to all others.
fn refusing(pid: u32, errno: Errno) -> [Instruction; 7] {
    [
        instruction(CALL, 0, GET_CURRENT_PID_TGID),
        instruction(SHIFT_RIGHT, 0, 32),
        instruction(JUMP_IF_EQUAL, 2, pid as i32),
        instruction(MOVE, 0, 0),
        EXIT,
        instruction(MOVE, 0, -(errno as i32)),
        EXIT,
    ]
}

/// A program that gives EPERM to credentials in a user namespace that somebody else than root owns, and 0 to all others.
/// `user_ns` and `owner` are where struct cred and struct user_namespace have them.
fn withholding(user_ns: i16, owner: i16) -> [Instruction; 8] {
    [
        // The hook's first argument: the credentials.
        load_by_1(LOAD_64, 0),
        load_by_1(LOAD_64, user_ns),
        load_by_1(LOAD_32, owner),
        Instruction { code: JUMP_IF_EQUAL, registers: 1, offset: 2, immediate: 0 },
        instruction(MOVE, 0, -libc::EPERM),
        EXIT,
        instruction(MOVE, 0, 0),
        EXIT,
    ]
}

/// A BTF type (Documentation/bpf/btf.rst).
struct Type<'a> {
    number: u32,
    /// What its name begins: the rest of all names.
    name: &'a [u8],
    kind: u32,
    /// Members of a structure: three words each.
    members: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Whether a name among all names is this one.
fn is_named(names: &[u8], name: &[u8]) -> bool {
    names.starts_with(name) && names.get(name.len()) == Some(&0)
}

const FUNCTION: u32 = 12;
const STRUCTURE: u32 = 4;

/// All types, and all names.
fn types(file: &[u8]) -> Option<(impl Iterator<Item = Type<'_>>, &[u8])> {
    const HEADER: usize = 24;
    let header = word(file, 4)? as usize;
    if header < HEADER {
        return None;
    }
    let (first, length) = (header + word(file, 8)? as usize, word(file, 12)? as usize);
    let names = file.get(header + word(file, 16)? as usize..)?;
    let (mut at, mut number) = (first, 0);
    let next = move || {
        (at < first + length).then_some(())?;
        let (name_at, info) = (word(file, at)? as usize, word(file, at + 4)?);
        let (kind, members) = (info >> 24 & 0x7f, (info & 0xff_ffff) as usize);
        let rest = match kind {
            // Integers, variables, tags of declarations.
            1 | 14 | 17 => 4,
            3 => 12,
            // Structures, unions, sections, 64-bit enumerations.
            STRUCTURE | 5 | 15 | 19 => 12 * members,
            // Enumerations, parameters of functions.
            6 | 13 => 8 * members,
            _ => 0,
        };
        let members = file.get(at + 12..at + 12 + rest)?;
        at += 12 + rest;
        number += 1;
        Some(Type { number, name: names.get(name_at..)?, kind, members })
    };
    Some((std::iter::from_fn(next), names))
}

/// The BTF ID of a function.
fn find_function(file: &[u8], name: &[u8]) -> Option<u32> {
    let (mut types, _) = types(file)?;
    Some(types.find(|at| at.kind == FUNCTION && is_named(at.name, name))?.number)
}

/// The offset of a structure's member, in bytes.
fn find_member(file: &[u8], structure: &[u8], name: &[u8]) -> Option<i16> {
    let (mut types, names) = types(file)?;
    let found = types.find(|at| at.kind == STRUCTURE && is_named(at.name, structure))?;
    let member = found.members.chunks_exact(12).find(|member| {
        word(member, 0).and_then(|at| names.get(at as usize..)).is_some_and(|names| is_named(names, name))
    })?;
    // The upper byte is the size of a bit field, which neither is.
    i16::try_from((word(member, 8)? & 0xff_ffff) / 8).ok()
}

/// Why a program cannot be attached to a hook, in words.
#[derive(Debug)]
pub enum Without {
    /// The security module "bpf" is not active.
    Module,
    /// The type information does not have what is looked for.
    Type,
    /// This call is refused.
    Call(&'static str, Errno),
}

impl Hooked {
    /// Has the kernel refuse the calling process user namespaces with `errno`.
    ///
    /// # Errors
    /// This kernel has no such hook, or the place does not allow it: the case is skipped.
    pub fn refuse_user_namespaces(t: &Test, errno: Errno) -> Done<Self> {
        if open_link("self", Ns::Pid).and_then(|file| inode_of(&file)) != Ok(INITIAL_PID_NS) {
            return Err(t.skip("not in the initial PID namespace: run outside containers"));
        }
        let hooked = Self::install(USERNS_CREATE, |_| Some(refusing(std::process::id(), errno).into()));
        hooked.map_err(|without| t.skip(without.to_string()))
    }

    /// Has the kernel withhold capabilities from everybody in user namespaces that ordinary users made, as AppArmor does
    /// with `apparmor_restrict_unprivileged_userns`.
    ///
    /// # Errors
    /// This kernel has no such hook, or the place does not allow it.
    pub fn withhold_capabilities() -> Result<Self, Without> {
        Self::install(CAPABLE, |file| {
            let user_ns = find_member(file, b"cred", b"user_ns")?;
            Some(withholding(user_ns, find_member(file, b"user_namespace", b"owner")?).into())
        })
    }

    fn install(hook: &[u8], program: impl Fn(&[u8]) -> Option<Vec<Instruction>>) -> Result<Self, Without> {
        let modules = fs::read_to_string(MODULES).unwrap_or_default();
        if !modules.trim().split(',').any(|module| module == "bpf") {
            return Err(Without::Module);
        }
        let file = fs::read(TYPES).map_err(|_| Without::Type)?;
        let found = find_function(&file, hook).zip(program(&file)).ok_or(Without::Type)?;
        let program = load(found.0, &found.1).map_err(|errno| Without::Call("BPF_PROG_LOAD", errno))?;
        let mut attach = Attach { name: 0, program: program.as_raw_fd() as u32, padding: 0 };
        let link = bpf(RAW_TRACEPOINT_OPEN, &mut attach);
        let link = link.map_err(|errno| Without::Call("BPF_RAW_TRACEPOINT_OPEN", errno))?;
        Ok(Self { _program: program, _link: link })
    }
}

impl fmt::Display for Without {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Without::Module => {
                write!(
                    to,
                    "the security module \"bpf\" is not active ({MODULES}): boot with CONFIG_BPF_LSM and lsm=…,bpf"
                )
            }
            Without::Type => {
                write!(to, "{TYPES} does not have the hook: Linux 6.1 with CONFIG_DEBUG_INFO_BTF")
            }
            Without::Call(command, errno) => {
                write!(to, "bpf({command}) is refused here ({errno:?}): run as root, with CONFIG_BPF_JIT")
            }
        }
    }
}

/// Whether a BPF program is loaded for a hook that may withhold capabilities or refuse user namespaces; nothing without
/// the privilege to ask.
pub fn is_any_hooked() -> Option<bool> {
    const PROG_GET_NEXT_ID: c_int = 11;
    const PROG_GET_FD_BY_ID: c_int = 13;
    const OBJ_GET_INFO_BY_FD: c_int = 15;
    /// Where struct bpf_prog_info has attach_btf_id (Linux 5.18), in words.
    const ATTACHED_TO: usize = 56;
    #[repr(C)]
    struct Info {
        program: u32,
        size: u32,
        address: u64,
    }
    let file = fs::read(TYPES).unwrap_or_default();
    let hooks = [CAPABLE, USERNS_CREATE].map(|name| find_function(&file, name));
    let mut id = 0u32;
    loop {
        let mut ids = [id, 0, 0];
        match raw_bpf(PROG_GET_NEXT_ID, &mut ids) {
            Ok(_) => id = ids[1],
            Err(Errno::ENOENT) => return Some(false),
            Err(_) => return None,
        }
        let program = match bpf(PROG_GET_FD_BY_ID, &mut [id, 0, 0]) {
            Ok(program) => program,
            // Gone by now.
            Err(Errno::ENOENT) => continue,
            Err(_) => return None,
        };
        let mut known = [0u32; ATTACHED_TO + 1];
        let mut info = Info {
            program: program.as_raw_fd() as u32,
            size: size_of_val(&known) as u32,
            address: known.as_mut_ptr() as u64,
        };
        raw_bpf(OBJ_GET_INFO_BY_FD, &mut info).ok()?;
        // Older kernels do not tell the hook.
        let hook = Some(known[ATTACHED_TO]).filter(|hook| *hook != 0);
        if known[0] == TYPE_LSM && (hook.is_none() || hooks.contains(&hook)) {
            return Some(true);
        }
    }
}

fn load(hook: u32, instructions: &[Instruction]) -> Result<OwnedFd, Errno> {
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
    bpf(PROG_LOAD, &mut load)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type information with these types, each with what follows it.
    fn file(entries: &[(u32, u32, usize)], strings: &[u8]) -> Vec<u8> {
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
        let file = file(&entries, strings);
        assert_eq!(find_function(&file, b"hook"), Some(6));
        assert_eq!(find_function(&file, b"hook_more"), Some(4));
        assert_eq!(find_function(&file, b"int"), None);
        assert_eq!(find_function(&file[..40], b"hook"), None);
        assert_eq!(find_function(&[], b"hook"), None);
    }
}
