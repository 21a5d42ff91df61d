//! The parts of ELF that kernels and our own binaries are read by, of either word size and byte order, after the System
//! V ABI.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// No kernel loads or unpacks to more bytes. It bounds the memory that a damaged or hostile image can claim.
pub(crate) const LARGEST: usize = 1 << 30;

pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const PT_NOTE: u32 = 4;
/// The size of a program header of 64 bits.
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

/// How the numbers of an ELF file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    wide: bool,
    little: bool,
}

impl Layout {
    /// That of a file with this beginning, if it is an ELF file.
    pub(crate) fn of(head: &[u8]) -> Option<Layout> {
        let [class @ (1 | 2), data @ (1 | 2)] = bytes(head, 4).filter(|_| head.starts_with(b"\x7fELF"))? else {
            return None;
        };
        Some(Layout { wide: class == 2, little: data == 1 })
    }

    pub(crate) fn is_wide(self) -> bool {
        self.wide
    }

    pub(crate) fn is_little_endian(self) -> bool {
        self.little
    }

    fn u16(self, data: &[u8], offset: usize) -> Option<u16> {
        bytes(data, offset).map(if self.little { u16::from_le_bytes } else { u16::from_be_bytes })
    }

    fn u32(self, data: &[u8], offset: usize) -> Option<u32> {
        bytes(data, offset).map(if self.little { u32::from_le_bytes } else { u32::from_be_bytes })
    }

    /// An address, an offset or a size.
    fn word(self, data: &[u8], offset: usize) -> Option<u64> {
        if self.wide {
            bytes(data, offset).map(if self.little { u64::from_le_bytes } else { u64::from_be_bytes })
        } else {
            self.u32(data, offset).map(u64::from)
        }
    }

    /// A value that stands at one offset in files of 32 bits, and at another in those of 64.
    fn at(self, narrow: usize, wide: usize) -> usize {
        if self.wide { wide } else { narrow }
    }

    /// What kind of file it is: ET_EXEC and the like.
    pub(crate) fn kind(self, head: &[u8]) -> Option<u16> {
        self.u16(head, 16)
    }

    /// What it is for: EM_X86_64 and the like.
    pub(crate) fn machine(self, head: &[u8]) -> Option<u16> {
        self.u16(head, 18)
    }

    /// The size of a program header.
    fn entry_size(self) -> u16 {
        if self.wide { ENTRY } else { 32 }
    }

    /// Where the program headers lie in the file, and how many bytes they are.
    fn table(self, head: &[u8]) -> Option<(u64, u64)> {
        let offset = self.word(head, self.at(28, 32))?;
        let (entry, count) = (self.u16(head, self.at(42, 54))?, self.u16(head, self.at(44, 56))?);
        (entry == self.entry_size() && count > 0).then_some((offset, u64::from(entry) * u64::from(count)))
    }

    fn parse(self, table: &[u8]) -> Option<Vec<Segment>> {
        let segment = |raw: &[u8]| {
            let word = |narrow, wide| self.word(raw, self.at(narrow, wide));
            let (kind, offset, address, length) = (self.u32(raw, 0)?, word(4, 8)?, word(8, 16)?, word(16, 32)?);
            Some(Segment { kind, offset, address, length })
        };
        table.chunks_exact(self.entry_size().into()).map(segment).collect()
    }
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

/// The program headers of a file that begins with `head`; `None` when it has none, or ends before they do.
pub(crate) fn segments(file: &File, head: &[u8]) -> io::Result<Option<Vec<Segment>>> {
    let Some((layout, (offset, size))) = Layout::of(head).and_then(|layout| Some((layout, layout.table(head)?))) else {
        return Ok(None);
    };
    let table = read_at(file, offset, size)?;
    Ok(if table.len() as u64 == size { layout.parse(&table) } else { None })
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
    let layout = Layout::of(image)?;
    let size = |narrow, wide| layout.u16(image, layout.at(narrow, wide)).map(u64::from);
    let sections = layout.word(image, layout.at(32, 40))?.checked_add(size(46, 58)? * size(48, 60)?)?;
    let end = usize::try_from(sections).ok()?.max(loaded_extent(image)?);
    (end <= image.len()).then_some(end)
}

/// How many bytes of an ELF image the program headers cover. Of the image, only the beginning with the program headers
/// must be there.
pub(crate) fn loaded_extent(image: &[u8]) -> Option<usize> {
    usize::try_from(segments_of(image)?.iter().map(Segment::end).max()?).ok()
}

/// Takes the section headers out of an ELF image of which only the loaded part is left.
pub(crate) fn forget_sections(image: &mut [u8]) -> Option<()> {
    let layout = Layout::of(image)?;
    let (at, length) = (layout.at(32, 40), layout.at(4, 8));
    image.get_mut(at..at + length)?.fill(0);
    // Their number, and the index of their names.
    let at = layout.at(48, 60);
    image.get_mut(at..at + 4).map(|counts| counts.fill(0))
}

/// Whether the ELF image needs a program to load it: it is not static.
pub(crate) fn has_interpreter(image: &[u8]) -> Option<bool> {
    Some(segments_of(image)?.iter().any(|segment| segment.kind == PT_INTERP))
}

/// The program headers of an ELF image in memory.
fn segments_of(image: &[u8]) -> Option<Vec<Segment>> {
    let layout = Layout::of(image)?;
    let (offset, size) = layout.table(image)?;
    layout.parse(image.get(usize::try_from(offset).ok()?..)?.get(..usize::try_from(size).ok()?)?)
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
