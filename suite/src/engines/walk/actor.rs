//! What the tasks of a walk do: each waits for its orders, takes a step or looks at itself, and reports.
//!
//! Tasks share their memory with each other, or what the C library keeps in it: raw system calls and plain memory only.

use super::*;
use crate::observe::fds;
use crate::place::clock::{nanoseconds, nanoseconds_by_vdso};
use crate::place::lock::raw_lock;
use crate::spec::world::{CLOCKS, Descriptors, Dir, FDS, MAPS, OFFSETS, Object, Op, SETTINGS, Setting, TASKS, bit};

/// What the stage and its tasks have in common. Lives in memory that stays shared whatever they call.
#[repr(C)]
pub(super) struct Scene {
    /// What programs that are executed have to know, too.
    pub(super) shared: UnsafeCell<Known>,
    /// The user that [`Op::MapSelf`] maps.
    pub(super) outer: AtomicU32,
    /// How many have come to a [step at the same time](Order::Beside).
    pub(super) gate: AtomicU32,
    pub(super) slots: [Slot; TASKS],
}

/// One task's orders and reports.
#[repr(C)]
pub(super) struct Slot {
    /// Number of the last order.
    pub(super) order: Word,
    /// Number of the last order that was carried out; a task that has just been made reports the first.
    pub(super) report: Word,
    /// 0, a number, or −errno.
    pub(super) result: AtomicI64,
    /// Process and thread ID in the stage's PID namespace.
    pub(super) ids: [AtomicI32; 2],
    /// Which of the stacks it runs on; 0 is the first task's own.
    pub(super) stack: AtomicUsize,
    /// An allocation failed in the last step, as it was to.
    pub(super) starved: AtomicBool,
    /// The process ID, in the PID namespace of who made it.
    pub(super) seen_as: AtomicI32,
    /// What it [saw](Sight) when it looked.
    pub(super) sight: UnsafeCell<Sight>,
    /// Never read before one was given.
    pub(super) order_given: UnsafeCell<Order>,
    pub(super) state: UnsafeCell<State>,
}

// SAFETY: one side at a time touches what is in the cells; the words order them.
unsafe impl Sync for Scene {}

/// What tasks know from the beginning. Plain data, written before there are any.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The world's directories, by [`Dir`], its mount, and where something is mounted on it.
    pub(super) paths: [Path; 5],
    pub(super) semaphore: i32,
    pub(super) observer: Observer,
    /// Which kinds of objects there can be.
    pub(super) objects: [bool; Object::ALL.len()],
}

/// A path, ended as C ends it.
pub(super) type Path = [u8; 256];

/// What a task sees of itself that is no part of its [`State`]. Plain data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// CLOCK_MONOTONIC and CLOCK_BOOTTIME in nanoseconds, each by system call and by the vDSO.
    pub(super) clocks: [[i64; 2]; CLOCKS],
    /// Which [objects](Object) its IPC namespace has, a bit each.
    pub(super) objects: u32,
    /// The [settings](SETTINGS) of its IPC namespace, if it was to look at them.
    pub(super) settings: Option<[i32; SETTINGS.len()]>,
    /// Which of [`FDS`] are open, and close on exec.
    pub(super) descriptors: Descriptors,
}

/// What to do. Plain data.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// To take a step.
    Take(Op),
    /// To take a step at the same time as another task.
    Beside(Op),
    /// To look at itself, and at its settings if they may have changed.
    Look {
        /// They may.
        settings: bool,
    },
}

/// What a task's memory has of all this.
pub(super) struct Script {
    pub(super) scene: &'static Scene,
    pub(super) known: Known,
    /// One more than a world has tasks: a task that is made by fork(2) goes on with its copy of its maker's.
    pub(super) stacks: [Stack; TASKS + 1],
}

/// The socket by which the stage hands descriptors to tasks: a number that they all have.
pub(super) const SOCKET: i32 = fds::SEGMENT;

/// The memory file of the scene, which executed programs map again.
pub(super) const SCENE: i32 = 60;
/// The program.
const PROGRAM: i32 = 59;
/// The file that tasks lock.
pub(super) const LOCKED: i32 = 58;

/// The argument that tells an executed task from a user's call.
const ARGUMENT: &CStr = c"--walk-task";

/// The places of tasks as arguments.
const PLACES: [&CStr; TASKS] = [c"0", c"1", c"2", c"3", c"4", c"5"];

