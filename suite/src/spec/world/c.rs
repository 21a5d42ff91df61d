//! A history as a C program that needs nothing but the C library: for whoever works on the kernel.
//!
//! Its tasks take their steps in turn, as those of a stage do. Then the program compares what differed, and nothing
//! else. What has another number on each machine, such as a namespace, is compared with what it must be the same as, or
//! with all that it must be another than.

use std::fmt::Write as _;

use crate::spec::prelude::*;
use crate::spec::world::{Content, Dir, FULL, Id, Mount, Mounted, Op, SEMAPHORE, TASKS, Value, What, Where, World};

/// What programs are put together from.
const PIECES: &str = include_str!("reproducer.c");

/// Numbers of what is no step of the history.
const LOOKS: usize = 1001;

/// A history, and what of it differs from the model after its last step.
#[derive(Clone, Debug)]
pub struct Reproducer {
    steps: Vec<(usize, Op)>,
    /// The world before each step, and after the last.
    worlds: Vec<World>,
    /// What each step must give.
    results: Vec<Result<(), Errno>>,
    what: What,
}

impl Reproducer {
    /// Plays the steps, each of which can be taken, in the model.
    pub fn new(start: &World, steps: &[(usize, Op)], what: What) -> Self {
        let (mut worlds, mut results) = (vec![start.clone()], Vec::new());
        let mut world = start.clone();
        for (at, op) in steps {
            results.push(world.step(*at, op).result);
            worlds.push(world.clone());
        }
        Self { steps: steps.to_vec(), worlds, results, what }
    }

    /// The program; none of a history that executes programs itself. `about` stands at its top.
    pub fn program(&self, about: &str) -> Option<String> {
        if self.steps.iter().any(|(_, op)| *op == Op::Exec) {
            return None;
        }
        let mut program = Program { of: self, pieces: BTreeSet::new(), notes: BTreeMap::new(), looks: Vec::new() };
        Some(program.write(about))
    }

    /// Whether it is another history if the first task has all capabilities.
    fn depends_on_caps(&self) -> bool {
        let of_caps = matches!(
            self.what,
            What::Value(Value::Effective | Value::Permitted, _) | What::Other(Part::Capabilities, _)
        );
        let mut world = self.worlds[0].clone();
        if let Some(task) = &mut world.tasks[0] {
            task.caps = FULL;
        }
        of_caps || Reproducer::new(&world, &self.steps, self.what).results != self.results
    }

    fn after(&self) -> &World {
        &self.worlds[self.steps.len()]
    }
}

/// A program in the making.
struct Program<'r> {
    of: &'r Reproducer,
    pieces: BTreeSet<&'static str>,
    /// What the main process notes after so many steps.
    notes: BTreeMap<usize, Vec<String>>,
    /// Where tasks look at themselves: after how many steps, which task, at what.
    looks: Vec<(usize, usize, String)>,
}

