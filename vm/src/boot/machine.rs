//! The machines that guests run on, as data: `vm/machines/*.toml`.
//!
//! A machine and a kernel give an [`Invocation`]: a program, its arguments and the descriptors it is to inherit.
//! Console, results and monitor are socket pairs whose one end the program inherits at a fixed descriptor: no name in
//! a file system, nothing to connect to, nothing left behind, and an end of file however the program ends. QEMU and
//! user-mode Linux both take them.

use std::os::fd::RawFd;

use super::parameters::Parameters;
use crate::common::*;
use crate::image::kconfig::mute;

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
    /// QMP, QEMU's control protocol; QEMU greets first. The ports' character devices are called `console` and
    /// `results`: what [`SysRq`] says and a letter, sent to the first, is a magic SysRq.
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
    /// Messages of the kernel below this level reach the console. 5 lets warnings and errors through, 8 everything.
    pub console_level: u8,
    /// Further words for the kernel command line; of a repeated parameter the last counts for the kernel, and these
    /// are last.
    pub kernel_parameters: Vec<String>,
    /// What the cases that these arguments select are known by, if the guest's init is to compare it.
    pub plan: Option<String>,
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
            plan: None,
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
    /// The descriptors it inherits.
    pub channels: Vec<Channel>,
}

/// Why a guest cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The command line is too long. With its length in bytes, the machine and the machine's limit.
    #[error(
        "the guest's kernel command line has {0} characters and {1} takes {2}: give fewer filters or kernel parameters"
    )]
    CommandLineTooLong(usize, String, usize),
    /// A vmlinux without the note that QEMU starts it by.
    #[error("{0} has no PVH note, so QEMU cannot boot it: give the bzImage of the same build, or set CONFIG_PVH=y")]
    NoPvh(PathBuf),
    /// The machine cannot run this kind of kernel. With the image and the machine.
    #[error("{0} cannot be booted on {1}: user-mode Linux is a program of its own, every other kernel needs QEMU")]
    WrongKernel(PathBuf, String),
    /// User-mode Linux of another architecture than this machine's. With the image and its architecture.
    #[error("{0} is a program for {1}, and this machine is none: give it a kernel that QEMU boots")]
    ForeignProgram(PathBuf, Architecture),
    /// KVM was asked for, and this machine's processor cannot run the kernel. With the image and its architecture.
    #[error("{0} is for {1}, which KVM does not run on this machine: leave --accel kvm out, and it is emulated")]
    ForeignKernel(PathBuf, Architecture),
    /// More processors than the machine can have, or none. With the machine, its maximum and what was asked.
    #[error("{0} can have 1 to {1} processors, not {2}")]
    Processors(String, u32, u32),
    /// A kernel parameter that would become several, or none.
    #[error(
        "{0:?} is not one word for a kernel command line: give each parameter by itself, without blanks or control characters"
    )]
    BadParameter(String),
    /// The program is nowhere in PATH. With its Debian package.
    #[error("{0} is not installed: install it (Debian's package {1}), or run on the host or with user-mode Linux")]
    NotInstalled(String, String),
}

/// A machine description. The files under `vm/machines/` say what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    #[serde(skip)]
    name: String,
    architectures: Vec<Architecture>,
    program: Option<String>,
    #[serde(default)]
    package: String,
    kernels: Vec<Kind>,
    arguments: Vec<String>,
    command_line: Vec<String>,
    command_line_limit: usize,
    maximum_cpus: u32,
    /// Whether QMP's `inject-nmi` makes a kernel say where it is.
    #[serde(default)]
    nmi: bool,
    #[serde(default)]
    cpu: Models,
    console: Port,
    results: Port,
    monitor: Option<Port>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    kvm: String,
    tcg: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    /// The guest's name for it; the monitor has none.
    #[serde(default)]
    device: String,
    /// Of a console of QEMU's: what it is, with its article.
    #[serde(default)]
    name: String,
    /// The options without which no kernel prints to it.
    #[serde(default)]
    options: Vec<String>,
    /// How the kernel takes a magic SysRq from it.
    #[serde(default)]
    sysrq: Option<SysRq>,
    arguments: Vec<String>,
}

/// What a console takes for the SysRq key; a letter follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SysRq {
    /// A break of the serial line: QMP's `chardev-send-break`.
    Break,
    /// The character Control-O.
    ControlO,
}

