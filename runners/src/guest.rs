//! Runs cases in a guest: a kernel of the user's choice, with this very program as its init.
//!
//! | module | answers |
//! |---|---|
//! | [`signals`] | telling every guest that this process is to end |
//! | [`machine`] | starting the program that makes the guest, and reading its channels |
//! | [`session`] | what came of a guest: a pure state machine from lines to events |
//! | [`accelerator`] | whether KVM truly runs a guest here |
//! | [`affinity`] | keeping user-mode Linux on one processor |
//! | [`monitor`] | asking a hanging guest where it stands, through QMP |
//! | [`console`] | what the guest's kernel printed, kept in a file |
//! | [`inside`] | the other side: being the init of a guest |

pub mod accelerator;
pub mod affinity;
pub mod console;
pub mod inside;
pub mod machine;
pub mod monitor;
pub mod session;
pub mod signals;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use harness::case::Item;
use harness::event::Event;
use harness::outcome::ExitStatus;
use vm::cache::Cache;
use vm::kernel::{Kernel, Kind};
use vm::library::Library;
use vm::machine::{Accelerator, Options};
use vm::payload::PayloadError;

use crate::cli::{BootFailure, Format, GuestArgs, HowArgs, RunArgs, SelectionArgs};
use crate::host::{PROGRAM, select};
use crate::reports::Reports;
use console::ConsoleLog;
use machine::{Input, Machine};
use session::{Ending, Session};

/// How much slower than real hardware cases may be in an emulated guest, as a factor of deadlines.
const EMULATION_SLOWDOWN: u32 = 10;

/// How long a guest that was asked for its tasks' stacks gets to print them.
const STACKS_PATIENCE: Duration = Duration::from_secs(3);

/// How many cases a second processor must share to win back, under emulation, what it adds to the
/// start: half a second, where two share about 16 ms a case.
const WORTH_A_CPU: usize = 64;

/// Where events of a guest go.
pub type Sink<'a> = dyn FnMut(&Event) -> std::io::Result<()> + 'a;

/// A kernel that a guest can boot: a path, or a release that was fetched.
///
/// # Errors
/// It is neither; the text says what would help.
pub fn open_kernel(name: &str, cache: &Cache) -> anyhow::Result<Kernel> {
    let path = Path::new(name);
    let found = Library::new(cache.clone()).find(name);
    if !path.exists()
        && let Some(image) = found.and_then(|entry| entry.image)
    {
        return Ok(Kernel::open(&image)?);
    }
    let looks_like_release = name.starts_with(|c: char| c.is_ascii_digit()) && !name.contains('/');
    if looks_like_release && !path.exists() {
        bail!(
            "there is no kernel {name} here: fetch it with `unshare-conformance kernels fetch {name}`, \
             or give the path of an image"
        );
    }
    Ok(Kernel::open(path)?)
}

/// Runs the cases that were asked for in a guest with this kernel, and reports.
///
/// # Errors
/// The guest cannot be described or started, or a report cannot be written.
pub fn run(args: &RunArgs, name: &str) -> anyhow::Result<ExitStatus> {
    let items = select(&args.selection, suite::cases::all())?;
    let mut reports = Reports::open(&args.report)?;
    let boot = Boot::prepare(&args.guest, name)?;
    for remark in boot.remarks() {
        eprintln!("unshare-conformance: {remark}");
    }
    let status = boot.run(&items, args, &mut |event| reports.event(event))?;
    if status != ExitStatus::Conforms {
        eprintln!(
            "unshare-conformance: the guest's console is in {}",
            boot.console.display()
        );
    }
    Ok(status)
}