impl Program<'_> {
    fn write(&mut self, about: &str) -> String {
        for piece in ["steps", "tasks", "play_to", "differs"] {
            self.uses(piece);
        }
        let steps = self.of.steps.len();
        let calls: Vec<String> = (0..steps).map(|number| self.step(number)).collect();
        let checks = self.checks();
        let (set_up, main) = (self.set_up(), self.main(&checks));
        let mut play = String::new();
        for number in 0..=steps {
            for (look, (_, at, what)) in self.looks.iter().enumerate().filter(|(_, (after, ..))| *after == number) {
                let _ = writeln!(play, "\tLOOK({}, {at}, {what});", LOOKS + look);
            }
            play.extend(calls.get(number).cloned());
        }
        let pieces = pieces();
        let mut needed = self.pieces.clone();
        while let Some(more) = pieces
            .iter()
            .filter(|piece| needed.contains(piece.name))
            .flat_map(|piece| piece.uses.iter().copied())
            .find(|name| !needed.contains(name))
        {
            needed.insert(more);
        }
        let mut includes = BTreeSet::from(["<fcntl.h>", "<sys/mman.h>", "<sys/mount.h>", "<sys/prctl.h>"]);
        includes.extend(["<sys/stat.h>", "<sys/syscall.h>"]);
        let mut body = String::new();
        for piece in pieces.iter().filter(|piece| needed.contains(piece.name)) {
            includes.extend(&piece.includes);
            if piece.name == "tasks" {
                body.push_str(&set_up);
            }
            body.push_str(&piece.text);
        }
        let remove = if needed.contains("semaphore") { "\tsemctl(semaphore, 0, IPC_RMID);\n" } else { "" };
        let body = body.replace("\tREMOVE_SEMAPHORE\n", remove);

        let mut text = String::from("/*\n");
        let taken = self.of.steps.iter().enumerate();
        let taken = taken.map(|(number, (at, op))| format!("{}. task {at}: {op}", number + 1));
        for line in about.lines().map(str::to_owned).chain(["".to_owned()]).chain(taken) {
            let _ = writeln!(text, "{}", format!(" * {}", line.replace("*/", "* /")).trim_end());
        }
        text.push_str(
            " *\n * Run it as root, or as the init of a guest. It exits with 0 if the kernel conforms, 1 if it\n",
        );
        text.push_str(" * differs, 2 if that was not found out.\n */\n#define _GNU_SOURCE\n");
        for include in includes {
            let _ = writeln!(text, "#include {include}");
        }
        text.push('\n');
        for (flag, name) in [(Flags::NEWTIME, "CLONE_NEWTIME"), (Flags::EMPTY, "UNSHARE_EMPTY_MNTNS")] {
            if calls.iter().any(|call| call.contains(name)) {
                let _ = writeln!(text, "#ifndef {name}\n#define {name} {:#x}\n#endif", flag.0);
            }
        }
        let _ = writeln!(text, "#define TASKS {TASKS}\n#define STEPS {steps}");
        text.push_str(&body);
        let _ = write!(text, "\n/* The history: each task takes its own steps, from the one on that made it. */\n");
        let _ = write!(text, "static void play(int me, int born)\n{{\n{play}}}\n{main}");
        text
    }

    fn uses(&mut self, piece: &'static str) {
        self.pieces.insert(piece);
    }

    /// A step of the history, by its number from 0.
    fn step(&mut self, number: usize) -> String {
        let (at, op) = self.of.steps[number];
        let shown = number + 1;
        let mut comment = String::new();
        let call = match op {
            // There is no program of such a history.
            Op::Exec => String::new(),
            Op::Exit => {
                self.uses("exit");
                return format!("\tEXIT({shown}, {at});\n");
            }
            Op::Unshare(flags) if flags.0 > i32::MAX as u64 => format!("syscall(SYS_unshare, {:#x}UL)", flags.0),
            Op::Unshare(flags) => format!("unshare({})", flags_in_c(flags)),
            Op::Clone(flags, to) => {
                let flags = match (flags, flags.contains(Flags::THREAD)) {
                    (flags, true) => flags_in_c(flags),
                    (Flags::NONE, false) => "SIGCHLD".to_owned(),
                    (flags, false) => format!("{} | SIGCHLD", flags_in_c(flags)),
                };
                format!("make({to}, {shown}, {flags})")
            }
            Op::Reap(of) => {
                self.uses("reap");
                format!("reap({of})")
            }
            Op::Setns(ns, of) => {
                self.uses("hand_over");
                comment = format!("\t/* ns/{} of task {of} */\n", ns.link());
                "setns_and_close(receive(), 0)".to_owned()
            }
            Op::Enter(flags, of) => {
                self.uses("hand_over_process");
                comment = format!("\t/* a descriptor of task {of} */\n");
                format!("setns_and_close(receive(), {})", flags_in_c(flags))
            }
            Op::Chdir(dir) => format!("chdir({})", directory(dir)),
            Op::Chroot(dir) => format!("chdir({}) ?: chroot(\".\")", directory(dir)),
            Op::Umask(mask) => format!("umask({mask:#05o})").replace("0o", "0"),
            Op::HostName(name) => format!("sethostname(\"walk{name}\", 5)"),
            Op::DropSysAdmin => {
                self.uses("give_up");
                "give_up(1ULL << CAP_SYS_ADMIN)".to_owned()
            }
            Op::DropAll => {
                self.uses("give_up");
                "give_up(~0ULL)".to_owned()
            }
            Op::BecomeNobody => {
                self.uses("become_nobody");
                "become_nobody()".to_owned()
            }
            Op::NoNewPrivs => "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)".to_owned(),
            Op::MapSelf => {
                self.uses("map_self");
                let world = &self.of.worlds[number];
                format!("map_self({})", world.task(at).map_or(0, |task| world.outer(task)))
            }
            Op::Limit(kind, limit) => {
                self.uses("write_file");
                let name = Kind::of(kind).map_or("", |kind| kind.limit);
                format!("write_file(\"sys/user/{name}\", \"{limit}\")")
            }
            Op::Take => {
                self.uses("semaphore");
                "semop(semaphore, &(struct sembuf){ 0, -1, SEM_UNDO | IPC_NOWAIT }, 1)".to_owned()
            }
            Op::Open(fd) => {
                self.uses("no_descriptors");
                format!("dup3(0, {fd}, 0)")
            }
            Op::Close(fd) => {
                self.uses("no_descriptors");
                format!("close({fd})")
            }
            Op::Lock | Op::Unlock => {
                self.uses("lock");
                let kind = if op == Op::Lock { "F_WRLCK" } else { "F_UNLCK" };
                format!("fcntl(lock_fd, F_SETLK, &(struct flock){{ .l_type = {kind} }})")
            }
            Op::Propagate(to) => format!("mount(NULL, base, NULL, {}, NULL)", to.name()),
            Op::Mount => "mount(\"child\", dir_m, \"tmpfs\", 0, NULL)".to_owned(),
            Op::Unmount => "umount2(dir_m, 0)".to_owned(),
            Op::Offset(seconds) => {
                self.uses("write_file");
                format!("write_file(\"self/timens_offsets\", \"monotonic {seconds} 0\")")
            }
        };
        let expected = self.of.results[number].map_or_else(|errno| format!("-{errno:?}"), |()| "0".to_owned());
        format!("{comment}\tSTEP({shown}, {at}, {call}, {expected});\n")
    }

    /// What the first task does before its first step.
    fn set_up(&mut self) -> String {
        let mut text = beginning("set_up");
        if self.pieces.contains("no_descriptors") {
            text.push_str("\tno_descriptors();\n");
        }
        // Up to CAP_CHECKPOINT_RESTORE, the last one.
        const ALL: u64 = (1 << 41) - 1;
        let first = self.of.worlds[0].task(0).map_or(0, |task| task.caps.effective);
        let missing = ALL & !first;
        if missing != 0 && self.of.depends_on_caps() {
            self.uses("give_up");
            let _ = writeln!(text, "\t/* Where the history was found, tasks do not have these. */");
            let _ = writeln!(text, "\tif (give_up({missing:#x}ULL))\n\t\tfail(\"capset\");");
        }
        text + "}\n"
    }

    /// The main process: it has the steps taken, notes what `checks` compare, and compares.
    fn main(&self, checks: &str) -> String {
        let mut text = beginning("main");
        if self.pieces.contains("semaphore") {
            let _ = write!(
                text,
                "\tsemaphore = semget(IPC_PRIVATE, 1, 0666);\n\
                 \tif (semctl(semaphore, 0, SETVAL, (union semun){{ .val = {SEMAPHORE} }}))\n\t\tfail(\"semctl\");\n"
            );
        }
        if self.pieces.contains("lock") {
            text.push_str("\tlock_fd = memfd_create(\"lock\", 0);\n\tif (lock_fd < 0)\n\t\tfail(\"memfd_create\");\n");
        }
        if self.pieces.contains("hand_over") || self.pieces.contains("hand_over_process") {
            text.push_str(
                "\tif (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sockets))\n\t\tfail(\"socketpair\");\n",
            );
        }
        let names = self.of.steps.iter().any(|(_, op)| matches!(op, Op::HostName(_)));
        let flags = if names { "CLONE_NEWNS | CLONE_NEWUTS" } else { "CLONE_NEWNS" };
        let _ = writeln!(text, "\tif (make(0, 0, {flags} | SIGCHLD) < 0)\n\t\tfail(\"clone(CLONE_NEWNS)\");\n");
        let mut played = 0;
        let mut play_to = |text: &mut String, step: usize| {
            if step > played {
                let _ = writeln!(text, "\tplay_to({step});");
                played = step;
            }
        };
        for step in 0..=self.of.steps.len() {
            if let Some(notes) = self.notes.get(&step) {
                play_to(&mut text, step);
                text.extend(notes.iter().map(|note| format!("\t{note}\n")));
            }
            match self.of.steps.get(step) {
                Some((_, Op::Setns(ns, of))) => {
                    play_to(&mut text, step);
                    let _ = writeln!(text, "\thand_over({of}, \"{}\");", ns.link());
                }
                Some((_, Op::Enter(_, of))) => {
                    play_to(&mut text, step);
                    let _ = writeln!(text, "\thand_over_process({of});");
                }
                Some((at, Op::Exit)) => {
                    play_to(&mut text, step + 1);
                    let _ = writeln!(text, "\twait_end({at});");
                }
                _ => {}
            }
        }
        play_to(&mut text, self.of.steps.len());
        let _ = write!(text, "{checks}\tif (!differs)\n\t\tputs(\"{}: as expected\");\n", told(self.of.what));
        text + "\tfinish(differs);\n}\n"
    }

    /// Has something noted after so many steps.
    fn note(&mut self, steps: usize, note: impl Into<String>) {
        self.notes.entry(steps).or_default().push(note.into());
    }

    /// Has a task look at itself after so many steps. Gives the statement by which the main process asks for it.
    fn look(&mut self, steps: usize, at: usize, piece: &'static str, what: impl Into<String>) -> String {
        self.uses("look");
        self.uses(piece);
        self.looks.push((steps, at, what.into()));
        format!("answers({})", LOOKS + self.looks.len() - 1)
    }

    /// Compares what differed.
    fn checks(&mut self) -> String {
        let (of, steps) = (self.of, self.of.steps.len());
        let (what, after) = (told(of.what), of.after());
        if of.steps.iter().any(|(_, op)| *op == Op::Exit) {
            self.uses("wait_end");
        }
        match of.what {
            // Has been compared when it was taken.
            What::Result(..) => String::new(),
            What::End(at) => {
                let answers = self.look(steps, at, "look", "");
                format!(
                    "\tif (!{answers}) {{\n\t\tprintf(\"{what}: expected that it goes on, got no answer\\n\");\n\
                     \t\tdiffers = 1;\n\t}}\n"
                )
            }
            What::Link(ns, at) => {
                self.uses("ns");
                let Some(task) = after.task(at) else { return String::new() };
                let got = read_link(ns, at);
                let check = self.identity(&what, task.space(ns), &got, |world| links(world, ns));
                if is_empty(after, task.space(ns)) && ns == Ns::PidForChildren {
                    format!("\tif ({got}) {{\n{check}\t}}\n")
                } else {
                    check
                }
            }
            What::Place(place, at) => self.place(&what, place, at),
            What::Mount(place, at) => {
                self.uses("mount_of");
                let Some(task) = after.task(at) else { return String::new() };
                let key = (task.space(Ns::Mnt), dir_of(after, at, place) != Dir::Top);
                self.identity(&what, key, &format!("mount_of({at}, \"{}\")", place.link()), mounts)
            }
            What::Value(value, at) => self.value(&what, value, at),
            What::Other(part, at) => self.other(&what, part, at),
            What::Shared(flag, a, b) => {
                self.uses("is_shared");
                self.uses("text");
                let (Some(one), Some(other)) = (after.task(a), after.task(b)) else { return String::new() };
                let (kind, shared) = match flag {
                    Flags::VM => ("KCMP_VM", one.vm == other.vm),
                    Flags::FS => ("KCMP_FS", one.fs == other.fs),
                    Flags::FILES => ("KCMP_FILES", one.files == other.files),
                    Flags::SIGHAND => ("KCMP_SIGHAND", one.handlers == other.handlers),
                    _ => ("KCMP_SYSVSEM", one.undo == other.undo),
                };
                let word = if shared { "shared" } else { "apart" };
                format!("\texpect_text(\"{what}\", \"{word}\", is_shared({kind}, {a}, {b}));\n")
            }
            What::There(mounted, at) => {
                self.uses("propagation");
                self.uses("same");
                let there = i32::from(mount_in(after, at, mounted).is_some());
                format!("\texpect_same(\"{what}\", {there}, {}.is_there);\n", read_mount(at, mounted))
            }
            What::Propagation(mounted, at) => self.propagation(&what, mounted, at),
            What::Semaphore => {
                self.uses("semaphore");
                self.uses("same");
                format!("\texpect_same(\"{what}\", {}, semctl(semaphore, 0, GETVAL));\n", after.semaphore)
            }
            What::Lock => {
                self.uses("lock");
                self.uses("is_locked");
                self.uses("same");
                format!("\texpect_same(\"{what}\", {}, is_locked());\n", i32::from(after.lock.is_some()))
            }
            What::Owner(ns, at) | What::Parent(ns, at) => {
                let Some(task) = after.task(at) else { return String::new() };
                let space = &after.spaces[&task.space(ns)];
                let (id, request) = match of.what {
                    What::Parent(Ns::User, _) => (space.owner, "NS_GET_PARENT"),
                    What::Parent(..) => (space.parent, "NS_GET_PARENT"),
                    _ => (space.owner, "NS_GET_USERNS"),
                };
                let kind = if request == "NS_GET_USERNS" { Ns::User } else { ns };
                self.uses("ns");
                self.uses("related");
                let got = format!("related({at}, \"{}\", {request})", ns.link());
                self.identity(&what, id, &got, |world| links(world, kind))
            }
            What::Maps(at) => {
                self.uses("maps");
                self.uses("text");
                let Some(task) = after.task(at) else { return String::new() };
                let space = &after.spaces[&task.space(Ns::User)];
                let Content::User { mapped, denied, .. } = space.content else { return String::new() };
                let map = if mapped { format!("0 {} 1", space.maker) } else { String::new() };
                let denies = match denied {
                    Some(true) => "\"deny\"",
                    Some(false) => "\"allow\"",
                    None => "NULL",
                };
                format!(
                    "\tchar expected[256], got[256];\n\n\texpected_maps(expected, \"{map}\", {denies}, {});\n\
                     \tmaps(got, {at});\n\texpect_text(\"{what}\", expected, got);\n",
                    space.maker
                )
            }
            What::Offset(at) => {
                self.uses("offset");
                self.uses("text");
                let later = after.task(at).map(|task| &after.spaces[&task.space(Ns::TimeForChildren)].content);
                let Some(Content::Time { offset, .. }) = later else { return String::new() };
                format!("\tchar got[64];\n\n\toffset(got, {at});\n\texpect_text(\"{what}\", \"{offset}\", got);\n")
            }
        }
    }

    /// Compares what has a number of its own on each machine. `named` gives all that have one in a world, by which object
    /// they are of, and how the program reads them.
    fn identity<K: Copy + PartialEq>(
        &mut self,
        what: &str,
        key: K,
        got: &str,
        named: impl Fn(&World) -> Vec<(K, String)>,
    ) -> String {
        let of = self.of;
        let steps = of.steps.len();
        let find = |world: &World| named(world).into_iter().find(|(other, _)| *other == key);
        let known = (0..steps).rev().find_map(|step| Some((step, find(&of.worlds[step])?.1)));
        let mut text = String::new();
        let number = self.notes.values().map(Vec::len).sum::<usize>();
        if let Some((step, read)) = known {
            self.uses("same");
            self.note(step, format!("unsigned long long known_{number} = {read};"));
            let _ = writeln!(text, "\texpect_same(\"{what}\", known_{number}, {got});");
        } else {
            self.uses("new");
            let mut old: Vec<(K, String)> = Vec::new();
            for (other, read) in named(&of.worlds[steps.saturating_sub(1)]) {
                if old.iter().all(|(known, _)| *known != other) {
                    old.push((other, read));
                }
            }
            let count = old.len();
            if count == 0 {
                let _ = writeln!(text, "\texpect_new(\"{what}\", NULL, 0, {got});");
            } else {
                let reads: Vec<String> = old.into_iter().map(|(_, read)| read).collect();
                let old = format!("unsigned long long old_{number}[] = {{ {} }};", reads.join(", "));
                self.note(steps.saturating_sub(1), old);
                let _ = writeln!(text, "\texpect_new(\"{what}\", old_{number}, {count}, {got});");
            }
            for (_, twin) in named(of.after()).into_iter().filter(|(other, read)| *other == key && read != got) {
                self.uses("same");
                let _ = writeln!(text, "\texpect_same(\"{what}\", {twin}, {got});");
            }
        }
        text
    }

    fn place(&mut self, what: &str, place: Where, at: usize) -> String {
        self.uses("place");
        self.uses("text");
        let (of, steps) = (self.of, self.of.steps.len());
        let after = of.after();
        let Some(task) = after.task(at) else { return String::new() };
        let (dir, space) = (dir_of(after, at, place), task.space(Ns::Mnt));
        self.note(0, "char expected[64], got[64];");
        self.note(0, "");
        let mut then = String::new();
        if dir == Dir::Top && after.tree(space).is_none() {
            // The root of an empty mount namespace is like no other; all there have the same.
            let tops = |world: &World| tops(world, space);
            let known = (0..steps).rev().find_map(|step| Some((step, tops(&of.worlds[step]).first().copied()?)));
            match known {
                Some((step, (other, link))) => {
                    self.note(step, format!("place(expected, {other}, \"{}\", \"\");", link.link()));
                }
                None => {
                    let twin = tops(after).into_iter().find(|twin| *twin != (at, place)).unwrap_or((at, place));
                    let _ = writeln!(then, "\tplace(expected, {}, \"{}\", \"\");", twin.0, twin.1.link());
                }
            }
        } else {
            let below = if dir == Dir::Top { "\"\"" } else { directory(dir) };
            self.note(0, format!("place(expected, 0, \"root\", {below});"));
        }
        let _ = writeln!(then, "\tplace(got, {at}, \"{}\", \"\");", place.link());
        let _ = writeln!(then, "\texpect_text(\"{what}\", expected, got);");
        then
    }

    fn value(&mut self, what: &str, value: Value, at: usize) -> String {
        self.uses("text");
        let steps = self.of.steps.len();
        let after = self.of.after();
        let Some(task) = after.task(at) else { return String::new() };
        let same = |text: String| (format!("\"{text}\""), None);
        let caps = task.caps.effective;
        let ids = [after.seen(task.user, task.space(Ns::User)); 4].map(|id| id.to_string()).join(" ");
        let of_caps = format!("snprintf(expected, sizeof(expected), \"%016llx\", {caps:#x}ULL & every_capability());");
        let field = |name| ("status", format!("status(\" {name} \")"));
        let ((piece, look), (expected, note)) = match value {
            Value::Uids => (field("Uid"), same(ids)),
            Value::Gids => (field("Gid"), same(ids)),
            Value::Effective => (field("CapEff"), ("expected".to_owned(), Some(of_caps))),
            Value::Permitted => (field("CapPrm"), ("expected".to_owned(), Some(of_caps))),
            Value::Umask => (field("Umask"), same(format!("{:04o}", after.fs_of(task).umask))),
            Value::NoNewPrivs if task.no_new_privs => (field("NoNewPrivs"), same("1".to_owned())),
            Value::NoNewPrivs => {
                let read = "sprintf(expected, \"%d\", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));";
                (field("NoNewPrivs"), ("expected".to_owned(), Some(read.to_owned())))
            }
            Value::HostName => {
                let look = "gethostname(shared->seen, sizeof(shared->seen))".to_owned();
                let read = "gethostname(expected, sizeof(expected));".to_owned();
                let expected = match after.host_name(task) {
                    Some(name) => same(format!("walk{name}")),
                    None => ("expected".to_owned(), Some(read)),
                };
                (("look", look), expected)
            }
            Value::Descriptors => {
                self.uses("no_descriptors");
                let open = after.files[&task.files];
                let fds = (0..64).filter(|fd| open >> fd & 1 == 1).map(|fd| format!("{fd} "));
                (("descriptors", "descriptors()".to_owned()), same(fds.collect()))
            }
        };
        if let Some(note) = note {
            if matches!(value, Value::Effective | Value::Permitted) {
                self.uses("every_capability");
            }
            self.note(0, "char expected[256];");
            self.note(0, "");
            self.note(0, note);
        }
        let answers = self.look(steps, at, piece, look);
        format!("\tif (!{answers})\n\t\tfail(\"no answer\");\n\texpect_text(\"{what}\", {expected}, shared->seen);\n")
    }

    fn other(&mut self, what: &str, part: Part, at: usize) -> String {
        self.uses("text");
        let steps = self.of.steps.len();
        let (piece, look) = match part {
            Part::Groups => ("status", "status(\" Groups \")"),
            Part::Capabilities => ("status", "status(\" CapInh CapPrm CapEff CapBnd CapAmb \")"),
            Part::Signals => ("status", "status(\" SigBlk SigIgn SigCgt \")"),
            Part::Securebits => ("look", "sprintf(shared->seen, \"%#x\", prctl(PR_GET_SECUREBITS))"),
            Part::ProcessAttributes => ("attributes", "attributes()"),
            Part::DomainName => ("look", "getdomainname(shared->seen, sizeof(shared->seen))"),
            // The process IDs; all others have values in the model.
            _ => ("look", "sprintf(shared->seen, \"%d %d %d\", getpid(), getppid(), (int)syscall(SYS_gettid))"),
        };
        let before = self.look(steps.saturating_sub(1), at, piece, look);
        let after = self.look(steps, at, piece, look);
        let last = steps.saturating_sub(1);
        self.note(0, "char expected[sizeof(shared->seen)];");
        self.note(0, "");
        self.note(last, format!("if (!{before})\n\t\tfail(\"no answer\");"));
        self.note(last, "strcpy(expected, shared->seen);");
        format!("\tif (!{after})\n\t\tfail(\"no answer\");\n\texpect_text(\"{what}\", expected, shared->seen);\n")
    }

    fn propagation(&mut self, what: &str, mounted: Mounted, at: usize) -> String {
        self.uses("propagation");
        self.uses("same");
        let after = self.of.after();
        let Some(mount) = mount_in(after, at, mounted) else { return String::new() };
        let read = read_mount(at, mounted);
        let mut text = String::new();
        for (name, field, group) in [("peer group", "shared", mount.group), ("master", "master", mount.master)] {
            let (what, got) = (format!("{what}: {name}"), format!("{read}.{field}"));
            match group {
                Some(group) => text += &self.identity(&what, group, &got, groups),
                None => {
                    let _ = writeln!(text, "\texpect_same(\"{what}\", 0, {got});");
                }
            }
        }
        let unbindable = i32::from(mount.unbindable);
        let _ = writeln!(text, "\texpect_same(\"{what}: unbindable\", {unbindable}, {read}.unbindable);");
        text
    }
}

