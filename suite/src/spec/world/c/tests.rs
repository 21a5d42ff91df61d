//! Programs are compiled and run.

use std::process::{Command, Output};

use super::checks::{is_empty, mount_in};
use super::*;
use crate::SUITE;
use crate::engines::walk::takes_pidfds;
use crate::spec::world::{Caps, Descriptors, Draw, Mix, Offers, Propagation, Task, Tree, Visited};
use harness::place::sandbox::Sandbox;

/// The model of a history, which begins with all capabilities.
fn reproducer(steps: &[(usize, Op)], what: What) -> Reproducer {
    let start = World::new(Kernel::FULL, FULL, Flags::NONE);
    let mut world = start.clone();
    for (at, op) in steps {
        assert!(world.enabled(*at, op), "{op}");
        world.step(*at, op);
    }
    Reproducer::new(&start, steps, what)
}

/// Where programs are compiled; nothing, and says why, where there is no compiler.
struct Compiler {
    directory: tempfile::TempDir,
}

impl Compiler {
    fn find() -> Option<Compiler> {
        if Command::new("cc").arg("--version").output().is_err() {
            println!("skipped: there is no cc");
            return None;
        }
        Some(Compiler { directory: tempfile::tempdir().expect("a directory") })
    }

    fn compile(&self, program: &str) -> PathBuf {
        let (source, binary) = (self.directory.path().join("history.c"), self.directory.path().join("history"));
        fs::write(&source, program).expect("a file");
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&binary).arg(source);
        let Output { status, stderr, .. } = cc.output().expect("it was there");
        assert!(status.success(), "{}\n{program}", String::from_utf8_lossy(&stderr));
        binary
    }

    /// What a program exits with, and says; nothing where its place does not let it play.
    fn run(&self, program: &str) -> (Option<i32>, String) {
        let Output { status, stdout, .. } = Command::new(self.compile(program)).output().expect("it was compiled");
        (status.code(), String::from_utf8_lossy(&stdout).into_owned())
    }
}

/// A program that only says whether its place lets it play; a reason is printed if not.
fn can_play(compiler: &Compiler) -> bool {
    let program = reproducer(&[(0, Op::Umask(0o77))], What::Value(Value::Umask, 0)).program("").unwrap_or_default();
    let (code, said) = compiler.run(&program);
    if code == Some(2) {
        println!("skipped: {said}");
    }
    code != Some(2)
}

/// All that can differ after the last step of a history.
fn whats(of: &Reproducer) -> Vec<What> {
    let after = of.after();
    let alive: Vec<usize> = after.alive().map(|(at, _)| at).collect();
    let values = [
        Value::Uids,
        Value::Gids,
        Value::Effective,
        Value::Permitted,
        Value::Umask,
        Value::NoNewPrivs,
        Value::Securebits,
        Value::ProcessOne,
        Value::Objects,
        Value::Settings,
        Value::Clock,
        Value::BootClock,
        Value::HostName,
        Value::Descriptors,
    ];
    // Which of a task's other parts may change is not for the program to know: those that no step of these does.
    let parts = [Part::Signals, Part::DomainName];
    let shared = [Flags::VM, Flags::FS, Flags::FILES, Flags::SIGHAND, Flags::SYSVSEM];
    let mut whats: Vec<What> = of.steps.last().map(|(at, op)| What::Result(*at, *op)).into_iter().collect();
    whats.extend([What::Semaphore, What::Lock]);
    for at in alive.iter().copied() {
        let Some(task) = after.task(at) else { continue };
        whats.push(What::End(at));
        for ns in Ns::ALL {
            whats.push(What::Link(ns, at));
            if ns == Ns::User {
                if task.space(ns) != after.spaces[&task.space(ns)].owner {
                    whats.push(What::Parent(ns, at));
                }
            } else if !is_empty(after, task.space(ns)) {
                whats.push(What::Owner(ns, at));
            }
        }
        whats.extend(Where::ALL.map(|place| What::Place(place, at)));
        whats.extend(Where::ALL.map(|place| What::Mount(place, at)));
        // Those of the first IPC namespace are the machine's.
        let is_known = |value: &Value| *value != Value::Settings || after.settings(task).is_some();
        whats.extend(values.into_iter().filter(is_known).map(|value| What::Value(value, at)));
        let last = of.worlds.len().saturating_sub(2);
        if of.worlds[last].task(at).is_some() {
            whats.extend(parts.map(|part| What::Other(part, at)));
        }
        if after.sees_base(task) {
            whats.push(What::Options(at));
            whats.extend(Mounted::ALL.map(|mounted| What::There(mounted, at)));
            // Some releases do not copy the flag (EFF-MNT-07).
            let trees = after.trees();
            let there = Mounted::ALL.into_iter().filter(|mounted| mount_in(after, at, *mounted).is_some());
            if trees.iter().all(|(_, tree)| !tree.base.unbindable) {
                whats.extend(there.map(|mounted| What::Propagation(mounted, at)));
            }
        }
        if task.leader && !after.is_first_user(task.space(Ns::User)) {
            whats.push(What::Maps(at));
        }
        let later = task.space(Ns::TimeForChildren);
        if task.leader && !after.is_first_time(later) {
            whats.push(What::Offset(at));
        }
        for other in alive.iter().copied().filter(|other| *other > at) {
            whats.extend(shared.map(|flag| What::Shared(flag, at, other)));
        }
    }
    whats
}

