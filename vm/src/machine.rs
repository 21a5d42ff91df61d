//! The machines that guests run on, as data: `vm/machines/*.toml`.
//!
//! A machine and a kernel give an [`Invocation`]: a program, its arguments and the descriptors it is to inherit.
//! Console, results and monitor are socket pairs whose one end the program inherits at a fixed descriptor: no name in
//! a file system, nothing to connect to, nothing left behind, and an end of file when the program is gone, however it
//! went. QEMU and user-mode Linux both take them.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::kernel::{Kernel, Kind};
use crate::parameters::Parameters;

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's translator, everywhere.
    #[default]
    Tcg,
}

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the guest's kernel prints, and its init and suite on standard output. Also the results, when the machine
    /// has one serial port.
    Console,
    /// What the suite reports.
    Results,
    /// QMP, QEMU's control protocol; QEMU greets first. The serial ports' character devices are called `console` and
    /// `results`: a `chardev-send-break` to the first and a letter written to it is a magic SysRq.
    Monitor,
}

/// One end of a stream socket pair that the program inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What it is for.
    pub role: Role,
    /// The descriptor at which the program expects it, open and not close-on-exec.
    pub fd: RawFd,
}

/// What one guest is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What executes the guest; user-mode Linux needs none and ignores it.
    pub accelerator: Accelerator,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// Whether the machine has one serial port, on which console and results are mixed.
    pub single_serial: bool,
    /// Messages of the kernel below this level reach the console. 5 lets warnings through, and with them everything a
    /// kernel says when it is unwell; 8 is everything.
    pub console_level: u8,
    /// Further words for the kernel command line; of a repeated parameter the last counts for the kernel, and these
    /// are last.
    pub kernel_parameters: Vec<String>,
    /// The arguments of our binary in the guest.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            accelerator: Accelerator::Tcg,
            memory: 512,
            cpus: 1,
            single_serial: false,
            console_level: 5,
            kernel_parameters: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

/// How to start a guest.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The program: a name to look up in PATH, or user-mode Linux's path.
    pub program: OsString,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// The kernel command line as the guest will see it, but for what a loader adds.
    pub command_line: String,
    /// The descriptors it inherits.
    pub channels: Vec<Channel>,
}

/// Why a guest cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The command line does not fit.
    #[error(
        "the guest's kernel command line has {length} characters and {machine} takes {limit}: give fewer filters or kernel parameters"
    )]
    CommandLineTooLong {
        /// Characters, which are bytes.
        length: usize,
        /// How many fit.
        limit: usize,
        /// The machine.
        machine: String,
    },
    /// A vmlinux without the note that QEMU starts it by.
    #[error("{0} has no PVH note, so QEMU cannot boot it: give the bzImage of the same build, or set CONFIG_PVH=y")]
    NoPvh(PathBuf),
    /// The machine cannot run this kind of kernel.
    #[error(
        "{kernel} cannot be booted on {machine}: user-mode Linux is a program of its own, every other kernel needs QEMU"
    )]
    WrongKernel {
        /// The image.
        kernel: PathBuf,
        /// The machine.
        machine: String,
    },
    /// More processors than the machine can have, or none.
    #[error("{machine} can have 1 to {maximum} processors, not {asked}")]
    Processors {
        /// The machine.
        machine: String,
        /// What was asked.
        asked: u32,
        /// What it can have.
        maximum: u32,
    },
    /// A kernel parameter that would become several, or none.
    #[error(
        "{0:?} is not one word for a kernel command line: give each parameter by itself, without blanks or control characters"
    )]
    BadParameter(String),
    /// The program is nowhere in PATH.
    #[error(
        "{program} is not installed: install it (Debian's package {package}), or run on the host or with user-mode Linux"
    )]
    NotInstalled {
        /// The program.
        program: String,
        /// Debian's package.
        package: String,
    },
    /// A description that cannot be read.
    #[error("the machine description {name} is wrong: {why}")]
    Description {
        /// Which.
        name: String,
        /// What the parser said.
        why: String,
    },
}

