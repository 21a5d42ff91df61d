//! Images that are well formed and as small as can be, for tests.

use super::elf::{PT_LOAD, PT_NOTE};

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

/// An ELF executable for `machine` with one loaded segment at `address` holding `data`.
pub(crate) fn elf(machine: u16, address: u64, data: &[u8], note: Option<&[u8]>) -> Vec<u8> {
    let count = 1 + usize::from(note.is_some());
    let start = 64 + 56 * count;
    let mut file = vec![0; start];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[16] = 2;
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32] = 64;
    file[54] = 56;
    file[56] = u8::try_from(count).unwrap();
    let mut header = |index: usize, kind: u32, offset: usize, length: usize| {
        let at = 64 + 56 * index;
        file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        file[at + 8..at + 16].copy_from_slice(&(offset as u64).to_le_bytes());
        file[at + 16..at + 24].copy_from_slice(&address.to_le_bytes());
        file[at + 32..at + 40].copy_from_slice(&(length as u64).to_le_bytes());
    };
    header(0, PT_LOAD, start, data.len());
    if let Some(note) = note {
        header(1, PT_NOTE, start + data.len(), note.len());
    }
    file.extend_from_slice(data);
    file.extend_from_slice(note.unwrap_or_default());
    file
}
