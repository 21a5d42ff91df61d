//! What the tasks of a case record, and the shared memory they record it in.
//!
//! The log is an anonymous `MAP_SHARED` mapping made by the supervisor before it forks. A task that has lost its file
//! descriptors, credentials, mount or network namespace can still write to it, and so can grandchildren, threads and
//! tasks that share the case's memory.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::common::*;

/// A line of source code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Path of the file, relative to the workspace.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
}

impl From<&'static Location<'static>> for At {
    fn from(location: &'static Location<'static>) -> Self {
        Self { file: location.file().to_owned(), line: location.line() }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A check that the kernel failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCheck {
    /// The call as written in C.
    pub call: String,
    /// What a conforming kernel does.
    pub expected: String,
    /// What this kernel did.
    pub actual: String,
    /// The requirement it contradicts (an ID of the catalogue), or several, comma-separated.
    pub requirement: String,
    /// Name of the task that made the check; none for the case's first task.
    pub task: Option<String>,
    /// Where the check is in the source.
    pub at: At,
}

/// One record of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A check failed.
    Failed(FailedCheck),
    /// A step failed that must succeed before anything can be judged.
    SetupFailed {
        /// The step as written in C.
        call: String,
        /// Its result.
        actual: String,
        /// Name of the task; none for the case's first task.
        task: Option<String>,
        /// Where the step is in the source.
        at: At,
    },
    /// The case found that it cannot run here: why, and what the user can do about it.
    Skip(String),
    /// The case's own code panicked, with this message and place.
    Panicked(String),
    /// Information for the reader of the verdict. What follows its first line is text to keep, such as a program.
    Note(String),
}

/// Everything recorded by one run of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// How many checks were made, passed or not.
    pub checks: u32,
    /// Whether the body completed (the final record).
    pub finished: bool,
    /// Records in the order they were written.
    pub records: Vec<Record>,
    /// Records that did not fit in the log.
    pub dropped: u32,
}

impl Records {
    /// The first step that went wrong, what it gave, and whether it only prepared what is judged.
    pub fn first_error(&self) -> Option<(String, String, bool)> {
        self.records.iter().find_map(|record| match record {
            Record::Failed(check) => Some((check.call.clone(), check.actual.clone(), false)),
            Record::SetupFailed { call, actual, .. } => Some((call.clone(), actual.clone(), true)),
            // A library that has no way to return the error, such as that of a thread.
            Record::Panicked(message) => {
                let (_, code) = message.split_once("Os { code: ")?;
                let errno = Errno::from_raw(code.split(',').next()?.parse().ok()?);
                Some((message.split_once(": ")?.1.to_owned(), format!("{errno:?}"), true))
            }
            _ => None,
        })
    }
}

/// Size of the log in bytes, header included. A record is a few hundred bytes.
const LOG_SIZE: usize = 256 * 1024;

/// Marks a record that is still being written, or whose writer died while writing it.
const UNREADY: u32 = 0;
const READY: u32 = 1;

#[repr(C)]
struct Header {
    checks: AtomicU32,
    finished: AtomicU32,
    used: AtomicU32,
    dropped: AtomicU32,
    directory: AtomicU32,
    done: AtomicU32,
    total: AtomicU32,
    aside: [AtomicU64; 3],
    passed: AtomicU64,
}

/// The log of the case that this process belongs to.
static OWN: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Adds bits to one of three words that the supervisor hands to [`Suite::refused`](crate::suite::Suite::refused). Does
/// nothing outside a case. Touches nothing but shared memory.
pub fn set_aside(word: usize, bits: u64) {
    if let Some(base) = NonNull::new(OWN.load(Ordering::Relaxed)) {
        RecordLog { base }.header().aside[word].fetch_or(bits, Ordering::Relaxed);
    }
}

#[repr(C)]
struct RecordHead {
    length: AtomicU32,
    state: AtomicU32,
}

/// The shared memory that a case's tasks write to and their supervisor reads.
#[derive(Clone, Copy, Debug)]
pub struct RecordLog {
    base: NonNull<u8>,
}