/// The kind of a step or of what differs.
fn kind<T: fmt::Debug>(of: &T) -> String {
    let text = format!("{of:?}");
    let end = text.find(['(', ',']).unwrap_or(text.len());
    let of_value = text.starts_with("Value").then(|| text.split(',').next().unwrap_or_default().to_owned());
    of_value.unwrap_or_else(|| text[..end].to_owned())
}

/// A random history of a place, short enough to be read.
fn history(start: &World, facts: &Facts, seed: u64, visited: &mut Visited) -> Vec<(usize, Op)> {
    let initial_root = facts.has(feature::INITIAL_ROOT);
    // A task that executes programs or waits for its child has no C program.
    let offers = Offers {
        programs: false,
        pidfds: initial_root && takes_pidfds(),
        all_ids: initial_root,
        objects: [facts.has(feature::SYSV_IPC); 3],
        settings: initial_root && facts.has(feature::NAMESPACE_LIMITS),
        ..Offers::ALL
    };
    let mix = Mix::ALL[seed as usize % Mix::ALL.len()].0;
    let mut draw = Draw::new(mix, seed, facts, offers);
    let (mut world, mut steps) = (start.clone(), Vec::new());
    for _ in 0..14 {
        let (at, mut op) = draw.next(&world, visited);
        if let Op::Clone(flags, to) = op {
            op = Op::Clone(flags & !VFORK, to);
        }
        if let Some(task) = world.task(at) {
            visited.note(&world, task, &op);
        }
        world.step(at, &op);
        steps.push((at, op));
    }
    steps
}

#[test]
fn a_history_reads_as_a_program() {
    let steps = [
        (0, Op::Propagate(Propagation::Unbindable)),
        (0, Op::Clone(Flags::VM, 1)),
        (1, Op::Unshare(Flags::NEWNS | Flags::NEWUTS)),
    ];
    let program = reproducer(&steps, What::Propagation(Mounted::Base, 1)).program("It differs.").unwrap_or_default();
    for line in [
        " * It differs.\n *\n * 1. task 0: mount(MS_UNBINDABLE)\n",
        "\tSTEP(1, 0, mount(NULL, base, NULL, MS_UNBINDABLE, NULL), 0);\n",
        "\tSTEP(2, 0, make(1, 2, CLONE_VM | SIGCHLD), 0);\n",
        "\tSTEP(3, 1, unshare(CLONE_NEWNS | CLONE_NEWUTS), 0);\n",
        "\texpect_same(\"propagation of the world's mount, of task 1: unbindable\", 1, propagation(1, base).unbindable);\n",
    ] {
        assert!(program.contains(line), "{line}{program}");
    }
    // Only what it uses.
    for piece in ["semop", "recvmsg", "capset", "kcmp", "setresuid"] {
        assert!(!program.contains(piece), "{piece}");
    }
}

