//! The architectures of guests' kernels, and of the programs that run on them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::image::elf::Layout;
use crate::image::kconfig::Configuration;

/// What a kernel is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit x86.
    I386,
    /// 64-bit ARM, little-endian.
    Arm64,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit IBM Z, big-endian.
    S390x,
    /// 64-bit POWER, little-endian.
    Ppc64le,
}

/// What a program is built for: a kernel runs programs of its own word size, and often those of half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abi {
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit addresses.
    X32,
    /// 32-bit x86.
    I386,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, hard float.
    Armhf,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit IBM Z.
    S390x,
    /// 64-bit POWER, little-endian.
    Ppc64le,
}

/// What is written of an architecture, in one place.
struct Facts {
    architecture: Architecture,
    /// Our name for it, which is also what the kernel's developers say.
    name: &'static str,
    /// Debian's.
    debian: &'static str,
    /// What `ARCH=` is when its kernel is built.
    kbuild: &'static str,
    /// How Debian's compilers for it begin.
    compiler: &'static str,
    /// What the release of a Debian kernel for it ends in, the one that guests boot best first.
    flavours: &'static [&'static str],
    /// The programs that its kernels run, its own first.
    abis: &'static [Abi],
}

const FACTS: [Facts; 6] = [
    Facts {
        architecture: Architecture::X86_64,
        name: "x86_64",
        debian: "amd64",
        kbuild: "x86_64",
        compiler: "x86_64-linux-gnu-",
        flavours: &["cloud-amd64"],
        abis: &[Abi::X86_64, Abi::X32, Abi::I386],
    },
    Facts {
        architecture: Architecture::I386,
        name: "i386",
        debian: "i386",
        kbuild: "i386",
        compiler: "i686-linux-gnu-",
        flavours: &["686-pae", "686"],
        abis: &[Abi::I386],
    },
    Facts {
        architecture: Architecture::Arm64,
        name: "arm64",
        debian: "arm64",
        kbuild: "arm64",
        compiler: "aarch64-linux-gnu-",
        flavours: &["cloud-arm64"],
        abis: &[Abi::Aarch64, Abi::Armhf],
    },
    Facts {
        architecture: Architecture::Riscv64,
        name: "riscv64",
        debian: "riscv64",
        kbuild: "riscv",
        compiler: "riscv64-linux-gnu-",
        flavours: &["riscv64"],
        abis: &[Abi::Riscv64],
    },
    Facts {
        architecture: Architecture::S390x,
        name: "s390x",
        debian: "s390x",
        kbuild: "s390",
        compiler: "s390x-linux-gnu-",
        flavours: &["s390x"],
        abis: &[Abi::S390x],
    },
    Facts {
        architecture: Architecture::Ppc64le,
        name: "ppc64le",
        debian: "ppc64el",
        kbuild: "powerpc",
        compiler: "powerpc64le-linux-gnu-",
        flavours: &["powerpc64le"],
        abis: &[Abi::Ppc64le],
    },
];

impl Architecture {
    /// All of them, the most common first.
    pub const ALL: [Architecture; 6] = {
        use Architecture::*;
        [X86_64, I386, Arm64, Riscv64, S390x, Ppc64le]
    };

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// That of this program; x86-64 where guests of its own architecture are not known.
    pub fn host() -> Architecture {
        let of = |abi| FACTS.iter().find(|facts| facts.abis.contains(&abi)).map(|facts| facts.architecture);
        Abi::host().and_then(of).unwrap_or(Architecture::X86_64)
    }