/// A machine description. The files under `vm/machines/` say what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    #[serde(skip)]
    name: String,
    program: Option<String>,
    package: Option<String>,
    kernels: Vec<KernelKind>,
    arguments: Vec<String>,
    command_line: Vec<String>,
    command_line_limit: usize,
    maximum_cpus: u32,
    cpu: Option<Models>,
    console: Port,
    results: Port,
    monitor: Option<Monitor>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum KernelKind {
    #[serde(rename = "bzImage")]
    BzImage,
    #[serde(rename = "vmlinux")]
    Vmlinux,
    #[serde(rename = "user-mode")]
    UserMode,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    kvm: String,
    tcg: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    device: String,
    arguments: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Monitor {
    arguments: Vec<String>,
}

/// The machines that are built in, by name.
const MACHINES: [(&str, &str); 2] = [
    ("qemu-x86_64", include_str!("../machines/qemu-x86_64.toml")),
    ("user-mode", include_str!("../machines/user-mode.toml")),
];

const CONSOLE_FD: RawFd = 3;
const RESULTS_FD: RawFd = 4;
const MONITOR_FD: RawFd = 5;

impl Machine {
    /// The machine for this kind of kernel: QEMU's PC, or user-mode Linux itself.
    ///
    /// # Errors
    /// [`MachineError::Description`] if the built-in description were wrong, which a test excludes.
    pub fn for_kernel(kernel: &Kernel) -> Result<Machine, MachineError> {
        let (name, text) = match kernel.kind() {
            Kind::BzImage | Kind::Vmlinux => MACHINES[0],
            Kind::UserMode => MACHINES[1],
        };
        Machine::parse(name, text)
    }

    /// Reads a description in TOML.
    ///
    /// # Errors
    /// [`MachineError::Description`] with the line that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Machine, MachineError> {
        let machine: Machine = toml::from_str(text)
            .map_err(|error| MachineError::Description { name: name.to_owned(), why: error.to_string() })?;
        Ok(Machine { name: name.to_owned(), ..machine })
    }

    /// Its name, that of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the program that makes this machine lies; `None` for user-mode Linux, where the kernel is the program.
    ///
    /// # Errors
    /// [`MachineError::NotInstalled`] when it is nowhere in PATH.
    pub fn locate(&self) -> Result<Option<PathBuf>, MachineError> {
        let Some(program) = &self.program else {
            return Ok(None);
        };
        match in_path(program) {
            Some(path) => Ok(Some(path)),
            None => Err(MachineError::NotInstalled {
                program: program.clone(),
                package: self.package.clone().unwrap_or_else(|| program.clone()),
            }),
        }
    }

    /// Describes the start of a guest with `kernel` and the image `initramfs`. `directory` is a private directory for
    /// what the program needs to put somewhere.
    ///
    /// # Errors
    /// One sentence for whatever does not go together; see [`MachineError`].
    pub fn invocation(
        &self,
        kernel: &Kernel,
        initramfs: &Path,
        directory: &Path,
        options: &Options,
    ) -> Result<Invocation, MachineError> {
        let kind = match kernel.kind() {
            Kind::BzImage => KernelKind::BzImage,
            Kind::Vmlinux => KernelKind::Vmlinux,
            Kind::UserMode => KernelKind::UserMode,
        };
        if !self.kernels.contains(&kind) {
            return Err(MachineError::WrongKernel { kernel: kernel.path().to_owned(), machine: self.name.clone() });
        }
        if kind == KernelKind::Vmlinux && kernel.pvh_entry().is_none() {
            return Err(MachineError::NoPvh(kernel.path().to_owned()));
        }
        if !(1..=self.maximum_cpus).contains(&options.cpus) {
            let (asked, maximum) = (options.cpus, self.maximum_cpus);
            return Err(MachineError::Processors { machine: self.name.clone(), asked, maximum });
        }
        let words = self.command_line(options)?;
        let command_line = words.join(" ");

        let (accelerator, cpu) = match options.accelerator {
            Accelerator::Kvm => ("kvm", self.cpu.as_ref().map(|models| models.kvm.as_str())),
            Accelerator::Tcg => ("tcg", self.cpu.as_ref().map(|models| models.tcg.as_str())),
        };
        let (memory, cpus) = (options.memory.to_string(), options.cpus.to_string());
        let values: [(&str, OsString); 8] = [
            ("{kernel}", kernel.path().into()),
            ("{initramfs}", initramfs.into()),
            ("{directory}", directory.into()),
            ("{accelerator}", accelerator.into()),
            ("{cpu}", cpu.unwrap_or_default().into()),
            ("{cpus}", cpus.into()),
            ("{memory}", memory.into()),
            ("{command_line}", command_line.clone().into()),
        ];
        let mut arguments = Vec::new();
        for template in &self.arguments {
            if template == "{command_line_words}" {
                arguments.extend(words.iter().map(OsString::from));
            } else {
                arguments.push(filled(template, &values));
            }
        }
        let mut channels = Vec::new();
        let mut connect = |role, fd: RawFd, templates: &[String]| {
            let fds = [("{fd}", OsString::from(fd.to_string()))];
            arguments.extend(templates.iter().map(|template| filled(template, &fds)));
            channels.push(Channel { role, fd });
        };
        connect(Role::Console, CONSOLE_FD, &self.console.arguments);
        if !options.single_serial {
            connect(Role::Results, RESULTS_FD, &self.results.arguments);
        }
        if let Some(monitor) = &self.monitor {
            connect(Role::Monitor, MONITOR_FD, &monitor.arguments);
        }
        let program = match &self.program {
            Some(program) => program.into(),
            None => kernel.path().into(),
        };
        Ok(Invocation { program, arguments, command_line, channels })
    }

    /// The words of the kernel command line: the machine's, ours, the caller's. Also for a boot loader of the user's,
    /// beside an image of [`crate::initramfs`].
    ///
    /// # Errors
    /// [`MachineError::CommandLineTooLong`] or [`MachineError::BadParameter`].
    pub fn command_line(&self, options: &Options) -> Result<Vec<String>, MachineError> {
        let results = if options.single_serial { &self.console.device } else { &self.results.device };
        let parameters = Parameters { results: Some(results.clone()), arguments: options.arguments.clone() };
        let mut words = vec![format!("console={}", self.console.device)];
        words.push(format!("loglevel={}", options.console_level.min(8)));
        words.extend(self.command_line.iter().cloned());
        words.extend(parameters.to_command_line().split(' ').map(str::to_owned));
        for parameter in &options.kernel_parameters {
            words.push(one_word(parameter)?);
        }
        let length = words.iter().map(|word| word.len() + 1).sum::<usize>() - 1;
        if length > self.command_line_limit {
            let (limit, machine) = (self.command_line_limit, self.name.clone());
            return Err(MachineError::CommandLineTooLong { length, limit, machine });
        }
        Ok(words)
    }
}

