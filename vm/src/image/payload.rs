//! Unpacks the kernel inside an image on the host.
//!
//! A bzImage carries its own decompressor, which a guest under emulation runs many times slower than the host would:
//! about 0.9 s of a boot. The unpacked kernel is an ELF file; where it has a PVH note, QEMU starts it directly.
//! Unpacked here and kept, keyed by the compressed bytes: of the in-guest decompressor's time under TCG the first boot
//! pays about a quarter (three fifths of it for writing 60 MB), every later one less than a hundredth.
//!
//! What other architectures compress, an Image or the kernel in an EFI program, QEMU knows in part and only lately.
//!
//! Formats: Documentation/arch/x86/boot.rst (`payload_offset`, `payload_length`); scripts/Makefile.lib of the kernel
//! for what each compressor is asked for. All but gzip are followed by the unpacked size in four bytes.

use super::elf::read_at;
use super::format::{self, pvh_entry_of};
use crate::common::*;
use crate::get::cache::{older_files, write_whole};

/// Why the kernel in an image cannot be unpacked. None of them keeps a bzImage itself from being booted.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The image is not readable any more.
    #[error(transparent)]
    Unreadable(#[from] KernelError),
    /// No known compression. With the bzImage's path and the first bytes of the payload.
    #[error("the kernel in {0} has an unknown compression (it begins with {1:02x?}), so it is not unpacked here")]
    UnknownCompression(PathBuf, Vec<u8>),
    /// The compressed stream is damaged. With the bzImage's path, the compression, and what the decompressor said.
    #[error("the {1}-compressed kernel in {0} is damaged ({2}): copy or build it again")]
    Damaged(PathBuf, &'static str, String),
    /// The unpacked bytes are not an ELF kernel.
    #[error("{0} does not unpack to a kernel (copy or build it again)")]
    NotAKernel(PathBuf, #[source] KernelError),
    /// The result cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// How many unpacked kernels are kept, at some 60 MB each: a matrix of kernels or the last steps of a bisection.
const KEPT: usize = 12;
/// What a decompressor may allocate beside the result, in KiB. The largest window that a kernel is compressed with is
/// 128 MiB.
pub(crate) const WORKING_MEMORY: u32 = 256 << 10;

/// The fastest form of `kernel` to boot: the unpacked ELF when `kernel` is a bzImage whose kernel has a PVH note, the
/// unpacked Image when it is a compressed one, else `kernel` itself. Either way with the configuration embedded in the
/// image (CONFIG_IKCONFIG), where no other was found.
///
/// # Errors
/// The payload cannot be read, unpacked or kept. A caller may then still boot a bzImage as it is.
pub fn unpack(kernel: &Kernel, cache: &Cache) -> Result<Kernel, PayloadError> {
    // Kernels of i386 are entered by their bzImages alone.
    let Some(Range { start, end }) =
        kernel.image.payload.clone().filter(|_| kernel.architecture() != Architecture::I386)
    else {
        return Ok(kernel.clone());
    };
    let payload = File::open(kernel.path()).and_then(|file| read_at(&file, start, end - start));
    let payload = payload.map_err(Flaw::from).map_err(KernelError::at(kernel.path()))?;

    let directory = cache.directory("unpacked")?;
    let key = format!("{:032x}", twox_hash::XxHash3_128::oneshot(&payload));
    match kernel.kind() {
        Kind::Image => unpack_image(kernel, &payload, &directory.join(format!("{key}.image"))),
        _ => unpack_elf(kernel, &payload, &directory.join(format!("{key}.vmlinux"))),
    }
}

/// Unpacks to the file at `unpacked`, unless `read` can use what is there.
fn unpack_to<T>(
    unpacked: &Path,
    read: impl Fn(&File) -> Result<T, Flaw>,
    kernel: &Kernel,
    write: impl FnOnce() -> Result<(), PayloadError>,
) -> Result<T, PayloadError> {
    let read = || File::open(unpacked).map_err(Flaw::from).and_then(|file| read(&file));
    if let Ok(found) = read() {
        // Most recently used is what stays; if the clock cannot be written, an older order does no harm.
        let _ = File::options().append(true).open(unpacked).and_then(|file| file.set_modified(SystemTime::now()));
        return Ok(found);
    }
    write()?;
    drop_old(unpacked.parent().unwrap_or(Path::new(".")));
    read().map_err(|flaw| PayloadError::NotAKernel(kernel.path().to_owned(), KernelError::at(unpacked)(flaw)))
}

fn unpack_image(kernel: &Kernel, payload: &[u8], unpacked: &Path) -> Result<Kernel, PayloadError> {
    let write = || {
        let image = decompress(payload, kernel.path())?;
        Ok(write_whole(unpacked, |file| file.write_all(&image))?)
    };
    let image = unpack_to(unpacked, format::read, kernel, write)?;
    Ok(kernel.clone().unpacked_as(unpacked.to_owned(), image))
}

fn unpack_elf(kernel: &Kernel, payload: &[u8], elf: &Path) -> Result<Kernel, PayloadError> {
    let config = elf.with_extension("config");
    let write = || {
        let unpacked = decompress(payload, kernel.path())?;
        let length = elf_extent(&unpacked).unwrap_or(unpacked.len());
        // The configuration goes first, so that a kernel in the cache always has its own.
        if let Some(text) = Configuration::embedded_text(&unpacked) {
            write_whole(&config, |file| file.write_all(&text))?;
        }
        Ok(write_whole(elf, |file| file.write_all(&unpacked[..length]))?)
    };
    let pvh_entry = unpack_to(elf, pvh_entry_of, kernel, write)?;
    let mut kernel = kernel.clone();
    if kernel.image.configuration.is_none() {
        kernel.image.configuration = Configuration::read(&config).ok();
    }
    let is_lost = is_lost_at_pvh_entry(kernel.configuration());
    Ok(match pvh_entry {
        Some(entry) if !is_lost => kernel.unpacked_to(elf.to_owned(), entry),
        _ => kernel,
    })
}

/// Whether a kernel of this configuration ends before its console begins when it is entered by its PVH note. One
/// with KASAN does (7.3.4, QEMU 7.2): that entry runs code which looks into a shadow memory that is not there yet.
fn is_lost_at_pvh_entry(configuration: Option<&Configuration>) -> bool {
    configuration.is_some_and(|configuration| configuration.is_built_in("KASAN"))
}

/// Removes the least recently used kernels beyond [`KEPT`]. One that another run is booting stays readable for it:
/// QEMU has opened it, or finds it missing only if twelve others were unpacked within that moment.
fn drop_old(directory: &Path) {
    for path in ["vmlinux", "image"].iter().flat_map(|extension| older_files(directory, extension, KEPT)) {
        // Another run may have removed it first.
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(path.with_extension("config"));
    }
}

/// Unpacks a stream whose content has exactly the given length.
type Decompressor = fn(&[u8], usize) -> io::Result<Vec<u8>>;

/// The compressions that a kernel can be built with: magic number, name, decompressor.
const FORMATS: [(&[u8], &str, Decompressor); 7] = [
    (b"\x1f\x8b", "gzip", |stream, size| exactly(flate2::read::GzDecoder::new(stream), size)),
    (b"\xfd7zXZ\0", "xz", |stream, size| {
        exactly(lzma_rust2::XzReader::new_mem_limit(stream, false, WORKING_MEMORY), size)
    }),
    (b"\x5d\0\0", "lzma", |stream, size| {
        exactly(lzma_rust2::LzmaReader::new_mem_limit(stream, WORKING_MEMORY, None)?, size)
    }),
    (b"BZh", "bzip2", |stream, size| exactly(bzip2::read::BzDecoder::new(stream), size)),
    (b"\x28\xb5\x2f\xfd", "zstd", zstd),
    (b"\x02\x21\x4c\x18", "lz4", |stream, size| lz4(&stream[4..], size)),
    (b"\x89LZO\0\r\n\x1a\n", "lzo", |stream, size| {
        lzo(&stream[9..], size).ok_or_else(|| io::Error::other("it ends early or contradicts itself"))
    }),
];

/// Unpacks the payload of the image at `path`: a compressed stream with its unpacked size behind it.
pub(crate) fn decompress(payload: &[u8], path: &Path) -> Result<Vec<u8>, PayloadError> {
    let (stream, size) = payload.split_last_chunk::<4>().unwrap_or((&[], &[0; 4]));
    let Some((_, name, decompressor)) = FORMATS.iter().find(|(magic, ..)| stream.starts_with(magic)) else {
        return Err(PayloadError::UnknownCompression(path.to_owned(), payload[..payload.len().min(6)].to_vec()));
    };
    let size = u32::from_le_bytes(*size) as usize;
    // gzip ends in the size itself, so the four bytes belong to the stream.
    let stream = if *name == "gzip" { payload } else { stream };
    let unpacked = match size {
        ..=LARGEST => decompressor(stream, size),
        _ => Err(io::Error::other(format!("it claims to unpack to {size} bytes"))),
    };
    unpacked.map_err(|error| PayloadError::Damaged(path.to_owned(), name, error.to_string()))
}

fn exactly(mut reader: impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = vec![0; size];
    reader.read_exact(&mut unpacked)?;
    // Checksums are compared only at the end.
    match reader.read(&mut [0])? {
        0 => Ok(unpacked),
        _ => Err(io::Error::other(format!("it unpacks to more than {size} bytes"))),
    }
}

fn wrong_size(found: usize, expected: usize) -> io::Error {
    io::Error::other(format!("it unpacks to {found} bytes instead of {expected}"))
}

fn zstd(stream: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::with_capacity(size);
    match zstd_safe::decompress(&mut unpacked, stream) {
        Ok(written) if written == size => Ok(unpacked),
        Ok(written) => Err(wrong_size(written, size)),
        Err(code) => Err(io::Error::other(zstd_safe::get_error_name(code))),
    }
}

/// The legacy frame of lz4: chunks with their length, each unpacking to 8 MiB but for the last.
fn lz4(mut chunks: &[u8], size: usize) -> io::Result<Vec<u8>> {
    const CHUNK: usize = 8 << 20;
    let mut unpacked = vec![0; size];
    let mut filled = 0;
    while let Some((length, rest)) = chunks.split_first_chunk::<4>() {
        let (chunk, rest) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| io::Error::other("a chunk is longer than the stream"))?;
        let end = size.min(filled + CHUNK);
        filled += lz4_flex::block::decompress_into(chunk, &mut unpacked[filled..end]).map_err(io::Error::other)?;
        chunks = rest;
    }
    if filled == size { Ok(unpacked) } else { Err(wrong_size(filled, size)) }
}

/// The format of lzop: a header, then blocks with their lengths and, as its flags say, checksums, which are passed
/// over: an ELF that does not start is noticed.
fn lzo(mut stream: &[u8], size: usize) -> Option<Vec<u8>> {
    fn number(stream: &mut &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(stream.split_off(..4)?.try_into().ok()?))
    }
    let version = u16::from_be_bytes(stream.split_off(..2)?.try_into().ok()?);
    let modern = version >= 0x0940;
    // The library's version, the version needed to unpack, method and level.
    stream.split_off(..if modern { 2 + 2 + 1 + 1 } else { 2 + 1 })?;
    let flags = number(&mut stream)?;
    if flags & 0x800 != 0 {
        number(&mut stream)?;
    }
    // Mode and time, the name, the header's checksum.
    stream.split_off(..if modern { 12 } else { 8 })?;
    let name = stream.split_off_first()?;
    stream.split_off(..usize::from(*name) + 4)?;

    let mut unpacked = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let block = number(&mut stream)? as usize;
        let packed = number(&mut stream)? as usize;
        let checksums = |unpacked_flag: u32, packed_flag: u32| {
            usize::from(flags & unpacked_flag != 0) + usize::from(packed < block && flags & packed_flag != 0)
        };
        stream.split_off(..4 * (checksums(1, 2) + checksums(0x100, 0x200)))?;
        let data = stream.split_off(..packed)?;
        let target = unpacked.get_mut(filled..filled.checked_add(block)?)?;
        if block == 0 {
            return None;
        } else if packed == block {
            target.copy_from_slice(data);
        } else if lzokay::decompress::decompress(data, target).ok()? != block {
            return None;
        }
        filled += block;
    }
    Some(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;
    use crate::image::samples::{PAYLOADS, bytes_of, unpacked};

    /// Compresses with the tool the kernel's build would use, or says that it is not installed.
    fn packed_by(program: &str, arguments: &[&str], data: &[u8], size_follows: bool) -> Option<Vec<u8>> {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(data).unwrap();
        input.rewind().unwrap();
        let Ok(output) = Command::new(program).args(arguments).stdin(input).output() else {
            eprintln!("{program} is not installed: its format is not checked here");
            return None;
        };
        let size = (data.len() as u32).to_le_bytes();
        Some([&output.stdout, &size[..if size_follows { 4 } else { 0 }]].concat())
    }

    /// Like a kernel in that some of it repeats, some does not, and it spans more than one lz4 chunk.
    fn sample() -> Vec<u8> {
        let mut state = 1_u32;
        (0..9_000_000_u32)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at % 64 < 16 { (state >> 24) as u8 } else { (at / 64 % 251) as u8 }
            })
            .collect()
    }

    #[test]
    fn every_compression_of_kconfig_is_unpacked_and_its_damage_noticed() {
        let (data, path) = (sample(), Path::new("bzImage"));
        let ways: [(&str, &[&str], bool); 7] = [
            ("gzip", &["-n", "-1"], false),
            ("bzip2", &["-1"], true),
            ("lzma", &["-1"], true),
            ("xz", &["--check=crc32", "--x86", "--lzma2=preset=1,dict=32MiB"], true),
            ("lzop", &["-1"], true),
            ("lz4", &["-l", "-1", "-c"], true),
            ("zstd", &["-1"], true),
        ];
        for (program, arguments, size_follows) in ways {
            let Some(packed) = packed_by(program, arguments, &data, size_follows) else {
                continue;
            };
            let unpacked = decompress(&packed, path).unwrap_or_else(|error| panic!("{program}: {error}"));
            assert!(unpacked == data, "{program} gave other bytes");
            let cut = [&packed[..packed.len() / 2], &(data.len() as u32).to_le_bytes()].concat();
            assert!(decompress(&cut, path).is_err(), "{program} cut in half is taken");
            // Whatever a damaged stream unpacks to, it must not bring the runner down.
            let mut damaged = packed_by(program, arguments, &data[..20_000], size_follows).unwrap();
            for at in (0..damaged.len()).step_by(damaged.len() / 300 + 1) {
                let whole = damaged[at];
                damaged[at] = whole.wrapping_add(0x55);
                let _ = decompress(&damaged, path);
                damaged[at] = whole;
            }
        }
    }

    #[test]
    fn a_stream_of_every_format_is_unpacked() {
        for (format, payload) in PAYLOADS {
            let data = decompress(&bytes_of(payload), Path::new("bzImage"));
            assert!(data.is_ok_and(|data| data == unpacked()), "{format}");
        }
    }

    #[test]
    fn absurd_sizes_and_unknown_streams_are_refused() {
        let refused = |payload: &[u8]| decompress(payload, Path::new("bzImage")).unwrap_err();
        assert!(matches!(refused(&[0x1f, 0x8b, 0xff, 0xff, 0xff, 0xff]), PayloadError::Damaged(..)));
        for unknown in [&b"none of them\0\0\0\0"[..], b"", b"\x02\x21\x4c\x18\0", b"\x89LZO\0\r\n\x1a\n"] {
            assert!(matches!(refused(unknown), PayloadError::UnknownCompression(..)), "{unknown:?}");
        }
    }

    #[test]
    fn only_kasan_keeps_a_kernel_packed() {
        let lost = |text| is_lost_at_pvh_entry(Some(&Configuration::parse(text)));
        assert!(lost("CONFIG_PVH=y\nCONFIG_KASAN=y\n"));
        assert!(!lost("CONFIG_PVH=y\n# CONFIG_KASAN is not set\n"));
        assert!(!is_lost_at_pvh_entry(None));
    }

    #[test]
    fn old_kernels_leave_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..KEPT as u64 + 3 {
            let path = directory.path().join(format!("{number}.vmlinux"));
            let file = File::create(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number)).unwrap();
        }
        drop_old(directory.path());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), KEPT);
        assert!(!directory.path().join("2.vmlinux").exists());
        assert!(directory.path().join("3.vmlinux").exists());
    }
}
