//! What goes wrong while cases run.

use nix::sys::signal::kill;

use crate::guest::*;

guests! {
    a_panic: kernel, "panic" =>
        lost(1, "fail", "Kernel panic - not syncing: sysrq triggered crash"), console_has("Call Trace:"), tail_has("Kernel Offset");
    a_panic_after_which_the_machine_stays: kernel, "panic", with(&["--kernel-arg", "panic=0"]) =>
        lost(1, "fail", "the guest panicked");
    a_panic_of_user_mode_linux: user_mode, "panic" => lost(1, "fail", "the guest panicked: Kernel panic - not syncing");
    an_oops_in_process_context: kernel, "oops" => splat("BUG: kernel NULL pointer dereference"), console_has("Oops: ");
    a_warning: kernel, "warn" => splat("WARNING: "), console_has("Call Trace:");
    // The stacks of tasks that are not to blame, too.
    a_hang_with_interrupts_on: kernel, "hang" =>
        lost(1, "timed_out", "the guest was silent for 10 s; its tasks' stacks are on the console (SysRq)"),
        console_has("kthreadd"), console_has("RIP=");
    a_hang_with_interrupts_off: kernel, "hang-irqs-off" =>
        lost(1, "timed_out", "the stack of the stuck CPU is on the console (NMI)"), console_has("__x64_sys_ptrace");
    a_hang_of_user_mode_linux: user_mode, "hang" => lost(1, "timed_out", "the guest was silent for 10 s");
    silence: kernel, "silence", with(&["--single-serial"]) =>
        lost(1, "timed_out", "its tasks' stacks are on the console (SysRq)");
    a_restart: kernel, "reboot" =>
        lost(1, "fail", "the guest restarted or powered off"), tail_has("sysrq: Resetting");
    a_restart_of_user_mode_linux: user_mode, "reboot" => lost(1, "fail", "the guest restarted");
    switched_off: kernel, "power-off" => lost(1, "fail", "the guest restarted or powered off");
    init_exits: kernel, "init-exit" => lost(1, "fail", "Attempted to kill init!");
    results_cut_off_in_a_line: kernel, "half-record" => lost(1, "fail", "the guest restarted or powered off");

    // Not the kernel's fault.
    the_results_channel_hangs_up: kernel, "results-hang-up" =>
        lost(125, "broken", "the suite in the guest gave up: cannot write the report");
    results_that_lead_nowhere: kernel, "results-lost" =>
        lost(125, "broken", "the suite in the guest gave up: it exited without its last event");
    the_suite_exits: user_mode, "suite-exit" =>
        lost(125, "broken", "the suite in the guest gave up: it exited without its last event");
    a_guest_out_of_memory: kernel, "out-of-memory", with(&["--memory", "256"]), silence("60s") =>
        lost(125, "broken", "the guest ran out of memory: give it more than --memory 256"),
        console_has("Out of memory: Killed process");
    a_kernel_with_one_serial_port: kernel, with(&["--kernel-arg", "8250.nr_uarts=1"]) => all_passed();
}

#[test]
fn a_machine_that_is_killed() {
    for kernel in kernels() {
        let mut run = Run::of(&kernel).fault("silence").silence("600s").start();
        run.wait_for("events", "case_finished");
        kill(run.machine(), Signal::SIGKILL).expect("it can be killed");
        run.outcome().lost(125, "broken", "signal 9 killed the machine");
    }
}

#[test]
fn a_machine_that_stops_itself() {
    let mut run = Run::of(&kernel()).fault("silence").start();
    run.wait_for("events", "case_finished");
    kill(run.machine(), Signal::SIGSTOP).expect("it can be stopped");
    run.outcome().lost(1, "timed_out", "QEMU does not respond either");
}

#[test]
fn an_interrupted_run() {
    for (kernel, (ending, exit)) in kernels().zip([(Signal::SIGINT, 130), (Signal::SIGTERM, 143)]) {
        let mut run = Run::of(&kernel).fault("silence").silence("600s").start();
        run.wait_for("events", "case_finished");
        signal(&run.child, ending);
        run.outcome().lost(exit, "broken", &format!("interrupted by signal {}", ending as i32));
    }
}

#[test]
fn an_interrupted_boot() {
    let run = Run::of(&kernel()).start();
    run.machine();
    signal(&run.child, Signal::SIGINT);
    run.outcome().never_began(130, "interrupted by signal 2");
}

#[test]
fn a_runner_that_is_killed_takes_its_machine_along() {
    for kernel in kernels() {
        let mut run = Run::of(&kernel).fault("silence").silence("600s").start();
        run.wait_for("events", "case_finished");
        crate::driver::kill(&mut run.child);
        wait_for("left running", || processes(&run.token).is_empty().then_some(()));
    }
}

// While cases run: nobody's fault.

#[test]
fn a_console_flood_of_100_megabytes() {
    let Some(kernel) = user_mode() else { return };
    let outcome = Run::of(&kernel).fault("flood").silence("60s").outcome();
    outcome.all_passed();
    let size = outcome.console.len();
    assert!((16_000_000..20_000_000).contains(&size), "{size} bytes");
    outcome.console_has(" bytes, then:]");
}

#[test]
fn a_disk_that_is_full_for_the_console() {
    let outcome = Run::of(&kernel()).console("/dev/full").with(&["--kernel-arg", "loglevel=7"]).outcome();
    outcome.all_passed();
    let remark = "the console cannot be written to /dev/full (No space left on device";
    assert!(outcome.to_string().contains(remark), "{outcome}");
}

#[test]
fn console_and_results_on_one_port() {
    for kernel in kernels() {
        let outcome = Run::of(&kernel).with(&["--single-serial"]).outcome();
        outcome.all_passed();
        assert!(!outcome.console.contains("case_finished"), "{outcome}");
    }
}

/// As AppArmor does on Ubuntu: the place, not the kernel, refuses.
#[test]
fn capabilities_that_a_security_module_withholds() {
    const WITHHELD: [&str; 3] =
        ["separation.user.ids.unprivileged", "separation.user.maps", "separation.namespaces.after_user.newuts"];
    let outcome = Run::of(&kernel()).with(&WITHHELD).fault("withhold-capabilities").outcome();
    outcome.exited(0);
    let verdicts = outcome.verdicts();
    let skipped = |(status, reason): &&(String, String)| status == "skip" && reason.contains("a BPF program withholds");
    assert_eq!(verdicts.iter().filter(skipped).count(), WITHHELD.len(), "{outcome}");
    assert_eq!(verdicts.iter().filter(|(status, _)| status == "pass").count(), CASES.len(), "{outcome}");
    // Without, each of them passes there.
    Run::of(&kernel()).with(&WITHHELD).outcome().all_passed();
}
