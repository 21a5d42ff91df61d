//! Runs cases in a guest: a kernel of the user's choice, with this program, as built for its architecture, as its init.
//!
//! | module | answers |
//! |---|---|
//! | [`process`] | the program that runs the guest: started, its channels read, ended |
//! | [`session`] | the results of a guest: a pure state machine from lines to events |
//! | [`signals`] | telling every guest that a signal asked this process to end |
//! | [`accelerator`] | whether guests run under KVM here |
//! | [`affinity`] | keeping user-mode Linux on one processor |
//! | [`keeper`] | ending user-mode Linux with this process |
//! | [`monitor`] | asking a hanging guest where it stands, through QMP |
//! | [`console`] | what the guest's kernel printed, kept in a file |
//! | [`inside`] | the other side: being the init of a guest |

pub mod accelerator;
pub mod affinity;
pub mod console;
pub mod inside;
mod keeper;
pub mod monitor;
pub mod process;
pub mod session;
pub mod signals;

use crate::prelude::*;
use crate::program;
use crate::run::host::PROGRAM;
use console::ConsoleLog;
use process::Machine;
use session::{Ending, Input, MachineEnd, Session};
use vm::kconfig::Fragment;

/// How much slower than real hardware cases may be in an emulated guest, as a factor of deadlines.
const EMULATION_SLOWDOWN: u32 = 10;

/// How long a machine may stay after its kernel's panic or its suite's end.
const GRACE: Duration = Duration::from_secs(5);

/// For how long after a standstill of this process lockups and stalls of the guest's kernel are no news: it looks for
/// them in up to 21 s, and prints them once somebody reads.
const AFTERMATH: Duration = Duration::from_secs(30);

/// How long lines that arrived in time may wait to be read.
const OVERDUE: Duration = Duration::from_secs(2);

/// How many cases a second processor must share to win back, under emulation, what it adds to the
/// start: half a second, where two share about 16 ms a case.
const WORTH_A_CPU: usize = 64;

/// Where events of a guest go.
pub type Sink<'a> = dyn FnMut(&Event) -> io::Result<()> + 'a;

/// A kernel that a guest can boot: a path, or a release that was fetched.
pub fn open_kernel(name: &str, cache: &Cache) -> Result<Kernel> {
    let found = || Library::new(cache.clone()).find(name)?.image;
    let mut path = PathBuf::from(name);
    if !path.exists() {
        path = found().unwrap_or(path);
    }
    let looks_like_release = name.starts_with(|c: char| c.is_ascii_digit()) && !name.contains('/');
    if looks_like_release && !path.exists() {
        if let (_, None) = vm::library::parts_of(name)
            && let Some((_, architecture)) = name.rsplit_once(':')
            && let Err(unknown) = architecture.parse::<Architecture>()
        {
            return Err(WrongInput(unknown.to_string()).into());
        }
        return Err(WrongInput(format!(
            "kernel {name} is not fetched: run `unshare-conformance kernels fetch {name}`, or give the path of an image"
        ))
        .into());
    }
    Ok(Kernel::open(&path)?)
}

/// Runs the cases that were asked for in a guest with this kernel, and reports.
pub fn run(args: &RunArgs, name: &str) -> Result<ExitStatus> {
    signals::begin()?;
    let items = select_part(&args.selection, args.how.shard, args.how.tier_in_guest(), suite::cases::all())?.items;
    let expected = Expected::of(&args.expected, suite::cases::all())?;
    let mut reports = Reports::open(&args.report)?;
    let boot = Boot::prepare(&args.guest, name, &expected)?;
    for remark in &boot.remarks {
        eprintln!("unshare-conformance: {remark}");
    }
    let status = boot.run(&items, args, &expected, &mut |event| reports.event(event))?;
    reports.close()?;
    if status != ExitStatus::Conforms {
        eprintln!("unshare-conformance: the guest's console is in {}", boot.console.display());
    }
    Ok(status)
}

/// The arguments of the program in a guest: the same cases, the same seed, and how to report.
pub fn arguments(
    selection: &SelectionArgs,
    how: &HowArgs,
    format: Format,
    slowdown: u32,
    jobs: Option<u32>,
) -> Vec<String> {
    let mut words = Words(vec!["run".to_owned()]);
    words.options("--format", [name_of(&format)]);
    words.options("--tier", [how.tier_in_guest().name()]);
    words.options("--steps", how.steps);
    words.options("--seed", [how.seed()]);
    words.options("--repeat", [how.repeat]);
    words.options("--duration", how.duration.map(humantime::format_duration));
    words.options("--shard", how.shard);
    words.options("--jobs", jobs);
    words.options("--slowdown", [slowdown]);
    words.options("--timeout", how.timeout.map(humantime::format_duration));
    words.options("--profile", how.profile);
    words.options("--skip", &selection.skip);
    words.flag("--repeat-until-failure", how.repeat_until_failure);
    words.0.extend(how.fail_fast.map(|most| format!("--fail-fast={most}")));
    words.options("--order", (how.order != Order::FoundMost).then(|| name_of(&how.order)));
    words.flag("--disturb-host", true);
    words.flag("--exact", selection.exact);
    words.flag("--", true);
    words.0.extend(selection.filter.iter().cloned());
    words.0
}

