//! What a case needs of the machine it runs on, declared beside it and checked before its body.
//!
//! Needs are decided from [`Facts`], never by trying the call under test.

use crate::common::*;
use crate::place::facts::has_capability;
use crate::place::inherited::proc_is_ours;

/// The need that a case lacks when the place refused one of its steps: see [`Suite::refused`].
pub const PLACE: &str = "place";

/// Something that a kernel, or the place a suite runs in, may lack.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    bit: u64,
    /// Its name in results.
    pub name: &'static str,
    /// Probes for it. If it is missing, returns what is missing and what would help.
    pub missing: fn(&Facts) -> Option<String>,
    /// The kernel option, without `CONFIG_`, that builds it in. If the kernel's configuration sets this option and the
    /// feature is missing, the kernel is broken rather than small.
    pub option: Option<&'static str>,
}

impl Feature {
    /// CAP_SYS_ADMIN, effective in the current user namespace.
    pub const SYS_ADMIN: Feature = Feature::of_bit(0, "sys_admin", no_sys_admin);
    /// Mount, IPC and UTS namespaces of the supervisor's own, in which a case may mount, create IPC objects and set the
    /// host name without anybody else seeing it.
    pub const SANDBOX: Feature = Feature::of_bit(1, "sandbox", no_sandbox);
    /// System V semaphores, shared memory and message queues.
    pub const SYSV_IPC: Feature = Feature::of_bit(2, "sysv_ipc", no_sysv_ipc).built_in_by("SYSVIPC");

    /// A /proc that shows this PID namespace.
    pub const OWN_PROC: Feature = Feature::of_bit(3, "own_proc", no_own_proc);

    pub(crate) const OWN: [Feature; 4] = [Feature::SYS_ADMIN, Feature::SANDBOX, Feature::SYSV_IPC, Feature::OWN_PROC];

    /// The feature at this index of a suite's table.
    pub const fn new(index: u8, name: &'static str, missing: fn(&Facts) -> Option<String>) -> Feature {
        Feature::of_bit(index + Feature::OWN.len() as u8, name, missing)
    }

    const fn of_bit(bit: u8, name: &'static str, missing: fn(&Facts) -> Option<String>) -> Feature {
        Feature { bit: 1 << bit, name, missing, option: None }
    }

    /// The same feature, with the kernel option that builds it in.
    pub const fn built_in_by(self, option: &'static str) -> Feature {
        Feature { option: Some(option), ..self }
    }
}

fn no_sys_admin(facts: &Facts) -> Option<String> {
    const CAP_SYS_ADMIN: u32 = 21;
    (!has_capability(facts, CAP_SYS_ADMIN)).then(|| match &facts.sandbox {
        Sandbox::None { why } => {
            format!("needs CAP_SYS_ADMIN and there is no user namespace to have it in ({why}): run as root")
        }
        _ => "needs CAP_SYS_ADMIN: run as root".to_owned(),
    })
}

fn no_sandbox(facts: &Facts) -> Option<String> {
    match &facts.sandbox {
        Sandbox::None { why } => Some(format!("needs mount, IPC and UTS namespaces of its own ({why}): run as root")),
        _ => None,
    }
}

fn no_own_proc(_: &Facts) -> Option<String> {
    (!proc_is_ours()).then(|| "/proc is that of another PID namespace: mount -t proc proc /proc".to_owned())
}

fn no_sysv_ipc(_: &Facts) -> Option<String> {
    no_file("/proc/sysvipc/sem", "System V IPC", "SYSVIPC")
}

/// Why `what` is missing, if `path` does not exist; `options` are the kernel options that would help.
pub fn no_file(path: &str, what: &str, options: &str) -> Option<String> {
    let missing = !Path::new(path).exists();
    missing.then(|| format!("this kernel has no {what} ({path} is missing): CONFIG_{options}"))
}

/// Kernel state outside any namespace, which every process of the machine sees.
#[derive(Clone, Copy, Debug)]
pub struct Global {
    bit: u32,
    path: &'static str,
    change: Change,
}

/// How cases change global state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They write another value to its file. No other case runs meanwhile, and the supervisor restores the old one.
    Value,
    /// What they do to it has no value, and ends by itself or by their hand.
    Passing,
}

impl Global {
    /// The state at this index of a suite's table, with the file its value is read from and written to, or, where it
    /// has none, what it is called.
    pub const fn new(index: u8, path: &'static str, change: Change) -> Global {
        Global { bit: 1 << index, path, change }
    }

    /// Whether there is a value to keep and restore.
    pub(crate) fn has_value(self) -> bool {
        self.change == Change::Value
    }

