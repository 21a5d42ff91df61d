//! What goes wrong before the suite runs.

use crate::guest::*;

/// As of a kernel without CONFIG_BLK_DEV_INITRD: it finds no init in its initramfs and no root.
#[test]
fn a_panic_before_the_suite() {
    for (option, exit) in [("skip", 125), ("fail", 1)] {
        Run::of(&kernel())
            .with(&["--kernel-arg", "rdinit=/nonexistent", "--boot-failure", option])
            .outcome()
            .never_began(exit, "Unable to mount root fs")
            .never_began(exit, "CONFIG_BLK_DEV_INITRD=y")
            .tail_has("Call Trace:");
    }
}

/// The kernel, open.
fn opened() -> vm::kernel::Kernel {
    let cache = vm::cache::Cache::of_user().expect("a cache");
    runners::guest::open_kernel(&kernel(), &cache).expect("a kernel")
}

#[test]
fn a_configuration_that_cannot_boot_is_said_beforehand() {
    let place = Place::new();
    let image = place.file("vmlinuz-6.1");
    std::os::unix::fs::symlink(opened().path(), &image).expect("a link");
    place.write("config-6.1", "CONFIG_64BIT=y\n# CONFIG_BLK_DEV_INITRD is not set\n");
    let outcome = Run::of(&image).with(&["--kernel-arg", "rdinit=/nonexistent"]).outcome();
    outcome.never_began(125, "Unable to mount root fs");
    let said = "the kernel was built without CONFIG_BLK_DEV_INITRD=y";
    assert!(outcome.errors.contains(said), "{outcome}");
}

guests! {
    a_kernel_without_a_serial_console: kernel, with(&["--kernel-arg", "8250.nr_uarts=0"]) =>
        never_began(125, "CONFIG_SERIAL_8250_CONSOLE=y");
    a_kernel_of_which_nothing_is_heard: kernel,
        with(&["--kernel-arg", "8250.nr_uarts=0", "--kernel-arg", "panic=0"]),
        with(&["--kernel-arg", "rdinit=/nonexistent", "--boot-patience", "5s"]) =>
        never_began(125, "timed out after 5 s; it responds to neither SysRq nor NMI"),
        never_began(125, "CONFIG_SERIAL_8250_CONSOLE=y"), console_has("RIP=");
    too_little_memory_to_boot: kernel, with(&["--memory", "64", "--boot-patience", "20s"]) => never_began(125, "");
    more_memory_than_there_is: kernel, with(&["--memory", "1000000000"]) =>
        never_began(125, "could not be started, status 1: qemu-system-x86_64: ");

    // What is no guest at all.
    a_console_that_cannot_be_created: kernel, console("/nonexistent/console") =>
        refused(129, "the console /nonexistent/console cannot be written");
    a_report_on_a_full_disk_ends_the_guest: user_mode, with(&["--output", "json=/dev/full"]) => refused(125, "/dev/full");
}

#[test]
fn a_machine_without_qemu() {
    let mut run = Run::of(&kernel());
    run.command.env("PATH", "/nonexistent");
    run.outcome().refused(125, "qemu-system-x86_64 is not installed: install it");
}

#[test]
fn kernels_that_cannot_be_used_stop_a_bisection() {
    let place = Place::new();
    let image = |name: &str, bytes: &[u8]| place.write(name, bytes);
    let whole = fs::read(opened().path()).expect("an image");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0);
    let mut arm = vec![0; 4096];
    arm[0x24..0x28].copy_from_slice(b"\x18\x28\x6f\x01");
    for (kernel, reason) in [
        (image("truncated", &whole[..whole.len() / 2]), "is cut short"),
        (image("damaged", &damaged), "is damaged"),
        (image("arm", &arm), "is for 32-bit arm, which no guest has"),
        (image("empty", b""), "is empty"),
        (image("text", b"obj-y += fork.o\n"), "is a text file, not a kernel"),
        ("/nonexistent/bzImage".to_owned(), "does not exist"),
        ("/dev/null".to_owned(), "is neither a file nor a directory"),
        ("2.6.16".to_owned(), "kernel 2.6.16 is not fetched: run"),
        (place.file(""), "is a directory without a kernel"),
    ] {
        Run::of(&kernel).outcome().refused(129, reason);
    }
}

#[test]
fn a_kernel_that_may_not_be_read() {
    // Root may read everything, so somebody else is to try; and somewhere they can execute this.
    let place = Place::new();
    let allow = |file: &str, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(place.file(file), mode).expect("its owner may");
    };
    fs::copy(PROGRAM, place.file("unshare-conformance")).expect("a copy");
    let image = place.write("bzImage", "MZ");
    allow("", 0o755);
    allow("bzImage", 0o000);
    let mut command = Command::new(place.file("unshare-conformance"));
    command.args(["--kernel", &image]).env("XDG_CACHE_HOME", place.file("cache"));
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = exited(129, command.output().expect("the program runs"), &image);
    let errors = errors(&output);
    assert!(errors.contains("(check its permissions and the disk): Permission denied"), "{errors}");
    assert_eq!(errors.matches("Permission denied").count(), 1, "{errors}");
}

#[test]
fn options_that_do_not_go_together_are_a_wrong_command_line() {
    fetched(USER_MODE);
    for (kernel, arguments, reason) in [
        (kernel(), &["--on", "uml"][..], "cannot be booted on user-mode"),
        (USER_MODE.to_owned(), &["--on", "qemu"], "cannot be booted on qemu-x86_64"),
        (kernel(), &["--kernel-arg", "a b"], "is not one word"),
        (USER_MODE.to_owned(), &["--cpus", "2"], "can have 1 to 1 processors, not 2"),
    ] {
        Run::of(&kernel).with(arguments).outcome().refused(129, reason);
    }
}
