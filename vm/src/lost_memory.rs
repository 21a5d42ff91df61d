//! Memory of the guest's kernel that nothing points to any more, found by the kernel itself (CONFIG_DEBUG_KMEMLEAK,
//! Documentation/dev-tools/kmemleak.rst).

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Takes commands, and lists what was found.
const FILE: &str = "/sys/kernel/debug/kmemleak";

/// The kernel tells of nothing that was allocated less than 5 s before (MSECS_MIN_AGE in mm/kmemleak.c).
const LEAST_AGE: Duration = Duration::from_millis(5200);

/// The first search only notes the content of each object: one that changes is in use. A kernel with
/// CONFIG_DEBUG_KMEMLEAK_VERBOSE tells only of what two searches in a row find (min_unref_scans).
const SEARCHES: usize = 4;

/// How many functions of a backtrace are told, from the innermost on.
const FUNCTIONS: usize = 5;

/// How many kinds of lost objects are told.
const KINDS: usize = 10;

/// Has the kernel search for lost memory, as a guest's last act but one: 5 s and some more. One line for each place
/// that lost memory was allocated at, none if nothing is lost or if the kernel does not search.
pub fn search() -> Vec<String> {
    // Fails where the kernel cannot search: it has no such file, was told not to (kmemleak=off), or ran out of memory.
    if fs::write(FILE, "scan=off").is_err() {
        return Vec::new();
    }
    // Its own line, of the level "information", says only how many objects are lost.
    let _ = fs::write("/proc/sys/kernel/printk", "5");
    sleep(LEAST_AGE);
    for _ in 0..SEARCHES {
        let _ = fs::write(FILE, "scan");
    }
    lines(&fs::read_to_string(FILE).unwrap_or_default())
}

/// What the kernel's list says, one line for each backtrace.
fn lines(list: &str) -> Vec<String> {
    let mut kinds: BTreeMap<(String, String), usize> = BTreeMap::new();
    for object in list.split("unreferenced object").skip(1) {
        let size = object.split_once("(size ").and_then(|(_, rest)| rest.split_once(')')).map_or("?", |(size, _)| size);
        let trace = object.split_once("backtrace").map_or("", |(_, trace)| trace);
        let functions: Vec<_> = trace.lines().skip(1).filter_map(function).take(FUNCTIONS).collect();
        *kinds.entry((size.to_owned(), functions.join(" < "))).or_default() += 1;
    }
    let count = kinds.len();
    let told = kinds.into_iter().take(KINDS).map(|((size, functions), count)| {
        let objects = if count == 1 { "object" } else { "objects" };
        format!("{count} {objects} of {size} bytes, allocated by {functions}")
    });
    let rest = count.checked_sub(KINDS).filter(|rest| *rest > 0).map(|rest| format!("and {rest} kinds more"));
    told.chain(rest).collect()
}

/// The function in a line of a backtrace: `    copy_fs_struct+0x2a/0xc0`, before 6.6 with an address before it.
fn function(line: &str) -> Option<&str> {
    line.split_whitespace().next_back().and_then(|place| place.split('+').next()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "unreferenced object 0xffff88800468a540 (size 56):
  comm \"unshare-conform\", pid 93, jiffies 4294893400
  hex dump (first 32 bytes):
    01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 7a1c8d6c):
    kmem_cache_alloc_noprof+0x2d1/0x390
    copy_fs_struct+0x1c/0xd0
    ksys_unshare+0x14e/0x3c0
";

    const OLD: &str = "unreferenced object 0xffff88800468a540 (size 8):
  comm \"unshare-conform\", pid 93, jiffies 4294893400 (age 7.2s)
  backtrace:
    [<00000000aef2fe4d>] kmalloc_trace+0x2a/0xa0
    [<0000000011f2fe4d>] create_user_ns+0x2a/0xa0
";

    #[test]
    fn objects_of_one_place_are_one_line() {
        let all = lines(&[NEW, OLD, NEW].concat());
        let expected = [
            "2 objects of 56 bytes, allocated by kmem_cache_alloc_noprof < copy_fs_struct < ksys_unshare",
            "1 object of 8 bytes, allocated by kmalloc_trace < create_user_ns",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_list_of_nothing_is_nothing() {
        assert!(lines("").is_empty());
        assert!(lines("kmemleak: disabled\n").is_empty());
    }

    #[test]
    fn many_kinds_are_counted() {
        let list: String = (0..12).map(|size| OLD.replace("size 8", &format!("size {size}"))).collect();
        assert_eq!(lines(&list).len(), KINDS + 1);
        assert!(lines(&list).ends_with(&["and 2 kinds more".to_owned()]));
    }
}
