//! What goes wrong before the suite runs.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::guest::*;

// Before the suite.

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

#[test]
fn a_configuration_that_cannot_boot_is_said_beforehand() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("vmlinuz-6.1");
    let cache = vm::cache::Cache::of_user().expect("a cache");
    let kernel = runners::guest::open_kernel(&kernel(), &cache).expect("a kernel");
    std::os::unix::fs::symlink(kernel.path(), &image).expect("a link");
    let configuration = "CONFIG_64BIT=y\n# CONFIG_BLK_DEV_INITRD is not set\n";
    std::fs::write(directory.path().join("config-6.1"), configuration).expect("a file");
    let outcome = Run::of(&image.display().to_string()).with(&["--kernel-arg", "rdinit=/nonexistent"]).outcome();
    outcome.never_began(125, "Unable to mount root fs");
    let said = "the kernel was built without CONFIG_BLK_DEV_INITRD=y";
    assert!(outcome.errors.contains(said), "{outcome}");
}

#[test]
fn a_kernel_without_a_serial_console() {
    Run::of(&kernel())
        .with(&["--kernel-arg", "8250.nr_uarts=0"])
        .outcome()
        .never_began(125, "CONFIG_SERIAL_8250_CONSOLE=y");
}

#[test]
fn a_kernel_of_which_nothing_is_heard() {
    Run::of(&kernel())
        .with(&["--kernel-arg", "8250.nr_uarts=0", "--kernel-arg", "panic=0"])
        .with(&["--kernel-arg", "rdinit=/nonexistent", "--boot-patience", "5s"])
        .outcome()
        .never_began(125, "timed out after 5 s; it responds to neither SysRq nor NMI")
        .never_began(125, "CONFIG_SERIAL_8250_CONSOLE=y")
        .console_has("RIP=");
}

#[test]
fn too_little_memory_to_boot() {
    Run::of(&kernel()).with(&["--memory", "64", "--boot-patience", "20s"]).outcome().never_began(125, "");
}

#[test]
fn more_memory_than_there_is() {
    Run::of(&kernel())
        .with(&["--memory", "1000000000"])
        .outcome()
        .never_began(125, "could not be started, status 1: qemu-system-x86_64: ");
}

// What is no guest at all.

#[test]
fn a_machine_without_qemu() {
    let mut run = Run::of(&kernel());
    run.command.env("PATH", "/nonexistent");
    run.outcome().refused(125, "qemu-system-x86_64 is not installed: install it");
}

#[test]
fn a_console_that_cannot_be_created() {
    Run::of(&kernel())
        .console("/nonexistent/console")
        .outcome()
        .refused(129, "the console /nonexistent/console cannot be written");
}

#[test]
fn kernels_that_cannot_be_used_stop_a_bisection() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("an image");
        path.display().to_string()
    };
    let cache = vm::cache::Cache::of_user().expect("a cache");
    let whole = runners::guest::open_kernel(&kernel(), &cache).expect("a kernel");
    let whole = std::fs::read(whole.path()).expect("an image");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0);
    let mut arm64 = vec![0; 4096];
    arm64[..2].copy_from_slice(b"MZ");
    arm64[56..60].copy_from_slice(b"ARM\x64");
    for (kernel, reason) in [
        (image("truncated", &whole[..whole.len() / 2]), "is cut short"),
        (image("damaged", &damaged), "is damaged"),
        (image("arm64", &arm64), "is for arm64, and guests are x86-64"),
        (image("empty", b""), "is empty"),
        (image("text", b"obj-y += fork.o\n"), "is a text file, not a kernel"),
        ("/nonexistent/bzImage".to_owned(), "does not exist"),
        ("/dev/null".to_owned(), "is neither a file nor a directory"),
        ("2.6.16".to_owned(), "kernel 2.6.16 is not fetched: run"),
        (directory.path().display().to_string(), "is a directory without a kernel"),
    ] {
        Run::of(&kernel).outcome().refused(129, reason);
    }
}

#[test]
fn a_kernel_that_may_not_be_read() {
    if !nix::unistd::geteuid().is_root() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bzImage");
        let mut image = file(&path);
        image.write_all(b"MZ").expect("an image");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        image.set_permissions(mode).expect("its owner may");
        Run::of(&path.display().to_string())
            .outcome()
            .refused(129, "(check its permissions and the disk): Permission denied");
        return;
    }
    // Root may read everything, so somebody else is to try; and somewhere they can execute this.
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let program = directory.path().join("unshare-conformance");
    std::fs::copy(PROGRAM, &program).expect("a copy");
    let image = directory.path().join("bzImage");
    std::fs::write(&image, "MZ").expect("an image");
    std::fs::set_permissions(&image, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its owner may");
    let output = Command::new(&program)
        .arg("--kernel")
        .arg(&image)
        .env("XDG_CACHE_HOME", directory.path().join("cache"))
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("(check its permissions and the disk): Permission denied")
            && errors.matches("Permission denied").count() == 1,
        "{errors}"
    );
    assert_eq!(output.status.code(), Some(129));
}

#[test]
fn options_that_do_not_go_together_are_a_wrong_command_line() {
    for (kernel, arguments, reason) in [
        (kernel(), &["--on", "uml"][..], "cannot be booted on user-mode"),
        (user_mode(), &["--on", "qemu"], "cannot be booted on qemu-x86_64"),
        (kernel(), &["--kernel-arg", "a b"], "is not one word"),
        (user_mode(), &["--cpus", "2"], "can have 1 to 1 processors, not 2"),
    ] {
        Run::of(&kernel).with(arguments).outcome().refused(129, reason);
    }
}

#[test]
fn a_report_on_a_full_disk_ends_the_guest() {
    Run::of(&user_mode()).with(&["--output", "json=/dev/full"]).outcome().refused(125, "/dev/full");
}