    /// Its name, as the kernel's developers say it.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Its name in Debian.
    pub fn debian_name(self) -> &'static str {
        self.facts().debian
    }

    /// What `ARCH=` is when its kernel is built.
    pub fn kbuild_name(self) -> &'static str {
        self.facts().kbuild
    }

    /// What `CROSS_COMPILE=` is with Debian's compilers; `None` where this machine's own compiler does.
    pub fn cross_compiler(self) -> Option<&'static str> {
        let host = Architecture::host();
        let native = self == host || (self, host) == (Architecture::I386, Architecture::X86_64);
        (!native).then_some(self.facts().compiler)
    }

    /// What the release of a Debian kernel for it ends in, the one that guests boot best first.
    pub fn debian_flavours(self) -> &'static [&'static str] {
        self.facts().flavours
    }

    /// That of a Debian kernel with this release, whatever its flavour.
    pub fn of_debian_release(release: &str) -> Option<Architecture> {
        let ends_in = |word: &str| release.strip_suffix(word).is_some_and(|rest| rest.ends_with('-'));
        let is_for = |facts: &Facts| facts.flavours.iter().any(|flavour| ends_in(flavour)) || ends_in(facts.debian);
        FACTS.iter().find(|facts| is_for(facts)).map(|facts| facts.architecture)
    }

    /// That of a kernel with this configuration, if it tells.
    pub fn of_configuration(configuration: &Configuration) -> Option<Architecture> {
        let is = |option| configuration.is_built_in(option);
        let options = [
            (Architecture::X86_64, is("X86_64")),
            (Architecture::I386, is("X86_32")),
            (Architecture::Arm64, is("ARM64")),
            (Architecture::Riscv64, is("RISCV") && is("64BIT")),
            (Architecture::S390x, is("S390")),
            (Architecture::Ppc64le, is("PPC64") && is("CPU_LITTLE_ENDIAN")),
        ];
        options.into_iter().find(|(_, is_built_in)| *is_built_in).map(|(architecture, _)| architecture)
    }

    /// The programs that its kernels run, its own first.
    pub fn abis(self) -> &'static [Abi] {
        self.facts().abis
    }

    /// That of its own programs.
    pub fn abi(self) -> Abi {
        self.abis()[0]
    }

    /// Whether this machine's processor can run its kernels, through KVM.
    pub fn is_accelerated(self) -> bool {
        self == Architecture::host() || (self, Architecture::host()) == (Architecture::I386, Architecture::X86_64)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Nothing has that name. With the name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no architecture of guests: give x86_64, i386, arm64, riscv64, s390x or ppc64le")]
pub struct UnknownArchitecture(String);

/// Its name here, in Debian, or in `uname -m`.
impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Architecture, UnknownArchitecture> {
        let is = |facts: &&Facts| [facts.name, facts.debian, facts.abis[0].name()].contains(&name);
        let found = FACTS.iter().find(is).map(|facts| facts.architecture);
        found.ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }
}

/// Each with its name, its machine in an ELF file, whether that is of 64 bits and whether it is little-endian, and the
/// target that rustc has for it.
const ABIS: [(Abi, &str, u16, bool, bool, &str); 8] = [
    (Abi::X86_64, "x86_64", 62, true, true, "x86_64-unknown-linux-gnu"),
    (Abi::X32, "x32", 62, false, true, "x86_64-unknown-linux-gnux32"),
    (Abi::I386, "i386", 3, false, true, "i686-unknown-linux-gnu"),
    (Abi::Aarch64, "aarch64", 183, true, true, "aarch64-unknown-linux-gnu"),
    (Abi::Armhf, "armhf", 40, false, true, "armv7-unknown-linux-gnueabihf"),
    (Abi::Riscv64, "riscv64", 243, true, true, "riscv64gc-unknown-linux-gnu"),
    (Abi::S390x, "s390x", 22, true, false, "s390x-unknown-linux-gnu"),
    (Abi::Ppc64le, "ppc64le", 21, true, true, "powerpc64le-unknown-linux-gnu"),
];

impl Abi {
    /// That of this program, if it is one of these.
    pub fn host() -> Option<Abi> {
        let wide = cfg!(target_pointer_width = "64");
        let little = cfg!(target_endian = "little");
        let machine = if cfg!(target_arch = "x86_64") {
            62
        } else if cfg!(target_arch = "x86") {
            3
        } else if cfg!(target_arch = "aarch64") {
            183
        } else if cfg!(target_arch = "arm") {
            40
        } else if cfg!(target_arch = "riscv64") {
            243
        } else if cfg!(target_arch = "s390x") {
            22
        } else if cfg!(target_arch = "powerpc64") {
            21
        } else {
            return None;
        };
        Abi::with(machine, wide, little)
    }

