//! Faults that change something besides: all that a call must not touch.

use super::always;
use crate::fault::Fault;
use crate::fault::act::Act;
use crate::fault::lie::What;

/// Changed by every call that succeeds: name, the act, what is seen, a requirement.
const AFTER_SUCCESS: [(&str, Act, &str, &[&str]); 36] = [
    ("umask", Act::Umask, "the umask is another", &["EFF-FS-01", "EFF-GEN-01"]),
    ("cwd", Act::Cwd, "the cwd is the root directory", &["EFF-FS-01"]),
    ("root", Act::Root, "the root directory is the cwd", &["EFF-FS-01"]),
    ("securebits", Act::Securebits, "a securebit is set", &["EFF-GEN-01"]),
    ("capabilities", Act::Capabilities, "an effective capability is gone", &["EFF-GEN-01"]),
    ("bounding-set", Act::BoundingSet, "the bounding set is smaller", &["EFF-GEN-01"]),
    ("user", Act::User, "the effective user is another", &["EFF-GEN-01"]),
    ("group", Act::Group, "the effective group is another", &["EFF-GEN-01"]),
    ("groups", Act::Groups, "the supplementary groups are others", &["EFF-GEN-01"]),
    ("no-new-privs", Act::NoNewPrivs, "no_new_privs is set", &["EFF-GEN-01"]),
    ("dumpable", Act::Dumpable, "the dumpable attribute is another", &["EFF-GEN-01"]),
    ("death-signal", Act::DeathSignal, "the parent-death signal is another", &["EFF-GEN-01"]),
    ("subreaper", Act::Subreaper, "the caller is a subreaper", &["EFF-GEN-01"]),
    ("signal-mask", Act::SignalMask, "a further signal is blocked", &["EFF-GEN-01"]),
    ("ignored-signal", Act::IgnoredSignal, "a signal is ignored", &["EFF-GEN-01"]),
    ("process-group", Act::ProcessGroup, "the process group is the caller's own", &["EFF-GEN-01"]),
    ("child", Act::Child, "the caller has a child more", &["RET-01", "DIFF-16"]),
    ("descriptor-lost", Act::DescriptorLost, "the last descriptor is closed", &["EFF-FILES-01"]),
    ("descriptor-replaced", Act::DescriptorReplaced, "the last descriptor leads elsewhere", &["EFF-FILES-01"]),
    ("descriptor-more", Act::DescriptorMore, "there is one descriptor more", &["EFF-FILES-01"]),
    ("close-on-exec-lost", Act::CloseOnExecLost, "no descriptor closes on exec", &["EFF-FILES-01"]),
    ("close-on-exec-set", Act::CloseOnExecSet, "every descriptor closes on exec", &["EFF-FILES-01"]),
    ("locks-lost", Act::LocksLost, "the caller's record locks are gone", &["RET-02"]),
    ("nice", Act::Nice, "the nice value is another", &["INT-28"]),
    ("limit", Act::Limit, "a resource limit is lower", &["INT-28"]),
    ("personality", Act::Personality, "the personality is another", &["INT-28"]),
    ("timer", Act::Timer, "the interval timer is off", &["INT-28"]),
    ("name", Act::Name, "the caller's name is another", &["INT-28"]),
    ("slack", Act::Slack, "the slack of timers is another", &["INT-28"]),
    ("robust-list", Act::RobustList, "the robust futex list is gone", &["INT-28"]),
    ("io-priority", Act::IoPriority, "the I/O priority is another", &["INT-28"]),
    ("scheduling", Act::Scheduling, "the scheduling policy is another", &["INT-28"]),
    ("keyring", Act::Keyring, "the session keyring is another", &["INT-28"]),
    ("pending-lost", Act::PendingLost, "a pending signal is gone", &["INT-28"]),
    ("mount-more", Act::MountMore, "a file system is mounted on the cwd", &["EFF-MNT-01"]),
    ("semaphores", Act::Semaphores, "undo is applied to semaphores that need none", &["EFF-SEM-01"]),
];

pub(super) fn faults() -> Vec<Fault> {
    AFTER_SUCCESS
        .into_iter()
        .map(|(name, act, seen, breaks)| {
            always(
                format!("changes-{name}"),
                format!("After every success {seen}."),
                "A part of the task's state that is set anew instead of kept.",
                breaks,
                What::AndThen(act),
            )
        })
        .collect()
}
