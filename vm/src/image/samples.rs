//! The smallest well-formed images, for tests.

pub(crate) use super::elf::executable as elf;

/// The smallest bzImage that is well formed: one setup sector and `payload` as the whole of its system.
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let system = payload.len().next_multiple_of(16);
    let mut image = vec![0; 2 * 512 + 512];
    image[..2].copy_from_slice(b"MZ");
    image[0x1f1] = 2;
    image[0x1f4..0x1f8].copy_from_slice(&u32::try_from(system / 16).unwrap().to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x0200_u16.to_le_bytes());
    image[0x211] = 1;
    image[0x236] = 1;
    image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image[0x400..0x41c].copy_from_slice(b"6.1.0-test (me@here) #1 SMP\0");
    image.extend_from_slice(payload);
    image.resize(3 * 512 + system, 0);
    image
}

/// An Image of arm64 or riscv64 with this magic number: its EFI header says that it ends after `data`.
pub(crate) fn raw(magic: &[u8; 4], machine: u16, data: &[u8]) -> Vec<u8> {
    let mut image = efi(machine, data.len());
    image[56..60].copy_from_slice(magic);
    [&image, data].concat()
}

/// An EFI program that unpacks `payload`, a compressed stream with the unpacked size behind it.
pub(crate) fn zboot(machine: u16, compression: &str, payload: &[u8]) -> Vec<u8> {
    let mut image = efi(machine, payload.len());
    let stated = if compression == "gzip" { payload.len() } else { payload.len() - 4 };
    image[4..8].copy_from_slice(b"zimg");
    image[8..12].copy_from_slice(&512_u32.to_le_bytes());
    image[12..16].copy_from_slice(&u32::try_from(stated).unwrap().to_le_bytes());
    image[24..24 + compression.len()].copy_from_slice(compression.as_bytes());
    [&image, payload].concat()
}

/// The header of an EFI program with one section, of `size` bytes, behind it.
fn efi(machine: u16, size: usize) -> Vec<u8> {
    let mut image = vec![0; 512];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 64;
    image[64..68].copy_from_slice(b"PE\0\0");
    image[68..70].copy_from_slice(&machine.to_le_bytes());
    image[70] = 1;
    image[88 + 16..88 + 20].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    image[88 + 20..88 + 24].copy_from_slice(&512_u32.to_le_bytes());
    image
}

/// A bzImage of s390 whose kernel has this release, and takes command lines of up to `limit` bytes.
pub(crate) fn s390(release: &str, limit: u64) -> Vec<u8> {
    let mut image = vec![0; 0x11000];
    image[0x10008..0x1000e].copy_from_slice(b"S390EP");
    image[0x10428..0x10430].copy_from_slice(&0x10f00_u64.to_be_bytes());
    image[0x10430..0x10438].copy_from_slice(&limit.to_be_bytes());
    image[0x10f00..0x10f00 + release.len()].copy_from_slice(release.as_bytes());
    image
}

/// The machine of an EFI program.
pub(crate) const EFI_ARM64: u16 = 0xaa64;
pub(crate) const EFI_RISCV64: u16 = 0x5064;

/// The note of a vmlinux that is entered at 0x1000350.
pub(crate) const PVH_NOTE: &[u8] = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0\x50\x03\0\x01\0\0\0\0";

/// What all of [`PAYLOADS`] unpack to.
pub(crate) fn unpacked() -> Vec<u8> {
    b"the kernel the kernel the kernel! ".repeat(3)
}

/// Payloads of a bzImage in hexadecimal: a stream as the kernel's build makes it, then the unpacked size.
pub(crate) const PAYLOADS: [(&str, &str); 7] = [
    ("gzip", "1f8b08000000000002032bc94855c84e2dca4bcd5128c1c654c42e4ca20a005d06830166000000"),
    (
        "bzip2",
        "425a683131415926535955e3cab000002e91806000024d1400200031064c4052a9ea3099196a3e8dc6e3b1c8e4763c8c8fc5dc91\
         4e14241578f2ac0066000000",
    ),
    ("lzma", "5d00001000ffffffffffffffff003a1a08ce769183707867c9d8221103dcedf36420a8c1fffff955e00066000000"),
    (
        "xz",
        "fd377a585a0000016922de360201040021010000da33ad03e0006500175d003a1a08ce769183707867c9d8221103dcedf364120a\
         200000005d06830100012f662b494b969042990d010000000001595a66000000",
    ),
    (
        "lzo",
        "894c5a4f000d0a1a0a103020a009400101000000000000000000000000000000000000000000000000660000002a33746865206b\
         65726e656c20746865206b65726e656c20746865206b65726e656c212020238400110000000000000066000000",
    ),
    ("lz4", "02214c1821000000bf746865206b65726e656c200b00021f211700030716000f22000c506e656c212066000000"),
    ("zstd", "28b52ffd0448cd000060746865206b65726e656c202104008b220062d0a95c7fc50be6677a0466000000"),
];

pub(crate) fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    hexadecimal.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A directory with these files.
pub(crate) fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}
