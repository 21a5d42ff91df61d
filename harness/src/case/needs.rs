//! What a case needs of the machine it runs on, declared beside it and checked before its body.
//!
//! Needs are decided from [`Facts`], never by trying the call under test.

use serde::{Deserialize, Serialize};

use crate::place::facts::Facts;

/// Something a kernel, or the place a suite runs in, may or may not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Feature {
    /// unshare(2) reaches the kernel: no seccomp filter or limit of the place answers instead. Every
    /// case needs it.
    Unfiltered,
    /// CAP_SYS_ADMIN, effective in the current user namespace.
    SysAdmin,
    /// A mount, IPC and UTS namespace of the supervisor's own, in which a case may mount, create
    /// IPC objects and set the host name without anybody else seeing it.
    Sandbox,
    /// The initial user namespace, with the real root's powers.
    InitialRoot,
    /// A second user and group ID (65534) that the caller may become.
    SecondUser,
    /// A new user namespace may be created here.
    CreateUserNs,
    /// kcmp(2), which tells whether two tasks share a resource.
    Kcmp,
    /// System V semaphores, shared memory and message queues.
    SysvIpc,
    /// POSIX message queues.
    PosixMqueue,
    /// UTS namespaces.
    UtsNs,
    /// IPC namespaces.
    IpcNs,
    /// Network namespaces.
    NetNs,
    /// PID namespaces.
    PidNs,
    /// User namespaces.
    UserNs,
    /// Cgroup namespaces.
    CgroupNs,
    /// Time namespaces.
    TimeNs,
    /// UNSHARE_EMPTY_MNTNS (Linux 7.1).
    EmptyMntNs,
    /// io_uring with a kernel-side polling thread.
    IoUring,
    /// The 32-bit system call entry of x86 (int 0x80) usable from a 64-bit process.
    Ia32,
    /// A cgroup2 hierarchy in which the caller may create groups.
    Cgroup2,
    /// `/proc/sys/user/max_*_namespaces` of a fresh user namespace.
    NamespaceLimits,
    /// Debian's switch against user namespaces of ordinary users.
    UserNsSwitch,
    /// Allocations of the kernel that fail on request: fail-nth and failslab of its fault injection.
    FailNth,
    /// The kernel's exact count of its own objects: `/proc/slabinfo`, and `/sys/kernel/slab/…/shrink`,
    /// which has it count no object that is only kept at hand.
    ObjectCounts,
}

impl Feature {
    /// Every feature, in declaration order.
    pub const ALL: [Feature; 24] = [
        Feature::Unfiltered,
        Feature::SysAdmin,
        Feature::Sandbox,
        Feature::InitialRoot,
        Feature::SecondUser,
        Feature::CreateUserNs,
        Feature::Kcmp,
        Feature::SysvIpc,
        Feature::PosixMqueue,
        Feature::UtsNs,
        Feature::IpcNs,
        Feature::NetNs,
        Feature::PidNs,
        Feature::UserNs,
        Feature::CgroupNs,
        Feature::TimeNs,
        Feature::EmptyMntNs,
        Feature::IoUring,
        Feature::Ia32,
        Feature::Cgroup2,
        Feature::NamespaceLimits,
        Feature::UserNsSwitch,
        Feature::FailNth,
        Feature::ObjectCounts,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Kernel state outside any namespace, which every process of the machine sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Global {
    /// `fs.nr_open`, the ceiling of file descriptor numbers.
    NrOpen,
    /// `fs.mount-max`, the number of mounts that a mount namespace may hold.
    MountMax,
    /// `kernel.unprivileged_userns_clone`, Debian's switch against user namespaces of ordinary users.
    UserNsSwitch,
    /// Whether fault injection spares allocations that may sleep, as nearly all do.
    SparedAllocations,
    /// How much fault injection writes to the kernel's log.
    FailedAllocationsLog,
}

impl Global {
    /// Every such state.
    pub const ALL: [Global; 5] = [
        Global::NrOpen,
        Global::MountMax,
        Global::UserNsSwitch,
        Global::SparedAllocations,
        Global::FailedAllocationsLog,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// The file its value is read from and written to.
    pub fn path(self) -> &'static str {
        match self {
            Global::NrOpen => "/proc/sys/fs/nr_open",
            Global::MountMax => "/proc/sys/fs/mount-max",
            Global::UserNsSwitch => "/proc/sys/kernel/unprivileged_userns_clone",
            Global::SparedAllocations => "/sys/kernel/debug/failslab/ignore-gfp-wait",
            Global::FailedAllocationsLog => "/sys/kernel/debug/failslab/verbose",
        }
    }
}

/// A case's declared environment. Built by chaining: `Needs::NONE.with(Feature::Kcmp)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    features: u32,
    disturbs: u32,
    alone: bool,
}

impl Needs {
    /// Nothing beyond a Linux kernel that the call under test reaches, and /proc.
    pub const NONE: Needs = Needs { features: Feature::Unfiltered.bit(), disturbs: 0, alone: false };