/// The descriptions, each with its name.
const MACHINES: [(&str, &str); 6] = [
    ("qemu-x86_64", include_str!("../../machines/qemu-x86_64.toml")),
    ("qemu-aarch64", include_str!("../../machines/qemu-aarch64.toml")),
    ("qemu-riscv64", include_str!("../../machines/qemu-riscv64.toml")),
    ("qemu-s390x", include_str!("../../machines/qemu-s390x.toml")),
    ("qemu-ppc64", include_str!("../../machines/qemu-ppc64.toml")),
    ("user-mode", include_str!("../../machines/user-mode.toml")),
];

const CONSOLE_FD: RawFd = 3;
const RESULTS_FD: RawFd = 4;
const MONITOR_FD: RawFd = 5;

impl Machine {
    /// The machine for a kernel of this architecture and kind: one of QEMU's, or user-mode Linux itself.
    pub fn for_kernel(kernel: &Kernel) -> Machine {
        Machine::of(kernel.architecture(), kernel.kind())
    }

    /// The machine for kernels of this architecture and kind.
    fn of(architecture: Architecture, kind: Kind) -> Machine {
        let machine = |(name, text): &(&str, &str)| {
            let machine: Machine = toml::from_str(text).expect("the built-in descriptions are valid, as tests check");
            Machine { name: (*name).to_owned(), ..machine }
        };
        let fits = |it: &Machine| it.architectures.contains(&architecture) && it.kernels.contains(&kind);
        MACHINES.iter().map(machine).find(fits).expect("every kernel that is recognised has a machine, as tests check")
    }

    /// Its name, as in `vm/machines`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a kernel takes a magic SysRq from its console, where it has one of QEMU's.
    pub fn sysrq(&self) -> Option<SysRq> {
        self.console.sysrq
    }

    /// Whether QMP's `inject-nmi` makes a kernel say where it is, even if it serves no interrupts.
    pub fn has_nmi(&self) -> bool {
        self.nmi
    }

    /// The sentence on a kernel that nobody can hear on this machine, as far as its configuration tells.
    pub fn mute(&self, configuration: &Configuration) -> Option<String> {
        mute(configuration, &self.console.name, &self.console.options)
    }

    /// The options without which no kernel prints to the console, as a list in words.
    pub fn console_options(&self) -> String {
        let options: Vec<String> = self.console.options.iter().map(|option| format!("CONFIG_{option}=y")).collect();
        options.join(" and ")
    }