/// A piece of the file of pieces.
struct Piece {
    name: &'static str,
    uses: Vec<&'static str>,
    includes: Vec<&'static str>,
    text: String,
}

fn pieces() -> Vec<Piece> {
    let pieces = PIECES.split("\n//: ").skip(1);
    let pieces = pieces.map(|piece| {
        let (names, text) = piece.split_once('\n').unwrap_or((piece, ""));
        let mut names = names.split(' ');
        let lines = text.trim_end().lines().filter(|line| !line.starts_with("//"));
        let (includes, rest): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("#include"));
        Piece {
            name: names.next().unwrap_or_default(),
            uses: names.collect(),
            includes: includes.iter().filter_map(|line| line.strip_prefix("#include ")).collect(),
            text: format!("\n{}\n", rest.join("\n").trim()),
        }
    });
    pieces.collect()
}

/// The beginning of a function, whose end depends on the history.
fn beginning(name: &str) -> String {
    pieces().into_iter().find(|piece| piece.name == name).map_or_else(String::new, |piece| piece.text)
}

/// Flags as C has them.
fn flags_in_c(flags: Flags) -> String {
    let rest = Flags::KNOWN.iter().fold(flags.0, |rest, flag| rest & !flag.0);
    let known = Flags::KNOWN.iter().filter(|flag| flags.contains(**flag)).map(ToString::to_string);
    let all: Vec<String> = known.chain((rest != 0).then(|| format!("{rest:#x}"))).collect();
    if all.is_empty() { "0".to_owned() } else { all.join(" | ") }
}