/// What the program in a guest is told: the same cases, drawn from the same seed, and how to report
/// them.
pub fn arguments(
    selection: &SelectionArgs,
    how: &HowArgs,
    format: Format,
    slowdown: u32,
    jobs: Option<u32>,
) -> Vec<String> {
    let mut words = vec!["run".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    let format = format.to_possible_value().expect("every format has a name");
    option("--format", format.get_name().to_owned());
    option("--tier", how.tier_in_guest().name().to_owned());
    option("--seed", how.seed().to_string());
    option("--repeat", how.repeat.to_string());
    if let Some(jobs) = jobs {
        option("--jobs", jobs.to_string());
    }
    option("--slowdown", slowdown.to_string());
    if let Some(timeout) = how.timeout {
        option("--timeout", format!("{}ms", timeout.as_millis()));
    }
    for pattern in &selection.skip {
        option("--skip", pattern.clone());
    }
    words.push("--disturb-host".to_owned());
    if selection.exact {
        words.push("--exact".to_owned());
    }
    words.push("--".to_owned());
    words.extend(selection.filter.iter().cloned());
    words
}

/// All that is needed to boot one kernel.
pub struct Boot {
    kernel: Kernel,
    accelerator: Accelerator,
    remarks: Vec<String>,
    console: PathBuf,
}

impl Boot {
    /// Opens the kernel, unpacks it if that lets it boot sooner, and decides what executes it.
    ///
    /// # Errors
    /// One sentence for whatever cannot be used.
    pub fn prepare(args: &GuestArgs, name: &str) -> anyhow::Result<Boot> {
        let cache = Cache::of_user()?;
        let opened = open_kernel(name, &cache)?;
        let mut remarks = Vec::new();
        let kernel = match vm::payload::unpack(&opened, &cache) {
            Ok(kernel) => kernel,
            Err(error @ (PayloadError::Damaged { .. } | PayloadError::NotAKernel { .. })) => {
                return Err(error.into());
            }
            // It can still unpack itself, in the guest and more slowly.
            Err(error) => {
                remarks.push(error.to_string());
                opened
            }
        };
        let accelerator = match kernel.kind() {
            Kind::UserMode => Accelerator::Tcg,
            _ => {
                let (accelerator, why) = accelerator::decide(args.accel, &kernel, &cache)?;
                remarks.extend(why);
                accelerator
            }
        };
        let console = match &args.console {
            Some(path) => path.clone(),
            None => {
                let name = kernel.release().unwrap_or("unknown").replace('/', "_");
                cache.directory("consoles")?.join(format!("{name}.log"))
            }
        };
        Ok(Boot {
            kernel,
            accelerator,
            remarks,
            console,
        })
    }

    /// What a user should know of how the guest is run.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The file that keeps the guest's console.
    pub fn console(&self) -> &Path {
        &self.console
    }

    /// What executes the guest, in a word.
    pub fn accelerator(&self) -> &'static str {
        match (self.kernel.kind(), self.accelerator) {
            (Kind::UserMode, _) => "uml",
            (_, Accelerator::Tcg) => "tcg",
            (_, Accelerator::Kvm) => "kvm",
        }
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// What the guest is started with, to run these cases.
    pub fn options(&self, items: &[Item], args: &RunArgs) -> Options {
        let cpus = args.guest.cpus.unwrap_or_else(|| self.fitting_cpus(items));
        Options {
            accelerator: self.accelerator,
            memory: args.guest.memory,
            cpus,
            single_serial: args.guest.single_serial,
            kernel_parameters: args.guest.kernel_arg.clone(),
            arguments: arguments(
                &args.selection,
                &args.how,
                Format::Wire,
                self.slowdown().saturating_mul(args.how.slowdown),
                Some(args.how.jobs.unwrap_or(cpus)),
            ),
            ..Options::default()
        }
    }

    /// As many processors as let these cases end soonest: a second one makes the guest start later.
    fn fitting_cpus(&self, items: &[Item]) -> u32 {
        // What races can only be seen where tasks truly run at the same time.
        let races = items.iter().any(|item| item.case.group() == "storm");
        let host = std::thread::available_parallelism().map_or(1, usize::from);
        if self.kernel.kind() == Kind::UserMode || (items.len() < WORTH_A_CPU && !races) {
            1
        } else {
            host.min(2) as u32
        }
    }

    /// The slowdown of a guest on this machine.
    fn slowdown(&self) -> u32 {
        match (self.kernel.kind(), self.accelerator) {
            (Kind::UserMode, _) | (_, Accelerator::Tcg) => EMULATION_SLOWDOWN,
            (_, Accelerator::Kvm) => 2,
        }
    }

    /// Boots the guest and follows it to its end.
    ///
    /// # Errors
    /// The guest cannot be started, or a report cannot be written.
    pub fn run(
        &self,
        items: &[Item],
        args: &RunArgs,
        sink: &mut Sink,
    ) -> anyhow::Result<ExitStatus> {
        let image = inside::initramfs()?;
        let mut console = ConsoleLog::create(&self.console)?;
        let mut machine = Machine::start(&self.kernel, &image, &self.options(items, args))?;
        if self.kernel.kind() == Kind::UserMode {
            affinity::keep_on_one_cpu(machine.pid());
        }
        let mut session = Session::new(items, &args.guest);
        let ending = follow(&mut machine, &mut session, &mut console, &args.guest, sink)?;
        drop(machine);
        let (events, status) = session.end(&ending, args.strict, console.tail());
        for event in &events {
            sink(event)?;
        }
        let status = match (&ending, args.guest.boot_failure) {
            (Ending::Interrupted(signal), _) => ExitStatus::Interrupted { signal: *signal },
            (_, BootFailure::Fail) if session.never_began() && !ending.is_ours() => {
                ExitStatus::DoesNotConform
            }
            _ => status,
        };
        Ok(status)
    }
}

/// Feeds what the machine says to the session until it is over.
fn follow(
    machine: &mut Machine,
    session: &mut Session,
    console: &mut ConsoleLog,
    args: &GuestArgs,
    sink: &mut Sink,
) -> anyhow::Result<Ending> {
    let mut last_sign = Instant::now();
    loop {
        let patience = if session.never_began() {
            args.boot_patience
        } else {
            args.silence
        };
        match machine.next(patience.saturating_sub(last_sign.elapsed())) {
            Some(Input::Console(line)) => {
                last_sign = Instant::now();
                console
                    .line(&line)
                    .context("cannot write the console's file")?;
                session.console(&line);
                // A kernel that panics may stop without ending the machine.
                if session.has_panicked() {
                    machine.grace(STACKS_PATIENCE);
                }
            }
            Some(Input::Results(line)) => {
                last_sign = Instant::now();
                for event in session.results(&line) {
                    sink(&event)?;
                }
            }
            Some(Input::Signal(signal)) => return Ok(Ending::Interrupted(signal)),
            Some(Input::Ended(how)) => return Ok(session.ending_of(how)),
            None => {
                if session.has_panicked() {
                    return Ok(Ending::Panicked);
                }
                let stacks = monitor::ask_for_stacks(machine);
                let asked = Instant::now();
                while let Some(input) =
                    machine.next(STACKS_PATIENCE.saturating_sub(asked.elapsed()))
                {
                    match input {
                        Input::Console(line) => console.line(&line)?,
                        Input::Ended(_) | Input::Signal(_) => break,
                        Input::Results(_) => {}
                    }
                }
                return Ok(Ending::Silent {
                    after: patience,
                    stacks,
                });
            }
        }
    }
}

/// The version that a guest's program must have for its events to be understood.
pub fn program() -> &'static str {
    PROGRAM
}