/// Opens the program for tasks to execute.
pub(super) fn open_program(t: &Test) -> Done {
    let file = t.setup(Call::io("open(/proc/self/exe)", File::open("/proc/self/exe")))?;
    t.setup(Call::new("dup3(program)", dup_to(file.as_raw_fd(), PROGRAM, 0)))
}

/// If this process was executed by a task of a walk, goes on as that task. Called first in `main`.
pub fn run_if_executed() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument.as_bytes() != ARGUMENT.to_bytes()) {
        return;
    }
    let at = arguments.next().and_then(|at| at.to_str()?.parse::<usize>().ok()).filter(|at| *at < TASKS);
    // SAFETY: the descriptor was inherited from the task that executed this, whose scene it is. Where it is not open,
    // nothing is mapped.
    let scene = unsafe { map_file::<Scene>(BorrowedFd::borrow_raw(SCENE)) };
    if let (Some(at), Ok(scene)) = (at, scene) {
        let script: &Script = Box::leak(Box::new(Script::of(scene)));
        let slot = &scene.slots[at];
        slot.result.store(0, Ordering::Release);
        serve(script, at, slot.order.get());
    }
    std::process::exit(1);
}

impl Script {
    /// That of a task in new memory.
    pub(super) fn of(scene: &'static Scene) -> Script {
        // SAFETY: it was written before there were tasks, and is only read since.
        let known = unsafe { *scene.shared.get() };
        Script { scene, known, stacks: std::array::from_fn(|_| Stack::default()) }
    }

    fn path(&self, which: usize) -> *const u8 {
        self.known.paths[which].as_ptr()
    }
}

/// Who a task is, for a new one that begins in a function.
#[repr(C)]
pub(super) struct Part {
    pub(super) script: *const Script,
    pub(super) at: usize,
}

/// A task that shares its maker's memory begins here.
extern "C" fn begin(part: *mut c_void) -> c_int {
    // SAFETY: the maker keeps it until this task has reported.
    let Part { script, at } = unsafe { part.cast::<Part>().read() };
    // SAFETY: the script is leaked.
    serve(unsafe { &*script }, at, FIRST)
}

/// The first report of a task that was made.
pub(super) const FIRST: u32 = 1;

/// Serves as the task at a place, until its end, from this report on.
pub(super) fn serve(script: &Script, mut at: usize, first: u32) -> ! {
    enter(script, at, first);
    loop {
        let slot = &script.scene.slots[at];
        let done = slot.report.get();
        slot.order.wait_while(done);
        // SAFETY: it is this task's turn.
        let order = unsafe { *slot.order_given.get() };
        match order {
            Order::Look { settings } => {
                // SAFETY: it is this task's turn.
                unsafe {
                    *slot.state.get() = script.known.observer.state();
                    *slot.sight.get() = look(&script.known, settings);
                }
                slot.report.set(done + 1);
            }
            Order::Take(op) | Order::Beside(op) => {
                if matches!(order, Order::Beside(_)) {
                    meet(&script.scene.gate);
                }
                if op == Op::Exit {
                    slot.report.set(done + 1);
                    let _ = call!(exit, 0);
                }
                let result = take(script, &mut at, op);
                // In a child, `at` is its own place, where it reports what it is.
                if let Some(result) = result {
                    slot.result.store(result, Ordering::Release);
                    slot.report.set(done + 1);
                } else {
                    enter(script, at, FIRST);
                }
            }
        }
    }
}

/// Looks.
fn look(known: &Known, settings: bool) -> Sight {
    let setting = |setting: Setting| {
        let mut text = [0; 16];
        let fd = call!(openat, fds::OBSERVER, setting.file.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC, 0)? as i32;
        let read = call!(read, fd, text.as_mut_ptr(), text.len());
        fds::close(fd);
        let text = &text[..read?];
        let (sign, text) = text.strip_prefix(b"-").map_or((1, text), |text| (-1, text));
        let digits = text.split(|byte: &u8| !byte.is_ascii_digit()).next();
        Ok::<i32, syscalls::Errno>(sign * observe::number(digits.unwrap_or_default(), 10) as i32)
    };
    let mut descriptors = Descriptors::default();
    for fd in FDS {
        if let Some(flags) = fds::flags(fd.into()) {
            descriptors.open |= bit(fd);
            descriptors.closing |= if flags & libc::FD_CLOEXEC as u32 != 0 { bit(fd) } else { 0 };
        }
    }
    Sight {
        clocks: now(),
        objects: objects(known.objects),
        settings: settings.then(|| SETTINGS.map(|one| setting(one).unwrap_or(0))),
        descriptors,
    }
}

