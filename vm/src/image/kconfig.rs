//! Kernel configurations, and the fragments under `vm/kconfig/` that say which options a guest's kernel needs.

use std::collections::BTreeMap;

use crate::common::*;

/// A line in the configuration that every user-mode Linux carries.
pub(crate) const UML_MARKER: &[u8] = b"\0CONFIG_UML=y\n\0";

/// A kernel configuration: what a `.config` says. Names are without their `CONFIG_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    options: BTreeMap<String, String>,
}

impl Configuration {
    /// Reads a `.config` or a fragment. An option that "is not set" is kept as `n`; other lines are passed over, as the
    /// kernel's own tools do.
    pub fn parse(text: &str) -> Configuration {
        let options = text.lines().filter_map(parse_line).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Configuration { options: options.collect() }
    }

    pub(crate) fn read(path: &Path) -> io::Result<Configuration> {
        Ok(Configuration::parse(&String::from_utf8_lossy(&std::fs::read(path)?)))
    }

    /// Finds the copy inside an unpacked kernel: see [`Configuration::embedded_text`].
    pub(crate) fn embedded(image: &[u8]) -> Option<Configuration> {
        Some(Configuration::parse(&String::from_utf8_lossy(&Configuration::embedded_text(image)?)))
    }

    /// The text of the copy inside an unpacked kernel: the gzip stream of CONFIG_IKCONFIG (kernel/configs.c), or the
    /// text that every user-mode Linux carries for its `--showconfig` (arch/um/kernel/config.c.in).
    pub(crate) fn embedded_text(image: &[u8]) -> Option<Vec<u8>> {
        if let Some(at) = memchr::memmem::find(image, b"IKCFG_ST\x1f\x8b") {
            let mut text = Vec::new();
            // Real ones are 0.1 to 0.3 MB; the limit is against a stream that is not one.
            let mut limited = flate2::read::GzDecoder::new(&image[at + 8..]).take(16 << 20);
            if limited.read_to_end(&mut text).is_ok() {
                return Some(text);
            }
        }
        // There each line is a C string.
        let (before, after) = image.split_at(memchr::memmem::find(image, UML_MARKER)?);
        let is_line = |string: &&[u8]| string.ends_with(b"\n");
        let mut lines: Vec<&[u8]> = before.rsplit(|&byte| byte == 0).take_while(is_line).collect();
        lines.reverse();
        lines.extend(after[1..].split(|&byte| byte == 0).take_while(is_line));
        Some(lines.concat())
    }

    /// The value as written (`y`, `m`, `n`, a number, a quoted string), or `None` when the option is not mentioned,
    /// which for a whole `.config` means that it does not exist or cannot be chosen.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether the option is `y`.
    pub fn is_built_in(&self, name: &str) -> bool {
        self.value(name) == Some("y")
    }

    /// All options mentioned, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn parse_line(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(name) = line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set")) {
        return Some((name, "n"));
    }
    line.strip_prefix("CONFIG_")?.split_once('=')
}

/// A kconfig fragment: options and their required values.
#[derive(Clone, Debug)]
pub struct Fragment {
    name: &'static str,
    text: &'static str,
}

/// An option that does not have the value that a fragment requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The option, without its `CONFIG_`.
    pub option: String,
    /// The required value.
    pub wanted: String,
    /// The value it has; `None` when the configuration does not mention it, because the kernel does not know it or
    /// something that it depends on is off.
    pub found: Option<String>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CONFIG_{}={}", self.option, self.wanted)
    }
}

/// One of the files in `vm/kconfig`, by its name; or one and what an architecture adds to it, in another.
macro_rules! fragment {
    ($name:literal) => {
        Fragment { name: $name, text: include_str!(concat!("../../kconfig/", $name)) }
    };
    ($common:literal, $architecture:literal) => {
        Fragment {
            name: concat!($common, "-", $architecture, ".config"),
            text: concat!(
                include_str!(concat!("../../kconfig/", $common, ".config")),
                "\n",
                include_str!(concat!("../../kconfig/", $common, "-", $architecture, ".config"))
            ),
        }
    };
}

impl Fragment {
    /// What a kernel of this architecture and kind needs to start our init, and to be heard.
    pub fn boot(architecture: Architecture, kind: Kind) -> Fragment {
        match architecture {
            _ if kind == Kind::UserMode => fragment!("boot-user-mode.config"),
            Architecture::X86_64 => fragment!("boot", "x86_64"),
            Architecture::I386 => fragment!("boot", "i386"),
            Architecture::Arm64 => fragment!("boot", "arm64"),
            Architecture::Riscv64 => fragment!("boot", "riscv64"),
            Architecture::S390x => fragment!("boot", "s390x"),
            Architecture::Ppc64le => fragment!("boot", "ppc64le"),
        }
    }

