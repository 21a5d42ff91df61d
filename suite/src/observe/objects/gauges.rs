//! How many objects of each kind the kernel holds, and how much memory: `/proc/slabinfo` (slabinfo(5))
//! and `/proc/meminfo`.
//!
//! The kernel counts objects by whole slabs where a processor has one at hand, free or not. Asked to
//! shrink a cache it hands those back, and then the count is exact.

use std::os::unix::fs::FileExt;

use crate::spec::prelude::*;

/// Gauges by name and what they show: numbers of objects, or KiB.
pub type Reading = BTreeMap<String, i64>;

/// What is read of /proc/meminfo, and how its growth counts. Each is rounded to whole pages, or to
/// the slabs that the kernel keeps at hand.
const MEMORY: [(&str, i64); 3] = [("SUnreclaim", 1), ("Percpu", 1), ("MemFree", -1)];

/// The least that a call must hold of a memory gauge for its growth to mean something, in KiB.
pub const LEAST_MEMORY: f64 = 4.0;

/// The gauges' files, open: they are read by tasks that may not open them any more.
#[derive(Debug)]
pub struct Gauges {
    slabs: File,
    memory: File,
}

/// Whether a gauge shows KiB of memory rather than objects.
pub fn is_memory(name: &str) -> bool {
    MEMORY.iter().any(|(field, _)| *field == name)
}

/// Whether a gauge counts the objects of this cache. The kernel merges caches of objects of one size,
/// and counts them under one of their names.
pub fn is_of(gauge: &str, cache: &str) -> bool {
    let place = |name: &str| fs::canonicalize(format!("/sys/kernel/slab/{name}"));
    gauge == cache || matches!((place(gauge), place(cache)), (Ok(one), Ok(other)) if one == other)
}

/// The whole of a file that is made as it is read, from its start. Reads by offset: the descriptor is
/// shared with forked tasks.
fn text_of(file: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        let read = file.read_at(&mut part, text.len() as u64)?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(&part[..read]);
    }
}

fn objects(text: &str) -> impl Iterator<Item = (String, i64)> {
    // Two lines of head; then: name, objects in use, …
    text.lines().skip(2).filter_map(|line| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    })
}

fn memory(text: &str) -> impl Iterator<Item = (String, i64)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let (_, sign) = MEMORY.iter().find(|(field, _)| *field == name)?;
        let kib: i64 = rest.split_whitespace().next()?.parse().ok()?;
        Some((name.to_owned(), sign * kib))
    })
}

impl Gauges {
    /// Opens them.
    #[track_caller]
    pub fn open(t: &Test) -> Done<Self> {
        let open = |path: &str| t.setup(Call::io(format!("open({path})"), File::open(path)));
        Ok(Self { slabs: open("/proc/slabinfo")?, memory: open("/proc/meminfo")? })
    }

    /// Has the kernel hand back the slabs it keeps at hand of these caches, or of all, and reads all
    /// gauges.
    #[track_caller]
    pub fn read(&self, t: &Test, caches: Option<&[String]>) -> Done<Reading> {
        let caches = match caches {
            Some(caches) => caches.to_vec(),
            None => {
                let read = t.setup(Call::io("read(/proc/slabinfo)", text_of(&self.slabs)))?;
                objects(&read).filter(|(_, count)| *count > 0).map(|(name, _)| name).collect()
            }
        };
        for cache in caches.iter().filter(|name| !is_memory(name)) {
            // Some caches cannot be asked; their count stays a whole number of slabs.
            let _ = fs::write(format!("/sys/kernel/slab/{cache}/shrink"), "1");
        }
        let slabs = t.setup(Call::io("read(/proc/slabinfo)", text_of(&self.slabs)))?;
        let meminfo = t.setup(Call::io("read(/proc/meminfo)", text_of(&self.memory)))?;
        Ok(objects(&slabs).chain(memory(&meminfo)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabinfo_and_meminfo_are_read() {
        let text = "slabinfo - version: 2.1\n# name  <active_objs> <num_objs>\n\
                    nsproxy  505  728  72 56 1 : tunables 0 0 0\nbroken\n";
        assert_eq!(objects(text).collect::<Vec<_>>(), [("nsproxy".to_owned(), 505)]);
        let text = "MemTotal:  100 kB\nMemFree:     7 kB\nPercpu:   12 kB\n";
        assert_eq!(memory(text).collect::<Vec<_>>(), [("MemFree".to_owned(), -7), ("Percpu".to_owned(), 12)]);
    }
}