/// CLOCK_MONOTONIC and CLOCK_BOOTTIME in nanoseconds, each by system call and as the C library reads it, through the vDSO.
pub(super) fn now() -> [[i64; 2]; CLOCKS] {
    let both = |clock| [nanoseconds(clock), nanoseconds_by_vdso(clock)].map(|now| now.unwrap_or(0));
    [libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME].map(both)
}

/// Which of these kinds of objects the own IPC namespace has, a bit each.
fn objects(which: [bool; Object::ALL.len()]) -> u32 {
    let there = Object::ALL.into_iter().filter(|object| which[*object as usize] && has(*object));
    there.fold(0, |all, object| all | 1 << object as u32)
}

/// Whether the own IPC namespace has an object.
fn has(object: Object) -> bool {
    // Another user's is there, too.
    matches!(find(object), Ok(_) | Err(syscalls::Errno::EACCES))
}

/// Whether IPC namespaces can have such an object, and the own one has none.
pub(super) fn can_be_made(object: Object) -> bool {
    find(object) == Err(syscalls::Errno::ENOENT)
}

/// Finds an object in the own IPC namespace.
fn find(object: Object) -> Result<usize, syscalls::Errno> {
    match object {
        Object::Messages => call!(msgget, Object::KEY, 0),
        Object::Memory => call!(shmget, Object::KEY, 0, 0),
        Object::Queue => call!(mq_open, Object::NAME.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC, 0, 0).inspect(|fd| {
            fds::close(*fd as i32);
        }),
    }
}

/// Makes an object.
fn make_object(object: Object) -> Result<usize, syscalls::Errno> {
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
    match object {
        Object::Messages => call!(msgget, Object::KEY, flags),
        Object::Memory => call!(shmget, Object::KEY, 4096, flags),
        Object::Queue => {
            // SAFETY: zeroes are valid attributes.
            let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
            (attributes.mq_maxmsg, attributes.mq_msgsize) = (1, 1);
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
            let queue = call!(mq_open, Object::NAME.as_ptr(), flags, 0o600, &raw const attributes)?;
            fds::close(queue as i32);
            Ok(0)
        }
    }
    .map(|_| 0)
}

/// Removes an object.
pub(super) fn remove_object(object: Object) -> Result<usize, syscalls::Errno> {
    match object {
        Object::Messages => {
            let queue = call!(msgget, Object::KEY, 0)?;
            call!(msgctl, queue, libc::IPC_RMID, 0)
        }
        Object::Memory => {
            let memory = call!(shmget, Object::KEY, 0, 0)?;
            call!(shmctl, memory, libc::IPC_RMID, 0)
        }
        Object::Queue => call!(mq_unlink, Object::NAME.as_ptr()),
    }
}

