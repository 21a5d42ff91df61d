use super::*;
use crate::image::payload::unpack;
use crate::image::samples::{EFI_ARM64, EFI_RISCV64, PVH_NOTE, bzimage, directory, elf, raw, s390, zboot};

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

const BANNER: &[u8] = b"Linux version 6.12.7-test (b@h)\0";

#[test]
fn images_of_other_architectures_are_kernels() {
    for (magic, machine, architecture) in
        [(b"ARM\x64", EFI_ARM64, Architecture::Arm64), (b"RSC\x05", EFI_RISCV64, Architecture::Riscv64)]
    {
        let image = raw(magic, machine, BANNER);
        let kernel = opened("Image", &image).unwrap();
        assert_eq!((kernel.kind(), kernel.architecture()), (Kind::Image, architecture));
        assert_eq!(kernel.release(), Some("6.12.7-test"));
        let cut = opened("Image", &image[..image.len() - 8]).unwrap_err();
        assert!(matches!(cut.flaw, Flaw::Truncated { .. }), "{cut}");
    }
    let mut image = bzimage(b"payload with its size");
    image[0x236] = 0;
    assert_eq!(opened("bzImage", &image).unwrap().architecture(), Architecture::I386);

    let mut vmlinux = elf(21, 0xc000_0000_0000_0000, BANNER, None);
    let kernel = opened("vmlinux", &vmlinux).unwrap();
    assert_eq!((kernel.kind(), kernel.architecture()), (Kind::Vmlinux, Architecture::Ppc64le));
    assert_eq!(kernel.release(), Some("6.12.7-test"));
    vmlinux[5] = 2;
    vmlinux[18..20].copy_from_slice(&21_u16.to_be_bytes());
    assert!(sentence(&vmlinux).contains("is for big-endian powerpc, which no guest has"));
}

#[test]
fn an_s390_kernel_says_how_much_it_can_be_told() {
    let kernel = opened("bzImage", &s390("6.12.107+deb13-s390x (x@y) #1", 4096)).unwrap();
    assert_eq!((kernel.kind(), kernel.architecture()), (Kind::Image, Architecture::S390x));
    assert_eq!((kernel.release(), kernel.image.command_line_limit), (Some("6.12.107+deb13-s390x"), Some(4095)));
    assert_eq!(opened("bzImage", &s390("5.10.0", 0)).unwrap().image.command_line_limit, Some(895));
    let whole = s390("6.12.107", 4096);
    for length in [0x10010, 0x10430, 0x10800] {
        let error = opened("bzImage", &whole[..length]).unwrap_err();
        assert!(matches!(error.flaw, Flaw::Truncated { .. }), "{length:x}: {error}");
    }
}

fn packed(data: &[u8]) -> Vec<u8> {
    let mut stream = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    stream.write_all(data).unwrap();
    stream.finish().unwrap()
}

#[test]
fn compressed_images_are_unpacked() {
    let cache = tempfile::tempdir().unwrap();
    let image = raw(b"ARM\x64", EFI_ARM64, BANNER);
    let lz4 = zboot(EFI_RISCV64, "lz4", b"\x02\x21\x4c\x18\x01\0\0\0\0\0\0\0\0");
    for packed in [packed(&image), zboot(EFI_ARM64, "gzip", &packed(&image))] {
        let boot = directory(&[("Image", &packed)]);
        let kernel = Kernel::open(&boot.path().join("Image")).unwrap();
        assert_eq!((kernel.architecture(), kernel.release()), (Architecture::Arm64, None));
        // The second time, from the cache.
        for _ in 0..2 {
            let unpacked = unpack(&kernel, &Cache::at(cache.path())).unwrap();
            assert_eq!((unpacked.kind(), unpacked.release()), (Kind::Image, Some("6.12.7-test")));
            assert_eq!(std::fs::read(unpacked.path()).unwrap(), image);
        }
    }
    // The size of the other compressions stands behind what the header counts.
    assert_eq!(opened("vmlinuz.efi", &lz4).unwrap().image.payload, Some(512..525));
    assert!(matches!(opened("vmlinuz.efi", &lz4[..520]).unwrap_err().flaw, Flaw::Truncated { .. }));
}

#[test]
fn what_no_guest_boots_is_named() {
    assert!(sentence(&elf(258, 0, b"", None)).contains("is for loongarch, which no guest has"));
    let mut big_endian = raw(b"ARM\x64", EFI_ARM64, BANNER);
    big_endian[24] = 1;
    assert!(sentence(&big_endian).contains("is a big-endian arm64 kernel"));
    assert!(sentence(&raw(b"RSC\x05", 0x5032, BANNER)).contains("is for 32-bit riscv"));
    for (machine, instead) in [(183, "arch/arm64/boot/Image"), (243, "arch/riscv/boot/Image")] {
        let why = sentence(&elf(machine, 0xffff_8000_8000_0000, BANNER, None));
        assert!(why.contains("in a form that QEMU does not start") && why.contains(instead), "{why}");
        assert!(sentence(&elf(machine, 0x40_0000, b"hello", None)).contains("an ordinary ELF program"));
    }
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
    let images = [
        bzimage(&[1; 64]),
        elf(62, 0xffff_ffff_8100_0000, b"Linux version 6", Some(&[4; 20])),
        raw(b"ARM\x64", EFI_ARM64, BANNER),
        zboot(EFI_RISCV64, "zstd", &[1; 64]),
    ];
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
fn a_tree_gives_the_image_that_it_is_configured_for() {
    let arm64 = raw(b"ARM\x64", EFI_ARM64, BANNER);
    let tree = directory(&[
        (".config", b"CONFIG_ARM64=y\n"),
        ("arch/arm64/boot/Image", &arm64),
        ("arch/x86/boot/bzImage", &bzimage(b"payload")),
    ]);
    assert_eq!(Kernel::open(tree.path()).unwrap().architecture(), Architecture::Arm64);
    std::fs::write(tree.path().join(".config"), "CONFIG_X86=y\n").unwrap();
    assert_eq!(Kernel::open(tree.path()).unwrap().architecture(), Architecture::X86_64);
    // arm64 has a vmlinux beside it, which QEMU does not start.
    let tree = directory(&[("arch/arm64/boot/Image", &arm64), ("vmlinux", b"\x7fELF")]);
    assert_eq!(Kernel::open(tree.path()).unwrap().architecture(), Architecture::Arm64);
}

#[test]
fn the_configuration_beside_an_image_is_found() {
    let boot = directory(&[("config-6.1", b"CONFIG_IPC_NS=y\n"), ("vmlinuz-6.1", &bzimage(b"payload"))]);
    assert!(is_built_in(&boot.path().join("vmlinuz-6.1"), "IPC_NS"));
}