fn directory(dir: Dir) -> &'static str {
    match dir {
        Dir::Top => "\"/\"",
        Dir::A => "dir_a",
        Dir::B => "dir_b",
    }
}

/// What differs, as part of a string.
fn told(what: What) -> String {
    what.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('…', "base")
}

/// One of the world's mounts, where a task is.
fn mount_in(world: &World, at: usize, mounted: Mounted) -> Option<Mount> {
    let tree = world.task(at).and_then(|task| world.tree(task.space(Ns::Mnt)))?;
    match mounted {
        Mounted::Base => Some(tree.base),
        Mounted::Child => tree.child,
    }
}

fn read_mount(at: usize, mounted: Mounted) -> String {
    let point = match mounted {
        Mounted::Base => "base",
        Mounted::Child => "dir_m",
    };
    format!("propagation({at}, {point})")
}

fn read_link(ns: Ns, at: usize) -> String {
    format!("ns({at}, \"{}\")", ns.link())
}

/// Whether it is a PID namespace without a process 1, to which links may lead nowhere (EFF-PID-03).
fn is_empty(world: &World, space: Id) -> bool {
    matches!(world.spaces[&space].content, Content::Pid { begun: false, .. } | Content::Pid { over: true, .. })
}

/// All links to namespaces of a kind.
fn links(world: &World, kind: Ns) -> Vec<(Id, String)> {
    let kinds = match kind {
        Ns::Pid | Ns::PidForChildren => vec![Ns::Pid, Ns::PidForChildren],
        Ns::Time | Ns::TimeForChildren => vec![Ns::Time, Ns::TimeForChildren],
        kind => vec![kind],
    };
    let of_task = |(at, ns): (usize, Ns)| Some((world.task(at)?.space(ns), read_link(ns, at)));
    let all = world.alive().flat_map(|(at, _)| kinds.iter().map(move |ns| (at, *ns)));
    all.filter_map(of_task).filter(|(id, _)| !is_empty(world, *id)).collect()
}

