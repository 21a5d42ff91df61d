//! The guest's console, kept in a file: the whole of it, or beginning and end of a flood.

use std::sync::atomic::{AtomicU32, Ordering};

use vm::cache::older_files;

use crate::prelude::*;

/// How many bytes of a console are written as they come.
const KEPT: u64 = 16 * 1024 * 1024;
/// How many of the last lines are kept besides, and shown when a guest is lost.
const TAIL: usize = 200;
/// How many of them are shown.
const SHOWN: usize = 15;

/// How many consoles of earlier runs are kept where nobody said where.
const EARLIER: usize = 50;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A unique name: the next run, which tries to reproduce a failure, must not overwrite this one's console.
pub fn file_name(kernel: &str) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let process = std::process::id();
    // Two guests of a matrix may have kernels of one name.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{process}-{count}.log", kernel.replace('/', "_"), now.replace(':', ""))
}

/// Removes the oldest consoles of a directory. One that cannot be removed stays.
pub fn forget_old(directory: &Path) {
    for old in older_files(directory, "log", EARLIER) {
        let _ = std::fs::remove_file(old);
    }
}

/// Keeps a console.
pub struct ConsoleLog {
    file: BufWriter<File>,
    written: u64,
    dropped: u64,
    tail: VecDeque<String>,
    /// Why nothing more is written, and the file is not complete.
    pub fault: Option<io::Error>,
}

impl ConsoleLog {
    /// Begins a file, replacing one of that name.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Unwritable::new("the console", path))?;
        Ok(Self { file: BufWriter::new(file), written: 0, dropped: 0, tail: VecDeque::new(), fault: None })
    }

    /// Keeps a line. What cannot be written is no reason to lose the guest: see [`Self::fault`].
    pub fn line(&mut self, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line[..line.floor_char_boundary(500)].to_owned());
        let size = line.len() as u64 + 1;
        if self.written + size > KEPT {
            self.dropped += size;
            return;
        }
        self.written += size;
        self.write(line);
    }

    /// Writes down what the guest did not say itself, whatever was dropped before.
    pub fn note(&mut self, text: &str) {
        for line in text.lines() {
            self.write(&format!("[{}]", line.trim_end()));
        }
    }

    fn write(&mut self, line: &str) {
        if self.fault.is_none() {
            self.fault = writeln!(self.file, "{line}").err();
        }
    }

    /// Writes down what was kept in memory for a while. Also done by [`Self::tail`].
    pub fn flush(&mut self) {
        if self.fault.is_none() {
            self.fault = self.file.flush().err();
        }
    }

    /// The last lines, and after a flood the file's end.
    pub fn tail(&mut self) -> Vec<String> {
        if self.dropped > 0 {
            let heading = format!("[… {} bytes, then:]", self.dropped);
            self.write(&heading);
            for line in std::mem::take(&mut self.tail) {
                self.write(&line);
                self.tail.push_back(line);
            }
            self.dropped = 0;
        }
        self.flush();
        let skipped = self.tail.len().saturating_sub(SHOWN);
        self.tail.iter().skip(skipped).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        let mut log = ConsoleLog::create(&path).unwrap();
        log.line("first");
        let long = "x".repeat(64 * 1024);
        for _ in 0..400 {
            log.line(&long);
        }
        log.line("last");
        assert_eq!(log.tail().last().unwrap(), "last");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("first\n") && text.ends_with("last\n"));
        assert!((text.len() as u64) < KEPT + 1024 * 1024);
    }

    #[test]
    fn a_full_disk_keeps_the_last_lines() {
        let mut log = ConsoleLog::create(Path::new("/dev/full")).unwrap();
        assert!(log.fault.is_none());
        log.line("first");
        log.line("last");
        log.flush();
        assert_eq!(log.fault.as_ref().unwrap().kind(), ErrorKind::StorageFull);
        assert_eq!(log.tail(), ["first", "last"]);
    }
}
