//! Recognises kernel messages that report a failure of the kernel.

use aho_corasick::AhoCorasick;

use crate::common::*;

/// Kinds of kernel message that report a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplatKind {
    /// Kernel panic.
    Panic,
    /// A fault in kernel mode.
    Oops,
    /// A failed assertion (`BUG_ON`, `BUG:`).
    Bug,
    /// A failed expectation (`WARN_ON`).
    Warning,
    /// A locking rule was broken (lockdep, sleeping in atomic context, RCU usage).
    Locking,
    /// A sanitizer's report (KASAN, KCSAN, UBSAN, KFENCE, KMSAN).
    Sanitizer,
    /// A reference count or a list was corrupted.
    Corruption,
    /// RCU does not make progress.
    RcuStall,
    /// A CPU does not make progress (soft or hard lockup).
    Lockup,
    /// A task does not make progress.
    HungTask,
    /// Memory ran out and a process was killed.
    OutOfMemory,
    /// Memory or a device was never freed. The kernel does not say by whom.
    Leak,
}

/// Patterns in the order they are tried; all of a row's fragments must occur, in this order.
const PATTERNS: &[(SplatKind, &[&str])] = &[
    (SplatKind::Panic, &["Kernel panic - not syncing"]),
    (SplatKind::Sanitizer, &["BUG: KASAN:"]),
    (SplatKind::Sanitizer, &["BUG: KCSAN:"]),
    (SplatKind::Sanitizer, &["BUG: KFENCE:"]),
    (SplatKind::Sanitizer, &["BUG: KMSAN:"]),
    (SplatKind::Sanitizer, &["UBSAN: "]),
    (SplatKind::Lockup, &["BUG: soft lockup"]),
    (SplatKind::Lockup, &["hard LOCKUP"]),
    // Of powerpc.
    (SplatKind::Lockup, &["Hard LOCKUP"]),
    (SplatKind::RcuStall, &["rcu", "stall"]),
    (SplatKind::HungTask, &["INFO: task ", "blocked for more than"]),
    // From 7.1.
    (SplatKind::HungTask, &["INFO: task ", "blocked in I/O wait for more than"]),
    (SplatKind::Locking, &["BUG: sleeping function called from invalid context"]),
    (SplatKind::Locking, &["BUG: scheduling while atomic"]),
    (SplatKind::Locking, &["BUG: Invalid wait context"]),
    (SplatKind::Locking, &["BUG: MAX_LOCK"]),
    (SplatKind::Locking, &["possible circular locking dependency detected"]),
    (SplatKind::Locking, &["possible recursive locking detected"]),
    (SplatKind::Locking, &["possible irq lock inversion"]),
    (SplatKind::Locking, &["inconsistent lock state"]),
    (SplatKind::Locking, &["lock held when returning to user space"]),
    (SplatKind::Locking, &["bad unlock balance detected"]),
    (SplatKind::Locking, &["held lock freed"]),
    (SplatKind::Locking, &["suspicious RCU usage"]),
    (SplatKind::Corruption, &["refcount_t: "]),
    (SplatKind::Corruption, &["list_add corruption"]),
    (SplatKind::Corruption, &["list_del corruption"]),
    (SplatKind::Corruption, &["Slab corruption"]),
    // SLUB: "BUG kmalloc-64 (Not tainted): Poison overwritten".
    (SplatKind::Corruption, &["BUG ", "ainted", "): "]),
    (SplatKind::Bug, &["kernel BUG at "]),
    (SplatKind::Oops, &["BUG: unable to handle"]),
    (SplatKind::Oops, &["BUG: kernel NULL pointer dereference"]),
    (SplatKind::Oops, &["Unable to handle kernel"]),
    (SplatKind::Oops, &["general protection fault"]),
    (SplatKind::Oops, &["Oops: "]),
    (SplatKind::Oops, &["double fault: "]),
    // Before 6.10 without "Oops: ", as in "divide error: 0000 [#1] PREEMPT SMP".
    (SplatKind::Oops, &["divide error: ", " [#"]),
    (SplatKind::Oops, &["invalid opcode: ", " [#"]),
    (SplatKind::Oops, &["stack segment: ", " [#"]),
    // Of arm64: "Internal error: Oops - BUG: 00000000f2000800 [#1] SMP".
    (SplatKind::Oops, &["Internal error: "]),
    // Of riscv: "Oops [#1]", "Oops - load access fault [#1]", "Kernel BUG [#1]".
    (SplatKind::Oops, &["Oops", " [#"]),
    (SplatKind::Bug, &["Kernel BUG [#"]),
    // Of s390: "illegal operation: 0001 ilc:1 [#1] SMP".
    (SplatKind::Oops, &[" ilc:", " [#"]),
    // Of powerpc.
    (SplatKind::Oops, &["BUG: Kernel NULL pointer dereference"]),
    (SplatKind::Oops, &["Kernel attempted to ", " user page"]),
    (SplatKind::Oops, &["kernel tried to execute ", " page"]),
    (SplatKind::Bug, &["BUG: "]),
    // "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2", from 7.0 "WARNING: kernel/x.c:1 at f+…".
    (SplatKind::Warning, &["WARNING: ", " at "]),
    (SplatKind::Leak, &["unregister_netdevice: waiting for "]),
    // Of a guest's init, which reads what kmemleak found (vm/src/init.rs).
    (SplatKind::Leak, &["unshare-conformance: the kernel lost memory: "]),
    (SplatKind::Leak, &["kmemleak: ", " new suspected memory leaks"]),
    (SplatKind::OutOfMemory, &["Out of memory: "]),
    (SplatKind::OutOfMemory, &["Memory cgroup out of memory: "]),
];