    /// What a kernel of this architecture needs so that no case is skipped.
    pub fn guest(architecture: Architecture) -> Fragment {
        match architecture {
            Architecture::X86_64 => fragment!("guest", "x86_64"),
            Architecture::I386 => fragment!("guest", "i386"),
            Architecture::Arm64 => fragment!("guest", "arm64"),
            Architecture::Riscv64 => fragment!("guest", "riscv64"),
            Architecture::S390x => fragment!("guest", "s390x"),
            Architecture::Ppc64le => fragment!("guest", "ppc64le"),
        }
    }

    /// Fragments that a build can add, each for a purpose of its own.
    pub fn additions() -> [Fragment; 7] {
        [
            fragment!("coverage.config"),
            fragment!("fault-injection.config"),
            fragment!("lockdep.config"),
            fragment!("debug.config"),
            fragment!("kasan.config"),
            fragment!("kcsan.config"),
            fragment!("kmemleak.config"),
        ]
    }

    /// One of the [`additions`](Self::additions), by its name without `.config`.
    pub fn addition(name: &str) -> Option<Fragment> {
        Fragment::additions().into_iter().find(|fragment| fragment.name.strip_suffix(".config") == Some(name))
    }

    /// Its file's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its text, as the kernel's `merge_config.sh` takes it.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// The variables that make is given for it, `NAME=VALUE`: what a kernel's build leaves to its Makefiles, and a tree
    /// that is not ours must not be edited for.
    pub fn make_variables(&self) -> impl Iterator<Item = &'static str> {
        let text = if self.name == "coverage.config" { include_str!("../../kconfig/coverage.make") } else { "" };
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    /// The options that have another value in `configuration`, by name. `m` is not enough where `y` is required: guests
    /// have no modules.
    pub fn unmet(&self, configuration: &Configuration) -> Vec<Unmet> {
        let required = Configuration::parse(self.text).options.into_iter();
        required
            .filter(|(option, wanted)| value_of(configuration, option) != wanted)
            .map(|(option, wanted)| Unmet { found: configuration.value(&option).map(str::to_owned), option, wanted })
            .collect()
    }
}

/// Options that other kernels have under another name.
const RENAMED: [(&str, &str); 3] = [
    // 7.3 folded one into the other.
    ("PROC_SYSCTL", "SYSCTL"),
    // Of riscv: a fragment that older and newer kernels take has both.
    ("SOC_VIRT", "ARCH_VIRT"),
    ("ARCH_VIRT", "SOC_VIRT"),
];

fn value_of<'a>(configuration: &'a Configuration, option: &str) -> &'a str {
    let renamed = || RENAMED.iter().find(|(old, _)| *old == option).and_then(|(_, new)| configuration.value(new));
    configuration.value(option).or_else(renamed).unwrap_or("n")
}

/// The sentence on a kernel that puts another command line in place of the one it is given, and so never learns from us
/// which cases to run; `None` for all others.
pub fn deaf(configuration: &Configuration) -> Option<String> {
    // x86 has the first; arm, arm64, powerpc, riscv and others one of the second.
    let option = ["CMDLINE_OVERRIDE", "CMDLINE_FORCE"].into_iter().find(|name| configuration.is_built_in(name))?;
    Some(format!(
        "the kernel ignores the command line that it is given (CONFIG_{option}=y), by which its init learns what to run: \
         switch it off and build the kernel again"
    ))
}

/// The sentence on a kernel that nobody can hear, because it lacks one of the options by which it prints to `console`;
/// `None` for all others, also where the options are not mentioned.
pub(crate) fn mute(configuration: &Configuration, console: &str, options: &[String]) -> Option<String> {
    let lacks = |name: &String| matches!(configuration.value(name), Some("n" | "m"));
    if !options.iter().any(lacks) {
        return None;
    }
    let other = if configuration.is_built_in("VIRTIO_CONSOLE") { ", not that of CONFIG_VIRTIO_CONSOLE" } else { "" };
    let needed: Vec<String> = options.iter().map(|option| format!("CONFIG_{option}=y")).collect();
    Some(format!(
        "the kernel cannot be heard: guests print to {console}{other}; set {} and build the kernel again",
        needed.join(" and ")
    ))
}

