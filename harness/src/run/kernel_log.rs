//! The running kernel's log and taint, watched while cases run.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use crate::place::facts::taint;
use crate::run::splat::recognise;

/// Reads what the kernel logs from now on.
#[derive(Debug)]
pub struct KernelLog {
    log: Option<File>,
    taint: u64,
}

impl KernelLog {
    /// Starts watching. Ordinary users usually may not read the log; then only the taint is watched.
    pub fn watch() -> Self {
        let log = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .and_then(|mut log| log.seek(SeekFrom::End(0)).map(|_| log))
            .ok();
        Self { log, taint: taint() }
    }

    /// Whether the log itself can be read.
    pub fn is_readable(&self) -> bool {
        self.log.is_some()
    }

    /// The splats that were logged since the last call.
    pub fn splats(&mut self) -> Vec<String> {
        let Some(log) = &mut self.log else {
            return Vec::new();
        };
        let mut splats = Vec::new();
        let mut record = [0; 8192];
        loop {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let line = message(&text);
                    if recognise(line).is_some() {
                        splats.push(line.to_owned());
                    }
                }
                // Records were overwritten before they were read: continue with the oldest left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        splats
    }

    /// Taint bits that were set since the last call, as a message; none if there are none.
    pub fn new_taint(&mut self) -> Option<String> {
        let now = taint();
        let gained = now & !self.taint;
        self.taint = now;
        (gained != 0).then(|| format!("the kernel became tainted: {now} (new: {gained}, see /proc/sys/kernel/tainted)"))
    }
}

/// The text of a record of /dev/kmsg: `priority,sequence,time,flags;text\n KEY=value…`.
fn message(record: &str) -> &str {
    let text = record.split_once(';').map_or(record, |(_, text)| text);
    text.lines().next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_record_is_one_line_of_text(record in "[0-9,;-]{0,12}.{0,40}(\n.{0,20})?") {
            let line = message(&record);
            prop_assert!(record.contains(line) && !line.contains('\n'));
            let _ = recognise(line);
        }

        #[test]
        fn a_splat_is_found_behind_any_prefix(prefix in "[0-9]{1,3},[0-9]{1,9},[0-9]{1,9},[-c];", rest in "\\PC{0,40}") {
            let record = format!("{prefix}BUG: {rest}\n SUBSYSTEM=x\n");
            prop_assert!(recognise(message(&record)).is_some());
        }
    }

    #[test]
    fn the_text_of_a_record() {
        assert_eq!(message("4,1,2,-;WARNING: x\n SUBSYSTEM=a\n"), "WARNING: x");
        assert_eq!(message("odd"), "odd");
    }
}
