//! The program's own code and constants on huge pages.
//!
//! fork(2) does not copy the page tables of a file's pages: each child faults them in again, forty times for the
//! shortest case, and drops them at its end. It does copy a huge page's one entry.

use std::ffi::c_void;
use std::fs;
use std::ptr::null_mut;

use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MREMAP_FIXED, MREMAP_MAYMOVE};
use libc::{PROT_EXEC, PROT_READ, PROT_WRITE};

/// The size of a huge page, to which the linker aligns segments (.cargo/config.toml).
const HUGE: usize = 2 << 20;

/// For whom the kernel makes huge pages.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// A mapping of this process: its addresses, and whether it is of a file, may be executed, and may be written to.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    of_file: bool,
    executable: bool,
    writable: bool,
}

/// Moves what this program's file gave it to read and to execute to anonymous memory on huge pages, at the same
/// addresses. Where the kernel has none, or refuses a step, all stays as it was.
///
/// For a guest's init: while it works, it changes the kernel's setting of who gets huge pages.
pub fn move_to_huge_pages() {
    // The kernel never makes any where it finds less than 512 MiB, unless it is told to.
    let before = fs::read_to_string(ENABLED).unwrap_or_default();
    // Not for memory that asks for them: a small kernel has no madvise(2).
    if fs::write(ENABLED, "always").is_err() {
        return;
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mappings: Vec<Mapping> = maps.lines().filter_map(parse).collect();
    for mapping in mappings.iter().filter(|mapping| mapping.of_file && !mapping.writable) {
        if let Some((start, end)) = whole(mapping, &mappings) {
            // SAFETY: nothing writes to this mapping of the program's file, and no other is in the way.
            unsafe { replace(mapping, start, end) };
        }
    }
    let chosen = before.split(['[', ']']).nth(1).unwrap_or("madvise");
    let _ = fs::write(ENABLED, chosen);
}

/// How many huge pages the kernel has given to faults (/proc/vmstat); none where it does not count them.
fn given() -> Option<usize> {
    let counts = fs::read_to_string("/proc/vmstat").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("thp_fault_alloc ")?.parse().ok())
}

/// A line of proc_pid_maps(5).
fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let inode = fields.nth(2)?;
    Some(Mapping {
        start: usize::from_str_radix(start, 16).ok()?,
        end: usize::from_str_radix(end, 16).ok()?,
        of_file: inode != "0",
        executable: rights.contains('x'),
        writable: rights.contains('w'),
    })
}

/// The huge pages that a mapping is on, if no other one is on them.
fn whole(mapping: &Mapping, all: &[Mapping]) -> Option<(usize, usize)> {
    let (start, end) = (mapping.start / HUGE * HUGE, mapping.end.next_multiple_of(HUGE));
    let is_alone = all.iter().all(|other| other == mapping || other.end <= start || end <= other.start);
    is_alone.then_some((start, end))
}

/// Puts anonymous memory with the same content in the place of a mapping and of what is free around it, from `start` to
/// `end`.
///
/// # Safety
/// Nothing writes to the mapping, and no other is between `start` and `end`.
unsafe fn replace(mapping: &Mapping, start: usize, end: usize) {
    let size = end - start;
    let rights = PROT_READ | if mapping.executable { PROT_EXEC } else { 0 };
    // SAFETY: the new memory is a huge page larger than what is used of it, so that this can be aligned; the copy stays
    // within both mappings; mremap(2) replaces, at once, what the caller vouches for, with the same content.
    unsafe {
        let memory = libc::mmap(null_mut(), size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if memory == MAP_FAILED {
            return;
        }
        let aligned = (memory as usize).next_multiple_of(HUGE);
        let copy = aligned as *mut c_void;
        let given_before = given();
        let length = mapping.end - mapping.start;
        let content = (aligned + mapping.start - start) as *mut u8;
        std::ptr::copy_nonoverlapping(mapping.start as *const u8, content, length);
        // On small pages each fork would copy all their entries.
        let are_huge = given_before.zip(given()).is_some_and(|(before, after)| after - before >= size / HUGE);
        if are_huge && libc::mprotect(copy, size, rights) == 0 {
            libc::mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start as *mut c_void);
        }
        // Whatever was not moved.
        libc::munmap(memory, size + HUGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alone_on_its_huge_pages_is_moved() {
        let maps = "\
            00200000-00461000 r--p 00000000 00:01 7 /init\n\
            00661000-00bfd000 r-xp 00260000 00:01 7 /init\n\
            00dfd000-00e05000 rw-p 007fb000 00:01 7 /init\n\
            00e05000-00e30000 rw-p 00000000 00:00 0 [heap]\n\
            7f0000000000-7f0000001000 r--p 00000000 00:01 9 /file\n\
            7f0000001000-7f0000002000 rw-p 00000000 00:00 0\n";
        let mappings: Vec<Mapping> = maps.lines().filter_map(parse).collect();
        let places: Vec<_> = mappings.iter().map(|mapping| whole(mapping, &mappings)).collect();
        let expected = [Some((0x200000, 0x600000)), Some((0x600000, 0xc00000)), None, None, None, None];
        assert_eq!(places, expected);
        assert!(mappings[1].executable && !mappings[0].executable && mappings[3].writable);
    }
}