#[test]
fn every_step_and_check_compiles_and_holds_here() {
    let Some(compiler) = Compiler::find() else { return };
    let plays = can_play(&compiler);
    let facts = Facts::gather(Sandbox::default(), &SUITE);
    let caps = if plays { Caps { effective: facts.capabilities, bounding: u64::MAX } } else { FULL };
    let start = World::new(Kernel::of(&facts), caps, Flags::NONE);
    let (mut ops, mut checks, mut visited) = (BTreeSet::new(), BTreeSet::new(), Visited::default());
    let all_seen = |ops: &BTreeSet<_>, checks: &BTreeSet<_>| ops.len() >= 32 && checks.len() >= 30;
    for seed in 0..300 {
        if seed >= 24 && all_seen(&ops, &checks) {
            break;
        }
        let steps = history(&start, &facts, seed, &mut visited);
        let all = Reproducer::new(&start, &steps, What::Semaphore);
        // A kind that was not seen yet; else one that differs from history to history.
        let whats = whats(&all);
        let fresh = whats.iter().copied().find(|what| !checks.contains(&kind(what)));
        let what = fresh.unwrap_or(whats[steps.len() * checks.len() % whats.len()]);
        checks.insert(kind(&what));
        ops.extend(steps.iter().map(|(_, op)| kind(op)));
        let program = Reproducer { what, ..all }.program("").unwrap_or_default();
        if !plays {
            compiler.compile(&program);
            continue;
        }
        let (code, said) = compiler.run(&program);
        assert_eq!(code, Some(0), "{what}: {said}\n{program}");
    }
    let everything = [
        feature::SECOND_USER,
        feature::SYSV_IPC,
        feature::NAMESPACE_LIMITS,
        feature::CREATE_USER_NS,
        feature::INITIAL_ROOT,
    ];
    let has_everything = everything.into_iter().all(|there| facts.has(there)) && takes_pidfds();
    assert!(!has_everything || all_seen(&ops, &checks), "{ops:?} {checks:?}");
}