/// The first fragments of all patterns. Few lines have one, so that a console of 100 MB is searched in one pass.
static FIRST: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let fragments = PATTERNS.iter().map(|(_, fragments)| fragments[0]);
    AhoCorasick::new(fragments).expect("few short patterns fit")
});

/// The kind of splat that a line of the kernel log starts, if any.
pub fn recognise(line: &str) -> Option<SplatKind> {
    if !FIRST.is_match(line) {
        return None;
    }
    PATTERNS
        .iter()
        .find(|(_, fragments)| fragments.iter().try_fold(line, |rest, part| Some(rest.split_once(part)?.1)).is_some())
        .map(|(kind, _)| *kind)
        .filter(|kind| !is_harmless(*kind, line))
}

/// Whether a line only looks like a splat.
fn is_harmless(kind: SplatKind, line: &str) -> bool {
    match kind {
        // "general protection fault" of a user program ("traps: x[1] general protection fault ip:…").
        SplatKind::Oops => line.contains("traps: ") && line.contains(" ip:"),
        // Settings announced at boot, e.g. "rcu: … CPU stall warnings timeout set to …".
        SplatKind::RcuStall => line.contains("timeout set to") || line.contains("stall_timeout"),
        _ => false,
    }
}

/// Whether a line says which task its report is about, and if so, whether that is one of these.
///
/// Lines that do: `CPU: 1 PID: 77 Comm: NAME Not tainted …`, `INFO: task NAME:77 blocked …`, `task:NAME state:D …`, and
/// from 7.0 `WARNING: … at f+0x1/0x2, CPU#0: NAME/77`.
pub fn names_task(line: &str, names: &[String]) -> Option<bool> {
    let cpu = line
        .split_once(" CPU#")
        .and_then(|(_, rest)| rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(": "));
    let named = [
        (line.split_once("Comm:").map(|(_, rest)| rest.trim_start()), ' '),
        (line.split_once("INFO: task ").map(|(_, rest)| rest), ':'),
        (line.strip_prefix("task:"), ' '),
        (cpu, '/'),
    ];
    let (rest, end) = named.into_iter().find_map(|(rest, end)| Some((rest?, end)))?;
    let is = |name: &String| rest.strip_prefix(name.as_str()).is_some_and(|after| after.starts_with(end));
    Some(names.iter().any(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_real_kernels() {
        use SplatKind::*;
        for (line, kind) in [
            ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", Some(Panic)),
            ("BUG: kernel NULL pointer dereference, address: 0000000000000000", Some(Oops)),
            ("Oops: 0002 [#1] PREEMPT SMP NOPTI", Some(Oops)),
            ("Oops: general protection fault, probably for non-canonical address", Some(Oops)),
            ("kernel BUG at mm/slub.c:4000!", Some(Bug)),
            ("WARNING: CPU: 1 PID: 77 at kernel/fork.c:3000 ksys_sync+0x1/0x2", Some(Warning)),
            ("WARNING: fs/fs_struct.c:90 at copy_fs_struct+0x5/0x90, CPU#0: init/1", Some(Warning)),
            ("BUG: KASAN: slab-use-after-free in copy_mnt_ns+0x1/0x2", Some(Sanitizer)),
            ("UBSAN: shift-out-of-bounds in kernel/nsproxy.c:1:2", Some(Sanitizer)),
            ("WARNING: possible circular locking dependency detected", Some(Locking)),
            ("WARNING: suspicious RCU usage", Some(Locking)),
            ("BUG: sleeping function called from invalid context at mm/slab.h:1", Some(Locking)),
            ("rcu: INFO: rcu_preempt self-detected stall on CPU", Some(RcuStall)),
            ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", Some(RcuStall)),
            ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [a:1]", Some(Lockup)),
            ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", Some(Lockup)),
            ("INFO: task umount:77 blocked for more than 120 seconds.", Some(HungTask)),
            ("refcount_t: underflow; use-after-free.", Some(Corruption)),
            ("INFO: task umount:77 blocked in I/O wait for more than 122 seconds.", Some(HungTask)),
            ("BUG kmalloc-64 (Not tainted): Poison overwritten", Some(Corruption)),
            ("BUG nsproxy (Tainted: G    B   W         ): Object already free", Some(Corruption)),
            ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", Some(Leak)),
            ("unshare-conformance: the kernel lost memory: 1 object of 8 bytes, allocated by f", Some(Leak)),
            ("unregister_netdevice: waiting for lo to become free. Usage count = 2", Some(Leak)),
            ("divide error: 0000 [#1] PREEMPT SMP PTI", Some(Oops)),
            ("invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", Some(Oops)),
            ("general protection fault: 0000 [#1] SMP", Some(Oops)),
            ("general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP", Some(Oops)),
            ("stack segment: 0000 [#1] PREEMPT SMP", Some(Oops)),
            // arm64
            ("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000", Some(Oops)),
            ("Internal error: Oops: 0000000096000044 [#1] SMP", Some(Oops)),
            // riscv
            ("Oops [#1]", Some(Oops)),
            ("Oops - illegal instruction [#1]", Some(Oops)),
            ("Kernel BUG [#1]", Some(Bug)),
            // s390
            ("Unable to handle kernel pointer dereference in virtual kernel address space", Some(Oops)),
            ("illegal operation: 0001 ilc:1 [#1] SMP", Some(Oops)),
            // powerpc
            ("BUG: Kernel NULL pointer dereference on write at 0x00000000", Some(Oops)),
            ("BUG: Unable to handle kernel data access on read at 0xc00a000000000000", Some(Oops)),
            ("Kernel attempted to read user page (0) - exploit attempt? (uid: 0)", Some(Oops)),
            ("Oops: Kernel access of bad area, sig: 11 [#1]", Some(Oops)),
            ("watchdog: CPU 1 Hard LOCKUP", Some(Lockup)),
            ("a[77]: User access of kernel address (c000000000000000) - exploit attempt? (uid: 0)", None),
            ("User process fault: interruption code 003b ilc:3 in a[1000000+3000]", None),
            ("traps: a[77] trap divide error ip:1 sp:2 error:0 in a[3]", None),
            ("traps: a[77] trap invalid opcode ip:1 sp:2 error:0 in a[3]", None),
            ("kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)", None),
            ("Out of memory: Killed process 77 (init) total-vm:1kB", Some(OutOfMemory)),
            ("traps: a[77] general protection fault ip:1 sp:2 error:0 in a[3]", None),
            ("a[77]: segfault at 0 ip 1 sp 2 error 4 in a[3]", None),
            ("rcu: \tRCU CPU stall warnings timeout set to 60 (rcu_cpu_stall_timeout).", None),
            ("Warning: unable to open an initial console.", None),
            ("Run /init as init process", None),
            ("NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.", None),
        ] {
            assert_eq!(recognise(line), kind, "{line}");
        }
    }
}