/// Everything needed to boot one kernel.
pub struct Boot {
    /// The kernel.
    pub kernel: Kernel,
    accelerator: Accelerator,
    /// What the user should know about how the guest is run.
    pub remarks: Vec<String>,
    /// The file that keeps the guest's console.
    pub console: PathBuf,
    /// Whether the guest's init is another file than this program.
    other_init: bool,
    image: OwnedFd,
}

impl Boot {
    /// Opens the kernel, unpacks it if that lets it boot sooner, and chooses the accelerator.
    pub fn prepare(args: &GuestArgs, name: &str, expected: &Expected) -> Result<Boot> {
        let cache = Cache::of_user()?;
        let opened = open_kernel(name, &cache)?;
        let machine = match args.on {
            Some(Place::Uml) if opened.kind() != Kind::UserMode => Some("user-mode"),
            Some(Place::Qemu) if opened.kind() == Kind::UserMode => Some("qemu-x86_64"),
            _ => None,
        };
        if let Some(machine) = machine {
            return Err(MachineError::WrongKernel(opened.path().to_owned(), machine.to_owned()).into());
        }
        let init = program::init(args.init.as_deref(), args.abi, opened.architecture())?;
        if let Some(abi) = args.abi {
            program::is_run_by(abi, &opened)?;
        }
        // In parallel: both read and write megabytes.
        std::thread::scope(|scope| {
            let image = scope.spawn(|| inside::initramfs(&init, expected));
            let other_init = init != Path::new(program::ITSELF);
            Self::of_kernel(args, name, opened, &cache, || Ok((image.join().expect("it does not panic")?, other_init)))
        })
    }

    fn of_kernel(
        args: &GuestArgs,
        name: &str,
        opened: Kernel,
        cache: &Cache,
        image: impl FnOnce() -> Result<(OwnedFd, bool)>,
    ) -> Result<Boot> {
        let machine = vm::machine::Machine::for_kernel(&opened);
        let mut remarks = Vec::new();
        let kernel = match vm::payload::unpack(&opened, cache) {
            Ok(kernel) => kernel,
            Err(error @ (PayloadError::Damaged { .. } | PayloadError::NotAKernel { .. })) => {
                return Err(error.into());
            }
            Err(error) if opened.kind() != Kind::BzImage => return Err(error.into()),
            // It can still unpack itself in the guest, more slowly.
            Err(error) => {
                remarks.push(vm::chain(&error));
                opened
            }
        };
        // A user-mode kernel is heard without either.
        if kernel.kind() != Kind::UserMode
            && let Some(why) = kernel.configuration().and_then(|configuration| machine.mute(configuration))
        {
            return Err(WrongInput(format!("{name}: {why}")).into());
        }
        remarks.extend(kernel.configuration().and_then(vm::kconfig::deaf));
        // It is booted all the same: reaching the suite decides. Options that are not even mentioned may not
        // exist in its release.
        remarks.extend(kernel.configuration().and_then(|configuration| {
            let mut unmet = Fragment::boot(kernel.architecture(), kernel.kind()).unmet(configuration);
            unmet.retain(|option| option.found.is_some());
            vm::kconfig::sentence(&unmet)
        }));
        let mut accelerator = Accelerator::Tcg;
        // User-mode Linux is not emulated; it has one processor, and refuses more.
        if kernel.kind() != Kind::UserMode {
            let why;
            (accelerator, why) = accelerator::decide(args.accel, &kernel, cache)?;
            remarks.extend(why.into_iter().chain(too_many_cpus(args.cpus, cpus())));
        }
        let console = match &args.console {
            Some(path) => path.clone(),
            None => {
                let directory = cache.directory("consoles")?;
                console::forget_old(&directory);
                directory.join(console::file_name(kernel.release().unwrap_or("unknown")))
            }
        };
        let (image, other_init) = image()?;
        Ok(Boot { kernel, accelerator, remarks, console, other_init, image })
    }

