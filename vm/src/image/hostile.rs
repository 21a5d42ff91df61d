//! Images are untrusted (SECURITY.md). Whatever bytes one holds, reading it ends, without panic and within bounded
//! memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::format::{self, Image};
use super::payload::{WORKING_MEMORY, decompress};
use super::samples::{EFI_ARM64, EFI_RISCV64, PAYLOADS, PVH_NOTE, bytes_of, bzimage, elf, raw, s390, zboot};
use crate::common::*;

/// The system's allocator, counting the bytes that each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn hold(more: usize, less: usize) {
    HELD.set(HELD.get() + more.cast_signed() - less.cast_signed());
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        hold(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does `work`, during which this thread must not allocate more than `limit` bytes at once.
fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    let most = (MOST.get() - before).cast_unsigned();
    assert!(most <= limit, "{most} bytes were allocated at once, more than {limit}");
    result
}

/// Enough to open a small image: most is for its configuration, which is unpacked up to 16 MiB and then parsed.
const OPENING: usize = 80 << 20;

fn file_of(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn opened(content: &[u8]) -> Result<Image, Flaw> {
    let file = file_of(content);
    let _ = within(OPENING, || format::pvh_entry_of(&file));
    within(OPENING, || format::read(&file))
}

/// `image` with up to eight words within its first `head` bytes overwritten, and perhaps cut short.
fn damaged(image: Vec<u8>, head: usize) -> impl Strategy<Value = Vec<u8>> {
    let word =
        prop_oneof![select(&[0, 1, u64::MAX, i64::MAX as u64, 1 << 32, 1 << 30][..]), 0..0x2000_u64, any::<u64>()];
    let changes = vec((0..head, 1..=8_usize, word), 0..8);
    let length = prop_oneof![3 => Just(image.len()), 1 => 0..=image.len()];
    (changes, length).prop_map(move |(changes, length)| {
        let mut image = image.clone();
        for (at, size, word) in changes {
            let end = image.len().min(at + size);
            image[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
        }
        image.truncate(length);
        image
    })
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    const MAGICS: [&[u8]; 8] = [b"", b"\x7fELF\x02\x01", b"MZ", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x5d\0\0", b"#!"];
    (select(&MAGICS[..]), vec(any::<u8>(), 0..2000)).prop_map(|(magic, rest)| [magic, &rest].concat())
}

/// Pieces of which a kernel's copies of its configuration are made, in any order.
fn configurations() -> impl Strategy<Value = Vec<u8>> {
    const LINES: [&[u8]; 5] = [b"\0", b"\n", b"CONFIG_A=y\n", b"CONFIG_UML=y\n\0", b"# CONFIG_B is not set\n\0"];
    let piece = prop_oneof![
        select(&LINES[..]).prop_map(<[u8]>::to_vec),
        Just(UML_MARKER.to_vec()),
        Just([b"IKCFG_ST", &bytes_of(PAYLOADS[0].1)[..]].concat()),
        damaged([b"IKCFG_ST", &bytes_of(PAYLOADS[0].1)[..]].concat(), 40),
        vec(any::<u8>(), 0..20),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn kernels() -> impl Strategy<Value = Vec<u8>> {
    let vmlinux = elf(62, 0xffff_ffff_8100_0000, b"Linux version 6.12.0 (b@h)", Some(PVH_NOTE));
    let ppc64le = elf(21, 0xc000_0000_0000_0000, b"Linux version 6.12.0 (b@h)", None);
    let arm64 = raw(b"ARM\x64", EFI_ARM64, b"Linux version 6.12.0 (b@h)");
    let packed = zboot(EFI_RISCV64, "gzip", &bytes_of(PAYLOADS[0].1));
    let user_mode = elf(62, 0x6000_0000, b"Linux version 6.1\0CONFIG_UML=y\n\0CONFIG_PID_NS=y\n", None);
    prop_oneof![
        anything(),
        damaged(bzimage(&[7; 64]), 0x250),
        (damaged(vmlinux.clone(), vmlinux.len())),
        (damaged(ppc64le.clone(), ppc64le.len())),
        (damaged(arm64.clone(), arm64.len())),
        (damaged(packed.clone(), 512)),
        damaged(s390("6.12.107", 4096), 0x11000),
        (damaged(user_mode.clone(), user_mode.len())),
        configurations().prop_map(|data| elf(62, 0x6000_0000, &data, None)),
    ]
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let stream = select(&PAYLOADS[..]).prop_map(|(_, payload)| bytes_of(payload));
    let magic_only =
        (stream.clone(), vec(any::<u8>(), 0..200)).prop_map(|(payload, rest)| [&payload[..9], &rest].concat());
    prop_oneof![
        1 => anything(),
        2 => magic_only,
        5 => stream.prop_flat_map(|payload| {
            let length = payload.len();
            damaged(payload, length)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_file_is_opened_or_refused(content in kernels()) {
        let payload = opened(&content).ok().and_then(|image| image.payload);
        prop_assert!(payload.is_none_or(|payload| payload.end <= content.len() as u64));
    }

    #[test]
    fn any_payload_is_unpacked_or_refused(payload in payloads()) {
        let limit = LARGEST + WORKING_MEMORY as usize * 1024 + (8 << 20);
        if let Ok(unpacked) = within(limit, || decompress(&payload, Path::new("bzImage"))) {
            let size = payload.last_chunk::<4>().unwrap();
            prop_assert_eq!(unpacked.len(), u32::from_le_bytes(*size) as usize);
        }
    }

    #[test]
    fn any_configuration_is_read(image in configurations()) {
        if let Some(text) = within(OPENING, || Configuration::embedded_text(&image)) {
            let configuration = Configuration::parse(&String::from_utf8_lossy(&text));
            prop_assert!(configuration.iter().count() <= text.len());
        }
        Configuration::parse(&String::from_utf8_lossy(&image));
    }

    #[test]
    fn an_unpacked_elf_file_ends_within_the_unpacked_bytes(image in kernels()) {
        prop_assert!(elf_extent(&image).is_none_or(|end| end <= image.len()));
        let _ = loaded_extent(&image);
    }
}

#[test]
fn sizes_that_no_kernel_has_are_refused_before_anything_is_read() {
    let mut payload = bzimage(&[7; 64]);
    payload[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut segment = elf(62, 0xffff_ffff_8100_0000, b"Linux version 6.12.0", Some(b""));
    segment[64 + 32..64 + 40].copy_from_slice(&(600_u64 << 20).to_le_bytes());
    segment[64 + 56 + 32..64 + 56 + 40].copy_from_slice(&(600_u64 << 20).to_le_bytes());
    for (image, expected) in [(payload, "a payload of more than 1 GiB"), (segment, "more than 1 GiB to load")] {
        let file = file_of(&image);
        // Sparse: nothing is written.
        file.set_len(8 << 30).unwrap();
        let flaw = within(1 << 20, || format::read(&file)).unwrap_err().to_string();
        assert!(flaw.contains(expected), "{flaw}");
    }
}

#[test]
fn a_configuration_that_unpacks_without_end_is_cut() {
    let mut stream = flate2::write::GzEncoder::new(b"IKCFG_ST".to_vec(), flate2::Compression::best());
    stream.write_all(&vec![b'#'; 40 << 20]).unwrap();
    let image = stream.finish().unwrap();
    assert_eq!(within(OPENING, || Configuration::embedded_text(&image)).unwrap().len(), 16 << 20);
}