/// Waits until two are here, so that their calls overlap; not for ever, since the other one may have no processor.
fn meet(gate: &AtomicU32) {
    const TURNS: u32 = 1 << 14;
    const TURNS_OF_ONE: u32 = 1 << 7;
    gate.fetch_add(1, Ordering::AcqRel);
    for turn in 1..TURNS {
        if gate.load(Ordering::Acquire) >= 2 {
            return;
        }
        if turn % TURNS_OF_ONE == 0 {
            let _ = call!(sched_yield);
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Says that the task is there, and as which process and thread.
fn enter(script: &Script, at: usize, report: u32) {
    let slot = &script.scene.slots[at];
    let mut text = [0u8; 64];
    let read = call!(readlinkat, fds::OBSERVER, c"thread-self".as_ptr(), text.as_mut_ptr(), text.len());
    // It reads PID/task/TID.
    let mut parts = text[..read.unwrap_or(0)].split(|byte| *byte == b'/');
    for (id, part) in slot.ids.iter().zip([parts.next(), parts.nth(1)]) {
        id.store(observe::number(part.unwrap_or_default(), 10) as i32, Ordering::Release);
    }
    slot.report.set(report);
}

fn raw(result: Result<usize, syscalls::Errno>) -> i64 {
    result.map_or_else(|errno| -i64::from(errno.into_raw()), |value| value as i64)
}

/// Takes a step. Gives what the kernel left in the register; nothing in a task that the step has made, whose place is
/// then in `at`.
fn take(script: &Script, at: &mut usize, op: Op) -> Option<i64> {
    let directory = |dir: Dir| script.path(dir as usize);
    let (base, point) = (script.path(3), script.path(4));
    let none = std::ptr::null::<u8>();
    let result = match op {
        Op::Unshare(flags) => return Some(unshare_raw(flags)),
        Op::Starved(flags, nth) => {
            let (register, starved) = unshare_starved(flags, nth);
            script.scene.slots[*at].starved.store(starved, Ordering::Release);
            return Some(register);
        }
        Op::Clone(flags, to) => return make(script, at, flags, to),
        Op::Exec => {
            let arguments =
                [c"unshare-conformance".as_ptr(), ARGUMENT.as_ptr(), PLACES[*at].as_ptr(), std::ptr::null()];
            let environment = [std::ptr::null::<libc::c_char>()];
            let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
            call!(execveat, PROGRAM, path, arguments.as_ptr(), environment.as_ptr(), flags)
        }
        Op::Exit => Ok(0),
        Op::Reap(of) => {
            let pid = script.scene.slots[of].seen_as.load(Ordering::Acquire);
            let gone = call!(wait4, pid, 0, libc::__WALL, 0);
            return Some(raw(gone).min(0));
        }
        Op::Setns(..) => join(Flags::NONE),
        Op::Enter(kinds, _) => join(kinds),
        Op::Chdir(dir) => call!(chdir, directory(dir)),
        Op::Chroot(dir) => call!(chdir, directory(dir)).and_then(|_| call!(chroot, c".".as_ptr())),
        Op::Umask(mask) => {
            let _ = call!(umask, mask);
            Ok(0)
        }
        Op::HostName(name) => {
            let text = [b'w', b'a', b'l', b'k', b'0' + name];
            call!(sethostname, text.as_ptr(), text.len())
        }
        Op::DropSysAdmin => give_up(1 << feature::CAP_SYS_ADMIN),
        Op::DropAll => give_up(u64::MAX),
        Op::BecomeNobody => {
            let id = feature::NOBODY;
            call!(setgroups, 0, 0)
                .and_then(|_| call!(setresgid, id, id, id))
                .and_then(|_| call!(setresuid, id, id, id))
                .and_then(|_| give_up(u64::MAX))
                // The change made /proc/self root's, and kcmp(2) on this task refuse.
                .and_then(|_| call!(prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0))
        }
        Op::NoNewPrivs => call!(prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        Op::MapSelf => {
            let mut text = [0; 24];
            let line = map_line(&mut text, script.scene.outer.load(Ordering::Acquire));
            write(c"self/setgroups", b"deny")
                .and_then(|_| write(c"self/uid_map", line))
                .and_then(|_| write(c"self/gid_map", line))
        }
        Op::Map(which, of) => {
            let pid = script.scene.slots[of].ids[0].load(Ordering::Acquire);
            let [mut users, mut groups] = [[0; 24]; 2];
            let text = MAPS[which].0.as_bytes();
            write(file_of(&mut users, pid, b"/uid_map"), text)
                .and_then(|_| write(file_of(&mut groups, pid, b"/gid_map"), text))
        }
        Op::Setgroups(allow) => write(c"self/setgroups", if allow { b"allow" } else { b"deny" }),
        Op::NoRoot => {
            const SECBIT_NOROOT: u32 = 1;
            call!(prctl, libc::PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0)
        }
        Op::Make(object) => make_object(object),
        Op::Remove(object) => remove_object(object),
        Op::Limit(kind, limit) => {
            let (mut path, mut text) = ([0; 48], [0; 10]);
            let end = digits(&mut text, 0, limit.into());
            write(limit_file(&mut path, kind), &text[..end])
        }
        Op::Take => return Some(take_with_undo(script.known.semaphore).map_or_else(|errno| -(errno as i64), |()| 0)),
        Op::Open(fd, closes) => call!(dup3, 0, fd, if closes { libc::O_CLOEXEC } else { 0 }).map(|_| 0),
        Op::Close(fd) => call!(close, fd),
        Op::Lock => raw_lock(LOCKED, libc::F_SETLK, libc::F_WRLCK).map(|_| 0),
        Op::Unlock => raw_lock(LOCKED, libc::F_SETLK, libc::F_UNLCK).map(|_| 0),
        Op::Propagate(to) => call!(mount, none, base, none, to.flag(), none),
        Op::Mount => {
            call!(mount, c"child".as_ptr(), point, c"tmpfs".as_ptr(), 0, none)
        }
        Op::Unmount => call!(umount2, point, 0),
        Op::Remount(options) => {
            let flags = libc::MS_REMOUNT as u32 | libc::MS_BIND as u32 | options.flags();
            call!(mount, none, base, none, flags, none)
        }
        Op::Offset(which) => write(c"self/timens_offsets", OFFSETS[which].0.as_bytes()),
        Op::Signals => queue_signals(),
        Op::Set(which, value) => {
            let mut text = [0; 10];
            let end = digits(&mut text, 0, value.unsigned_abs().into());
            write(SETTINGS[which].file, &text[..end])
        }
    };
    Some(raw(result))
}

/// Queues two signals to the calling thread, and takes them. Blocks them meanwhile.
pub(super) fn queue_signals() -> Result<usize, syscalls::Errno> {
    const SIGNAL: i32 = 40;
    const COUNT: usize = 2;
    // What the kernel has for a set: a bit for each of 64 signals.
    const SIZE: usize = 8;
    let (set, mut before) = (1u64 << (SIGNAL - 1), 0u64);
    // Its number, no error, and that it was queued; 128 bytes.
    let mut info = [0i32; 32];
    (info[0], info[2]) = (SIGNAL, libc::SI_QUEUE);
    let none = std::ptr::null::<u8>();
    call!(rt_sigprocmask, libc::SIG_BLOCK, &raw const set, &raw mut before, SIZE)?;
    let queued = call!(getpid).and_then(|process| {
        let thread = call!(gettid)?;
        (0..COUNT).try_fold(0, |_, _| call!(rt_tgsigqueueinfo, process, thread, SIGNAL, info.as_ptr()))
    });
    let at_once = [0i64; 2];
    for _ in 0..COUNT {
        let _ = call!(rt_sigtimedwait, &raw const set, none, at_once.as_ptr(), SIZE);
    }
    let _ = call!(rt_sigprocmask, libc::SIG_SETMASK, &raw const before, none, SIZE);
    queued
}

/// unshare(2) with an allocation failing; and whether it came so far. Where the task may not ask for that, it does not.
fn unshare_starved(flags: Flags, nth: u32) -> (i64, bool) {
    let open = || {
        let path = c"thread-self/fail-nth".as_ptr();
        call!(openat, fds::OBSERVER, path, libc::O_RDWR | libc::O_CLOEXEC, 0).map(|fd| fd as i32)
    };
    let disarm = |fd: i32| call!(write, fd, c"0".as_ptr(), 1);
    let mut left = [0u8; 16];
    // What is touched for the first time is touched here. The file is read from its start only once.
    if let Ok(fd) = open() {
        let _ = disarm(fd).and_then(|_| call!(read, fd, left.as_mut_ptr(), left.len()));
        fds::close(fd);
    }
    let Ok(fd) = open() else {
        return (unshare_raw(flags), false);
    };
    let mut text = [0; 10];
    let end = digits(&mut text, 0, nth.into());
    let armed = call!(write, fd, text.as_ptr(), end).is_ok();
    let register = unshare_raw(flags);
    // Where copies to user space can fail as well, this one was the next to.
    let read = call!(read, fd, left.as_mut_ptr(), left.len());
    let reached = read.is_ok_and(|length| length > 0 && left[0] == b'0');
    // Once more for a kernel in which copies from user space fail as well.
    let _ = disarm(fd).or_else(|_| disarm(fd));
    fds::close(fd);
    (register, armed && reached)
}

/// setns(2) with what the stage hands over: to a namespace, or to those of a process of these kinds.
fn join(kinds: Flags) -> Result<usize, syscalls::Errno> {
    let fd = receive()?;
    let result = call!(setns, fd, kinds.0);
    fds::close(fd);
    result
}

/// clone(2). A child that has a copy of the memory goes on here; one that shares it begins on a stack of its own.
fn make(script: &Script, at: &mut usize, flags: Flags, to: usize) -> Option<i64> {
    let slot = &script.scene.slots[to];
    let ending = if flags.contains(Flags::THREAD) { 0 } else { libc::SIGCHLD as u64 };
    let result = if flags.contains(Flags::VM) {
        let part = Part { script, at: to };
        let argument = (&raw const part).cast_mut().cast();
        let stack = &script.stacks[slot.stack.load(Ordering::Acquire)];
        // SAFETY: the stage has chosen a stack that nobody in this memory runs on; the part is read before the report.
        let made = unsafe { libc::clone(begin, stack.top(), (flags.0 | ending) as c_int, argument) };
        if made > 0 {
            slot.report.wait_while(0);
        }
        if made < 0 { -(Errno::last_raw() as i64) } else { made.into() }
    } else {
        // SAFETY: without CLONE_VM; the child keeps to raw calls.
        match unsafe { abi::fork(flags.0 | ending) } {
            Ok(0) => {
                *at = to;
                return None;
            }
            made => raw(made),
        }
    };
    slot.seen_as.store(result as i32, Ordering::Release);
    Some(result.min(0))
}

/// Gives capabilities up: those of this set.
fn give_up(these: u64) -> Result<usize, syscalls::Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let (header, mut sets) = ([VERSION_3, 0], [0u32; 6]);
    call!(capget, header.as_ptr(), sets.as_mut_ptr())?;
    for (half, sets) in sets.chunks_mut(3).enumerate() {
        let keep = !((these >> (32 * half)) as u32);
        // Effective, permitted; nothing stays inheritable.
        (sets[0], sets[1], sets[2]) = (sets[0] & keep, sets[1] & keep, 0);
    }
    call!(capset, header.as_ptr(), sets.as_ptr())
}

/// Writes to a file below /proc.
fn write(path: &CStr, text: &[u8]) -> Result<usize, syscalls::Errno> {
    let fd = call!(openat, fds::OBSERVER, path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC, 0)? as i32;
    let result = call!(write, fd, text.as_ptr(), text.len());
    fds::close(fd);
    result.map(|_| 0)
}

/// `0 ID 1`.
fn map_line(text: &mut [u8; 24], id: u32) -> &[u8] {
    let end = digits(text, 2, id.into());
    text[..2].copy_from_slice(b"0 ");
    text[end..end + 2].copy_from_slice(b" 1");
    &text[..end + 2]
}

/// Writes a number from a place on, and gives the place after it.
fn digits(text: &mut [u8], from: usize, number: u64) -> usize {
    let count = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for digit in text[from..from + count].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    from + count
}

/// A file of a process, below /proc.
fn file_of<'b>(path: &'b mut [u8; 24], pid: i32, name: &[u8]) -> &'b CStr {
    let end = digits(path, 0, pid.unsigned_abs().into());
    path[end..end + name.len()].copy_from_slice(name);
    CStr::from_bytes_until_nul(path).unwrap_or_default()
}

/// The file of a kind's limit, below /proc.
fn limit_file(path: &mut [u8; 48], kind: Flags) -> &CStr {
    const DIRECTORY: &[u8] = b"sys/user/";
    let name = Kind::of(kind).map_or("", |kind| kind.limit).as_bytes();
    path[..DIRECTORY.len()].copy_from_slice(DIRECTORY);
    path[DIRECTORY.len()..DIRECTORY.len() + name.len()].copy_from_slice(name);
    CStr::from_bytes_until_nul(path).unwrap_or_default()
}

/// Room for one descriptor beside a message (SCM_RIGHTS), aligned as the kernel wants it.
#[repr(C, align(8))]
struct Rights {
    bytes: [u8; 64],
}

/// Takes a descriptor from the stage.
fn receive() -> Result<i32, syscalls::Errno> {
    let (mut byte, mut rights) = ([0u8; 1], Rights { bytes: [0; 64] });
    let mut piece = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: zeroes are a valid header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = rights.bytes.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Rights>() as _;
    call!(recvmsg, SOCKET, &raw mut message, libc::MSG_CMSG_CLOEXEC)?;
    // SAFETY: the header and what it points to are live; the kernel has filled in one descriptor, or none.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        if first.is_null() {
            return Err(syscalls::Errno::EBADF);
        }
        Ok(libc::CMSG_DATA(first).cast::<i32>().read_unaligned())
    }
}