fn dir_of(world: &World, at: usize, place: Where) -> Dir {
    world.task(at).map_or(Dir::Top, |task| match place {
        Where::Cwd => world.fs_of(task).cwd,
        Where::Root => world.fs_of(task).root,
    })
}

/// The mounts that roots and current directories are on.
fn mounts(world: &World) -> Vec<((Id, bool), String)> {
    let all = world.alive().flat_map(|(at, task)| Where::ALL.map(|place| (at, task.space(Ns::Mnt), place)));
    let read = |(at, space, place): (usize, Id, Where)| {
        ((space, dir_of(world, at, place) != Dir::Top), format!("mount_of({at}, \"{}\")", place.link()))
    };
    all.map(read).collect()
}

/// Who is at the top of a mount namespace.
fn tops(world: &World, space: Id) -> Vec<(usize, Where)> {
    let there = world.alive().filter(|(_, task)| task.space(Ns::Mnt) == space);
    let all = there.flat_map(|(at, _)| Where::ALL.map(|place| (at, place)));
    all.filter(|(at, place)| dir_of(world, *at, *place) == Dir::Top).collect()
}

/// The peer groups of the world's mounts.
fn groups(world: &World) -> Vec<(Id, String)> {
    let seen = world.alive().filter(|(_, task)| world.sees_base(task));
    let all = seen.flat_map(|(at, _)| Mounted::ALL.map(|mounted| (at, mounted))).filter_map(|(at, mounted)| {
        let (mount, read) = (mount_in(world, at, mounted)?, read_mount(at, mounted));
        let group = mount.group.map(|group| (group, format!("{read}.shared")));
        let master = mount.master.map(|master| (master, format!("{read}.master")));
        Some([group, master].into_iter().flatten())
    });
    all.flatten().collect()
}

#[cfg(test)]
mod tests;