    /// Checks that the program that makes this machine is in PATH. For user-mode Linux, the kernel is the program.
    ///
    /// # Errors
    /// [`MachineError::NotInstalled`].
    pub fn check_installed(&self) -> Result<(), MachineError> {
        match &self.program {
            Some(program) if in_path(program).is_none() => {
                Err(MachineError::NotInstalled(program.clone(), self.package.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Describes the start of a guest with `kernel` and the image `initramfs`. `directory` is a private directory for
    /// what the program needs to put somewhere.
    ///
    /// # Errors
    /// The machine cannot boot this kernel, or not with these options.
    pub fn invocation(
        &self,
        kernel: &Kernel,
        initramfs: &Path,
        directory: &Path,
        options: &Options,
    ) -> Result<Invocation, MachineError> {
        if !self.kernels.contains(&kernel.kind()) {
            return Err(MachineError::WrongKernel(kernel.path().to_owned(), self.name.clone()));
        }
        if kernel.kind() == Kind::UserMode && Architecture::host() != kernel.architecture() {
            return Err(MachineError::ForeignProgram(kernel.path().to_owned(), kernel.architecture()));
        }
        if options.accelerator == Accelerator::Kvm
            && kernel.kind() != Kind::UserMode
            && !kernel.architecture().is_accelerated()
        {
            return Err(MachineError::ForeignKernel(kernel.path().to_owned(), kernel.architecture()));
        }
        let needs_note = (kernel.architecture(), kernel.kind()) == (Architecture::X86_64, Kind::Vmlinux);
        if needs_note && kernel.image.pvh_entry.is_none() {
            return Err(MachineError::NoPvh(kernel.path().to_owned()));
        }
        if !(1..=self.maximum_cpus).contains(&options.cpus) {
            return Err(MachineError::Processors(self.name.clone(), self.maximum_cpus, options.cpus));
        }
        let limit = kernel.image.command_line_limit.unwrap_or(self.command_line_limit).min(self.command_line_limit);
        let words = self.command_line(options, limit)?;
        let (accelerator, cpu) = match options.accelerator {
            Accelerator::Kvm => ("kvm", &self.cpu.kvm),
            Accelerator::Tcg => ("tcg", &self.cpu.tcg),
        };
        let values: [(&str, OsString); 8] = [
            ("{kernel}", kernel.path().into()),
            ("{initramfs}", initramfs.into()),
            ("{directory}", directory.into()),
            ("{accelerator}", accelerator.into()),
            ("{cpu}", cpu.into()),
            ("{cpus}", options.cpus.to_string().into()),
            ("{memory}", options.memory.to_string().into()),
            ("{command_line}", words.join(" ").into()),
        ];
        let mut arguments = Vec::new();
        for template in &self.arguments {
            if template == "{command_line_words}" {
                arguments.extend(words.iter().map(OsString::from));
            } else {
                arguments.push(filled(template, &values));
            }
        }
        let ports = [
            (Role::Console, CONSOLE_FD, Some(&self.console)),
            (Role::Results, RESULTS_FD, Some(&self.results).filter(|_| !options.single_serial)),
            (Role::Monitor, MONITOR_FD, self.monitor.as_ref()),
        ];
        let mut channels = Vec::new();
        for (role, fd, port) in ports {
            let Some(port) = port else { continue };
            let fds = [("{fd}", OsString::from(fd.to_string()))];
            arguments.extend(port.arguments.iter().map(|template| filled(template, &fds)));
            channels.push(Channel { role, fd });
        }
        let program = self.program.as_ref().map_or_else(|| kernel.path().into(), OsString::from);
        Ok(Invocation { program, arguments, channels })
    }

    /// The words of the kernel command line: the machine's, ours, the caller's.
    fn command_line(&self, options: &Options, limit: usize) -> Result<Vec<String>, MachineError> {
        let results = if options.single_serial { &self.console.device } else { &self.results.device };
        let (plan, arguments) = (options.plan.clone(), options.arguments.clone());
        let parameters = Parameters { results: Some(results.clone()), plan, arguments };
        let level = options.console_level.min(8);
        let mut words = vec![format!("console={}", self.console.device), format!("loglevel={level}")];
        words.extend(self.command_line.iter().cloned());
        words.extend(parameters.to_command_line().split(' ').map(str::to_owned));
        for parameter in &options.kernel_parameters {
            words.push(one_word(parameter)?);
        }
        let length = words.iter().map(|word| word.len() + 1).sum::<usize>() - 1;
        if length > limit {
            return Err(MachineError::CommandLineTooLong(length, self.name.clone(), limit));
        }
        Ok(words)
    }
}

/// The text again, if a kernel command line takes it as one word.
///
/// # Errors
/// [`MachineError::BadParameter`].
pub fn one_word(text: &str) -> Result<String, MachineError> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn on_qemu(kind: Kind, pvh: Option<u32>, options: &Options) -> Result<Invocation, MachineError> {
        let kernel = Kernel::for_test("/k/a b", kind, pvh);
        let machine = Machine::for_kernel(&Kernel::for_test("", Kind::BzImage, None));
        machine.invocation(&kernel, Path::new("/i,n"), Path::new("/d"), options)
    }

    #[test]
    fn qemu_gets_its_kernel_command_line_and_descriptors() {
        let options = Options { arguments: vec!["run".into(), "pid.*".into()], ..Options::default() };
        let start = on_qemu(Kind::Vmlinux, Some(1), &options).unwrap();
        assert_eq!(start.program, "qemu-system-x86_64");
        let after = |flag: &str| &start.arguments[start.arguments.iter().position(|word| word == flag).unwrap() + 1];
        assert_eq!(after("-kernel"), "/k/a b");
        assert_eq!(after("-initrd"), "/i,n");
        assert_eq!(after("-m"), "512");
        let command_line = after("-append").to_str().unwrap();
        assert!(command_line.starts_with("console=ttyS0 loglevel=5 "), "{command_line}");
        let parameters = Parameters::parse(command_line);
        assert_eq!(parameters.results.as_deref(), Some("ttyS1"));
        assert_eq!(parameters.arguments, options.arguments);
        let roles: Vec<Role> = start.channels.iter().map(|channel| channel.role).collect();
        assert_eq!(roles, [Role::Console, Role::Results, Role::Monitor]);
        assert!(!start.arguments.iter().any(|word| word.to_string_lossy().contains('{')));
    }

    #[test]
    fn one_serial_port_carries_both() {
        let options = Options { single_serial: true, ..Options::default() };
        let start = on_qemu(Kind::BzImage, None, &options).unwrap();
        assert!(start.channels.iter().all(|channel| channel.role != Role::Results));
        assert!(start.arguments.iter().any(|word| word.to_string_lossy().contains("results=ttyS0")));
        assert_eq!(start.arguments.iter().filter(|word| *word == "-serial").count(), 1);
    }

    #[test]
    fn user_mode_linux_is_its_own_program() {
        let kernel = Kernel::for_test("/k/a b", Kind::UserMode, None);
        let machine = Machine::for_kernel(&kernel);
        machine.check_installed().unwrap();
        let start = machine.invocation(&kernel, Path::new("/i,n"), Path::new("/d"), &Options::default()).unwrap();
        assert_eq!(start.program, "/k/a b");
        assert!(start.arguments.contains(&"uml_dir=/d".into()) && start.arguments.contains(&"panic=-1".into()));
        assert!(start.arguments.contains(&"ssl0=null,fd:4".into()), "{:?}", start.arguments);
        assert!(!start.arguments.iter().any(|word| word.to_string_lossy().contains('{')));
    }

    #[test]
    fn every_architecture_has_its_machine() {
        for (architecture, kind, program, console, results) in [
            (Architecture::X86_64, Kind::BzImage, "qemu-system-x86_64", "ttyS0", "ttyS1"),
            (Architecture::I386, Kind::BzImage, "qemu-system-x86_64", "ttyS0", "ttyS1"),
            (Architecture::Arm64, Kind::Image, "qemu-system-aarch64", "ttyAMA0", "hvc0"),
            (Architecture::Riscv64, Kind::Image, "qemu-system-riscv64", "ttyS0", "hvc0"),
            (Architecture::S390x, Kind::Image, "qemu-system-s390x", "ttysclp0", "hvc0"),
            (Architecture::Ppc64le, Kind::Vmlinux, "qemu-system-ppc64", "hvc0", "hvc1"),
        ] {
            let kernel = Kernel::of_architecture("/k/a b", kind, architecture, None);
            let machine = Machine::for_kernel(&kernel);
            let start =
                machine.invocation(&kernel, Path::new("/i,n"), Path::new("/d"), &Options::default()).expect("booted");
            assert_eq!(start.program, program);
            let words: Vec<String> = start.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            assert!(!words.iter().any(|word| word.contains('{')), "{words:?}");
            let command_line = &words[words.iter().position(|word| word == "-append").expect("it has one") + 1];
            assert!(command_line.starts_with(&format!("console={console} ")), "{command_line}");
            assert_eq!(Parameters::parse(command_line).results.as_deref(), Some(results));
            assert_eq!(start.channels.len(), 3);
            assert!(machine.sysrq().is_some() && !machine.console.name.is_empty());
            // What it takes to be heard is among what it takes to boot.
            let boot = Configuration::parse(Fragment::boot(architecture, kind).text());
            assert!(machine.console.options.iter().all(|option| boot.is_built_in(option)));
            assert_eq!(machine.mute(&boot), None);
        }
    }

    #[test]
    fn kvm_does_not_run_other_architectures() {
        let other = if Architecture::host() == Architecture::S390x { Architecture::Arm64 } else { Architecture::S390x };
        let kernel = Kernel::of_architecture("/k/Image", Kind::Image, other, None);
        let options = Options { accelerator: Accelerator::Kvm, ..Options::default() };
        let started = Machine::for_kernel(&kernel).invocation(&kernel, Path::new("/i"), Path::new("/d"), &options);
        let error = started.unwrap_err().to_string();
        assert!(error.contains("which KVM does not run on this machine: leave --accel kvm out"), "{error}");
    }

    #[test]
    fn a_kernel_that_states_its_limit_is_not_given_more() {
        let mut kernel = Kernel::of_architecture("/k/bzImage", Kind::Image, Architecture::S390x, None);
        let options = Options { arguments: vec!["x".repeat(800)], ..Options::default() };
        let start = |kernel: &Kernel| {
            Machine::for_kernel(kernel).invocation(kernel, Path::new("/i"), Path::new("/d"), &options)
        };
        assert!(start(&kernel).is_ok());
        kernel.image.command_line_limit = Some(895);
        assert!(start(&kernel).unwrap_err().to_string().contains("takes 895"));
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let plain = Options::default();
        let said = |kind, pvh, options: &Options| on_qemu(kind, pvh, options).unwrap_err().to_string();
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
}
