use super::*;
use crate::image::samples::{PVH_NOTE, bzimage, directory, elf};

fn opened(name: &str, content: &[u8]) -> Result<Kernel, KernelError> {
    Kernel::open(&directory(&[(name, content)]).path().join(name))
}

fn flaw(path: &Path) -> Flaw {
    Kernel::open(path).unwrap_err().flaw
}

fn is_built_in(path: &Path, option: &str) -> bool {
    Kernel::open(path).unwrap().configuration().unwrap().is_built_in(option)
}

fn sentence(content: &[u8]) -> String {
    opened("image", content).unwrap_err().to_string()
}

#[test]
fn a_bzimage_gives_its_release_and_payload() {
    let kernel = opened("bzImage", &bzimage(b"payload with its size")).unwrap();
    assert_eq!(kernel.kind(), Kind::BzImage);
    assert_eq!(kernel.release(), Some("6.1.0-test"));
    assert_eq!(kernel.image.payload, Some(1536..1557));
}

#[test]
fn a_bzimage_cut_anywhere_is_said_to_be_cut() {
    let whole = bzimage(&[7; 4000]);
    for length in [2, 100, 0x1f0, 0x202, 0x206, 0x240, 0x24f, 0x250, 1535, 1536, whole.len() - 100] {
        let error = opened("image", &whole[..length]).unwrap_err();
        assert!(matches!(error.flaw, Flaw::Truncated { .. }), "{length}: {error}");
    }
}

#[test]
fn a_vmlinux_gives_its_banner_and_pvh_entry() {
    let data = b"Linux version %s\0Linux version 6.12.0+deb13 (builder@host) #1\0";
    let image = elf(62, 0xffff_ffff_8100_0000, data, Some(PVH_NOTE));
    let kernel = opened("vmlinux", &image).unwrap();
    assert_eq!(kernel.kind(), Kind::Vmlinux);
    assert_eq!(kernel.release(), Some("6.12.0+deb13"));
    assert_eq!(kernel.image.pvh_entry, Some(0x100_0350));
    let cut = opened("vmlinux", &image[..image.len() - 20]).unwrap_err();
    assert!(matches!(cut.flaw, Flaw::Truncated { .. }), "{cut}");
}

#[test]
fn user_mode_linux_is_told_from_programs() {
    let data = b"Linux version 6.1.176 (b@h)\0# Linux/um\n\0CONFIG_UML=y\n\0CONFIG_PID_NS=y\n\0\0other";
    let kernel = opened("linux", &elf(62, 0x6000_0000, data, None)).unwrap();
    assert_eq!(kernel.kind(), Kind::UserMode);
    assert_eq!(kernel.configuration().unwrap().iter().count(), 2);
    assert!(sentence(&elf(62, 0x40_0000, b"hello", None)).contains("an ordinary ELF program"));
}

#[test]
fn other_architectures_are_named() {
    let mut arm64 = vec![0; 4096];
    arm64[..2].copy_from_slice(b"MZ");
    arm64[56..60].copy_from_slice(b"ARM\x64");
    assert!(sentence(&arm64).contains("is for arm64"));
    assert!(sentence(&elf(243, 0, b"", None)).contains("is for riscv"));
    assert!(sentence(&elf(3, 0, b"", None)).contains("32-bit x86"));
}

#[test]
fn what_is_no_kernel_is_named() {
    assert!(sentence(b"").contains("is empty"));
    assert!(sentence(b"obj-y += fork.o\n").contains("a text file"));
    assert!(sentence(b"#!/bin/sh\n").contains("a script"));
    assert!(sentence(&[0x1f, 0x8b, 8, 0]).contains("a gzip file"));
    assert!(sentence(&[0; 5000]).contains("unknown format"));
    let error = Kernel::open(Path::new("/nonexistent/bzImage")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/bzImage does not exist"));
    assert!(matches!(flaw(Path::new("/dev/null")), Flaw::NotAFile));
}

#[test]
fn what_distributions_ship_is_told_how_to_use() {
    let mut unified = vec![0; 4096];
    unified[..2].copy_from_slice(b"MZ");
    unified[0x3c] = 0x80;
    unified[0x80..0x84].copy_from_slice(b"PE\0\0");
    // Two sections, and an optional header of 16 bytes.
    (unified[0x86], unified[0x94]) = (2, 16);
    unified[0xa8..0xad].copy_from_slice(b".text");
    assert!(sentence(&unified).contains("a PE (EFI) program without a Linux boot header"));
    unified[0xd0..0xd6].copy_from_slice(b".linux");
    assert!(sentence(&unified).contains("objcopy -O binary --only-section=.linux"));
    let debian = sentence(b"!<arch>\ndebian-binary   1");
    assert!(debian.contains("dpkg-deb -x PACKAGE DIRECTORY` and give DIRECTORY/boot/"));
    assert!(sentence(b"!<arch>\nlib.o/").contains("an archive (a library)"));
    assert!(sentence(b"\xed\xab\xee\xdb\x03").contains("rpm2cpio PACKAGE"));

    let modules = directory(&[("6.1.0-9-amd64/modules.builtin", b"")]);
    let modules = modules.path().join("6.1.0-9-amd64");
    let error = Kernel::open(&modules).unwrap_err().to_string();
    assert!(error.contains("give /boot/vmlinuz-6.1.0-9-amd64"), "{error}");
    std::fs::write(modules.join("vmlinuz"), bzimage(b"payload")).unwrap();
    std::fs::write(modules.join("config"), "CONFIG_IPC_NS=y\n").unwrap();
    assert!(is_built_in(&modules, "IPC_NS"));
}

#[test]
fn no_prefix_of_an_image_panics() {
    let images = [bzimage(&[1; 64]), elf(62, 0xffff_ffff_8100_0000, b"Linux version 6", Some(&[4; 20]))];
    for image in &images {
        for length in (0..image.len()).step_by(7) {
            let _ = opened("image", &image[..length]);
        }
    }
}

#[test]
fn a_build_tree_gives_its_image_and_configuration() {
    let tree = tempfile::tempdir().unwrap();
    assert!(matches!(flaw(tree.path()), Flaw::NotATree));
    std::fs::write(tree.path().join(".config"), "CONFIG_USER_NS=y\n").unwrap();
    assert!(matches!(flaw(tree.path()), Flaw::NotBuilt));
    let boot = tree.path().join("arch/x86/boot");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(boot.join("bzImage"), bzimage(b"payload")).unwrap();
    assert_eq!(Kernel::open(tree.path()).unwrap().path(), boot.join("bzImage"));
    assert!(is_built_in(tree.path(), "USER_NS"));
}

#[test]
fn the_configuration_beside_an_image_is_found() {
    let boot = directory(&[("config-6.1", b"CONFIG_IPC_NS=y\n"), ("vmlinuz-6.1", &bzimage(b"payload"))]);
    assert!(is_built_in(&boot.path().join("vmlinuz-6.1"), "IPC_NS"));
}