// SAFETY: all access goes through atomics, or to bytes that one writer reserved with an atomic add.
unsafe impl Send for RecordLog {}
// SAFETY: as above.
unsafe impl Sync for RecordLog {}

impl RecordLog {
    /// Maps a log that stays for the life of the process and of all its descendants.
    ///
    /// # Errors
    /// The mapping was refused (ENOMEM).
    pub fn map() -> io::Result<Self> {
        let size = NonZeroUsize::new(LOG_SIZE).expect("the log has a size");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh anonymous mapping, no address asked for.
        let base = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_SHARED) }?;
        Ok(Self { base: base.cast() })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, never unmapped by us, and starts with a header of atomics, for which any
        // bit pattern is valid.
        unsafe { self.base.cast().as_ref() }
    }

    /// Discards what the last case wrote.
    pub(crate) fn clear(&self) {
        let Header { checks, finished, used, dropped, directory, done, total, aside, passed } = self.header();
        for number in [checks, finished, dropped, directory, done, total] {
            number.store(0, Ordering::Relaxed);
        }
        aside.iter().chain([passed]).for_each(|number| number.store(0, Ordering::Relaxed));
        used.store(0, Ordering::Release);
    }

    /// Makes it the log of this process.
    pub(crate) fn adopt(&self) {
        OWN.store(self.base.as_ptr(), Ordering::Relaxed);
    }

    /// What its tasks [set aside](set_aside).
    pub(crate) fn aside(&self) -> [u64; 3] {
        self.header().aside.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    pub(crate) fn count_check(&self) {
        self.header().checks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        self.header().finished.store(1, Ordering::Release);
    }

    pub(crate) fn set_progress(&self, done: u32, total: u32) {
        self.header().done.store(done, Ordering::Relaxed);
        self.header().total.store(total, Ordering::Relaxed);
    }

    /// Progress that a long case published: done and total; none if it published nothing.
    pub(crate) fn progress(&self) -> Option<(u32, u32)> {
        let total = self.header().total.load(Ordering::Relaxed);
        let done = self.header().done.load(Ordering::Relaxed);
        (total > 0).then_some((done.min(total), total))
    }

    /// Says how much of its deadline the case has used.
    pub(crate) fn set_passed(&self, passed: Duration) {
        self.header().passed.store(passed.as_millis() as u64, Ordering::Relaxed);
    }

    /// How much that was, when it was last said.
    pub(crate) fn passed(&self) -> Duration {
        Duration::from_millis(self.header().passed.load(Ordering::Relaxed))
    }

    pub(crate) fn directory_made(&self) {
        self.header().directory.store(1, Ordering::Release);
    }

    pub(crate) fn has_directory(&self) -> bool {
        self.header().directory.load(Ordering::Acquire) != 0
    }

    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers stay below LOG_SIZE.
        unsafe { self.base.as_ptr().add(size_of::<Header>() + offset) }
    }

    /// Current end of the log, for [`rewind`](Self::rewind).
    pub(crate) fn mark(&self) -> u32 {
        self.header().used.load(Ordering::Acquire)
    }

    /// Discards the records written since the mark. Nobody may be writing.
    pub(crate) fn rewind(&self, mark: u32) {
        self.header().used.store(mark, Ordering::Release);
    }

    /// Appends a record. Never blocks; a record that does not fit is counted as dropped.
    pub fn write(&self, record: &Record) {
        let bytes = serde_json::to_vec(record).expect("records are plain data");
        let size = (size_of::<RecordHead>() + bytes.len()).next_multiple_of(8);
        let capacity = LOG_SIZE - size_of::<Header>();
        let header = self.header();
        let reserved = header.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let end = aligned(used) + size;
            (end <= capacity).then_some(end as u32)
        });
        let Ok(offset) = reserved.map(aligned) else {
            header.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // SAFETY: the bytes from `offset` for `size` were reserved for this writer alone, lie in the mapping, and are
        // 4-aligned since every size is a multiple of 8.
        unsafe {
            let head = &*self.at(offset).cast::<RecordHead>();
            head.state.store(UNREADY, Ordering::Relaxed);
            head.length.store(bytes.len() as u32, Ordering::Release);
            let body = self.at(offset + size_of::<RecordHead>());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), body, bytes.len());
            head.state.store(READY, Ordering::Release);
        }
    }

    /// Reads what was written since the last [`clear`](Self::clear). The writers may be dead or may have scribbled over
    /// the log: what does not parse counts as one dropped record, and a head that makes no sense ends the reading.
    pub(crate) fn read(&self) -> Records {
        let header = self.header();
        let capacity = LOG_SIZE - size_of::<Header>();
        let used = (header.used.load(Ordering::Acquire) as usize).min(capacity);
        let mut records = Vec::new();
        let mut dropped = header.dropped.load(Ordering::Relaxed);
        let mut offset = 0;
        while offset + size_of::<RecordHead>() <= used {
            // SAFETY: in the mapping, aligned, atomics.
            let head = unsafe { &*self.at(offset).cast::<RecordHead>() };
            let length = head.length.load(Ordering::Acquire) as usize;
            let body = offset + size_of::<RecordHead>();
            if length == 0 || body + length > used {
                dropped += 1;
                break;
            }
            let ready = head.state.load(Ordering::Acquire) == READY;
            // SAFETY: in the mapping; the writer is done with it. Copied before it is parsed, since a wild writer could
            // still change it.
            let bytes = ready.then(|| unsafe { std::slice::from_raw_parts(self.at(body), length) }.to_vec());
            match bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                Some(record) => records.push(record),
                None => dropped += 1,
            }
            offset = (body + length).next_multiple_of(8);
        }
        Records {
            checks: header.checks.load(Ordering::Relaxed),
            finished: header.finished.load(Ordering::Acquire) != 0,
            records,
            dropped,
        }
    }
}

