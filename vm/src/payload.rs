//! Unpacks the kernel inside a bzImage on the host.
//!
//! A bzImage carries its own decompressor, which a guest under emulation runs many times slower than the host would:
//! about 0.9 s of a boot. The unpacked kernel is an ELF file; where it has a PVH note, QEMU starts it directly.
//! Unpacked here and kept, keyed by the compressed bytes: of the in-guest decompressor's time under TCG the first boot
//! pays about a quarter (three fifths of it for writing 60 MB), every later one less than a hundredth.
//!
//! Formats: Documentation/arch/x86/boot.rst (`payload_offset`, `payload_length`); scripts/Makefile.lib of the kernel
//! for what each compressor is asked for. All but gzip are followed by the unpacked size in four bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::{Cache, CacheError, older_files};
use crate::elf;
use crate::kconfig::Configuration;
use crate::kernel::{self, Kernel, KernelError, Kind};

/// Why a bzImage's kernel cannot be unpacked. None of them keeps the bzImage itself from being booted.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The image is not readable any more.
    #[error("cannot read {path} (check its permissions and the disk)")]
    Unreadable {
        /// The bzImage.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No known compression.
    #[error(
        "the kernel in {path} is compressed in an unknown way (it begins with {magic:02x?}): it can only be booted as it is"
    )]
    UnknownCompression {
        /// The bzImage.
        path: PathBuf,
        /// The first bytes.
        magic: Vec<u8>,
    },
    /// The compressed stream is damaged.
    #[error("the {format}-compressed kernel in {path} is damaged ({why}): copy or build it again")]
    Damaged {
        /// The bzImage.
        path: PathBuf,
        /// The compression.
        format: &'static str,
        /// What the decompressor said.
        why: String,
    },
    /// The unpacked bytes are no ELF kernel.
    #[error("what {path} unpacks to is no kernel (copy or build it again)")]
    NotAKernel {
        /// The bzImage.
        path: PathBuf,
        /// What it is.
        #[source]
        source: KernelError,
    },
    /// There is no place for the result.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The result cannot be written.
    #[error("cannot write the unpacked kernel to {path} (free space there or set XDG_CACHE_HOME to another place)")]
    Unwritable {
        /// Where it should go.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How many unpacked kernels are kept, at some 60 MB each: a matrix of kernels or the last steps of a bisection.
const KEPT: usize = 12;
/// No kernel unpacks to more. It bounds the memory that a damaged or hostile image can claim.
const LARGEST: usize = 1 << 30;

/// The fastest form of `kernel` to boot: the unpacked ELF when `kernel` is a bzImage whose kernel has a PVH note,
/// else `kernel` itself. Either way with the configuration embedded in the image (CONFIG_IKCONFIG), where no other
/// was found.
///
/// # Errors
/// Says why it could not be unpacked. A caller may then still boot `kernel` as it is.
pub fn unpack(kernel: &Kernel, cache: &Cache) -> Result<Kernel, PayloadError> {
    let (Kind::BzImage, Some(extent)) = (kernel.kind(), kernel.payload()) else {
        return Ok(kernel.clone());
    };
    let unreadable = |source| PayloadError::Unreadable { path: kernel.path().to_owned(), source };
    let mut payload = vec![0; usize::try_from(extent.length).unwrap_or(usize::MAX)];
    let image = File::open(kernel.path()).map_err(unreadable)?;
    image.read_exact_at(&mut payload, extent.offset).map_err(unreadable)?;

    let directory = cache.directory("unpacked")?;
    let key = format!("{:032x}", twox_hash::XxHash3_128::oneshot(&payload));
    let elf = directory.join(format!("{key}.vmlinux"));
    let config = directory.join(format!("{key}.config"));

    let pvh_entry = match kernel::pvh_entry_of(&elf) {
        Ok(entry) => {
            // Most recently used is what stays; if the clock cannot be written, an older order does no harm.
            let _ = File::options().append(true).open(&elf).and_then(|file| file.set_modified(SystemTime::now()));
            entry
        }
        Err(_) => {
            let unpacked = decompress(&payload).map_err(|fault| fault.at(kernel.path()))?;
            let length = elf::elf_extent(&unpacked).unwrap_or(unpacked.len());
            let embedded = Configuration::embedded_text(&unpacked);
            // The configuration goes first: whoever sees the kernel shall see it too.
            if let Some(text) = embedded {
                write_whole(&config, &text)
                    .map_err(|source| PayloadError::Unwritable { path: config.clone(), source })?;
            }
            write_whole(&elf, &unpacked[..length])
                .map_err(|source| PayloadError::Unwritable { path: elf.clone(), source })?;
            drop_old(&directory);
            kernel::pvh_entry_of(&elf)
                .map_err(|source| PayloadError::NotAKernel { path: kernel.path().to_owned(), source })?
        }
    };
    let embedded = match kernel.configuration() {
        Some(_) => None,
        None => std::fs::read(&config).ok().map(|text| Configuration::parse(&String::from_utf8_lossy(&text))),
    };
    let configuration = kernel.configuration().or(embedded.as_ref());
    Ok(match pvh_entry.filter(|_| !is_lost_at_pvh_entry(configuration)) {
        Some(_) => kernel.clone().unpacked_to(elf, pvh_entry, embedded),
        None => kernel.clone().configured(embedded),
    })
}

/// Whether a kernel of this configuration ends before its console begins when it is entered by its PVH note. One
/// with KASAN does (7.3.4, QEMU 7.2): that entry runs code which looks into a shadow memory that is not there yet.
fn is_lost_at_pvh_entry(configuration: Option<&Configuration>) -> bool {
    configuration.is_some_and(|configuration| configuration.is_built_in("KASAN"))
}

/// Writes a file that is there whole or not at all, also when several runs write it at once.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.as_file_mut().write_all(content)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Removes the least recently used kernels beyond [`KEPT`]. One that another run is booting stays readable for it:
/// QEMU has opened it, or finds it missing only if twelve others were unpacked within that moment.
fn drop_old(directory: &Path) {
    for path in older_files(directory, "vmlinux", KEPT) {
        // Another run may have removed it first.
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(path.with_extension("config"));
    }
}

/// What went wrong in a stream, before it is known which file it is from.
enum Fault {
    Unknown(Vec<u8>),
    Damaged(&'static str, String),
}

impl Fault {
    fn at(self, path: &Path) -> PayloadError {
        let path = path.to_owned();
        match self {
            Fault::Unknown(magic) => PayloadError::UnknownCompression { path, magic },
            Fault::Damaged(format, why) => PayloadError::Damaged { path, format, why },
        }
    }
}

/// Unpacks a payload: a compressed stream with its unpacked size behind it.
fn decompress(payload: &[u8]) -> Result<Vec<u8>, Fault> {
    let (stream, size) = payload.split_last_chunk::<4>().ok_or_else(|| Fault::Unknown(payload.to_vec()))?;
    let size = u32::from_le_bytes(*size) as usize;
    if size > LARGEST {
        return Err(Fault::Damaged("unpacked", format!("it claims to unpack to {size} bytes")));
    }
    let read = |format, reader: &mut dyn Read| {
        read_exactly(reader, size).map_err(|error| Fault::Damaged(format, error.to_string()))
    };
    match payload {
        // gzip ends in the size itself, so the four bytes belong to the stream.
        [0x1f, 0x8b, ..] => read("gzip", &mut flate2::read::GzDecoder::new(payload)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => read("xz", &mut lzma_rust2::XzReader::new(stream, false)),
        [0x5d, 0, 0, ..] => match lzma_rust2::LzmaReader::new_mem_limit(stream, u32::MAX, None) {
            Ok(mut reader) => read("lzma", &mut reader),
            Err(error) => Err(Fault::Damaged("lzma", error.to_string())),
        },
        [b'B', b'Z', b'h', ..] => read("bzip2", &mut bzip2::read::BzDecoder::new(stream)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd(stream, size),
        [0x02, 0x21, 0x4c, 0x18, ..] => lz4(&stream[4..], size),
        [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a, ..] => {
            lzo(&stream[9..], size).ok_or_else(|| Fault::Damaged("lzo", "it ends early or contradicts itself".into()))
        }
        _ => Err(Fault::Unknown(payload[..payload.len().min(6)].to_vec())),
    }
}

fn read_exactly(reader: &mut dyn Read, size: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = vec![0; size];
    reader.read_exact(&mut unpacked)?;
    Ok(unpacked)
}

fn zstd(stream: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
    let mut unpacked = Vec::with_capacity(size);
    let written = zstd_safe::decompress(&mut unpacked, stream)
        .map_err(|code| Fault::Damaged("zstd", zstd_safe::get_error_name(code).to_owned()))?;
    if written != size {
        return Err(Fault::Damaged("zstd", format!("it unpacks to {written} bytes instead of {size}")));
    }
    Ok(unpacked)
}

/// The legacy frame of lz4: chunks with their length, each unpacking to 8 MiB but for the last.
fn lz4(mut chunks: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
    const CHUNK: usize = 8 << 20;
    let damaged = |why: String| Fault::Damaged("lz4", why);
    let mut unpacked = vec![0; size];
    let mut filled = 0;
    while let Some((length, rest)) = chunks.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let chunk = rest.get(..length).ok_or_else(|| damaged("a chunk is longer than the stream".into()))?;
        let end = size.min(filled + CHUNK);
        filled += lz4_flex::block::decompress_into(chunk, &mut unpacked[filled..end])
            .map_err(|error| damaged(error.to_string()))?;
        chunks = &rest[length..];
    }
    if filled != size {
        return Err(damaged(format!("it unpacks to {filled} bytes instead of {size}")));
    }
    Ok(unpacked)
}

/// The format of lzop: a header, then blocks with their lengths and, as its flags say, checksums, which are passed
/// over: an ELF that does not start is noticed.
fn lzo(mut stream: &[u8], size: usize) -> Option<Vec<u8>> {
    fn take<'a>(stream: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = stream.split_at_checked(count)?;
        *stream = rest;
        Some(taken)
    }
    fn number(stream: &mut &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(take(stream, 4)?.try_into().ok()?))
    }
    let version = u16::from_be_bytes(take(&mut stream, 2)?.try_into().ok()?);
    let modern = version >= 0x0940;
    // The library's version, the version needed to unpack, method and level.
    take(&mut stream, if modern { 2 + 2 + 1 + 1 } else { 2 + 1 })?;
    let flags = number(&mut stream)?;
    if flags & 0x800 != 0 {
        number(&mut stream)?;
    }
    // Mode and time, the name, the header's checksum.
    take(&mut stream, if modern { 12 } else { 8 })?;
    let name = take(&mut stream, 1)?[0];
    take(&mut stream, usize::from(name) + 4)?;

    let mut unpacked = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let block = number(&mut stream)? as usize;
        let packed = number(&mut stream)? as usize;
        let checksums = |unpacked_flag: u32, packed_flag: u32| {
            usize::from(flags & unpacked_flag != 0) + usize::from(packed < block && flags & packed_flag != 0)
        };
        take(&mut stream, 4 * (checksums(1, 2) + checksums(0x100, 0x200)))?;
        let data = take(&mut stream, packed)?;
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
    use super::*;

    /// Compresses with the tool the kernel's build would use, or says that it is not installed.
    fn packed_by(program: &str, arguments: &[&str], data: &[u8], size_follows: bool) -> Option<Vec<u8>> {
        use std::process::{Command, Stdio};
        let child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            eprintln!("{program} is not installed: its format is not checked here");
            return None;
        };
        let mut input = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(data).unwrap());
            child.wait_with_output().unwrap()
        });
        let mut packed = output.stdout;
        if size_follows {
            packed.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        }
        Some(packed)
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
        let data = sample();
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
            let unpacked = decompress(&packed).unwrap_or_else(|fault| panic!("{}", fault.at(Path::new(program))));
            assert!(unpacked == data, "{program} gave other bytes");
            let mut cut = packed[..packed.len() / 2].to_vec();
            cut.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            assert!(decompress(&cut).is_err(), "{program} cut in half is taken");
            // Whatever a damaged stream unpacks to, it must not bring the runner down.
            let mut damaged = packed_by(program, arguments, &data[..20_000], size_follows).unwrap();
            for at in (0..damaged.len()).step_by(damaged.len() / 300 + 1) {
                let whole = damaged[at];
                damaged[at] = whole.wrapping_add(0x55);
                let _ = decompress(&damaged);
                damaged[at] = whole;
            }
        }
    }

    #[test]
    fn absurd_sizes_and_unknown_streams_are_refused() {
        assert!(matches!(decompress(&[0x1f, 0x8b, 0xff, 0xff, 0xff, 0xff]), Err(Fault::Damaged(..))));
        assert!(matches!(decompress(b"none of them\0\0\0\0"), Err(Fault::Unknown(_))));
        assert!(matches!(decompress(b""), Err(Fault::Unknown(_))));
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
