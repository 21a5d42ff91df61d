//! The parts of ELF that kernels and our own binary are read by: 64-bit, little-endian, after the System V ABI.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// No kernel loads or unpacks to more bytes. It bounds the memory that a damaged or hostile image can claim.
pub(crate) const LARGEST: usize = 1 << 30;

pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_NOTE: u32 = 4;
/// The size of a program header.
const ENTRY: u16 = 56;

pub(crate) fn bytes<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn u16_at(data: &[u8], offset: usize) -> Option<u16> {
    bytes(data, offset).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(data: &[u8], offset: usize) -> Option<u32> {
    bytes(data, offset).map(u32::from_le_bytes)
}

fn u64_at(data: &[u8], offset: usize) -> Option<u64> {
    bytes(data, offset).map(u64::from_le_bytes)
}

/// Up to `length` bytes from `offset` on, fewer where the file ends.
pub(crate) fn read_at(mut file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(usize::try_from(length).map_or(LARGEST, |length| length.min(LARGEST)));
    // No file reaches beyond what the system can seek to.
    if i64::try_from(offset).is_ok() {
        file.seek(SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut data)?;
    }
    Ok(data)
}

/// One program header of an ELF file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) length: u64,
}

impl Segment {
    /// Where it ends in the file.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Where the program headers lie in the file, and how many bytes they are.
fn table(head: &[u8]) -> Option<(u64, u64)> {
    let (offset, entry, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    (entry == ENTRY && count > 0).then_some((offset, u64::from(ENTRY) * u64::from(count)))
}

fn parse(table: &[u8]) -> Option<Vec<Segment>> {
    let segment = |raw: &[u8]| {
        let (kind, offset, address, length) = (u32_at(raw, 0)?, u64_at(raw, 8)?, u64_at(raw, 16)?, u64_at(raw, 32)?);
        Some(Segment { kind, offset, address, length })
    };
    table.chunks_exact(usize::from(ENTRY)).map(segment).collect()
}

/// The program headers of a file that begins with `head`; `None` when it has none, or ends before they do.
pub(crate) fn segments(file: &File, head: &[u8]) -> io::Result<Option<Vec<Segment>>> {
    let Some((offset, size)) = table(head) else { return Ok(None) };
    let table = read_at(file, offset, size)?;
    Ok(if table.len() as u64 == size { parse(&table) } else { None })
}

/// The physical entry point in the note `Xen`, type 18 (XEN_ELFNOTE_PHYS32_ENTRY), which QEMU starts a vmlinux by.
pub(crate) fn pvh_entry(file: &File, segments: &[Segment]) -> io::Result<Option<u32>> {
    for segment in segments.iter().filter(|segment| segment.kind == PT_NOTE) {
        if let Some(entry) = pvh_entry_in(&read_at(file, segment.offset, segment.length)?) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn pvh_entry_in(mut notes: &[u8]) -> Option<u32> {
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

/// How many bytes of an ELF image the program headers cover. Of the image, only the beginning with the program headers
/// must be there.
pub(crate) fn loaded_extent(image: &[u8]) -> Option<usize> {
    let (offset, size) = image.starts_with(b"\x7fELF").then(|| table(image))??;
    let headers = image.get(usize::try_from(offset).ok()?..)?.get(..usize::try_from(size).ok()?)?;
    usize::try_from(parse(headers)?.iter().map(Segment::end).max()?).ok()
}

/// An executable for `machine`: one loaded segment, `data` at `address`, and perhaps a note. It is entered at the
/// segment's beginning, by the physical address.
#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) fn executable(machine: u16, address: u64, data: &[u8], note: Option<&[u8]>) -> Vec<u8> {
    let count = 1 + u16::from(note.is_some());
    let start = 64 + usize::from(ENTRY * count);
    let physical = address & 0x7fff_ffff;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, machine].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    // The program headers come next, and there are no sections.
    file.extend([physical, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64, ENTRY, count, 64, 0, 0].map(u16::to_le_bytes).concat());
    let note = note.unwrap_or_default();
    let segments = [(PT_LOAD, start, data), (PT_NOTE, start + data.len(), note)];
    for (kind, offset, content) in segments.into_iter().take(count.into()) {
        let (offset, length) = (offset as u64, content.len() as u64);
        file.extend([kind, 7].map(u32::to_le_bytes).concat());
        file.extend([offset, address, physical, length, length, 1].map(u64::to_le_bytes).concat());
    }
    [&file, data, note].concat()
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