    /// CAP_SYS_ADMIN in the current user namespace, in a sandbox of its own.
    pub const ROOT: Needs = Needs::NONE.with(Feature::SysAdmin).with(Feature::Sandbox);

    /// These needs and one feature more.
    pub const fn with(self, feature: Feature) -> Needs {
        Needs { features: self.features | feature.bit(), ..self }
    }

    /// These needs, and the case changes `global`: it then runs alone, in a guest or with
    /// `--disturb-host`, and the supervisor puts the old value back.
    pub const fn disturbing(self, global: Global) -> Needs {
        Needs { disturbs: self.disturbs | global.bit(), ..self }
    }

    /// These needs, and the case measures the whole machine, or waits for what others do: no other
    /// case runs meanwhile.
    pub const fn alone(self) -> Needs {
        Needs { alone: true, ..self }
    }

    /// Whether no other case may run at the same time.
    pub const fn is_alone(self) -> bool {
        self.alone || self.disturbs != 0
    }

    /// Both sets of needs together.
    pub const fn and(self, other: Needs) -> Needs {
        Needs {
            features: self.features | other.features,
            disturbs: self.disturbs | other.disturbs,
            alone: self.alone || other.alone,
        }
    }

    /// The features asked for.
    pub fn features(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.features & feature.bit() != 0)
    }

    /// The global state the case changes.
    pub fn disturbed(self) -> impl Iterator<Item = Global> {
        Global::ALL.into_iter().filter(move |global| self.disturbs & global.bit() != 0)
    }

    /// Everything that is missing, all at once, each as a reason a user can act on.
    pub fn unmet(self, facts: &Facts, may_disturb_host: bool) -> Vec<Unmet> {
        let missing = self.features().filter_map(|feature| {
            facts.absent.get(&feature).map(|reason| Unmet { feature: Some(feature), reason: reason.clone() })
        });
        let disturbed = self.disturbed().filter(|_| !may_disturb_host).map(|global| Unmet {
            feature: None,
            reason: format!(
                "changes {} for every process of this machine: run it in a guest \
                     (--kernel …), or allow it with --disturb-host",
                global.path()
            ),
        });
        missing.chain(disturbed).collect()
    }
}

/// A need that this machine does not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// The feature, unless it is permission that is missing.
    pub feature: Option<Feature>,
    /// What is missing and what would help.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_features_are_listed_once_and_in_order() {
        for (index, feature) in Feature::ALL.into_iter().enumerate() {
            assert_eq!(feature as usize, index);
        }
    }

    #[test]
    fn every_unmet_need_is_told_at_once() {
        let mut facts = Facts::default();
        facts.absent.insert(Feature::Kcmp, "no kcmp".to_owned());
        facts.absent.insert(Feature::TimeNs, "no time".to_owned());
        let needs = Needs::ROOT.with(Feature::Kcmp).with(Feature::TimeNs).disturbing(Global::NrOpen);
        let reasons: Vec<_> = needs.unmet(&facts, false).into_iter().map(|unmet| unmet.reason).collect();
        assert_eq!(&reasons[..2], ["no kcmp", "no time"]);
        assert!(reasons[2].contains("--disturb-host"));
        assert_eq!(needs.unmet(&facts, true).len(), 2);
    }
}