/// The sentence that names missing options and says what to do; `None` when none is missing.
pub fn sentence(unmet: &[Unmet]) -> Option<String> {
    let names: Vec<String> = unmet.iter().map(Unmet::to_string).collect();
    let (names, them) = match names.as_slice() {
        [] => return None,
        [one] => (one.clone(), "it"),
        [many @ .., last] => (format!("{} and {last}", many.join(", ")), "them"),
    };
    Some(format!("the kernel was built without {names}: set {them} and build the kernel again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_the_kernel_writes_it() {
        let text = "# Linux/x86 6.1 Kernel Configuration\nCONFIG_USER_NS=y\n# CONFIG_KCMP is not set\n\
                    CONFIG_FOO=m\nCONFIG_CMDLINE=\"a=b # c\"\nCONFIG_HZ=250\n\ngarbage\n";
        let configuration = Configuration::parse(text);
        assert!(configuration.is_built_in("USER_NS") && !configuration.is_built_in("FOO"));
        assert_eq!(configuration.value("KCMP"), Some("n"));
        assert_eq!(configuration.value("CMDLINE"), Some("\"a=b # c\""));
        assert_eq!(configuration.value("PID_NS"), None);
        assert_eq!(configuration.iter().count(), 5);
    }

    #[test]
    fn the_embedded_copy_is_found() {
        use std::io::Write as _;
        let mut stream = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        stream.write_all(b"CONFIG_IKCONFIG=y\n").unwrap();
        let image = [b"...IKCFG_ST", stream.finish().unwrap().as_slice(), b"IKCFG_ED..."].concat();
        assert!(Configuration::embedded(&image).unwrap().is_built_in("IKCONFIG"));
        assert_eq!(Configuration::embedded(&image[..20]), None);
        assert_eq!(Configuration::embedded(b"CONFIG_UML=y"), None);
        let text = Configuration::embedded_text(b"other\0CONFIG_A=y\n\0CONFIG_UML=y\n\0CONFIG_B=y\n");
        assert_eq!(text.as_deref(), Some(&b"CONFIG_A=y\nCONFIG_UML=y\nCONFIG_B=y\n"[..]));
    }

    #[test]
    fn missing_options_are_named() {
        let guest = Fragment::guest(Architecture::X86_64);
        let all = Configuration::parse(&guest.text().replace("CONFIG_KCMP=y", "CONFIG_KCMP=m"));
        let unmet = guest.unmet(&all);
        assert_eq!(unmet, [Unmet { option: "KCMP".into(), wanted: "y".into(), found: Some("m".into()) }]);
        assert!(sentence(&unmet).unwrap().contains("without CONFIG_KCMP=y: set it"));
        let boot = Fragment::boot(Architecture::X86_64, Kind::BzImage);
        let unmet = boot.unmet(&Configuration::default());
        assert!(sentence(&unmet).unwrap().contains(" and CONFIG_TTY=y: set them"));
        assert_eq!(sentence(&[]), None);
    }

    #[test]
    fn kernels_that_are_deaf_or_mute_are_told() {
        let of = |text: &str| Configuration::parse(text);
        let sentence = deaf(&of("CONFIG_CMDLINE=\"quiet\"\nCONFIG_CMDLINE_OVERRIDE=y\n")).unwrap();
        assert!(sentence.contains("CONFIG_CMDLINE_OVERRIDE=y"));
        assert_eq!(deaf(&of("CONFIG_CMDLINE_BOOL=y\n# CONFIG_CMDLINE_OVERRIDE is not set\n")), None);
        let options = ["SERIAL_8250", "SERIAL_8250_CONSOLE"].map(str::to_owned);
        let mute = |configuration: &Configuration| mute(configuration, "a PC's serial port", &options);
        let kata = of("# CONFIG_SERIAL_8250 is not set\nCONFIG_VIRTIO_CONSOLE=y\n");
        let sentence = mute(&kata).unwrap();
        assert!(sentence.contains("CONFIG_SERIAL_8250_CONSOLE=y") && sentence.contains("CONFIG_VIRTIO_CONSOLE"));
        assert!(mute(&of("CONFIG_SERIAL_8250=m\n")).is_some());
        assert_eq!(mute(&of("CONFIG_SERIAL_8250=y\nCONFIG_SERIAL_8250_CONSOLE=y\n")), None);
        assert_eq!(mute(&of("CONFIG_64BIT=y\n")), None);
    }

    #[test]
    fn only_coverage_has_variables_for_make() {
        for fragment in Fragment::additions() {
            let variables: Vec<&str> = fragment.make_variables().collect();
            assert_eq!(!variables.is_empty(), fragment.name() == "coverage.config", "{}", fragment.name());
            let is_variable = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.contains("GCOV"));
            assert!(variables.iter().all(|line| is_variable(line)), "{variables:?}");
        }
    }

    #[test]
    fn fragments_name_each_option_once() {
        let of = |architecture| [Fragment::boot(architecture, Kind::Image), Fragment::guest(architecture)];
        let user_mode = Fragment::boot(Architecture::X86_64, Kind::UserMode);
        for fragment in Architecture::ALL.into_iter().flat_map(of).chain([user_mode]) {
            let lines = fragment.text().lines().filter(|line| parse_line(line).is_some()).count();
            assert_eq!(Configuration::parse(fragment.text()).iter().count(), lines, "{}", fragment.name());
        }
    }
}