/// An offset in the log as its writers leave it; a task that scribbles may leave another one.
fn aligned(used: u32) -> usize {
    used as usize & !7
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(text: &str) -> Record {
        Record::Note(text.to_owned())
    }

    #[test]
    fn records_come_back_in_order() {
        let log = RecordLog::map().unwrap();
        for text in ["a", "a longer one", ""] {
            log.write(&note(text));
        }
        log.count_check();
        log.finish();
        let read = log.read();
        assert_eq!(read.records, [note("a"), note("a longer one"), note("")].to_vec());
        assert_eq!((read.checks, read.finished, read.dropped), (1, true, 0));
        log.clear();
        assert_eq!(log.read(), Records::default());
    }

    #[test]
    fn a_flood_is_counted_not_lost_silently() {
        let log = RecordLog::map().unwrap();
        let text = "x".repeat(1000);
        for _ in 0..1000 {
            log.write(&note(&text));
        }
        let read = log.read();
        assert_eq!(read.records.len() + read.dropped as usize, 1000);
        assert!(read.dropped > 0);
    }

    #[test]
    fn threads_write_side_by_side() {
        let log = RecordLog::map().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for i in 0..50 {
                        log.write(&note(&format!("{thread}.{i}")));
                    }
                });
            }
        });
        let read = log.read();
        assert_eq!((read.records.len(), read.dropped), (400, 0));
    }

    proptest! {
        /// Whatever a task writes over the log: what lies before it is read, and reader and writers go on.
        #[test]
        fn scribbles_stop_neither_reader_nor_writers(
            at in prop_oneof![0usize..200, 0..LOG_SIZE - 64],
            bytes in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let log = RecordLog::map().unwrap();
            let kept: Vec<Record> = ["a", "b", "c"].map(note).to_vec();
            kept.iter().for_each(|record| log.write(record));
            // SAFETY: in the mapping; nobody else uses this log.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), log.base.as_ptr().add(at), bytes.len()) };
            // Each of the records takes 32 bytes.
            let whole = at.checked_sub(size_of::<Header>()).map_or(0, |offset| (offset / 32).min(kept.len()));
            prop_assert!(log.read().records.starts_with(&kept[..whole]));
            log.write(&note("d"));
            let _ = log.read();
        }
    }
}