/// Expectations that no kernel meets: each is noticed, and told.
#[test]
fn a_difference_is_told() {
    let Some(compiler) = Compiler::find() else { return };
    if !can_play(&compiler) {
        return;
    }
    let facts = Facts::gather(Sandbox::default(), &SUITE);
    if !facts.has(feature::CREATE_USER_NS) {
        println!("skipped: there are no user namespaces");
        return;
    }
    let start = World::new(Kernel::of(&facts), Caps { effective: facts.capabilities, bounding: u64::MAX }, Flags::NONE);
    let steps = [
        (0, Op::Umask(0o27)),
        (0, Op::Clone(Flags::FS | Flags::FILES, 1)),
        (0, Op::Open(21, false)),
        (0, Op::Clone(Flags::NEWUTS | Flags::NEWUSER, 2)),
        (2, Op::MapSelf),
        (2, Op::HostName(3)),
        (2, Op::Unshare(Flags::NEWUSER | Flags::NEWNS | Flags::NEWNET)),
        (2, Op::Chdir(Dir::A)),
        (2, Op::NoNewPrivs),
    ];
    let right = |what| Reproducer::new(&start, &steps, what);
    assert!(right(What::Semaphore).results.iter().all(Result::is_ok));
    let after = right(What::Semaphore).after().clone();
    let [first, other, caller] = [0, 1, 2].map(|at: usize| after.tasks[at].clone().expect("it lives"));
    let (last, fs) = (steps.len(), caller.fs);
    let [mnt, net, user, uts] = [Ns::Mnt, Ns::Net, Ns::User, Ns::Uts].map(|ns| caller.space(ns));
    // What is made of the world after the last step, and of the task it is about.
    type Change = Box<dyn Fn(&mut World, &mut Task)>;
    fn of(change: impl Fn(&mut World, &mut Task) + 'static) -> Change {
        Box::new(change)
    }
    fn content(world: &mut World, space: Id) -> &mut Content {
        &mut world.spaces.get_mut(&space).expect("it is there").content
    }
    let go = |dir| of(move |world, _| _ = world.fs.entry(fs).and_modify(|fs| fs.cwd = dir));
    let own = |space, owner| of(move |world, _| _ = world.spaces.entry(space).and_modify(|space| space.owner = owner));
    let to = |ns: Ns, space| of(move |_, task| task.links[ns as usize] = space);
    let tree = |tree| of(move |world, _| *content(world, mnt) = Content::Mnt(Some(tree)));
    let unbindable = Tree { base: Mount { unbindable: true, ..Mount::default() }, child: None };
    let with_child = Tree { base: Mount::default(), child: Some(Mount::default()) };
    let changes = [
        (What::Link(Ns::Net, 2), to(Ns::Net, first.space(Ns::Net))),
        (What::Link(Ns::Ipc, 2), to(Ns::Ipc, net)),
        (What::Place(Where::Cwd, 2), go(Dir::B)),
        (What::Mount(Where::Cwd, 2), go(Dir::Top)),
        (What::Value(Value::Uids, 2), to(Ns::User, first.space(Ns::User))),
        (What::Value(Value::Gids, 2), to(Ns::User, first.space(Ns::User))),
        (What::Value(Value::Effective, 2), of(|_, task| task.caps = task.caps.given_up())),
        (What::Value(Value::Permitted, 2), of(|_, task| task.caps = task.caps.without_sys_admin())),
        (What::Value(Value::Umask, 2), of(move |world, _| _ = world.fs.entry(fs).and_modify(|fs| fs.umask = 0))),
        (What::Value(Value::NoNewPrivs, 0), of(|_, task| task.no_new_privs = true)),
        (What::Value(Value::HostName, 2), of(move |world, _| *content(world, uts) = Content::Uts(Some(4)))),
        (
            What::Value(Value::Descriptors, 1),
            of(|world, task| _ = world.files.insert(task.files, Descriptors::default())),
        ),
        (What::Shared(Flags::FS, 0, 1), of(|_, task| task.fs = Id::MAX)),
        (What::Shared(Flags::VM, 1, 2), of(move |_, task| task.vm = other.vm)),
        (What::Propagation(Mounted::Base, 2), tree(unbindable)),
        (What::There(Mounted::Child, 2), tree(with_child)),
        (What::Semaphore, of(|world, _| world.semaphore += 1)),
        (What::Maps(2), of(move |world, _| world.spaces.get_mut(&user).expect("it is there").maker = 1)),
        (What::Value(Value::Securebits, 2), of(|_, task| task.no_root = true)),
        (
            What::Value(Value::ProcessOne, 2),
            of(|world, task| world.processes.get_mut(&task.process).expect("it lives").init = true),
        ),
        (What::Lock, of(|world, task| world.lock = Some(task.files))),
        (What::Owner(Ns::Net, 2), own(net, first.space(Ns::User))),
        (What::Parent(Ns::User, 2), own(user, first.space(Ns::User))),
    ];
    for (what, change) in changes {
        let mut wrong = right(what);
        let at = match what {
            What::Value(_, at) | What::Shared(_, _, at) => at,
            _ => 2,
        };
        let world = &mut wrong.worlds[last];
        let mut task = world.tasks[at].clone().expect("it lives");
        change(world, &mut task);
        world.tasks[at] = Some(task);
        let differing = compiler.run(&wrong.program("").unwrap_or_default());
        assert_eq!(differing.0, Some(1), "{what}: {differing:?}");
        assert!(differing.1.contains(&what.to_string()) && differing.1.contains(": expected "), "{differing:?}");
    }
    // A result that no kernel gives; before the last step, nothing was found out.
    for (number, code) in [(last - 1, 1), (0, 2)] {
        let mut wrong = right(What::Semaphore);
        wrong.results[number] = Err(Errno::ENOSPC);
        let (ended, said) = compiler.run(&wrong.program("").unwrap_or_default());
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(&format!("step {}: expected ENOSPC, got 0", number + 1)), "{said}");
    }
}
