//! What a program compares at its end: what differed, and nothing else.

use super::*;

impl Program<'_> {
    /// Compares what differed.
    pub(super) fn checks(&mut self) -> String {
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
            What::Options(at) => {
                self.uses("options");
                self.uses("text");
                let Some(mount) = mount_in(after, at, Mounted::Base) else { return String::new() };
                let shown = mount.options.told();
                format!("\tchar got[128];\n\n\toptions(got, {at});\n\texpect_text(\"{what}\", \"{shown}\", got);\n")
            }
            What::Propagation(mounted, at) => self.propagation(&what, mounted, at),
            What::Semaphore => {
                self.uses("semaphore");
                self.uses("same");
                format!("\texpect_same(\"{what}\", {}, semctl(semaphore, 0, GETVAL));\n", after.semaphore)
            }
            What::Lock => {
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
                let Content::User { ref map, denied, .. } = space.content else { return String::new() };
                let map = World::shown_map(map);
                let denies = match denied {
                    Some(true) => "\"deny\"",
                    Some(false) => "\"allow\"",
                    None => "NULL",
                };
                format!(
                    "\tchar expected[MAPS], got[MAPS];\n\n\texpected_maps(expected, \"{map}\", {denies}, {});\n\
                     \tmaps(got, {at});\n\texpect_text(\"{what}\", expected, got);\n",
                    space.maker
                )
            }
            What::Offset(at) => {
                self.uses("offset");
                self.uses("text");
                let later = after.task(at).map(|task| &after.spaces[&task.space(Ns::TimeForChildren)].content);
                let Some(Content::Time { offsets: [monotonic, boottime], .. }) = later else { return String::new() };
                let expected = format!("monotonic {monotonic}, boottime {boottime}");
                format!("\tchar got[64];\n\n\toffset(got, {at});\n\texpect_text(\"{what}\", \"{expected}\", got);\n")
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
            Value::Securebits => {
                let look = "sprintf(shared->seen, \"%#x\", prctl(PR_GET_SECUREBITS))".to_owned();
                (("look", look), same(if task.no_root { "0x1" } else { "0" }.to_owned()))
            }
            Value::ProcessOne => {
                let is_init = after.processes[&task.process].init;
                let look = "strcpy(shared->seen, syscall(SYS_getpid) == 1 ? \"yes\" : \"no\")".to_owned();
                (("look", look), same(if is_init { "yes" } else { "no" }.to_owned()))
            }
            Value::Settings => {
                let known = after.known_settings().iter();
                let files: Vec<String> = known.map(|setting| format!("{:?}", setting.file.to_string_lossy())).collect();
                let look = format!("settings((const char *[]){{ {}, NULL }})", files.join(", "));
                let expected = after.settings(task).unwrap_or_default().iter();
                let expected: Vec<String> = expected.map(i32::to_string).collect();
                (("settings", look), same(expected.join(" ")))
            }
            Value::Objects => {
                let there = after.objects(task).map(|maker| if maker.is_some() { "1" } else { "0" });
                (("objects", "objects()".to_owned()), same(there.join(" ")))
            }
            Value::Clock | Value::BootClock => {
                let (clock, name) = if value == Value::Clock { (0, "CLOCK_MONOTONIC") } else { (1, "CLOCK_BOOTTIME") };
                self.uses("clock_beside");
                let answers =
                    self.look(steps, at, "clock_beside", format!("sprintf(shared->seen, \"%lld\", now({name}))"));
                return format!(
                    "\tchar got[32];\n\n\tif (!{answers})\n\t\tfail(\"no answer\");\n\tclock_beside(got, {name});\n\
                     \texpect_text(\"{what}\", \"{}\", got);\n",
                    after.clocks(task)[clock]
                );
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
                (("descriptors", "descriptors()".to_owned()), same(open.told()))
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

/// One of the world's mounts, where a task is.
pub(super) fn mount_in(world: &World, at: usize, mounted: Mounted) -> Option<Mount> {
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
pub(super) fn is_empty(world: &World, space: Id) -> bool {
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