    fn with(machine: u16, wide: bool, little: bool) -> Option<Abi> {
        let is = |abi: &&(Abi, &str, u16, bool, bool, &str)| (abi.2, abi.3, abi.4) == (machine, wide, little);
        ABIS.iter().find(is).map(|abi| abi.0)
    }

    /// That of the ELF file which begins so.
    pub fn of_elf(head: &[u8]) -> Option<Abi> {
        let layout = Layout::of(head)?;
        Abi::with(layout.machine(head)?, layout.is_wide(), layout.is_little_endian())
    }

    /// Its name, as `uname -m` has it where there is a kernel of it.
    pub fn name(self) -> &'static str {
        ABIS[self as usize].1
    }

    /// The option by which a kernel of another ABI runs its programs, where there is such a kernel.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Abi::I386 => Some("IA32_EMULATION"),
            Abi::X32 => Some("X86_X32_ABI"),
            Abi::Armhf => Some("COMPAT"),
            _ => None,
        }
    }

    /// The target by which rustc knows it.
    pub fn rust_target(self) -> &'static str {
        ABIS[self as usize].5
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Nothing has that name. With the name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no ABI of programs: give x86_64, x32, i386, aarch64, armhf, riscv64, s390x or ppc64le")]
pub struct UnknownAbi(String);

impl FromStr for Abi {
    type Err = UnknownAbi;

    fn from_str(name: &str) -> Result<Abi, UnknownAbi> {
        ABIS.iter().find(|abi| abi.1 == name).map(|abi| abi.0).ok_or_else(|| UnknownAbi(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_enumerations() {
        for (architecture, facts) in Architecture::ALL.into_iter().zip(&FACTS) {
            assert_eq!((architecture as usize, facts.architecture), (facts.architecture as usize, architecture));
            assert_eq!(architecture.facts().name, facts.name);
        }
        for (index, abi) in ABIS.iter().enumerate() {
            assert_eq!(abi.0 as usize, index);
        }
    }

    #[test]
    fn every_name_is_read() {
        for (name, architecture) in [
            ("arm64", Architecture::Arm64),
            ("aarch64", Architecture::Arm64),
            ("ppc64el", Architecture::Ppc64le),
            ("amd64", Architecture::X86_64),
            ("i386", Architecture::I386),
        ] {
            assert_eq!(name.parse(), Ok(architecture));
        }
        assert!("mips".parse::<Architecture>().unwrap_err().to_string().contains("\"mips\" is no architecture"));
        for abi in ABIS {
            assert_eq!(abi.1.parse(), Ok(abi.0));
        }
    }

    #[test]
    fn releases_tell_their_architecture() {
        for (release, expected) in [
            ("6.12.117+deb13-cloud-arm64", Some(Architecture::Arm64)),
            ("6.12.117+deb13-arm64", Some(Architecture::Arm64)),
            ("6.1.0-50-686-pae", Some(Architecture::I386)),
            ("6.12.107+deb13-powerpc64le", Some(Architecture::Ppc64le)),
            ("6.1.0-53-cloud-amd64", Some(Architecture::X86_64)),
            ("6.12.107+deb13-s390x", Some(Architecture::S390x)),
            ("uml-6.1um4+b13", None),
        ] {
            assert_eq!(Architecture::of_debian_release(release), expected, "{release}");
        }
    }

    #[test]
    fn this_program_is_of_the_hosts_abi() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Abi::of_elf(&program), Abi::host());
        assert!(Abi::host().is_none_or(|abi| Architecture::host().abis().contains(&abi)));
        assert_eq!(Abi::of_elf(b"\x7fELF"), None);
    }
}