    /// The accelerator, in a word.
    pub fn accelerator(&self) -> &'static str {
        match (self.kernel.kind(), self.accelerator) {
            (Kind::UserMode, _) => "uml",
            (_, Accelerator::Tcg) => "tcg",
            (_, Accelerator::Kvm) => "kvm",
        }
    }

    /// The options of a guest that runs these cases.
    pub fn options(&self, items: &[Item], args: &RunArgs, expected: &Expected) -> Options {
        let cpus = args.guest.cpus.unwrap_or_else(|| self.fitting_cpus(items));
        let mut arguments = arguments(
            &args.selection,
            &args.how,
            Format::Wire,
            self.slowdown().saturating_mul(args.how.slowdown),
            Some(args.how.jobs.unwrap_or_else(|| usual_jobs(cpus))),
        );
        if !expected.expectations.own.is_empty() {
            arguments.splice(1..1, ["--expectations".to_owned(), format!("/{}", inside::EXPECTATIONS)]);
        }
        if let Some(fault) = args.fault {
            arguments.splice(1..1, ["--fault".to_owned(), fault.name.to_string()]);
        }
        #[cfg(feature = "guest-faults")]
        if let Some(fault) = &args.guest.guest_fault {
            arguments.splice(1..1, ["--guest-fault".to_owned(), name_of(fault)]);
        }
        Options {
            accelerator: self.accelerator,
            memory: args.guest.memory,
            cpus,
            single_serial: args.guest.single_serial,
            kernel_parameters: args.guest.kernel_arg.clone(),
            plan: self.other_init.then(|| inside::fingerprint(items)),
            arguments,
            ..Options::default()
        }
    }

    /// The number of CPUs that lets these cases end soonest: a second one delays the start.
    fn fitting_cpus(&self, items: &[Item]) -> u32 {
        // Races show only where tasks really run in parallel.
        let races = items.iter().any(|item| item.case.group() == "storm");
        if self.kernel.kind() == Kind::UserMode || (items.len() < WORTH_A_CPU && !races) { 1 } else { cpus().min(2) }
    }

    /// The slowdown of a guest on this machine.
    fn slowdown(&self) -> u32 {
        match (self.kernel.kind(), self.accelerator) {
            (Kind::UserMode, _) | (_, Accelerator::Tcg) => EMULATION_SLOWDOWN,
            (_, Accelerator::Kvm) => 2,
        }
    }

    /// Boots the guest and follows it to its end.
    pub fn run(&self, items: &[Item], args: &RunArgs, expected: &Expected, sink: &mut Sink) -> Result<ExitStatus> {
        let mut console = ConsoleLog::create(&self.console)?;
        let mut machine = Machine::start(&self.kernel, &self.image, &self.options(items, args, expected))?;
        let is_process = self.kernel.kind() == Kind::UserMode;
        if is_process {
            affinity::keep_on_one_cpu(machine.pid());
        }
        let mut session = Session::new(items, &args.guest, is_process);
        session.program = PROGRAM;
        session.console_options = vm::machine::Machine::for_kernel(&self.kernel).console_options();
        session.fail_fast = args.how.fail_fast;
        session.expectations = expected.expectations.clone();
        let mut follow_up = Follow::new(&args.strict, expected);
        let mut tell = |event: &Event| {
            follow_up.event(event);
            sink(event)
        };
        let start = Instant::now();
        let ending = follow(&mut machine, &mut session, &mut console, &args.guest, &mut tell)?;
        drop(machine);
        session.lasted(start.elapsed());
        let (mut events, mut status) = session.end(&ending, args.strict.strict, console.tail());
        if let Some(error) = &console.fault {
            let path = self.console.display();
            let text = format!(
                "the console cannot be written to {path} ({error}): free space there or give another --console FILE"
            );
            events.insert(0, Event::Remark { text });
        }
        for event in &events {
            tell(event)?;
        }
        let is_over =
            matches!(ending, Ending::Interrupted(_)) || matches!(events.last(), Some(Event::BailedOut { .. }));
        if !is_over {
            for event in follow_up.end()? {
                sink(&event)?;
                if matches!(event, Event::BailedOut { .. }) {
                    status = ExitStatus::DoesNotConform;
                }
            }
        }
        Ok(match (&ending, args.guest.boot_failure) {
            (Ending::Interrupted(signal), _) => ExitStatus::Interrupted { signal: *signal },
            (_, BootFailure::Fail) if !session.began && !ending.is_ours() => ExitStatus::DoesNotConform,
            _ => status,
        })
    }
}

