//! A history as a C program that needs nothing but the C library: for whoever works on the kernel.
//!
//! Its tasks take their steps in turn, as those of a stage do. Then the program compares what differed, and nothing
//! else. What has another number on each machine, such as a namespace, is compared with what it must be the same as, or
//! with all that it must be another than.

mod checks;

use std::fmt::Write as _;

use crate::spec::prelude::*;
use crate::spec::world::{
    Content, Dir, FULL, Id, MAPS, Mount, Mounted, OFFSETS, Object, Op, Options, SEMAPHORE, SETTINGS, TASKS, VFORK,
    Value, What, Where, World,
};

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

    /// The program; none of a history that executes programs itself, in which a step goes on while others are taken, or
    /// in which an allocation fails. `about` stands at its top.
    pub fn program(&self, about: &str) -> Option<String> {
        let is_told = |op: &Op| match op {
            Op::Exec | Op::Starved(..) => false,
            Op::Clone(flags, _) => !flags.contains(VFORK),
            _ => true,
        };
        if !self.steps.iter().all(|(_, op)| is_told(op)) {
            return None;
        }
        let mut program =
            Program { of: self, all: pieces(), pieces: BTreeSet::new(), notes: BTreeMap::new(), looks: Vec::new() };
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
    /// Of what it is put together.
    all: Vec<Piece>,
    /// The names of those that it uses.
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
        let mut includes = BTreeSet::from(["<fcntl.h>", "<sys/mman.h>", "<sys/mount.h>", "<sys/prctl.h>"]);
        includes.extend(["<sys/stat.h>", "<sys/syscall.h>"]);
        let mut body = String::new();
        for piece in self.all.iter().filter(|piece| self.pieces.contains(piece.name)) {
            includes.extend(&piece.includes);
            if piece.name == "tasks" {
                body.push_str(&set_up);
            }
            body.push_str(&piece.text);
        }
        let remove = if self.pieces.contains("semaphore") { "\tsemctl(semaphore, 0, IPC_RMID);\n" } else { "" };
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

    /// Takes a piece, and what that uses.
    fn uses(&mut self, piece: &'static str) {
        if self.pieces.insert(piece) {
            let of_it = self.all.iter().find(|other| other.name == piece).map(|piece| piece.uses.clone());
            of_it.unwrap_or_default().into_iter().for_each(|more| self.uses(more));
        }
    }

    /// A step of the history, by its number from 0.
    fn step(&mut self, number: usize) -> String {
        let (at, op) = self.of.steps[number];
        let shown = number + 1;
        let mut comment = String::new();
        let call = match op {
            // There is no program of such a history.
            Op::Exec | Op::Starved(..) => String::new(),
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
            Op::Map(which, of) => {
                self.uses("map_of");
                format!("map_of({of}, {:?})", MAPS[which].0)
            }
            Op::Setgroups(allow) => {
                self.uses("write_file");
                format!("write_file(\"self/setgroups\", \"{}\")", if allow { "allow" } else { "deny" })
            }
            Op::NoRoot => {
                self.uses("securebits");
                "prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0)".to_owned()
            }
            Op::Make(object) => {
                self.uses("make_object");
                format!("make_object({})", in_c(object))
            }
            Op::Remove(object) => {
                self.uses("remove_object");
                format!("remove_object({})", in_c(object))
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
            Op::Open(fd, closes) => {
                self.uses("no_descriptors");
                format!("dup3(0, {fd}, {})", if closes { "O_CLOEXEC" } else { "0" })
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
            Op::Remount(options) => {
                let more = if options == Options::default() { String::new() } else { format!(" | {options}") };
                format!(
                    "mount(NULL, base, NULL, MS_REMOUNT | MS_BIND{}, NULL)",
                    more.replace('|', " | ").replace("  ", " ")
                )
            }
            Op::Offset(which) => {
                self.uses("write_file");
                format!("write_file(\"self/timens_offsets\", {:?})", OFFSETS[which].0)
            }
            Op::Signals => {
                self.uses("queue_signals");
                "queue_signals()".to_owned()
            }
            Op::Set(which, value) => {
                self.uses("write_file");
                format!("write_file({:?}, \"{value}\")", SETTINGS[which].file.to_string_lossy())
            }
        };
        let expected = self.of.results[number].map_or_else(|errno| format!("-{errno:?}"), |()| "0".to_owned());
        format!("{comment}\tSTEP({shown}, {at}, {call}, {expected});\n")
    }

    /// The beginning of a function, whose end depends on the history.
    fn beginning(&self, name: &str) -> String {
        self.all.iter().find(|piece| piece.name == name).map_or_else(String::new, |piece| piece.text.clone())
    }

    /// What the first task does before its first step.
    fn set_up(&mut self) -> String {
        let mut text = self.beginning("set_up");
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
        let mut text = self.beginning("main");
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
        if self.pieces.contains("descriptors_by_socket") {
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
}

/// The name that the pieces give to a kind of object.
fn in_c(object: Object) -> &'static str {
    match object {
        Object::Messages => "MESSAGES",
        Object::Memory => "MEMORY",
        Object::Queue => "QUEUE",
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

#[cfg(test)]
mod tests;
