//! The parts of ELF that kernels and our own binary are read by: 64-bit, little-endian, after the System V ABI.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

pub(crate) fn bytes<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn u16_at(data: &[u8], offset: usize) -> Option<u16> {
    bytes(data, offset).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(data: &[u8], offset: usize) -> Option<u32> {
    bytes(data, offset).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(data: &[u8], offset: usize) -> Option<u64> {
    bytes(data, offset).map(u64::from_le_bytes)
}

pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// One program header of an ELF file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) length: u64,
}

pub(crate) const PT_LOAD: u32 = 1;

pub(crate) const PT_NOTE: u32 = 4;

/// The names that `ARCH=` uses, for the machines Linux runs on.
pub(crate) fn elf_architecture(machine: u16) -> String {
    match machine {
        2 | 43 => "sparc",
        4 => "m68k",
        8 => "mips",
        15 => "parisc",
        20 | 21 => "powerpc",
        22 => "s390",
        40 => "32-bit arm",
        42 => "sh",
        50 => "ia64",
        94 => "xtensa",
        183 => "arm64",
        243 => "riscv",
        258 => "loongarch",
        other => return format!("another architecture (ELF machine {other})"),
    }
    .to_owned()
}

pub(crate) fn segments(file: &File, head: &[u8]) -> io::Result<Option<Vec<Segment>>> {
    let (Some(offset), Some(entry), Some(count)) = (u64_at(head, 32), u16_at(head, 54), u16_at(head, 56)) else {
        return Ok(None);
    };
    if count == 0 || entry < 56 {
        return Ok(None);
    }
    let mut table = vec![0; usize::from(entry) * usize::from(count)];
    if read_up_to(file, &mut table, offset)? < table.len() {
        return Ok(None);
    }
    Ok(table
        .chunks_exact(usize::from(entry))
        .map(|raw| {
            Some(Segment {
                kind: u32_at(raw, 0)?,
                offset: u64_at(raw, 8)?,
                address: u64_at(raw, 16)?,
                length: u64_at(raw, 32)?,
            })
        })
        .collect())
}

pub(crate) fn read_segment(mut file: &File, segment: Segment) -> io::Result<Vec<u8>> {
    // The caller has seen that the segment lies within the file, so this cannot ask for absurd amounts of memory.
    let mut data = Vec::with_capacity(usize::try_from(segment.length).unwrap_or(0));
    file.seek(SeekFrom::Start(segment.offset))?;
    file.take(segment.length).read_to_end(&mut data)?;
    Ok(data)
}

/// The physical entry point in the note `Xen`, type 18 (XEN_ELFNOTE_PHYS32_ENTRY), which QEMU starts a vmlinux by.
pub(crate) fn pvh_entry(file: &File, segments: &[Segment]) -> io::Result<Option<u32>> {
    for segment in segments.iter().filter(|s| s.kind == PT_NOTE) {
        if let Some(entry) = pvh_entry_in(&read_segment(file, *segment)?) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

pub(crate) fn pvh_entry_in(mut notes: &[u8]) -> Option<u32> {
    const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
    let aligned = |length: u32| usize::try_from(length).ok()?.checked_next_multiple_of(4);
    loop {
        let name_length = u32_at(notes, 0)?;
        let name_end = 12_usize.checked_add(aligned(name_length)?)?;
        let end = name_end.checked_add(aligned(u32_at(notes, 4)?)?)?;
        if u32_at(notes, 8)? == XEN_ELFNOTE_PHYS32_ENTRY && notes.get(12..16)? == b"Xen\0" {
            return u32_at(notes.get(..end)?, name_end);
        }
        notes = notes.get(end..)?;
    }
}

/// How many bytes of an ELF image in memory belong to the ELF file: the end of its last segment or of its section
/// headers. A relocatable kernel's relocations follow, which only its own decompressor uses.
pub(crate) fn elf_extent(image: &[u8]) -> Option<usize> {
    let sections = u64_at(image, 40)?.checked_add(u64::from(u16_at(image, 58)?) * u64::from(u16_at(image, 60)?))?;
    let end = usize::try_from(sections).ok()?.max(loaded_extent(image)?);
    (end <= image.len()).then_some(end)
}

/// How many bytes of an ELF image in memory its program headers cover.
pub(crate) fn loaded_extent(image: &[u8]) -> Option<usize> {
    extent(image).filter(|&end| end <= image.len())
}

/// The same of an image of which only the beginning is there, with the program headers in it.
pub(crate) fn extent(image: &[u8]) -> Option<usize> {
    if !image.starts_with(b"\x7fELF") {
        return None;
    }
    let table = usize::try_from(u64_at(image, 32)?).ok()?;
    let (entry, count) = (usize::from(u16_at(image, 54)?), usize::from(u16_at(image, 56)?));
    let ends = (0..count).map(|index| {
        let at = table.checked_add(index * entry)?;
        u64_at(image, at.checked_add(8)?)?.checked_add(u64_at(image, at.checked_add(32)?)?)
    });
    let end = ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
    usize::try_from(end).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_lie_about_their_length_are_no_pvh_notes() {
        assert_eq!(pvh_entry_in(&[0xff; 64]), None);
        assert_eq!(pvh_entry_in(&[4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, b'X', b'e', b'n', 0, 1]), None);
    }
}