/// The text again, if a kernel command line takes it as one word.
///
/// # Errors
/// [`MachineError::BadParameter`].
pub fn one_word(text: &str) -> Result<String, MachineError> {
    let parts = |c: char| c.is_whitespace() || c.is_control();
    if text.is_empty() || text.contains(parts) {
        return Err(MachineError::BadParameter(text.to_owned()));
    }
    Ok(text.to_owned())
}

/// Fills in placeholders, which stand at the end of a template if they are paths (those may be no UTF-8).
fn filled(template: &str, values: &[(&str, OsString)]) -> OsString {
    let Some((at, key, value)) =
        values.iter().filter_map(|(key, value)| Some((template.find(key)?, *key, value))).min_by_key(|found| found.0)
    else {
        return template.into();
    };
    let mut text = OsString::from(&template[..at]);
    text.push(value);
    text.push(filled(&template[at + key.len()..], values));
    text
}

/// The executable file `program` in PATH.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(name: &str) -> Machine {
        let (name, text) = MACHINES.into_iter().find(|machine| machine.0 == name).unwrap();
        Machine::parse(name, text).unwrap()
    }

    fn invocation(machine: &str, kind: Kind, pvh: Option<u32>, options: &Options) -> Result<Invocation, MachineError> {
        let kernel = Kernel::for_test("/k/a b", kind, pvh);
        built_in(machine).invocation(&kernel, Path::new("/i,n"), Path::new("/d"), options)
    }

    #[test]
    fn qemu_gets_its_kernel_command_line_and_descriptors() {
        let options = Options { arguments: vec!["run".into(), "pid.*".into()], ..Options::default() };
        let start = invocation("qemu-x86_64", Kind::Vmlinux, Some(1), &options).unwrap();
        assert_eq!(start.program, "qemu-system-x86_64");
        let after = |flag: &str| &start.arguments[start.arguments.iter().position(|word| word == flag).unwrap() + 1];
        assert_eq!(after("-kernel"), "/k/a b");
        assert_eq!(after("-initrd"), "/i,n");
        assert_eq!(after("-m"), "512");
        assert_eq!(*after("-append"), *start.command_line);
        assert!(start.command_line.starts_with("console=ttyS0 loglevel=5 "), "{}", start.command_line);
        let parameters = Parameters::parse(&start.command_line);
        assert_eq!(parameters.results.as_deref(), Some("ttyS1"));
        assert_eq!(parameters.arguments, options.arguments);
        let roles: Vec<Role> = start.channels.iter().map(|channel| channel.role).collect();
        assert_eq!(roles, [Role::Console, Role::Results, Role::Monitor]);
        assert!(!start.arguments.iter().any(|word| word.to_string_lossy().contains('{')));
    }

    #[test]
    fn one_serial_port_carries_both() {
        let options = Options { single_serial: true, ..Options::default() };
        let start = invocation("qemu-x86_64", Kind::BzImage, None, &options).unwrap();
        assert!(start.channels.iter().all(|channel| channel.role != Role::Results));
        assert_eq!(Parameters::parse(&start.command_line).results.as_deref(), Some("ttyS0"));
        assert_eq!(start.arguments.iter().filter(|word| *word == "-serial").count(), 1);
    }

    #[test]
    fn user_mode_linux_is_its_own_program() {
        let start = invocation("user-mode", Kind::UserMode, None, &Options::default()).unwrap();
        assert_eq!(start.program, "/k/a b");
        assert!(start.arguments.contains(&"uml_dir=/d".into()) && start.arguments.contains(&"panic=-1".into()));
        assert!(start.arguments.contains(&"ssl0=null,fd:4".into()), "{:?}", start.arguments);
        assert!(!start.arguments.iter().any(|word| word.to_string_lossy().contains('{')));
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let plain = Options::default();
        let said =
            |kind, pvh, options: &Options| invocation("qemu-x86_64", kind, pvh, options).unwrap_err().to_string();
        assert!(said(Kind::Vmlinux, None, &plain).contains("no PVH note"));
        assert!(said(Kind::UserMode, None, &plain).contains("cannot be booted on qemu-x86_64"));
        assert!(said(Kind::BzImage, None, &Options { cpus: 0, ..plain.clone() }).contains("1 to 255 processors"));
        let long = Options { arguments: vec!["x".repeat(2000)], ..plain.clone() };
        assert!(said(Kind::BzImage, None, &long).contains("takes 2047"));
        for bad in ["", "a b", "a\nb"] {
            let options = Options { kernel_parameters: vec![bad.into()], ..plain.clone() };
            assert!(said(Kind::BzImage, None, &options).contains("not one word"));
        }
    }

    #[test]
    fn a_wrong_description_names_its_line() {
        let error = Machine::parse("mine", "program = 5").unwrap_err().to_string();
        assert!(error.starts_with("the machine description mine is wrong"), "{error}");
    }

    #[test]
    fn programs_are_found_in_path() {
        assert!(in_path("sh").is_some());
        assert!(in_path("no-such-program-anywhere").is_none());
    }
}