    /// The file its value is read from and written to, or what it is called.
    pub fn path(self) -> &'static str {
        self.path
    }
}

/// A case's declared environment. Built by chaining: `Needs::ROOT.with(Feature::SYSV_IPC)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    features: u64,
    disturbs: u32,
    alone: bool,
}

impl Needs {
    /// Nothing beyond what [every case](Suite::every_case) needs.
    pub const NONE: Needs = Needs { features: 0, disturbs: 0, alone: false };

    /// CAP_SYS_ADMIN in the current user namespace, in a sandbox of its own.
    pub const ROOT: Needs = Needs::NONE.with(Feature::SYS_ADMIN).with(Feature::SANDBOX);

    /// These needs and one more feature.
    pub const fn with(self, feature: Feature) -> Needs {
        Needs { features: self.features | feature.bit, ..self }
    }

    /// These needs except the features of `other`.
    pub const fn without(self, other: Needs) -> Needs {
        Needs { features: self.features & !other.features, ..self }
    }

    /// These needs, and the case changes `global`: it then runs in a guest or with `--disturb-host`, and alone if others
    /// would see another [value](Change::Value).
    pub const fn disturbing(self, global: Global) -> Needs {
        let alone = self.alone || matches!(global.change, Change::Value);
        Needs { disturbs: self.disturbs | global.bit, alone, ..self }
    }

    /// These needs, and no other case runs meanwhile: the case measures the whole machine, or depends on what other
    /// tasks do.
    pub const fn alone(self) -> Needs {
        Needs { alone: true, ..self }
    }

    /// Whether no other case may run at the same time.
    pub const fn is_alone(self) -> bool {
        self.alone
    }

    /// Both sets of needs together.
    pub const fn and(self, other: Needs) -> Needs {
        Needs {
            features: self.features | other.features,
            disturbs: self.disturbs | other.disturbs,
            alone: self.alone || other.alone,
        }
    }

    /// The global state the case changes.
    pub fn disturbed(self, suite: &Suite) -> impl Iterator<Item = Global> {
        suite.globals.iter().copied().filter(move |global| self.disturbs & global.bit != 0)
    }

    /// Everything that is missing, all at once, each as a reason a user can act on. What every case needs comes first.
    pub fn unmet(self, suite: &Suite, facts: &Facts, may_disturb_host: bool) -> Vec<Unmet> {
        let missing = [suite.every_case, self.without(suite.every_case)].into_iter().flat_map(|needs| {
            let needed = suite.features().filter(move |feature| needs.features & feature.bit != 0);
            needed.filter_map(|feature| {
                let reason = facts.reason_without(feature)?.clone();
                Some(Unmet { feature: Some(feature.name), reason })
            })
        });
        let disturbed = self.disturbed(suite).filter(|_| !may_disturb_host).map(|global| Unmet {
            feature: None,
            reason: format!(
                "changes {} for every process of this machine: run it in a guest (--kernel …), or allow it with \
                 --disturb-host",
                global.path
            ),
        });
        missing.chain(disturbed).collect()
    }
}

/// A need that this machine does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Name of the missing feature; none if only permission is missing.
    pub feature: Option<&'static str>,
    /// What is missing and what would help.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unmet_need_is_reported_at_once() {
        const MOON: Feature = Feature::new(0, "moon", |_| None);
        const TIDE: Feature = Feature::new(1, "tide", |_| None);
        const SEA: Global = Global::new(0, "/proc/sea", Change::Value);
        const WIND: Global = Global::new(1, "the wind", Change::Passing);
        let suite = Suite {
            features: &[MOON, TIDE],
            globals: &[SEA, WIND],
            every_case: Needs::NONE.with(TIDE),
            ..Suite::PLAIN
        };
        let mut facts = Facts::default();
        facts.absent.insert("moon".to_owned(), "no moon".to_owned());
        facts.absent.insert("tide".to_owned(), "no tide".to_owned());
        let needs = Needs::ROOT.with(MOON).disturbing(SEA);
        let reasons: Vec<_> = needs.unmet(&suite, &facts, false).into_iter().map(|unmet| unmet.reason).collect();
        assert_eq!(&reasons[..2], ["no tide", "no moon"]);
        assert!(reasons[2].contains("--disturb-host"));
        assert_eq!(needs.unmet(&suite, &facts, true).len(), 2);
        assert_eq!(needs.without(Needs::NONE.with(MOON)), Needs::ROOT.disturbing(SEA));
        let passing = Needs::NONE.disturbing(WIND);
        assert!(needs.is_alone() && !passing.is_alone());
        let reason = &passing.unmet(&suite, &Facts::default(), false)[0].reason;
        assert!(reason.contains("changes the wind for every process"));
    }
}