/// A warning about more CPUs than this machine has: they take turns, and each is started while the others
/// wait for it.
fn too_many_cpus(asked: Option<u32>, host: u32) -> Option<String> {
    let asked = asked.filter(|asked| *asked > host)?;
    Some(format!(
        "--cpus {asked} exceeds the CPUs of this machine: the guest may take minutes to boot, so use --cpus {host} unless \
         you need more"
    ))
}

/// Feeds the machine's output to the session until it is over.
fn follow(
    machine: &mut Machine,
    session: &mut Session,
    console: &mut ConsoleLog,
    args: &GuestArgs,
    sink: &mut Sink,
) -> Result<Ending> {
    let mut start = Instant::now();
    let mut aftermath = start;
    // Kernel messages are no heartbeat: a hung kernel may print about it for ever.
    let mut last_sign = start;
    let guest = Tasks::From(Pid::from_raw(machine.pid() as i32));
    let mut patience = Patience::new(args.boot_patience, guest);
    loop {
        let (limit, since) = if session.began { (args.silence, last_sign) } else { (args.boot_patience, start) };
        // While the guest is silent, the file is complete.
        if !machine.has_more() {
            console.flush();
        }
        // If this process had to wait itself, a heartbeat may be among the lines not read yet.
        let over = patience.is_over();
        let input = if !over || since.elapsed() < limit + OVERDUE {
            machine.next(if over { limit.saturating_sub(since.elapsed()) } else { patience.left() })
        } else {
            None
        };
        if let Some(how_long) = machine.stood_still.take() {
            session.stood_still = Some(how_long);
            let text = format!("this process stood still for {} s, stopped or suspended", how_long.as_secs());
            sink(&Event::Remark { text })?;
            let now = Instant::now();
            (start, last_sign, aftermath) = (now, now, now + AFTERMATH);
            patience.renew(limit);
            if input.is_none() {
                continue;
            }
        } else if Instant::now() >= aftermath {
            session.stood_still = None;
        }
        match input {
            Some(Input::Line(role, line)) => {
                let heard = session.line(role, &line);
                if let Some(text) = heard.text {
                    console.line(&text);
                }
                if heard.sign_of_life {
                    last_sign = Instant::now();
                    // How much CPU time the guest got is not worth reading at each heartbeat.
                    if patience.limit() != args.silence || patience.age() >= OVERDUE {
                        patience.renew(args.silence);
                    }
                }
                for event in heard.events {
                    sink(&event)?;
                }
                if session.is_of_other_version {
                    return Ok(Ending::GaveUp(inside::OTHER_BUILD.to_owned()));
                }
                if session.restarted {
                    return Ok(session.ending_of(MachineEnd::Exited(0, String::new())));
                }
                // A kernel may stop after a panic, or after power-off, without ending the machine.
                if session.is_ending() {
                    machine.grace(GRACE);
                }
            }
            Some(Input::Signal(signal)) => return Ok(Ending::Interrupted(signal)),
            Some(Input::Ended(how)) => return Ok(session.ending_of(how)),
            None if session.is_ending() => return Ok(session.ending_of(MachineEnd::Exited(0, String::new()))),
            // The host was too busy to run it.
            None if !over => {}
            None => {
                let Some(mut stacks) = monitor::ask_for_stacks(machine, console) else {
                    let limit = humantime::format_duration(limit);
                    let text = format!("the guest was silent for {limit}, then continued");
                    sink(&Event::Remark { text })?;
                    last_sign = Instant::now();
                    patience.renew(args.silence);
                    continue;
                };
                let words = machine.words();
                // User-mode Linux prints its boot there.
                if machine.monitor.is_some() && !words.is_empty() {
                    stacks.push_str(&format!("; the machine reported: {words}"));
                }
                return Ok(Ending::Silent { after: limit, stacks });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_how_to_run_the_cases() {
        let args = RunArgs::parse_from(["run", "--steps", "50", "--seed", "7", "walks."]);
        let words = arguments(&args.selection, &args.how, Format::Wire, 3, None);
        let words = words.join(" ");
        assert!(words.contains("--steps 50") && words.contains("--slowdown 3"), "{words}");
        let as_usual = arguments(&args.selection, &HowArgs::of_seed(7), Format::Wire, 1, None);
        assert!(!as_usual.contains(&"--steps".to_owned()), "{as_usual:?}");
    }

    #[test]
    fn processors_that_the_machine_lacks_are_told_of() {
        assert_eq!(too_many_cpus(None, 2), None);
        assert_eq!(too_many_cpus(Some(2), 2), None);
        let message = too_many_cpus(Some(99), 2).unwrap();
        assert!(message.contains("--cpus 99") && message.contains("--cpus 2"), "{message}");
    }
}
